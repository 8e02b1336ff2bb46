#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# passthrough=on: the same bytes as without, and never a byte into a lower layer.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# Bytes that the server of upper directory $D/u, or of no upper, has read and written.
bytes_served()
{
	local pid sum=0
	for pid in $(servers "lowerdir=$D/a"); do
		sum=$((sum + $(awk '/^[rw]char/ { s += $2 } END { print s }' "/proc/$pid/io")))
	done
	echo "$sum"
}

# directly BYTES COMMAND...: the command works, and the server moves no more than BYTES for it.
directly()
{
	local most=$1 before after
	shift
	before=$(bytes_served)
	"$@" || return 1
	after=$(bytes_served)
	[ "$before" -gt 0 ] && [ $((after - before)) -le "$most" ] ||
		{ echo "    the server moved $((after - before)) bytes"; return 1; }
}

sums()
{
	(cd "$1" && find . -type f -exec sha256sum {} + | sort)
}

layers rw
seq 100000 >"$D/a/big"
seq 50000 >"$D/b/below"
LOWER=$(sums "$D/a"; sums "$D/b")
run "$MOUNT" -o "$OPTS,passthrough=on" "$D/m"
check "status" is "$RC" 0
check "mounted" mounted "$D/m"
cd "$D/m" || exit 1

# A new file: written and read directly.
check "a new file" sh -c 'seq 100000 >new && cmp new big'
check "without the server" directly 100000 dd if=new of=/dev/null bs=64k status=none
check "written without it" directly 100000 dd if="$D/a/big" of=copy bs=64k status=none
check "it is in upper" cmp "$D/u/new" "$D/a/big"
check "appended to" sh -c 'echo more >>new && [ "$(tail -n 1 new)" = more ]'
check "and cut" sh -c 'truncate -s 10 new && [ "$(stat -c %s new)" = 10 ] && [ "$(wc -c <new)" = 10 ]'
check "overwritten" sh -c 'echo short >new && [ "$(cat new)" = short ]'

# A lower file that is open for reading when a writer comes: the reader sees the new bytes, the
# lower layer nothing.
exec 7<big
check "a reader of a lower file" is "$(head -c 2 <&7)" "1"
check "a writer beside him" sh -c 'printf XY | dd of=big conv=notrunc status=none'
exec 8<big
check "a new reader sees it" is "$(head -c 2 <&8)" XY
exec 8<&-
check "one with both at once" sh -c 'exec 6<>big; printf Z >&6; exec 6>&-; [ "$(head -c 2 big)" = ZY ]'
exec 7<&-
check "when all is closed" is "$(head -c 2 big)" ZY
check "then directly" sh -c 'printf Q | dd of=big conv=notrunc status=none; [ "$(head -c 2 big)" = QY ]'
check "through a mapping" python3 -c "
import mmap, os
f = os.open('big', os.O_RDWR)
g = os.open('big', os.O_RDONLY)
m = mmap.mmap(f, 4096)
m[0:1] = b'M'
m.flush()
assert os.pread(g, 2, 0) == b'MY'
os.close(f)
os.close(g)
assert open('big', 'rb').read(2) == b'MY'
"

# Truncated at open, by an open that may only read, and again and again.
check "O_TRUNC of a lower file" sh -c ': >below && [ "$(stat -c %s below)" = 0 ]'
check "and filled" sh -c 'echo filled >below && [ "$(cat below)" = filled ]'

# Open while it loses its name; while it is renamed; while it is linked.
check "without a name" python3 -c "
import os
f = os.open('gone', os.O_RDWR | os.O_CREAT, 0o644)
os.write(f, b'abc')
os.unlink('gone')
os.pwrite(f, b'X', 1)
assert os.pread(f, 10, 0) == b'aXc' and os.fstat(f).st_nlink == 0
os.close(f)
f = os.open('one', os.O_RDWR | os.O_CREAT, 0o644)
os.rename('one', 'two')
os.link('two', 'three')
g = os.open('three', os.O_RDWR)
os.write(f, b'here')
assert os.pread(g, 10, 0) == b'here'
"
check "a file without a name from the start" python3 -c "
import os
f = os.open('.', os.O_TMPFILE | os.O_RDWR, 0o600)
os.write(f, b'x' * 5000)
assert os.pread(f, 10, 4995) == b'xxxxx'
"
check "many opens at once" python3 -c "
import os, threading
os.makedirs('many')
def work(k):
    for i in range(200):
        f = os.open('many/%d' % (i % 5), os.O_RDWR | os.O_CREAT, 0o644)
        os.pwrite(f, b'%03d' % k, k * 3)
        assert os.pread(f, 3, k * 3) == b'%03d' % k
        os.close(f)
ts = [threading.Thread(target=work, args=(k,)) for k in range(6)]
[t.start() for t in ts]
[t.join() for t in ts]
"

# What is marked may not be written, though the kernel would not ask.
check "append-only" sh -c 'echo a >log && chattr +a log'
check "can be appended to" sh -c 'echo b >>log && [ "$(cat log)" = "$(printf "a\nb")" ]'
check "cannot be overwritten" not sh -c 'echo c >log' 2>/dev/null
check "nor written in the middle" not sh -c 'printf c 1<>log' 2>/dev/null
check "mark off" chattr -a log
cd / || exit 1
umount "$D/m"
check "the server ends" await no_servers "upperdir=$D/u"
check "the lower layers are as they were" is "$(sums "$D/a"; sums "$D/b")" "$LOWER"

# Read-only: lower files go through, and nothing is written.
layers ro
seq 100000 >"$D/a/big"
LOWER=$(sums "$D/a"; sums "$D/b")
run "$MOUNT" -o "ro,lowerdir=$D/a:$D/b,passthrough=on" "$D/m"
check "read-only: status" is "$RC" 0
check "read-only: reads" directly 100000 cmp "$D/m/big" "$D/a/big"
check "read-only: a mapping" python3 -c "
import mmap, os
f = os.open('$D/m/big', os.O_RDONLY)
m = mmap.mmap(f, 4096, prot=mmap.PROT_READ)
os.close(f)
g = os.open('$D/m/big', os.O_RDONLY)
assert m[0:2] == b'1\n' and os.pread(g, 2, 0) == b'1\n'
"
check "read-only: no writer" not sh -c "exec 6<>'$D/m/big'" 2>/dev/null
check "not even after remount,rw" not sh -c "mount -o remount,rw '$D/m' 2>/dev/null; exec 6<>'$D/m/big'" \
	2>/dev/null
umount "$D/m"
check "read-only: as they were" is "$(sums "$D/a"; sums "$D/b")" "$LOWER"

# Where it is not permitted: `auto` does without, `on` says why.
layers user
chmod 755 "$T"
chown -R 65534:65534 "$D"
check "auto without privilege" setpriv --reuid 65534 --regid 65534 --clear-groups \
	unshare --user --map-root-user --mount sh -c "
	'$MOUNT' -o '$OPTS,passthrough=auto' '$D/m' && echo x >>'$D/m/file' &&
	[ \"\$(tail -n 1 '$D/m/file')\" = x ] && umount '$D/m'"
run setpriv --reuid 65534 --regid 65534 --clear-groups unshare --user --map-root-user --mount \
	"$MOUNT" -o "$OPTS,passthrough=on" "$D/m"
check "on without privilege: status" is "$RC" 1
check "on without privilege: the reason" says "passthrough is not available: only root"
refused "with writeback" "exclude each other" "$MOUNT" -o "$OPTS,passthrough=on,writeback" "$D/m"

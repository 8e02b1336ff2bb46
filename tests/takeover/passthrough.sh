#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Passthrough: what is open goes on while nobody serves, and the next server uses and gives back the backing ids of
# the one before. A backing id that is left over holds its file: the blocks of what was removed would not come back.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/../cli/lib.sh"

mkdir "$T/disk"
mount -t tmpfs -o size=256m none "$T/disk"
layers disk/p
seq 1000 >"$D/b/below"
run "$LAMINA" mount -o "$OPTS,passthrough=on,restarts=1000" "$D/m"
check "mount" is "$RC" 0
sup=$(servers "upperdir=$D/u")
worker()
{
	pgrep -n -P "$sup"
}
next_worker()
{
	local old=$1 new

	new=$(worker) && [ "$new" != "$old" ]
}
kill_worker()
{
	local old

	old=$(worker)
	kill -KILL "$old"
	await next_worker "$old"
}
used()
{
	local total free

	read -r total free < <(stat -f -c "%b %f" "$T/disk")
	echo $((total - free))
}

# In the gap: the server is stopped, so nobody answers. (A write asks it whether capabilities are to be taken away.)
seq 100000 >"$D/m/open"
exec 5<>"$D/m/open"
exec 6<"$D/m/open"
check "opened" is "$(head -n 1 <&6)" 1
cat >"$T/gap.py" <<'END'
import mmap, os, signal, sys
m = mmap.mmap(5, 8192)	# asks for the size: that goes to the server
os.kill(int(sys.argv[1]), signal.SIGSTOP)
assert os.pread(5, 4, 0) == b"1\n2\n", os.pread(5, 4, 0)
m[4096:4097] = b"B"
assert os.pread(6, 1, 4096) == b"B"
END
stopped=$(worker)
check "reads and mappings in the gap" timeout 20 python3 "$T/gap.py" "$stopped"
kill -KILL "$stopped"
kill -CONT "$stopped" 2>/dev/null
check "another worker" await next_worker "$stopped"
check "the open file afterwards" is "$(head -c 3 "$D/m/open")" "$(printf '1\n2')"
check "in upper too" is "$(head -c 4097 "$D/u/open" | tail -c 1)" B
exec 5>&- 6<&-
rm "$D/m/open"

# 2 MiB each: what is open over a kill, or over the kill of its opening or closing, is given back in the end.
before=$(used)
for i in $(seq 30); do
	dd if=/dev/zero of="$D/m/f$i" bs=1M count=2 status=none
	exec 5<>"$D/m/f$i"
	case $((i % 3)) in
	0) kill_worker ;;
	1) kill -KILL "$(worker)" 2>/dev/null & exec 6<"$D/m/f$i" ;;
	2) "$LAMINA" upgrade "$D/m" >/dev/null ;;
	esac
	check "$i: while open" is "$(dd bs=1M count=1 status=none <&5 | wc -c)" 1048576
	rm "$D/m/f$i"
	check "$i: without a name" is "$(dd bs=1M count=1 status=none <&5 | wc -c)" 1048576
	[ $((i % 2)) -eq 0 ] || { kill -KILL "$(worker)" 2>/dev/null & }
	exec 5>&- 6<&-
	wait
done
# Three files are allowed for: what was removed just before a kill waits for the next look at orphans.
given_back()
{
	[ $(($(used) - before)) -lt $((3 * 512)) ]
}
check "what was removed is given back" await given_back
check "a lower file is still whole" is "$(md5sum <"$D/m/below")" "$(seq 1000 | md5sum)"
check "still served" is "$(cat "$D/m/file")" "of a"
umount "$D/m"
check "no process is left" await no_servers "upperdir=$D/u"

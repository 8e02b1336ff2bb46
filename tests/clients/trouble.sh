#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# When things go wrong around the mount: a full upper, a killed server, layers that change or vanish
# underneath; and that a limit on what the kernel may remember makes changes of lower layers visible.
LIMIT=180
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need mkfs.ext4 python3

server() {
	pgrep -f -- "upperdir=$1/upper" | head -n1
}

# A full upper: nothing changes, nothing is left, and with room again it works.
mkdir -p full/lower fs
truncate -s 24M fs.img
mkfs.ext4 -q -F -m 0 fs.img && mount -o loop fs.img fs || die "a small filesystem"
mkdir fs/upper fs/work
dd if=/dev/urandom of=full/lower/big bs=1M count=30 status=none
dd if=/dev/urandom of=full/lower/small bs=1k count=100 status=none
cp full/lower/big full/lower/hard
ln full/lower/hard full/lower/hard2
sum=$(md5sum < full/lower/big)
mkdir -p full/mnt
check "mounts" timeout 30 "$PROG" -o "lowerdir=$T/full/lower,upperdir=$T/fs/upper,workdir=$T/fs/work" \
	full/mnt
for name in big hard; do
	out=$(bash -c "echo more >> full/mnt/$name" 2>&1)
	case $out in
	*"No space left"*) pass "copy-up of $name into a full upper: ENOSPC" ;;
	*) fail "copy-up of $name into a full upper: ENOSPC" "$out" ;;
	esac
	[ $name = hard ] || equal "$name is as it was" "$(md5sum < full/mnt/$name)" "$sum"
	equal "$name: nothing in upper" "$(ls -A fs/upper)" ""
done
equal "no litter" "$(find fs/work/work -mindepth 1)" ""
check "metadata of a file that fits can be changed" chmod 600 full/mnt/small
sh_check "renamed without a copy of the data: whiteouts need no room" 'rm full/mnt/hard2'
check "a short file still fits" bash -c 'echo more >> full/mnt/small'
equal "of the big one it is still the old data" "$(md5sum < full/mnt/big)" "$sum"
sh_check "cut to what fits, it can be written" 'truncate -s 100k full/mnt/big; echo x >> full/mnt/big
	[ "$(stat -c %s full/mnt/big)" = 102402 ]'
unmount full/mnt
wait_for 10 umount fs || umount -l fs

# A killed server: what it was doing is undone or done, and the next mount cleans up.
mkdir -p k/lower
for i in $(seq 200); do head -c 100000 /dev/urandom > k/lower/f$i; done
md5sum k/lower/* | sed 's/lower/mnt/' > k.sums
for round in 1 2 3; do
	overlay k
	(
		for i in $(seq 200); do chmod 600 k/mnt/f$i; mv k/mnt/f$i k/mnt/g$i; mv k/mnt/g$i k/mnt/f$i; done
	) >/dev/null 2>&1 &
	worker=$!
	wait_for 10 test -e k/upper/f$((round * 10))
	# Server and supervisor at once: else another server goes on.
	# shellcheck disable=SC2046
	kill -KILL $(pgrep -f -- "upperdir=k/upper")
	wait $worker
	umount -l k/mnt
	overlay k
	# A file may have been caught between its two names.
	for f in k/mnt/g*; do [ ! -e "$f" ] || mv "$f" "k/mnt/f${f##*/g}"; done
	check "killed, round $round: all data is there" md5sum --quiet -c k.sums
	unmount k/mnt
	empty_work k
done

# Lower layers that change: seen after the time that the kernel may remember.
mkdir -p t/lower/dir
echo old > t/lower/dir/file
echo gone > t/lower/dir/gone
overlay t timeout=0
equal "timeout=0: before" "$(cat t/mnt/dir/file; ls t/mnt/dir; ls t/mnt/dir/new 2>&1 | wc -l)" \
	"$(printf '%s\n' old file gone 1)"
for i in 1 2 3 4 5 6 7 8; do ls t/mnt/dir/none$i >/dev/null 2>&1; done
echo new > t/lower/dir/new
rm t/lower/dir/gone
echo changed > t/lower/dir/tmp
mv t/lower/dir/tmp t/lower/dir/file
equal "timeout=0: a new name" "$(cat t/mnt/dir/new)" new
check_not "timeout=0: a name that went" stat t/mnt/dir/gone
equal "timeout=0: another file" "$(cat t/mnt/dir/file)" changed
equal "timeout=0: the listing" "$(ls t/mnt/dir | tr '\n' ' ')" "file new "
unmount t/mnt

# Layers that vanish: errors, and the server lives.
mkdir -p v/lower/dir/sub v/one
echo x > v/lower/dir/sub/x
echo y > v/lower/y
overlay v
ls -R v/mnt >/dev/null
mv v/lower/dir v/aside
rm v/lower/y
check_not "a lower directory that went" cat v/mnt/dir/sub/other
check_not "a lower file that went" bash -c 'echo z >> v/mnt/y'
check "the server lives" sh -c 'echo fine > v/mnt/fine; cat v/mnt/fine'
rm -rf v/upper v/work
check_not "an upper that went" sh -c 'echo more > v/mnt/more'
check_not "is an error to every change" mkdir v/mnt/d
check "and the server lives" stat v/mnt
umount -l v/mnt

# An origin of more bytes than an index entry's name can have.
mkdir -p o/lower o/upper o/work
echo low > o/lower/f
python3 - <<'PY'
import os
open("o/upper/g", "w").write("up\n")
os.setxattr("o/upper/g", "trusted.overlay.nlink", b"U+0")
overlay = bytes([0, 0xfb, 250, 0, 0x81]) + bytes(16) + bytes(range(229))
os.setxattr("o/upper/g", "trusted.overlay.origin", overlay)
PY
overlay o
check "a handle of 250 bytes as origin" cat o/mnt/g
sh_check "its file can be linked, changed, removed" 'ln o/mnt/g o/mnt/h; echo x >> o/mnt/h; rm o/mnt/g'
unmount o/mnt
finish

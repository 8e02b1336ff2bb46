#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Numbers and handles after the filesystems of the layers were mounted anew under other device numbers, as after a
# restart of the machine: filesystems are known by their UUIDs.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

detach()
{
	umount "$T/m" "$T/fs.ext4" "$T/fs.xfs" "$T/fs.btrfs" 2>/dev/null
	for l in $LOOPS; do
		losetup -d "$l" 2>/dev/null
	done
	LOOPS=
}
LOOPS=
trap 'detach; finish' EXIT

# attach KIND...: in this order, so that the device numbers follow it.
attach()
{
	local l k
	for k in "$@"; do
		l=$(losetup -f --show "$T/$k.img") || return 1
		LOOPS="$LOOPS $l"
		mkdir -p "$T/fs.$k"
		mount -t "$k" "$l" "$T/fs.$k" || return 1
	done
}

devices()
{
	stat -c %d "$T/fs.ext4" "$T/fs.xfs" | tr '\n' ' '
}

start()
{
	run "$MOUNT" -o "lowerdir=$T/fs.ext4/l:$T/fs.btrfs/l,upperdir=$T/fs.xfs/u,workdir=$T/fs.xfs/w" "$T/m"
	check "status" is "$RC" 0
}

numbers()
{
	find "$T/m" -printf '%P %i\n' | sort
}

truncate -s 512M "$T/ext4.img" "$T/xfs.img" "$T/btrfs.img"
mkfs.ext4 -q -F "$T/ext4.img" && mkfs.xfs -q -f "$T/xfs.img" && mkfs.btrfs -q -f "$T/btrfs.img" >/dev/null ||
	exit 1
mkdir "$T/m"
check "the filesystems" attach ext4 xfs btrfs
mkdir -p "$T/fs.ext4/l/d" "$T/fs.btrfs/l/d" "$T/fs.btrfs/l/e" "$T/fs.xfs/u" "$T/fs.xfs/w"
for f in ext4/l/a ext4/l/d/x btrfs/l/b btrfs/l/d/y btrfs/l/e/z; do
	echo "$f" >"$T/fs.$f"
done
BEFORE=$(devices)
start
for f in a d/y; do
	echo changed >"$T/m/$f"
done
mkdir "$T/m/made"
mv "$T/m/e" "$T/m/made/e"
numbers >"$T/numbers"
umount "$T/m"
check "the server ends" await no_servers "$T/m"
detach
# One more in front, and another order.
truncate -s 16M "$T/other.img"
LOOPS=$(losetup -f --show "$T/other.img")
check "the filesystems again" attach xfs btrfs ext4
check "they have other device numbers" not is "$(devices)" "$BEFORE" >/dev/null
start
numbers >"$T/now"
check "the numbers are the same" diff "$T/numbers" "$T/now"
check "there are some" is "$(wc -l <"$T/numbers")" 9

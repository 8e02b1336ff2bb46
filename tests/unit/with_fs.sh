#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run programs on each kind of filesystem: with_fs.sh PROGRAM...
# Each gets TMPDIR on a new tmpfs, ext4, xfs and btrfs in turn, in a mount namespace of its own, so
# that nothing stays mounted.  The last line counts the runs; any failure makes the exit status 1.
# Needs root, mkfs.ext4, mkfs.xfs, mkfs.btrfs and loop devices.
set -eu

if [ "${WITH_FS_INSIDE-}" = "" ]; then
	work=$(mktemp -d)
	rc=0
	WITH_FS_INSIDE=$work unshare -m --propagation private sh "$0" "$@" || rc=$?
	rm -rf "$work"
	exit "$rc"
fi

work=$WITH_FS_INSIDE
passed=0
failed=0

make_fs() {
	case $1 in
	tmpfs)
		mount -t tmpfs none "$work/mnt"
		return
		;;
	ext4) mkfs="mkfs.ext4 -q -F" ;;
	xfs) mkfs="mkfs.xfs -q -f" ;;
	btrfs) mkfs="mkfs.btrfs -q -f" ;;
	esac
	truncate -s 512M "$work/$1.img"
	$mkfs "$work/$1.img" >"$work/out" 2>&1 || { cat "$work/out"; exit 1; }
	mount -o loop "$work/$1.img" "$work/mnt"
}

mkdir "$work/mnt"
for fs in tmpfs ext4 xfs btrfs; do
	make_fs "$fs"
	for program in "$@"; do
		rc=0
		TMPDIR=$work/mnt timeout 300 "$program" >"$work/out" 2>&1 || rc=$?
		left=$(find "$work/mnt" -mindepth 1 -maxdepth 1 ! -name lost+found)
		if [ "$rc" -eq 0 ] && [ "$left" = "" ]; then
			passed=$((passed + 1))
			grep -h SKIPPED "$work/out" || true
		else
			failed=$((failed + 1))
			echo "$program on $fs: status $rc, left behind: $left"
			cat "$work/out"
		fi
	done
	umount "$work/mnt"
	rm -f "$work/$fs.img"
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The loss of power, seen through copies of the disk (power.c).  The disks lie on an xfs in memory, which
# shares blocks between a disk and its copies.
# shellcheck source=tests/crash/fs-lib.sh
. "$(dirname "$0")/fs-lib.sh"

# ext4 and xfs unless told otherwise: POWER_FS=btrfs.
for fs in ${POWER_FS:-ext4 xfs}; do
	work=$(mktemp -d)
	mount -t tmpfs -o size=4g none "$work" || exit 1
	mkdir "$work/store" "$work/m"
	truncate -s 3G "$work/store.img"
	mkfs.xfs -q -m reflink=1 "$work/store.img" && mount -o loop "$work/store.img" "$work/store" || exit 1
	truncate -s 400M "$work/store/disk"
	case $fs in
	ext4) mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$work/store/disk" ;;
	xfs) mkfs.xfs -q "$work/store/disk" ;;
	btrfs) mkfs.btrfs -q "$work/store/disk" >/dev/null ;;
	esac || exit 1
	rc=0
	# In a namespace that the program leaves, so that the disk is nowhere mounted while its copies are,
	# which have the same UUID.
	# shellcheck disable=SC2016 # they are the inner shell's
	unshare -m --propagation private sh -c 'mount -o loop "$1" "$2" &&
		TMPDIR=$2 exec "$3" --disk "$1" --fs "$4"' sh "$work/store/disk" "$work/m" \
		"$BUILD/tests/crash/crash-power" "$fs" >"$work/out" 2>&1 || rc=$?
	count_result "$work/out" "$rc" "$fs: crash-power"
	umount "$work/store" && umount "$work" && rmdir "$work"
done

finish

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The loss of power, seen through copies of the disk (power.c).
# shellcheck source=tests/crash/fs-lib.sh
. "$(dirname "$0")/fs-lib.sh"

# shellcheck disable=SC2317 # with_disk calls it
run_power()
{
	local rc=0

	# In a namespace that the program leaves, so that the disk is nowhere mounted while its copies are,
	# which have the same UUID.
	# shellcheck disable=SC2016 # they are the inner shell's
	unshare -m --propagation private sh -c 'mount -o loop "$DISK" "$MOUNTPOINT" &&
		TMPDIR=$MOUNTPOINT exec "$1" --disk "$DISK" --fs "$2"' sh \
		"$BUILD/tests/crash/crash-power" "$1" >"$OUT" 2>&1 || rc=$?
	count_result "$OUT" "$rc" "$1: crash-power"
}

# Some only: POWER_FS=btrfs.
for fs in ${POWER_FS:-ext4 xfs btrfs}; do
	with_disk "$fs" run_power "$fs"
done

finish

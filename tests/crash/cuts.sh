#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The loss of power on a disk that loses some of what was written after its last flush (cuts.c).
# shellcheck source=tests/crash/fs-lib.sh
. "$(dirname "$0")/fs-lib.sh"

# shellcheck disable=SC2317 # with_disk calls it
run_cuts()
{
	local fs=$1 rc=0
	shift
	TMPDIR=$MOUNTPOINT unshare -m --propagation private "$BUILD/tests/crash/crash-cuts" --disk "$DISK" \
		--fs "$fs" "$@" >"$OUT" 2>&1 || rc=$?
	count_result "$OUT" "$rc" "$fs: crash-cuts $*"
}

# More, others, some only: CUTS=100 SEED=7 POWER_FS=btrfs.
for fs in ${POWER_FS:-ext4 xfs btrfs}; do
	with_disk "$fs" run_cuts "$fs" --cuts "${CUTS:-6}" --seed "${SEED:-1}"
done
# That the disk does lose something.
with_disk ext4 run_cuts ext4 --cuts 20 --careless --only "write to a large lower file"

finish

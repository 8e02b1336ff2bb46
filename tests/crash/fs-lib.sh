#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# For the tests of this directory and of tests/fault: a program of the build directory on a new filesystem,
# which lies in memory so that syncing it is quick.  The caller is in a mount namespace of its own.
set -u

BUILD=${LAMINA_BUILD:-$(dirname "$0")/../../build}
PASSED=0
FAILED=0

# count_result FILE STATUS TITLE: what a program said that ends with "N passed, N failed".
count_result()
{
	local line

	echo "$3"
	cat "$1"
	line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$1" | tail -n 1)
	if [ "$line" = "" ] || { [ "$2" -ne 0 ] && [ "${line##*, }" = "0 failed" ]; }; then
		echo "  it ended with status $2"
		FAILED=$((FAILED + 1))
	else
		PASSED=$((PASSED + ${line%% passed*}))
		line=${line#*, }
		FAILED=$((FAILED + ${line%% failed*}))
	fi
}

# on_fs FS DIRECTORY-OF-THE-PROGRAM PROGRAM ARG...: run it with TMPDIR on FS and count what it says.
on_fs()
{
	local fs=$1 program="$BUILD/tests/$2/$3" work rc
	shift 3
	work=$(mktemp -d)
	mount -t tmpfs -o size=3g none "$work" || exit 1
	mkdir "$work/m"
	if [ "$fs" = tmpfs ]; then
		mount -t tmpfs none "$work/m" || exit 1
	else
		truncate -s 700M "$work/img"
		case $fs in
		ext4) mkfs.ext4 -q -F "$work/img" ;;
		xfs) mkfs.xfs -q "$work/img" ;;
		btrfs) mkfs.btrfs -q "$work/img" ;;
		esac || exit 1
		mount -o loop "$work/img" "$work/m" || exit 1
	fi
	rc=0
	TMPDIR=$work/m "$program" "$@" >"$work/out" 2>&1 || rc=$?
	count_result "$work/out" "$rc" "$fs: $(basename "$program") $*"
	umount "$work/m" && umount "$work" && rmdir "$work"
}

# with_disk FS COMMAND ARG...: run the command with $DISK, an image with an empty filesystem, on another one
# that lies in memory and shares blocks between files; and $MOUNTPOINT, where nothing is mounted.  What it
# says goes to $OUT.
with_disk()
{
	local fs=$1 work
	shift
	work=$(mktemp -d)
	mount -t tmpfs -o size=4g none "$work" || exit 1
	mkdir "$work/store" "$work/m"
	truncate -s 3G "$work/store.img"
	mkfs.xfs -q -m reflink=1 "$work/store.img" && mount -o loop "$work/store.img" "$work/store" || exit 1
	DISK=$work/store/disk MOUNTPOINT=$work/m OUT=$work/out
	export DISK MOUNTPOINT OUT
	truncate -s 400M "$DISK"
	case $fs in
	ext4) mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$DISK" ;;
	xfs) mkfs.xfs -q "$DISK" ;;
	btrfs) mkfs.btrfs -q "$DISK" >/dev/null ;;
	esac || exit 1
	"$@"
	umount "$work/store" && umount "$work" && rmdir "$work"
}

finish()
{
	echo "$PASSED passed, $FAILED failed"
	[ "$FAILED" -eq 0 ]
	exit
}

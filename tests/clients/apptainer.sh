#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# apptainer: the program runs in the foreground, as root or through nsenter in a user namespace,
# or is handed an open, already mounted FUSE descriptor as /dev/fd/N.  The caller polls the mount
# table; at the end it unmounts, and sends SIGTERM to a program that does not end.
LIMIT=90
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need nsenter unshare findmnt gcc

gcc -O2 -Wall -Wextra -o mountfd "$HERE/mountfd.c" || die "the helper mountfd compiles"

sample() {
	is_mounted s/mnt && umount -l s/mnt
	rm -rf s
	mkdir -p s/{lower/dir,upper,work,mnt}
	echo below > s/lower/file
	echo below > s/lower/dir/file
}

layers="lowerdir=$T/s/lower,upperdir=$T/s/upper,workdir=$T/s/work"

# work_in MNT [PREFIX...]: what a container does.
work_in() {
	local m=$1
	shift
	equal "reading" "$("$@" cat "$m/file")" below
	check "writing and removing" "$@" sh -ec 'cd "$0"; echo new > new; echo more >> file
		rm -r dir; mkdir dir; [ -z "$(ls dir)" ]' "$m"
	equal "in upper" "$(cat s/upper/file)" below$'\n'more
}

ends_well() {
	wait_for 10 gone "$1" && pass "$2: it ends" || { fail "$2: it ends"; kill -9 "$1"; }
	wait "$1"
	promise equal "$2: status 0" $? 0
	promise equal "$2: not a word" "$(cat err)" ""
	promise check "$2: nothing stays mounted" not_mounted s/mnt
}

# As root; ended by unmounting.
sample
"$PROG" -f -o "allow_other,$layers,noacl" s/mnt 2> err &
pid=$!
wait_for 10 is_mounted s/mnt || die "root: mounted within 10 s" "$(cat err)"
work_in s/mnt
check "umount" umount s/mnt
ends_well $pid "unmounted"

# Ended by SIGTERM, by SIGINT, and by SIGTERM with a file still open in it.
for sig in TERM INT; do
	sample
	# A child of a shell that is not interactive ignores SIGINT unless told otherwise.
	env --default-signal=INT "$PROG" -f -o "allow_other,$layers,noacl" s/mnt 2> err &
	pid=$!
	wait_for 10 is_mounted s/mnt || die "root: mounted again" "$(cat err)"
	kill -$sig $pid
	ends_well $pid "SIG$sig"
done
sample
"$PROG" -f -o "allow_other,$layers" s/mnt 2> err &
pid=$!
wait_for 10 is_mounted s/mnt || die "root: mounted again" "$(cat err)"
exec 7< s/mnt/file
kill -TERM $pid
promise check "SIGTERM with an open file: no longer mounted" wait_for 10 not_mounted s/mnt
exec 7<&-
check "and it ends once the file is closed" wait_for 10 gone $pid
wait $pid

# Read-only: lowers only, and with an upper.
sample
"$PROG" -f -o "allow_other,ro,lowerdir=$T/s/upper:$T/s/lower,noacl" s/mnt 2> err &
pid=$!
wait_for 10 is_mounted s/mnt || die "ro: mounted" "$(cat err)"
equal "ro: reading" "$(cat s/mnt/dir/file)" below
check_not "ro: writing" touch s/mnt/x
umount s/mnt
ends_well $pid "ro"

# Root in a user namespace with a mount namespace of its own, entered by nsenter.
sample
unshare --user --map-root-user --mount sleep 600 &
ns=$!
wait_for 5 grep -q '^ *0 *0 *1$' /proc/$ns/gid_map || die "a user namespace"
into=(nsenter --target "$ns" --user --mount --preserve-credentials --
	sh -c 'cd "$0" && exec "$@"' "$T")
"${into[@]}" "$PROG" -f -o "allow_other,$layers,noacl" s/mnt 2> err &
pid=$!
wait_for 10 grep -q " $T/s/mnt " /proc/$ns/mountinfo || die "user namespace: mounted" "$(cat err)"
pass "user namespace: mounted"
check "not in the outer mount table" not_mounted s/mnt
work_in s/mnt "${into[@]}"
check "umount inside" "${into[@]}" umount s/mnt
ends_well $pid "user namespace"
kill $ns

# An already mounted descriptor, given as /dev/fd/3.
sample
./mountfd s/mnt "$PROG" -f -o "allow_other,$layers,noacl" /dev/fd/3 2> err &
pid=$!
wait_for 10 is_mounted s/mnt || die "/dev/fd/3: mounted" "$(cat err)"
work_in s/mnt
check "umount" umount s/mnt
ends_well $pid "/dev/fd/3"
finish

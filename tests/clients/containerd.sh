#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# containerd's snapshotter (nerdctl, k3s, buildkit): it runs the system's mount.fuse3 with -t
# PROG, which joins the options and adds its own; and probes with a real mount of two lowers and
# no upper.
LIMIT=60
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need mount.fuse3 findmnt

mkdir -p lower1 lower2/dir upper work mnt
echo one > lower1/one
echo two > lower2/two
echo two > lower2/dir/file
chown -R 1000:1000 lower1 lower2
untouched lower2

# The probe.
check "probe: two lowers, no upper" mount.fuse3 overlay "$T/mnt" -o \
	"lowerdir=$T/lower2:$T/lower1" -t "$PROG"
equal "both layers show" "$(cd mnt && echo *)" "dir one two"
check_not "it is read-only" touch mnt/x
equal "and says EROFS" "$(touch mnt/x 2>&1 | grep -c 'Read-only file system')" 1
unmount mnt

# A snapshot.
snapshot() {
	mount.fuse3 overlay "$T/mnt" -o "workdir=$T/work" -o "upperdir=$T/upper" \
		-o "lowerdir=$T/lower2:$T/lower1" "$@" -t "$PROG"
}
check "a snapshot" snapshot
sh_check "a file is written" 'echo new > mnt/new; [ "$(cat upper/new)" = new ]'
sh_check "a lower file is removed" 'rm mnt/two; [ ! -e mnt/two ]'
sh_check "a device node is made and works" 'mknod -m 666 mnt/null c 1 3; echo x > mnt/null;
	[ -c mnt/null ]'
sh_check "set-uid programs stay so" 'cp /bin/true mnt/suid; chmod 4755 mnt/suid; [ -u mnt/suid ]'
equal "suid and dev are allowed" \
	"$(findmnt -n -o OPTIONS -M "$T/mnt" | tr , '\n' | grep -cE '^(nosuid|nodev)$')" 0
unmount mnt
rm -rf upper work
mkdir upper work

# Snapshots with id maps.  Layers hold the numbers that the container sees; the mount shows them
# as the numbers they have outside, and its user namespace maps them back.
rm -rf upper work lower2
mkdir -p upper work lower2/dir
echo two > lower2/dir/file
chown -R 0:0 lower1 lower2
chown 5:5 lower2/dir/file
untouched lower2
check "uidmapping with one id" snapshot -o uidmapping=0:1000:1 -o gidmapping=0:1000:1
equal "an owner is shown mapped" "$(stat -c %u:%g mnt/one)" 1000:1000
equal "one that has no mapping is nobody" "$(stat -c %u:%g mnt/dir/file)" 65534:65534
unmount mnt

rm -rf upper work
mkdir upper work
check "two ranges, with the leading colon one caller writes" snapshot \
	-o uidmapping=:0:1000:1:1:100000:65536 -o gidmapping=:0:1000:1:1:100000:65536
userns "0 1000 1"$'\n'"1 100000 65536"
equal "outside, both ranges are shown mapped" "$(stat -c %u:%g mnt/one mnt/dir/file)" \
	1000:1000$'\n'100004:100004
equal "inside, it is what the layers hold" "$(as_inside stat -c %u:%g mnt/one mnt/dir/file)" \
	0:0$'\n'5:5
check "a new file from inside" as_inside touch mnt/new
equal "is root's inside" "$(as_inside stat -c %u:%g mnt/new)" 0:0
equal "and root's in upper" "$(stat -c %u:%g upper/new)" 0:0
check "chown from inside" as_inside chown 33:44 mnt/new
equal "shows inside" "$(as_inside stat -c %u:%g mnt/new)" 33:44
equal "and is recorded so in upper" "$(stat -c %u:%g upper/new)" 33:44
check "copy-up from inside" as_inside sh -c 'echo more >> mnt/dir/file'
equal "keeps the owner" "$(stat -c %u:%g upper/dir/file)" 5:5
equal "and its directory's" "$(stat -c %u:%g upper/dir)" 0:0
check "mkdir, ln -s, mknod, ln from inside" as_inside sh -ec \
	'mkdir mnt/d; ln -s x mnt/d/l; mkfifo mnt/d/p; ln mnt/new mnt/d/h'
equal "all root's in upper" "$(stat -c %u:%g upper/d upper/d/l upper/d/p | sort -u)" 0:0
check "chown -R of lower files from inside" as_inside chown -R 7:8 mnt/dir
equal "in upper" "$(stat -c %u:%g upper/dir upper/dir/file | sort -u)" 7:8
# A number that no mapping leads to must not be written into a layer as some other owner.
promise check_not "an owner outside the map is refused" chown 7 mnt/new
unmount mnt
still_untouched lower2
finish

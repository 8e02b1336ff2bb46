#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The forms of mount(8): `mount -t fuse.lamina`, `mount -t lamina`, lines of fstab with `mount -a`
# and with the options that only mount(8) and systemd understand, and `mount -t fuse PROG#source`.
LIMIT=60
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need mount findmnt mount.fuse3

# mount(8) looks for helpers in fixed directories only.  So that nothing need be installed, this
# mount namespace gets a /sbin of links to everything in the real one, and ours.
sbin=$(readlink -f /sbin)
mkdir realsbin newsbin
mount --bind "$sbin" realsbin
cp -as "$T"/realsbin/. newsbin/
for name in mount.fuse.lamina mount.lamina; do
	ln -sfn "$PROG" newsbin/$name
done
mount --bind newsbin "$sbin"

mkdir lower upper work mnt "mnt two" lower2
echo below > lower/file
echo other > lower2/file
layers="lowerdir=$T/lower,upperdir=$T/upper,workdir=$T/work"

# helper NAME COMMAND...: mounts, works, unmounts.
helper() {
	local what=$1
	shift
	check "$what" "$@"
	is_mounted mnt || { fail "$what: mounted"; return; }
	equal "$what: the lower file is there" "$(cat mnt/file)" below
	sh_check "$what: writing" "echo '$what' > mnt/new; grep -q '$what' upper/new; rm mnt/new"
	equal "$what: type in the mount table" \
		"$(findmnt -n -o FSTYPE -M "$T/mnt" | cut -d. -f1)" fuse
	check "$what: umount" umount mnt
	check "$what: it is gone" not_mounted mnt
}

helper "mount -t fuse.lamina" mount -t fuse.lamina -o "$layers" overlay mnt
helper "mount -t lamina" mount -t lamina -o "$layers" overlay mnt
helper "options of systemd" mount -t fuse.lamina -o \
	"$layers,_netdev,x-systemd.automount,x-systemd.requires-mounts-for=$T,nofail,noauto" \
		overlay mnt
helper "general options" mount -t fuse.lamina -o \
	"$layers,rw,relatime,suid,dev,exec,async,auto,nouser,noatime,lazytime" overlay mnt
helper "PROG#source" mount -t fuse -o "$layers" "$PROG#overlay" mnt
helper "mount.fuse3 directly" mount.fuse3 "$PROG#overlay" mnt -o "$layers"

cat > fstab <<END
# a comment
overlay  $T/mnt            fuse.lamina  $layers,x-systemd.automount,_netdev,nofail  0 0
overlay  $T/mnt\\040two    fuse.lamina  lowerdir=$T/lower2:$T/lower,ro,x-gvfs-hide  0 0
END
check "mount -a" mount -a -T "$T/fstab"
equal "first line" "$(cat mnt/file)" below
equal "second line, a space in its mountpoint" "$(cat "mnt two/file")" other
check_not "ro is obeyed" touch "mnt two/x"
findmnt -n -o OPTIONS -M "$T/mnt two" | grep -qw ro && pass "ro in the mount table" ||
	fail "ro in the mount table" "$(findmnt -n -M "$T/mnt two")"
check "mount -a again changes nothing" mount -a -T "$T/fstab"
# For that the source of the mount must be what the line says.
promise equal "still one mount each" "$(findmnt -rn -o TARGET | grep -c "^$T/mnt")" 2
umount mnt "mnt two"
[ -z "${LAMINA_PEER:-}" ] || umount mnt "mnt two"

check_not "a missing lower layer is refused" mount -t fuse.lamina -o "lowerdir=$T/nothing" \
	overlay mnt
check "and leaves no mount" not_mounted mnt
finish

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# An overlay as a layer of another: the program over itself, over the kernel's overlayfs and over
# squashfs; as lower layer and, for the program over itself, as upper.
LIMIT=120
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need mksquashfs mount

# base DIR: a lower layer.
base() {
	mkdir -p "$1"/{dir/sub,gone/sub,opaque}
	echo below > "$1/file"
	echo below > "$1/dir/file"
	echo deep > "$1/dir/sub/file"
	touch "$1/gone/sub/x" "$1/opaque/old"
	ln -s file "$1/link"
	ln "$1/file" "$1/dir/hard"
}

# change MNT: something of every kind.
change() {
	(
		set -e
		cd "$1"
		echo "$2" >> file
		rm -r gone opaque
		mkdir opaque
		echo "$2" > opaque/new
		mv dir/sub dir/moved
		chmod 640 dir/file
		ln -sfn dir link
	)
}

shows_change() {
	(
		set -e
		cd "$1"
		[ "$(tail -n1 file)" = "$2" ]
		[ ! -e gone ]
		[ "$(ls opaque)" = new ]
		[ "$(cat dir/moved/file)" = deep ]
		[ ! -e dir/sub ]
		[ "$(stat -c %a dir/file)" = 640 ]
		[ "$(readlink link)" = dir ]
		rm -rf "$T/copy"
		cp -a . "$T/copy"
	)
}

# The program over itself.
base in/lower
overlay in
check "inner: changes" change in/mnt inner
mkdir out
LOWER=$T/in/mnt overlay out
check "over itself: the inner overlay shows through" shows_change out/mnt inner
same_tree "over itself: the same tree" in/mnt out/mnt
promise sh_check "over itself: hard links stay whole" \
	'[ "$(cat out/mnt/dir/hard)" = "$(cat out/mnt/file)" ]; [ "$(stat -c %h out/mnt/file)" = 2 ]
	 [ out/mnt/file -ef out/mnt/dir/hard ]'
sh_check "over itself: changes of changes" \
	'cd out/mnt; echo outer >> file; rm -r dir/moved; mkdir gone; mv opaque op;
		[ "$(cat op/new)" = inner ]'
equal "over itself: the inner one does not see them" "$(tail -n1 in/mnt/file; ls in/mnt)" \
	inner$'\n'"$(printf '%s\n' dir file link opaque)"
LOWER=$T/in/mnt remount out
promise equal "over itself: after a remount" \
	"$(tail -n1 out/mnt/file; ls out/mnt; ls -A out/mnt/gone)" \
	outer$'\n'"$(printf '%s\n' dir file gone link op)"
unmount out/mnt
rm -rf out

# Its upper and work directories inside itself.
mkdir -p in/mnt/u in/mnt/w lower2 up2
base lower2
promise check "upper inside itself: mounts" "$PROG" \
	-o "lowerdir=$T/lower2,upperdir=$T/in/mnt/u,workdir=$T/in/mnt/w" up2
if [ -z "${LAMINA_PEER:-}" ]; then
	check "upper inside itself: changes" change up2 nested
	check "upper inside itself: they show" shows_change up2 nested
	unmount up2
	check "upper inside itself: mounts again" "$PROG" \
		-o "lowerdir=$T/lower2,upperdir=$T/in/mnt/u,workdir=$T/in/mnt/w" up2
	check "upper inside itself: they show again" shows_change up2 nested
	unmount up2
fi
# The server of what lay in it is on its way out.
wait_for 20 umount in/mnt || fail "unmount of in/mnt"

# Five deep.
base five/0
for i in 1 2 3 4 5; do
	mkdir five/$i
	LOWER=$T/five/$((i - 1))$([ $i = 1 ] || echo /mnt) overlay five/$i
	echo $i > five/$i/mnt/level$i
done
equal "five deep: every level is there" "$(cat five/5/mnt/level? | tr -d '\n')" 12345
check "five deep: changes" change five/5/mnt top
check "five deep: they show" shows_change five/5/mnt top
rm five/5/mnt/level1
equal "five deep: the first does not know" "$(cat five/1/mnt/level1)" 1
for i in 5 4 3 2 1; do unmount five/$i/mnt; done

# The kernel's overlayfs below.
base k/lower
mkdir -p k/{upper,work,mnt} over
mount -t overlay -o "lowerdir=$T/k/lower,upperdir=$T/k/upper,workdir=$T/k/work,redirect_dir=on" \
	overlay k/mnt ||
	die "the kernel's overlayfs mounts"
check "over the kernel's: changes below" change k/mnt kernel
LOWER=$T/k/mnt overlay over
check "over the kernel's: shows through" shows_change over/mnt kernel
sh_check "over the kernel's: copy-up" 'echo x >> over/mnt/dir/moved/file; rm over/mnt/file;
	[ -e k/mnt/file ]'
unmount over/mnt
umount k/mnt
rm -rf over

# squashfs below, twice: two images with colliding inode numbers.
base sq1
base sq2
echo second > sq2/dir/second
mksquashfs sq1 sq1.img -quiet -no-progress >/dev/null && mksquashfs sq2 sq2.img -quiet \
	-no-progress >/dev/null
mkdir -p m1 m2 over
mount -o loop,ro sq1.img m1 && mount -o loop,ro sq2.img m2 || die "squashfs mounts"
LOWER=$T/m2:$T/m1 overlay over
check "over squashfs: changes" change over/mnt squash
check "over squashfs: they show" shows_change over/mnt squash
equal "over squashfs: both images show" "$(cat over/mnt/dir/second)" second
unmount over/mnt
umount m1 m2
finish

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# enroot: the program runs in the foreground, its mount covers the very layers it is made of, and
# it is told to write `.wh.` files as whiteouts.  Once mounted, any path to a layer leads back
# into the mount: a server that follows one waits for itself for ever.
LIMIT=60
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need findmnt umount

mkdir -p R/lower/{dir/sub,empty,gone} R/upper R/work
echo below > R/lower/file
echo below > R/lower/dir/file
echo below > R/lower/gone/file
ln -s file R/lower/link
mkdir view
mount --bind R view		# the layers, seen beside the mount that covers them

export FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT=y
"$PROG" -f -o lowerdir=R/lower,upperdir=R/upper,workdir=R/work R 2> err &
server=$!
wait_for 10 is_mounted "$T/R" || die "mounted over its own layers" "$(cat err)"
pass "mounted over its own layers"
check "still in the foreground" kill -0 $server

equal "the tree shows" "$(cd R && echo *)" "dir empty file gone link"
equal "reading" "$(cat R/dir/file R/link)" "below"$'\n'"below"
sh_check "copy-up" 'echo more >> R/dir/file; [ "$(cat R/dir/file)" = below$'"'\\n'"'more ]'
sh_check "create" 'echo new > R/new; mkdir R/d; ln R/new R/d/hard; ln -s x R/d/soft'
sh_check "attributes" 'chmod 600 R/file; chown 3:4 R/file; touch -d @77 R/file;
	setfattr -n user.x -v 1 R/file'
check "attributes of a symlink" chown -h 3:4 R/link
check "statfs" df R
sh_check "remove" 'rm R/link'
sh_check "remove a merged directory" 'rm -r R/gone'
sh_check "rename" 'mv R/new R/newer; mv R/d R/e'
sh_check "make a directory where one was removed" 'mkdir R/gone; [ -z "$(ls R/gone)" ]'

equal "a whiteout is a .wh. file" "$(stat -c '%F %s' view/upper/.wh.link)" "regular empty file 0"
equal "and no other kind is there" "$(find view/upper -type c)" ""
equal "whiteouts do not show" "$(find R -name '.wh.*')" ""
equal "the lower layer has what was removed" "$(cat view/lower/link)" below

check "umount" umount R
check "the program ends after umount" wait_for 10 gone $server
wait $server
equal "with status 0" $? 0
promise equal "having said nothing" "$(cat err)" ""
equal "the layers show again" "$(cd R && echo *)" "lower upper work"

# What the `.wh.` files say holds after a remount, and for a mount beside the layers.
unset FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT
mkdir mnt
check "mounted again, elsewhere" "$PROG" -o lowerdir=R/lower,upperdir=R/upper,workdir=R/work mnt
equal "as it was left" "$(cd mnt && echo * && cat newer && ls gone)" \
	"dir e empty file gone newer"$'\n'new
unmount mnt
finish

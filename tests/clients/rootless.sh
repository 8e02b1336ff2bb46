#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# An ordinary user, twice: mounting through the set-uid fusermount3, and as root of a user
# namespace of his own (`unshare -Urm`).  What he leaves in upper, he finds again after a remount.
LIMIT=120
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need setpriv fusermount3 unshare getfattr

# The user `nobody` has a real passwd entry; a device that he may open replaces /dev/fuse in here.
mknod -m 666 fusedev c 10 229
mount --bind fusedev /dev/fuse
export HOME=$T
as_user=(setpriv --reuid 65534 --regid 65534 --clear-groups --)

# story FILE: the work of a session, run by the user inside the mount at $1 with its layers in $2.
cat > session.sh <<'END'
set -e
m=$1
step() { echo "step: $*" >&2; }
step "reading"
[ "$(cat $m/dir/file)" = below ]
step "append"
echo more >> $m/dir/file; [ "$(tail -n1 $m/dir/file)" = more ]
step "create"
echo new > $m/new; mkdir -p $m/a/b/c
ln -s ../x $m/a/link; mkfifo $m/a/fifo
step "hard link"
ln $m/new $m/a/hard; [ "$(stat -c %h $m/new)" = 2 ]
step "remove a lower file"
rm $m/gone; [ ! -e $m/gone ]; [ -z "$(ls $m | grep -x gone)" ]
step "remove a lower tree"
rm -rf $m/tree; [ ! -e $m/tree ]
step "make it anew, empty"
mkdir $m/tree; [ -z "$(ls -A $m/tree)" ]
step "rename a file"
mv $m/f1 $m/f2; [ ! -e $m/f1 ]; [ "$(cat $m/f2)" = f1 ]
step "rename a new directory"
mv $m/a $m/z; [ -e $m/z/hard ]
step "rename a lower directory"
mv $m/ren $m/renamed
[ "$(cat $m/renamed/sub/file)" = deep ]; [ ! -e $m/ren ]
step "modes"
chmod 640 $m/mode; [ "$(stat -c %a $m/mode)" = 640 ]
step "read-only objects"
mkdir $m/ro; touch $m/ro/f; chmod 444 $m/ro/f; chmod 555 $m/ro
[ "$(stat -c %a $m/ro/f)" = 444 ]
step "a 0444 lower file"
chmod u+w $m/locked; echo more >> $m/locked; chmod 444 $m/locked
step "times"
touch -d @1000000000 $m/mode; [ "$(stat -c %Y $m/mode)" = 1000000000 ]
step "xattrs"
setfattr -n user.mine -v 1 $m/new
[ "$(getfattr --only-values -n user.mine $m/new)" = 1 ]
step "truncate"
: > $m/trunc; [ ! -s $m/trunc ]
step "many files"
mkdir $m/many; for i in $(seq 300); do echo $i > $m/many/$i; done; rm $m/many/1??
[ $(ls $m/many | wc -l) = 200 ]
END
cat > again.sh <<'END'
set -e
m=$1
[ "$(tail -n1 $m/dir/file)" = more ]
[ "$(cat $m/z/hard)" = new ]
[ ! -e $m/gone ]
[ -d $m/tree ] && [ -z "$(ls -A $m/tree)" ]
[ "$(cat $m/f2)" = f1 ]
[ "$(cat $m/renamed/sub/file)" = deep ]
[ ! -e $m/ren ]
[ "$(stat -c %a $m/mode)" = 640 ]
[ "$(stat -c %Y $m/mode)" = 1000000000 ]
[ "$(getfattr --only-values -n user.mine $m/new)" = 1 ]
[ "$(ls $m/many | wc -l)" = 200 ]
[ "$(ls $m | tr '\n' ' ')" = "dir f2 locked many mode new renamed ro tree trunc z " ]
rm -rf $m/many $m/dir
echo again > $m/dir
END

prepare() {
	mkdir -p "$1"/{lower/dir,lower/tree/sub,lower/ren/sub,upper,work,mnt}
	echo below > "$1/lower/dir/file"
	echo deep > "$1/lower/ren/sub/file"
	touch "$1"/lower/{gone,tree/a,tree/sub/b,mode,locked}
	echo long > "$1/lower/trunc"
	echo f1 > "$1/lower/f1"
	chmod 444 "$1/lower/locked"
	chown -R 65534:65534 "$1"
	untouched "$1/lower"
}

# upper_is_right DIR: in upper there is what an overlay of a user writes.
upper_is_right() {
	equal "no trusted xattr in upper" \
		"$(getfattr -R -h -m '^trusted' "$1/upper" 2>/dev/null)" ""
	if [ -z "${LAMINA_PEER:-}" ]; then
		equal "the remade directory is opaque" \
			"$(getfattr --only-values -n user.overlay.opaque "$1/upper/tree" 2>&1)" y
	fi
	check "the user can remove all he left" "${as_user[@]}" sh -c \
		"chmod -R u+rwx $1/upper $1/work && rm -rf $1/upper/* $1/work/*"
}

# 1. Through fusermount3.
prepare s
said=$("${as_user[@]}" timeout 30 "$PROG" \
	-o "lowerdir=$T/s/lower,upperdir=$T/s/upper,workdir=$T/s/work" "$T/s/mnt" 2>&1)
is_mounted s/mnt || die "a user mounts through fusermount3" "$said"
pass "a user mounts through fusermount3"
promise equal "silently" "$said" ""
check "a session" "${as_user[@]}" bash session.sh "$T/s/mnt"
check_not "nobody else sees it: not even root" ls s/mnt
check "fusermount3 -u" "${as_user[@]}" fusermount3 -u "$T/s/mnt"
check "mounted again" "${as_user[@]}" timeout 30 "$PROG" \
	-o "lowerdir=$T/s/lower,upperdir=$T/s/upper,workdir=$T/s/work" "$T/s/mnt"
check "as it was left" "${as_user[@]}" bash again.sh "$T/s/mnt"
check "fusermount3 -u" "${as_user[@]}" fusermount3 -u "$T/s/mnt"
still_untouched s/lower
upper_is_right s

# 2. In a user namespace: mount, session, unmount, all in one, twice.
prepare u
cat > inside.sh <<'END'
cd "$1" || exit 1
"$2" -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work" "$1/mnt" || exit 1
bash "$3" "$1/mnt" || exit 1
umount "$1/mnt"
END
check "unshare -Urm: a session" "${as_user[@]}" unshare -Urm bash "$T/inside.sh" "$T/u" "$PROG" \
	"$T/session.sh"
check "unshare -Urm: as it was left" "${as_user[@]}" unshare -Urm bash "$T/inside.sh" "$T/u" \
	"$PROG" "$T/again.sh"
still_untouched u/lower
upper_is_right u

# 3. A user may not reach through an overlay what he may not reach without it.
mkdir -p p/{lower,upper,work,mnt}
echo secret > p/lower/secret
chmod 600 p/lower/secret
chown -R 65534:65534 p/upper p/work p/mnt
check "a layer with another's file" "${as_user[@]}" timeout 30 "$PROG" \
	-o "lowerdir=$T/p/lower,upperdir=$T/p/upper,workdir=$T/p/work" "$T/p/mnt"
check_not "cannot be read" "${as_user[@]}" cat "$T/p/mnt/secret"
check_not "nor written" "${as_user[@]}" sh -c "echo x > $T/p/mnt/secret"
check_not "nor made one's own" "${as_user[@]}" chown 65534 "$T/p/mnt/secret"
check "fusermount3 -u" "${as_user[@]}" fusermount3 -u "$T/p/mnt"
equal "and is as it was" "$(cat p/lower/secret)" secret
finish

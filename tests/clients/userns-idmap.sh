#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Owners that are not what the layer says: squash_to_root, squash_to_uid and _gid, and
# xattr_permissions=2, where owner and mode are kept in user.containers.override_stat because
# whoever serves the layers may not chown.
LIMIT=90
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need getfattr setfattr unshare nsenter

stat_of() {
	stat -c %u:%g:%a "$1"
}

# What is recorded: uid:gid:mode.  More may follow, and the mode may have the file type above it.
override() {
	local uid gid mode rest
	IFS=: read -r uid gid mode rest <<<"$(getfattr --absolute-names --only-values \
		-n user.containers.override_stat "$1" 2>&1)"
	[[ $mode =~ ^[0-7]+$ ]] || { echo "nothing"; return; }
	printf '%s:%s:%o\n' "$uid" "$gid" $((8#$mode & 8#7777))
}

# Tools that keep owners in xattrs mark the root of a layer so.
mark() {
	setfattr -n user.containers.override_stat -v 0:0:755 "$@"
}

# Squashing.
mkdir -p q/lower
echo below > q/lower/file
echo below > q/lower/theirs
chown 5:6 q/lower/theirs
overlay q squash_to_root
equal "squash_to_root: everything is root's" "$(stat_of q/mnt/theirs)" 0:0:644
unmount q/mnt
overlay q squash_to_uid=1000,squash_to_gid=1001
equal "squash_to_uid, _gid: a lower file" "$(stat_of q/mnt/theirs)" 1000:1001:644
equal "a directory" "$(stat -c %u:%g q/mnt)" 1000:1001
sh_check "a new file" 'echo new > q/mnt/new'
equal "is shown so too" "$(stat -c %u:%g q/mnt/new)" 1000:1001
sh_check "copy-up" 'echo more >> q/mnt/theirs'
promise equal "keeps the owner on disk" "$(stat -c %u:%g q/upper/theirs)" 5:6
equal "and shows the squashed one" "$(stat -c %u:%g q/mnt/theirs)" 1000:1001
unmount q/mnt
overlay q squash_to_uid=7,squash_to_root
equal "squash_to_uid goes before squash_to_root" "$(stat -c %u q/mnt/theirs)" 7
unmount q/mnt

if [ -n "${LAMINA_PEER:-}" ]; then
	echo "# not asked of a peer: xattr_permissions"
	finish
fi

# xattr_permissions=2 with privilege: what is below says who owns it.
mkdir -p x/lower/dir x/upper
mark x/lower x/upper
echo below > x/lower/file
echo below > x/lower/dir/file
setfattr -n user.containers.override_stat -v 33:44:4751 x/lower/file
setfattr -n user.containers.override_stat -v 55:66:2775 x/lower/dir
chmod 700 x/lower/file
overlay x xattr_permissions=2
equal "override_stat of a lower file is read" "$(stat_of x/mnt/file)" 33:44:4751
equal "of a lower directory" "$(stat_of x/mnt/dir)" 55:66:2775
equal "the xattr does not show" \
	"$(getfattr -d -m - x/mnt/file 2>/dev/null | grep -c override_stat)" 0
check "chown" chown 77:88 x/mnt/file
equal "shows" "$(stat -c %u:%g x/mnt/file)" 77:88
equal "and is recorded in upper" "$(override x/upper/file | cut -d: -f1,2)" 77:88
check "chmod" chmod 640 x/mnt/file
equal "shows" "$(stat_of x/mnt/file)" 77:88:640
equal "and is recorded in upper" "$(override x/upper/file)" 77:88:640
sh_check "create and mkdir" 'echo new > x/mnt/new; chmod 604 x/mnt/new; mkdir -m 750 x/mnt/d'
equal "a new file is recorded" "$(override x/upper/new)" 0:0:604
equal "a new directory is recorded" "$(override x/upper/d)" 0:0:750
sh_check "copy-up by writing" 'echo more >> x/mnt/dir/file'
equal "keeps what showed" "$(stat_of x/mnt/dir/file)" 0:0:644
equal "of the directory too" "$(stat_of x/mnt/dir)" 55:66:2775
check "rename" mv x/mnt/file x/mnt/renamed
remount x xattr_permissions=2
equal "after a remount" "$(stat_of x/mnt/renamed; stat_of x/mnt/new; stat_of x/mnt/d)" \
	77:88:640$'\n'0:0:604$'\n'0:0:750
unmount x/mnt

# And without: a user who is root in a user namespace.  The maps give him ids to chown to, but not
# one of them appears on disk.
mkdir -p r/{lower,upper,work,mnt}
echo below > r/lower/file
chown -R 65534:65534 r
mark r/lower r/upper
cat > inside.sh <<'END'
set -e
cd "$1"
"$2" -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work,xattr_permissions=2" "$1/mnt"
cd mnt
if [ "$3" = first ]; then
	echo new > new
	mkdir d
	ln -s x link
	chown 44:55 new
	chmod 4755 new
	chmod 1777 d
	echo more >> file
	chown 5 file
fi
stat -c %n:%u:%g:%a *
tail -n1 file
cd ..
umount mnt
END
wanted=$(printf '%s\n' d:0:0:1777 file:5:0:644 link:0:0:777 new:44:55:4755 more)
mknod -m 666 fusedev c 10 229
mount --bind fusedev /dev/fuse
userns "0 65534 1"$'\n'"1 100000 65536"
inside() {
	as_inside unshare --mount bash "$T/inside.sh" "$T/r" "$PROG" "$1" 2>&1
}
equal "a user: create, chown, chmod" "$(inside first)" "$wanted"
equal "recorded in upper" "$(override r/upper/new)" 44:55:4755
equal "of a directory" "$(override r/upper/d)" 0:0:1777
equal "of a copied-up file" "$(override r/upper/file)" 5:0:644
equal "on disk all is his" "$(find r/upper -printf '%U:%G\n' | sort -u)" 65534:65534
equal "a user: after a remount" "$(inside again)" "$wanted"

# A squashed owner is never shown, so a server that may not give files to him copies up all the same.
mkdir -p z/{lower/dir,upper,work,mnt}
chown 65534:65534 z/*
echo below > z/lower/theirs
echo below > z/lower/dir/theirs
chown -R 5:6 z/lower/dir z/lower/theirs
chmod 777 z/lower/dir
chmod 666 z/lower/theirs z/lower/dir/theirs
cat > squashed.sh <<'END'
set -e
cd "$1"
"$2" -o "lowerdir=$1/lower,upperdir=$1/upper,workdir=$1/work,$3" "$1/mnt"
trap 'cd /; umount "$1/mnt"' EXIT
cd mnt
echo more >> theirs
echo more >> dir/theirs
chmod 755 dir
echo new > dir/new
stat -c %n:%u:%g:%a theirs dir dir/*
tail -qn1 theirs dir/theirs
END
squashed() {
	as_inside unshare --mount --map-root-user bash "$T/squashed.sh" "$T/z" "$PROG" "$1" 2>&1
}
wanted=$(printf '%s\n' theirs:0:0:666 dir:0:0:755 dir/new:0:0:644 dir/theirs:0:0:666 more more)
equal "squashed, without privilege: copy-up" "$(squashed squash_to_root)" "$wanted"
equal "on disk all is his" "$(find z/upper -printf '%U:%G\n' | sort -u)" 65534:65534
rm -rf z/upper/* z/work/*
check_not "and unsquashed it is refused: the owner would show" squashed index=on
equal "without a trace in upper" "$(ls -A z/upper)" ""
finish

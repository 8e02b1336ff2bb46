#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The commands as an ordinary user, mounting through fusermount3, and as root of a user namespace.
if grep -q __gcov_exit "${LAMINA:-$(dirname "$0")/../../build/lamina}"; then
	echo "skipped: counts cannot be written by another user, which is said where silence is expected"
	exit 77
fi
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# As root: become the user with number 65534, who owns the layers.  Others are such users already.
if [ "$(id -u)" -eq 0 ]; then
	as_user()
	{
		setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$T" "$@"
	}
	own()
	{
		chown -R 65534:65534 "$@"
	}
	chmod 755 "$T"
	# Where the device is closed to users, they get an open one in this test's namespace.
	if [ "$(stat -c %a /dev/fuse)" != 666 ]; then
		mknod -m 666 "$T/fuse" c 10 229
		mount --bind "$T/fuse" /dev/fuse
	fi
else
	as_user()
	{
		"$@"
	}
	own()
	{
		:
	}
fi

# The build directory may be closed to that user.
cp "$(realpath "$LAMINA")" "$T/lamina"
ln -s lamina "$T/lamina-mount"

run_as_user()
{
	RC=0
	as_user timeout 60 "$@" >"$T/out" 2>"$T/err" </dev/null || RC=$?
}

layers user
own "$D"
run_as_user "$T/lamina-mount" -o "$OPTS" "$D/m"
check "mount: status" is "$RC" 0
check "mount: silent" silent
check "mount: shows" is "$(as_user cat "$D/m/only")" "only b"
check "mount: changes" as_user sh -c "echo new >'$D/m/only'"
check "mount: the upper has it" is "$(cat "$D/u/only")" new
check "no set-user-id, no devices" \
	grep -q " $D/m [^-]*nosuid,nodev" /proc/self/mountinfo
run_as_user "$T/lamina" umount "$D/m"
check "umount: status" is "$RC" 0
check "umount: silent" silent
check "umount: unmounted" not mounted "$D/m"
check "umount: the server has ended" no_servers "upperdir=$D/u"

run_as_user "$T/lamina" mount --lower "$D/a" --lower "$D/b" --upper "$D/u" "$D/m"
check "friendly: status" is "$RC" 0
check "friendly: work directory" [ -d "$D/u.work" ]
check "friendly: what was written" is "$(as_user cat "$D/m/only")" new
kill "$(servers "--upper $D/u")"
check "SIGTERM unmounts" await not mounted "$D/m"
check "SIGTERM ends the server" await no_servers "--upper $D/u"

# A mountpoint that is somebody else's.
if [ "$(id -u)" -eq 0 ]; then
	mkdir "$T/closed"
	run_as_user "$T/lamina-mount" -o "$OPTS" "$T/closed"
	check "foreign mountpoint: status" is "$RC" 1
	check "foreign mountpoint: not mounted" not mounted "$T/closed"
	check "foreign mountpoint: said" [ -s "$T/err" ]
fi

# Root of a user namespace: everything happens in there.
layers ns
own "$D"
cat >"$T/in-ns" <<END
set -e
"$T/lamina-mount" -o "$OPTS" "$D/m"
test "\$(cat "$D/m/file")" = "of a"
rm "$D/m/file"
test ! -e "$D/m/file"
mv "$D/m/only" "$D/m/moved"
"$T/lamina" umount "$D/m"
"$T/lamina-mount" -o "$OPTS" "$D/m"
test ! -e "$D/m/file"
test "\$(cat "$D/m/moved")" = "only b"
"$T/lamina" umount "$D/m"
END
run_as_user unshare -Urm bash "$T/in-ns"
check "namespace: status" is "$RC" 0
check "namespace: silent" silent
check "namespace: lower is untouched" is "$(cat "$D/a/file") $(cat "$D/b/only")" "of a only b"

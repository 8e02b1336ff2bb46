#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A newcomer's first commands: the demonstration, as root and as an ordinary user, and what somebody
# is told who lacks a package and may not install it.
if grep -q __gcov_exit "${LAMINA:-$(dirname "$0")/../../build/lamina}"; then
	echo "skipped: counts cannot be written by another user, which is said where silence is expected"
	exit 77
fi
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# demonstration NAME COMMAND...: everything in it holds, and it leaves nothing.
demonstration()
{
	local name=$1
	shift
	run "$@" env LAMINA_BUILD="$BUILD" TMPDIR="$T/tmp" "$ROOT/scripts/demo.sh"
	check "$name: status" is "$RC" 0
	check "$name: silent on standard error" [ ! -s "$T/err" ]
	for shown in "its inode number is still" "still one file" "in one system call" "What the upper directory holds" \
		"still has number" "unmounted clean"; do
		check "$name: shows: $shown" grep -q "$shown" "$T/out"
	done
	check "$name: leaves nothing" is "$(ls -A "$T/tmp")" ""
	check "$name: no mount" not grep -q "$T/tmp" /proc/self/mountinfo
}
mkdir -m 1777 "$T/tmp"
chmod 755 "$T"
demonstration demonstration
if [ "$(id -u)" -eq 0 ]; then
	chmod 666 /dev/fuse 2>/dev/null
	demonstration "as a user" setpriv --reuid 65534 --regid 65534 --clear-groups
fi

# A machine that lacks two packages.
mkdir "$T/bin"
cat >"$T/bin/dpkg-query" <<'END'
#!/bin/sh
for last; do :; done
case $last in
meson | libcmocka-dev) exit 1 ;;
esac
echo installed
END
cat >"$T/bin/id" <<'END'
#!/bin/sh
echo 1000
END
chmod 755 "$T/bin" "$T/bin/"*
run env PATH="$T/bin:$PATH" "$ROOT/scripts/bootstrap.sh" build
check "packages missing: status" is "$RC" 1
check "packages missing: they are named" says "apt-get install meson libcmocka-dev\$"
check "packages missing: one line" one_line
run env PATH="$T/bin:$PATH" "$ROOT/scripts/bootstrap.sh" guest
check "nothing missing: status" is "$RC" 0
check "nothing missing: silent" silent
# Root installs them, without asking.
cat >"$T/bin/id" <<'END'
#!/bin/sh
echo 0
END
cat >"$T/bin/apt-get" <<END
#!/bin/sh
echo "\$*" >>"$T/asked"
END
chmod 755 "$T/bin/"*
run env PATH="$T/bin:$PATH" "$ROOT/scripts/bootstrap.sh" build
check "root: status" is "$RC" 0
check "root: installs just these" grep -q -- "-y .* meson libcmocka-dev\$" "$T/asked"
exit 0

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What `make install` puts where, and that others can build against it: shared and static.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

run meson install -C "$BUILD" --no-rebuild --destdir "$T/root"
check "installs" is "$RC" 0
in_root()
{
	find "$T/root" -path "*$1" | grep -q .
}
for what in bin/lamina bin/lamina-mount sbin/mount.lamina sbin/mount.fuse.lamina \
	include/lamina/lamina.h include/lamina/options.h liblamina.so liblamina.a \
	pkgconfig/lamina.pc man/man1/lamina.1 man/man8/lamina-mount.8 man/man8/lamina-nfs.8 \
	man/man5/lamina.5 man/man3/liblamina.3; do
	check "installed: $what" in_root "$what"
done
pc=$(dirname "$(find "$T/root" -name lamina.pc)")
export PKG_CONFIG_PATH=$pc PKG_CONFIG_SYSROOT_DIR=$T/root

# build SHARED-OR-STATIC FLAGS: a program of others, by what pkg-config says.
build()
{
	local flags
	flags=$(pkg-config --cflags --libs ${2:+"$2"} lamina) || return
	# shellcheck disable=SC2086 # a list
	"${CC:-cc}" -Wall -Werror -o "$T/$1" "$ROOT/tests/cli/install.c" $flags ${SANITIZE:-} \
		>"$T/out" 2>"$T/err"
}
# Objects that were built for a sanitizer need its runtime.
if nm "$BUILD/liblamina.a" 2>/dev/null | grep -q '__asan_init'; then
	SANITIZE=-fsanitize=address,undefined
elif nm "$BUILD/liblamina.a" 2>/dev/null | grep -q '__tsan_init'; then
	SANITIZE=-fsanitize=thread
elif nm "$BUILD/liblamina.a" 2>/dev/null | grep -q '__gcov'; then
	SANITIZE=--coverage
fi
libdir=$(dirname "$pc")
check "a program is built with the shared library" build shared
mv "$libdir"/liblamina.so* "$T/" # now there is only the archive
check "and with the static one" build static --static
mv "$T"/liblamina.so* "$libdir/"
for kind in shared static; do
	mkdir -p "$T/$kind-layers/"{l,u,w}
	printf 'old bytes\n' >"$T/$kind-layers/l/file"
	run env LD_LIBRARY_PATH="$libdir" "$T/$kind" "$T/$kind-layers/l" "$T/$kind-layers/u" \
		"$T/$kind-layers/w" file
	check "$kind: runs" is "$RC" 0
	check "$kind: reads and writes" is "$(cat "$T/out")" "$(printf 'old bytes\nnew bytes')"
	check "$kind: into upper" is "$(cat "$T/$kind-layers/u/file")" "new bytes"
	check "$kind: not into lower" is "$(cat "$T/$kind-layers/l/file")" "old bytes"
done
exit 0

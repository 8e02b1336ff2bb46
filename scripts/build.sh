#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# build.sh DIR [MESON-ARGUMENT...]: configure DIR where that is needed, then build it.
#
# Needed means: never done, done with other arguments, or the set of source files has changed
# (meson.build lists directories, which ninja cannot watch).
set -eu

cd "$(dirname "$0")/.."
dir=$1
shift

want=$(printf '%s\n' "CC=${CC:-}" "$@"; find src include man tests -name '*.[ch1-9]' | LC_ALL=C sort)
stamp=$dir/.lamina-configured
if [ ! -f "$dir/build.ninja" ]; then
	rm -rf "$dir"
	meson setup "$dir" "$@" >"$dir.log" 2>&1 || { cat "$dir.log" >&2; rm -f "$dir.log"; exit 1; }
	mv "$dir.log" "$dir/setup.log"
	printf '%s\n' "$want" >"$stamp"
elif [ "$want" != "$(cat "$stamp" 2>/dev/null)" ]; then
	meson setup --reconfigure "$dir" "$@" >"$dir/setup.log" 2>&1 ||
		{ cat "$dir/setup.log" >&2; exit 1; }
	printf '%s\n' "$want" >"$stamp"
fi
# First by itself, for a change of meson.build makes it talk.
ninja -C "$dir" --quiet build.ninja >"$dir/setup.log" 2>&1 || { cat "$dir/setup.log" >&2; exit 1; }
if ! ninja -C "$dir" --quiet >"$dir/build.log" 2>&1; then
	cat "$dir/build.log" >&2
	exit 1
fi
grep -v '^ninja: no work to do' "$dir/build.log" >&2 || :	# warnings

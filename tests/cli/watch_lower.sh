#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# watch_lower: what others change in a lower directory is seen, also after it was listed.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

names()
{
	find "$D/m" -mindepth 1 -printf '%P\n' | sort | tr '\n' ' '
}

reads()
{
	[ "$(cat "$1" 2>/dev/null)" = "$2" ]
}

gone()
{
	[ ! -e "$1" ] && [ ! -L "$1" ]
}

layers watch
mkdir "$D/b/d"
echo in >"$D/b/d/in"
run "$MOUNT" -o "$OPTS,watch_lower" "$D/m"
check "status" is "$RC" 0
# Enough lookups and a listing, so that whatever is remembered is remembered.
for _ in 1 2 3; do
	for n in file only d d/in new d/new d/.wh.in; do
		stat "$D/m/$n" >/dev/null 2>&1
	done
	names >/dev/null
done
check "as it was" is "$(names)" "d d/in file only "
echo fresh >"$D/b/new"
check "a new name" await reads "$D/m/new" fresh
echo fresh >"$D/b/d/new"
check "a new name in a directory" await reads "$D/m/d/new" fresh
check "they are listed" is "$(names)" "d d/in d/new file new only "
rm "$D/b/only"
check "a name that went" await gone "$D/m/only"
mv "$D/b/new" "$D/b/moved"
check "a name that moved" await reads "$D/m/moved" fresh
check "from where it was" await gone "$D/m/new"
echo longer than before >"$D/b/d/in"
check "other contents" await reads "$D/m/d/in" "longer than before"
check "they are listed as well" is "$(names)" "d d/in d/new file moved "
check "a directory that others emptied" rm -f "$D/b/d/in" "$D/b/d/new"
check "can be removed" rmdir "$D/m/d"
check "the mount lives" touch "$D/m/born"
umount "$D/m"

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# watch_lower: what others change in a lower directory is seen, also after it was listed.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

names()
{
	find "$D/m" -mindepth 1 -printf '%P\n' | sort | tr '\n' ' '
}

inside()
{
	find "$D/m/$1" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort | tr '\n' ' '
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

# Merged directories: the parts that they have in the lower directories come and go.
layers parts
mkdir -p "$D/a/merged/sub" "$D/b/merged/sub" "$D/b/late" "$D/a/move" "$D/b/up" "$D/q"
echo a >"$D/a/merged/a"
echo b >"$D/b/merged/b"
echo b >"$D/b/late/b"
echo b >"$D/b/up/b"
echo m >"$D/a/move/m"
echo mine >"$D/q/mine"
run "$MOUNT" -o "$OPTS,watch_lower" "$D/m"
check "parts: status" is "$RC" 0
touch "$D/m/up/own" "$D/m/merged/sub/own"
for _ in 1 2 3; do
	for n in merged late move up merged/sub; do
		ls "$D/m/$n" >/dev/null
	done
	cat "$D/m/merged/a" "$D/m/merged/b" >/dev/null
done
mkdir "$D/a/late"
echo a >"$D/a/late/a"
check "a part that appears" await reads "$D/m/late/a" a
check "beside the other" is "$(inside late)" "a b "
mv "$D/a/merged" "$D/q/old"
check "a part that goes" await gone "$D/m/merged/a"
check "leaves the other" is "$(inside merged)" "b sub "
check "which can be read" reads "$D/m/merged/b" b
check "and what upper has below" is "$(inside merged/sub)" "own "
mkdir "$D/a/merged"
echo second >"$D/a/merged/a"
check "a part that is replaced" await reads "$D/m/merged/a" second
check "is written to" cp "$D/q/mine" "$D/m/merged/a"
check "and made in" cp "$D/q/mine" "$D/m/merged/new"
check "and read" reads "$D/m/merged/a" mine
check "in upper" reads "$D/u/merged/new" mine
rm -r "$D/b/merged"
check "the last part but upper's" await gone "$D/m/merged/b"
mv "$D/a/move" "$D/a/moved"
check "a directory that moved" await reads "$D/m/moved/m" m
check "no more where it was" await gone "$D/m/move"
rm -r "$D/b/up"
check "beside upper's part alone" await gone "$D/m/up/b"
check "what is in it" is "$(inside up)" "own "
check "it can be written to" touch "$D/m/up/more"
rm -r "$D/b/late" "$D/a/late"
check "all parts gone" await gone "$D/m/late"
umount "$D/m"

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# fsync and fdatasync reach the file that has the data, whatever its name was when it was opened, and
# fsync of a directory reaches the directory in upper; with volatile nothing is synced.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# The search for leaks traces the process that ends, which strace does already.
export ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0

# sync_by CALL PATH [WRITE]: opens (for writing if WRITE), writes, and syncs.
sync_by()
{
	python3 -c '
import os, sys
call, path, write = sys.argv[1], sys.argv[2], len(sys.argv) > 3
fd = os.open(path, os.O_RDWR if write else os.O_RDONLY)
if write:
	os.write(fd, b"new")
	if sys.argv[3] != "-":
		os.rename(path, sys.argv[3])
getattr(os, call)(fd)
' "$@"
}

# serve OPTION: the server, with its sync calls in $T/trace.
serve()
{
	strace -f -y -e trace=fsync,fdatasync,syncfs,sync_file_range -o "$T/trace" \
		"$MOUNT" -f -o "$OPTS$1" "$D/m" &
	await mounted "$D/m"
	: >"$T/trace"
}

# sync_calls: those of the trace, with paths below $D.  A copy made without a name is told by its inode
# number, even when it has got a name since.
sync_calls()
{
	local call path
	# strace goes on where it was: before that there are zeros.
	tr -d '\0' <"$T/trace" |
		sed -nE "s|^[0-9]+ +([a-z]+)\([0-9]+<$D/([^>]*)>.*|\1 \2|p" |
		while read -r call path; do
			case $path in
			w/work/\#*) path=$(cd "$D" && find u -inum "${path##*#}" | sort | head -n 1) ;;
			esac
			echo "$call $path"
		done | sort -u
}

# as_wanted: the trace has the sync calls of $T/wanted, and no others.
as_wanted()
{
	sync_calls >"$T/synced"
	cmp -s "$T/wanted" "$T/synced"
}

# synced CALL WHAT...: this is synced since the last look, sooner or later; strace is late.
synced()
{
	printf '%s\n' "$@" >"$T/wanted"
	await as_wanted || { sed 's/^/    synced: /' "$T/synced"; return 1; }
	: >"$T/trace"
}

layers s
mkdir "$D/b/dir"
echo x >"$D/b/dir/inner"
echo link >"$D/b/link1"
ln "$D/b/link1" "$D/b/link2"
serve ",fsync=volatile"
sync_by fsync "$D/m/file" -
sync_by fsync "$D/m/dir"
echo more >>"$D/m/only"
umount "$D/m"
await no_servers "$OPTS"
check "volatile: nothing is synced" not grep -qE '^[0-9]+ +[a-z_]+\(' "$T/trace"

rm -rf "$D/u" "$D/w"
mkdir "$D/u" "$D/w"
serve ",fsync=strict"
printf new | dd of="$D/m/file" conv=notrunc status=none # copied up, and so synced, by this
: >"$T/trace"
sync_by fsync "$D/m/file" -
check "fsync: the file in upper" synced "fsync u/file"
sync_by fdatasync "$D/m/file" -
check "fdatasync: the file in upper" synced "fdatasync u/file"
sync_by fsync "$D/m/file" "$D/m/renamed"
check "renamed since it was opened" synced "fsync u/renamed"
sync_by fsync "$D/m/renamed"
check "through a descriptor for reading" synced "fsync u/renamed"
printf new | dd of="$D/m/link1" conv=notrunc status=none
: >"$T/trace"
sync_by fsync "$D/m/link2" -
link_synced()
{
	sync_calls | grep -qE "^fsync (u/link[12]|w/index/[0-9a-f]+)$"
}
check "the other name of a hard link" await link_synced
: >"$T/trace"
touch "$D/m/dir/inner"
: >"$T/trace"
sync_by fsync "$D/m/dir"
check "a directory: the one in upper" synced "fsync u/dir"
umount "$D/m"
await no_servers "$OPTS"
exit 0

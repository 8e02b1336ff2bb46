#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# An ordinary user's mount: files cannot be opened by their handles there, and what is open, the working
# directory and what has lost its name survive the server all the same.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/../cli/lib.sh"

# As root: become the user with number 65534, with a copy of the program that he may run.
if [ "$(id -u)" -eq 0 ]; then
	chmod 755 "$T"
	mkdir "$T/user"
	cp "$(realpath "$LAMINA")" "$T/user/lamina"
	chown 65534:65534 "$T/user"
	LAMINA_AS_USER=$T/user LAMINA=$T/user/lamina HOME=$T/user \
		setpriv --reuid 65534 --regid 65534 --clear-groups bash "$0" >"$T/out"
	status=$?
	cat "$T/out"
	check "as a user" is "$status" 0
	exit 0
fi
T=${LAMINA_AS_USER:-$T}/t
mkdir "$T"
layers user
mkdir -p "$D/b/deep/er"
echo three >"$D/b/deep/er/file"
ln "$D/b/only" "$D/b/other"
long=$(printf 'n%.0s' {1..255})
echo long >"$D/a/$long"
run "$LAMINA" mount -o "restarts=1000,$OPTS" "$D/m"
check "mount" is "$RC" 0
supervisor=$(pgrep -o -f -- "upperdir=$D/u")
# Its own child: the one that stands by to unmount is the worker's, and younger.
worker()
{
	local pid=

	while [ -z "$pid" ]; do
		pid=$(pgrep -P "$supervisor") || sleep 0.01
	done
	echo "${pid##*$'\n'}"
}
kill_one()
{
	local pid

	pid=$(worker)
	kill -KILL "$pid" && check "$round: another worker" await other_than "$pid"
}
other_than()
{
	[ "$(worker)" != "$1" ]
}

exec 5<"$D/m/deep/er/file" 6<>"$D/m/only" 7<"$D/m/$long"
mkdir "$D/m/new" "$D/m/moved"
echo q >"$D/m/new/q"
exec 8<"$D/m/new/q" 9<>"$D/m/orphan"
echo data >&9
rm "$D/m/orphan"
cd "$D/m/deep/er" || exit 1
for round in 1 2 3; do
	kill_one
	check "$round: the working directory" is "$(ls)" file
	check "$round: below" is "$(cat /proc/self/fd/5)" three
	echo "round $round" >&6
	check "$round: copied up" is "$(tail -n 1 "$D/m/only")" "round $round"
	check "$round: the other name" is "$(tail -n 1 "$D/m/other")" "round $round"
	check "$round: a long name" is "$(cat /proc/self/fd/7)" long
	mv "$D/m/new" "$D/m/moved/new$round"
	kill_one
	check "$round: moved" is "$(cat /proc/self/fd/8)" q
	mv "$D/m/moved/new$round" "$D/m/new"
	check "$round: without a name" is "$(cat /proc/self/fd/9)" data
	run "$LAMINA" upgrade "$D/m"
	check "$round: upgrade" is "$RC" 0
done
exec 9>&-
no_orphans()
{
	[ -z "$(ls "$D/w/lamina/orphans")" ]
}
check "no orphan stays" await no_orphans
cd /
exec 5>&- 6>&- 7>&- 8>&-
run "$LAMINA" umount "$D/m"
check "umount" is "$RC" 0
check "no process is left" no_servers "upperdir=$D/u"

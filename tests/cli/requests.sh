#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# How many requests reach the server: none for what the kernel knows already.  The numbers are those of
# docs/design/performance.md; a walk's first reading makes the kernel ask for the attributes of each
# directory, or file that was read, once more.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

DIRS=20
FILES=10 # in each

# total: requests served so far, but for those that nobody waits for.
total()
{
	: >"$T/log"
	kill -USR1 "$SERVER"
	await grep -q "requests:" "$T/log"
	sleep 0.2
	awk '/requests:/ && !/FORGET/ { s += $NF } END { print s + 0 }' "$T/log"
}

# costs MOST COMMAND...: the command works and sends at most so many requests.
costs()
{
	local most=$1 before after
	shift
	before=$(total)
	"$@" >"$T/out" 2>&1 || { cat "$T/out"; return 1; }
	after=$(total)
	[ $((after - before)) -le "$most" ] ||
		{ echo "    $((after - before)) requests"; sed 's/^/    /' "$T/log"; return 1; }
}

# warm MOST COMMAND...: done again it costs no more than that.  Somebody else may have made the kernel drop
# its caches, so it has some more tries.
warm()
{
	local i
	for ((i = 0; i < 30; i++)); do
		costs "$@" >"$T/said" && return 0
		sleep 0.3
	done
	cat "$T/said"
	return 1
}

layers r
mkdir "$D/b/tree"
for d in $(seq "$DIRS"); do
	mkdir "$D/b/tree/dir$d"
	for f in $(seq "$FILES"); do
		seq "$((d * f))" >"$D/b/tree/dir$d/file$f"
	done
done
ln -s dir1/file1 "$D/b/tree/link"
git -C "$D/b/tree" init -q
git -C "$D/b/tree" config user.name test
git -C "$D/b/tree" config user.email test@example.org
git -C "$D/b/tree" config core.checkStat minimal
git -C "$D/b/tree" config core.trustctime false
git -C "$D/b/tree" config gc.auto 0
git -C "$D/b/tree" add -A
git -C "$D/b/tree" commit -qm all
ALL=$(find "$D/b/tree" | wc -l)
ALLDIRS=$(find "$D/b/tree" -type d | wc -l)
run "$MOUNT" -o "$OPTS,log=$T/log" "$D/m"
check "mounted" is "$RC" 0
SERVER=$(servers "upperdir=$D/u")
cd "$D/m/tree" || exit 1

status()
{
	git --no-optional-locks -c core.fsmonitor=false status --porcelain
}
read_all()
{
	tar -cf - . | cat >"$T/tar"
}
look_all()
{
	find . -printf '%s %m %T@\n'
}

# Listings.  Every directory is read in two steps: its names, and that there are no more.
check "find, first" warm $((2 * ALLDIRS + 10)) find .
check "find, again: the directories' attributes" warm $((ALLDIRS + 5)) find .
check "find, warm" warm 2 find .
check "a walk with attributes: what was not given is asked for" warm $((ALL + 5)) look_all
check "a walk with attributes, warm" warm 2 look_all

# Contents.  A file's attributes are asked for again after it was read.
check "tar, first" warm $((2 * ALL + 20)) read_all
check "tar, again" warm $((ALL + 20)) read_all
check "tar, warm" warm 2 read_all
check "grep -r, warm" warm 2 grep -r "^7$" dir1 dir2
check "git status, first" warm $((ALL + 60)) status
check "git status, warm" warm 8 status

# Single things.
check "a symlink" warm 3 readlink link
check "a symlink, warm" warm 0 readlink link
check "a name that is not there" warm 1 not test -e dir1/none
check "a name that is not there, warm" warm 0 not test -e dir1/none
check "a file, warm" warm 0 cat dir3/file3
check "a hundred opens, warm" warm 0 sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do cat dir3/*; done'

# Changes: a look-up, the file, the directory's attributes; the removal, and they again.
churn()
{
	python3 -c '
import os
for i in range(100):
	os.close(os.open("dir1/new%d" % i, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
for i in range(100):
	os.unlink("dir1/new%d" % i)'
}
check "files made and removed" warm 520 churn
cd / || exit 1
umount "$D/m"

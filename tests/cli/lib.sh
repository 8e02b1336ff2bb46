# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash disable=SC2034
# For the tests of the command line: a scratch directory, checks that count, and a summary.
# A test runs in mount and process namespaces of its own, so that nothing of it stays.

if [ -z "${LAMINA_CLI_TEST:-}" ] && [ "$(id -u)" -eq 0 ]; then
	export LAMINA_CLI_TEST=1
	exec unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
		bash "$0" "$@"
fi

set -u
ROOT=$(cd "$(dirname "$0")/../.." && pwd)
BUILD=${LAMINA_BUILD:-$ROOT/build}
LAMINA=${LAMINA:-$BUILD/lamina}
MOUNT=${LAMINA_MOUNT:-$BUILD/lamina-mount}
T=$(mktemp -d)
PASSED=0
FAILED=0

finish()
{
	status=$?
	cd /
	# Detached, so that a hanging server cannot hold the test up.
	awk -v t="$T/" 'index($5, t) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
	while read -r where; do
		umount -l "$where" 2>/dev/null || fusermount3 -uz "$where" 2>/dev/null
	done
	rm -rf --one-file-system "$T"
	[ "$status" -eq 0 ] || FAILED=$((FAILED + 1))
	echo "$PASSED passed, $FAILED failed"
	[ "$FAILED" -eq 0 ] || exit 1
}
trap finish EXIT

# check NAME COMMAND...: the command must succeed.
check()
{
	local name=$1
	shift
	if "$@"; then
		PASSED=$((PASSED + 1))
	else
		FAILED=$((FAILED + 1))
		echo "FAIL $name: $*"
		[ ! -s "$T/err" ] || sed 's/^/    stderr: /' "$T/err"
	fi
}

not()
{
	! "$@"
}

# run COMMAND...: leaves its exit status in $RC, its output in $T/out and $T/err.
run()
{
	RC=0
	timeout 60 "$@" >"$T/out" 2>"$T/err" </dev/null || RC=$?
}

is()
{
	[ "$1" = "$2" ] || { echo "    got '$1', wanted '$2'"; return 1; }
}

silent()
{
	[ ! -s "$T/out" ] && [ ! -s "$T/err" ]
}

one_line()
{
	[ ! -s "$T/out" ] && [ "$(wc -l <"$T/err")" -eq 1 ]
}

# says PATTERN: standard error has it.
says()
{
	grep -q -- "$1" "$T/err"
}

# refused NAME PATTERN COMMAND...: status 1 and one line that matches.
refused()
{
	local name=$1 pattern=$2
	shift 2
	run "$@"
	check "$name: status" is "$RC" 1
	check "$name: one line" one_line
	check "$name: the line" says "$pattern"
}

# Wait until COMMAND succeeds, for at most 30 seconds: for what happens in another process.
await()
{
	local i
	for ((i = 0; i < 300; i++)); do
		"$@" && return 0
		sleep 0.1
	done
	return 1
}

mounted()
{
	awk -v m="$1" '$5 == m { found = 1 } END { exit !found }' /proc/self/mountinfo
}

# field N of the mount table's line for a mountpoint, counted after the " - ".
mount_field()
{
	awk -v m="$1" -v n="$2" '$5 == m { for (i = 6; i <= NF; i++) if ($i == "-") print $(i + n) }' \
		/proc/self/mountinfo | tail -n 1
}

# A pair of layers, an upper and a work directory, and a mountpoint in a new directory.
layers()
{
	D=$T/$1
	mkdir -p "$D/a" "$D/b" "$D/u" "$D/w" "$D/m"
	echo "of a" >"$D/a/file"
	echo "of b" >"$D/b/file"
	echo "only b" >"$D/b/only"
	OPTS=lowerdir=$D/a:$D/b,upperdir=$D/u,workdir=$D/w
}

# The process that was started with this argument and is to be talked to: the supervisor, where there is one.
servers()
{
	pgrep -o -f -- "$1"
}
no_servers()
{
	! pgrep -f -- "$1" >/dev/null
}

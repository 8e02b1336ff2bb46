# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# What every client test starts from.  A test sources this file first; it then runs again inside
# namespaces of its own for mounts and processes, under a time limit.  When the test ends, however
# it ends, the kernel ends every process in there (servers too) and with them every mount, so
# nothing can be left behind or hang a later test.
#
#   LAMINA_MOUNT     the program under test; default build/lamina-mount of this repository
#   LAMINA_PEER=1    the program is some other overlay: ask only what any drop-in must do
#   LAMINA_TIME_FACTOR   stretches all time limits (a program under sanitizers is slow)
#   LIMIT            seconds the whole test may take; a test sets it before sourcing this file
#   KEEP=1           leave the work directory for a look
#
# Inside, T is an empty directory of this test alone.  Checks print one line each; `finish` prints
# `N passed, N failed` and gives the exit status.

set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
PROG=$(realpath -m "${LAMINA_MOUNT:-$ROOT/build/lamina-mount}" -s)
NAME=$(basename "$0" .sh)
FACTOR=${LAMINA_TIME_FACTOR:-1}
case $FACTOR in
*.*) FACTOR=$((${FACTOR%%.*} + 1)) ;;	# the shell counts in whole numbers
esac
LIMIT=$((${LIMIT:-120} * FACTOR))
export LC_ALL=C

if [ -z "${CLIENTS_INSIDE:-}" ]; then
	[ "$(id -u)" = 0 ] || { echo "$NAME: must run as root"; exit 1; }
	[ -x "$PROG" ] || { echo "$NAME: no program to test at $PROG"; exit 1; }
	T=$(mktemp -d "${TMPDIR:-/var/tmp}/lamina-$NAME.XXXXXX") || exit 1
	chmod 755 "$T"
	CLIENTS_INSIDE=1 T=$T timeout -k 15 "$LIMIT" \
		unshare --mount --propagation private --pid --fork --kill-child=KILL --mount-proc \
		bash "$(realpath "$0")" "$@" </dev/null
	rc=$?
	[ $rc -lt 124 ] || echo "not ok - $NAME was stopped after $LIMIT s (status $rc)"
	[ -n "${KEEP:-}" ] || { chattr -R -f -ia "$T"; rm -rf --one-file-system "$T"; } 2>/dev/null
	[ $rc = 0 ] || exit 1
	exit 0
fi

PASSED=0
FAILED=0
# shellcheck disable=SC2064
trap "exit 1" TERM INT
cd "$T" || exit 1

# pass WHAT, fail WHAT [DETAIL...]: one result.
pass() {
	PASSED=$((PASSED + 1))
	echo "ok - $1"
}

fail() {
	FAILED=$((FAILED + 1))
	echo "not ok - $1"
	shift
	[ $# = 0 ] || printf '%s\n' "$@" | head -n 40 | sed 's/^/    /'
}

# limited COMMAND...: under a time limit, unless it is a function of the shell.
limited() {
	if [ "$(type -t "$1")" = function ]; then
		"$@"
	else
		timeout -k 5 $((60 * FACTOR)) "$@"
	fi
}

# check WHAT COMMAND...: the command succeeds.  check_not: it fails (but not by a signal or
# timeout).
check() {
	local what=$1 out rc
	shift
	out=$(limited "$@" 2>&1)
	rc=$?
	if [ $rc = 0 ]; then pass "$what"; else fail "$what" "status $rc: $*" "$out"; fi
}

check_not() {
	local what=$1 out rc
	shift
	out=$(limited "$@" 2>&1)
	rc=$?
	if [ $rc != 0 ] && [ $rc -lt 124 ]; then pass "$what"; else
		fail "$what" "status $rc, a failure was expected: $*" "$out"; fi
}

# equal WHAT GOT WANTED
equal() {
	if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "got:    $2" "wanted: $3"; fi
}

# sh_check WHAT SCRIPT: the script (errors stop it) succeeds.
sh_check() {
	check "$1" bash -ec "$2"
}

# promise KIND WHAT ...: a check of something Lamina promises and its peers do not.
promise() {
	if [ -n "${LAMINA_PEER:-}" ]; then
		case $1 in
		fail) ;;
		*) echo "# not asked of a peer: ($1) $2" ;;
		esac
	else
		"$@"
	fi
}

# finish: the summary and the exit status.  A test that checked nothing has failed.
finish() {
	echo "$PASSED passed, $FAILED failed"
	[ "$FAILED" = 0 ] && [ "$PASSED" -gt 0 ]
	exit $?
}

# need COMMAND...: what the test cannot run without.  Missing is a failure, never a skip.
need() {
	local c
	for c in "$@"; do
		command -v "$c" >/dev/null || { fail "$c is installed"; finish; }
	done
}

# die WHAT: nothing after this can work.
die() {
	fail "$@"
	finish
}

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
	local tenths=$(($1 * 10 * FACTOR))
	shift
	while [ $tenths -gt 0 ]; do
		"$@" >/dev/null 2>&1 && return 0
		sleep 0.1
		tenths=$((tenths - 1))
	done
	return 1
}

is_mounted() {
	findmnt -rn -o TARGET -M "$1" >/dev/null 2>&1
}

not_mounted() {
	! is_mounted "$1"
}

# gone PID: the process has ended (or is a zombie).
gone() {
	[ ! -e "/proc/$1" ] || grep -q '^State:[[:space:]]*Z' "/proc/$1/status" 2>/dev/null
}

# overlay DIR [OPTIONS [MOUNTPOINT]]: mount DIR/lower, DIR/upper, DIR/work on DIR/mnt, with what a
# careful caller demands: status 0, not a word on either stream, and the mount answers at once.
overlay() {
	local d=$1 opts=${2:+,$2} mnt=${3:-$1/mnt} said rc
	mkdir -p "$d"/{lower,upper,work} "$mnt"
	said=$(timeout -k 5 $((30 * FACTOR)) "$PROG" -o \
		"lowerdir=${LOWER:-$d/lower},upperdir=$d/upper,workdir=$d/work$opts" "$mnt" 2>&1)
	rc=$?
	[ $rc = 0 ] || die "mount of $d" "status $rc" "$said"
	[ -z "$said" ] || promise fail "mounting is silent" "$said"
	is_mounted "$mnt" || die "$d/mnt is a mount when the program returns"
}

# unmount MOUNTPOINT: cleanly, not lazily; a file left open by anybody is a mistake.
unmount() {
	local out
	# What it was made of is in use until its server is gone, which is a moment after the unmount.
	for _ in $(seq 50); do
		out=$(timeout -k 5 $((30 * FACTOR)) umount "$1" 2>&1) && return
		[[ $out == *busy* ]] || break
		sleep 0.1
	done
	fail "unmount of $1" "$out"
	umount -l "$1"
}

# remount DIR [OPTIONS]
remount() {
	unmount "$1/mnt"
	overlay "$@"
}

# tree DIR: a listing to compare trees by: type, mode, owner, links, size, target, name and the
# contents' checksum.  Directories' link counts and sizes are their filesystem's own affair.
tree() {
	(
		cd "$1" || exit 1
		find . -mindepth 1 \( -type d -printf '%y %m %U:%G - - %p\n' -o \
			-printf '%y %m %U:%G %n %s %p %l\n' \) | sort -k6
		find . -type f -print0 | sort -z | xargs -0r md5sum
	)
}

# same_tree WHAT A B
same_tree() {
	local out
	if out=$(diff <(tree "$2") <(tree "$3")); then pass "$1"; else fail "$1" "$out"; fi
}

# untouched DIR: remember DIR; still_untouched DIR: it is as it was then, times included.
untouched() {
	tree_and_times "$1" > "$T/.untouched"
}

still_untouched() {
	local out
	if out=$(diff "$T/.untouched" <(tree_and_times "$1")); then
		pass "the lower layer is untouched"
	else
		fail "the lower layer is untouched" "$out"
	fi
}

tree_and_times() {
	tree "$1"
	(cd "$1" && find . -printf '%p %i %T@ %C@\n' | sort)
}

# empty_work DIR: after the unmount, and once the server has ended, nothing but fixed directories is
# left in the work directory.
empty_work() {
	wait_for 5 no_litter "$1"
	equal "no litter in the work directory" "$(litter "$1")" ""
}

litter() {
	find "$1/work/work" -mindepth 1 ! -path '*/incompat*' 2>/dev/null
}

no_litter() {
	[ -z "$(litter "$1")" ]
}

# userns "UID MAP LINES" ["GID MAP LINES"]: start a user namespace with these maps (inside, outside,
# count) and leave the pid of a process in it in USERNS; as_inside COMMAND... is root in there.
userns() {
	unshare --user sleep 600 &
	USERNS=$!
	wait_for 5 bash -c \
		'[ "$(readlink /proc/$1/ns/user)" != "$(readlink /proc/self/ns/user)" ]' - \
		$USERNS ||
		die "a user namespace"
	# A map must come in one write: cat's, not the shell's.
	cat <<<"$1" > "/proc/$USERNS/uid_map" && cat <<<"${2:-$1}" > "/proc/$USERNS/gid_map" ||
		die "maps of a user namespace"
}

as_inside() {
	timeout -k 5 $((60 * FACTOR)) nsenter --user --target "$USERNS" --setuid 0 --setgid 0 -- \
		"$@"
}

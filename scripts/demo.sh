#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# `make run`: what Lamina is for, in a minute, over this machine's own /usr.
#
# Every line with a check mark stands for something that was looked at just now, not only printed;
# the first thing that is not as it should be ends the demonstration with status 1.  Nothing of
# /usr is changed, and nothing is left behind.

set -u
ROOT=$(cd "$(dirname "$0")/.." && pwd)
BUILD=${LAMINA_BUILD:-$ROOT/build}
LAMINA=$BUILD/lamina

# In namespaces of its own: the mounts are nobody else's, and go away with this script.
if [ -z "${LAMINA_DEMO:-}" ]; then
	export LAMINA_DEMO=1
	if [ "$(id -u)" -eq 0 ]; then
		exec unshare --mount --propagation private bash "$0" "$@"
	fi
	# Most of /usr belongs to others, whose files an ordinary user can neither write nor give
	# away: show all as one's own, and record owners in an attribute.
	export LAMINA_DEMO_OPTIONS=squash_to_root,xattr_permissions=2
	if unshare -Urm true 2>/dev/null; then
		exec unshare -Urm bash "$0" "$@"
	fi
	echo "(no user namespaces here: going on as an ordinary user, through fusermount3)"
	LAMINA_DEMO_OPTIONS="squash_to_uid=$(id -u),squash_to_gid=$(id -g),xattr_permissions=2"
fi

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
	BOLD=$'\e[1m' DIM=$'\e[2m' GREEN=$'\e[32m' RED=$'\e[31m' PLAIN=$'\e[0m'
else
	BOLD='' DIM='' GREEN='' RED='' PLAIN=''
fi

T=$(mktemp -d "${TMPDIR:-/tmp}/lamina-demo.XXXXXX") || exit 1
M=$T/merged
DONE=

finish()
{
	local status=$?

	cd /
	if grep -q " $M " /proc/self/mountinfo; then
		umount -l "$M" 2>/dev/null || fusermount3 -uz "$M"
	fi
	rm -rf --one-file-system "$T"
	if [ -z "$DONE" ]; then
		printf '\n%sThe demonstration ended early.%s\n' "$RED" "$PLAIN"
		[ "$status" -ne 0 ] || status=1
	fi
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

title()
{
	printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"
}

say()
{
	printf '  %s\n' "$*"
}

# ok TEXT COMMAND...: a check mark if COMMAND succeeds, the end if not.
ok()
{
	local text=$1
	shift
	if "$@"; then
		printf '  %s✓%s %s\n' "$GREEN" "$PLAIN" "$text"
	else
		printf '  %s✗ %s%s   (%s)\n' "$RED" "$text" "$PLAIN" "$*"
		exit 1
	fi
}

same()
{
	[ -n "$1" ] && [ "$1" = "$2" ]
}

names()
{
	find "$1" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort
}

append()
{
	echo "$1" >>"$2"
}

all_ended()
{
	not_mounted && no_server
}

missing()
{
	[ ! -e "$1" ] && [ ! -L "$1" ]
}

no_server()
{
	! pgrep -f -- "--upper $T/upper" >/dev/null
}

not_mounted()
{
	! grep -q " $M " /proc/self/mountinfo
}

# What must not change below: names, sizes, modes, owners and times of what the steps touch.
fingerprint()
{
	find "$T/pair" "/usr/$DIR" "/usr/$FILE" "/usr/$GONE" \
		-printf '%p %i %n %s %m %U %G %T@ %C@ %l\n' | sort | sha256sum
}

mount_it()
{
	"$LAMINA" mount --lower "$T/pair" --lower /usr --upper "$T/upper" --work "$T/work" \
		${LAMINA_DEMO_OPTIONS:+-o "$LAMINA_DEMO_OPTIONS"} "$M"
}

# The first plain file, of a modest size, in the first of these directories that has one.
pick()
{
	local dir found

	for dir; do
		found=$(find "$dir" -type f -readable -size +0 -size -400 2>/dev/null | sort |
			head -n 1)
		[ -z "$found" ] || break
	done
	echo "$found"
}

[ -x "$LAMINA" ] || { echo "demo: $LAMINA is not there; run make first" >&2; exit 1; }
FILE=$(pick /usr/share/common-licenses /usr/share/misc /usr/share)
FILE=${FILE#/usr/}
GONE=$(pick /usr/share/dict /usr/share/base-files /usr/share/perl5 /usr/lib)
GONE=${GONE#/usr/}
# A directory with something in it; a small one keeps the checks quick.
DIR=
for d in share/doc/bash share/doc/coreutils share/doc/base-files share/doc share/man share; do
	[ -d "/usr/$d" ] && { DIR=$d; break; }
done
if [ -z "$FILE" ] || [ -z "$GONE" ] || [ -z "$DIR" ]; then
	echo "demo: /usr of this machine is too empty to show anything" >&2
	exit 1
fi

mkdir "$T/pair" "$T/upper" "$T/work" "$M"
mkdir "$T/pair/pair"
echo "first line" >"$T/pair/pair/one"
ln "$T/pair/pair/one" "$T/pair/pair/two"
BEFORE=$(fingerprint)

title "1. /usr, writable, without touching /usr"
say "${DIM}lamina mount --lower pair --lower /usr --upper upper --work work merged${PLAIN}"
ok "mounted, silently" same "$(mount_it 2>&1; echo "status $?")" "status 0"
ok "merged shows /usr: $(find /usr -maxdepth 1 -mindepth 1 | wc -l) entries at the top, and pair" \
	same "$( (names /usr; echo pair) | sort)" "$(names "$M")"
ok "$FILE reads the same" cmp -s "/usr/$FILE" "$M/$FILE"
ok "the upper directory is still empty" same "$(find "$T/upper" -mindepth 1 | wc -l)" 0

title "2. A write copies up, and the file stays the same file"
INO=$(stat -c %i "$M/$FILE")
exec 7<"$M/$FILE"
ok "append a line to $FILE" append "one line more" "$M/$FILE"
ok "merged has it" same "$(tail -n 1 "$M/$FILE")" "one line more"
ok "so has the upper directory: the file was copied up" \
	same "$(tail -n 1 "$T/upper/$FILE")" "one line more"
ok "/usr/$FILE has not" [ "$(tail -n 1 "/usr/$FILE")" != "one line more" ]
ok "its inode number is still $INO" same "$(stat -c %i "$M/$FILE")" "$INO"
ok "a descriptor opened before reads the new line" same "$(tail -n 1 <&7)" "one line more"
exec 7<&-

title "3. Hard links stay one file"
PAIR=$(stat -c %i "$M/pair/one")
ok "pair/one and pair/two are one file, number $PAIR, with 2 links" \
	same "$(stat -c '%i %h' "$M/pair/one" "$M/pair/two" | tr '\n' ' ')" "$PAIR 2 $PAIR 2 "
ok "write through the name one" append "second line" "$M/pair/one"
ok "read it through the name two" same "$(tail -n 1 "$M/pair/two")" "second line"
ok "still one file, number $PAIR, with 2 links" \
	same "$(stat -c '%i %h' "$M/pair/one" "$M/pair/two" | tr '\n' ' ')" "$PAIR 2 $PAIR 2 "

title "4. A directory from below is renamed, not copied"
COUNT=$(find "/usr/$DIR" | wc -l)
MOVED=$(dirname "$DIR")/moved-by-demo
ok "rename $DIR, $COUNT objects, in one system call" \
	python3 -c 'import os, sys; os.rename(sys.argv[1], sys.argv[2])' "$M/$DIR" "$M/$MOVED"
ok "the old name is gone" missing "$M/$DIR"
ok "all $COUNT objects are under the new one" same "$(find "$M/$MOVED" | wc -l)" "$COUNT"
ok "and none of their data was copied" \
	same "$(find "$T/upper/$MOVED" -type f -size +0 | wc -l)" 0

title "5. Removing leaves a mark, not a copy"
ok "remove $GONE" rm "$M/$GONE"
ok "it is gone from merged" missing "$M/$GONE"
ok "/usr/$GONE is still there" [ -e "/usr/$GONE" ]

title "6. What the upper directory holds"
describe()
{
	local path=$1 name=${1#"$T/upper/"}
	case $(stat -c '%F %t:%T' "$path") in
	"character special file 0:0") echo "$name  ${DIM}whiteout: the name is hidden${PLAIN}" ;;
	regular*)
		case ${name##*/} in
		.wh.*) echo "$name  ${DIM}whiteout by name: hides ${name##*/.wh.}${PLAIN}" ;;
		*) echo "$name  ${DIM}changed file, $(stat -c %s "$path") bytes${PLAIN}" ;;
		esac
		;;
	directory*)
		[ "$name" != "$MOVED" ] || echo "$name/  ${DIM}renamed: refers to $DIR below${PLAIN}"
		;;
	esac
}
HELD=0
while read -r path; do
	line=$(describe "$path")
	[ -z "$line" ] || say "$line"
	HELD=$((HELD + 1))
done < <(find "$T/upper" -mindepth 1 | sort)
ok "$HELD objects in all, no more than what was changed and the way to it" [ "$HELD" -lt 30 ]

title "7. Unmount, mount again: nothing has changed its identity"
ok "unmount" "$LAMINA" umount "$M"
ok "nothing is mounted there any more" not_mounted
ok "and the server has ended" no_server
ok "mounted again" mount_it
ok "$FILE still has number $INO and the new line" \
	same "$(stat -c %i "$M/$FILE") $(tail -n 1 "$M/$FILE")" "$INO one line more"
ok "the pair is still one file, number $PAIR, with 2 links" \
	same "$(stat -c '%i %h' "$M/pair/one" "$M/pair/two" | tr '\n' ' ')" "$PAIR 2 $PAIR 2 "
ok "the renamed directory is still there" same "$(find "$M/$MOVED" | wc -l)" "$COUNT"
ok "$GONE is still gone" missing "$M/$GONE"
ok "unmounted clean" "$LAMINA" umount "$M"
ok "nothing is mounted there, nothing runs any more" all_ended
ok "and below, nothing was changed: names, sizes, modes, owners, times" \
	same "$(fingerprint)" "$BEFORE"

DONE=yes
printf '\n%sThat was Lamina.%s  Your own: %s mount --lower DIR --upper DIR MOUNTPOINT\n' \
	"$BOLD" "$PLAIN" "${LAMINA#"$PWD/"}"

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# lamina check as a command: exit statuses, output, layers in use, other users, deep and large layers.
. "$(dirname "$0")/../cli/lib.sh"

check_status()
{
	local want=$1
	shift
	run "$LAMINA" check "$@"
	check "status of check $*" is "$RC" "$want"
}

quiet_check()
{
	check_status 0 "$@"
	check "silent: check $*" silent
}

# ---- Usage ----

check_status 16
check_status 16 --nonsense
check_status 16 /tmp /tmp
check_status 16 -o lowerdir=/tmp,nonsense=1
check_status 16 --lower /tmp --upper "$T/none"
check_status 16 --lower /tmp /tmp
check_status 8 "$T/none"
check "why not" says 'cannot open'
check_status 8 --lower "$T/none"
check_status 0 --help
check_status 0 --kinds

# ---- Clean layers, and one finding ----

layers one
quiet_check -o "$OPTS"
check "nothing is made" is "$(find "$D/w" -mindepth 1)" ""
quiet_check --repair -o "$OPTS"
check "a repair of nothing makes nothing" is "$(find "$D/w" -mindepth 1)" ""
check_status 0 --json "$D/a"
mknod "$D/u/nothing" c 0 0
check_status 4 -o "$OPTS"
check "one line and a sum" is "$(wc -l <"$T/out")" 2
check "the line" grep -q '^upper: /nothing: whiteout-needless: .* --repair removes it\.$' "$T/out"
check_status 4 --json -o "$OPTS"
check "it is JSON" python3 - "$T/out" <<'END'
import json, sys
got = json.load(open(sys.argv[1]))
assert got["version"] == 1 and got["repair"] is False
assert (got["found"], got["repaired"], got["left"]) == (1, 0, 1)
f, = got["findings"]
assert set(f) == {"kind", "place", "path", "what", "why", "repair", "outcome"}
assert (f["kind"], f["place"], f["path"], f["outcome"]) == (
	"whiteout-needless", "upper", "nothing", "found")
END
check_status 1 --repair -o "$OPTS"
check "what was done" grep -q 'Mended: removes it' "$T/out"
quiet_check -o "$OPTS"

# ---- Something mended, something left: the sum of both ----

mknod "$D/u/nothing" c 0 0
setfattr -n trusted.overlay.novelty -v 1 "$D/u"
check_status 5 --repair -o "$OPTS"
check_status 4 --repair -o "$OPTS"
setfattr -x trusted.overlay.novelty "$D/u"

# ---- Names of any bytes ----

mknod "$D/u/"$'a\nb\xff"\\' c 0 0
check_status 4 --json -o "$OPTS"
check "odd names in JSON" python3 - "$T/out" <<'END'
import json, os, sys
f, = json.load(open(sys.argv[1], encoding="utf-8"))["findings"]
assert os.fsencode(f["path"]) == b'a\nb\xff"\\', f["path"]
END
check_status 4 -o "$OPTS"
check "one line all the same" is "$(wc -l <"$T/out")" 2
check_status 1 --repair -o "$OPTS"

# ---- Layers in use ----

"$LAMINA" mount -o "$OPTS" "$D/m"
check_status 8 -o "$OPTS"
check "Lamina has them" says 'is in use by a mount'
check_status 8 --repair "$D/u"
check "so it is for one layer" says 'is in use by a mount'
"$LAMINA" umount "$D/m"
quiet_check -o "$OPTS"
mount -t overlay overlay -o "$OPTS" "$D/m"
check_status 8 -o "$OPTS"
check "the kernel has them" says 'is in use by a mount'
check_status 8 -o "${OPTS/%"$D/w"/"$D/w2"}"
mkdir "$D/u2" "$D/w2"
check_status 8 -o "lowerdir=$D/a,upperdir=$D/u2,workdir=$D/w"
check "or the work directory" says "w.* is in use by a mount"
quiet_check -o "lowerdir=$D/a:$D/b,upperdir=$D/u2,workdir=$D/w2"
umount "$D/m"

# In another mount namespace.
mkfifo "$D/go" "$D/end"
unshare --mount sh -c "mount -t overlay overlay -o '$OPTS' '$D/m'; echo >'$D/go'; read -r _ <'$D/end'" &
other=$!
read -r _ <"$D/go"
check_status 8 -o "$OPTS"
check "in another namespace" says 'is in use by a mount'
echo >"$D/end"
wait "$other"
quiet_check -o "$OPTS"

# ---- The default work directory ----

mkdir "$D/u3" "$D/u3.work"
quiet_check --lower "$D/a" --upper "$D/u3"

# ---- What is put aside ----

mkdir -p "$D/w2/index"
echo precious >"$D/w2/index/junk"
check_status 1 --repair -o "lowerdir=$D/a,upperdir=$D/u2,workdir=$D/w2"
check "it is kept" is "$(cat "$D/w2/lamina/stray/junk")" precious
echo precious2 >"$D/w2/index/junk"
check_status 1 --repair -o "lowerdir=$D/a,upperdir=$D/u2,workdir=$D/w2"
check "and so is the next" is "$(cat "$D/w2/lamina/stray/junk.1")" precious2

# ---- An ordinary user ----

if [ "$(id -u)" -eq 0 ]; then
	layers user
	chmod 755 "$T" "$D"
	chown -R 65534:65534 "$D"
	setfattr -n user.overlay.redirect -v .. "$D/u"
	mkdir "$D/u/dir"
	setfattr -n user.overlay.redirect -v .. "$D/u/dir"
	setfattr -x user.overlay.redirect "$D/u"
	chown 65534:65534 "$D/u/dir"
	run setpriv --reuid 65534 --regid 65534 --clear-groups "$LAMINA" check -o "$OPTS"
	check "a user finds it" is "$RC" 4
	check "with the user's marks" grep -q redirect-escape "$T/out"
	run setpriv --reuid 65534 --regid 65534 --clear-groups "$LAMINA" check --repair -o "$OPTS"
	check "and mends it" is "$RC" 1
	check "by the user's marks" is \
		"$(getfattr --only-values -n user.overlay.opaque "$D/u/dir" 2>/dev/null)" y
fi

# ---- Deeper than descriptors and path names reach ----

layers deep
python3 - "$D/u" <<'END'
import os, sys
os.chdir(sys.argv[1])
name = "d" * 100
for i in range(300):
	os.mkdir(name)
	os.chdir(name)
os.mknod("nothing", 0o020000, 0)
END
prlimit --nofile=128 "$LAMINA" check -o "$OPTS" >"$T/out" 2>"$T/err"
check "300 levels, 128 descriptors" is $? 4
check "at the bottom" is "$(grep -c whiteout-needless "$T/out")" 1
check "is all there is" is "$(wc -l <"$T/out")" 2
python3 -c 'import shutil, sys; sys.setrecursionlimit(9999); shutil.rmtree(sys.argv[1])' "$D/u"

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# lamina status: counts that a known work makes, features and why they are refused, who may ask.
. "$(dirname "$0")/lib.sh"

# json EXPRESSION: of the one mount M in $T/out.
json()
{
	python3 -c '
import json, sys
got = json.load(open(sys.argv[1], encoding="utf-8"))
assert got["version"] == 1
M, = got["mounts"]
R = {k: v["count"] for k, v in M["requests"].items()}
sys.exit(0 if eval(sys.argv[2]) else "not so: %s in %r" % (sys.argv[2], M))' "$T/out" "$1"
}

ask()
{
	run "$LAMINA" status --json "$D/m"
	check "it is told" is "$RC" 0
}

# ---- Counts, with a server that is told to answer opens ----

layers one
for i in $(seq 7); do
	echo "$i" >"$D/a/f$i"
done
"$LAMINA" mount -o "$OPTS,answer_opens" "$D/m"
check "the first sight" stat -c %i "$D/m" >/dev/null
ask
check "mountpoint" json "M['mountpoint'] == '$D/m'"
check "layers" json "M['lower'] == ['$D/a', '$D/b'] and M['upper'] == '$D/u' and M['work'] == '$D/w'"
check "mode" json "M['mode'] == 'rw'"
check "nothing copied" json "M['copyups'] == 0"
for i in $(seq 7); do
	check "file $i" cat "$D/m/f$i" >"$T/seen"
done
echo more >>"$D/m/f1"
rm "$D/m/f2" "$D/m/f3"
for i in 1 2 3 4 5; do
	check "no such file" not stat "$D/m/none$i" 2>/dev/null
done
ask
check "lookups: 7 files, 5 that are not there" json "R['LOOKUP'] == 12"
check "opens: 7 reads, 1 write" json "R['OPEN'] == 8"
check "reads" json "R['READ'] == 7"
check "a write" json "R['WRITE'] == 1"
check "removals" json "R['UNLINK'] == 2 and M['whiteouts'] == 2"
check "a copy" json "M['copyups'] == 1 and M['copyup_bytes'] == 2"
check "each is in a histogram" json \
	"all(sum(r['histogram']) == r['count'] and r['total_ns'] > 0 for r in M['requests'].values())"
check "fifteen buckets" json "all(len(r['histogram']) == 15 for r in M['requests'].values())"
check "memory" json "M['resident_bytes'] > 100000 and M['nodes'] > 0 and M['node_hits'] > 0"
check "nobody knows the removed ones" json "M['orphans'] == 0"
check "opens are answered" json \
	"M['features']['zero_message_opens'] == {'state': 'off', 'why': 'answers to opens were asked for'}"
check "index" json "M['features']['index']['state'] == 'on'"
"$LAMINA" umount "$D/m"

# ---- For people ----

layers two
"$LAMINA" mount -r -o "$OPTS" "$D/m"
ls "$D/m" >/dev/null
run "$LAMINA" status "$D/m"
check "status" is "$RC" 0
check "the mountpoint" grep -q "^$D/m$" "$T/out"
check "read-only" grep -q '^  read-only, server [0-9]* ' "$T/out"
check "a layer" grep -q "^  lower $D/b$" "$T/out"
check "a request" grep -q '^  READDIRPLUS  *[1-9]' "$T/out"
run "$LAMINA" status
check "all mounts" grep -q "^$D/m$" "$T/out"
run timeout 3 "$LAMINA" status --watch "$D/m"
check "watched" is "$(($(grep -c "^$D/m$" "$T/out") >= 1))" 1
"$LAMINA" umount "$D/m"

# ---- What is refused, and why ----

switch=/sys/module/fuse/parameters/enable_uring
layers three
"$LAMINA" mount -o "$OPTS,transport=dev" "$D/m"
ask
check "io_uring was not asked for" json "M['features']['io_uring']['state'] == 'off'"
check "and it says so" json "'transport=dev' in M['features']['io_uring']['why']"
check "passthrough was not asked for" json "M['features']['passthrough']['state'] == 'off'"
"$LAMINA" umount "$D/m"
"$LAMINA" mount -o "$OPTS,supervisor=off" "$D/m"
ask
if [ "$(cat "$switch" 2>/dev/null)" = Y ]; then
	check "io_uring is in use" json "M['features']['io_uring'] == {'state': 'on', 'why': None}"
else
	check "io_uring is switched off, and that is said" json \
		"(lambda f: f['state'] == 'refused' and '$switch' in f['why'])(M['features']['io_uring'])"
fi
check "there is no supervisor" json "M['supervisor'] == 0"
"$LAMINA" umount "$D/m"
if [ "$(id -u)" -eq 0 ]; then
	# In a user namespace passthrough is refused, and the status is for its root and for none below.
	chmod 755 "$T" "$D"
	cat >"$D/inside" <<END
"$LAMINA" mount -o "$OPTS,passthrough=auto" "$D/m" || exit 1
"$LAMINA" status --json "$D/m"
"$LAMINA" umount "$D/m"
END
	run unshare --user --map-root-user --mount bash "$D/inside"
	check "passthrough is refused" json "M['features']['passthrough']['state'] == 'refused'"
	check "for a reason" json "'only root' in M['features']['passthrough']['why']"

	layers four
	chmod 755 "$D"
	"$LAMINA" mount -o "$OPTS" "$D/m"
	run setpriv --reuid 65534 --regid 65534 --clear-groups "$LAMINA" status "$D/m"
	check "others may not ask" is "$RC" 1
	check "and are told so" says 'only root and the user who serves'
	run setpriv --reuid 65534 --regid 65534 --clear-groups "$LAMINA" status
	check "nor see it among all" is "$RC$(cat "$T/out")" 0
	run unshare --net "$LAMINA" status "$D/m"
	check "nor from another network namespace" is "$RC" 1
	"$LAMINA" umount "$D/m"
fi

# ---- Over the end of a server ----

layers five
"$LAMINA" mount -o "$OPTS" "$D/m"
ask
check "a supervisor" json "M['supervisor'] > 0 and M['servers'] == 1"
kill -9 "$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["mounts"][0]["pid"])' "$T/out")"
told()
{
	run "$LAMINA" status --json "$D/m"
	[ "$RC" -eq 0 ] && json "M['deaths'] == 1 and M['servers'] == 2" 2>/dev/null
}
check "the next server tells" await told
"$LAMINA" umount "$D/m"

# ---- Wrong usage ----

refused "no mount" 'nothing is mounted' "$LAMINA" status "$T"
refused "another mount" 'not one of Lamina' "$LAMINA" status /proc
refused "watch and all" 'takes one mountpoint' "$LAMINA" status --watch

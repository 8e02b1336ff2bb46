#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A server that ends again and again: a clear message, errors instead of waiting, and no process left.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/../cli/lib.sh"

cut_off()
{
	stat "$1/." 2>&1 | grep -q "Transport endpoint"
}

layers limit
run "$MOUNT" -o "$OPTS,restarts=3,log=$T/messages" "$D/m"
check "mount" is "$RC" 0
exec 5<"$D/m/file"
# New names, so that the kernel has to ask; it answers for what it knows even when the mount is cut off.
(n=0; until stat "$D/m/none$n" 2>&1 | grep -q "Transport endpoint"; do n=$((n + 1)); done) &
user=$!
sup=$(servers "upperdir=$D/u")
for i in 1 2 3 4; do
	pid=$(pgrep -P "$sup") || break
	kill -KILL "$pid"
	await not kill -0 "$pid" 2>/dev/null
	[ "$i" -eq 4 ] || check "death $i: another one" await pgrep -P "$sup" >/dev/null
done
check "the supervisor ends" await no_servers "upperdir=$D/u"
check "it says so" grep -q "4 times within a minute: giving up" "$T/messages"
check "who waits gets an error" await not kill -0 "$user"
check "the mount is cut off" cut_off "$D/m"
exec 5<&-
run "$LAMINA" umount "$D/m"
check "it can be unmounted" is "$RC" 0
run "$MOUNT" -o "$OPTS" "$D/m"
check "and mounted again" is "$(cat "$D/m/file")" "of a"
umount "$D/m"

# Without a supervisor it is as it was: the server's end is the mount's.
layers alone
run "$MOUNT" -o "$OPTS,supervisor=off" "$D/m"
check "off: mount" is "$RC" 0
check "off: one process" is "$(pgrep -c -f "upperdir=$D/u")" 1
kill -KILL "$(servers "upperdir=$D/u")"
check "off: cut off" await cut_off "$D/m"
umount -l "$D/m"

# The supervisor alone: the server goes on, and says what that means.
layers widow
run "$MOUNT" -o "$OPTS,log=$T/messages2" "$D/m"
sup=$(servers "upperdir=$D/u")
kill -KILL "$sup"
check "widow: it is said" await grep -q "the supervisor is gone" "$T/messages2"
check "widow: served" is "$(cat "$D/m/file")" "of a"
check "widow: no upgrade" not "$LAMINA" upgrade "$D/m" 2>/dev/null
run "$LAMINA" umount "$D/m"
check "widow: umount" is "$RC" 0
check "widow: no process is left" await no_servers "upperdir=$D/u"

# In the foreground they end together.
layers fg
"$MOUNT" -f -o "$OPTS" "$D/m" >"$T/out" 2>"$T/err" </dev/null &
check "-f: mounts" await mounted "$D/m"
kill -KILL $!
check "-f: no process is left" await no_servers "upperdir=$D/u"
umount -l "$D/m"

# Programs that cannot take over: the one that serves goes on.
layers refuse
run "$LAMINA" mount -o "$OPTS" "$D/m"
sed 's/\x74\x73\x61\x6e\x69\x6d\x61\x6c/\x74\x73\x61\x6e\x69\x6d\x61\x6d/g' "$LAMINA" >"$T/other"
chmod +x "$T/other"
run "$T/other" upgrade "$D/m"
check "another layout: refused" is "$RC" 1
check "another layout: told" says "another layout"
check "another layout: served" is "$(cat "$D/m/file")" "of a"
run "$LAMINA" upgrade "$D/m"
check "and the right one: taken" is "$RC" 0
chmod 755 "$T" "$D" "$D/m"
run setpriv --reuid 12345 --regid 12345 --clear-groups "$LAMINA" upgrade "$D/m"
check "a stranger: refused" is "$RC" 1
check "a stranger: told" says "only its owner and root"
check "a stranger: served" is "$(cat "$D/m/file")" "of a"
umount "$D/m"

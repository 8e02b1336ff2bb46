#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Going to the background, silence, signals, the end of the server, the mount table.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# ---- Background: status 0 once the mount answers, silent, caller's pipes closed ----
layers bg
(
	# `cat` ends when the last holder of the pipe has closed it.
	timeout 60 "$MOUNT" -o "$OPTS" "$D/m" 2>&1 </dev/null
	echo "status $?"
) | timeout 60 cat >"$T/through"
check "pipe closed and silent" is "$(cat "$T/through")" "status 0"
check "the mount answers" is "$(cat "$D/m/file")" "of a"
check "lower layers merge" is "$(cat "$D/m/only")" "only b"
check "type" is "$(mount_field "$D/m" 1)" fuse.lamina-mount
check "source" is "$(mount_field "$D/m" 2)" lamina-mount
pid=$(servers "upperdir=$D/u")
check "one server" [ -n "$pid" ]
check "stdout is null" is "$(readlink "/proc/$pid/fd/1")" /dev/null
check "stderr is null" is "$(readlink "/proc/$pid/fd/2")" /dev/null
check "cwd is the root" is "$(readlink "/proc/$pid/cwd")" /
check "descriptor limit" is "$(awk '/Max open files/ { print $4 }' "/proc/$pid/limits")" \
	"$(awk '/Max open files/ { print $5 }' "/proc/$pid/limits")"
umount "$D/m"
check "an unmount ends the server" await no_servers "upperdir=$D/u"

# ---- Signals ----
for signal in TERM INT; do
	layers "sig$signal"
	run "$MOUNT" -o "$OPTS" "$D/m"
	check "SIG$signal: mount" is "$RC" 0
	pid=$(servers "upperdir=$D/u")
	kill -HUP "$pid"
	kill -PIPE "$pid"
	check "SIG$signal: HUP and PIPE mean nothing" is "$(cat "$D/m/file")" "of a"
	echo changed >"$D/m/only"
	kill "-$signal" "$pid"
	check "SIG$signal ends the server" await no_servers "upperdir=$D/u"
	check "SIG$signal unmounts" await not mounted "$D/m"
	check "SIG$signal: what was written is there" is "$(cat "$D/u/only")" changed
done

# ---- Foreground ----
layers fg
timeout -k 5 60 "$MOUNT" -f -o "$OPTS" "$D/m" >"$T/out" 2>"$T/err" </dev/null &
fg=$!
check "-f: mounts" await mounted "$D/m"
check "-f: works" is "$(cat "$D/m/file")" "of a"
pid=$(pgrep -P "$fg")
kill -USR1 "$pid"
check "-f: SIGUSR1 tells" await grep -q "requests: LOOKUP" "$T/err"
umount "$D/m"
RC=0
wait "$fg" || RC=$?
check "-f: status after an unmount" is "$RC" 0

layers fgterm
timeout -k 5 60 "$MOUNT" -f -o "$OPTS" "$D/m" >"$T/out" 2>"$T/err" </dev/null &
fg=$!
check "-f: mounts again" await mounted "$D/m"
kill -TERM "$(pgrep -P "$fg")"
RC=0
wait "$fg" || RC=$?
check "-f: status after SIGTERM" is "$RC" 0
check "-f: silent" silent
check "-f: unmounted" not mounted "$D/m"

# ---- Messages to a file ----
layers log
run "$MOUNT" -o "$OPTS,log=$T/messages" "$D/m"
check "log: mount" is "$RC" 0
kill -USR1 "$(servers "upperdir=$D/u")"
check "log: SIGUSR1 tells" await grep -q "transport " "$T/messages"
umount "$D/m"

# ---- A failure: one line, status 1, nothing mounted, no server left ----
layers bad
refused "missing lower" "." "$MOUNT" -o "lowerdir=$D/none,upperdir=$D/u,workdir=$D/w" "$D/m"
check "failure: not mounted" not mounted "$D/m"
check "failure: no server" no_servers "lowerdir=$D/none"
refused "upper in use" "." sh -c "'$MOUNT' -o '$OPTS' '$D/m' && \
	exec '$MOUNT' -o '$OPTS' '$D/b'"
umount "$D/m"

# ---- Unmount and mount again at once, which does not wait for the old server ----
layers again
for ((i = 0; i < 20; i++)); do
	run "$MOUNT" -o "$OPTS" "$D/m"
	[ "$RC" -eq 0 ] || break
	echo "$i" >>"$D/m/only"
	umount "$D/m"
done
check "mounted again at once: status" is "$RC" 0
check "mounted again at once: all of it" is "$(tail -n 1 "$D/u/only")" 19

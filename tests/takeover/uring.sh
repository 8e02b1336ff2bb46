#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A mount by io_uring, which no other server can take over: when its server is killed, who waits gets an error,
# nobody is left waiting, and the same layers can be mounted again with all that was written.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/../cli/lib.sh"

switch=/sys/module/fuse/parameters/enable_uring
[ -w "$switch" ] || { trap - EXIT; rm -r "$T"; echo "this kernel has no FUSE over io_uring"; exit 77; }
before=$(cat "$switch")
# shellcheck disable=SC2317	# called by the trap
restore()
{
	echo "$before" >"$switch"
	finish
}
trap restore EXIT
# Those who wait and could not be killed.
stuck()
{
	local task

	for task in /proc/[0-9]*/task/*; do
		grep -q '^State:[[:space:]]*D' "$task/status" 2>/dev/null && cat "$task/comm" && return 0
	done
	return 1
}
has_ring()
{
	find "/proc/$(servers "upperdir=$D/u")/fd" -lname '*io_uring*' | grep -q .
}

layers uring
echo Y >"$switch"
run "$MOUNT" -o "$OPTS,transport=uring" "$D/m"
echo "$before" >"$switch"
check "mount" is "$RC" 0
check "it serves a ring" await has_ring
check "one process, without a supervisor" is "$(pgrep -c -f "upperdir=$D/u")" 1
run "$LAMINA" upgrade "$D/m"
check "no upgrade" is "$RC" 1
for round in 1 2 3; do
	users=()
	exec 5<>"$D/m/file" 6<"$D/m"
	echo "round $round" >&5
	for i in 1 2 3 4; do
		# New names, so that the kernel has to ask.
		(n=0; until stat "$D/m/none$i.$n" 2>&1 | grep -q "Transport endpoint"; do
			n=$((n + 1))
			echo "$n" >>"$D/m/new$i" 2>/dev/null
		done) &
		users+=($!)
	done
	sleep "0.$round"
	kill -KILL "$(servers "upperdir=$D/u")"
	check "$round: the server ends" await no_servers "upperdir=$D/u"
	for user in "${users[@]}"; do
		check "$round: who waits gets an error" await not kill -0 "$user" 2>/dev/null
	done
	check "$round: an open file is cut off" not cat <&5 2>/dev/null
	check "$round: so is a directory" not ls "$D/m" 2>/dev/null
	check "$round: nobody is left waiting" await not stuck
	exec 5>&- 6<&-
	run "$LAMINA" umount "$D/m"
	check "$round: it can be unmounted" is "$RC" 0
	echo Y >"$switch"
	run "$MOUNT" -o "$OPTS,transport=uring" "$D/m"
	echo "$before" >"$switch"
	check "$round: and mounted again" is "$RC" 0
	check "$round: with what was written" is "$(head -n 1 "$D/m/file")" "round $round"
	for i in 1 2 3 4; do
		# One line each, in order, but for the last one perhaps.
		check "$round: lines of $i" cmp -s "$D/m/new$i" <(seq "$(wc -l <"$D/m/new$i")")
		rm -f "$D/m/new$i"
	done
done
umount "$D/m"
check "no process is left" await no_servers "upperdir=$D/u"
run "$LAMINA" check -o "$OPTS"
check "nothing to mend" is "$RC" 0

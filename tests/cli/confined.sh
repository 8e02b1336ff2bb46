#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# What a serving process gave away (docs/design/permissions.md): looked at from outside, in each of its
# threads, for every way to serve.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# Chown, DAC override and read search, fowner, fsetid, setgid, setuid, linux_immutable, sys_admin,
# sys_resource, mknod, setfcap, mac_override, mac_admin.
KEPT=$((1 << 0 | 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 9 | 1 << 21 | 1 << 24 | \
	1 << 27 | 1 << 31 | 1 << 32 | 1 << 33))
NET_BIND_SERVICE=$((1 << 10))
IPC_LOCK=$((1 << 14))

field()
{
	sed -n "s/^$2:[[:space:]]*//p" "$1/status"
}

# servers_of PATTERN: the processes that serve (the thread that waits for the first request, or an NFS
# connection, is in them), and not who watches over them.
confined()
{
	local pid=$1 may=$2 task caps set n=0

	for task in /proc/"$pid"/task/*; do
		for set in CapEff CapPrm CapBnd; do
			caps=$((16#$(field "$task" "$set")))
			if [ $((caps & ~may)) -ne 0 ]; then
				echo "# $(cat "$task/comm"): $set has $(printf %x $((caps & ~may)))"
				return 1
			fi
		done
		[ "$((16#$(field "$task" CapInh)))" -eq 0 ] || return 1
		[ "$((16#$(field "$task" CapAmb)))" -eq 0 ] || return 1
		if [ "$FILTERED" = yes ]; then
			[ "$(field "$task" Seccomp)" = 2 ] || return 1
			[ "$(field "$task" NoNewPrivs)" = 1 ] || return 1
		fi
		n=$((n + 1))
	done
	[ "$n" -gt 1 ]
}

# The worker of the server whose command line has PATTERN: the process with most threads.
worker()
{
	local pid best="" most=0 n

	for pid in $(pgrep -f "$1"); do
		n=$(find "/proc/$pid/task" -mindepth 1 -maxdepth 1 | wc -l)
		if [ "$n" -gt "$most" ]; then
			most=$n
			best=$pid
		fi
	done
	echo "$best"
}

FILTERED=no
grep -q '^#define LAMINA_SECCOMP$' "$BUILD/lamina-config.h" && FILTERED=yes
check "the filter is built in, or a sanitizer is" sh -c "[ $FILTERED = yes ] ||
	grep -q -e asan_ -e tsan_ '$BUILD/lamina'"

mkdir "$T/l" "$T/u" "$T/w" "$T/m"
echo text >"$T/l/f"
run "$MOUNT" -o "lowerdir=$T/l,upperdir=$T/u,workdir=$T/w" "$T/m"
check "mounting" is "$RC" 0
check "a copy-up works" sh -c "echo more >>'$T/m/f'"
check "so does a device" mknod "$T/m/dev" c 1 3
check "and its owner" chown 5:6 "$T/m/dev"
check "capabilities and calls are given away" \
	confined "$(worker "upperdir=$T/u")" $((KEPT | IPC_LOCK))
umount "$T/m"
check "the server ends" await no_servers "upperdir=$T/u"

run "$MOUNT" -o "lowerdir=$T/l,upperdir=$T/u,workdir=$T/w,transport=dev" "$T/m"
check "mounting without rings" is "$RC" 0
check "by /dev/fuse not even that is kept" confined "$(worker "upperdir=$T/u")" "$KEPT"
kill -TERM "$(worker "upperdir=$T/u")"
check "the server unmounts and ends" await no_servers "upperdir=$T/u"
check "nothing is mounted" sh -c "! mountpoint -q '$T/m'"

run "$LAMINA" nfs --lower "$T/l" --upper "$T/u" --work "$T/w" --listen 127.0.0.1:0
check "serving by NFS" is "$RC" 0
check "the NFS server is confined" confined "$(worker "$T/u --work")" $((KEPT | NET_BIND_SERVICE))
kill -TERM "$(worker "$T/u --work")"
check "it ends" await no_servers "$T/u --work"

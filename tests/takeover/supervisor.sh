#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The supervisor is small, has no capability in effect, allocates nothing, opens nothing and takes no text apart once
# a worker serves.
if grep -q __tsan_init "${LAMINA:-$(dirname "$0")/../../build/lamina}"; then
	echo "skipped: each process has a thread of the sanitizer's own"
	exit 77
fi
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/../cli/lib.sh"

field()
{
	sed -n "s/^$2:[[:space:]]*//p" "/proc/$1/status"
}

# What runs once a worker serves.
LOOP=("$ROOT"/src/super/super.c "$ROOT"/src/super/caps.c "$ROOT"/src/super/channel.c)
check "its loop can be read in one sitting" [ "$(cat "${LOOP[@]}" | wc -l)" -lt 1000 ]
check "there is no allocation or parsing in it" \
	not grep -nE '\b(m|c|re)alloc|strdup|asprintf|fopen|opendir|scanf|strto|ato[il]' "${LOOP[@]}"

layers supervisor
run "$LAMINA" mount -o "$OPTS,restarts=100" "$D/m"
check "mount" is "$RC" 0
sup=$(servers "upperdir=$D/u")
next_worker()
{
	local new

	new=$(pgrep -P "$sup") && [ "$new" != "$worker" ] && worker=$new
}
worker=
check "a worker" await next_worker

for set in CapEff CapInh CapAmb; do
	check "$set" is "$((16#$(field "$sup" $set)))" 0
done
check "one thread" is "$(field "$sup" Threads)" 1
before=$(field "$sup" VmData)

# What it does while workers come and go, and while somebody talks nonsense to it.
strace -qq -o "$T/trace" -p "$sup" 2>"$T/strace.err" &
tracer=$!
traced()
{
	[ "$(field "$sup" TracerPid)" -eq "$tracer" ]
}
check "watched" await traced
for i in 1 2 3 4 5; do
	kill -KILL "$worker"
	check "$i: another worker" await next_worker
	check "$i: it serves" is "$(cat "$D/m/file")" "of a"
	cat "$D/m/none$i" 2>/dev/null
done
minor=$(stat -c %d "$D/m")
python3 - "$((minor & 0xff | minor >> 12 & 0xfff00))" <<'END'
import socket, sys
for text in (b"", b"x", b"\xff" * 256, b"A" * 300):
	s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
	s.connect(b"\0lamina/" + sys.argv[1].encode())
	s.send(text)
	s.settimeout(5)
	try:
		s.recv(300)
	except OSError:
		pass
END
check "it was talked to" is $? 0
kill "$tracer"
wait "$tracer" 2>/dev/null
calls=$(sed -nE 's/^([a-z0-9_]+)\(.*/\1/p' "$T/trace" | sort -u)
check "it did something" grep -qx clone <<<"$calls"
expected='poll|read|write|recvmsg|sendmsg|sendto|wait4|socketpair|clone|close|getpid|kill|accept4|getsockopt|geteuid|restart_syscall'
check "and nothing else" is "$(grep -vxE "$expected" <<<"$calls")" ""
check "its memory is what it was" is "$(field "$sup" VmData)" "$before"
check "still served" is "$(cat "$D/m/file")" "of a"

run "$LAMINA" upgrade "$D/m"
check "upgrade" is "$RC" 0
lowered()
{
	[ "$((16#$(field "$sup" CapEff)))" -eq 0 ]
}
# It answers, and then becomes the new program.
check "no capability after an upgrade" await lowered
umount "$D/m"
check "no process is left" await no_servers "upperdir=$D/u"

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the server may use: descriptors, memory, system calls; and directories beyond all bounds.
LIMIT=280
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need strace python3

# server DIR: the process that serves DIR/mnt, a child of the supervisor.
server() {
	pgrep -n -f -- "upperdir=$1/upper"
}

# rss PID: in kB.
rss() {
	awk '/^VmRSS/ { print $2 }' "/proc/$1/status"
}

# calls PID COMMAND...: how many system calls the server makes while the command runs, not counting
# those by which it waits for and answers requests; needs the filesystem to be quiet.
calls() {
	local pid=$1 tracer
	shift
	strace -f -q -o "$T/trace" -p "$pid" 2>/dev/null &
	tracer=$!
	wait_for 10 grep -q "^TracerPid:.*[1-9]" "/proc/$pid/status"
	sleep 0.5
	: > "$T/trace"
	"$@" >/dev/null 2>&1
	sleep 0.5
	kill -INT $tracer
	wait $tracer 2>/dev/null
	tail -c +1 "$T/trace" | tr -d '\0' |
		grep -cvE 'resumed>|io_uring_enter|epoll_|restart_syscall|rt_sigtimedwait|/dev/fuse|^[0-9]+ +(read|write|writev|futex|poll)\(|^[0-9]+ [-+]{3}|^$'
}

mkfiles() {
	python3 -c '
import os, sys
os.makedirs(sys.argv[1], exist_ok=True)
fd = os.open(sys.argv[1], os.O_RDONLY)
for i in range(int(sys.argv[2])):
	os.close(os.open("%s%d" % (sys.argv[3], i), os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd))
' "$@"
}

# 256 descriptors.
mkdir -p d/lower
for i in $(seq 40); do mkfiles d/lower/$i 20 f; done
for i in $(seq 40); do for j in $(seq 0 19); do echo "$i $j" > d/lower/$i/f$j; done; done
(ulimit -n 256; overlay d; [ "$FAILED" = 0 ]) || die "a mount with 256 descriptors"
same_tree "256 descriptors: the whole tree" d/lower d/mnt
sh_check "256 descriptors: every file is written and read" '
	for f in d/mnt/*/*; do echo more >> $f; done
	for f in d/mnt/*/*; do [ "$(tail -n1 $f)" = more ]; done'
check "256 descriptors: 600 files open at once" python3 -c '
import glob, resource
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 2048))
files = [open(f, "r+b") for f in sorted(glob.glob("d/mnt/*/*"))[:600]]
for i, f in enumerate(files):
	f.seek(0, 2)
	f.write(b"x%d" % i)
	f.flush()
for i, f in enumerate(files):
	f.seek(0)
	assert f.read().endswith(b"x%d" % i)
'
sh_check "256 descriptors: moved and removed" '
	mkdir d/mnt/all; mv d/mnt/[1-9]* d/mnt/all; rm -r d/mnt/all; [ -z "$(ls -A d/mnt)" ]'
unmount d/mnt
empty_work d

# Memory: 71,000 files in 25 MB, and FORGET gives it back.
mkdir -p m/lower
for i in $(seq 71); do mkfiles m/lower/dir$i 1000 some-file-; done
overlay m
pid=$(server m)
start=$(rss "$pid")
equal "71,000 files are seen" "$(find m/mnt -type f -newermt 2001-01-01 | wc -l)" 71000
full=$(rss "$pid")
echo "# resident: $start kB at the start, $full kB with 71,000 files known"
promise check "in 25 MB" test "$full" -le 25000
# The kernel forgets what it may, the server with it.
echo 2 > /proc/sys/vm/drop_caches
forgotten() {
	[ "$(rss "$pid")" -le $((full - (full - start) / 3)) ]
}
promise check "what the kernel forgets is given back" wait_for 20 forgotten
echo "# resident: $(rss "$pid") kB when they are forgotten"
unmount m/mnt

# System calls.
mkdir -p c/lower
mkfiles c/lower/big 1000 f
overlay c
pid=$(server c)
n=$(calls "$pid" stat c/mnt/big)	# the first look: nothing is known yet
echo "# system calls for the stat of a directory with 1,000 entries: $n"
promise check "fewer than 20" test "$n" -lt 20
# Another test may make the kernel drop its caches at any time, so not every look can be free.
n=$(calls "$pid" python3 -c '
import os
for _ in range(1000):
	for name in ("c/mnt/nothing", "c/mnt/big/nothing"):
		assert not os.path.exists(name)
')
echo "# system calls for 2,000 looks for names that are missing: $n"
promise check "a name that is missing is asked for once" test "$n" -lt 400
unmount c/mnt

# A directory with more names than a listing may have, in two layers.
mkdir -p b
mount -t tmpfs none b
mkfiles b/lower/big 3000 a
mkfiles b/second/big 202000 a
LOWER=$T/b/lower:$T/b/second overlay b
pid=$(server b)
names() {
	python3 -c '
import os, sys
seen = set()
n = 0
for e in os.scandir(sys.argv[1]):
	n += 1
	seen.add(e.name)
assert n == len(seen), "%d names, %d different" % (n, len(seen))
print(n)
' "$1" 2>&1
}
equal "a directory that fits in no listing: every name once" "$(names b/mnt/big)" 202000
mkfiles b/mnt/big 2000 new
find b/mnt/big -name 'a1*' -delete
equal "names come and go: every name once" "$(names b/mnt/big)" 92889
echo "# resident: $(rss "$pid") kB"
promise check "in 60 MB" test "$(rss "$pid")" -le 60000
rm_all() {
	timeout $((200 * FACTOR)) rm -r b/mnt/big
}
check "all of it is removed" rm_all
equal "nothing is left" "$(ls -A b/mnt)" ""
unmount b/mnt
umount -l b	# the server is on its way out

# A million names: in the layer, and listed with less memory than their names would take.
mkdir -p e
mount -t tmpfs none e
mkfiles e/lower/big 1000000 some-file-
mkfiles e/second/big 10 other
LOWER=$T/e/lower:$T/e/second overlay e
pid=$(server e)
equal "a million names: every name once" "$(names e/mnt/big)" 1000010
echo "# resident: $(rss "$pid") kB"
promise check "in 40 MB" test "$(rss "$pid")" -le 40000
unmount e/mnt
umount -l e
finish

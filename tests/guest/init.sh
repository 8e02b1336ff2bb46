#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# The guest's first process: mount the host's server and use it, in step with the host, which is told
# by STEP lines and answers by making a file.  Each check is a line `ok NAME` or `not ok NAME`.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
while read -r module; do
	insmod "/modules/$module" || echo "not ok insmod $module"
done </modules/order
ifconfig lo up
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
port=$(sed 's/.*nfsport=\([0-9]*\).*/\1/' /proc/cmdline)

check() {	# NAME COMMAND...
	name=$1
	shift
	if "$@"; then echo "ok $name"; else echo "not ok $name: $*"; fi
}

step() {	# NAME: let the host do it, and wait
	echo "STEP $1"
	until [ -e "/m/done-$1" ]; do usleep 100000; done
}

is() {
	[ "$1" = "$2" ] || { echo "got '$1', wanted '$2'"; return 1; }
}

next() {	# the next three bytes of the descriptor
	dd bs=3 count=1 2>/dev/null <&3
}

mkdir -p /m
check mount mount_nfs 10.0.2.2 / "$port" /m
exec 3</m/dir/file
check "read" is "$(next)" old
for s in copy-up rename move parent1 parent2; do
	step $s
	check "$s: the descriptor reads new bytes" is "$(next)" "$(printf %.3s "$s")"
done
check "path" is "$(cat /m/parent2/moved)" "copcoprenmovparpar-end."
check "old path" [ ! -e /m/dir/file ]
exec 3<&-

exec 3</m/two-b
check "two names: read" is "$(next)" abc
step drop-one
check "two names: goes on" is "$(next)" def
rm /m/two-b
check "last name gone: goes on" is "$(next)" ghi
exec 3<&-
check "silly name gone" is "$(find /m -maxdepth 1 -name '.nfs*')" ""

echo written >/m/lower-only
step restart
check "written through a restart" is "$(cat /m/lower-only)" written

(i=0; while [ $i -lt 100 ]; do echo "line $i" >>/m/log; i=$((i + 1)); done) &
step kill
wait
check "appended over kills" is "$(wc -l </m/log)" 100
check "nothing twice" is "$(sort -u /m/log | wc -l)" 100

mkdir /tmp/tree
(cd /tmp/tree && mkdir -p a/b/c && i=0 && while [ $i -lt 60 ]; do
	head -c $((i * 37)) /bin/busybox >a/f$i; ln -s ../f$i a/b/l$i; ln a/f$i a/b/c/h$i; i=$((i + 1))
done)
check "cp -a" cp -a /tmp/tree /m/copy
(cd /tmp/tree && tar cf - .) | (mkdir /m/untar && cd /m/untar && tar xf -)
for t in copy untar; do
	check "$t: data" diff -r /tmp/tree "/m/$t"
	check "$t: names" is "$(cd /m/$t && find . | sort | md5sum)" \
		"$(cd /tmp/tree && find . | sort | md5sum)"
done
check "tar from" is "$(cd /m/copy && tar cf - . | tar tf - | wc -l)" \
	"$(cd /tmp/tree && tar cf - . | tar tf - | wc -l)"
check "rm -rf" rm -rf /m/copy /m/untar
check "all gone" [ ! -e /m/copy ]
check umount umount /m
echo FINISHED
reboot -f

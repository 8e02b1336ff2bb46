#!/bin/busybox sh
# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=dash
# The guest's first process: load modules, put what is tested into the root filesystem, which is a
# snapshot, and start the scenario there.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
echo 1 >/proc/sys/kernel/printk
while read -r module; do
	insmod "/modules/$module" || echo "cannot load $module"
done </modules/order
mkdir /new
mount -t ext4 /dev/vda /new || echo "no root filesystem"
cp -a /payload/. /new/
mount -t ext4 /dev/vdb /new/d || echo "no disk for layers"
mount --move /proc /new/proc
mount --move /sys /new/sys
mount --move /dev /new/dev
mount -t tmpfs run /new/run
mount -t tmpfs tmp /new/tmp
mount -t nfsd nfsd /new/proc/fs/nfsd
mkdir -p /new/run/rpc_pipefs
mount -t rpc_pipefs rpc /new/run/rpc_pipefs
ifconfig lo up
scenario=$(sed 's/.*lamina=\([^ ]*\).*/\1/; y/,/ /' /new/proc/cmdline)
# shellcheck disable=SC2086 # a list of words
exec switch_root /new /bin/sh -c '
	export LD_LIBRARY_PATH=/guest/lib PATH=/usr/sbin:/usr/bin HOME=/root PYTHONDONTWRITEBYTECODE=1
	python3 /guest/scenario.py "$@"
	echo "ENDED $?"
	sleep 600' sh $scenario

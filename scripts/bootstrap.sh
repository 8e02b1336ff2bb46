#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# bootstrap.sh PURPOSE...: make sure that the Debian packages for build, test, lint, bench, bench-nfs or
# guest are there.  Root gets what is missing through apt; anybody else is told its names.
set -eu

build="gcc libc6-dev make pkg-config python3 meson ninja-build liburing-dev libseccomp-dev
	libxxhash-dev
	libcmocka-dev libtirpc-dev rpcsvc-proto"
test="fuse3 attr acl libcap2-bin e2fsprogs xfsprogs btrfs-progs squashfs-tools util-linux podman
	runc busybox-static git make fio strace libnfs-utils libnfs-dev
	libfuse3-dev pkg-config nfs-ganesha nfs-ganesha-vfs rpcbind iproute2"
lint="clang clang-format clang-tidy libclang-rt-dev cppcheck shellcheck mandoc gcovr"
bench="fuse3 git fio"
bench_nfs="libnfs-dev nfs-ganesha nfs-ganesha-vfs rpcbind iproute2 e2fsprogs"
guest="qemu-system-x86 busybox-static e2fsprogs gcc libc6-dev"

wanted=
for purpose; do
	case $purpose in
	build) wanted="$wanted $build" ;;
	test) wanted="$wanted $test" ;;
	lint) wanted="$wanted $lint" ;;
	bench) wanted="$wanted $bench" ;;
	bench-nfs) wanted="$wanted $bench_nfs" ;;
	guest) wanted="$wanted $guest" ;;
	*) echo "bootstrap.sh: build, test, lint, bench, bench-nfs or guest, not '$purpose'" >&2; exit 2 ;;
	esac
done

if ! command -v dpkg-query >/dev/null; then
	# Another distribution: its packages have other names, and meson says what it misses.
	exit 0
fi
missing=
for package in $wanted; do
	case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) in
	installed) ;;
	*) missing="$missing $package" ;;
	esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "Missing packages. As root: apt-get install$missing" >&2
	exit 1
fi
echo "Installing:$missing" >&2
export DEBIAN_FRONTEND=noninteractive
install="apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=300"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# The lists may be absent or old: get them and try once more.
# shellcheck disable=SC2086 # lists of words
if ! $install $missing >"$log" 2>&1 </dev/null; then
	if ! { apt-get update -qq && $install $missing; } >"$log" 2>&1 </dev/null; then
		cat "$log" >&2
		echo "Could not install:$missing" >&2
		exit 1
	fi
fi

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Every operation at once on few names (races.c), on ext4 and xfs, with settings that take different ways; then
# the tree is the same after a new start and to the kernel, `lamina check` finds nothing, and all can be removed.
# RACE_SECONDS: of each of the runs, 5 if not set.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/../cli/lib.sh"

SECONDS_EACH=${RACE_SECONDS:-5}
check "races.c compiles" gcc -O2 -std=gnu17 -Wall -Wextra -o "$T/races" "$(dirname "$0")/races.c" \
	-lpthread

# A lower tree with every name that is going to be fought for, some of them links to each other.
fill()
{
	local d n
	for d in d0 d0/s d1 d1/s d2 d2/s; do
		mkdir -p "$1/$d"
		for n in 0 1 2 3; do
			head -c $((n * 9000)) /dev/urandom >"$1/$d/n$n"
		done
		ln -sf n0 "$1/$d/n4"
	done
	ln -f "$1/d0/n1" "$1/d1/n1"
	ln -f "$1/d0/n1" "$1/d2/s/n3"
	rm "$1/d2/n2"
	mkdir "$1/d2/n2"
}

# Everything that one can see; what differs between the two filesystems by their nature is left out.
picture()
{
	(cd "$1" && find . -printf '%P %y %m %U %G %l' \( -type d -printf '\n' -o -printf ' %n %s\n' \) |
		sort && find . -type f -exec md5sum {} + | sort -k 2 &&
		find . -type f -print0 | sort -z | xargs -0r getfattr -d 2>/dev/null)
}

serve()
{
	run "$MOUNT" -o "$OPTS,$MORE" "$D/m"
	check "$WHAT: mounted" is "$RC" 0
}

unserve()
{
	run umount "$D/m"
	check "$WHAT: unmounted" is "$RC" 0
	check "$WHAT: the server has ended" await no_servers "upperdir=$D/u"
}

# race FS THREADS OPTIONS KERNEL-OPTIONS
race()
{
	local before
	WHAT="$1, $3"
	MORE=$3
	D=$T/$1-$RANDOM
	mkdir "$D"
	truncate -s 600M "$D.img"
	"mkfs.$1" -q "$D.img" >"$T/out" 2>"$T/err"
	check "$WHAT: a filesystem" mount -o loop "$D.img" "$D"
	mkdir "$D/a" "$D/b" "$D/u" "$D/w" "$D/m"
	fill "$D/a"
	fill "$D/b"
	before=$(cd "$D/a" && find . -type f -exec md5sum {} + | sort)
	OPTS=lowerdir=$D/a:$D/b,upperdir=$D/u,workdir=$D/w
	serve
	RC=0
	timeout $((SECONDS_EACH * 10 + 60)) "$T/races" "$D/m" "$2" "$SECONDS_EACH" "$RANDOM" \
		>"$T/out" 2>"$T/err" || RC=$?
	check "$WHAT: $2 threads" is "$RC" 0
	sed 's/^/    /' "$T/out"
	picture "$D/m" >"$D.live"
	check "$WHAT: something is left to be seen" test "$(wc -l <"$D.live")" -gt 15
	unserve
	check "$WHAT: nothing left in the work directory" is \
		"$(find "$D/w/work" -mindepth 1 ! -type c | wc -l)" 0
	run "$LAMINA" check -o "$OPTS,$MORE"
	check "$WHAT: lamina check" is "$RC" 0
	[ "$RC" -eq 0 ] || sed 's/^/    /' "$T/out"
	serve
	picture "$D/m" >"$D.again"
	check "$WHAT: the same after a new start" diff "$D.live" "$D.again"
	unserve
	check "$WHAT: the kernel mounts it" mount -t overlay none -o "$OPTS,$4" "$D/m"
	picture "$D/m" >"$D.kernel"
	check "$WHAT: the same to the kernel" diff "$D.live" "$D.kernel"
	umount "$D/m"
	serve
	run rm -rf "$D/m/d0" "$D/m/d1" "$D/m/d2"
	check "$WHAT: all can be removed" is "$RC$(ls -A "$D/m")" 0
	unserve
	check "$WHAT: the lower is as it was" is \
		"$(cd "$D/a" && find . -type f -exec md5sum {} + | sort)" "$before"
	umount "$D"
	rm "$D.img"
}

race ext4 8 index=on index=on,redirect_dir=on
race xfs 8 nfs_export=on,index=on index=on,nfs_export=on,redirect_dir=on
race ext4 3 metacopy=on,redirect_dir=on index=on,metacopy=on,redirect_dir=on
race xfs 16 threads=8,max_nodes=20 index=on,redirect_dir=on

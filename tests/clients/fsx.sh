#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Data: random operations on files that start in the lower layer, are copied up on the way, and
# are compared with a model in memory at every step; alone, several at once, with a reader that
# stays open from before the copy-up, with holes, and through fio's verification.
LIMIT=200
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need gcc fio

gcc -O2 -std=gnu17 -Wall -Wextra -o fsx "$HERE/fsx.c" || die "fsx compiles"

# The verifier itself must be right: it passes on a plain file and notices a single changed byte.
head -c 200000 /dev/urandom > plain
check "the verifier passes on a plain filesystem" ./fsx -s 1 -n 1000 -r plain
head -c 262144 /dev/zero > changed
./fsx -s 2 -n 300000 -l 262144 changed > out 2>&1 &
for i in $(seq 200); do
	printf 'X' | dd of=changed bs=1 seek=$((i * 1111)) conv=notrunc 2>/dev/null
	[ -d /proc/$! ] || break
done
wait $!
equal "and fails when somebody else writes to the file" $? 1

mkdir -p s/lower
for i in $(seq 12); do head -c $((i * 37777)) /dev/urandom > s/lower/f$i; done
: > s/lower/empty
truncate -s 400000 s/lower/sparse
printf 'data' | dd of=s/lower/sparse bs=1 seek=300001 conv=notrunc 2>/dev/null
ln s/lower/f12 s/lower/hard12
untouched s/lower

overlay s
for i in 1 2 3 4; do
	check "seed $i" ./fsx -s $i -n 1500 s/mnt/f$i
done
check "an empty file" ./fsx -s 21 -n 1500 s/mnt/empty
check "a sparse file" ./fsx -s 22 -n 1500 s/mnt/sparse
sh_check "a new file" ': > s/mnt/new; ./fsx -s 23 -n 1500 s/mnt/new'
promise check "a reader from before the copy-up" ./fsx -s 5 -n 1500 -r s/mnt/f5
promise check "the same, with a mapping" ./fsx -s 6 -n 1500 -r s/mnt/f6
sh_check "four at once" 'pids=; for i in 7 8 9 10;
	do ./fsx -s $i -n 1000 s/mnt/f$i & pids="$pids $!"; done
	for p in $pids; do wait $p; done'
if [ -z "${LAMINA_PEER:-}" ]; then
	check "a file with two names" ./fsx -s 12 -n 1500 -r s/mnt/f12
	check "shows the same by both" cmp s/mnt/f12 s/mnt/hard12
fi
(cd s/mnt && md5sum ./*) > sums
remount s
check "all is there after a remount" bash -c 'cd s/mnt && md5sum -c --quiet ../../sums'
check "again, on what is in upper now" ./fsx -s 31 -n 1500 -r s/mnt/f1
unmount s/mnt

rm -rf s/upper s/work
overlay s volatile
check "volatile" ./fsx -s 41 -n 1500 s/mnt/f2
unmount s/mnt

still_untouched s/lower

# fio writes blocks with checksums over a file from below, two jobs at random, and reads them back.
rm -rf s/upper s/work
truncate -s 8M s/lower/job.0.0 s/lower/job.1.0
untouched s/lower
overlay s
check "fio: random blocks, verified" fio --name=job --directory=s/mnt --numjobs=2 --size=8M \
	--rw=randrw \
	--bsrange=512-64k --verify=crc32c --verify_fatal=1 --do_verify=1 --fsync=64 \
		--group_reporting \
	--randseed=7 --ioengine=psync --output-format=terse
check "fio: mapped, verified" fio --name=job --directory=s/mnt --numjobs=1 --size=8M \
	--rw=randwrite --bs=4k \
	--verify=crc32c --verify_fatal=1 --do_verify=1 --randseed=9 --ioengine=mmap \
		--output-format=terse
check "fio: direct, verified" fio --name=direct --directory=s/mnt --size=4M --rw=randwrite \
	--bs=4k --direct=1 \
	--verify=crc32c --verify_fatal=1 --do_verify=1 --randseed=9 --ioengine=psync \
		--output-format=terse
unmount s/mnt
still_untouched s/lower
finish

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# A name in upper is never there without its data: the filesystem is stopped as by a power cut, just
# after the journal has taken all the names (docs/adr/0005-order-instead-of-fsync.md).
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

FILES=200

# ext4's own way to stop as if the power had gone: nothing more is written, not even the journal.
cut_power()
{
	python3 -c "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))" "$1"
}

# A commit of the journal that has nothing to do with the files: fsync of another one.
commit_journal()
{
	python3 -c "import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.write(fd, b'x')
os.fsync(fd)" "$1"
}

# after_power_cut OPTIONS: in $GOOD how many of the names in upper have their data, in $NAMES how
# many names there are.
after_power_cut()
{
	mkdir -p "$T/fs" "$T/low/d"
	truncate -s 64M "$T/img"
	mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0 "$T/img"
	mount -o loop "$T/img" "$T/fs"
	mkdir "$T/fs/u" "$T/fs/w" "$T/m"
	for i in $(seq "$FILES"); do
		seq "$i" $((i + 1500)) >"$T/low/d/$i"
	done
	run "$MOUNT" -o "lowerdir=$T/low,upperdir=$T/fs/u,workdir=$T/fs/w$1" "$T/m"
	check "mounting with '$1'" is "$RC" 0
	check "all are changed" chmod 600 "$T"/m/d/*
	check "one more is written to" sh -c "echo more >>'$T/m/d/1'"
	commit_journal "$T/fs/other"
	cut_power "$T/fs"
	umount -l "$T/m"
	check "the server ends" await no_servers "upperdir=$T/fs/u"
	umount "$T/fs"
	mount -o loop "$T/img" "$T/fs"
	NAMES=$(find "$T/fs/u/d" -type f | wc -l)
	GOOD=0
	for i in $(seq 2 "$FILES"); do
		cmp -s "$T/low/d/$i" "$T/fs/u/d/$i" && GOOD=$((GOOD + 1))
	done
	head -c "$(stat -c %s "$T/low/d/1")" "$T/fs/u/d/1" | cmp -s "$T/low/d/1" -
	FIRST=$?
	umount "$T/fs"
	rm -rf "$T/fs" "$T/low" "$T/m" "$T/img"
}

after_power_cut ""
check "every name is there" is "$NAMES" "$FILES"
check "and has its data" is "$GOOD" $((FILES - 1))
check "the one written to has the old data at least" is "$FIRST" 0

after_power_cut ",fsync=strict"
check "strict: every name is there" is "$NAMES" "$FILES"
check "strict: and has its data" is "$GOOD" $((FILES - 1))

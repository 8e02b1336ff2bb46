#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# With a small bound on what is remembered nothing is different but the memory: files keep their
# numbers, what is open stays open, and changes to what was forgotten go where they belong.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# The number of files on record, as the server tells it in its log.
nodes_known()
{
	local before
	before=$(grep -c 'nodes [0-9]' "$D/log")
	kill -USR1 "$(servers "upperdir=$D/u" | tail -n 1)"
	more() { [ "$(grep -c 'nodes [0-9]' "$D/log")" -gt "$before" ]; }
	await more && grep 'nodes [0-9]' "$D/log" | tail -n 1 | sed 's/.*nodes \([0-9]*\).*/\1/'
}

layers few
mkdir "$D/a/one" "$D/b/one" "$D/b/two"
for i in $(seq 300); do
	echo "a $i" >"$D/a/one/a$i"
	echo "b $i" >"$D/b/one/b$i"
	echo "t $i" >"$D/b/two/t$i"
done
ln "$D/b/two/t1" "$D/b/two/link1"
run "$MOUNT" -o "$OPTS,max_nodes=50,log=$D/log" "$D/m"
check "status" is "$RC" 0
cd "$D/m" || exit 1

list()
{
	find . -type f -printf '%i %p %s\n' | sort
}

# Open before the others push them out: one to read, one to write, one to be removed, one of two names.
exec 5<one/a1 6<>two/t7 7<two/t9 8<>two/link1
LIST=$(list)
check "again the same" is "$(list)" "$LIST"
check "most are forgotten" test "$(nodes_known)" -lt 400
echo 2 >/proc/sys/vm/drop_caches
check "and after the kernel forgot them too" is "$(list)" "$LIST"
check "a reader" is "$(cat <&5)" "a 1"
echo "written" >&6
check "a writer's bytes" is "$(cat two/t7)" written
check "they are in upper" is "$(cat "$D/u/two/t7")" written
check "not below" is "$(cat "$D/b/two/t7")" "t 7"
rm two/t9
list >"$T/out"
check "one without a name" is "$(cat <&7)" "t 9"
echo "both" >&8
check "by the other name" is "$(cat two/t1)" both
chmod 600 one/* two/*
check "changes of all" is "$(find . -type f -path './*/*' -perm 600 | wc -l)" 900
mv one/a2 two/moved
check "a new name" is "$(cat two/moved)" "a 2"
ORDER=$(list)
exec 5<&- 6<&- 7<&- 8<&-
cd / || exit 1
umount "$D/m"
check "the server ends" await no_servers "upperdir=$D/u"
run "$MOUNT" -o "$OPTS" "$D/m"
cd "$D/m" || exit 1
check "a mount without a bound shows the same" is "$(list)" "$ORDER"
cd / || exit 1
umount "$D/m"

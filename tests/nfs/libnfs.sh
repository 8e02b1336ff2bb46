#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Somebody else's client: the tools of libnfs list, read and write.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/../cli/lib.sh"

layers libnfs
mkdir "$D/b/dir"
head -c 3000000 /dev/urandom >"$D/b/dir/big"
head -c 1000000 /dev/urandom >"$D/b/dir/fsx"
sums=$(cd "$D/b/dir" && md5sum big fsx)
timeout -k 5 100 "$LAMINA" nfs -f -o "$OPTS" --listen 127.0.0.1:0 \
	--export /exp --allow 127.0.0.1,no_root_squash >"$T/log" 2>&1 </dev/null &
server=$!
check "serves" await grep -q "serving on port" "$T/log"
port=$(sed -n 's/.*serving on port //p' "$T/log")

url()
{
	echo "nfs://127.0.0.1$1?version=3&nfsport=$port&mountport=$port"
}

run nfs-ls -R "$(url /)"
check "nfs-ls: status" is "$RC" 0
check "nfs-ls: names" is "$(awk '{ print $NF }' "$T/out" | sort | tr '\n' ' ')" \
	"dir dir/big dir/fsx file only "
# What is before the last slash is the path to mount for these tools, and they refuse an empty one.
for name in //only /exp/only; do
	run nfs-cat "$(url $name)"
	check "nfs-cat $name" cmp "$D/b/only" "$T/out"
done
run nfs-cp "$(url /dir/big)" "$T/copy"
check "nfs-cp from" cmp "$D/b/dir/big" "$T/copy"

# Random operations against a model, by two connections; over what is below and what is new.
run gcc -O2 -Wall -Wextra -o "$T/fsx" "$(dirname "$0")/fsx_libnfs.c" -lnfs
check "fsx compiles" is "$RC" 0
for seed in 1 2 3; do
	check "fsx, seed $seed" timeout 100 "$T/fsx" "$(url /)" /dir/fsx "$seed" 1500
done
run nfs-cp "$T/copy" "$(url /dir/new)"
check "nfs-cp to" cmp "$T/copy" "$D/u/dir/new"
check "the lower layer is as it was" is "$(cd "$D/b/dir" && md5sum ./* | sed 's|./||')" "$sums"
kill -TERM "$(pgrep -P "$server")"
RC=0
wait "$server" || RC=$?
check "SIGTERM ends it in order" is "$RC" 0

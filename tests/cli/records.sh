#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Damaged records in the work directory: the mount works, and numbers stay from then on.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

numbers()
{
	stat -c %i "$D/m/d" "$D/m/d/f" | tr '\n' ' '
}

layers torn
mkdir "$D/l2"
mount -t tmpfs none "$D/l2"
mkdir "$D/l2/d" "$D/w/lamina"
echo f >"$D/l2/d/f"
chmod 700 "$D/w/lamina"
OPTS=lowerdir=$D/l2:$D/a,upperdir=$D/u,workdir=$D/w
records=$D/w/lamina/filesystems
printf '7 half-a-li' >"$records"
run "$MOUNT" -o "$OPTS" "$D/m"
check "torn line: status" is "$RC" 0
before=$(numbers)
umount "$D/m"
check "torn line: the server ends" await no_servers "upperdir=$D/u"
check "torn line: the new record is a line of its own" grep -q '^[0-9]* [0-9a-z:]*$' <(tail -n 1 "$records")
check "torn line: what was there stays" grep -qx '7 half-a-li' "$records"
cp "$records" "$T/records"
run "$MOUNT" -o "$OPTS" "$D/m"
check "torn line: the same numbers" is "$(numbers)" "$before"
umount "$D/m"
check "torn line: the server ends again" await no_servers "upperdir=$D/u"
check "torn line: nothing is added" cmp "$T/records" "$records"
head -c 20000 /dev/urandom >"$records"
run "$MOUNT" -o "$OPTS" "$D/m"
check "noise: status" is "$RC" 0
check "noise: it works" touch "$D/m/d/new"
umount "$D/m"
await umount "$D/l2" # once the server is gone

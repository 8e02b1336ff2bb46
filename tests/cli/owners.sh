#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Owners as options show them: maps in the direction that container engines mean, and squashing.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

owner()
{
	stat -c %u:%g "$1"
}

chmod 755 "$T"
layers map
chown 1:2 "$D/b/only"
chown 70000:70000 "$D/b/file" "$D/a/file"
run "$MOUNT" -o "$OPTS,uidmapping=:0:5000:1:1:200000:100,gidmapping=0:6000:1:1:300000:100" "$D/m"
check "map: status" is "$RC" 0
check "map: root of the layers" is "$(owner "$D/m")" 5000:6000
check "map: others" is "$(owner "$D/m/only")" 200000:300001
check "map: outside of it" is "$(owner "$D/m/file")" 65534:65534
check "map: a change" chown 200004:300005 "$D/m/only"
check "map: the layer holds it" is "$(owner "$D/u/only")" 5:6
check "map: it shows" is "$(owner "$D/m/only")" 200004:300005
check "map: an owner outside of it is refused" not chown 7 "$D/m/only" 2>/dev/null
check "map: a new file" chmod 777 "$D/m"
check "map: by a mapped user" setpriv --reuid 200002 --regid 300002 --clear-groups \
	sh -c ": >'$D/m/new'"
check "map: shows its maker" is "$(owner "$D/m/new")" 200002:300002
check "map: and the layer holds" is "$(owner "$D/u/new")" 3:3
umount "$D/m"

layers squash
chown 1:2 "$D/b/only"
run "$MOUNT" -o "$OPTS,squash_to_uid=12,squash_to_gid=13" "$D/m"
check "squash: status" is "$RC" 0
check "squash: all" is "$(owner "$D/m/only") $(owner "$D/m/file") $(owner "$D/m")" \
	"12:13 12:13 12:13"
umount "$D/m"
check "squash: the server ends" await no_servers "upperdir=$D/u"
run "$MOUNT" -o "$OPTS,squash_to_root" "$D/m"
check "squash_to_root" is "$(owner "$D/m/only")" 0:0
umount "$D/m"

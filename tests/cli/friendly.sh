#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# lamina mount with plain flags, and lamina umount.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

layers plain
run "$LAMINA" mount --lower "$D/a" --lower "$D/b" --upper "$D/u" "$D/m"
check "mount: status" is "$RC" 0
check "mount: silent" silent
check "topmost first" is "$(cat "$D/m/file")" "of a"
check "the other lower" is "$(cat "$D/m/only")" "only b"
check "work beside the upper" [ -d "$D/u.work" ]
check "type" is "$(mount_field "$D/m" 1)" fuse.lamina
echo more >>"$D/m/only"
check "changes go to the upper" is "$(tail -n 1 "$D/u/only")" more
check "lower is untouched" is "$(cat "$D/b/only")" "only b"

# In use: refused in one line, and the mount lives.
exec 8<"$D/m/file"
refused "busy" "in use" "$LAMINA" umount "$D/m"
check "busy: lives" is "$(head -n 1 "$D/m/only")" "only b"
exec 8<&-

run "$LAMINA" umount "$D/m"
check "umount: status" is "$RC" 0
check "umount: silent" silent
check "umount: unmounted" not mounted "$D/m"
# No waiting here: the command itself has waited.
check "umount: the server has ended" no_servers "--upper $D/u"

# The same layers again, by a relative path, read-only.
cd "$D" || exit 1
run "$LAMINA" mount -l a -l b -u u -w u.work -r m
check "read-only: status" is "$RC" 0
check "read-only: what was written" is "$(tail -n 1 m/only)" more
check "read-only: no writes" not touch m/new 2>/dev/null
run "$LAMINA" umount m/
check "umount of a relative path" is "$RC" 0
cd / || exit 1

# Names with every byte that options give a meaning to.
layers 'a,b:c\d"e'
run "$LAMINA" mount --lower "$D/a" --upper "$D/u" --work "$D/w" "$D/m"
check "odd names: status" is "$RC" 0
check "odd names: shows" is "$(cat "$D/m/file")" "of a"
touch "$D/m/new"
check "odd names: the right upper" [ -e "$D/u/new" ]
run "$LAMINA" umount "$D/m"
check "odd names: umount" is "$RC" 0

# Detaching a mount that is in use.
layers lazy
run "$LAMINA" mount --lower "$D/a" --upper "$D/u" "$D/m"
exec 8<"$D/m/file"
run "$LAMINA" umount --lazy "$D/m"
check "lazy: status" is "$RC" 0
check "lazy: detached" not mounted "$D/m"
check "lazy: the user goes on" is "$(cat <&8)" "of a"
exec 8<&-
check "lazy: then the server ends" await no_servers "--upper $D/u"

# A mount whose server was killed.
layers dead
run "$LAMINA" mount --lower "$D/a" --upper "$D/u" "$D/m"
# shellcheck disable=SC2046 # several numbers
kill -KILL $(pgrep -f -- "--upper $D/u")	# the supervisor too
check "dead: no server" await no_servers "--upper $D/u"
refused "dead: mounting there" "server is gone" "$LAMINA" mount --lower "$D/a" "$D/m"
run "$LAMINA" umount "$D/m"
check "dead: umount" is "$RC" 0
run "$LAMINA" mount --lower "$D/a" --upper "$D/u" "$D/m"
check "dead: mounts again" is "$RC" 0
run "$LAMINA" umount "$D/m"
check "dead: umount again" is "$RC" 0

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Wrong command lines get status 1 and one line; asked-for text goes to standard output.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

mkdir "$T/m" "$T/l"
M=$T/m

# ---- What is asked for ----
for prog in lamina-mount fuse-overlayfs mount.lamina mount.fuse.lamina; do
	ln -s "$(realpath "$MOUNT")" "$T/$prog"
	run "$T/$prog" --version
	check "$prog --version: status" is "$RC" 0
	check "$prog --version: first line" grep -qx "$prog: version [0-9][0-9.]*" "$T/out"
	check "$prog --version: it is the first" is "$(head -c ${#prog} "$T/out")" "$prog"
	check "$prog --version: stderr" [ ! -s "$T/err" ]
done
run "$MOUNT" -V
check "-V" grep -q '^lamina-mount: version ' "$T/out"
run "$MOUNT" --help
check "--help: status" is "$RC" 0
check "--help" grep -q '^usage: lamina-mount ' "$T/out"
run "$LAMINA" version
check "lamina version" grep -q '^lamina: version ' "$T/out"
run "$LAMINA" --version
check "lamina --version" grep -q '^lamina: version ' "$T/out"
run "$LAMINA" help
check "lamina help" grep -q '^  umount ' "$T/out"
check "lamina help: status" is "$RC" 0
for command in mount umount version help; do
	run "$LAMINA" help "$command"
	check "help $command" grep -q "^usage: lamina $command" "$T/out"
	cp "$T/out" "$T/help"
	run "$LAMINA" "$command" --help
	check "$command --help is the same" cmp -s "$T/help" "$T/out"
done

# ---- The drop-in ----
refused "no operand" "no mountpoint" "$MOUNT" -o lowerdir="$T/l"
refused "three operands" "more than" "$MOUNT" -o lowerdir="$T/l" a b "$M"
refused "unknown flag" "unknown flag -y" "$MOUNT" -y "$M"
refused "-o without a list" "needs an argument" "$MOUNT" "$M" -o
refused "no such mountpoint" "does not exist" "$MOUNT" -o lowerdir="$T/l" "$T/nowhere"
refused "mountpoint is a file" "Not a directory" "$MOUNT" -o lowerdir="$T/l" "$0"
refused "no lower" "no lower directory" "$MOUNT" -o "upperdir=$T/l,workdir=$T/l" "$M"
refused "upper without work" "work directory" "$MOUNT" -o "lowerdir=$T/l,upperdir=$T/l" "$M"
refused "work without upper" "no upper" "$MOUNT" -o "lowerdir=$T/l,workdir=$T/l" "$M"
refused "bad map" "uidmapping" "$MOUNT" -o "lowerdir=$T/l,uidmapping=1:2" "$M"
refused "bad value" "redirect_dir" "$MOUNT" -o "lowerdir=$T/l,redirect_dir=up" "$M"
refused "no checks" "cannot be switched off" "$MOUNT" -o "lowerdir=$T/l,default_permissions=0" "$M"
refused "verity" "not supported" "$MOUNT" -o "lowerdir=$T/l,verity=require" "$M"
refused "closed descriptor" "not open" "$MOUNT" -o lowerdir="$T/l" /dev/fd/77
refused "bad log file" "log file" "$MOUNT" -o "lowerdir=$T/l,log=/nowhere/log" "$M"

# ---- lamina ----
run "$LAMINA"
check "lamina alone: status" is "$RC" 1
refused "no such command" "no command" "$LAMINA" frobnicate
refused "help of nothing" "no command" "$LAMINA" help frobnicate
refused "mount of nothing" "no mountpoint" "$LAMINA" mount
refused "two mountpoints" "more than one" "$LAMINA" mount --lower "$T/l" "$M" "$M"
refused "unknown option" "did you mean lowerdir" "$LAMINA" mount -o lowrdir="$T/l" "$M"
refused "very unknown option" "unknown option" "$LAMINA" mount -o zzzzzzzzzzzz "$M"
refused "unknown long flag" "unknown flag" "$LAMINA" mount --frob "$M"
refused "upper is missing" "upper directory" "$LAMINA" mount --lower "$T/l" --upper "$T/no" "$M"
refused "version with operand" "no arguments" "$LAMINA" version 3
refused "umount of nothing" "no mountpoint" "$LAMINA" umount
refused "umount of no mount" "nothing is mounted" "$LAMINA" umount "$M"
refused "umount elsewhere" "not one of Lamina's" "$LAMINA" umount /proc

#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The ways in which callers write the drop-in's command line, each as a real mount.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/lib.sh"

# works NAME COMMAND...: mounts silently on $D/m, shows the layers, and is unmounted again.
works()
{
	local name=$1
	shift
	run "$@"
	check "$name: status" is "$RC" 0
	check "$name: silent" silent
	check "$name: shows" is "$(cat "$D/m/file" 2>&1)" "of a"
	umount "$D/m" 2>/dev/null || umount -l "$D/m"
	check "$name: server ends" await no_servers "^$MOUNT"
}

layers plain
works "source and mountpoint" "$MOUNT" overlay "$D/m" -o "$OPTS"
works "options after" "$MOUNT" "$D/m" -o "$OPTS"
works "-o repeated" "$MOUNT" -o "workdir=$D/w" -o "upperdir=$D/u" "$D/m" -o "lowerdir=$D/a:$D/b"
works "-o attached" "$MOUNT" "-o$OPTS" "$D/m"
works "empty options" "$MOUNT" -o ",$OPTS,,nosuid," "$D/m"
works "unknown options" "$MOUNT" \
	-o "$OPTS,uid=0,gid=0,exec,dev,suid,nonempty,auto_unmount,frobnicate=yes" "$D/m"
works "options of others" "$MOUNT" \
	-o "$OPTS,plugins=/x,max_idle_threads=2,clone_fd,fast_ino=1,threaded=1,fsync=0" "$D/m"
works "kernel options" "$MOUNT" \
	-o "$OPTS,index=on,redirect_dir=on,xino=auto,metacopy=off,verity=off,uuid=auto" "$D/m"
works "labels" "$MOUNT" -o "$OPTS,context=\"system_u:object_r:x_t:s0:c1,c2\"" "$D/m"
works "maps" "$MOUNT" -o "$OPTS,uidmapping=:0:0:65536,gidmapping=0:0:65536" "$D/m"
works "foreign mount words" "$MOUNT" -o "$OPTS,_netdev,x-systemd.requires=/,nofail,noatime" "$D/m"
works "time-out" "$MOUNT" -o "$OPTS,timeout=1" "$D/m"

# Relative paths, from the store's directory.
cd "$D" || exit 1
works "relative" "$MOUNT" -o lowerdir=a:b,upperdir=u,workdir=w m
works "dots and a symlink" sh -c "ln -s a link && '$MOUNT' -o lowerdir=../plain/link:b m"
cd / || exit 1

# Escapes.
layers 'odd:name,x'
odd=${D//:/\\:}
works "escaped" "$MOUNT" -o "lowerdir=${odd//,/\\,}/a:${odd//,/\\,}/b" "$D/m"
odd=${D//:/\\\\:}
works "escaped the other way" "$MOUNT" -o "lowerdir=${odd//,/\\054}/a" "$D/m"

# One lower, no upper: read-only.
layers one
run "$MOUNT" -o "lowerdir=$D/a" "$D/m"
check "one lower: status" is "$RC" 0
check "one lower: reads" is "$(cat "$D/m/file")" "of a"
check "one lower: no writes" not touch "$D/m/new" 2>/dev/null
umount "$D/m"

# Standard descriptors closed by the caller.
layers closed
RC=0
timeout 60 "$MOUNT" -o "$OPTS" "$D/m" <&- >&- 2>&- || RC=$?
check "closed descriptors: status" is "$RC" 0
check "closed descriptors: works" is "$(cat "$D/m/file")" "of a"
umount "$D/m"

# Only `.wh.` whiteouts.
layers dots
FUSE_OVERLAYFS_DISABLE_OVL_WHITEOUT=y timeout 60 "$MOUNT" -o "$OPTS" "$D/m"
rm "$D/m/only"
check "environment: dot whiteout" [ -f "$D/u/.wh.only" ]
check "environment: gone" [ ! -e "$D/m/only" ]
umount "$D/m"

# The helpers of mount(8).
layers helper
ln -s "$(realpath "$MOUNT")" "$T/mount.lamina"
run "$T/mount.lamina" "$D/source" "$D/m" -f -o "$OPTS"
check "helper -f: status" is "$RC" 0
check "helper -f: only checks" not mounted "$D/m"
run "$T/mount.lamina" mysource "$D/m" -n -v -o "rw,$OPTS" -t fuse.lamina
check "helper: status" is "$RC" 0
check "helper: type" is "$(mount_field "$D/m" 1)" fuse.lamina
check "helper: source" is "$(mount_field "$D/m" 2)" mysource

# A remount changes the flags of the mount that is there.
run "$T/mount.lamina" mysource "$D/m" -o remount,ro
check "remount ro: status" is "$RC" 0
check "remount ro: silent" silent
check "remount ro: no writes" not touch "$D/m/file" 2>/dev/null
run "$T/mount.lamina" mysource "$D/m" -o remount,rw
check "remount rw: status" is "$RC" 0
check "remount rw: writes" touch "$D/m/file"
umount "$D/m"
refused "remount of no mount" "." "$T/mount.lamina" mysource "$D/m" -o remount,ro

# A descriptor that the caller has mounted already.
layers fd
cat >"$T/premount.py" <<'END'
import ctypes, os, sys
# Opens /dev/fuse, mounts it on argv[1], and runs the rest with the descriptor as its fd 3.
fd = os.open("/dev/fuse", os.O_RDWR)
libc = ctypes.CDLL(None, use_errno=True)
data = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
if libc.mount(b"premounted", sys.argv[1].encode(), b"fuse.premounted", 0, data.encode()) != 0:
    sys.exit(os.strerror(ctypes.get_errno()))
if fd != 3:
    os.dup2(fd, 3)
os.set_inheritable(3, True)
os.execv(sys.argv[2], sys.argv[2:])
END
run python3 "$T/premount.py" "$D/m" "$MOUNT" -o "$OPTS" /dev/fd/3
check "/dev/fd/3: status" is "$RC" 0
check "/dev/fd/3: silent" silent
check "/dev/fd/3: shows" is "$(cat "$D/m/file")" "of a"
check "/dev/fd/3: the caller's mount" is "$(mount_field "$D/m" 1)" fuse.premounted
umount "$D/m"
check "/dev/fd/3: server ends" await no_servers "upperdir=$D/u"

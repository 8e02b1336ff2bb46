#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The other transport: the conformance cases of ext4 again, with requests over io_uring.  Root turns it on in the
# fuse module for the time of the test; a kernel that has no such switch (before 6.14) cannot run this.
set -u
top=$(cd "$(dirname "$0")/../.." && pwd)
switch=/sys/module/fuse/parameters/enable_uring
LAMINA_MOUNT=${LAMINA_MOUNT:-$top/build/lamina-mount}

[ -w "$switch" ] || { echo "this kernel has no FUSE over io_uring"; exit 77; }
before=$(cat "$switch")
dir=$(mktemp -d)
trap 'echo "$before" > "$switch"; umount -l "$dir/mnt" 2>/dev/null; rm -rf "$dir"' EXIT
echo Y > "$switch"

# That it is really in use: the server holds a ring.
mkdir "$dir/lower" "$dir/upper" "$dir/work" "$dir/mnt"
# A ring needs to be asked for: it goes with the server that has it, so a mount that outlives its server has none.
cat > "$dir/lamina-mount" <<END
#!/bin/bash
[ "\$1" != check ] || exec -a lamina "$LAMINA_MOUNT" "\$@"
exec "$LAMINA_MOUNT" -o transport=uring "\$@"
END
chmod +x "$dir/lamina-mount"
LAMINA_MOUNT=$dir/lamina-mount
"$LAMINA_MOUNT" -f -o "lowerdir=$dir/lower,upperdir=$dir/upper,workdir=$dir/work" "$dir/mnt" &
server=$!
for _ in $(seq 100); do
	mountpoint -q "$dir/mnt" && break
	sleep 0.1
done
# The rings come once the mount is there.
ring() {
	find "/proc/$server/fd" -lname '*io_uring*' | grep -q .
}
for _ in $(seq 100); do
	ring && break
	sleep 0.1
done
if ring; then
	echo "ok - the server serves a ring"
else
	echo "not ok - the server serves no ring"
	umount "$dir/mnt"
	exit 1
fi
umount "$dir/mnt"
wait "$server" || exit 1
"$top/tests/conform/run" --program "$LAMINA_MOUNT" --fs ext4 --jobs 2

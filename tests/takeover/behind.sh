#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Files that are copied up behind their writers while the server is killed and replaced: every byte that was read is the one
# that was written last, a sync is one, upper has the whole file or none, and nothing is left over.
# shellcheck source=tests/cli/lib.sh
. "$(dirname "$0")/../cli/lib.sh"

mkdir "$T/disk"
truncate -s 1536M "$T/image"
mkfs.ext4 -q "$T/image"
mount -o loop "$T/image" "$T/disk"
layers disk/p
run "$LAMINA" mount -o "$OPTS,copy_behind=4,restarts=1000" "$D/m"
check "mount" is "$RC" 0
sup=$(servers "upperdir=$D/u")

cat >"$T/work.py" <<'END'
import os, random, signal, subprocess, sys, threading, time

lamina, d, lower, sup = sys.argv[1:5]
seed = int(sys.argv[5])
rnd = random.Random(seed)
MIB = 1 << 20
SIZE = 96 * MIB - 1000


def worker():
    out = subprocess.run(["pgrep", "-n", "-P", sup], stdout=subprocess.PIPE, check=False).stdout
    return int(out) if out.strip() else 0


stop = threading.Event()
ends = []


def disturb():
    while not stop.wait(rnd.uniform(.02, .2)):
        if len(ends) % 5 == 4:
            if subprocess.run([lamina, "upgrade", d + "/m"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False).returncode == 0:
                ends.append("upgrade")
            else:
                ends.append("refused")
        elif worker():
            try:
                os.kill(worker(), signal.SIGKILL)
                ends.append("kill")
            except ProcessLookupError:
                pass


def one_round(name):
    upper = d + "/u/" + name
    path = d + "/m/" + name
    model = d + "/model"
    with open(path, "rb") as f, open(model, "wb") as to:
        to.write(f.read())
    ino = os.stat(path).st_ino
    f, m = os.open(path, os.O_RDWR), os.open(model, os.O_RDWR)
    seen = set()
    for i in range(300):
        off, n = rnd.randrange(SIZE + MIB), rnd.choice((1, 500, 4096, 100000, 400000))
        if rnd.random() < .5:
            data = rnd.randbytes(n)
            assert os.pwrite(f, data, off) == n
            assert os.pwrite(m, data, off) == n
        else:
            got, want = os.pread(f, n, off), os.pread(m, n, off)
            assert got == want, (name, i, off, n, len(got), len(want))
        if i % 10 == 0:
            assert os.fstat(f).st_size == os.fstat(m).st_size, (name, i)
        seen.add(os.path.exists(upper))
    os.fsync(f)
    assert os.path.exists(upper), name
    assert os.stat(path).st_ino == ino, name
    os.close(f)
    os.close(m)
    subprocess.run(["cmp", path, model], check=True)
    subprocess.run(["cmp", upper, model], check=True)
    return seen


thread = threading.Thread(target=disturb)
thread.start()
try:
    seen = set()
    for name in sorted(os.listdir(lower)):
        if name.startswith("big"):
            seen |= one_round(name)
    # A small one that is removed while it is open, and written to for the first time by a server that never saw its name.
    f = os.open(d + "/m/small", os.O_RDWR)
    os.unlink(d + "/m/small")
    n = len(ends)
    while len(ends) < n + 2:
        time.sleep(.01)
    assert os.pread(f, 5, 0) == b"small"
    assert os.fstat(f).st_nlink == 0
    assert os.pwrite(f, b"SMALL", 0) == 5
    assert os.pread(f, 5, 0) == b"SMALL"
    assert os.fstat(f).st_nlink == 0
    os.close(f)
    # One that is removed while it is copied, and one that nobody syncs.
    f = os.open(d + "/m/gone", os.O_RDWR)
    os.pwrite(f, b"gone", 50 * MIB)
    os.unlink(d + "/m/gone")
    assert os.pread(f, 4, 50 * MIB) == b"gone"
    os.fsync(f)
    assert os.pread(f, 4, 50 * MIB) == b"gone"
    os.close(f)
    with open(d + "/m/last", "r+b") as f:
        f.seek(60 * MIB)
        f.write(b"last")
finally:
    stop.set()
    thread.join()
print("%d kills, %d upgrades" % (ends.count("kill"), ends.count("upgrade")))
assert ends.count("kill") > 5 and False in seen, (ends, seen)
END
for i in 1 2 3; do
	head -c $((96 * 1048576 - 1000)) /dev/urandom >"$D/b/big$i"
done
echo small >"$D/b/small"
cp "$D/b/big1" "$D/b/gone"
cp "$D/b/big1" "$D/b/last"
check "writes go on over kills and upgrades" timeout 250 python3 "$T/work.py" "$LAMINA" "$D" "$D/b" "$sup" "${SEED:-1}"
check "nothing but a whiteout of what was removed" test -c "$D/u/gone"
run umount "$D/m"
check "unmounted" is "$RC" 0
check "no process is left" await no_servers "upperdir=$D/u"
check "what nobody synced is there" is "$(dd if="$D/u/last" bs=1M skip=60 count=1 status=none | head -c 4)" last
check "no copy is left over" is "$(ls "$D/w/lamina/behind")" ""
run "$LAMINA" check -o "$OPTS"
check "nothing is wrong in the layers" is "$RC" 0

# SPDX-License-Identifier: GPL-2.0-or-later
"""6: random operations on one file (fsx) and on names, against a model; what only version 4.2 has;
and a mount by FUSE beside the client, each seeing at once what the other did."""

import errno
import fcntl
import os
import random

from lib import check, exists, fails, get, opened, put, run, same, same_tree, tree
from servers import D, FSX, M

HERE, PLAIN = M + "/six", D + "/plain/six"


def lay(lower):
    for top in (lower + "/six", PLAIN):
        os.makedirs(top + "/random/below/deeper")
        for i in range(12):
            put(f"{top}/random/below/f{i}", f"file {i}\n" * i)
        os.link(top + "/random/below/f5", top + "/random/below/deeper/f5")
        os.symlink("f3", top + "/random/below/l")
    for i in range(3):
        put(f"{lower}/six/fsx{i}", os.urandom(100000))


# ---- fsx ----

def fsx():
    for i, more in enumerate(([], ["-r"], [])):
        with check(f"6 fsx, seed {i}, from below"):
            run([FSX, "-s", str(i), "-n", "700", "-l", "200000"] + more +
                [f"{HERE}/fsx{i}"])
    with check("6 fsx, a new file"):
        put(HERE + "/new", "")
        run([FSX, "-s", "9", "-n", "700", "-l", "200000", HERE + "/new"])


# ---- Random changes of names, side by side with ext4 ----

NAMES = ("a", "b", "f1", "f5", "f7", "l", "below", "deeper", "c")


class Random:
    def __init__(self, seed):
        self.rng = random.Random(seed)

    def path(self):
        return "/".join(self.rng.choice(NAMES) for _ in range(self.rng.choice((1, 2, 2, 3))))

    def operation(self):
        """A function of the top directory, the same for both."""
        a, b, n = self.path(), self.path(), self.rng.randrange(20000)
        kinds = (
            ("create", lambda t: os.close(os.open(t + a, os.O_WRONLY | os.O_CREAT | os.O_EXCL))),
            ("write", lambda t: put(t + a, f"{a} {n}\n" * (n % 300))),
            ("append", lambda t: put(t + a, f"{n}\n", "ab")),
            ("truncate", lambda t: os.truncate(t + a, n)),
            ("read", lambda t: get(t + a)),
            ("mkdir", lambda t: os.mkdir(t + a)),
            ("rmdir", lambda t: os.rmdir(t + a)),
            ("unlink", lambda t: os.unlink(t + a)),
            ("rename", lambda t: os.rename(t + a, t + b)),
            ("rename", lambda t: os.rename(t + a, t + b)),
            ("link", lambda t: os.link(t + a, t + b, follow_symlinks=False)),
            ("symlink", lambda t: os.symlink(b, t + a)),
            ("chmod", lambda t: os.chmod(t + a, 0o600 + n % 64)),
            ("list", lambda t: sorted(os.listdir(t + a))),
            ("stat", lambda t: (os.lstat(t + a).st_mode, os.lstat(t + a).st_size
                                if os.path.isfile(t + a) else 0)),
        )
        kind, function = self.rng.choice(kinds)
        return f"{kind} {a} {b} {n}", function


def outcome(function, top):
    try:
        return function(top)
    except OSError as e:
        return errno.errorcode[e.errno]


def random_names(server):
    for seed in range(3):
        with check(f"6 random changes of names, seed {seed}, as on ext4"):
            rng, done = Random(seed), []
            for _ in range(400):
                what, function = rng.operation()
                got = outcome(function, HERE + "/random/")
                wanted = outcome(function, PLAIN + "/random/")
                done.append(f"{what}: {wanted}"[:80])
                assert got == wanted, f"{what}: got {got}, ext4 {wanted}; before: {done[-6:-1]}"
            same_tree(HERE + "/random", PLAIN + "/random")
            if seed == 1:
                server.remount()
                same_tree(HERE + "/random", PLAIN + "/random")


# ---- Only in version 4.2 ----

def version_4(server):
    path = HERE + "/four"
    with check("6 copy on the server (COPY)"):
        put(path, os.urandom(300000))
        with opened(path) as a, opened(path + "-copy", os.O_WRONLY | os.O_CREAT) as b:
            same(os.copy_file_range(a, b, 300000), 300000)
        same(get(path + "-copy"), get(path))
    with check("6 holes (SEEK, ALLOCATE, DEALLOCATE)"):
        with opened(path + "-sparse", os.O_RDWR | os.O_CREAT) as fd:
            os.ftruncate(fd, 1 << 20)
            os.pwrite(fd, b"data", 1 << 19)
            os.fsync(fd)
            same(os.lseek(fd, 0, os.SEEK_DATA), 1 << 19)
            same(os.lseek(fd, 1 << 19, os.SEEK_HOLE), (1 << 19) + 4096)
            os.posix_fallocate(fd, 0, 4096)
        run(["fallocate", "-p", "-o", str(1 << 19), "-l", "4096", path + "-sparse"])
        same(get(path + "-sparse"), bytes(1 << 20))
    with check("6 locks, against a process on the server, over a restart"):
        with opened(path, os.O_RDWR) as fd:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 0)
            locked_out(server.there + "/six/four")
            server.restart()
            os.pwrite(fd, b"locked", 0)
            os.fsync(fd)
            locked_out(server.there + "/six/four")


def locked_out(path):
    with opened(path, os.O_RDWR) as fd:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 50)
        except OSError as e:
            same(errno.errorcode[e.errno], "EAGAIN")
        else:
            raise AssertionError("the lock was given twice")


# ---- A mount by FUSE and a client at once ----

def coherent(server):
    there = server.there + "/six/"
    with check("e the mount's descriptor reads what the client wrote, from below and again"):
        put(HERE + "/shared", "one")
        with opened(there + "shared") as a, opened(there + "random/below/f2") as b:
            same((os.pread(a, 99, 0), os.pread(b, 6, 0)), (b"one", b"file 2"))
            for text in (b"two of them", b"3"):
                put(HERE + "/shared", text)
                put(HERE + "/random/below/f2", text)
                same((os.pread(a, 99, 0), os.pread(b, 99, 0)), (text, text))
                same(os.fstat(b).st_size, len(text))
    with check("e names: what is looked up in the mount is what the client did last"):
        for i in range(30):
            name = f"e{i % 3}"
            fails(errno.ENOENT, os.stat, there + name)
            put(HERE + "/" + name, str(i))
            same(get(there + name), str(i).encode())
            os.rename(HERE + "/" + name, HERE + "/e")
            same((exists(there + name), get(there + "e")), (False, str(i).encode()))
            os.unlink(HERE + "/e")
            same(exists(there + "e"), False)
            os.mkdir(HERE + "/e")
            same(os.listdir(there + "e"), [])
            os.rmdir(HERE + "/e")
    with check("e one file has one number and one tree on both sides"):
        same(os.stat(HERE + "/shared").st_ino, os.stat(there + "shared").st_ino)
        same(tree(HERE), tree(there))


def go(server):
    os.makedirs(PLAIN, exist_ok=True)
    fsx()
    random_names(server)
    if server.version == "4.2":
        version_4(server)
    if server.twice:
        coherent(server)

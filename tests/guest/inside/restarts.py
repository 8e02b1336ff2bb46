# SPDX-License-Identifier: GPL-2.0-or-later
"""3: the server is restarted, in order and by SIGKILL, before every kind of request and in the
middle of work.  A client with a hard mount goes on; nothing committed is lost, and nothing is done
twice."""

import json
import os
import random
import sys
import time

from lib import TOP, alive, check, exists, get, opened, put, same, told, wait_for
from servers import M

HERE = M + "/three"
HOWS = 3
PATTERN = bytes(range(251))


def lay(lower):
    os.makedirs(lower + "/three/single")
    for how in range(HOWS):
        for name in ("read", "write", "append", "truncate", "chmod", "rename", "link", "unlink",
                     "removed-name"):
            put(f"{lower}/three/single/{name}-{how}", "from below")
        os.makedirs(f"{lower}/three/single/rmdir-{how}")
        os.makedirs(f"{lower}/three/single/dir-{how}/a/b")
        os.symlink("target", f"{lower}/three/single/symlink-{how}")


# ---- Before each kind of request ----

def op_read(path, fd):
    same(os.pread(fd, 100, 0), b"from below")


def op_write(path, fd):
    with opened(path, os.O_RDWR) as new:
        os.pwrite(new, b"FROM", 0)
        os.fsync(new)
    same(os.pread(fd, 100, 0), b"FROM below")


def op_append(path, fd):
    put(path, " again", "ab")
    same(get(path), b"from below again")


def op_truncate(path, fd):
    os.truncate(path, 4)
    same(os.pread(fd, 100, 0), b"from")


def op_chmod(path, fd):
    os.chmod(path, 0o640)
    same(os.fstat(fd).st_mode & 0o7777, 0o640)


def op_rename(path, fd):
    os.rename(path, path + "-new")
    same((exists(path), os.stat(path + "-new").st_ino), (False, os.fstat(fd).st_ino))


def op_link(path, fd):
    os.link(path, path + "-new")
    same(os.fstat(fd).st_nlink, 2)


def op_unlink(path, fd):
    os.unlink(path)
    same(exists(path), False)
    same(os.pread(fd, 100, 0), b"from below")


def op_rmdir(path, fd):
    os.rmdir(path)
    same(exists(path), False)


def op_dir(path, fd):
    same(os.listdir(path), ["a"])
    same(os.listdir(path + "/a"), ["b"])


def op_symlink(path, fd):
    same(os.readlink(path), "target")


def op_create(path, fd):
    with opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as new:
        os.write(new, b"new")
    same(get(path), b"new")


def op_mkdir(path, fd):
    os.mkdir(path)
    same(os.listdir(path), [])


def op_mksymlink(path, fd):
    os.symlink("there", path)
    same(os.readlink(path), "there")


OPS = {name[3:]: f for name, f in globals().items() if name.startswith("op_")}


def single(server):
    for n, (say, how) in enumerate(server.hows().items()):
        for name, op in OPS.items():
            path = f"{HERE}/single/{name}-{n}"
            with check(f"3 {say} before {name}"):
                fd = -1
                if exists(path) and not os.path.islink(path):
                    fd = os.open(path, os.O_RDONLY)
                how()
                op(path, fd)
                if fd >= 0:
                    os.close(fd)


# ---- In the middle of work ----

class Work:
    """Changes that must not be done twice.  A change whose answer died with the server may be told
    as done before (EEXIST, ENOENT): then what it wanted must be so."""

    def __init__(self):
        self.again = 0

    def do(self, function, *arguments, there=None, gone=None):
        try:
            return function(*arguments)
        except (FileExistsError, FileNotFoundError):
            if (there and not exists(there)) or (gone and exists(gone)) or not (there or gone):
                raise
            self.again += 1
            return None

    def create(self, path, text):
        fd = self.do(os.open, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, there=path)
        if fd is None:
            fd = os.open(path, os.O_WRONLY)
        os.write(fd, text)
        os.fsync(fd)
        os.close(fd)

    def round(self, i):
        text = b"%06d\n" % i
        with opened(HERE + "/work/log", os.O_WRONLY | os.O_APPEND) as fd:
            os.write(fd, text)
            os.fsync(fd)
        slot, kept = HERE + "/work/slot", f"{HERE}/work/kept-{i}"
        directory, link = f"{HERE}/work/dir-{i}", f"{HERE}/work/link-{i}"
        self.create(slot, text)
        self.do(os.rename, slot, kept, there=kept, gone=slot)
        self.create(slot, b"to be removed")
        self.do(os.unlink, slot, gone=slot)
        self.do(os.mkdir, directory, there=directory)
        self.do(os.link, kept, link, there=link)
        self.do(os.rename, link, directory + "/link", there=directory + "/link", gone=link)
        if i % 2:
            self.do(os.unlink, directory + "/link", gone=directory + "/link")
            self.do(os.rmdir, directory, gone=directory)


def worker(stop, report):
    work = Work()
    i = 0
    while i < 12 or not exists(stop):
        work.round(i)
        i += 1
        put(report, json.dumps([i, work.again]))
    put(report + "-end", "")
    os._exit(0)


def restart_often(server, report, times):
    rng = random.Random(3)
    hows = list(server.hows().values())
    for n in range(times):
        alive()
        before = json.loads(get(report) or b"[0]")[0] if exists(report) else 0
        hows[n % len(hows)]()
        wait_for("the work to go on", lambda: exists(report) and exists(report) and
                 (json.loads(get(report) or b"[0]")[0] > before), 120)
        time.sleep(rng.random() / 2)


def in_the_middle(server, times):
    stop, report = TOP + "/run/three-stop", TOP + "/run/three-report"
    with check(f"3 {times} restarts and kills while names and data change: the work goes on"):
        os.mkdir(HERE + "/work")
        put(HERE + "/work/log", "")
        pid = os.fork()
        if pid == 0:
            try:
                worker(stop, report)
            except BaseException as e:  # told by the exit status
                print(f"# the work stopped: {e!r}", flush=True)
                os._exit(1)
        restart_often(server, report, times)
        put(stop, "")
        same(os.waitpid(pid, 0)[1], 0)
    with check("3 nothing is lost, nothing done twice"):
        rounds, again = json.loads(get(report))
        told(f"{rounds} rounds; {again} changes were done when their answers were lost")
        verify(rounds)
        server.cold()
        verify(rounds)


def verify(rounds):
    same(get(HERE + "/work/log"), b"".join(b"%06d\n" % i for i in range(rounds)))
    names = {"log"} | {f"kept-{i}" for i in range(rounds)} | {f"dir-{i}" for i in
                                                               range(0, rounds, 2)}
    same(set(os.listdir(HERE + "/work")), names)
    for i in range(rounds):
        same(get(f"{HERE}/work/kept-{i}"), b"%06d\n" % i)
        same(os.stat(f"{HERE}/work/kept-{i}").st_nlink, 1 if i % 2 else 2)


def uncommitted(server):
    """Sent but not committed when the server dies: the client must notice and send it again."""
    data = PATTERN * 6000
    for n, (say, how) in enumerate(server.hows().items()):
        with check(f"3 {say} between WRITE and COMMIT"):
            path = f"{HERE}/uncommitted-{n}"
            with opened(path, os.O_RDWR | os.O_CREAT) as fd:
                os.pwrite(fd, data, 0)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                time.sleep(0.3)
                how()
                os.fsync(fd)
                server.cold()
                assert os.pread(fd, len(data) + 1, 0) == data, "what was committed is not there"


def go(server):
    single(server)
    uncommitted(server)
    in_the_middle(server, server.restarts)
    sys.stdout.flush()

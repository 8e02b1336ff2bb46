#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A session in which the server ends at every request: before it, after its answer, while it is done,
and between doing and answering.  The client asks again under the same number, as one does that waits
in a hard mount.  All is done once, and no request fails that would not have failed without that."""

import os
import random
import signal
import stat
import subprocess

from client import *  # pylint: disable=wildcard-import,unused-wildcard-import

VERF = b"\x01\x02\x03\x04\x05\x06\x07\x08"


def parent(c, path):
    directory, _, name = path.rpartition("/")
    return opaque(c.walk(directory) if directory else c.root()) + opaque(name)


def fh(c, path):
    return opaque(c.walk(path))


# Each: number of the procedure, and its arguments.
SESSION = [
    lambda c: (9, parent(c, "d") + sattr(mode=0o755)),
    lambda c: (8, parent(c, "d/f") + u32(GUARDED) + sattr(mode=0o644)),
    lambda c: (7, fh(c, "d/f") + u64(0) + u32(6, FILE_SYNC) + opaque("first ")),
    lambda c: (7, fh(c, "d/f") + u64(6) + u32(6, UNSTABLE) + opaque("second")),
    lambda c: (21, fh(c, "d/f") + u64(0) + u32(0)),
    lambda c: (2, fh(c, "d/f") + sattr(mode=0o600) + u32(0)),
    lambda c: (15, fh(c, "d/f") + parent(c, "d/g")),
    lambda c: (14, parent(c, "d/f") + parent(c, "moved")),
    lambda c: (10, parent(c, "sym") + sattr() + opaque("target")),
    lambda c: (11, parent(c, "fifo") + u32(FIFO) + sattr(mode=0o600)),
    lambda c: (8, parent(c, "excl") + u32(EXCLUSIVE) + VERF),
    # What is below: copied up by being renamed, changed in place, hidden; of two names, one.
    lambda c: (14, parent(c, "low") + parent(c, "d/low")),
    lambda c: (7, fh(c, "low2") + u64(0) + u32(3, FILE_SYNC) + opaque("LOW")),
    lambda c: (12, parent(c, "gone")),
    lambda c: (12, parent(c, "two-a")),
    lambda c: (15, fh(c, "two-b") + parent(c, "d/two-c")),
    # Over something that is there; a whole directory; and away again.
    lambda c: (14, parent(c, "excl") + parent(c, "sym")),
    lambda c: (14, parent(c, "d") + parent(c, "e")),
    lambda c: (9, parent(c, "empty") + sattr(mode=0o755)),
    lambda c: (13, parent(c, "empty")),
    lambda c: (12, parent(c, "fifo")),
    lambda c: (12, parent(c, "e/g")),
]


def server():
    s = Server()
    for name in ("low", "low2", "gone", "two-a"):
        s.lower(name, name)
    os.link(s.path("lower", "two-a"), s.path("lower", "two-b"))
    return s


def picture(c, handle=None, prefix=""):
    """Path to kind, mode, names and contents of all there is."""
    out = {}
    for entry in c.list(handle or c.root()):
        name = os.fsdecode(entry.name)
        if name in (".", ".."):
            continue
        found = c.lookup(handle or c.root(), name)
        same(found.status, OK)
        attr = found.attr
        what = [attr["type"], oct(attr["mode"]), attr["nlink"] if attr["type"] != DIR else 0]
        if attr["type"] == REG:
            what.append(c.read(found.fh).data)
        out[prefix + name] = what
        if attr["type"] == DIR:
            out.update(picture(c, found.fh, prefix + name + "/"))
    return out


def expected():
    with server() as s:
        with s.client() as c:
            for step in SESSION:
                proc, body = step(c)
                same((proc, c.call(proc, body).u32()), (proc, OK))
            return picture(c)


def restart(s, how):
    s.stop(how)
    s.start()


def finished(s, wanted, anywhere=False):
    """The tree is right, and once more after the caches have gone.  ANYWHERE: a kill may have come between
    the removal of a name of two and the writing of the count, which is then one too high."""
    for _ in range(2):
        with s.client() as c:
            got = picture(c)
        for path in ("two-b", "e/two-c"):
            if anywhere and got[path][2] == wanted[path][2] + 1:
                got[path][2] -= 1
        same(got, wanted)
        restart(s, signal.SIGTERM)
    same(os.listdir(s.path("work", "lamina", "orphans"))
         if os.path.isdir(s.path("work", "lamina", "orphans")) else [], [])
    same([n for n in os.listdir(s.path("work", "work")) if n.startswith("#")
          and not stat.S_ISCHR(os.lstat(s.path("work", "work", n)).st_mode)], [])


@case
def around_each():
    """a restart before each request, and one after each answer"""
    wanted = expected()
    for how in (signal.SIGTERM, signal.SIGKILL):
        with server() as s:
            for step in SESSION:
                restart(s, how)
                with s.client() as c:
                    proc, body = step(c)
                restart(s, how)
                with s.client() as c:
                    same((proc, c.call(proc, body).u32()), (proc, OK))
            finished(s, wanted)


@case
def between_doing_and_answering():
    """killed when the change is made, and is only to be made durable and answered"""
    wanted = expected()
    with server() as s:
        killed = 0
        for step in SESSION:
            with s.client() as c:
                proc, body = step(c)
                message = c.pack(proc, body)
                killer = kill_at(s, "fsync")
                try:
                    c.send_record(message)
                    c.recv_record()
                    s.kill()
                except (Closed, ConnectionError):
                    killed += 1
                    s.stop(signal.SIGKILL)
                killer.wait(60)
            s.start()
            with s.client() as c:
                c.send_record(message)
                same((proc, c.reply(c.recv_record()).u32()), (proc, OK))
        # All but the unstable WRITE make something durable.
        assert killed >= len(SESSION) - 1, killed
        finished(s, wanted)


def kill_at(s, name, when=1):
    """A tracer that kills the server at its WHENth system call NAME."""
    return tamper(s, f"{name}:signal=SIGKILL:when={when}")


def tamper(s, *what):
    """A tracer that does WHAT to system calls of the server, as strace has it; it has begun when this
    returns."""
    command = ["strace", "-f", "-p", str(s.worker()),
               "-e", "trace=" + ",".join(one.partition(":")[0] for one in what)]
    for one in what:
        command += ["-e", "inject=" + one]
    tracer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.PIPE)
    line = tracer.stderr.readline()
    assert b"attached" in line, line
    return tracer


def untamper(tracer):
    tracer.send_signal(signal.SIGINT)
    tracer.stderr.read()  # to its end: the server goes on alone
    tracer.wait(60)


@case
def before_the_verifier():
    """an exclusive CREATE, killed when the file is there and its verifier is not"""
    with server() as s:
        with s.client() as c:
            message = c.pack(8, parent(c, "excl") + u32(EXCLUSIVE) + VERF)
            killer = kill_at(s, "utimensat")
            c.send_record(message)
            try:
                c.recv_record()
                raise AssertionError("it was answered")
            except (Closed, ConnectionError):
                pass
            s.stop(signal.SIGKILL)
            killer.wait(60)
        assert os.path.exists(s.path("upper", "excl"))
        s.start()
        with s.client() as c:
            c.send_record(message)
            same(c.reply(c.recv_record()).u32(), OK)
            # Whoever asks for it under another verifier finds that it is taken.
            same(c.call(8, parent(c, "excl") + u32(EXCLUSIVE) + VERF[::-1]).u32(), EXIST)
            same(c.call(8, parent(c, "excl") + u32(EXCLUSIVE) + VERF).u32(), OK)


# A name that is taken: one of each kind, so that what is there looks like what was to be made.
TAKEN = [
    lambda c: (8, parent(c, "empty") + u32(GUARDED) + sattr(mode=0o600)),
    lambda c: (8, parent(c, "empty") + u32(EXCLUSIVE) + VERF),
    lambda c: (9, parent(c, "dir") + sattr(mode=0o755)),
    lambda c: (10, parent(c, "sym") + sattr() + opaque("target")),
    lambda c: (11, parent(c, "fifo") + u32(FIFO) + sattr(mode=0o600)),
    lambda c: (15, fh(c, "two-a") + parent(c, "two-b")),
]


@case
def refused_and_killed():
    """what failed because the name is taken fails when it is asked for again, wherever the kill came"""
    for when in (1, 2):
        with server() as s:
            with s.client() as c:
                root = c.root()
                for made in (c.create(root, "empty"), c.mkdir(root, "dir"),
                             c.symlink(root, "sym", "target"), c.mknod(root, "fifo", FIFO)):
                    same(made.status, OK)
            for step in TAKEN:
                with s.client() as c:
                    proc, body = step(c)
                    message = c.pack(proc, body)
                    killer = kill_at(s, "pwrite64", when)
                    c.send_record(message)
                    try:
                        same((proc, c.reply(c.recv_record()).u32()), (proc, EXIST))
                        s.kill()
                    except (Closed, ConnectionError):
                        s.stop(signal.SIGKILL)
                    killer.wait(60)
                s.start()
                with s.client() as c:
                    c.send_record(message)
                    same((proc, c.reply(c.recv_record()).u32()), (proc, EXIST))


@case
def at_any_moment():
    """killed at a random moment after each request was sent"""
    wanted = expected()
    rng = random.Random(7)
    for _ in range(2):
        with server() as s:
            for step in SESSION:
                with s.client() as c:
                    proc, body = step(c)
                    message = c.pack(proc, body)
                    c.send_record(message)
                    time.sleep(rng.random() * 0.004)
                    s.kill()
                s.start()
                with s.client() as c:
                    c.send_record(message)
                    same((proc, c.reply(c.recv_record()).u32()), (proc, OK))
            finished(s, wanted, anywhere=True)


@case
def the_worker_alone():
    """the process that serves is killed at a random moment; its supervisor starts another one"""
    wanted = expected()
    rng = random.Random(8)
    with server() as s:
        restart(s, signal.SIGTERM)  # the port is a certain one from now on
        for i, step in enumerate(SESSION):
            with s.client() as c:
                proc, body = step(c)
                message = c.pack(proc, body)
                c.send_record(message)
                if i % 3 == 0:  # it gives up after ten ends within a minute
                    time.sleep(rng.random() * 0.004)
                    for pid in s.children():
                        os.kill(pid, signal.SIGKILL)
            same((proc, ask_until_answered(s, message)), (proc, OK))
        finished(s, wanted, anywhere=True)


def ask_until_answered(s, message):
    """As a client does that waits in a hard mount."""
    for _ in range(3000):
        try:
            with s.client() as c:
                c.send_record(message)
                return c.reply(c.recv_record()).u32()
        except (Closed, ConnectionError):
            time.sleep(0.01)
    raise AssertionError("no server has come back: " + s.messages()[-1000:])


@case
def answers_are_kept():
    """what was answered is answered alike by the next run, and not done again"""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with server() as s:
            with s.client() as c:
                root = c.root()
                messages = [c.pack(12, opaque(root) + opaque("gone")),
                            c.pack(14, opaque(root) + opaque("low") + opaque(root)
                                   + opaque("new")),
                            c.pack(9, opaque(root) + opaque("dir") + sattr(mode=0o700))]
                answers = []
                for message in messages:
                    c.send_record(message)
                    answers.append(c.recv_record())
                    same(c.reply(answers[-1]).u32(), OK)
            restart(s, how)
            with s.client() as c:
                # Somebody else makes the names once more: the replays must not touch those.
                same(c.create(root, "gone").status, OK)
                same(c.create(root, "low").status, OK)
                for message, answer in zip(messages, answers):
                    c.send_record(message)
                    same(c.recv_record(), answer)
                same(sorted(e.name for e in c.list(root)),
                     [b".", b"..", b"dir", b"gone", b"low", b"low2", b"new", b"two-a", b"two-b"])


def begun(c, root, name):
    """A new file with data that is not committed; its handle, and the verifier."""
    fh = c.create(root, name).fh
    return fh, c.write(fh, "data", 0, UNSTABLE).verf


@case
def a_failed_sync():
    """when a sync fails the verifier is another one, for whoever has written before; and stays so"""
    with Server(extra=["-o", "restarts=1000"]) as s:
        with s.client() as c, s.client() as other:
            root = c.root()
            fh, verf = begun(c, root, "f")
            tracer = tamper(s, "fsync:error=EIO:when=1")
            same(other.commit(fh).status, IO)
            untamper(tracer)
            after = c.commit(fh).verf
            assert after != verf
            same(c.write(fh, "data", 0, UNSTABLE).verf, after)
        # A worker that takes the place of this one must not tell the first one again.
        for pid in s.children():
            os.kill(pid, signal.SIGKILL)
        with s.client() as c:
            same(c.write(fh, "data", 0, UNSTABLE).verf, after)


@case
def a_failed_sync_meanwhile():
    """data that was written before a sync failed, and is answered after it, is not under the new verifier"""
    with Server() as s:
        with s.client() as c, s.client() as other:
            root = c.root()
            fh, verf = begun(c, root, "f")
            tracer = tamper(s, "pwrite64:delay_exit=2000000:when=1", "fsync:error=EIO:when=1")
            message = c.pack(7, opaque(fh) + u64(4) + u32(4, UNSTABLE) + opaque("more"))
            c.send_record(message)
            while os.stat(s.path("upper", "f")).st_size < 8:
                time.sleep(0.01)
            same(other.commit(fh).status, IO)
            c.sock.setblocking(False)
            try:
                c.sock.recv(1, socket.MSG_PEEK)
                raise AssertionError("the WRITE was answered before the sync")
            except BlockingIOError:
                c.sock.settimeout(60)
            r = c.reply(c.recv_record())
            same(r.u32(), OK)
            r.wcc()
            same((r.u32(), r.u32()), (4, UNSTABLE))
            same(r.take(8), verf)
            untamper(tracer)
            assert c.commit(fh).verf != verf


@case
def killed_in_a_sync():
    """nobody knows how a sync ended in which the worker was killed: the verifier is another one"""
    with Server(extra=["-o", "restarts=1000"]) as s:
        with s.client() as c:
            fh, verf = begun(c, c.root(), "f")
            tracer = tamper(s, "fsync:signal=SIGKILL:when=1")
            c.send_record(c.pack(21, opaque(fh) + u64(0) + u32(0)))
            tracer.stderr.read()
            tracer.wait(60)
        with s.client() as c:
            assert c.write(fh, "data", 0, UNSTABLE).verf != verf


@case
def another_boot():
    """what an earlier boot has left is not believed; nor is what is damaged"""
    with server() as s:
        with s.client() as c:
            root = c.root()
            message = c.pack(12, opaque(root) + opaque("gone"))
            c.send_record(message)
            same(c.reply(c.recv_record()).u32(), OK)
        s.stop()
        path = s.path("work", "lamina", "nfs-replies")
        same(os.stat(path).st_mode & 0o777, 0o600)
        with open(path, "rb") as file:
            good = file.read()
        at = good.index(open("/proc/sys/kernel/random/boot_id", "rb").read(36))
        flipped = [good[:i] + bytes([good[i] ^ 1]) + good[i + 1:]
                   for i in list(range(0, 64, 9)) + [at]]
        for bad in flipped + [good[:100], b"", os.urandom(5000)]:
            with open(path, "wb") as file:
                file.write(bad)
            s.start()
            with s.client() as c:
                c.send_record(message)
                same(c.reply(c.recv_record()).u32(), NOENT)
            s.stop()
        s.start()


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Clients that mean no good: forged handles, records of any shape, too many of everything."""

import os
import random
import re
import signal
import threading

from client import *  # pylint: disable=wildcard-import,unused-wildcard-import


def alive(s):
    with s.client() as c:
        same(c.getattr(c.root()).status, OK)


def closed(c):
    """The server has hung up, or does within the time-out of the socket."""
    try:
        while c.sock.recv(65536):
            pass
    except ConnectionError:
        pass


def rss(s):
    """Kilobytes of the server's memory."""
    with open(f"/proc/{s.worker()}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    raise AssertionError("no VmRSS")


def bound(s, mebibytes):
    """In kilobytes.  A sanitizer keeps books of what is in use, and what was freed."""
    with open(s.program, "rb") as file:
        text = file.read()
    sanitized = b"__asan_init" in text or b"__tsan_init" in text
    return mebibytes * 1024 * (4 if sanitized else 1)


@case
def flipped_bits():
    """each bit of a handle counts, and so does its length"""
    with Server() as s:
        s.lower("f", "x")
        with s.client() as c:
            fh = c.walk("f")
            for bit in range(len(fh) * 8):
                bad = bytearray(fh)
                bad[bit // 8] ^= 1 << bit % 8
                same((bit, c.getattr(bytes(bad)).status), (bit, BADHANDLE))
            for n in range(64):
                if n != len(fh):
                    same((n, c.getattr((fh + b"\0" * 64)[:n]).status), (n, BADHANDLE))
            same(c.getattr(fh).status, OK)
            try:
                c.getattr(b"x" * 65)
                raise AssertionError("a handle of 65 bytes was taken")
            except RpcError as error:
                same(error.status, ("accepted", 4))


@case
def all_procedures_bad_handles():
    """no procedure does anything with a forged handle"""
    with Server() as s:
        s.lower("f", "x")
        with s.client() as c:
            root, bad = c.root(), b"\xa5" * 40
            for status in (
                    c.getattr(bad).status, c.setattr(bad, mode=0).status, c.lookup(bad, "f").status,
                    c.access(bad).status, c.readlink(bad).status, c.read(bad).status,
                    c.write(bad, "x").status, c.create(bad, "x").status, c.mkdir(bad, "x").status,
                    c.symlink(bad, "x", "y").status, c.mknod(bad, "x", FIFO).status,
                    c.remove(bad, "f").status, c.rmdir(bad, "f").status,
                    c.rename(bad, "f", root, "g").status, c.rename(root, "f", bad, "g").status,
                    c.link(bad, root, "g").status, c.link(c.walk("f"), bad, "g").status,
                    c.readdir(bad).status, c.readdirplus(bad).status, c.fsstat(bad).status,
                    c.fsinfo(bad).status, c.pathconf(bad).status, c.commit(bad).status):
                same(status, BADHANDLE)


@case
def outside():
    """no name and no link leads out of the export"""
    with Server() as s:
        with open(s.path("secret"), "w", encoding="ascii") as file:
            file.write("secret")
        s.lower("dir/x", "x")
        os.symlink("../secret", s.path("lower", "link"))
        os.symlink("/", s.path("lower", "slash"))
        with s.client() as c:
            root = c.root()
            same(c.lookup(root, "..").fh, root)
            same(c.lookup(root, "../secret").status, ACCES)
            same(c.lookup(root, "dir/../../secret").status, ACCES)
            for name in ("link", "slash"):
                fh = c.walk(name)
                same(c.read(fh).status, INVAL)
                same(c.write(fh, "x").status, INVAL)
                same(c.lookup(fh, "etc").status, NOTDIR)
                same(c.create(fh, "x").status, NOTDIR)
                same(c.setattr(fh, size=0).status, INVAL)
            same(c.create(root, "link", UNCHECKED, size=0).status, EXIST)
            same(c.rename(root, "dir", root, "../dir").status, ACCES)
            same(c.remove(root, "../secret").status, ACCES)
            same(c.mnt("/../").status, 13)
        with open(s.path("secret"), encoding="ascii") as file:
            same(file.read(), "secret")


@case
def records():
    """records in many pieces, too long ones, empty ones, cut ones"""
    with Server() as s:
        s.lower("f", "x")
        with s.client() as c:
            root = c.root()
            for piece in (1, 3, 4, 7, 100):
                c.send_record(c.pack(1, opaque(root)), piece)
                same(c.reply(c.recv_record()).u32(), OK)
            # Many at once, and half of one more.
            messages = [c.pack(1, opaque(root)) for _ in range(100)]
            data = b"".join(u32(len(m) | 0x80000000) + m for m in messages)
            c.sock.sendall(data + u32(0x80000000 | len(messages[0])) + messages[0][:10])
            xids = {struct.unpack(">I", c.recv_record()[:4])[0] for _ in messages}
            same(xids, {struct.unpack(">I", m[:4])[0] for m in messages})
            c.sock.sendall(messages[0][10:])
            same(c.reply(c.recv_record()).u32(), OK)
        for data in (u32(0xffffffff), u32(0x7fffffff), u32(0x80000000 | (1 << 21)), u32(0),
                     u32(0x80000000), u32(0x80000004) + b"abcd", u32(0x80000008) + u32(5, 1),
                     u32(0x80000008) + u32(5, 0), b"GET / HTTP/1.0\r\n\r\n",
                     (u32(1 << 20) + b"\0" * (1 << 20)) * 2):
            c = s.client()
            try:
                c.sock.sendall(data)
            except ConnectionError:
                pass
            closed(c)
            c.close()
        alive(s)


@case
def truncated_calls():
    """a call cut at any byte is refused and harms nobody"""
    with Server() as s:
        s.lower("f", "x")
        with s.client() as c:
            root, fh = c.root(), c.walk("f")
            bodies = {
                2: opaque(fh) + sattr(mode=1, uid=2, gid=3, size=4, atime=(5, 6), mtime=(7, 8))
                   + u32(1, 9, 9),
                7: opaque(fh) + u64(0) + u32(8, 2) + opaque(b"12345678"),
                8: opaque(root) + opaque("new") + u32(EXCLUSIVE) + b"12345678",
                14: opaque(root) + opaque("f") + opaque(root) + opaque("g"),
                17: opaque(root) + u64(0) + b"\0" * 8 + u32(100, 1000),
            }
            for proc, body in bodies.items():
                for n in range(0, len(body), 4):
                    try:
                        c.call(proc, body[:n])
                        raise AssertionError(f"{proc} of {n} bytes was taken")
                    except RpcError as error:
                        same(error.status, ("accepted", 4))
            same(sorted(e.name for e in c.list(root)), [b".", b"..", b"f"])


@case
def huge_lengths():
    """lengths inside of a call that it does not have"""
    with Server() as s, s.client() as c:
        root = c.root()
        for n in (41, 0x7fffffff, 0xffffffff, 0xfffffffc):
            for proc, body in ((1, u32(n)), (3, opaque(root) + u32(n)),
                               (7, opaque(root) + u64(0) + u32(1, 0) + u32(n)),
                               (10, opaque(root) + opaque("x") + sattr() + u32(n))):
                try:
                    c.call(proc, body)
                    raise AssertionError(f"{proc} with a length of {n} was taken")
                except RpcError as error:
                    same(error.status, ("accepted", 4))


@case
def random_bytes():
    """calls with random changes: the server lives and answers"""
    rng = random.Random(1)
    with Server() as s:
        s.lower("f", "x" * 1000)
        c = s.client()
        root, fh = c.root(), c.walk("f")
        bodies = [opaque(root) + opaque("f") + sattr(mode=0o600) + u32(0) * 4,
                  opaque(fh) + u64(0) + u32(100, 2) + opaque("y" * 100),
                  opaque(root) + u64(0) + b"\0" * 8 + u32(1000, 10000),
                  opaque(root) + opaque("a") + opaque(root) + opaque("b")]
        for i in range(4000):
            body = bytearray(rng.choice(bodies))
            for _ in range(rng.randrange(4)):
                body[rng.randrange(44, len(body))] = rng.randrange(256)
            message = bytearray(c.pack(rng.randrange(22), bytes(body)))
            if i % 3 == 0:
                message[rng.randrange(len(message))] = rng.randrange(256)
            try:
                c.send_record(bytes(message))
                c.recv_record()
            except (Closed, ConnectionError):
                c.close()
                c = s.client()
        c.close()
        alive(s)


@case
def slow_loris():
    """who begins a record and does not end it is hung up on; who is idle too, but later"""
    with Server(extra=["--stall", "1", "--idle", "4", "--max-connections", "20"]) as s:
        slow = [s.client() for _ in range(10)]
        for c in slow:
            c.sock.sendall(u32(0x80000000 | 1000) + b"x" * 10)
        idle = s.client()
        begin = time.monotonic()
        for c in slow:
            closed(c)
            c.close()
        closed(idle)
        assert time.monotonic() - begin >= 1
        idle.close()
        alive(s)


@case
def a_byte_at_a_time():
    """who sends a byte now and then does not keep a connection for ever"""
    with Server(extra=["--stall", "1"]) as s:
        c = s.client()
        c.sock.sendall(u32(0x80000000 | 100000))
        sent = 0
        try:
            while sent < 100000:
                c.sock.sendall(b"x")
                sent += 1
                time.sleep(0.2)
        except ConnectionError:
            pass
        assert sent < 1000, sent
        alive(s)


@case
def too_many_connections():
    """one connection too many is refused, and the others go on"""
    with Server(extra=["--max-connections", "8"]) as s:
        clients = [s.client() for _ in range(8)]
        for c in clients:
            c.null()
        extra = s.client()
        closed(extra)
        extra.close()
        for c in clients:
            c.null()
            c.close()
        for _ in range(100):
            try:
                alive(s)
                return
            except (Closed, ConnectionError):
                time.sleep(0.05)
        raise AssertionError("no place was given back")


@case
def answers_not_taken():
    """who asks for megabytes and reads none is bounded, and does not stop the others"""
    with Server(extra=["--stall", "2"]) as s:
        s.lower("big", os.urandom(1 << 20))
        with s.client() as c:
            fh = c.walk("big")
        before = rss(s)
        greedy = [s.client() for _ in range(8)]
        for c in greedy:
            message = c.pack(6, opaque(fh) + u64(0) + u32(1 << 20))
            c.sock.setblocking(False)
            try:
                for _ in range(2000):
                    c.sock.send(u32(0x80000000 | len(message)) + message)
            except BlockingIOError:
                pass
        for _ in range(20):
            alive(s)
        # Each may leave its limit of answers (4 MiB) and what was under way (32 of 1 MiB).
        assert rss(s) - before < bound(s, 8 * 40), (before, rss(s))
        for _ in range(600):
            s.process.send_signal(signal.SIGUSR1)
            if re.search(r"timed out [89]", s.messages()):
                break
            time.sleep(0.1)
        else:
            raise AssertionError("not hung up on: " + s.messages()[-500:])
        for c in greedy:
            c.sock.settimeout(60)
            closed(c)
            c.close()
        alive(s)


@case
def bounded_memory():
    """200 connections and 10,000 handles in a server of bounded size"""
    with Server(extra=["--max-connections", "256"]) as s:
        with s.client() as c:
            d = c.mkdir(c.root(), "d", mode=0o755).fh
            handles = [c.create(d, str(i), mode=0o600).fh for i in range(10000)]
            clients = [s.client() for _ in range(200)]

            def use(mine, part):
                for fh in part:
                    same(mine.write(fh, b"x" * 100, 0, UNSTABLE).status, OK)
                    same(mine.read(fh).count, 100)
            threads = [threading.Thread(target=use, args=(m, handles[i * 50:i * 50 + 50]))
                       for i, m in enumerate(clients)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert rss(s) < bound(s, 200), rss(s)
            for fh in handles:
                same(c.getattr(fh).attr["size"], 100)
            for c in clients:
                c.close()


main()

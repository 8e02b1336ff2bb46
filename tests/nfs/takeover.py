#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The server is killed again and again: a client that asks again after a broken connection, as all
do, sees everything done, and done once."""

import os
import random
import signal
import threading

from client import *  # pylint: disable=wildcard-import,unused-wildcard-import
from patient import Patient, one_round

KILLS = int(os.environ.get("TAKEOVER_KILLS", "60"))


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(p) for p in file.read().split()]


class Killer(threading.Thread):
    def __init__(self, server, kills, seed):
        super().__init__(daemon=True)
        self.server, self.kills, self.rng, self.done = server, kills, random.Random(seed), False

    def run(self):
        for _ in range(self.kills):
            time.sleep(self.rng.uniform(0.005, 0.08))
            for pid in children(self.server.process.pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.done = True


@case
def killed():
    """requests that may not be done twice, while the server is killed"""
    with Server(extra=["-o", "restarts=1000"]) as s:
        s.lower("keep", "old")
        c = Patient(s.port)
        root = c.root()
        keep = c.walk("keep")
        killer = Killer(s, KILLS, 1)
        killer.start()
        i = 0
        while not killer.done:
            one_round(c, root, i)
            i += 1
        assert c.repeated, "no request met a server that ended"
        same(c.read(keep).data, b"old")
        same(sorted(e.name for e in c.list(root)), [b".", b"..", b"keep"])
        c.close()


@case
def the_same_answer():
    """a replay is answered by the next server as it was by the one that ended; the verifier stays"""
    with Server(extra=["-o", "restarts=1000"]) as s:
        c = Patient(s.port)
        root = c.root()
        f = c.create(root, "f").fh
        verf = c.write(f, "x", stable=0).verf
        message = c.pack(9, opaque(root) + opaque("dir") + sattr())
        c.send_record(message)
        first = c.recv_record()
        for pid in children(s.process.pid):
            os.kill(pid, signal.SIGKILL)
        with Patient(s.port) as again:
            again.null()
            again.send_record(message)
            same(again.recv_record(), first)
            same(again.write(f, "y", stable=0).verf, verf)
        c.close()


def listening(pids):
    """The TCP ports that these processes listen on."""
    inodes = set()
    for pid in pids:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            try:
                target = os.readlink(f"/proc/{pid}/fd/{fd}")
            except FileNotFoundError:
                continue  # closed meanwhile
            if target.startswith("socket:["):
                inodes.add(target[len("socket:["):-1])
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return {int(r[1].split(":")[1], 16) for r in rows if r[3] == "0A" and r[9] in inodes}


@case
def a_free_port():
    """--listen ADDR:0: the port that was taken stays, whichever worker serves"""
    with Server(extra=["-o", "restarts=1000"]) as s:
        with open(f"/proc/{s.process.pid}/cmdline", encoding="utf-8") as file:
            assert "127.0.0.1:0" in file.read().split("\0")
        told = s.port
        for _ in range(5):
            old = children(s.process.pid)
            same(listening(old + [s.process.pid]), {told})
            for pid in old:
                os.kill(pid, signal.SIGKILL)
            with Patient(told) as c:
                c.null()
                new = children(s.process.pid)
                assert new and not set(new) & set(old), (old, new)
        assert "another one goes on" in s.messages()


@case
def again_and_again():
    """more ends within a minute than restarts= allows: the service ends, and says so"""
    with Server(extra=["-o", "restarts=2"]) as s:
        with Patient(s.port) as c:
            for _ in range(2):
                for pid in children(s.process.pid):
                    os.kill(pid, signal.SIGKILL)
                c.null()
        for pid in children(s.process.pid):
            os.kill(pid, signal.SIGKILL)
        same(s.process.wait(60), 1)
        assert s.messages().endswith("ended 3 times within a minute: giving up\n"), s.messages()
        s.process = None


main()

#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A client that is alone is waited for by the worker that has just answered it (src/nfs/lone.c).  Others
that come, its own end and the server's do not wait for that; nor do slow requests (slow.py)."""

import signal
import threading

from client import *  # pylint: disable=wildcard-import,unused-wildcard-import


class Asking(threading.Thread):
    """A client that is never silent, until the server hangs up or end() is called."""

    def __init__(self, s, fh):
        super().__init__()
        self.c, self.fh, self.done, self.answers = s.client(), fh, False, 0
        self.start()
        while self.is_alive() and self.answers <= LONE_AFTER:
            time.sleep(0.001)

    def run(self):
        message = self.c.pack(1, opaque(self.fh))
        try:
            while not self.done:
                self.c.send_record(message)
                same(self.c.reply(self.c.recv_record()).u32(), OK)
                self.answers += 1
        except (Closed, ConnectionError):
            pass
        self.c.close()

    def end(self):
        self.done = True
        self.join()


@case
def others_come():
    """a second client is answered beside one that is never silent, with as few workers as can be"""
    with Server(extra=["--threads", "1"]) as s:
        s.lower("f", "f")
        with s.client() as c:
            fh = c.walk("f")
        first = Asking(s, fh)
        for _ in range(20):
            with s.client() as c:
                same(c.read(fh).data, b"f")
                same(c.create(c.root(), "new").status, OK)
                same(c.remove(c.root(), "new").status, OK)
        assert first.is_alive(), "the first one was hung up on"
        first.end()


def connected(connect):
    """A connection.  Those that are on their way out may still take the places."""
    while True:
        try:
            return connect()
        except (Closed, ConnectionError):
            time.sleep(0.01)


@case
def it_goes():
    """a lone client that hangs up, in order or with a reset, leaves no connection behind"""
    with Server(extra=["--max-connections", "4"]) as s:
        s.lower("f", "f")
        with s.client() as c:
            fh = c.walk("f")
        for i in range(40):
            c = connected(lambda: s.lone_client(fh))
            if i % 4 == 1:
                c.sock.shutdown(socket.SHUT_WR)
                same(c.sock.recv(1), b"")
            elif i % 4 == 2:  # a reset in place of an end
                c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif i % 4 == 3:  # in the middle of a record
                c.sock.sendall(u32(0x80000064) + b"x")
            c.close()
        # All four can be had at once.
        clients = [connected(lambda: s.lone_client(fh)) for _ in range(4)]
        for c in clients:
            c.null()
            c.close()


@case
def the_server_goes():
    """the server ends in order while a client that is never silent is being waited for"""
    for _ in range(5):
        with Server() as s:
            s.lower("f", "f")
            with s.client() as c:
                fh = c.walk("f")
            first = Asking(s, fh)
            assert first.is_alive(), "it was hung up on"
            same(s.stop(signal.SIGTERM), 0)
            first.join(60)
            assert not first.is_alive(), "the client was not hung up on"


main()

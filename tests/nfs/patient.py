# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of NFS whose server is killed and comes back: it asks again, as all clients do."""

import socket
import struct

from client import EXIST, NOENT, OK, Client, Closed, same


class Patient(Client):
    """Connects again and repeats a request whose answer did not come."""

    def __init__(self, port, *args, **more):
        self.port, self.args, self.more = port, args, more
        self.repeated = 0
        super().__init__(port, *args, **more)

    def call(self, proc, body=b"", **more):
        message = self.pack(proc, body, **more)
        while True:
            try:
                self.send_record(message)
                return self.reply(self.recv_record(), struct.unpack(">I", message[:4])[0])
            except (Closed, ConnectionError):
                self.repeated += 1
                self.sock.close()
                self.sock = socket.create_connection(("127.0.0.1", self.port), 60)



def one_round(c, root, i):
    """Every request that may not be done twice, each with its one right answer."""
    name, other = f"d{i}", f"e{i}"
    made = c.mkdir(root, name)
    same(made.status, OK)
    d = made.fh
    f = c.create(d, "f")
    same(f.status, OK)
    same(c.create(d, "f").status, EXIST)
    same(c.write(f.fh, f"data {i}").status, OK)
    same(c.symlink(d, "s", "target").status, OK)
    same(c.link(f.fh, d, "g").status, OK)
    same(c.getattr(f.fh).attr["nlink"], 2)
    same(c.rename(d, "g", d, "h").status, OK)
    same(c.rename(root, name, root, other).status, OK)
    same(c.read(c.walk(f"{other}/h", root)).data, f"data {i}".encode())
    ctime = c.getattr(f.fh).attr["ctime"]
    same(c.setattr(f.fh, guard=ctime, mode=0o640).status, OK)
    for gone in ("f", "h", "s"):
        same(c.remove(d, gone).status, OK)
        same(c.remove(d, gone).status, NOENT)
    same(c.rmdir(root, other).status, OK)

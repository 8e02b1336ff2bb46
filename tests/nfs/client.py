# SPDX-License-Identifier: GPL-2.0-or-later
"""A client of NFSv3 and MOUNT v3 for tests: each call is packed and unpacked here, so that tests can
send what no proper client would.  And a server to talk to."""

import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

OK, PERM, NOENT, IO, ACCES, EXIST = 0, 1, 2, 5, 13, 17
NOTDIR, ISDIR, INVAL, FBIG, ROFS = 20, 21, 22, 27, 30
NAMETOOLONG, NOTEMPTY, STALE = 63, 66, 70
BADHANDLE, NOT_SYNC, BAD_COOKIE, NOTSUPP, TOOSMALL = 10001, 10002, 10003, 10004, 10005
SERVERFAULT, BADTYPE, JUKEBOX = 10006, 10007, 10008
REG, DIR, BLK, CHR, LNK, SOCK, FIFO = range(1, 8)
UNSTABLE, DATA_SYNC, FILE_SYNC = range(3)
UNCHECKED, GUARDED, EXCLUSIVE = range(3)
NFS, MOUNT = 100003, 100005
# So many requests of one connection, with no other between them, make it a lone one (src/nfs/lone.c);
# a few more during which nothing came soon end that.
LONE_AFTER = 34


def u32(*values):
    return struct.pack(f">{len(values)}I", *values)


def u64(value):
    return struct.pack(">Q", value)


def opaque(data):
    if isinstance(data, str):
        data = os.fsencode(data)
    return u32(len(data)) + data + b"\0" * (-len(data) % 4)


def sattr(mode=None, uid=None, gid=None, size=None, atime=None, mtime=None):
    """ATIME and MTIME: None, "now" or (seconds, nanoseconds)."""
    out = b""
    for value in (mode, uid, gid):
        out += u32(0) if value is None else u32(1, value)
    out += u32(0) if size is None else u32(1) + u64(size)
    for value in (atime, mtime):
        out += u32(0) if value is None else u32(1) if value == "now" else u32(2, *value)
    return out


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, n):
        assert self.at + n <= len(self.data), "the answer is cut short"
        self.at += n
        return self.data[self.at - n:self.at]

    def u32(self):
        return struct.unpack(">I", self.take(4))[0]

    def u64(self):
        return struct.unpack(">Q", self.take(8))[0]

    def opaque(self):
        n = self.u32()
        data = self.take(n)
        assert self.take(-n % 4) == b"\0" * (-n % 4), "padding is not zero"
        return data

    def end(self):
        assert self.at == len(self.data), f"{len(self.data) - self.at} bytes too many"

    def attr(self):
        names = ("type", "mode", "nlink", "uid", "gid")
        attr = {name: self.u32() for name in names}
        attr["size"], attr["used"] = self.u64(), self.u64()
        attr["rdev"] = (self.u32(), self.u32())
        attr["fsid"], attr["fileid"] = self.u64(), self.u64()
        for name in ("atime", "mtime", "ctime"):
            attr[name] = (self.u32(), self.u32())
        return attr

    def post_attr(self):
        return self.attr() if self.u32() else None

    def post_fh(self):
        return self.opaque() if self.u32() else None

    def wcc(self):
        before = None
        if self.u32():
            before = {"size": self.u64(), "mtime": (self.u32(), self.u32()),
                      "ctime": (self.u32(), self.u32())}
        return before, self.post_attr()


class RpcError(Exception):
    """The call was not accepted: `status` says how, as a tuple."""

    def __init__(self, *status):
        super().__init__(f"RPC: {status}")
        self.status = status


class Closed(Exception):
    """The server has closed the connection."""


class Result(dict):
    __getattr__ = dict.__getitem__


class Client:
    """One connection.  CRED: (uid, gid, more groups...), or None for AUTH_NONE."""

    xid = int(time.time() * 1000) & 0xffffffff

    def __init__(self, port, cred=(0, 0), host="127.0.0.1", source=None):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.sock = socket.socket(family, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        if source:
            self.sock.bind((source, 0))
        self.sock.connect((host, port))
        self.cred = cred

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # ---- RPC ----

    def auth(self):
        if self.cred is None:
            return u32(0, 0)
        if isinstance(self.cred, bytes):
            return self.cred
        body = u32(0) + opaque("test") + u32(*self.cred[:2]) + u32(len(self.cred) - 2)
        return u32(1) + opaque(body + u32(*self.cred[2:]))

    def pack(self, proc, body, program=NFS, version=3, xid=None, rpcvers=2):
        if xid is None:
            Client.xid = (Client.xid + 1) & 0xffffffff
            xid = Client.xid
        return u32(xid, 0, rpcvers, program, version, proc) + self.auth() + u32(0, 0) + body

    def send_record(self, data, piece=None):
        """PIECE: bytes of one fragment."""
        piece = piece or len(data)
        out = b""
        for at in range(0, len(data), piece):
            part = data[at:at + piece]
            out += u32(len(part) | (0x80000000 if at + piece >= len(data) else 0)) + part
        self.sock.sendall(out)

    def receive(self, n):
        data = b""
        while len(data) < n:
            try:
                more = self.sock.recv(n - len(data))
            except ConnectionError:
                more = b""
            if not more:
                raise Closed
            data += more
        return data

    def recv_record(self):
        data = b""
        while True:
            mark = struct.unpack(">I", self.receive(4))[0]
            data += self.receive(mark & 0x7fffffff)
            if mark & 0x80000000:
                return data

    def reply(self, record, xid=None):
        r = Reader(record)
        got = r.u32()
        assert xid is None or got == xid, "an answer to another call"
        assert r.u32() == 1
        if r.u32() == 1:
            why = r.u32()
            raise RpcError("denied", why, r.u32())
        assert (r.u32(), r.u32()) == (0, 0)
        status = r.u32()
        if status:
            raise RpcError("accepted", status)
        return r

    def call(self, proc, body=b"", **more):
        message = self.pack(proc, body, **more)
        self.send_record(message)
        return self.reply(self.recv_record(), struct.unpack(">I", message[:4])[0])

    # ---- MOUNT ----

    def mnt(self, path="/"):
        r = self.call(1, opaque(path), program=MOUNT)
        status = r.u32()
        if status:
            return Result(status=status)
        out = Result(status=0, fh=r.opaque(), flavors=[r.u32() for _ in range(r.u32())])
        r.end()
        return out

    def root(self):
        return self.mnt().fh

    # ---- NFS ----

    def null(self):
        self.call(0).end()

    def getattr(self, fh):
        r = self.call(1, opaque(fh))
        out = Result(status=r.u32())
        if out.status == OK:
            out["attr"] = r.attr()
        r.end()
        return out

    def _wcc(self, r):
        out = Result(status=r.u32())
        out["before"], out["after"] = r.wcc()
        r.end()
        return out

    def setattr(self, fh, guard=None, **attrs):
        tail = u32(0) if guard is None else u32(1, *guard)
        return self._wcc(self.call(2, opaque(fh) + sattr(**attrs) + tail))

    def lookup(self, fh, name):
        r = self.call(3, opaque(fh) + opaque(name))
        out = Result(status=r.u32())
        if out.status == OK:
            out["fh"], out["attr"] = r.opaque(), r.post_attr()
        out["dir"] = r.post_attr()
        r.end()
        return out

    def access(self, fh, bits=0x3f):
        r = self.call(4, opaque(fh) + u32(bits))
        out = Result(status=r.u32(), attr=r.post_attr())
        if out.status == OK:
            out["access"] = r.u32()
        r.end()
        return out

    def readlink(self, fh):
        r = self.call(5, opaque(fh))
        out = Result(status=r.u32(), attr=r.post_attr())
        if out.status == OK:
            out["target"] = r.opaque()
        r.end()
        return out

    def read(self, fh, offset=0, count=65536):
        r = self.call(6, opaque(fh) + u64(offset) + u32(count))
        out = Result(status=r.u32(), attr=r.post_attr())
        if out.status == OK:
            out["count"], out["eof"], out["data"] = r.u32(), r.u32(), r.opaque()
            assert out.count == len(out.data)
        r.end()
        return out

    def write(self, fh, data, offset=0, stable=FILE_SYNC, count=None):
        if isinstance(data, str):
            data = data.encode()
        count = len(data) if count is None else count
        r = self.call(7, opaque(fh) + u64(offset) + u32(count, stable) + opaque(data))
        out = Result(status=r.u32())
        out["before"], out["after"] = r.wcc()
        if out.status == OK:
            out["count"], out["committed"], out["verf"] = r.u32(), r.u32(), r.take(8)
        r.end()
        return out

    def _new(self, r):
        out = Result(status=r.u32())
        if out.status == OK:
            out["fh"], out["attr"] = r.post_fh(), r.post_attr()
        out["before"], out["after"] = r.wcc()
        r.end()
        return out

    def create(self, fh, name, how=GUARDED, verf=b"", **attrs):
        body = opaque(fh) + opaque(name) + u32(how)
        return self._new(self.call(8, body + (verf if how == EXCLUSIVE else sattr(**attrs))))

    def mkdir(self, fh, name, **attrs):
        return self._new(self.call(9, opaque(fh) + opaque(name) + sattr(**attrs)))

    def symlink(self, fh, name, target, **attrs):
        body = opaque(fh) + opaque(name) + sattr(**attrs) + opaque(target)
        return self._new(self.call(10, body))

    def mknod(self, fh, name, kind, rdev=(0, 0), **attrs):
        body = opaque(fh) + opaque(name) + u32(kind)
        if kind in (CHR, BLK):
            body += sattr(**attrs) + u32(*rdev)
        elif kind in (SOCK, FIFO):
            body += sattr(**attrs)
        return self._new(self.call(11, body))

    def remove(self, fh, name):
        return self._wcc(self.call(12, opaque(fh) + opaque(name)))

    def rmdir(self, fh, name):
        return self._wcc(self.call(13, opaque(fh) + opaque(name)))

    def rename(self, fh, name, to_fh, to_name):
        r = self.call(14, opaque(fh) + opaque(name) + opaque(to_fh) + opaque(to_name))
        out = Result(status=r.u32())
        out["from"], out["to"] = r.wcc(), r.wcc()
        r.end()
        return out

    def link(self, file, fh, name):
        r = self.call(15, opaque(file) + opaque(fh) + opaque(name))
        out = Result(status=r.u32(), attr=r.post_attr())
        out["before"], out["after"] = r.wcc()
        r.end()
        return out

    def _entries(self, r, plus):
        out = Result(status=r.u32(), attr=r.post_attr())
        if out.status != OK:
            r.end()
            return out
        out["verf"], out["entries"] = r.take(8), []
        while r.u32():
            entry = Result(fileid=r.u64(), name=r.opaque(), cookie=r.u64())
            if plus:
                entry["attr"], entry["fh"] = r.post_attr(), r.post_fh()
            out.entries.append(entry)
        out["eof"] = r.u32()
        r.end()
        return out

    def readdir(self, fh, cookie=0, verf=b"\0" * 8, count=8192):
        body = opaque(fh) + u64(cookie) + verf + u32(count)
        return self._entries(self.call(16, body), False)

    def readdirplus(self, fh, cookie=0, verf=b"\0" * 8, dircount=8192, maxcount=32768):
        body = opaque(fh) + u64(cookie) + verf + u32(dircount, maxcount)
        return self._entries(self.call(17, body), True)

    def list(self, fh, plus=False, **more):
        """All entries, whatever the number of calls."""
        entries, cookie, verf = [], 0, b"\0" * 8
        while True:
            one = (self.readdirplus if plus else self.readdir)(fh, cookie, verf, **more)
            assert one.status == OK, one.status
            entries += one.entries
            if one.eof:
                return entries
            cookie, verf = one.entries[-1].cookie, one.verf

    def _numbers(self, proc, fh, names):
        r = self.call(proc, opaque(fh))
        out = Result(status=r.u32(), attr=r.post_attr())
        if out.status == OK:
            for name, size in names:
                out[name] = r.u64() if size == 8 else r.u32()
        r.end()
        return out

    def fsstat(self, fh):
        return self._numbers(18, fh, [("tbytes", 8), ("fbytes", 8), ("abytes", 8), ("tfiles", 8),
                                      ("ffiles", 8), ("afiles", 8), ("invarsec", 4)])

    def fsinfo(self, fh):
        names = [(n, 4) for n in ("rtmax", "rtpref", "rtmult", "wtmax", "wtpref", "wtmult",
                                  "dtpref")]
        return self._numbers(19, fh, names + [("maxfilesize", 8), ("delta_s", 4),
                                              ("delta_ns", 4), ("properties", 4)])

    def pathconf(self, fh):
        return self._numbers(20, fh, [(n, 4) for n in ("linkmax", "name_max", "no_trunc",
                                                       "chown_restricted", "case_insensitive",
                                                       "case_preserving")])

    def commit(self, fh, offset=0, count=0):
        r = self.call(21, opaque(fh) + u64(offset) + u32(count))
        out = Result(status=r.u32())
        out["before"], out["after"] = r.wcc()
        if out.status == OK:
            out["verf"] = r.take(8)
        r.end()
        return out

    def walk(self, path, fh=None):
        """The handle of PATH."""
        fh = fh or self.root()
        for name in path.strip("/").split("/"):
            found = self.lookup(fh, name)
            assert found.status == OK, (path, name, found.status)
            fh = found.fh
        return fh


def runs(pid):
    """Whether a process is there and has not ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Server:
    """`lamina nfs` over fresh layers in a directory of its own."""

    def __init__(self, allow=("127.0.0.0/8,no_root_squash",), extra=(), lower_only=False,
                 top=None):
        self.program = os.environ.get("LAMINA") or "build/lamina"
        self.top = top or tempfile.mkdtemp(prefix="lamina-nfs.")
        os.chmod(self.top, 0o755)
        for name in ("lower", "upper", "work", "mnt"):
            os.makedirs(self.path(name), exist_ok=True)
        self.allow, self.extra, self.lower_only = allow, list(extra), lower_only
        self.process, self.port = None, 0

    def path(self, *names):
        return os.path.join(self.top, *names)

    def lower(self, name, data=None, mode=None):
        """A file (or, without DATA, a directory) of the lower layer."""
        path = self.path("lower", name)
        if data is None:
            os.makedirs(path, exist_ok=True)
        else:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(data if isinstance(data, bytes) else data.encode())
        if mode is not None:
            os.chmod(path, mode)
        return path

    def command(self):
        layers = f"lowerdir={self.path('lower')}"
        if not self.lower_only:
            layers += f",upperdir={self.path('upper')},workdir={self.path('work')}"
        command = [self.program, "nfs", "-f", "-o", layers, "--listen", f"127.0.0.1:{self.port}"]
        for rule in self.allow:
            command += ["--allow", rule]
        return command + self.extra

    def start(self):
        self.log = open(self.path("log"), "ab")
        before = self.log.tell()
        self.process = subprocess.Popen(self.command(), stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)
        while True:
            with open(self.path("log"), "rb") as log:
                log.seek(before)
                told = re.search(rb"serving on port (\d+)", log.read())
            if told:
                self.port = int(told[1])
                return self
            if self.process.poll() is not None:
                raise RuntimeError("the server did not start: " + self.messages())
            time.sleep(0.01)

    def messages(self):
        with open(self.path("log"), encoding="utf-8", errors="replace") as log:
            return log.read()

    def stop(self, how=signal.SIGTERM):
        """Returns the exit status.  SIGKILL is for all of its processes at once."""
        workers = []
        if how == signal.SIGKILL and self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP)  # or it would start another worker
            workers = self.children()
        self.process.send_signal(how)
        for pid in workers:
            try:
                os.kill(pid, how)
            except ProcessLookupError:
                pass
        status = self.process.wait(60)
        while any(runs(pid) for pid in workers):
            time.sleep(0.01)
        self.log.close()
        self.process = None
        return status

    def kill(self):
        return self.stop(signal.SIGKILL)

    def children(self):
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            return [int(child) for child in file.read().split()]

    def worker(self):
        """The process that serves: the supervisor's child, where there is one."""
        return (self.children() or [self.process.pid])[0]

    def client(self, cred=(0, 0), **more):
        return Client(self.port, cred, **more)

    def lone_client(self, fh):
        """A new connection that has just become a lone one, by asking for attributes of FH."""
        c = self.client()
        for _ in range(LONE_AFTER):
            same(c.getattr(fh).status, OK)
        return c

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process:
            self.stop()
        shutil.rmtree(self.top, ignore_errors=True)


# ---- Counting ----

CASES = []


def case(function):
    CASES.append(function)
    return function


def main():
    """Run the cases of the calling file, or those named; print what failed and a summary."""
    import traceback
    passed = failed = 0
    wanted = sys.argv[1:]
    for function in CASES:
        if wanted and function.__name__ not in wanted:
            continue
        try:
            function()
            passed += 1
        except Exception:  # a test that fails must not hide the others
            failed += 1
            print(f"FAIL {function.__name__}: {function.__doc__}")
            traceback.print_exc(file=sys.stdout)
    print(f"{passed} passed, {failed} failed")
    sys.exit(0 if passed and not failed else 1)


def same(got, wanted):
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"

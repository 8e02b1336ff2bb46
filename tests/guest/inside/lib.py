# SPDX-License-Identifier: GPL-2.0-or-later
"""What every scenario in the guest uses: named checks, commands, comparing trees."""

import contextlib
import errno
import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
import traceback

# Where all of it is: in the guest "", at the root; else a directory of a machine that others use too.
TOP = os.environ.get("LAMINA_SCENARIO", "")
# A check that takes longer is told to the console, with where every process hangs.
PATIENCE = 300
ALIVE = TOP + "/run/alive"

counts = {"passed": 0, "failed": 0}


def alive():
    """Something goes on; the host is told as well, so that it does not end the guest."""
    if time.time() - os.stat(ALIVE).st_mtime > 20:
        print("ALIVE", flush=True)
    os.utime(ALIVE)


def watch():
    """Start the process that tells where the others hang; a hard mount waits for ever.  Returns its id."""
    with open(ALIVE, "w", encoding="ascii"):
        pass
    pid = os.fork()
    if pid:
        return pid
    told = 0.0
    while True:
        time.sleep(5)
        last = os.stat(ALIVE).st_mtime
        if time.time() - last > PATIENCE and last != told:
            told = last
            print(f"# nothing for {PATIENCE} seconds", flush=True)
            for pid in filter(str.isdigit, os.listdir("/proc")):
                with contextlib.suppress(OSError):
                    with open(f"/proc/{pid}/stack", encoding="ascii") as file:
                        stack = file.read()
                    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as file:
                        name = file.read().replace("\0", " ").strip()
                    if ("nfs" in stack or "fuse" in stack) and "svc_recv+" not in stack:
                        print(f"# {pid} {name}\n{stack}", flush=True)


@contextlib.contextmanager
def check(name):
    """The body is a check: it passes when nothing is raised."""
    start = time.monotonic()
    try:
        yield
        counts["passed"] += 1
        took = time.monotonic() - start
        print(f"ok - {name}" + (f" ({took:.0f} s)" if took > 5 else ""), flush=True)
    except Exception:  # a check that fails must not hide the others
        counts["failed"] += 1
        print(f"not ok - {name}")
        lines = traceback.format_exc().strip().split("\n")
        print("\n".join("    " + line for line in lines[-8:]), flush=True)
    alive()


def same(got, wanted):
    assert got == wanted, f"got {got!r}, wanted {wanted!r}"


def fails(error, function, *arguments):
    """The call fails with ERROR."""
    try:
        function(*arguments)
    except OSError as e:
        same(errno.errorcode[e.errno], errno.errorcode[error])
    else:
        raise AssertionError(f"{function.__name__}{arguments} did not fail")


def run(command, **more):
    """Run a command, a string by the shell; returns what it printed."""
    more.setdefault("timeout", 300)
    done = subprocess.run(command, shell=isinstance(command, str), stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8",
                          errors="replace", check=False, **more)
    assert done.returncode == 0, f"{command}: status {done.returncode}: {done.stdout[-600:]}"
    return done.stdout


class Outside:
    """A process that runs commands and has none of our files open: a child of ours would close them,
    and wait for the server with that, which it may be about to start."""

    def __init__(self):
        self.socket, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if os.fork() == 0:
            self.socket.close()
            self.serve(other)
            os._exit(0)
        other.close()

    @staticmethod
    def serve(other):
        started = {}
        while True:
            asked = other.recv(1 << 16)
            if not asked:
                return
            what, command = json.loads(asked)
            answer = None
            try:
                if what == "run":
                    run(command)
                elif what == "start":
                    process = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                               stdout=subprocess.DEVNULL)
                    started[process.pid] = process
                    answer = process.pid
                else:
                    answer = started.pop(command).wait()
                other.send(json.dumps([answer, ""]).encode())
            except Exception as e:  # raised again by who has asked
                other.send(json.dumps([None, str(e) or repr(e)]).encode())

    def ask(self, what, command):
        self.socket.send(json.dumps([what, command]).encode())
        answer, error = json.loads(self.socket.recv(1 << 16))
        assert not error, error
        return answer

    def run(self, command):
        self.ask("run", command)

    def start(self, command):
        """Start a command that goes on; returns its process id."""
        return self.ask("start", command)

    def status(self, pid):
        """Wait for the end of what was started."""
        return self.ask("wait", pid)


def wait_for(what, function, seconds=60):
    end = time.monotonic() + seconds
    while not function():
        assert time.monotonic() < end, f"waited {seconds} s for {what}"
        time.sleep(0.05)


def put(path, data, how="wb"):
    with open(path, how) as file:
        file.write(data if isinstance(data, bytes) else data.encode())


def get(path):
    with open(path, "rb") as file:
        return file.read()


def whole(fd, size=1 << 16):
    """All that a descriptor reads from the beginning."""
    return os.pread(fd, size, 0)


@contextlib.contextmanager
def opened(path, flags=os.O_RDONLY, mode=0o644):
    fd = os.open(path, flags, mode)
    try:
        yield fd
    finally:
        os.close(fd)


def exists(path):
    return os.path.lexists(path)


def drop_caches():
    if TOP:
        return  # they are everybody's
    os.sync()
    put("/proc/sys/vm/drop_caches", "3")


def describe(path, times):
    st = os.lstat(path)
    said = [oct(st.st_mode), st.st_uid, st.st_gid]
    if stat.S_ISLNK(st.st_mode):
        said.append(os.readlink(path))
    elif stat.S_ISREG(st.st_mode):
        said += [st.st_nlink, st.st_size, hashlib.md5(get(path)).hexdigest()]
        said += [int(st.st_mtime)] if times else []
    return tuple(said)


def tree(top, times=False):
    """Everything below TOP: path -> type, mode, owner, links, size, content, time."""
    found = {}
    for directory, names, files in os.walk(top):
        for name in names + files:
            path = os.path.join(directory, name)
            found[os.path.relpath(path, top)] = describe(path, times)
    return found


def same_tree(a, b, times=False):
    x, y = tree(a, times), tree(b, times)
    wrong = [f"{k}: {x.get(k)} and {y.get(k)}" for k in sorted(set(x) | set(y))
             if x.get(k) != y.get(k)]
    assert x and not wrong, f"{a} and {b} differ in {len(wrong)}: " + "; ".join(wrong[:5])


def processes(program):
    """The ids of the processes that run PROGRAM, their parents' by id."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/exe") == program:
                with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                    found[int(pid)] = int(file.read().rsplit(")", 1)[1].split()[1])
    return found


def end(pids, how=signal.SIGKILL):
    """Signal the processes and wait until they are gone."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, how)

    def gone(pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
                return file.read().rsplit(")", 1)[1].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_for("processes to end", lambda: all(gone(pid) for pid in pids))


def told(message):
    print("# " + message, flush=True)
    sys.stdout.flush()

# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways to serve one stack of layers by NFS, each with a kernel client, or with programs over libnfs.

M is where the client has it; THERE is where the scenario makes changes "on the server": the mount
by FUSE, or, where there is none, another client that shares no cache with the first."""

import os
import signal
import socket

from lib import TOP, Outside, drop_caches, end, processes, put, wait_for

# Since 6.9 a FUSE server's requests can be asked for again, so only then another worker goes on.
KERNEL = tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2])
LAMINA = os.environ["LAMINA"] if TOP else "/guest/lamina"
FSX, SHIM = TOP + "/guest/fsx", TOP + "/guest/mount_libnfs"
M, X, S, D = TOP + "/m", TOP + "/x", TOP + "/s", TOP + "/d"
LAYERS = f"lowerdir={D}/lower,upperdir={D}/upper,workdir={D}/work"
PORT = int(os.environ.get("LAMINA_SCENARIO_PORT", "20490"))
CLIENT = "hard,actimeo=0"
BUILT_IN = f"vers=3,proto=tcp,port={PORT},mountport={PORT},mountproto=tcp,nolock,{CLIENT}"


outside = Outside()
run = outside.run


def listening(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def mount_nfs(options, path, where):
    run(["mount", "-t", "nfs", "-o", options, "127.0.0.1:" + path, where])


class Server:
    """What the scenario may do with a server.  `kill` and `restart` leave it serving again."""

    there = X
    # The version that is mounted; whether there is a mount by FUSE that serves the same stack by
    # itself; how often it is restarted under work.
    version, twice, restarts = "3", False, 6
    # Does it know that a file of a lower layer was removed when all it has is a handle?
    complete = True
    # Seconds between changes of a directory that is listed: the kernel's client forgets what it has read of
    # it at each change that it hears of.
    pause = 0.05

    def start(self):
        raise NotImplementedError

    def stop(self, how):
        """Stop for good, by a signal or in order; nothing of the mount or export is left."""
        raise NotImplementedError

    def client(self):
        raise NotImplementedError

    def no_client(self):
        run(["umount", M])

    def restart(self, how=signal.SIGTERM):
        self.stop(how)
        self.start()

    def hows(self):
        """Names and functions: the ways to be restarted."""
        return {"restart": self.restart, "kill -9": lambda: self.restart(signal.SIGKILL)}

    def cold(self):
        """As after a reboot of the server's machine: a new process, no caches."""
        self.restart()
        drop_caches()

    def remount(self):
        """Everything anew, client too."""
        self.no_client()
        self.restart()
        drop_caches()
        self.client()


class Mounted(Server):
    """A mount by FUSE, with a supervisor that starts another worker when one ends."""

    def workers(self):
        pids = processes(LAMINA)
        return {pid for pid, parent in pids.items() if parent in pids}

    def kill_worker(self):
        """The mount outlives it, and nobody needs to know."""
        old = self.workers()
        assert old, "there is no worker"
        end(old)
        wait_for("another worker", lambda: self.workers() - old)

    def hows(self):
        hows = super().hows()
        if KERNEL >= (6, 9):
            hows["kill -9 of the worker"] = self.kill_worker
        return hows

    def stop(self, how):
        if how == signal.SIGKILL:
            # The supervisor may have started one more.
            while processes(LAMINA):
                end(processes(LAMINA))
            run(["umount", "-l", X])
            return
        pids = set(processes(LAMINA))
        run(["umount", X])
        wait_for("the server to end", lambda: not pids & set(processes(LAMINA)))


class Knfsd(Mounted):
    """The kernel's server over a mount by FUSE."""

    def __init__(self, version, options):
        self.version, self.options = version, options
        self.complete = "nfs_export=on" in options
        put("/etc/exports", f"{X} *(rw,no_subtree_check,no_root_squash,insecure,fsid=77)\n")
        os.makedirs("/var/lib/nfs/nfsdcld", exist_ok=True)
        for name in ("etab", "rmtab", "xtab"):
            put("/var/lib/nfs/" + name, "")
        run("rpcbind -w; nfsdcld -p /run/rpc_pipefs; rpc.mountd")

    def start(self):
        run([LAMINA, "mount", "-o", LAYERS + self.options, X])
        run(["exportfs", "-ra"])
        # Short, so that a version 4 client may open files again soon after a restart.
        run(["rpc.nfsd", "--grace-time", "10", "--lease-time", "10", "8"])

    def stop(self, how):
        """The kernel's server first: without it clients wait, and would be told of errors else."""
        run("rpc.nfsd 0; exportfs -ua; exportfs -f")
        super().stop(how)

    def client(self):
        more = "nolock,proto=tcp" if self.version == "3" else "proto=tcp"
        mount_nfs(f"vers={self.version},{more},{CLIENT}", X, M)


class BuiltIn(Server):
    """`lamina nfs`: no mount; changes are made by a second client."""

    there = S
    command = [LAMINA, "nfs", "-f", "-o", LAYERS, "--allow", "127.0.0.0/8,no_root_squash",
               "--listen", f"127.0.0.1:{PORT}"]

    def __init__(self):
        self.pid = 0

    def start(self):
        self.pid = outside.start(self.command)
        wait_for("the server", lambda: listening(PORT))

    def stop(self, how):
        end([self.pid], how)
        status = outside.status(self.pid)
        assert how == signal.SIGKILL or status == 0, f"the server ended with status {status}"

    def client(self):
        mount_nfs(BUILT_IN, "/", M)
        mount_nfs(BUILT_IN + ",nosharecache", "/", S)

    def no_client(self):
        run(["umount", M, S])


class LibNfs(BuiltIn):
    """The same, with mounts over libnfs (tests/nfs/mount_libnfs.c) in place of the kernel's client."""

    command = BuiltIn.command + ["-o", "restarts=1000"]
    pause = 0

    def __init__(self):
        super().__init__()
        self.mounts = {}

    def client(self):
        url = f"nfs://127.0.0.1/?version=3&nfsport={PORT}&mountport={PORT}"
        for where, more in ((M, ["-m"]), (S, [])):
            self.mounts[where] = outside.start([SHIM] + more + [url, where])
            wait_for("the mount", lambda path=where: os.path.ismount(path))

    def no_client(self):
        super().no_client()
        while self.mounts:
            status = outside.status(self.mounts.popitem()[1])
            assert status == 0, f"a client ended with status {status}"

    def kill_worker(self):
        end(pid for pid, parent in processes(LAMINA).items() if parent == self.pid)

    def hows(self):
        return {**super().hows(), "kill -9 of the worker": self.kill_worker}


class Both(Mounted):
    """`lamina mount --nfs`: changes are made in the mount by FUSE."""

    twice = True

    def start(self):
        run([LAMINA, "mount", "-o", LAYERS + ",nfs_export=on", "--nfs", f"127.0.0.1:{PORT}",
             "--nfs-allow", "127.0.0.0/8,no_root_squash", X])
        wait_for("the server", lambda: listening(PORT))

    def client(self):
        mount_nfs(BUILT_IN, "/", M)


def make(name):
    if name == "knfsd3":
        return Knfsd("3", ",nfs_export=on")
    if name == "knfsd4":
        return Knfsd("4.2", "")
    if name == "libnfs":
        return LibNfs()
    return BuiltIn() if name == "nfs3" else Both()


def layers():
    for name in ("lower", "upper", "work", "plain"):
        os.makedirs(f"{D}/{name}")

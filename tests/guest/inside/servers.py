# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways to serve one stack of layers by NFS, each with a kernel client.

M is where the client has it; THERE is where the scenario makes changes "on the server": the mount by
FUSE, or, where there is none, another client that shares no cache with the first."""

import os
import signal
import socket
import subprocess

from lib import drop_caches, end, processes, put, run, wait_for

LAMINA = "/guest/lamina"
M, X, S = "/m", "/x", "/s"
LAYERS = "lowerdir=/d/lower,upperdir=/d/upper,workdir=/d/work"
PORT = 20490
CLIENT = "hard,actimeo=0"
BUILT_IN = f"vers=3,proto=tcp,port={PORT},mountport={PORT},mountproto=tcp,nolock,{CLIENT}"


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


class Knfsd(Server):
    """The kernel's server over a mount by FUSE."""

    def __init__(self, version, options):
        self.version, self.options = version, options
        self.complete = "nfs_export=on" in options
        put("/etc/exports", f"{X} *(rw,no_subtree_check,no_root_squash,insecure,fsid=77)\n")
        os.makedirs("/var/lib/nfs/nfsdcld", exist_ok=True)
        for name in ("etab", "rmtab", "xtab"):
            put("/var/lib/nfs/" + name, "")
        run("rpcbind -w; nfsdcld -p /run/rpc_pipefs; rpc.mountd")

    def workers(self):
        """Processes that another one of ours would replace."""
        pids = processes(LAMINA)
        return [pid for pid, parent in pids.items() if parent in pids]

    def start(self):
        run([LAMINA, "mount", "-o", LAYERS + self.options, X])
        run(["exportfs", "-ra"])
        # Short, so that a version 4 client may open files again soon after a restart.
        run(["rpc.nfsd", "--grace-time", "10", "--lease-time", "10", "8"])

    def stop(self, how):
        """The kernel's server first: without it clients wait, and would be told of errors else."""
        run("rpc.nfsd 0; exportfs -ua; exportfs -f")
        if how == signal.SIGKILL:
            end(processes(LAMINA), how)
            run(["umount", "-l", X])
            return
        pids = list(processes(LAMINA))
        run(["umount", X])
        wait_for("the server to end", lambda: not set(pids) & set(processes(LAMINA)))

    def restart(self, how=signal.SIGTERM):
        workers = self.workers()
        if how == signal.SIGKILL and workers:
            # The mount outlives them, and nobody needs to know.
            end(workers, how)
            wait_for("another worker", lambda: set(self.workers()) - set(workers))
            return
        super().restart(how)

    def client(self):
        more = "nolock,proto=tcp" if self.version == "3" else "proto=tcp"
        mount_nfs(f"vers={self.version},{more},{CLIENT}", X, M)


class BuiltIn(Server):
    """`lamina nfs`: no mount; changes are made by a second client."""

    there = S
    command = [LAMINA, "nfs", "-f", "-o", LAYERS, "--allow", "127.0.0.0/8,no_root_squash",
               "--listen", f"127.0.0.1:{PORT}"]

    def __init__(self):
        self.process = None
        self.log = open("/run/lamina.log", "ab")

    def start(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)
        wait_for("the server", lambda: listening(PORT))

    def stop(self, how):
        end([self.process.pid], how)
        status = self.process.wait()
        assert how == signal.SIGKILL or status == 0, f"the server ended with status {status}"

    def client(self):
        mount_nfs(BUILT_IN, "/", M)
        mount_nfs(BUILT_IN + ",nosharecache", "/", S)

    def no_client(self):
        run(["umount", M, S])


class Both(Server):
    """`lamina mount --nfs`: changes are made in the mount by FUSE."""

    twice = True

    def start(self):
        run([LAMINA, "mount", "-o", LAYERS + ",nfs_export=on", "--nfs", f"127.0.0.1:{PORT}",
             "--nfs-allow", "127.0.0.0/8,no_root_squash", X])
        wait_for("the server", lambda: listening(PORT))

    def stop(self, how):
        pids = processes(LAMINA)
        if how == signal.SIGKILL:
            end(pids, how)
            run(["umount", "-l", X])
        else:
            run(["umount", X])
            wait_for("the server to end", lambda: not set(pids) & set(processes(LAMINA)))

    def client(self):
        mount_nfs(BUILT_IN, "/", M)


def make(name):
    if name == "knfsd3":
        return Knfsd("3", ",nfs_export=on")
    if name == "knfsd4":
        return Knfsd("4.2", "")
    return BuiltIn() if name == "nfs3" else Both()


def layers():
    for name in ("lower", "upper", "work", "plain"):
        os.makedirs("/d/" + name)

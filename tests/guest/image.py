# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest is made of, out of Debian packages that are downloaded and unpacked, and never
installed: a kernel with its modules, and a root filesystem with the NFS userland, a C compiler, git
and Python.  Both are kept; what is tested goes into an initramfs that is made for each run."""

import fcntl
import glob
import hashlib
import os
import re
import shutil
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get("LAMINA_BUILD") or os.path.join(ROOT, "build")
CACHE = os.environ.get("LAMINA_GUEST_CACHE") or os.path.join(BUILD, "guest")
KERNEL = "linux-image-cloud-amd64"
PACKAGES = ("bash coreutils dash diffutils findutils gcc gawk git grep kmod libc6-dev "
            "libpython3.11-stdlib libtirpc3 liburing2 make mount netbase nfs-common "
            "nfs-kernel-server procps python3-minimal rpcbind sed tar util-linux").split()
# What nobody in there reads.
UNUSED = ("usr/share/doc", "usr/share/locale", "usr/share/man", "usr/share/info", "usr/share/perl",
          "usr/lib/gcc/x86_64-linux-gnu/12/lto1", "usr/share/i18n", "usr/share/zoneinfo")
MODULES = ["virtio_pci", "virtio_blk", "overlay", "fuse", "nfsv3", "nfsv4", "nfsd"]


def run(command, **more):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, **more)


def apt(packages, where):
    """The packages and all that they need, as for a system that has nothing yet."""
    os.makedirs(os.path.join(where, "archives", "partial"))
    status = os.path.join(where, "status")
    with open(status, "w", encoding="ascii"):
        pass
    base = ["apt-get", "-qq", "-y", "--download-only", "--no-install-recommends",
            "-o", "Dir::State::status=" + status, "-o", "Debug::NoLocking=1",
            "-o", "Dir::Cache::archives=" + os.path.join(where, "archives"),
            "-o", "APT::Sandbox::User=root"]
    if subprocess.run(base + ["install"] + packages, check=False, stdin=subprocess.DEVNULL,
                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
        # The lists may be absent or old.
        run(["apt-get", "update", "-qq"])
        run(base + ["install"] + packages, stdout=subprocess.DEVNULL)
    return sorted(glob.glob(os.path.join(where, "archives", "*.deb")))


def unpack(deb, root):
    tar = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
    # Owners by number: the names are those of the guest, and may mean others here.
    run_in = ["tar", "-x", "--numeric-owner", "--keep-directory-symlink", "-C", root]
    subprocess.run(run_in, check=True, stdin=tar.stdout)
    tar.stdout.close()
    if tar.wait():
        raise RuntimeError("cannot unpack " + deb)


def make_kernel(work):
    depends = subprocess.run(["apt-cache", "depends", KERNEL], check=True,
                             stdout=subprocess.PIPE, encoding="ascii").stdout
    package = [line.split()[-1] for line in depends.split("\n") if "linux-image-6" in line][0]
    os.makedirs(work)
    run(["apt-get", "download", "-qq", package], cwd=work, stderr=subprocess.DEVNULL)
    for deb in glob.glob(os.path.join(work, "*.deb")):
        run(["dpkg-deb", "-x", deb, os.path.join(work, "kernel")])


def filesystem(path, size, *options):
    """A sparse file with ext4 in it."""
    with open(path, "wb") as file:
        file.truncate(size)
    run(["mke2fs", "-q", "-F", "-t", "ext4"] + list(options) + [path])


def write(root, name, text):
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def make_root(work):
    root = os.path.join(work, "root")
    for name in ("bin", "sbin", "lib", "lib64"):
        os.makedirs(os.path.join(root, "usr", name))
        os.symlink("usr/" + name, os.path.join(root, name))
    for deb in apt(PACKAGES, work):
        unpack(deb, root)
    for name in UNUSED:
        path = os.path.join(root, name)
        if os.path.isdir(path):
            shutil.rmtree(path)
        elif os.path.exists(path):
            os.unlink(path)
    # The packages' scripts did not run: what they would have made and is needed.
    write(root, "etc/passwd", "root:x:0:0::/root:/bin/bash\nuser:x:1000:1000::/:/bin/sh\n"
          "_rpc:x:101:65534::/run/rpcbind:/bin/false\nstatd:x:102:65534::/var/lib/nfs:/bin/false\n"
          "nobody:x:65534:65534::/:/bin/false\n")
    write(root, "etc/group", "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n")
    write(root, "etc/hosts", "127.0.0.1 localhost\n")
    write(root, "etc/gitconfig", "[user]\n\tname = nobody\n\temail = nobody@localhost\n"
          "[safe]\n\tdirectory = *\n")
    for name in ("mawk", "gawk"):
        if os.path.exists(os.path.join(root, "usr/bin", name)):
            awk = name
    os.symlink(awk, os.path.join(root, "usr/bin/awk"))
    for name in ("dev", "proc", "sys", "run", "tmp", "d", "m", "s", "x"):
        os.makedirs(os.path.join(root, name), exist_ok=True)
    filesystem(os.path.join(work, "root.img"), 1 << 30, "-O", "^has_journal", "-d", root)


def stamp():
    with open(__file__, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def base():
    """The directory with `kernel` and `root.img`, made if they are not there."""
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark = os.path.join(CACHE, "stamp")
        if os.path.exists(mark) and open(mark, encoding="ascii").read() == stamp():
            return CACHE
        for name in ("work", "kernel"):
            shutil.rmtree(os.path.join(CACHE, name), ignore_errors=True)
        work = os.path.join(CACHE, "work")
        make_kernel(work)
        make_root(work)
        for name in ("kernel", "root.img"):
            os.rename(os.path.join(work, name), os.path.join(CACHE, name))
        shutil.rmtree(work)
        write(CACHE, "stamp", stamp())
    return CACHE


def vmlinuz(top):
    return glob.glob(os.path.join(top, "kernel", "boot", "vmlinuz-*"))[0]


def add_module(top, name, order):
    """Put the module after those that it needs; nothing if it is built in."""
    found = glob.glob(os.path.join(top, "kernel", "lib", "modules", "*", "kernel", "**",
                                   name.replace("_", "[_-]") + ".ko*"), recursive=True)
    if not found or found[0] in order:
        return
    with open(found[0], "rb") as file:
        depends = re.search(rb"\0depends=([^\0]*)\0", file.read())[1].decode("ascii")
    for other in filter(None, depends.split(",")):
        add_module(top, other, order)
    order.append(found[0])


def copy_program(path, root):
    """A program and the libraries that it was linked with on this machine, without libc."""
    shutil.copy(path, os.path.join(root, "payload", "guest"))
    said = subprocess.run(["ldd", path], check=False, stdout=subprocess.PIPE, encoding="utf-8",
                          stderr=subprocess.DEVNULL).stdout
    for library in re.findall(r"=> (/\S+) \(0x", said):
        if os.path.basename(library).startswith("libc.so"):
            continue
        where = os.path.join(root, "payload", "guest", "lib")
        os.makedirs(where, exist_ok=True)
        shutil.copy(library, where)


def initramfs(top, where, lamina):
    """An image in WHERE: busybox, modules, and a tree that is put over the root filesystem."""
    root = os.path.join(where, "initramfs.d")
    for name in ("bin", "proc", "sys", "dev", "tmp", "modules", "payload/guest"):
        os.makedirs(os.path.join(root, name))
    shutil.copy("/bin/busybox", os.path.join(root, "bin"))
    shutil.copy(os.path.join(HERE, "init.sh"), os.path.join(root, "init"))
    os.chmod(os.path.join(root, "init"), 0o755)
    for path in glob.glob(os.path.join(HERE, "inside", "*")):
        if os.path.isfile(path):
            shutil.copy(path, os.path.join(root, "payload", "guest"))
    copy_program(lamina, root)
    run(["cc", "-static", "-O2", "-o", os.path.join(root, "payload", "guest", "fsx"),
         os.path.join(ROOT, "tests", "clients", "fsx.c")])
    order = []
    for name in MODULES:
        add_module(top, name, order)
    for path in order:
        shutil.copy(path, os.path.join(root, "modules"))
    write(root, "modules/order", "".join(os.path.basename(path) + "\n" for path in order))
    image = os.path.join(where, "initramfs")
    with open(image, "wb") as file:
        run(["sh", "-c", "find . | busybox cpio -o -H newc 2>/dev/null"], cwd=root, stdout=file)
    shutil.rmtree(root)
    return image

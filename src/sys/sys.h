/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The only code that makes filesystem system calls.  Every function returns 0, a count or a
 * descriptor, or -errno, and repeats on EINTR where that is harmless.  Descriptors are always
 * close-on-exec.  NAME is one component (or "" for the descriptor itself where it says so).
 * The seam: every function asks sys_fault_hook first.  A test sets sys_fault_hook to make the Nth
 * call fail or to stop the process before or after it; in normal use the hook is NULL and
 * costs a predicted branch.
 */
#ifndef SYS_SYS_H
#define SYS_SYS_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

/* NAME of the call ("openat", ...); MUTATES: whether it changes a filesystem.  Return 0 to go
 * on or a negative errno to fail instead.  AFTER: called again after a successful mutating
 * call; the answer is then not used. */
typedef int (*sys_fault_fn)(const char *name, bool mutates, bool after);
extern sys_fault_fn sys_fault_hook;

/*
 * For tests: behave as where FEATURE is missing, so that its fallback or its error is seen.
 * "openat2", "statx", "mount_id", "fsuuid", "xattrat", "fchmodat2", "utimens_empty",
 * "link_empty", "copy_file_range", "ficlone", "seek_data", "open_tree", "proc": kernels
 * without them; "xattr", "fallocate", "renameat2", "rename_whiteout", "rename_exchange",
 * "tmpfile", "char_device", "name_to_handle", "fileattr": filesystems without them
 * (EOPNOTSUPP, EINVAL, EPERM, ENOTTY as those answer).  Any other name stops the process.
 */
void sys_disable(const char *feature);
/* Undo every sys_disable(), and forget what was learnt about the kernel. */
void sys_enable_all(void);

/* ---- Opening ---- */

int sys_openat(int dirfd, const char *name, int flags, mode_t mode);
/* A path that must not leave DIRFD nor pass a symlink (RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
 * and NO_XDEV if so); component by component where openat2 is missing.  An absolute path or a
 * ".." in it is -EXDEV, a symlink -ELOOP, O_CREAT -EINVAL. */
int sys_open_beneath(int dirfd, const char *path, int flags, bool no_xdev);
/* A new, independent description of the file behind FD (an O_PATH one too): /proc/self/fd.
 * Falls back to openat(fd, ".") for directories when /proc is missing. */
int sys_reopen(int fd, int flags);
void sys_close(int fd);
int sys_dup(int fd);

/* ---- File handles ---- */

struct sys_handle {
	int type;
	unsigned len;
	uint8_t fid[128];
};
/* NAME "" (AT_EMPTY_PATH) for FD itself.  RET_MOUNT may be NULL. */
int sys_name_to_handle(int dirfd, const char *name, struct sys_handle *ret, int *ret_mount);
int sys_open_by_handle(int mount_fd, const struct sys_handle *handle, int flags);

/* The generation of an inode by number, from the filesystem's own tables (XFS_IOC_BULKSTAT); FD is any
 * descriptor on it that is not O_PATH. -ENOTTY where it is no xfs, -ENOENT if there is no such inode. */
int sys_xfs_generation(int fd, uint64_t ino, uint32_t *ret);
/* The path that the kernel knows FD by (/proc/self/fd); not NUL terminated.  -ESTALE if it is deleted or
 * cannot be reached. */
ssize_t sys_fd_path(int fd, char *buf, size_t size);

/* ---- Status ---- */

/* fstatat with AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT; NAME "" for the descriptor. */
int sys_stat(int dirfd, const char *name, struct stat *ret);
/* statx with the basic fields, birth time and attributes; never follows, never triggers
 * automounts. */
int sys_statx(int dirfd, const char *name, struct statx *ret);
int sys_statfs(int fd, struct statfs *ret);
/* FS_IOC_GETFSUUID, or the own ioctl of ext4, xfs, btrfs.  FD is not O_PATH.  -ENODATA if the
 * filesystem has none (overlay, FUSE, squashfs) or, mounted, is known by zeros only: then the
 * kernel's overlayfs takes it to have none, too. */
int sys_fs_uuid(int fd, uint8_t uuid[16]);
/* NAME "" for an O_PATH descriptor of a symlink. */
ssize_t sys_readlink(int dirfd, const char *name, char *buf, size_t size);

/* ---- Directories ---- */

/* Raw getdents64 into BUF; returns bytes, 0 at the end. */
ssize_t sys_getdents(int fd, void *buf, size_t size);
struct sys_dirent { /* struct linux_dirent64 */
	uint64_t ino;
	int64_t off;
	uint16_t reclen;
	uint8_t type;
	char name[];
} __attribute__((packed));
int64_t sys_lseek(int fd, int64_t off, int whence);

/* ---- Names ---- */

int sys_mkdir(int dirfd, const char *name, mode_t mode);
int sys_mknod(int dirfd, const char *name, mode_t mode, dev_t dev);
int sys_symlink(const char *target, int dirfd, const char *name);
int sys_link(int from_fd, const char *from, int to_fd, const char *to);
/* Name the (O_TMPFILE or other) file behind FD: AT_EMPTY_PATH, else through /proc/self/fd. */
int sys_link_fd(int fd, int to_fd, const char *to);
int sys_unlink(int dirfd, const char *name);
int sys_rmdir(int dirfd, const char *name);
int sys_rename(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);

/* ---- Attributes ---- */

/* NAME "" acts on the descriptor, which may be O_PATH.  Symlinks are not followed. */

int sys_chmod(int dirfd, const char *name, mode_t mode); /* -EOPNOTSUPP on symlinks */
int sys_chown(int dirfd, const char *name, uid_t uid, gid_t gid);
int sys_utimens(int dirfd, const char *name, const struct timespec times[2]);

/* Extended attributes: the *xattrat system calls where the kernel has them (6.13), else
 * through the descriptor or /proc/self/fd.  SIZE 0 asks for the length.  An O_PATH descriptor
 * with "" costs a failed call and a walk through /proc on every kernel: (directory, name) is
 * the faster way. */
ssize_t sys_getxattr(int dirfd, const char *name, const char *attr, void *value, size_t size);
ssize_t sys_listxattr(int dirfd, const char *name, char *list, size_t size);
int sys_setxattr(int dirfd, const char *name, const char *attr, const void *value, size_t size,
		 int flags);
int sys_removexattr(int dirfd, const char *name, const char *attr);
/* One or the other: without VALUE it is removed. */
static inline int sys_change_xattr(int dirfd, const char *name, const char *attr, const void *value,
				   size_t size, int flags)
{
	return value ? sys_setxattr(dirfd, name, attr, value, size, flags)
		     : sys_removexattr(dirfd, name, attr);
}
/* Whether /proc/self/fd leads from a descriptor by O_PATH to its inode. */
bool sys_path_fds_lead(void);

/* FS_IOC_GETFLAGS / SETFLAGS, FS_IOC_FSGETXATTR / FSSETXATTR, FS_IOC_GETVERSION; FD is not
 * O_PATH. */
struct fsxattr;
int sys_getflags(int fd, unsigned *ret);
int sys_setflags(int fd, unsigned flags);
int sys_fsgetxattr(int fd, struct fsxattr *ret);
int sys_fssetxattr(int fd, const struct fsxattr *x);
int sys_getversion(int fd, uint32_t *ret);

/* ---- Data ---- */

/* Short only at the end of the file. */
ssize_t sys_pread(int fd, void *buf, size_t size, uint64_t off);
/* Short only where the rest met an error. */
ssize_t sys_pwrite(int fd, const void *buf, size_t size, uint64_t off);
int sys_ftruncate(int fd, uint64_t size);
int sys_fallocate(int fd, int mode, uint64_t off, uint64_t len);
/* As copy_file_range(2): may be short.  By read and write (1 MiB at most) where the kernel
 * cannot. */
ssize_t sys_copy_file_range(int in, uint64_t off_in, int out, uint64_t off_out, size_t len);
int sys_ficlone(int out, int in);
int sys_fsync(int fd);
int sys_fdatasync(int fd);
int sys_syncfs(int fd);
/* Whether FD's filesystem makes nothing durable before what had reached the device before it:
 * then sys_write_out() before a change keeps the order of both over a crash. */
bool sys_keeps_order(int fd);
/* Write the file's dirty data and wait until the device has it; it is not durable yet.
 * -EOPNOTSUPP where that cannot be asked for. */
int sys_write_out(int fd);

/* ---- Mounts ---- */

/* A private, read-only, detached clone of the mount at FD, rooted there (open_tree,
 * mount_setattr).  An O_PATH descriptor.  -EPERM and others without privilege: the caller goes
 * on with FD. */
int sys_clone_readonly(int fd);
/* Whether the kernel's overlayfs has directory FD in use as an upper or work directory, in any mount
 * namespace: 1, 0 or -errno.  Surely with privilege, as far as mount tables tell without. */
int sys_overlay_uses(int fd);

/* ---- Copying whole files: copy.c ---- */

/*
 * Copy the first SIZE bytes of IN (a regular file) to OUT (empty): a reflink of the whole
 * where the filesystem can and SIZE is all of it, else extents (SEEK_DATA) by copy_file_range,
 * else by reads and writes.  Holes stay holes, and OUT ends with size SIZE.  CANCELLED is
 * looked at between pieces of at most 1 MiB (64 MiB for copy_file_range): -EINTR.  *RET_COPIED
 * (may be NULL) gets the bytes copied (0 for a reflink).
 */
int sys_copy_data(int in, int out, uint64_t size, const _Atomic bool *cancelled,
		  uint64_t *ret_copied);

/* ---- Copying what else an object carries: copymeta.c ---- */

/*
 * Copy the extended attributes that WANT (NULL: all) agrees to.  Names as above, "" for the
 * descriptor.  What cannot be set is passed over where the target has no such attributes,
 * except security.* (but security.selinux) and POSIX ACLs; so are trusted.* without privilege
 * and user.* on special files.  An attribute that vanishes meanwhile is none.
 */
int sys_copy_xattrs(int from_dirfd, const char *from, int to_dirfd, const char *to,
		    bool (*want)(void *ctx, const char *name), void *ctx);
/*
 * Copy the inode flags that say how the object is kept (sync, noatime, nodump, compression,
 * ...; not immutable and append-only), project id and extent size.  Both descriptors are open,
 * not O_PATH.  To be called before data is written: an extent size cannot be set later.  What
 * the target's filesystem cannot keep or the caller may not set is passed over.
 */
int sys_copy_fileattr(int from_fd, int to_fd);

/* ---- Credentials of this thread ---- */

/*
 * Once per serving thread: its own umask (unshare CLONE_FS) and SECBIT_NO_SETUID_FIXUP, so
 * that the calls below change who owns what is created and nothing else.  Without privilege
 * only the umask.
 */
int sys_thread_init(void);
/* Act as this user and group for what is created; no call is made where they are the current
 * ones.  -EPERM, and nothing changed, if that cannot be. */
int sys_creds_enter(uid_t uid, gid_t gid);
void sys_creds_leave(void);
void sys_umask(mode_t mask);
/* Whether this thread may take other user ids (CAP_SETUID and CAP_SETGID in its user
 * namespace) and keep its capabilities while it does. */
bool sys_can_switch_ids(void);
/* Whether the process has CAP (CAP_SYS_ADMIN, ...) in the initial user namespace. */
bool sys_init_ns_capable(int cap);

#endif

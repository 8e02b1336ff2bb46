/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * liblamina: an overlay of directories as one tree, named by persistent ids.
 *
 * The interface is stateless: an operation names an object by its 64-bit id and says what to do.
 * Nothing is opened, nothing needs closing, and an id stays good over a restart of the process.
 * Every function returns 0 (or a count where it says so) or a negative errno.  All functions may
 * be called from any number of threads at once.  Out-parameters are untouched on failure.
 */
#ifndef LAMINA_LAMINA_H
#define LAMINA_LAMINA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The id of the root directory of every stack. */
#define LAM_ROOT_ID 1u

/* The longest name of one directory entry, in bytes, without a terminating NUL. */
#define LAM_NAME_MAX 255u

/* A stack of layers, shown as one tree.  Opaque. */
struct lam_stack;

/* Who asks.  Numbers are as the client sends them, before any id map of the stack. */
struct lam_cred {
	uint32_t uid;	/* file system user id */
	uint32_t gid;	/* file system group id */
	int32_t pid;	/* for messages only; 0 if unknown */
	uint32_t umask; /* applied to new objects where no default ACL rules */
};

/* One call into the library: who asks, and how to stop it. */
struct lam_call {
	struct lam_cred cred;
	/* If not NULL and it becomes true, a long copy stops with -EINTR and leaves no trace. */
	const atomic_bool *cancelled;
};

/* The attributes of an object, as statx(2) gives them. */
struct lam_attr {
	uint64_t ino;	 /* st_ino: constant for the life of the object, equal to d_ino */
	uint64_t size;	 /* bytes */
	uint64_t blocks; /* 512-byte units */
	struct timespec atime, mtime, ctime, btime;
	uint32_t mode;	/* type and permission bits */
	uint32_t nlink; /* 0 for an object that lost its last name */
	uint32_t uid, gid;
	uint32_t rdev_major, rdev_minor;
	uint32_t blksize;
	uint32_t attributes; /* STATX_ATTR_* (append, immutable, ...) */
	bool has_btime;
};

/* An object as a lookup finds it. */
struct lam_entry {
	uint64_t id;	     /* never 0 */
	uint32_t generation; /* tells an object from an earlier one with the same id */
	struct lam_attr attr;
};

/* ---- The stack: open, close, settings ---- */

enum lam_fsync {
	LAM_FSYNC_AUTO,	    /* data of copied-up files is durable before their name is */
	LAM_FSYNC_STRICT,   /* and so is every copied-up directory and metadata */
	LAM_FSYNC_VOLATILE, /* nothing is synced; work/incompat/volatile marks the layers */
};

enum lam_toggle { LAM_DEFAULT, LAM_OFF, LAM_ON };

enum lam_redirect {
	LAM_REDIRECT_DEFAULT,
	LAM_REDIRECT_ON,
	LAM_REDIRECT_FOLLOW,
	LAM_REDIRECT_NOFOLLOW,
	LAM_REDIRECT_OFF
};

enum lam_xino { LAM_XINO_DEFAULT, LAM_XINO_OFF, LAM_XINO_AUTO, LAM_XINO_ON };

/* One line of an id map: INSIDE (what clients of the stack see), OUTSIDE (what the layers
 * hold), and how many consecutive ids. */
struct lam_idmap_extent {
	uint32_t inside, outside, length;
};

struct lam_idmap {
	struct lam_idmap_extent *extents; /* NULL: identity */
	size_t n;
};

/* What to open.  All strings are borrowed for the duration of lam_stack_open(). */
struct lam_config {
	const char *const *lower; /* topmost first */
	size_t n_lower;
	const char *const *data_lower; /* data-only layers, searched by absolute redirects */
	size_t n_data_lower;
	const char *upper, *work; /* both or neither */
	/* NULL, or open directories to take instead of looking the paths up, which a mount may
	 * cover by now: of upper, work, each of LOWER, each of DATA_LOWER, in this order.  -1: the
	 * path after all.  They stay the caller's. */
	const int *dir_fds;
	bool read_only; /* refuse changes although there is an upper */

	enum lam_redirect redirect_dir;
	enum lam_toggle index, nfs_export, metacopy;
	enum lam_toggle userxattr;     /* user.overlay.* instead of trusted.overlay.* */
	enum lam_toggle dot_whiteouts; /* write `.wh.` files as whiteouts; default: only where
					 * the upper filesystem has no other kind */
	enum lam_xino xino;
	bool ino32; /* st_ino must fit 32 bits */
	enum lam_fsync fsync;

	struct lam_idmap uidmap, gidmap;
	bool squash_uid, squash_gid; /* everything seems to belong to squash_to_uid, _gid */
	uint32_t squash_to_uid, squash_to_gid;
	int xattr_permissions; /* 0; 1: user.containers.override_stat is read and
					 * written with privilege; 2: without */
	bool no_acl;	       /* POSIX ACLs are neither shown nor set */
	bool no_xattr;	       /* no extended attribute is shown or set */
	bool static_nlink;     /* st_nlink of directories is 1 */

	unsigned max_fds;	/* bound on cached descriptors; 0: from RLIMIT_NOFILE */
	unsigned max_nodes;	/* about how many objects to remember; 0: from the memory */
	size_t max_cache_bytes; /* bound on cached listings; 0: a default */
	uint64_t copy_behind; /* files of so many bytes and more are copied up behind their writer,
				 * which goes on; 0, UINT64_MAX: none.  Needs lam_info.resolves_files */
	bool watch_lower;     /* lower layers may change: do not rely on cached listings */
	bool takeover;	      /* another process served these layers until now, and its clients go
				 * on: what they still use is kept, orphans too */
};

/* What the probing at open found; for status output and for a front end's defaults. */
struct lam_info {
	bool writable;	     /* there is an upper and it is not read_only */
	bool privileged;     /* trusted.* xattrs and handle decoding are available */
	bool resolves_files; /* lam_resolve() works on a never-seen id of any object */
	bool index, nfs_export, metacopy, redirect;
	bool upper_tmpfile, upper_rename_whiteout, upper_xattr, upper_char_whiteout;
	unsigned n_lower, n_data_lower;
	unsigned n_filesystems;
	const char *xattr_prefix; /* "trusted.overlay." or "user.overlay."; static */
};

/* Messages of the library, one line each without a newline.  LEVEL is as in syslog(3).  May be
 * called from any thread, never with a lock held that a front end could want. */
typedef void (*lam_log_fn)(void *ctx, int level, const char *line);

/* Set the receiver of messages for the whole process.  NULL: messages are dropped. */
void lam_set_log(lam_log_fn fn, void *ctx);

/*
 * Open a stack: check the layers, lock the upper, clean what a killed process left behind.
 * The caller owns *RET and ends it with lam_stack_close().
 * Errors, each with a line to the log: -EINVAL (contradicting settings, bad layers), -ENOENT,
 * -ENOTDIR, -ELOOP (layers that overlap), -EBUSY (upper or work in use), -ESTALE (index of other
 * layers), -EROFS, -ENOMEM, or what the layers' filesystem returned.
 */
int lam_stack_open(const struct lam_config *config, struct lam_stack **ret);

/* Close a stack.  No other call may be under way.  NULL is allowed. */
void lam_stack_close(struct lam_stack *stack);

void lam_stack_info(const struct lam_stack *stack, struct lam_info *ret);

/* Switch between read-only and read-write, as mount -o remount.  Switching to read-only syncs the
 * upper filesystem.  -EROFS if there is no upper. */
int lam_stack_set_read_only(struct lam_stack *stack, bool read_only);

/*
 * A front end says here how it can be asked whether some client of it still refers to an id: an
 * object that loses its last name while in use is kept until lam_forget().  At most 4 may be set.
 */
typedef bool (*lam_in_use_fn)(void *ctx, uint64_t id);
int lam_stack_add_user(struct lam_stack *stack, lam_in_use_fn in_use, void *ctx);

/* The front end's clients no longer refer to ID: an orphan is removed, cached state may go. */
void lam_forget(struct lam_stack *stack, uint64_t id);

/*
 * Call FN for each orphan there is, one left by an earlier process (lam_config.takeover) included.
 * Whoever knows that none of its clients refers to one any more ends it with lam_resolve() and
 * lam_forget().
 */
int lam_orphans(struct lam_stack *stack, void (*fn)(void *ctx, uint64_t id), void *ctx);

/*
 * A secret of SIZE random bytes (at most 256) that lives as long as the upper layer: read from the
 * work directory, or made and kept there, for its owner's eyes only.  NAME has no slash.  -EROFS: the
 * stack has no work directory.  -EIO: what is there has another size.
 */
int lam_stack_secret(struct lam_stack *stack, const char *name, void *buf, size_t size);

/*
 * A descriptor of a file in the work directory for what a front end keeps from one run to the next, made
 * empty where there is none, for its owner's eyes only.  The caller closes it.  NAME has no slash.
 * -EROFS: the stack has no work directory.
 */
int lam_stack_file(struct lam_stack *stack, const char *name, int *ret_fd);

/* Counters since the stack was opened; for status output. */
struct lam_stats {
	uint64_t nodes, node_bytes;	  /* now */
	uint64_t fds;			  /* cached descriptors now */
	uint64_t listings, listing_bytes; /* cached merged directories now */
	uint64_t copyups, copyup_bytes;	  /* since open */
	uint64_t whiteouts, orphans;	  /* whiteouts made since open; orphans now */
	uint64_t node_hits, node_misses;  /* objects asked for by id that were in memory, or not */
	uint64_t fd_hits, fd_misses;	  /* the same of descriptors */
};
void lam_stack_stats(struct lam_stack *stack, struct lam_stats *ret);

/* ---- Finding objects ---- */

/* Look up NAME (one component, not "." or "..") in directory PARENT. -ENOENT, -ENOTDIR,
 * -ENAMETOOLONG, -ESTALE (PARENT is no more), -EIO. */
int lam_lookup(struct lam_stack *stack, const struct lam_call *call, uint64_t parent,
	       const char *name, struct lam_entry *ret);

/* The object with this id, without any earlier lookup.  -ESTALE if there is none (any more). */
int lam_resolve(struct lam_stack *stack, const struct lam_call *call, uint64_t id,
		struct lam_entry *ret);

/* The directory that holds directory ID; the root for the root. */
int lam_parent(struct lam_stack *stack, const struct lam_call *call, uint64_t id,
	       struct lam_entry *ret);

struct lam_dirent {
	const char *name; /* NUL terminated */
	size_t name_len;
	uint64_t ino;		       /* equal to the st_ino of the object */
	uint64_t cookie;	       /* where to go on after this entry; never 0, below 2^63 */
	uint32_t type;		       /* S_IFMT bits */
	const struct lam_entry *entry; /* with LAM_LIST_PLUS; NULL for ".", "..", where the object
					* could not be looked at, and with LAM_LIST_SPARSE */
};

/* Return true to go on, false if the entry was not taken (the listing ends before it). */
typedef bool (*lam_emit_fn)(void *ctx, const struct lam_dirent *dirent);

#define LAM_LIST_PLUS 1u /* fill in the entries, as a lookup of each would */
/* With LAM_LIST_PLUS: leave the entry out (NULL) of a non-directory whose name, type and number are
 * known without looking at it. */
#define LAM_LIST_SPARSE 2u

/*
 * List directory ID from COOKIE (0: the start) until EMIT declines or the end.  Cookies are a
 * function of names: they stay good when names come and go, and over a restart.  "." and ".."
 * come first.  No lock is held while EMIT runs.
 */
int lam_readdir(struct lam_stack *stack, const struct lam_call *call, uint64_t id, uint64_t cookie,
		unsigned flags, lam_emit_fn emit, void *ctx);

/* ---- Attributes ---- */

int lam_getattr(struct lam_stack *stack, const struct lam_call *call, uint64_t id,
		struct lam_attr *ret);

#define LAM_SET_MODE 0x001u
#define LAM_SET_UID 0x002u
#define LAM_SET_GID 0x004u
#define LAM_SET_SIZE 0x008u
#define LAM_SET_ATIME 0x010u
#define LAM_SET_MTIME 0x020u
#define LAM_SET_ATIME_NOW 0x040u
#define LAM_SET_MTIME_NOW 0x080u
#define LAM_SET_CTIME 0x100u	 /* accepted: the layer sets its own */
#define LAM_SET_KILL_PRIV 0x200u /* clear set-uid, set-gid, file capabilities */

/* Change what VALID names, from the fields of ATTR; *RET gets the result. */
int lam_setattr(struct lam_stack *stack, const struct lam_call *call, uint64_t id, unsigned valid,
		const struct lam_attr *attr, struct lam_attr *ret);

/* Read the target of a symlink into BUF (SIZE bytes, not NUL terminated); returns its length. */
ssize_t lam_readlink(struct lam_stack *stack, const struct lam_call *call, uint64_t id, char *buf,
		     size_t size);

/* Extended attributes, as getxattr(2) and the others; SIZE 0 asks for the length.  The
 * overlay's own attributes are hidden and escaped as the kernel's overlayfs does. */
ssize_t lam_getxattr(struct lam_stack *stack, const struct lam_call *call, uint64_t id,
		     const char *name, void *value, size_t size);
ssize_t lam_listxattr(struct lam_stack *stack, const struct lam_call *call, uint64_t id, char *list,
		      size_t size);

#define LAM_XATTR_CREATE 1u    /* as XATTR_CREATE */
#define LAM_XATTR_REPLACE 2u   /* as XATTR_REPLACE */
#define LAM_XATTR_KILL_SGID 4u /* setting an access ACL also clears set-gid */
int lam_setxattr(struct lam_stack *stack, const struct lam_call *call, uint64_t id,
		 const char *name, const void *value, size_t size, unsigned flags);
int lam_removexattr(struct lam_stack *stack, const struct lam_call *call, uint64_t id,
		    const char *name);

/* The attributes of FS_IOC_FSGETXATTR and FS_IOC_GETFLAGS. */
struct lam_fileattr {
	uint32_t flags;	 /* FS_*_FL, as FS_IOC_GETFLAGS */
	uint32_t xflags; /* FS_XFLAG_* */
	uint32_t extsize, nextents, projid, cowextsize;
	bool flags_valid; /* on set: FLAGS is meant (FS_IOC_SETFLAGS), else the rest */
};
int lam_get_fileattr(struct lam_stack *stack, const struct lam_call *call, uint64_t id,
		     struct lam_fileattr *ret);
int lam_set_fileattr(struct lam_stack *stack, const struct lam_call *call, uint64_t id,
		     const struct lam_fileattr *attr);
/* FS_IOC_GETVERSION: the generation of the inode. */
int lam_get_version(struct lam_stack *stack, const struct lam_call *call, uint64_t id,
		    uint32_t *ret);

struct lam_statfs {
	uint64_t blocks, bfree, bavail, files, ffree;
	uint32_t bsize, frsize, namelen;
};
int lam_statfs(struct lam_stack *stack, struct lam_statfs *ret);

/* ---- Names ---- */

/* Make a regular file (S_IFREG, empty), FIFO, socket or device node.  -EEXIST, -EPERM for a
 * character device 0:0, ... */
int lam_mknod(struct lam_stack *stack, const struct lam_call *call, uint64_t parent,
	      const char *name, uint32_t mode, uint32_t rdev_major, uint32_t rdev_minor,
	      struct lam_entry *ret);
int lam_mkdir(struct lam_stack *stack, const struct lam_call *call, uint64_t parent,
	      const char *name, uint32_t mode, struct lam_entry *ret);
int lam_symlink(struct lam_stack *stack, const struct lam_call *call, uint64_t parent,
		const char *name, const char *target, struct lam_entry *ret);
/* Give object ID one more name. */
int lam_link(struct lam_stack *stack, const struct lam_call *call, uint64_t id, uint64_t parent,
	     const char *name, struct lam_entry *ret);
/* Make a regular file without a name (nlink 0) that lam_link() may name; it goes at lam_forget(). */
int lam_tmpfile(struct lam_stack *stack, const struct lam_call *call, uint64_t parent,
		uint32_t mode, struct lam_entry *ret);
int lam_unlink(struct lam_stack *stack, const struct lam_call *call, uint64_t parent,
	       const char *name);
int lam_rmdir(struct lam_stack *stack, const struct lam_call *call, uint64_t parent,
	      const char *name);

#define LAM_RENAME_NOREPLACE 1u
#define LAM_RENAME_EXCHANGE 2u
int lam_rename(struct lam_stack *stack, const struct lam_call *call, uint64_t parent,
	       const char *name, uint64_t new_parent, const char *new_name, unsigned flags);

/* ---- Data ---- */

ssize_t lam_read(struct lam_stack *stack, const struct lam_call *call, uint64_t id, uint64_t off,
		 void *buf, size_t size);

#define LAM_WRITE_KILL_PRIV 1u /* clear set-uid, set-gid and capabilities */
#define LAM_WRITE_APPEND 2u    /* the file was opened with O_APPEND */
ssize_t lam_write(struct lam_stack *stack, const struct lam_call *call, uint64_t id, uint64_t off,
		  const void *buf, size_t size, unsigned flags);

/* MODE as fallocate(2).  -EOPNOTSUPP for what the upper filesystem does not know. */
int lam_fallocate(struct lam_stack *stack, const struct lam_call *call, uint64_t id, int mode,
		  uint64_t off, uint64_t len);
/* WHENCE is SEEK_DATA or SEEK_HOLE; returns the offset. */
int64_t lam_seek(struct lam_stack *stack, const struct lam_call *call, uint64_t id, uint64_t off,
		 int whence);
/* As copy_file_range(2); shares blocks where the filesystem can. */
ssize_t lam_copy_range(struct lam_stack *stack, const struct lam_call *call, uint64_t id_in,
		       uint64_t off_in, uint64_t id_out, uint64_t off_out, size_t len);
/* Make object ID (file or directory) durable.  DATA_ONLY as fdatasync(2). */
int lam_fsync(struct lam_stack *stack, const struct lam_call *call, uint64_t id, bool data_only);
/* Sync the upper filesystem. */
int lam_syncfs(struct lam_stack *stack);

/*
 * A new descriptor of the real file behind ID, for splicing or passthrough; the caller closes it.
 * With WRITE the file is copied up first and the descriptor is read-write; without, it is
 * read-only, and *RET_LOWER tells whether a later copy-up will leave it behind.
 */
int lam_backing(struct lam_stack *stack, const struct lam_call *call, uint64_t id, bool write,
		int *ret_fd, bool *ret_lower);

#ifdef __cplusplus
}
#endif
#endif

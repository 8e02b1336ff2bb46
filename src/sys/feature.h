/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside sys/ only: which newer calls this kernel lacks, and the frame of every system call.
 *
 * A feature that answered ENOSYS is remembered for the life of the process and not tried again.
 * sys_disable() sets the same flags.
 */
#ifndef SYS_FEATURE_H
#define SYS_FEATURE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "sys/sys.h"

enum feature {
	FEATURE_OPENAT2,
	FEATURE_STATX,
	FEATURE_MOUNT_ID, /* STATX_MNT_ID */
	FEATURE_FSUUID,	  /* FS_IOC_GETFSUUID */
	FEATURE_XATTRAT,
	FEATURE_XATTR, /* any extended attribute at all */
	FEATURE_FCHMODAT2,
	FEATURE_UTIMENS_EMPTY, /* utimensat with AT_EMPTY_PATH */
	FEATURE_LINK_EMPTY,    /* linkat with AT_EMPTY_PATH */
	FEATURE_COPY_FILE_RANGE,
	FEATURE_FICLONE,
	FEATURE_SEEK_DATA,
	FEATURE_FALLOCATE,
	FEATURE_RENAMEAT2,
	FEATURE_RENAME_WHITEOUT,
	FEATURE_RENAME_EXCHANGE,
	FEATURE_TMPFILE,
	FEATURE_CHAR_DEVICE, /* mknod of character devices */
	FEATURE_NAME_TO_HANDLE,
	FEATURE_OPEN_TREE,
	FEATURE_FILEATTR, /* FS_IOC_GETFLAGS and alike */
	FEATURE_PROC,	  /* /proc/self/fd */
	FEATURE_DTYPE,	  /* types in directory listings */
	FEATURE_COUNT,
};

extern atomic_bool feature_missing[FEATURE_COUNT];

static inline bool feature_present(enum feature f)
{
	return !atomic_load_explicit(&feature_missing[f], memory_order_relaxed);
}

static inline void feature_forget(enum feature f)
{
	atomic_store_explicit(&feature_missing[f], true, memory_order_relaxed);
}

static inline int fault_before(const char *name, bool mutates)
{
	sys_fault_fn hook = sys_fault_hook;

	return __builtin_expect(hook != NULL, 0) ? hook(name, mutates, false) : 0;
}

/* The call is done and cannot be taken back, so the answer is not used. */
static inline void fault_after(const char *name)
{
	sys_fault_fn hook = sys_fault_hook;

	if (__builtin_expect(hook != NULL, 0))
		(void)hook(name, true, true);
}

/* Make a call that returns -1 and sets errno; -errno or its result.  Repeats on EINTR. */
#define SYS_RETRY(call)                             \
	__extension__({                             \
		long ret_;                          \
		do                                  \
			ret_ = (long)(call);        \
		while (ret_ < 0 && errno == EINTR); \
		ret_ < 0 ? -(long)errno : ret_;     \
	})

/* The same with the fault hook before it, and after it if it changed something. */
#define SYS_CALL(name, mutates, call)                        \
	__extension__({                                      \
		long res_ = fault_before((name), (mutates)); \
		if (res_ == 0) {                             \
			res_ = SYS_RETRY(call);              \
			if ((mutates) && res_ >= 0)          \
				fault_after(name);           \
		}                                            \
		res_;                                        \
	})

/* "/proc/self/fd/N": the way to name the file behind any descriptor. */
struct proc_path {
	char text[32];
};
/* False if the feature is switched off: then nothing there can be found. */
bool proc_path_of(int fd, struct proc_path *ret);

#endif

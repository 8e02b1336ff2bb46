/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The fault hook and the table of features.  The hook is set while only one thread runs; the flags
 * are atomic, and only ever a hint: a thread that misses one gets ENOSYS and falls back itself.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/seam.h"
#include "sys/feature.h"

sys_fault_fn sys_fault_hook;

atomic_bool feature_missing[FEATURE_COUNT];

static const char *const feature_names[FEATURE_COUNT] = {
	[FEATURE_OPENAT2] = "openat2",
	[FEATURE_STATX] = "statx",
	[FEATURE_MOUNT_ID] = "mount_id",
	[FEATURE_FSUUID] = "fsuuid",
	[FEATURE_XATTRAT] = "xattrat",
	[FEATURE_XATTR] = "xattr",
	[FEATURE_FCHMODAT2] = "fchmodat2",
	[FEATURE_UTIMENS_EMPTY] = "utimens_empty",
	[FEATURE_LINK_EMPTY] = "link_empty",
	[FEATURE_COPY_FILE_RANGE] = "copy_file_range",
	[FEATURE_FICLONE] = "ficlone",
	[FEATURE_SEEK_DATA] = "seek_data",
	[FEATURE_FALLOCATE] = "fallocate",
	[FEATURE_RENAMEAT2] = "renameat2",
	[FEATURE_RENAME_WHITEOUT] = "rename_whiteout",
	[FEATURE_RENAME_EXCHANGE] = "rename_exchange",
	[FEATURE_TMPFILE] = "tmpfile",
	[FEATURE_CHAR_DEVICE] = "char_device",
	[FEATURE_NAME_TO_HANDLE] = "name_to_handle",
	[FEATURE_OPEN_TREE] = "open_tree",
	[FEATURE_FILEATTR] = "fileattr",
	[FEATURE_PROC] = "proc",
	[FEATURE_DTYPE] = "d_type",
};

#ifdef LAMINA_FAULT_SEAM
__attribute__((constructor)) static void forget_what_is_to_miss(void)
{
	seam_check("", feature_names, FEATURE_COUNT);
	for (unsigned i = 0; i < FEATURE_COUNT; i++)
		if (seam_without(feature_names[i]))
			feature_forget((enum feature)i);
}
#endif

void sys_disable(const char *feature)
{
	unsigned i = 0;

	while (i < FEATURE_COUNT && strcmp(feature_names[i], feature) != 0)
		i++;
	CHECK(i < FEATURE_COUNT);
	feature_forget((enum feature)i);
}

void sys_enable_all(void)
{
	for (unsigned i = 0; i < FEATURE_COUNT; i++)
		atomic_store_explicit(&feature_missing[i], false, memory_order_relaxed);
}

bool proc_path_of(int fd, struct proc_path *ret)
{
	if (!feature_present(FEATURE_PROC))
		return false;
	(void)snprintf(ret->text, sizeof(ret->text), "/proc/self/fd/%d", fd); /* always fits */
	return true;
}

bool sys_path_fds_lead(void)
{
	return feature_present(FEATURE_PROC) &&
	       SYS_RETRY(faccessat(AT_FDCWD, "/proc/self/fd", F_OK, 0)) == 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whom the calling thread acts for.  The system calls are made directly: the C library's wrappers
 * of this kind may act on every thread of the process.  The record is per thread and takes no lock.
 */
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"
#include "sys/feature.h"

#ifdef SYS_setfsuid32
#define NR_SETFSUID SYS_setfsuid32
#define NR_SETFSGID SYS_setfsgid32
#else
#define NR_SETFSUID SYS_setfsuid
#define NR_SETFSGID SYS_setfsgid
#endif

/* The inode number of the initial user namespace, fixed by the kernel (USER_NS_INIT_INO). */
#define INIT_USER_NS_INO 0xeffffffdu

/* No id: setfsuid(-1) changes nothing and says what is. */
#define NO_ID UINT32_MAX

struct creds {
	bool known;
	uid_t base_uid, uid;
	gid_t base_gid, gid;
};

static _Thread_local struct creds creds;

static uint32_t set_fsuid(uint32_t uid)
{
	return (uint32_t)syscall(NR_SETFSUID, uid);
}

static uint32_t set_fsgid(uint32_t gid)
{
	return (uint32_t)syscall(NR_SETFSGID, gid);
}

static void creds_init(void)
{
	if (creds.known)
		return;
	creds.base_uid = creds.uid = set_fsuid(NO_ID);
	creds.base_gid = creds.gid = set_fsgid(NO_ID);
	creds.known = true;
}

/* These calls have no error: whether one took effect shows in what the next one returns. */
static int creds_set(uid_t uid, gid_t gid)
{
	if (gid != creds.gid) {
		(void)set_fsgid(gid);
		if (set_fsgid(NO_ID) != gid)
			return -EPERM;
		creds.gid = gid;
	}
	if (uid != creds.uid) {
		(void)set_fsuid(uid);
		if (set_fsuid(NO_ID) != uid)
			return -EPERM;
		creds.uid = uid;
	}
	return 0;
}

int sys_creds_enter(uid_t uid, gid_t gid)
{
	int r = fault_before("creds", false);

	if (r < 0)
		return r;
	if (uid == NO_ID || gid == NO_ID)
		return -EINVAL;
	creds_init();
	r = creds_set(uid, gid);
	if (r < 0)
		sys_creds_leave();
	return r;
}

void sys_creds_leave(void)
{
	/* To go on under a stranger's name would give files to the wrong user. */
	if (creds.known)
		CHECK(creds_set(creds.base_uid, creds.base_gid) == 0);
}

int sys_thread_init(void)
{
	long bits;

	/* Whatever the process was when a record was first made, this is what the thread is now. */
	CHECK(creds.uid == creds.base_uid && creds.gid == creds.base_gid);
	creds.known = false;
	creds_init();
	if (unshare(CLONE_FS) < 0)
		return -errno;
	bits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
	if (bits < 0)
		return -errno;
	if (bits & SECBIT_NO_SETUID_FIXUP)
		return 0;
	/* Without CAP_SETPCAP there are no other ids to take either: see sys_can_switch_ids(). */
	(void)prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP, 0, 0, 0);
	return 0;
}

void sys_umask(mode_t mask)
{
	(void)umask(mask);
}

static bool capable(int cap)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (cap < 0 || cap > CAP_LAST_CAP)
		return false;
	if (syscall(SYS_capget, &head, data) < 0)
		return false;
	return data[CAP_TO_INDEX((unsigned)cap)].effective & CAP_TO_MASK((unsigned)cap);
}

bool sys_can_switch_ids(void)
{
	long bits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);

	if (!capable(CAP_SETUID) || !capable(CAP_SETGID))
		return false;
	/* Root that could not set the bit would lose its other capabilities with its id. */
	return set_fsuid(NO_ID) != 0 || (bits >= 0 && (bits & SECBIT_NO_SETUID_FIXUP)) ||
	       capable(CAP_SETPCAP);
}

bool sys_init_ns_capable(int cap)
{
	struct stat st;

	return capable(cap) && stat("/proc/self/ns/user", &st) == 0 &&
	       st.st_ino == INIT_USER_NS_INO;
}

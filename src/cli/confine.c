/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a serving process gives away: capabilities that no layer needs, and system calls that serving
 * does not make.  A mistake in the decoding of a request is then no way to a program, another process or
 * the network.
 *
 * The filter names what is allowed.  All else is answered by ENOSYS, as by a kernel that has not got the
 * call, for which there is a fall-back where the C library or the engine tries what is new; builds for
 * tests (lock_ranks) end with SIGSYS instead, so that a call that was forgotten here is seen.
 */
#include "cli/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/check.h"
#include "lamina-config.h"

#ifdef LAMINA_SECCOMP
#include <sched.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#endif

/* ---- Capabilities ---- */

static const unsigned char kept[] = {
	/* Owners, modes and contents in the layers are whoever's they are. */
	CAP_CHOWN,
	CAP_DAC_OVERRIDE,
	CAP_DAC_READ_SEARCH, /* handles, too */
	CAP_FOWNER,
	CAP_FSETID,
	CAP_MKNOD,
	CAP_SETFCAP,
	CAP_LINUX_IMMUTABLE,
	CAP_MAC_ADMIN,	  /* labels that the host's policy does not know */
	CAP_MAC_OVERRIDE, /* Smack's labels */
	CAP_SYS_RESOURCE, /* reserved blocks, as the kernel's overlayfs may take them */
	/* Who owns what is created. */
	CAP_SETUID,
	CAP_SETGID,
	/* trusted.* attributes, passthrough, clones of mounts, mounting and unmounting. */
	CAP_SYS_ADMIN,
};

static bool is_kept(const struct confine_needs *needs, unsigned cap)
{
	for (size_t i = 0; i < ARRAY_LEN(kept); i++)
		if (kept[i] == cap)
			return true;
	return (needs->nfs && cap == CAP_NET_BIND_SERVICE) ||
	       (needs->io_uring && cap == CAP_IPC_LOCK);
}

void confine_capabilities(const struct confine_needs *needs)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
	long bits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);

	/* Whoever may not has none of these to give away; then these calls fail and change nothing.  The
	 * bit is what serving threads set, who could not after this. */
	if (bits >= 0)
		(void)prctl(PR_SET_SECUREBITS, bits | SECBIT_NO_SETUID_FIXUP, 0, 0, 0);
	for (unsigned cap = 0; cap <= CAP_LAST_CAP; cap++) {
		if (!is_kept(needs, cap))
			(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	}
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capget, &head, data) < 0)
		return;
	for (unsigned cap = 0; cap < 32 * _LINUX_CAPABILITY_U32S_3; cap++) {
		struct __user_cap_data_struct *d = &data[CAP_TO_INDEX(cap)];

		if (cap <= CAP_LAST_CAP && is_kept(needs, cap))
			continue;
		d->permitted &= ~CAP_TO_MASK(cap);
		d->effective &= ~CAP_TO_MASK(cap);
	}
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		data[i].inheritable = 0;
	(void)syscall(SYS_capset, &head, data); /* to have fewer is always allowed */
}

/* ---- System calls ---- */

#ifndef LAMINA_SECCOMP

int confine_calls(const struct confine_needs *needs)
{
	(void)needs;
	return 0;
}

#else

#ifdef LAMINA_LOCK_RANKS
#define REFUSAL SCMP_ACT_TRAP
#else
#define REFUSAL SCMP_ACT_ERRNO(ENOSYS)
#endif

/* By name, as an older libseccomp knows fewer numbers; the numbers of the newest are below. */
static const char *const allowed[] = {
	/* Names and attributes. */
	"openat",
	"open",
	"openat2",
	"close",
	"close_range",
	"mkdirat",
	"mknodat",
	"symlinkat",
	"linkat",
	"unlinkat",
	"unlink",
	"rmdir",
	"renameat",
	"renameat2",
	"readlink",
	"readlinkat",
	"fstat",
	"fstat64",
	"stat",
	"stat64",
	"lstat",
	"lstat64",
	"newfstatat",
	"fstatat64",
	"statx",
	"fstatfs",
	"fstatfs64",
	"statfs",
	"statfs64",
	"getdents64",
	"access",
	"faccessat",
	"faccessat2",
	"fchmod",
	"fchmodat",
	"fchmodat2",
	"fchown",
	"fchown32",
	"fchownat",
	"utimensat",
	"utimensat_time64",
	"getxattr",
	"lgetxattr",
	"fgetxattr",
	"listxattr",
	"llistxattr",
	"flistxattr",
	"setxattr",
	"lsetxattr",
	"fsetxattr",
	"removexattr",
	"lremovexattr",
	"fremovexattr",
	"name_to_handle_at",
	"open_by_handle_at",
	/* The same without a directory's descriptor: ways through /proc on older kernels. */
	"chmod",
	"chown",
	"chown32",
	"lchown",
	"lchown32",
	"link",
	"symlink",
	"mkdir",
	"mknod",
	"rename",
	"truncate",
	"truncate64",
	/* Data. */
	"read",
	"write",
	"pread64",
	"pwrite64",
	"readv",
	"writev",
	"preadv",
	"pwritev",
	"preadv2",
	"pwritev2",
	"lseek",
	"_llseek",
	"ftruncate",
	"ftruncate64",
	"fallocate",
	"copy_file_range",
	"fsync",
	"fdatasync",
	"syncfs",
	"sync_file_range",
	"sync_file_range2",
	"splice",
	"tee",
	"vmsplice",
	"sendfile",
	"sendfile64",
	"fadvise64",
	"fadvise64_64",
	"readahead",
	"flock",
	/* Descriptors and waiting. */
	"fcntl",
	"fcntl64",
	"dup",
	"dup2",
	"dup3",
	"pipe",
	"pipe2",
	"poll",
	"ppoll",
	"ppoll_time64",
	"select",
	"_newselect",
	"pselect6",
	"pselect6_time64",
	"epoll_create",
	"epoll_create1",
	"epoll_ctl",
	"epoll_wait",
	"epoll_pwait",
	"epoll_pwait2",
	"eventfd",
	"eventfd2",
	"timerfd_create",
	"timerfd_settime",
	"timerfd_settime64",
	"timerfd_gettime",
	"signalfd4",
	"inotify_init1",
	"inotify_add_watch",
	"inotify_rm_watch",
	"memfd_create",
	/* Whom a thread acts for. */
	"umask",
	"setfsuid",
	"setfsuid32",
	"setfsgid",
	"setfsgid32",
	"capget",
	"getuid",
	"getuid32",
	"geteuid",
	"geteuid32",
	"getgid",
	"getgid32",
	"getegid",
	"getegid32",
	"prctl",
	/* Clients by NFS, the log, the supervisor, `lamina status` (whose name an earlier server may
	 * have had at first). */
	"bind",
	"listen",
	"accept",
	"accept4",
	"recv",
	"recvfrom",
	"recvmsg",
	"recvmmsg",
	"send",
	"sendto",
	"sendmsg",
	"sendmmsg",
	"shutdown",
	"getsockopt",
	"setsockopt",
	"getsockname",
	"getpeername",
	"connect",
	/* Threads, memory, time, signals. */
	"exit",
	"exit_group",
	"futex",
	"futex_time64",
	"futex_waitv",
	"set_robust_list",
	"get_robust_list",
	"rseq",
	"set_tid_address",
	"gettid",
	"getpid",
	"getppid",
	"tgkill",
	"tkill",
	"kill",
	"membarrier",
	"mmap",
	"mmap2",
	"munmap",
	"mprotect",
	"mremap",
	"madvise",
	"brk",
	"mlock",
	"munlock",
	"mincore",
	"sched_yield",
	"sched_getaffinity",
	"sched_setaffinity",
	"sched_getparam",
	"sched_getscheduler",
	"getcpu",
	"getpriority",
	"getrlimit",
	"ugetrlimit",
	"getrusage",
	"sysinfo",
	"uname",
	"getrandom",
	"clock_gettime",
	"clock_gettime64",
	"clock_getres",
	"clock_getres_time64",
	"clock_nanosleep",
	"clock_nanosleep_time64",
	"nanosleep",
	"gettimeofday",
	"time",
	"rt_sigaction",
	"rt_sigprocmask",
	"rt_sigreturn",
	"sigreturn",
	"rt_sigtimedwait",
	"rt_sigtimedwait_time64",
	"rt_sigpending",
	"rt_sigsuspend",
	"sigaltstack",
	"restart_syscall",
	"wait4",
	"waitid",
	"waitpid",
	/* The end. */
	"umount2",
};

/* Linux 6.13; the same numbers everywhere but on alpha, which libseccomp does not know. */
enum { NR_SETXATTRAT = 463, NR_REMOVEXATTRAT = 466 };

static const char *const ring_calls[] = { "io_uring_setup", "io_uring_enter", "io_uring_register" };

static int allow(scmp_filter_ctx f, const char *const *names, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		int nr = seccomp_syscall_resolve_name(names[i]);

		/* Not on this architecture, or newer than the library: then it is answered as not there. */
		if (nr >= 0)
			r = seccomp_rule_add(f, SCMP_ACT_ALLOW, nr, 0);
	}
	return r;
}

/* Calls of which only some uses are allowed. */
static int allow_some(scmp_filter_ctx f)
{
	const uint64_t thread = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
	int r;

	/* A thread, not a process.  What clone3 asks for cannot be seen: the C library then uses clone. */
	r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
			     SCMP_A0(SCMP_CMP_MASKED_EQ, thread, thread));
	if (r == 0)
		r = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (r == -EACCES) /* it is the answer already */
		r = 0;
	/* A umask of its own for each thread, not a namespace. */
	if (r == 0)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(unshare), 1,
				     SCMP_A0(SCMP_CMP_EQ, CLONE_FS, 0));
	/* The log, when its server was started again. */
	if (r == 0)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_EQ, AF_UNIX, 0));
	/* Its own limits may be looked at. */
	if (r == 0)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2,
				     SCMP_A0(SCMP_CMP_EQ, 0, 0), SCMP_A2(SCMP_CMP_EQ, 0, 0));
	/* Any question to a filesystem or to FUSE, but no typing into a terminal. */
	if (r == 0)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
				     SCMP_A1(SCMP_CMP_NE, TIOCSTI, 0));
	return r;
}

static int allow_all(scmp_filter_ctx f, const struct confine_needs *needs)
{
	int r = allow(f, allowed, ARRAY_LEN(allowed));

	for (int nr = NR_SETXATTRAT; nr <= NR_REMOVEXATTRAT && r == 0; nr++)
		r = seccomp_rule_add(f, SCMP_ACT_ALLOW, nr, 0);
	if (r == 0 && needs->io_uring)
		r = allow(f, ring_calls, ARRAY_LEN(ring_calls));
	return r == 0 ? allow_some(f) : r;
}

int confine_calls(const struct confine_needs *needs)
{
	scmp_filter_ctx f = seccomp_init(REFUSAL);
	int r;

	if (!f)
		return -ENOMEM;
	/* Also the threads that run already; no_new_privs is set for all of them, by the way. */
	r = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
	if (r == 0)
		r = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (r == 0)
		r = allow_all(f, needs);
	if (r == 0)
		r = seccomp_load(f);
	seccomp_release(f);
	return r;
}

#endif

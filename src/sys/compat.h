/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What older headers lack: numbers of system calls and ioctls, and their structures.  The kernel
 * that the program runs on may be newer or older than the headers it was built with, so every one
 * of these is probed at run time (feature.h).
 */
#ifndef SYS_COMPAT_H
#define SYS_COMPAT_H

#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

/* These numbers are the same on every architecture but alpha, where they lie 110 higher. */
#ifdef __alpha__
#define COMPAT_NR(n) ((n) + 110)
#else
#define COMPAT_NR(n) (n)
#endif

#ifndef SYS_fchmodat2 /* Linux 6.6 */
#define SYS_fchmodat2 COMPAT_NR(452)
#endif
#ifndef SYS_setxattrat /* Linux 6.13 */
#define SYS_setxattrat COMPAT_NR(463)
#define SYS_getxattrat COMPAT_NR(464)
#define SYS_listxattrat COMPAT_NR(465)
#define SYS_removexattrat COMPAT_NR(466)
#endif

/* struct xattr_args of <linux/xattr.h> */
struct compat_xattr_args {
	uint64_t value;
	uint32_t size;
	uint32_t flags;
};

/* FS_IOC_GETFSUUID, Linux 6.9, any filesystem */
struct compat_fsuuid2 {
	uint8_t len;
	uint8_t uuid[16];
};
#define COMPAT_IOC_GETFSUUID _IOR(0x15, 0, struct compat_fsuuid2)

/* EXT4_IOC_GETFSUUID, Linux 6.0.  The number is made from the structure without its array. */
struct compat_ext4_fsuuid {
	uint32_t len;
	uint32_t flags;
	uint8_t uuid[16];
};
#define COMPAT_EXT4_IOC_GETFSUUID _IOC(_IOC_READ, 'f', 44, 8)

/* XFS_IOC_FSGEOMETRY_V1, every Linux that has xfs */
struct compat_xfs_geometry {
	uint32_t sizes[8];
	uint64_t counts[4];
	uint8_t uuid[16];
	uint32_t more[7];
	uint32_t pad;
};
#define COMPAT_XFS_IOC_FSGEOMETRY _IOR('X', 100, struct compat_xfs_geometry)

_Static_assert(sizeof(struct compat_fsuuid2) == 17, "layout of FS_IOC_GETFSUUID");
_Static_assert(sizeof(struct compat_xfs_geometry) == 112, "layout of XFS_IOC_FSGEOMETRY_V1");

/* 6.5: a handle for comparing only. */
#ifndef AT_HANDLE_FID
#define AT_HANDLE_FID 0x200
#endif

#endif

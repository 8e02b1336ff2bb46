/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Attaching to the tree of mounts: directly where that is permitted, else through fusermount3, or
 * by a descriptor that somebody else has mounted.
 *
 * The layers may lie under the mountpoint, so its path is made absolute before and nothing looks
 * below it afterwards.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/parse.h"
#include "helper.h"

/* "/dev/fd/N": the number, or -1. */
static int mounted_fd(const char *mountpoint)
{
	uint32_t n;

	if (strncmp(mountpoint, "/dev/fd/", 8) != 0 || parse_u32(mountpoint + 8, &n) < 0 ||
	    n > INT_MAX)
		return -1;
	return (int)n;
}

static int adopt(struct fuse_front *front, int fd)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0) {
		int r = -errno;

		log_error("descriptor %d is not open: %s", fd, log_errno(r));
		return r;
	}
	front->fd = fd;
	return 0;
}

static const char *subtype_of(const struct fuse_front_config *config)
{
	return config->subtype ? config->subtype : "lamina";
}

static const char *fsname_of(const struct fuse_front_config *config)
{
	return config->fsname ? config->fsname : subtype_of(config);
}

/* Options that are the same for mount(2) and for the helper, each with a comma before it. */
static int common_options(const struct fuse_front_config *config, char **ret)
{
	int n = asprintf(ret, "%s%s%s%s",
			 config->allow_other || config->allow_root ? ",allow_other" : "",
			 config->default_permissions ? ",default_permissions" : "",
			 config->extra_options && *config->extra_options ? "," : "",
			 config->extra_options ? config->extra_options : "");

	return n < 0 ? -ENOMEM : 0;
}

static unsigned long flags_of(const struct fuse_front_config *config)
{
	return config->mount_flags | (config->read_only ? MS_RDONLY : 0);
}

static int mount_direct(struct fuse_front *front, const struct fuse_front_config *config)
{
	char *common CLEANUP_FREE = NULL;
	char *options CLEANUP_FREE = NULL;
	char *type CLEANUP_FREE = NULL;
	int fd CLEANUP_CLOSE = -1;
	int r;

	fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = common_options(config, &common);
	if (r < 0)
		return r;
	if (asprintf(&options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u%s", fd, getuid(),
		     getgid(), common) < 0) {
		options = NULL;
		return -ENOMEM;
	}
	if (asprintf(&type, "fuse.%s", subtype_of(config)) < 0) {
		type = NULL;
		return -ENOMEM;
	}
	if (mount(fsname_of(config), front->mountpoint, type, flags_of(config), options) < 0)
		return -errno;
	front->fd = TAKE_FD(fd);
	return 0;
}

/* Flags that the helper takes by name.  It sets nosuid and nodev by itself for ordinary users. */
static const struct {
	unsigned long flag;
	const char *name;
} helper_flags[] = {
	{ MS_RDONLY, "ro" },	   { MS_NOSUID, "nosuid" },   { MS_NODEV, "nodev" },
	{ MS_NOEXEC, "noexec" },   { MS_NOATIME, "noatime" }, { MS_SYNCHRONOUS, "sync" },
	{ MS_DIRSYNC, "dirsync" },
};

/* Add a name to an option list as the helper wants it: commas and backslashes are escaped. */
static void put_escaped(FILE *f, const char *s)
{
	for (; *s; s++) {
		if (*s == ',' || *s == '\\')
			(void)fputc('\\', f); /* errors show at fclose() */
		(void)fputc(*s, f);
	}
}

static int helper_options(const struct fuse_front_config *config, char **ret)
{
	char *common CLEANUP_FREE = NULL;
	char *text = NULL;
	size_t len = 0;
	FILE *f;
	int r;

	r = common_options(config, &common);
	if (r < 0)
		return r;
	f = open_memstream(&text, &len);
	if (!f)
		return -ENOMEM;
	(void)fputs("subtype=", f); /* errors show at fclose() */
	put_escaped(f, subtype_of(config));
	(void)fputs(",fsname=", f);
	put_escaped(f, fsname_of(config));
	for (size_t i = 0; i < sizeof(helper_flags) / sizeof(helper_flags[0]); i++) {
		if (flags_of(config) & helper_flags[i].flag)
			(void)fprintf(f, ",%s", helper_flags[i].name);
	}
	(void)fputs(common, f);
	if (fclose(f) != 0) {
		free(text);
		return -ENOMEM;
	}
	*ret = text;
	return 0;
}

static int mount_by_helper(struct fuse_front *front, const struct fuse_front_config *config)
{
	char *options CLEANUP_FREE = NULL;
	int r;

	r = helper_options(config, &options);
	if (r < 0)
		return r;
	r = helper_mount(front->mountpoint, options, &front->fd);
	if (r == 0)
		front->by_helper = true;
	return r;
}

static void explain(const char *mountpoint, int r)
{
	if (r == -ENODEV)
		log_error("cannot mount on %s: this kernel has no FUSE", QUOTE(mountpoint));
	else if (r == -EINVAL)
		log_error("cannot mount on %s: the kernel refuses an option", QUOTE(mountpoint));
	else
		log_error("cannot mount on %s: %s", QUOTE(mountpoint), log_errno(r));
}

int mount_attach(struct fuse_front *front, const struct fuse_front_config *config)
{
	struct stat st;
	int fd, r;

	fd = mounted_fd(config->mountpoint);
	if (fd >= 0)
		return adopt(front, fd);

	front->mountpoint = realpath(config->mountpoint, NULL);
	if (!front->mountpoint || stat(front->mountpoint, &st) < 0) {
		r = -errno;
		log_error("mountpoint %s: %s", QUOTE(config->mountpoint), log_errno(r));
		return r;
	}
	if (!S_ISDIR(st.st_mode)) {
		log_error("mountpoint %s is not a directory", QUOTE(config->mountpoint));
		return -ENOTDIR;
	}
	r = mount_direct(front, config);
	if (r == -EPERM || r == -EACCES)
		return mount_by_helper(front, config);
	if (r < 0)
		explain(config->mountpoint, r == -ENOENT ? -ENODEV : r);
	return r;
}

void mount_detach(struct fuse_front *front)
{
	int r = 0;

	if (!front->mountpoint)
		return;
	if (front->by_helper) {
		if (front->unmounter.fd < 0) /* not serving yet */
			(void)helper_stand_by(front->mountpoint, &front->unmounter);
		r = helper_umount(&front->unmounter);
	} else if (umount2(front->mountpoint, MNT_DETACH | UMOUNT_NOFOLLOW) < 0) {
		r = -errno;
	}
	/* EINVAL, ENOENT: somebody else took it away meanwhile. */
	if (r < 0 && r != -EINVAL && r != -ENOENT)
		log_warning("cannot unmount %s: %s", QUOTE(front->mountpoint), log_errno(r));
}

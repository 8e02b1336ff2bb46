/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mountfd MOUNTPOINT PROGRAM [ARGUMENT...]: mounts a FUSE filesystem itself and runs PROGRAM with
 * the descriptor of /dev/fuse as number 3, as launchers do that keep the right to mount to
 * themselves.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	char options[128];
	struct stat st;
	int fd;

	if (argc < 3)
		errx(2, "usage: mountfd MOUNTPOINT PROGRAM [ARGUMENT...]");
	if (stat(argv[1], &st) < 0)
		err(2, "%s", argv[1]);
	fd = open("/dev/fuse", O_RDWR);
	if (fd < 0)
		err(2, "/dev/fuse");
	if (fd != 3 && (dup2(fd, 3) < 0 || close(fd) < 0))
		err(2, "dup2");
	snprintf(options, sizeof(options),
		 "fd=3,rootmode=%o,user_id=%u,group_id=%u,allow_other,default_permissions",
		 st.st_mode & S_IFMT, getuid(), getgid());
	if (mount("launcher", argv[1], "fuse.launcher", MS_NODEV | MS_NOSUID, options) < 0)
		err(2, "mount on %s", argv[1]);
	execvp(argv[2], argv + 2);
	err(2, "%s", argv[2]);
}

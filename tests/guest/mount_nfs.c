/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mount_nfs SERVER PATH PORT DIR: mount(2) of NFSv3 without helpers, for a guest that has none. */
#include <stdio.h>
#include <sys/mount.h>

int main(int argc, char **argv)
{
	char source[256], options[512];

	if (argc != 5)
		return 2;
	(void)snprintf(source, sizeof(source), "%s:%s", argv[1], argv[2]);
	(void)snprintf(options, sizeof(options),
		       "addr=%s,vers=3,proto=tcp,port=%s,mountaddr=%s,mountvers=3,mountproto=tcp,"
		       "mountport=%s,nolock,hard,actimeo=0,lookupcache=none",
		       argv[1], argv[3], argv[1], argv[3]);
	if (mount(source, argv[4], "nfs", 0, options) < 0) {
		perror("mount_nfs");
		return 1;
	}
	return 0;
}

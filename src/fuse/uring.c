/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "internal.h"

#include <errno.h>

bool uring_usable(void)
{
	return false;
}

unsigned uring_queues(void)
{
	return 0;
}

int uring_start(struct fuse_front *front, struct slot *slots, pthread_t *threads)
{
	(void)front;
	(void)slots;
	(void)threads;
	return -EOPNOTSUPP;
}

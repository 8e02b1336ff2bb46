/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory and descriptors that free themselves when they go out of scope. */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_freep(void *p)
{
	free(*(void **)p);
}

/* Closes and keeps errno: clean-up must not change the error on its way out. */
static inline void cleanup_closep(const int *fd)
{
	if (*fd >= 0) {
		int saved = errno;

		(void)close(*fd); /* nothing was written through it that close could report */
		errno = saved;
	}
}

#define CLEANUP_FREE __attribute__((cleanup(cleanup_freep)))
#define CLEANUP_CLOSE __attribute__((cleanup(cleanup_closep)))

/* Take a descriptor or pointer out of its variable: the new holder owns it. */
#define TAKE_FD(fd)                \
	__extension__({            \
		int *fdp_ = &(fd); \
		int fd_ = *fdp_;   \
		*fdp_ = -1;        \
		fd_;               \
	})

#define TAKE_PTR(ptr)                          \
	__extension__({                        \
		__typeof__(ptr) *pp_ = &(ptr); \
		__typeof__(ptr) p_ = *pp_;     \
		*pp_ = NULL;                   \
		p_;                            \
	})

#endif

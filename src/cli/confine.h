/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a serving process gives away before it hears the first request.  docs/design/permissions.md */
#ifndef CLI_CONFINE_H
#define CLI_CONFINE_H

#include <stdbool.h>

struct confine_needs {
	bool nfs;      /* binds a port, which may be a low one */
	bool io_uring; /* serves through a ring */
};

/*
 * Keep those capabilities that the layers, mounting and unmounting need; the others go from every set, the
 * bounding set too where that is allowed.  Before any thread is started, as each has its own.
 */
void confine_capabilities(const struct confine_needs *needs);

/*
 * From here on no thread of the process can start a program, attach to a process, or ask the kernel for
 * anything that serving does not need, and no set-user-id bit or file capability gives it anything.  When
 * all is open and mounted.  -errno, with nothing changed; 0 too where the program was built without
 * libseccomp.
 */
int confine_calls(const struct confine_needs *needs);

#endif

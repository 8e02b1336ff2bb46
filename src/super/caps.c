/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Capabilities of a process that itself needs none, but whose children do. */
#include "caps.h"

#include <linux/capability.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Failure leaves more than is needed, which does no harm but to caution. */
static void set_effective(bool all)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &head, data) < 0)
		return;
	for (size_t i = 0; i < _LINUX_CAPABILITY_U32S_3; i++)
		data[i].effective = all ? data[i].permitted : 0;
	(void)syscall(SYS_capset, &head, data);
}

void caps_lower(void)
{
	set_effective(false);
}

void caps_raise(void)
{
	set_effective(true);
}

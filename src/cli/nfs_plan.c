/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What to serve by NFS: from text to settings.  Rules and addresses are read by the front end. */
#include "cli/cli.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/parse.h"

static int add_rule(struct nfs_plan *plan, const char *rule)
{
	size_t n = plan->config.n_allow;
	const char **more = reallocarray(plan->allow, n + 1, sizeof(*more));

	if (!more) {
		message_error("out of memory");
		return -ENOMEM;
	}
	more[n] = rule;
	plan->allow = more;
	plan->config.allow = more;
	plan->config.n_allow = n + 1;
	return 0;
}

static int set_number(unsigned *field, const char *what, const char *value, uint32_t max)
{
	uint32_t n;

	if (parse_u32(value, &n) < 0 || n == 0 || n > max) {
		message_error("%s: %s is not a number from 1 to %u", what, QUOTE(value),
			      (unsigned)max);
		return -EINVAL;
	}
	*field = n;
	return 0;
}

int nfs_plan_set(struct nfs_plan *plan, enum nfs_setting setting, const char *value)
{
	struct nfs_front_config *config = &plan->config;

	switch (setting) {
	case NFS_LISTEN:
		plan->wanted = true;
		config->listen = value;
		return 0;
	case NFS_ALLOW:
		return add_rule(plan, value);
	case NFS_EXPORT:
		config->export_path = value;
		return 0;
	case NFS_KEY_FILE:
		config->key_file = value;
		return 0;
	case NFS_THREADS:
		return set_number(&config->threads, "--threads", value, 64);
	case NFS_CONNECTIONS:
		return set_number(&config->max_connections, "--max-connections", value, 65536);
	case NFS_IDLE:
		return set_number(&config->idle_seconds, "--idle", value, 86400);
	case NFS_STALL:
		return set_number(&config->stall_seconds, "--stall", value, 86400);
	case NFS_ASYNC:
		config->async = true;
		return 0;
	}
	return -EINVAL;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One program under several names: `lamina` has commands, the drop-in names mount. */
#include "cli/cli.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

/* A caller may have closed the standard descriptors; what is opened next must not become one. */
static int fill_standard_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (fd < 0)
			return -1;
	} while (fd <= STDERR_FILENO);
	return close(fd);
}

static int run_command(int argc, char **argv)
{
	const struct command *c;

	message_set_program("lamina");
	if (argc < 2)
		return cmd_help(argc, argv), 1;
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		version_print("lamina");
		return 0;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return cmd_help(1, argv);
	c = command_find(argv[1]);
	if (!c) {
		message_error("no command %s; lamina help lists them", QUOTE(argv[1]));
		return 1;
	}
	if (argc == 3 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0)) {
		fputs(c->usage, stdout);
		return 0;
	}
	return c->run(argc - 1, argv + 1);
}

int main(int argc, char **argv)
{
	const char *slash, *prog;

	if (argc < 1 || supervise_begin(argv) < 0)
		return 1;
	if (!supervise_taking_over() && fill_standard_descriptors() < 0)
		return 1;
	slash = strrchr(argv[0], '/');
	prog = slash ? slash + 1 : argv[0];
	if (dropin_is_name(prog))
		return dropin_main(prog, argc, argv);
	return run_command(argc, argv);
}

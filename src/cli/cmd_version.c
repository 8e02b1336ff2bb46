/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lamina version.  Others read the first line: "PROG: version X". */
#include "cli/cli.h"

#include <stdio.h>

#include "lamina-config.h"

const char version_usage[] = "usage: lamina version\n"
			     "\n"
			     "Print which version this is.\n";

void version_print(const char *prog)
{
	printf("%s: version %s\n"
	       "Lamina, an overlay filesystem in user space\n",
	       prog, LAMINA_VERSION);
}

int cmd_version(int argc, char **argv)
{
	if (argc > 1)
		return command_misused(argv[0], "takes no arguments");
	version_print(message_program());
	return 0;
}

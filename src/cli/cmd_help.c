/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lamina help: the list of commands, or all about one. */
#include "cli/cli.h"

#include <stdio.h>

#include "base/log.h"

const char help_usage[] = "usage: lamina help [COMMAND]\n"
			  "\n"
			  "List the commands, or explain one.\n";

static void list_commands(void)
{
	const struct command *c;

	printf("usage: lamina COMMAND [ARGUMENT]...\n"
	       "\n"
	       "Lamina shows directories on top of each other as one tree.\n"
	       "\n");
	for (size_t i = 0; (c = command_at(i)) != NULL; i++)
		printf("  %-10s %s\n", c->name, c->summary);
	printf("\n"
	       "lamina help COMMAND explains one; the manual is lamina(1).\n");
}

int cmd_help(int argc, char **argv)
{
	const struct command *c;

	if (argc > 2)
		return command_misused("help", "takes at most one command");
	if (argc < 2) {
		list_commands();
		return 0;
	}
	c = command_find(argv[1]);
	if (!c) {
		message_error("no command %s; lamina help lists them", QUOTE(argv[1]));
		return 1;
	}
	fputs(c->usage, stdout);
	return 0;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A program as others would write it, against the installed library: reads FILE of the overlay of two
 * layers, writes it, and reads it again.  ./install LOWER UPPER WORK FILE */
#include <lamina/lamina.h>
#include <lamina/options.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(int r, const char *what)
{
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", what, strerror(-r));
		exit(1);
	}
}

int main(int argc, char **argv)
{
	const struct lam_call call = { .cred = { .umask = 022 } };
	struct lam_options *options = NULL;
	struct lam_stack *stack = NULL;
	struct lam_entry e;
	char buf[64] = "";

	if (argc != 5)
		return 2;
	must(lam_options_new(&options), "options");
	must(lam_options_set(options, "lowerdir", argv[1]), "lowerdir");
	must(lam_options_set(options, "upperdir", argv[2]), "upperdir");
	must(lam_options_set(options, "workdir", argv[3]), "workdir");
	must(lam_stack_open(lam_options_config(options), &stack), "open");
	must(lam_lookup(stack, &call, LAM_ROOT_ID, argv[4], &e), "lookup");
	must((int)lam_read(stack, &call, e.id, 0, buf, sizeof(buf) - 1), "read");
	printf("%s", buf);
	must((int)lam_write(stack, &call, e.id, 0, "new", 3, 0), "write");
	must((int)lam_read(stack, &call, e.id, 0, buf, sizeof(buf) - 1), "read");
	printf("%s", buf);
	lam_stack_close(stack);
	lam_options_free(options);
	return 0;
}

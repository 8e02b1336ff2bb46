/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What closing a stack gives back: also the directory that went before the file in it that is still
 * in use, which is in no table and has nothing but that file to hold it.  Said by the allocator's
 * own count; a build with AddressSanitizer sees the leak itself.
 */
#include "scratch.h"

#include <lamina/lamina.h>
#include <malloc.h>

#define ROUNDS 64u
/* Less than would be lost in so many rounds, more than the allocator keeps back for itself. */
#define LITTLE 8192u

static const struct lam_call call = { .cred = { .umask = 022 } };
static uint64_t used;

static bool in_use(void *ctx, uint64_t id)
{
	(void)ctx;
	return id == used;
}

static struct lam_stack *open_stack(void)
{
	static char lower[600], upper[600], work[600];
	const char *lowers[] = { lower };
	struct lam_config c = { .lower = lowers, .n_lower = 1, .upper = upper, .work = work };
	struct lam_stack *s;

	snprintf(lower, sizeof(lower), "%s/lower", scratch_path);
	snprintf(upper, sizeof(upper), "%s/upper", scratch_path);
	snprintf(work, sizeof(work), "%s/work", scratch_path);
	assert_int_equal(lam_stack_open(&c, &s), 0);
	assert_int_equal(lam_stack_add_user(s, in_use, NULL), 0);
	return s;
}

/* A file in use loses its name, and then each of the two directories above it. */
static void orphan_below_nothing(struct lam_stack *s)
{
	struct lam_entry a, b, f;

	assert_int_equal(lam_mkdir(s, &call, LAM_ROOT_ID, "a", 0755, &a), 0);
	assert_int_equal(lam_mkdir(s, &call, a.id, "b", 0755, &b), 0);
	assert_int_equal(lam_mknod(s, &call, b.id, "f", S_IFREG | 0644, 0, 0, &f), 0);
	used = f.id;
	assert_int_equal(lam_unlink(s, &call, b.id, "f"), 0);
	assert_int_equal(lam_rmdir(s, &call, a.id, "b"), 0);
	assert_int_equal(lam_rmdir(s, &call, LAM_ROOT_ID, "a"), 0);
}

static void closing_gives_everything_back(void **state)
{
	static const char *const dirs[] = { "lower", "upper", "work" };
	size_t before = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		assert_int_equal(mkdirat(scratch, dirs[i], 0755), 0);
	for (unsigned i = 0; i < 2 * ROUNDS; i++) {
		struct lam_stack *s = open_stack();

		orphan_below_nothing(s);
		lam_stack_close(s);
		if (i == ROUNDS - 1) /* whatever is made once has been made */
			before = mallinfo2().uordblks;
	}
	assert_true(mallinfo2().uordblks <= before + LITTLE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		SCRATCH_TEST(closing_gives_everything_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

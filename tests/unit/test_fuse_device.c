/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The threads that read the device, the late ones, and how it all ends; the test is the kernel. */
#include "unit.h"

#include "tests/lib/fuse_harness.h"

#include <poll.h>

static struct harness h;
static pthread_t server;
static int served;

static void *serve_main(void *arg)
{
	(void)arg;
	served = fuse_front_serve(&h.front);
	return NULL;
}

static int set_up(void **state)
{
	(void)state;
	harness_init(&h);
	h.front.n_dev = 2;
	served = 12345;
	return pthread_create(&server, NULL, serve_main, NULL);
}

static int tear_down(void **state)
{
	(void)state;
	harness_end(&h);
	return 0;
}

static void ask(uint32_t opcode, uint64_t unique, uint64_t nodeid, const void *body, size_t len)
{
	struct {
		struct fuse_in_header head;
		char body[256];
	} msg = { .head = { .len = (uint32_t)(sizeof(msg.head) + len),
			    .opcode = opcode,
			    .unique = unique,
			    .nodeid = nodeid } };

	assert_true(len <= sizeof(msg.body));
	memcpy(msg.body, body, len);
	assert_int_equal(send(h.kernel, &msg, msg.head.len, 0), msg.head.len);
}

/* The next message of the server, answer or not; waits for it. */
static size_t hear(struct fuse_out_header *head, void *body, size_t size)
{
	struct pollfd p = { .fd = h.kernel, .events = POLLIN };
	struct iovec iov[2] = { { head, sizeof(*head) }, { body, size } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	/* Only a server that hangs comes to the end of this. */
	assert_int_equal(poll(&p, 1, 60000), 1);
	n = recvmsg(h.kernel, &msg, 0);
	assert_true(n >= (ssize_t)sizeof(*head));
	assert_int_equal(n, head->len);
	return (size_t)n - sizeof(*head);
}

static void stop(void)
{
	fuse_front_stop(&h.front);
	assert_int_equal(pthread_join(server, NULL), 0);
	assert_int_equal(served, 0);
}

static void answers_each_once(void **state)
{
	struct fuse_read_in in = { .size = HARNESS_BODY };
	static char body[HARNESS_BODY + 1];
	static unsigned char seen[401];
	struct fuse_out_header head;

	(void)state;
	for (uint64_t u = 1; u <= 400; u++) {
		ask(FUSE_LOOKUP, u, 1, "file", 5);
		if (u % 8 != 0)
			continue;
		for (int i = 0; i < 8; i++) {
			assert_int_equal(hear(&head, body, sizeof(body)),
					 sizeof(struct fuse_entry_out));
			assert_in_range(head.unique, 1, 400);
			assert_int_equal(head.error, 0);
			assert_int_equal(seen[head.unique]++, 0);
		}
	}
	ask(FUSE_READ, 500, 100, &in, sizeof(in));
	assert_int_equal(hear(&head, body, sizeof(body)), HARNESS_BODY);
	assert_int_equal(head.unique, 500);
	assert_int_equal(body[HARNESS_BODY - 1], 'r');
	ask(FUSE_LOOKUP, 501, 999, "file", 5);
	assert_int_equal(hear(&head, body, sizeof(body)), 0);
	assert_int_equal(head.error, -ESTALE);
	stop();
}

static void survives_nonsense(void **state)
{
	struct fuse_forget_in forget = { .nlookup = 1 };
	struct fuse_out_header head;
	char body[256];

	(void)state;
	assert_int_equal(send(h.kernel, "nonsense", 8, 0), 8);
	ask(FUSE_FORGET, 0, 100, "", 0);
	ask(FUSE_FORGET, 0, 100, &forget, sizeof(forget));
	ask(FUSE_SETATTR, 7, 100, "short", 5);
	assert_int_equal(hear(&head, body, sizeof(body)), 0);
	assert_int_equal(head.unique, 7);
	assert_int_equal(head.error, -EIO);
	ask(4000, 8, 100, "", 0);
	assert_int_equal(hear(&head, body, sizeof(body)), 0);
	assert_int_equal(head.unique, 8);
	assert_int_equal(head.error, -ENOSYS);
	stop();
}

static void seeks_write_back_first(void **state)
{
	struct fuse_lseek_in in = { .offset = 0, .whence = SEEK_DATA };
	struct fuse_notify_inval_inode_out inval;
	struct fuse_lseek_out out;
	struct fuse_out_header head;

	(void)state;
	ask(FUSE_LSEEK, 9, 100, &in, sizeof(in));
	assert_int_equal(hear(&head, &inval, sizeof(inval)), sizeof(inval));
	assert_int_equal(head.unique, 0);
	assert_int_equal(head.error, FUSE_NOTIFY_INVAL_INODE);
	assert_int_equal(inval.ino, 100);
	assert_int_equal(inval.off, 0);
	assert_int_equal(hear(&head, &out, sizeof(out)), sizeof(out));
	assert_int_equal(head.unique, 9);
	assert_int_equal(out.offset, 4096);
	stop();
}

static void serves_what_was_asked_before_the_stop(void **state)
{
	struct fuse_out_header head;
	char body[256];

	(void)state;
	for (uint64_t u = 1; u <= 20; u++)
		ask(FUSE_LOOKUP, u, 1, "file", 5);
	stop();
	for (int i = 0; i < 20; i++)
		assert_int_equal(hear(&head, body, sizeof(body)), sizeof(struct fuse_entry_out));
	assert_int_equal(holds_count(h.front.holds), 1);
}

static void ends_with_the_connection(void **state)
{
	(void)state;
	assert_int_equal(close(h.kernel), 0);
	assert_int_equal(pthread_join(server, NULL), 0);
	assert_int_equal(served, 0);
	h.kernel = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(answers_each_once),	TEST(survives_nonsense),
		TEST(seeks_write_back_first),	TEST(serves_what_was_asked_before_the_stop),
		TEST(ends_with_the_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

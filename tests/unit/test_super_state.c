/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory that outlives a worker: who may attach to it, and the records of requests. */
#include "unit.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "super/channel.h"
#include "super/state.h"

static struct state made(void)
{
	struct state s;

	assert_int_equal(state_create(&s, 3, "1.2.3"), 0);
	return s;
}

static void another_sees_the_same(void **state)
{
	struct state s = made(), t;

	(void)state;
	assert_int_equal(s.mem->dirs[2], -1);
	s.mem->dirs[2] = 77;
	s.mem->kept[0] = (struct state_kept){ .kind = STATE_FD_CLONE, .index = 4, .fd = 9 };
	atomic_store(&s.mem->n_kept, 1);
	assert_int_equal(state_attach(&t, s.fd), 0);
	assert_int_equal(t.mem->dirs[2], 77);
	assert_string_equal(t.mem->version, "1.2.3");
	assert_int_equal(state_kept(&t, STATE_FD_CLONE, 4), 9);
	assert_int_equal(state_kept(&t, STATE_FD_CLONE, 5), -1);
	assert_int_equal(state_kept(&t, STATE_FD_FUSE, 4), -1);
}

static void other_layouts_are_refused(void **state)
{
	struct state s = made(), t = { .fd = 123 };

	(void)state;
	s.mem->layout++;
	assert_int_equal(state_attach(&t, s.fd), -EPROTO);
	s.mem->layout--;
	s.mem->n_dirs = 0x40000000;
	assert_int_equal(state_attach(&t, s.fd), -EPROTO);
	s.mem->n_dirs = 3;
	s.mem->magic++;
	assert_int_equal(state_attach(&t, s.fd), -EPROTO);
	s.mem->magic--;
	assert_int_equal(ftruncate(s.fd, 100), 0);
	assert_int_equal(state_attach(&t, s.fd), -EPROTO);
	assert_int_equal(t.fd, 123);
}

static void a_record_tells_how_far_it_came(void **state)
{
	struct state s = made();
	struct state_intent *in = intent_take(&s, 42, 9);

	(void)state;
	assert_non_null(in);
	assert_null(intent_find(&s, 44));
	assert_ptr_equal(intent_find(&s, 42), in);
	assert_int_equal(atomic_load(&in->phase), INTENT_FREE);
	intent_begin(in);
	assert_int_equal(atomic_load(&in->phase), INTENT_BEGUN);
	intent_done(in, -EEXIST, 5);
	assert_int_equal(atomic_load(&in->phase), INTENT_DONE);
	assert_int_equal(in->result, -EEXIST);
	assert_int_equal(in->id, 5);
	intent_free(in);
	assert_null(intent_find(&s, 42));
}

/* What workers left behind makes way, and a record of the living never does. */
static void left_records_make_way(void **state)
{
	struct state s = made();
	struct state_intent *mine;
	unsigned taken = 0;

	(void)state;
	for (uint64_t unique = 2; unique < 2 + 2 * 4 * STATE_INTENTS; unique += 2) {
		struct state_intent *in = intent_take(&s, unique, 9);

		if (in) {
			intent_done(in, 0, unique);
			taken++;
		}
	}
	assert_in_range(taken, STATE_INTENTS / 2, STATE_INTENTS);
	atomic_fetch_add(&s.mem->generation, 1);
	mine = intent_take(&s, 100002, 10);
	assert_non_null(mine);
	assert_int_equal(atomic_load(&mine->phase), INTENT_FREE);
	assert_int_equal(mine->id, 0);
	for (uint64_t unique = 200000; unique < 200000 + 2 * 4 * STATE_INTENTS; unique += 2)
		(void)intent_take(&s, unique, 9);
	assert_ptr_equal(intent_find(&s, 100002), mine);
}

static void messages_carry_descriptors(void **state)
{
	struct channel_msg msg = { .type = CH_KEEP, .a = 1, .b = 2, .text = "text" }, got;
	int pair[2], fd = -1;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(channel_receive(pair[1], &got, &fd, MSG_DONTWAIT), -EAGAIN);
	assert_int_equal(channel_send(pair[0], &msg, pair[0]), 0);
	assert_int_equal(channel_receive(pair[1], &got, &fd, 0), 0);
	assert_int_equal(got.type, CH_KEEP);
	assert_string_equal(got.text, "text");
	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
	assert_int_equal(send(pair[0], "short", 5, 0), 5);
	assert_int_equal(channel_receive(pair[1], &got, &fd, 0), -EPROTO);
	assert_int_equal(close(pair[0]), 0);
	assert_int_equal(channel_receive(pair[1], &got, &fd, 0), -EPIPE);
	assert_int_equal(close(pair[1]), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_sees_the_same),
		cmocka_unit_test(other_layouts_are_refused),
		cmocka_unit_test(a_record_tells_how_far_it_came),
		cmocka_unit_test(left_records_make_way),
		cmocka_unit_test(messages_carry_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

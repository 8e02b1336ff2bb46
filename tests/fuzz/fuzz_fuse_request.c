/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Requests of any content: whatever the message, the dispatcher stays inside it and inside the room
 * for the answer, its result is a length that fits or an errno that the kernel takes, and references
 * are counted as often as they are shown.
 *
 * The first byte of an input chooses how the message comes (in one piece or in three) and what was
 * agreed upon; the second the room for the answer.
 */
#include "tests/lib/fuse_harness.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct harness h;

/* Forget what a run left, so that every input meets the same front. */
static void reset(void)
{
	char byte[64];

	/* What was told to the kernel must not fill the socket. */
	while (recv(h.kernel, byte, sizeof(byte), MSG_DONTWAIT) > 0)
		;
	holds_free(h.front.holds);
	h.front.holds = holds_new();
	CHECK(h.front.holds);
	h.stack = (struct lam_stack){ .listed = 5 };
}

static int serve_split(const uint8_t *msg, size_t len)
{
	struct fuse_in_header head;
	uint64_t arg[16] = { 0 };
	size_t arg_len = len - sizeof(head);
	int r;

	memcpy(&head, msg, sizeof(head));
	if (arg_len > sizeof(arg))
		arg_len = sizeof(arg);
	memcpy(arg, msg + sizeof(head), arg_len);
	/* The payload and the answer have the same place, as in an io_uring entry. */
	memcpy(h.buf + HARNESS_BODY, msg + sizeof(head) + arg_len, len - sizeof(head) - arg_len);
	r = request_decode_split(&h.rq, &head, arg, sizeof(arg), h.buf + HARNESS_BODY,
				 len - sizeof(head) - arg_len);
	if (r < 0)
		return r;
	(void)request_is_slow(&h.rq);
	return request_serve(&h.rq);
}

static int serve_flat(const uint8_t *msg, size_t len)
{
	/* A block of its own and of the exact size, for sanitizers. */
	char *copy CLEANUP_FREE = malloc(len ? len : 1);
	int r;

	CHECK(copy);
	if (len > 0)
		memcpy(copy, msg, len);
	r = request_decode_flat(&h.rq, copy, len);
	return r < 0 ? r : request_serve(&h.rq);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static bool ready;
	size_t room;
	uint64_t held;
	int r;

	if (!ready)
		harness_init(&h);
	ready = true;
	if (size < 2 || size > HARNESS_BODY)
		return 0;
	reset();
	room = (size_t)data[1] * 64;
	h.stack.exists = data[0] & 2;
	h.front.proto.zero_open = data[0] & 4;
	h.front.proto.flags = data[0] & 8 ? FUSE_SETXATTR_EXT : 0;
	h.rq = (struct request){
		.front = &h.front,
		.slot = &h.front.slots[0],
		.out = h.buf + HARNESS_BODY,
		.out_size = room,
		.late = (enum lateness)(data[0] >> 6) % 3,
	};
	/* A canary behind the room. */
	memset(h.buf + HARNESS_BODY + room, 0x5a, 64);
	if ((data[0] & 1) && size - 2 >= sizeof(struct fuse_in_header) &&
	    size - 2 - sizeof(struct fuse_in_header) <= room + 128)
		r = serve_split(data + 2, size - 2);
	else
		r = serve_flat(data + 2, size - 2);

	CHECK(r > -512);
	CHECK(r < 0 || (size_t)r <= room || r == REQUEST_SILENT || r == REQUEST_LATE);
	if (!(data[0] & 1)) {
		for (size_t i = 0; i < 64; i++)
			CHECK(h.buf[HARNESS_BODY + room + i] == 0x5a);
	}
	/* Taking the answer back leaves nothing counted. */
	held = holds_count(h.front.holds);
	request_undo(&h.rq, r);
	CHECK(holds_count(h.front.holds) == 0 || r < 0);
	CHECK(held < 100);
	return 0;
}

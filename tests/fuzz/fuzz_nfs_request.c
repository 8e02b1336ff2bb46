/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calls of any content: whatever the record, the dispatcher stays inside it and inside the room for
 * the answer, and answers with a well-formed reply or not at all.  Below is a double of the engine.
 *
 * An input is a record without its mark.  Where it has the bytes "HANDLE" plus a digit and zeros to
 * 40 bytes, a handle of that object with a right MAC is put, as no fuzzer finds one.  The first byte
 * of all chooses the client's rule, the second cuts the record into fragments.
 */
#include "tests/lib/lam_double.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "nfs/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int lam_stack_secret(struct lam_stack *stack, const char *name, void *buf, size_t size)
{
	(void)stack;
	(void)name;
	memset(buf, 7, size);
	return 0;
}

int lam_stack_file(struct lam_stack *stack, const char *name, int *ret_fd)
{
	(void)stack;
	(void)name;
	(void)ret_fd;
	return -EROFS;
}

static struct nfs_front *front;
static uint8_t *answer;

static void set_up(void)
{
	front = calloc(1, sizeof(*front));
	answer = malloc(NFS_MAX_ANSWER + 64);
	CHECK(front && answer);
	front->n_workers = 4;
	front->async = true;
	front->kept = &front->own;
	memset(front->key.key, 7, sizeof(front->key.key));
}

/* Make handles of the places that are marked for them. */
static void put_handles(uint8_t *msg, size_t len)
{
	static const uint64_t ids[] = { 1, 100, 101, 200, 201 };

	for (size_t at = 0; at + HANDLE_SIZE <= len; at++) {
		if (memcmp(msg + at, "HANDLE", 6) == 0)
			handle_encode(&front->key, ids[msg[at + 6] % ARRAY_LEN(ids)], 9, msg + at);
	}
}

/* Through the record reader, in pieces of the client's choice. */
static size_t through_records(const uint8_t *msg, size_t len, unsigned piece, uint8_t *ret)
{
	struct record rec = { .buf = ret };
	enum record_state state = RECORD_MORE;

	for (size_t at = 0; at < len && state == RECORD_MORE;) {
		size_t n = len - at < piece ? len - at : piece, four = 4, taken = n;
		uint32_t mark = htobe32((uint32_t)n | (at + n == len ? 0x80000000u : 0));

		state = record_add(&rec, (const uint8_t *)&mark, &four);
		CHECK(state == RECORD_MORE && four == 4);
		state = record_add(&rec, msg + at, &taken);
		CHECK(taken == n && state == (at + n == len ? RECORD_COMPLETE : RECORD_MORE));
		at += n;
	}
	return rec.len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct export_rule rules[] = {
		{ .squash = SQUASH_ROOT },
		{ .squash = SQUASH_NONE },
		{ .squash = SQUASH_ALL, .read_only = true },
	};
	struct lam_stack stack = { .listed = 5 };
	struct peer peer;
	uint8_t *msg CLEANUP_FREE = NULL;
	uint8_t *whole CLEANUP_FREE = NULL;
	struct file_part file;
	ssize_t n;

	if (!front)
		set_up();
	if (size < 2 || size - 2 > NFS_MAX_RECORD)
		return 0;
	peer = (struct peer){ .rule = &rules[data[0] % ARRAY_LEN(rules)] };
	stack.exists = data[0] & 0x80;
	front->stack = &stack;
	/* Each input meets the same front: no replay of another one. */
	drc_free(front->drc);
	front->drc = drc_new(4, -1);
	whole = malloc(NFS_MAX_RECORD);
	msg = malloc(size);
	CHECK(front->drc && whole && msg);
	size = through_records(data + 2, size - 2, data[1] + 1u, whole);
	/* A block of the exact size, for sanitizers. */
	msg = realloc(msg, size ? size : 1);
	CHECK(msg);
	memcpy(msg, whole, size);
	put_handles(msg, size);

	memset(answer + NFS_MAX_ANSWER, 0x5a, 64);
	for (unsigned i = 0; i < 2; i++) {
		n = rpc_serve(front, 0, &peer, msg, size, answer, &file);
		CHECK(file.fd == -1); /* the double has no files */
		CHECK(n == -EPROTO || (n >= 20 && n <= NFS_MAX_ANSWER && n % 4 == 0));
		CHECK(n < 0 || memcmp(answer, msg, 4) == 0);
	}
	for (size_t i = 0; i < 64; i++)
		CHECK(answer[NFS_MAX_ANSWER + i] == 0x5a);
	for (size_t i = 0; i < WCC_STRIPES; i++)
		CHECK(atomic_load(&front->stripes[i].active) == 0);
	CHECK(atomic_load(&front->running[0].id) == 0);
	return 0;
}

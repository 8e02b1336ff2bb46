/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Answers on their way to a client: a head in memory and, for large reads, bytes that go from the
 * file to the socket without a copy in between.  What a socket does not take at once is kept in
 * memory, in order, and written when it does.
 *
 * Nothing here takes a lock: a queue belongs to its connection, an answer to its worker.
 */
#include "internal.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"

struct chunk {
	STAILQ_ENTRY(chunk) next;
	size_t len, done;
	uint8_t bytes[];
};

static size_t head_len(const struct answer *a)
{
	return 4 + a->len;
}

static size_t padding(const struct answer *a)
{
	return (4 - a->file.len % 4) % 4;
}

size_t answer_len(const struct answer *a)
{
	return head_len(a) + a->file.len + padding(a);
}

void answer_mark(struct answer *a)
{
	const uint32_t mark = htobe32(0x80000000u | (uint32_t)(answer_len(a) - 4));

	memcpy(a->marked, &mark, 4);
}

void answer_done(struct answer *a)
{
	if (a->file.fd >= 0)
		(void)close(a->file.fd);
	a->file = (struct file_part){ .fd = -1 };
}

/* ---- At once ---- */

/* The next bytes of the answer; what send() or sendfile() returns. */
static ssize_t send_part(int fd, const struct answer *a, size_t done)
{
	const size_t head = head_len(a), file_end = head + a->file.len;
	static const uint8_t zero[4];
	off_t off = (off_t)(a->file.off + (done - head));
	ssize_t n;

	if (done < head)
		return send(fd, a->marked + done, head - done,
			    MSG_NOSIGNAL | (a->file.len ? MSG_MORE : 0));
	if (done >= file_end)
		return send(fd, zero, file_end + padding(a) - done, MSG_NOSIGNAL);
	n = sendfile(fd, a->file.fd, &off, file_end - done);
	if (n == 0)
		errno = ENODATA; /* cut short since its length was told */
	return n > 0 ? n : -1;
}

int answer_send(int fd, const struct answer *a, size_t *done)
{
	while (*done < answer_len(a)) {
		ssize_t n = send_part(fd, a, *done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		*done += (size_t)n;
	}
	return 0;
}

bool socket_await(int fd, short events, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, timeout_ms) > 0 && (p.revents & events);
}

/* ---- Later ---- */

static bool read_whole(const struct file_part *file, uint64_t from, uint8_t *buf, size_t len)
{
	while (len > 0) {
		ssize_t n = pread(file->fd, buf, len, (off_t)(file->off + from));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		buf += n;
		from += (uint64_t)n;
		len -= (size_t)n;
	}
	return true;
}

struct chunk *answer_rest(const struct answer *a, size_t done)
{
	const size_t head = head_len(a), left = answer_len(a) - done;
	struct chunk *chunk = malloc(sizeof(*chunk) + left);
	uint8_t *at;

	if (!chunk)
		return NULL;
	chunk->len = left;
	chunk->done = 0;
	at = chunk->bytes;
	if (done < head) {
		memcpy(at, a->marked + done, head - done);
		at += head - done;
		done = head;
	}
	if (done < head + a->file.len) {
		const size_t n = head + a->file.len - done;

		if (!read_whole(&a->file, done - head, at, n)) {
			free(chunk);
			return NULL;
		}
		at += n;
	}
	memset(at, 0, (size_t)(chunk->bytes + left - at));
	return chunk;
}

void queue_init(struct out_queue *q)
{
	STAILQ_INIT(&q->chunks);
	q->bytes = 0;
}

void queue_add(struct out_queue *q, struct chunk *chunk, bool first)
{
	if (first)
		STAILQ_INSERT_HEAD(&q->chunks, chunk, next);
	else
		STAILQ_INSERT_TAIL(&q->chunks, chunk, next);
	q->bytes += chunk->len;
}

bool queue_flush(struct out_queue *q, int fd, bool *ret_moved)
{
	struct chunk *chunk;

	*ret_moved = false;
	while ((chunk = STAILQ_FIRST(&q->chunks)) != NULL) {
		ssize_t n = send(fd, chunk->bytes + chunk->done, chunk->len - chunk->done,
				 MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		*ret_moved = true;
		chunk->done += (size_t)n;
		q->bytes -= (size_t)n;
		if (chunk->done < chunk->len)
			continue;
		STAILQ_REMOVE_HEAD(&q->chunks, next);
		free(chunk);
	}
	return true;
}

void queue_clear(struct out_queue *q)
{
	struct chunk *chunk;

	while ((chunk = STAILQ_FIRST(&q->chunks)) != NULL) {
		STAILQ_REMOVE_HEAD(&q->chunks, next);
		free(chunk);
	}
	q->bytes = 0;
}

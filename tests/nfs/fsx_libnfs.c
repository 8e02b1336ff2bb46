/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fsx_libnfs URL FILE SEED OPERATIONS
 *
 * Random reads, writes, truncations, syncs and openings of FILE of the export, by two connections of
 * libnfs in turns, compared with a model in memory that starts from what FILE holds.  The same seed
 * does the same things.  Prints the first difference and exits 1 then.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <nfsc/libnfs.h> /* needs what is above */

#define LIMIT ((size_t)3 << 20)

struct side {
	struct nfs_context *nfs;
	struct nfsfh *fh;
};

static struct side sides[2];
static char *model, *buf;
static size_t model_size;
static uint64_t state;
static unsigned long step;
static const char *file;

/* xorshift64*: the same numbers everywhere. */
static size_t below(size_t n)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return n ? (size_t)((state * 0x2545f4914f6cdd1dull >> 11) % n) : 0;
}

__attribute__((noreturn)) static void fail(const char *what, const struct side *s)
{
	printf("step %lu: %s: %s\n", step, what, nfs_get_error(s->nfs));
	exit(1);
}

static void open_side(struct side *s)
{
	if (s->fh && nfs_close(s->nfs, s->fh) < 0)
		fail("close", s);
	if (nfs_open(s->nfs, file, O_RDWR, &s->fh) < 0)
		fail("open", s);
}

static void connect_side(struct side *s, const char *text)
{
	struct nfs_url *url;

	s->nfs = nfs_init_context();
	url = s->nfs ? nfs_parse_url_dir(s->nfs, text) : NULL;
	if (!url || nfs_mount(s->nfs, url->server, url->path) < 0) {
		printf("%s cannot be mounted\n", text);
		exit(1);
	}
	nfs_destroy_url(url);
	open_side(s);
}

static void check(struct side *s, size_t off, size_t len)
{
	const size_t want = off >= model_size ? 0 : len < model_size - off ? len : model_size - off;
	size_t done = 0;

	while (done < want) {
		int n = nfs_pread(s->nfs, s->fh, off + done, want - done, buf + done);

		if (n <= 0)
			fail("read is short", s);
		done += (size_t)n;
	}
	if (memcmp(buf, model + off, want) != 0)
		fail("read has other bytes", s);
}

static void check_size(struct side *s)
{
	struct nfs_stat_64 st;

	if (nfs_fstat64(s->nfs, s->fh, &st) < 0 || st.nfs_size != model_size)
		fail("another size", s);
}

static void change(struct side *s, size_t off, size_t len)
{
	size_t done = 0;

	for (size_t i = 0; i < len; i++)
		model[off + i] = (char)(step + i * 7 + below(2));
	while (done < len) {
		int n = nfs_pwrite(s->nfs, s->fh, off + done, len - done, model + off + done);

		if (n <= 0)
			fail("write", s);
		done += (size_t)n;
	}
	if (off + len > model_size)
		model_size = off + len;
}

static void cut(struct side *s, size_t size)
{
	if (nfs_ftruncate(s->nfs, s->fh, size) < 0)
		fail("truncate", s);
	if (size < model_size)
		memset(model + size, 0, model_size - size);
	model_size = size;
}

static void one(void)
{
	static const size_t spans[] = { 16, 4096, 70000, 1500000 };
	struct side *s = &sides[below(2)];
	size_t off = below(LIMIT), len = 1 + below(spans[below(4)]);

	if (below(3) == 0)
		off &= ~(size_t)4095;
	if (len > LIMIT - off)
		len = LIMIT - off;
	switch (below(8)) {
	case 0:
	case 1:
	case 2:
		check(s, off, len);
		break;
	case 3:
	case 4:
		if (len)
			change(s, off, len);
		break;
	case 5:
		cut(s, below(4) ? off : model_size / 2);
		break;
	case 6:
		if (nfs_fsync(s->nfs, s->fh) < 0)
			fail("fsync", s);
		break;
	default:
		open_side(s);
	}
	check_size(s);
}

int main(int argc, char **argv)
{
	struct nfs_stat_64 st;
	unsigned long n;

	if (argc != 5)
		return 2;
	file = argv[2];
	state = strtoull(argv[3], NULL, 10) + 88172645463325252ull;
	n = strtoul(argv[4], NULL, 10);
	model = calloc(1, LIMIT);
	buf = malloc(LIMIT);
	if (!model || !buf)
		return 2;
	for (unsigned i = 0; i < 2; i++)
		connect_side(&sides[i], argv[1]);
	if (nfs_fstat64(sides[0].nfs, sides[0].fh, &st) < 0 || st.nfs_size > LIMIT)
		fail("size at the start", &sides[0]);
	while (model_size < st.nfs_size) {
		int r = nfs_pread(sides[0].nfs, sides[0].fh, model_size, st.nfs_size - model_size,
				  model + model_size);

		if (r <= 0)
			fail("read at the start", &sides[0]);
		model_size += (size_t)r;
	}
	for (step = 1; step <= n; step++)
		one();
	for (unsigned i = 0; i < 2; i++) {
		check(&sides[i], 0, LIMIT);
		nfs_close(sides[i].nfs, sides[i].fh);
		nfs_destroy_context(sides[i].nfs);
	}
	free(model);
	free(buf);
	return 0;
}

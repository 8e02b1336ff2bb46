/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The main() of a fuzz target built as a plain test: runs the target over every file of a corpus
 * directory, over every truncation of each, and over a few thousand mutations of them that are
 * the same in every run.  What it looks for is what a sanitizer, a CHECK or the target finds.
 */
#include "base/check.h"
#include "base/cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX 65536u
#define INPUTS_MAX 1024u
#define MUTATIONS 6000u

struct input {
	uint8_t *data;
	size_t size;
};

/* xorshift64*: all that a mutation needs. */
static uint64_t random_state = 0x9e3779b97f4a7c15ull;

static size_t random_below(size_t limit)
{
	random_state ^= random_state >> 12;
	random_state ^= random_state << 25;
	random_state ^= random_state >> 27;
	return (size_t)((random_state * 0x2545f4914f6cdd1dull) >> 33) % limit;
}

/* The target gets a heap block of the exact size, so that a sanitizer sees one byte too many. */
static void run_one(const uint8_t *data, size_t size)
{
	CLEANUP_FREE uint8_t *copy = malloc(size ? size : 1);

	CHECK(copy);
	if (size)
		memcpy(copy, data, size);
	(void)LLVMFuzzerTestOneInput(copy, size); /* always 0 */
}

static bool read_input(int dirfd, const char *name, struct input *ret)
{
	CLEANUP_CLOSE int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC);
	CLEANUP_FREE uint8_t *data = malloc(INPUT_MAX);
	struct stat st;
	ssize_t n;

	CHECK(fd >= 0 && data);
	CHECK(fstat(fd, &st) == 0);
	if (!S_ISREG(st.st_mode))
		return false;
	n = read(fd, data, INPUT_MAX);
	CHECK(n >= 0);
	ret->size = (size_t)n;
	ret->data = TAKE_PTR(data);
	return true;
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* The files of the corpus by name: the order decides what the mutations are. */
static size_t read_corpus(const char *path, struct input inputs[INPUTS_MAX])
{
	CLEANUP_CLOSE int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct dirent **names = NULL;
	size_t n_inputs = 0;
	int n;

	if (dirfd < 0) {
		fprintf(stderr, "no corpus at %s\n", path);
		exit(1);
	}
	n = scandir(path, &names, NULL, compare_names);
	CHECK(n >= 0);
	for (int i = 0; i < n; i++) {
		if (n_inputs < INPUTS_MAX && read_input(dirfd, names[i]->d_name, &inputs[n_inputs]))
			n_inputs++;
		free(names[i]);
	}
	free(names);
	return n_inputs;
}

static size_t mutate_once(uint8_t *data, size_t size, const struct input *other)
{
	static const uint8_t telling[] = { 0,	1,   '/', '.', ':',  '\\', ',',	 '"', '-',
					   '+', '0', '9', '=', 0x7f, 0x80, 0xfb, 0xff };
	size_t at = size ? random_below(size) : 0;
	size_t n;

	switch (random_below(6)) {
	case 0: /* flip a bit */
		if (size)
			data[at] ^= (uint8_t)(1u << random_below(8));
		return size;
	case 1: /* a byte that decoders look for */
		if (size)
			data[at] = telling[random_below(sizeof(telling))];
		return size;
	case 2: /* insert */
		if (size == INPUT_MAX)
			return size;
		memmove(data + at + 1, data + at, size - at);
		data[at] = telling[random_below(sizeof(telling))];
		return size + 1;
	case 3: /* remove */
		if (!size)
			return size;
		n = 1 + random_below(size - at);
		memmove(data + at, data + at + n, size - at - n);
		return size - n;
	case 4: /* the tail of another one */
		n = other->size < INPUT_MAX - at ? other->size : INPUT_MAX - at;
		if (n)
			memcpy(data + at, other->data, n);
		return at + n;
	default: /* say a piece twice */
		n = size - at < INPUT_MAX - size ? size - at : INPUT_MAX - size;
		memmove(data + size, data + at, n);
		return size + n;
	}
}

int main(int argc, char **argv)
{
	static struct input inputs[INPUTS_MAX];
	static uint8_t work[INPUT_MAX];
	size_t n_inputs, runs = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: %s CORPUS-DIRECTORY\n", argv[0]);
		return 2;
	}
	n_inputs = read_corpus(argv[1], inputs);
	if (n_inputs == 0) {
		fprintf(stderr, "the corpus at %s is empty\n", argv[1]);
		return 1;
	}
	for (size_t i = 0; i < n_inputs; i++) {
		size_t longest = inputs[i].size < 512 ? inputs[i].size : 512;

		run_one(inputs[i].data, inputs[i].size);
		for (size_t size = 0; size < longest; size++, runs++)
			run_one(inputs[i].data, size);
	}
	for (size_t i = 0; i < MUTATIONS; i++, runs++) {
		const struct input *in = &inputs[random_below(n_inputs)];
		size_t size = in->size;

		if (size)
			memcpy(work, in->data, size);
		for (size_t rounds = 1 + random_below(4); rounds; rounds--)
			size = mutate_once(work, size, &inputs[random_below(n_inputs)]);
		run_one(work, size);
	}
	for (size_t i = 0; i < n_inputs; i++)
		free(inputs[i].data);
	printf("%zu inputs from %zu files\n", runs + n_inputs, n_inputs);
	return 0;
}

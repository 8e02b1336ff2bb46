/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A set of numbers that come in clusters, as inode numbers do: a hash table of words of 64 bits, so a
 * cluster costs a bit for each number and one that is alone 16 bytes and their share of the free places.
 * No lock of its own.
 */
#ifndef BASE_NUMSET_H
#define BASE_NUMSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct numset_word;

/* All zero is an empty set. */
struct numset {
	struct numset_word *words;
	size_t mask, used;
};

/* 0 or -ENOMEM */
int numset_add(struct numset *set, uint64_t number);
bool numset_has(const struct numset *set, uint64_t number);
void numset_clear(struct numset *set);

#endif

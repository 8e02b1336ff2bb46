/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* A 64-bit hash of bytes, the same on every machine and in every run (XXH3): listing cookies
 * are made from it, so it may never change. */
uint64_t hash_bytes(const void *data, size_t len);

/* Spread the bits of a number (a finaliser; a bijection). */
static inline uint64_t hash_u64(uint64_t x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	x ^= x >> 32;
	return x;
}

#endif

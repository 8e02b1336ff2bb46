/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SipHash-2-4 with 128 bits of result (Aumasson and Bernstein, 2012): a MAC for short messages. */
#include "internal.h"

#include <endian.h>
#include <string.h>

struct sip {
	uint64_t v0, v1, v2, v3;
};

static uint64_t rotate(uint64_t x, unsigned bits)
{
	return (x << bits) | (x >> (64 - bits));
}

static void rounds(struct sip *s, unsigned n)
{
	while (n-- > 0) {
		s->v0 += s->v1;
		s->v2 += s->v3;
		s->v1 = rotate(s->v1, 13) ^ s->v0;
		s->v3 = rotate(s->v3, 16) ^ s->v2;
		s->v0 = rotate(s->v0, 32);
		s->v2 += s->v1;
		s->v0 += s->v3;
		s->v1 = rotate(s->v1, 17) ^ s->v2;
		s->v3 = rotate(s->v3, 21) ^ s->v0;
		s->v2 = rotate(s->v2, 32);
	}
}

static uint64_t load(const uint8_t *p)
{
	uint64_t x;

	memcpy(&x, p, sizeof(x));
	return le64toh(x);
}

static void store(uint8_t *p, uint64_t x)
{
	x = htole64(x);
	memcpy(p, &x, sizeof(x));
}

static void absorb(struct sip *s, uint64_t word)
{
	s->v3 ^= word;
	rounds(s, 2);
	s->v0 ^= word;
}

void siphash128(const uint8_t key[SIPHASH_KEY], const void *data, size_t len, uint8_t ret[16])
{
	const uint64_t k0 = load(key), k1 = load(key + 8);
	/* The constants spell "somepseudorandomlygeneratedbytes". */
	struct sip s = {
		.v0 = k0 ^ UINT64_C(0x736f6d6570736575),
		.v1 = k1 ^ UINT64_C(0x646f72616e646f6d) ^ 0xee,
		.v2 = k0 ^ UINT64_C(0x6c7967656e657261),
		.v3 = k1 ^ UINT64_C(0x7465646279746573),
	};
	const uint8_t *p = data;
	uint8_t tail[8] = { 0 };
	size_t left = len;

	for (; left >= 8; left -= 8, p += 8)
		absorb(&s, load(p));
	if (left > 0)
		memcpy(tail, p, left);
	tail[7] = (uint8_t)len;
	absorb(&s, load(tail));
	s.v2 ^= 0xee;
	rounds(&s, 4);
	store(ret, s.v0 ^ s.v1 ^ s.v2 ^ s.v3);
	s.v1 ^= 0xdd;
	rounds(&s, 4);
	store(ret + 8, s.v0 ^ s.v1 ^ s.v2 ^ s.v3);
}

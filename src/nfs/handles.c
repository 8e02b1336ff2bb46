/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * File handles: self-contained, and worth nothing without the key.
 *
 *	0   1   version
 *	1   3   zero
 *	4   4   export
 *	8   8   id of the object
 *	16  4   its generation
 *	20  4   zero
 *	24  16  MAC of the first 24 bytes
 *
 * Numbers are little endian.  The bytes are a function of the object alone (no parent, no time): a
 * client takes two handles for two objects, and an object may have several names and be moved.
 */
#include "internal.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define HANDLE_VERSION 1
#define MAC_AT 24u

void handle_encode(const struct handle_key *key, uint64_t id, uint32_t generation,
		   uint8_t ret[HANDLE_SIZE])
{
	uint32_t export_id = htole32(key->export_id);

	id = htole64(id);
	generation = htole32(generation);
	memset(ret, 0, HANDLE_SIZE);
	ret[0] = HANDLE_VERSION;
	memcpy(ret + 4, &export_id, 4);
	memcpy(ret + 8, &id, 8);
	memcpy(ret + 16, &generation, 4);
	siphash128(key->key, ret, MAC_AT, ret + MAC_AT);
}

int handle_decode(const struct handle_key *key, const void *data, size_t len, uint64_t *ret_id,
		  uint32_t *ret_generation)
{
	const uint8_t *got = data;
	uint8_t right[HANDLE_SIZE], differs = 0;
	uint64_t id;
	uint32_t generation;

	if (len != HANDLE_SIZE)
		return -EBADF;
	memcpy(&id, got + 8, 8);
	memcpy(&generation, got + 16, 4);
	id = le64toh(id);
	generation = le32toh(generation);
	handle_encode(key, id, generation, right);
	/* All of it, in the same time wherever it differs. */
	for (size_t i = 0; i < HANDLE_SIZE; i++)
		differs |= (uint8_t)(got[i] ^ right[i]);
	if (differs)
		return -EBADF;
	*ret_id = id;
	*ret_generation = generation;
	return 0;
}

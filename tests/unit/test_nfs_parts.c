/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parts of the NFS front end that need no stack: MAC, handles, rules, record marking, replays. */
#include "unit.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <string.h>
#include <sys/socket.h>

#include "nfs/internal.h"

static void siphash_is_the_published_one(void **state)
{
	/* Three vectors of the authors' reference for 128 bits. */
	static const uint8_t empty[16] = { 0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6,
					   0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93 };
	static const uint8_t fifteen[16] = { 0x54, 0x93, 0xe9, 0x99, 0x33, 0xb0, 0xa8, 0x11,
					     0x7e, 0x08, 0xec, 0x0f, 0x97, 0xcf, 0xc3, 0xd9 };
	static const uint8_t most[16] = { 0x51, 0x50, 0xd1, 0x77, 0x2f, 0x50, 0x83, 0x4a,
					  0x50, 0x3e, 0x06, 0x9a, 0x97, 0x3f, 0xbd, 0x7c };
	uint8_t key[SIPHASH_KEY], data[63], mac[16];

	(void)state;
	for (uint8_t i = 0; i < sizeof(key); i++)
		key[i] = i;
	for (uint8_t i = 0; i < sizeof(data); i++)
		data[i] = i;
	siphash128(key, data, 0, mac);
	assert_memory_equal(mac, empty, sizeof(mac));
	siphash128(key, data, 15, mac);
	assert_memory_equal(mac, fifteen, sizeof(mac));
	siphash128(key, data, 63, mac);
	assert_memory_equal(mac, most, sizeof(mac));
}

static void handles_round_trip(void **state)
{
	const struct handle_key key = { .key = { 1, 2, 3 }, .export_id = 7 };
	struct handle_key other = key;
	uint8_t fh[HANDLE_SIZE];
	uint64_t id;
	uint32_t generation;

	(void)state;
	handle_encode(&key, UINT64_C(0x4123456789abcdef), 0xfedcba98u, fh);
	assert_int_equal(handle_decode(&key, fh, sizeof(fh), &id, &generation), 0);
	assert_int_equal(id, UINT64_C(0x4123456789abcdef));
	assert_int_equal(generation, 0xfedcba98u);
	other.export_id = 8;
	assert_int_equal(handle_decode(&other, fh, sizeof(fh), &id, &generation), -EBADF);
	other = key;
	other.key[15] = 1;
	assert_int_equal(handle_decode(&other, fh, sizeof(fh), &id, &generation), -EBADF);
	for (size_t len = 0; len < sizeof(fh); len++)
		assert_int_equal(handle_decode(&key, fh, len, &id, &generation), -EBADF);
}

static void address(const char *listen, uint8_t ret[16])
{
	struct sockaddr_storage ss;
	unsigned len;

	assert_int_equal(listen_address_parse(listen, &ss, &len), 0);
	address_bytes(&ss, ret);
}

static void rules_by_prefix(void **state)
{
	static const char *const texts[] = { "10.1.0.0/16,ro", "10.0.0.0/9,all_squash",
					     "fd00:1::/31",    "192.168.1.5,no_root_squash",
					     "0.0.0.0/0",      "::1" };
	static const struct {
		const char *from;
		int rule;
	} cases[] = {
		{ "10.1.2.3:1", 0 },	      { "10.2.0.1:1", 1 },    { "10.128.0.1:1", 4 },
		{ "[fd00:1::5]:1", 2 },	      { "[fd00:0::5]:1", 2 }, { "[fd00:2::5]:1", -1 },
		{ "192.168.1.5:1", 3 },	      { "192.168.1.6:1", 4 }, { "[::1]:1", 5 },
		{ "[::ffff:10.1.0.1]:1", 0 }, { "[::2]:1", -1 },
	};
	struct export_rule rules[6];
	uint8_t addr[16];

	(void)state;
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(export_rule_parse(texts[i], &rules[i]), 0);
	assert_true(rules[0].read_only);
	assert_int_equal(rules[0].squash, SQUASH_ROOT);
	assert_int_equal(rules[1].squash, SQUASH_ALL);
	assert_int_equal(rules[3].squash, SQUASH_NONE);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct export_rule *found;

		/* An IPv4 address in IPv6 comes from a socket, not from text. */
		if (strstr(cases[i].from, "ffff")) {
			memset(addr, 0, 16);
			memcpy(addr + 10, "\xff\xff\x0a\x01\x00\x01", 6);
		} else {
			address(cases[i].from, addr);
		}
		found = export_rule_find(rules, 6, addr);
		assert_ptr_equal(found, cases[i].rule < 0 ? NULL : &rules[cases[i].rule]);
	}
}

static void records_in_pieces(void **state)
{
	static const uint8_t wire[] = {
		0, 0, 0, 3, 'a', 'b', 'c', 0x80, 0, 0, 2, 'd', 'e', 0x80, 0
	};
	uint8_t *buf = malloc(NFS_MAX_RECORD);

	(void)state;
	assert_non_null(buf);
	for (size_t piece = 1; piece <= sizeof(wire); piece++) {
		struct record rec = { .buf = buf };
		enum record_state st = RECORD_MORE;
		size_t at = 0;

		while (st == RECORD_MORE && at < sizeof(wire)) {
			size_t n = sizeof(wire) - at < piece ? sizeof(wire) - at : piece;

			st = record_add(&rec, wire + at, &n);
			at += n;
		}
		assert_int_equal(st, RECORD_COMPLETE);
		assert_int_equal(at, 13);
		assert_int_equal(rec.len, 5);
		assert_memory_equal(buf, "abcde", 5);
	}
	free(buf);
}

static void records_too_long(void **state)
{
	uint8_t *buf = malloc(NFS_MAX_RECORD);
	struct record rec = { .buf = buf };
	static const uint8_t huge[] = { 0xff, 0xff, 0xff, 0xff }, empty[] = { 0, 0, 0, 0 };
	const uint32_t most = htonl(NFS_MAX_RECORD), one = htonl(0x80000001u);
	size_t n = 4, left;
	uint8_t *place;

	(void)state;
	assert_non_null(buf);
	assert_int_equal(record_add(&rec, huge, &n), RECORD_BAD);
	record_reset(&rec);
	n = 4;
	assert_int_equal(record_add(&rec, empty, &n), RECORD_BAD);
	/* One byte more than there is room, over two fragments. */
	record_reset(&rec);
	n = 4;
	assert_int_equal(record_add(&rec, (const uint8_t *)&most, &n), RECORD_MORE);
	left = record_room(&rec, &place);
	assert_int_equal(left, NFS_MAX_RECORD);
	assert_ptr_equal(place, buf);
	assert_int_equal(record_took(&rec, left), RECORD_MORE);
	n = 4;
	assert_int_equal(record_add(&rec, (const uint8_t *)&one, &n), RECORD_BAD);
	free(buf);
}

static void replays_are_bounded(void **state)
{
	struct drc *drc = drc_new(2, -1);
	struct drc_key keys[3] = { { .xid = 1 }, { .xid = 2 }, { .xid = 3 } };
	struct drc_entry *entries[3] = { NULL, NULL, NULL }, *entry;
	uint8_t answer[DRC_ANSWER_MAX];
	size_t len = 0;

	(void)state;
	assert_non_null(drc);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(drc_begin(drc, &keys[i], &entries[i], answer, &len), DRC_NEW);
	/* No entry is free: it is done all the same, without being remembered. */
	assert_int_equal(drc_begin(drc, &keys[2], &entries[2], answer, &len), DRC_NEW);
	assert_null(entries[2]);
	drc_done(drc, entries[2], (const uint8_t *)"c", 1);
	/* Under way, and not soon done. */
	assert_int_equal(drc_begin(drc, &keys[0], &entry, answer, &len), DRC_BUSY);
	drc_done(drc, entries[0], (const uint8_t *)"aa", 2);
	assert_int_equal(drc_begin(drc, &keys[0], &entry, answer, &len), DRC_REPLAY);
	assert_int_equal(len, 2);
	assert_memory_equal(answer, "aa", 2);
	/* An answer that is none is forgotten. */
	drc_done(drc, entries[1], NULL, 0);
	assert_int_equal(drc_begin(drc, &keys[1], &entries[1], answer, &len), DRC_NEW);
	drc_done(drc, entries[1], (const uint8_t *)"b", 1);
	/* The longest unused goes first. */
	assert_int_equal(drc_begin(drc, &keys[2], &entries[2], answer, &len), DRC_NEW);
	drc_done(drc, entries[2], (const uint8_t *)"c", 1);
	assert_int_equal(drc_begin(drc, &keys[1], &entry, answer, &len), DRC_REPLAY);
	assert_int_equal(drc_begin(drc, &keys[2], &entry, answer, &len), DRC_REPLAY);
	assert_int_equal(drc_begin(drc, &keys[0], &entry, answer, &len), DRC_NEW);
	drc_done(drc, entry, NULL, 0);
	drc_free(drc);
}

/* What a killed server has begun, and what it has answered, is known to the next one. */
static void replies_in_a_file(void **state)
{
	const struct drc_key key = { .xid = 5, .len = 100, .hash = 77 }, other = { .xid = 6 };
	int file = memfd_create("replies", MFD_CLOEXEC);
	uint8_t answer[DRC_ANSWER_MAX];
	struct drc_entry *entry;
	struct drc *drc;
	size_t len = 0;

	(void)state;
	assert_true(file >= 0);
	drc = drc_new(4, dup(file));
	assert_int_equal(drc_begin(drc, &key, &entry, answer, &len), DRC_NEW);
	drc_note(drc, entry, 1234);
	assert_int_equal(drc_begin(drc, &other, &entry, answer, &len), DRC_NEW);
	drc_done(drc, entry, (const uint8_t *)"not noted", 9);
	drc_free(drc);

	drc = drc_new(4, dup(file));
	assert_int_equal(drc_begin(drc, &other, &entry, answer, &len), DRC_NEW);
	drc_done(drc, entry, NULL, 0);
	assert_int_equal(drc_begin(drc, &key, &entry, answer, &len), DRC_AGAIN);
	assert_true(drc_noted(entry) == 1234);
	drc_done(drc, entry, (const uint8_t *)"done", 4);
	drc_free(drc);

	drc = drc_new(4, dup(file));
	assert_int_equal(drc_begin(drc, &key, &entry, answer, &len), DRC_REPLAY);
	assert_true(len == 4 && memcmp(answer, "done", 4) == 0);
	drc_free(drc);

	/* Of another size it is begun anew. */
	drc = drc_new(8, dup(file));
	assert_int_equal(drc_begin(drc, &key, &entry, answer, &len), DRC_NEW);
	drc_done(drc, entry, NULL, 0);
	drc_free(drc);
	close(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(siphash_is_the_published_one),
		cmocka_unit_test(handles_round_trip),
		cmocka_unit_test(rules_by_prefix),
		cmocka_unit_test(records_in_pieces),
		cmocka_unit_test(records_too_long),
		cmocka_unit_test(replays_are_bounded),
		cmocka_unit_test(replies_in_a_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

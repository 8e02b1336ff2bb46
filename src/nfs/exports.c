/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who may come: rules by address.  And where to listen. */
#include "internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/parse.h"

static const uint8_t v4_prefix[12] = { [10] = 0xff, [11] = 0xff };

/* An address of either family; *RET_BITS gets how many bits of the 16 bytes an all-ones prefix of
 * that family has before its own first one. */
static int parse_address(const char *text, uint8_t ret[16], unsigned *ret_before)
{
	struct in_addr v4;
	struct in6_addr v6;

	if (inet_pton(AF_INET, text, &v4) == 1) {
		memcpy(ret, v4_prefix, sizeof(v4_prefix));
		memcpy(ret + 12, &v4, 4);
		*ret_before = 96;
		return 0;
	}
	if (inet_pton(AF_INET6, text, &v6) == 1) {
		memcpy(ret, &v6, 16);
		*ret_before = 0;
		return 0;
	}
	return -EINVAL;
}

static int parse_cidr(char *text, struct export_rule *rule)
{
	char *slash = strchr(text, '/');
	unsigned before;
	uint32_t bits;
	int r;

	if (slash)
		*slash = '\0';
	r = parse_address(text, rule->addr, &before);
	if (r < 0)
		return r;
	rule->bits = 128;
	if (!slash)
		return 0;
	if (parse_u32(slash + 1, &bits) < 0 || bits > 128 - before)
		return -EINVAL;
	rule->bits = before + bits;
	return 0;
}

int export_rule_parse(const char *text, struct export_rule *ret)
{
	struct export_rule rule = { .squash = SQUASH_ROOT };
	char copy[256];
	char *rest = copy, *word;
	int r;

	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	strcpy(copy, text);
	word = strsep(&rest, ",");
	r = parse_cidr(word, &rule);
	if (r < 0)
		return r;
	while ((word = strsep(&rest, ",")) != NULL) {
		if (strcmp(word, "ro") == 0)
			rule.read_only = true;
		else if (strcmp(word, "rw") == 0)
			rule.read_only = false;
		else if (strcmp(word, "root_squash") == 0)
			rule.squash = SQUASH_ROOT;
		else if (strcmp(word, "no_root_squash") == 0)
			rule.squash = SQUASH_NONE;
		else if (strcmp(word, "all_squash") == 0)
			rule.squash = SQUASH_ALL;
		else
			return -EINVAL;
	}
	*ret = rule;
	return 0;
}

static bool in_prefix(const struct export_rule *rule, const uint8_t addr[16])
{
	unsigned whole = rule->bits / 8, rest = rule->bits % 8;

	if (memcmp(rule->addr, addr, whole) != 0)
		return false;
	return rest == 0 || ((rule->addr[whole] ^ addr[whole]) >> (8 - rest)) == 0;
}

const struct export_rule *export_rule_find(const struct export_rule *rules, size_t n,
					   const uint8_t addr[16])
{
	for (size_t i = 0; i < n; i++) {
		if (in_prefix(&rules[i], addr))
			return &rules[i];
	}
	return NULL;
}

static void put_v4(const uint8_t addr[4], uint16_t port, struct sockaddr_storage *ret,
		   unsigned *ret_len)
{
	struct sockaddr_in *in = (struct sockaddr_in *)ret;

	*in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port) };
	memcpy(&in->sin_addr, addr, 4);
	*ret_len = sizeof(*in);
}

static void put_v6(const uint8_t addr[16], uint16_t port, struct sockaddr_storage *ret,
		   unsigned *ret_len)
{
	struct sockaddr_in6 *in = (struct sockaddr_in6 *)ret;

	*in = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port) };
	memcpy(&in->sin6_addr, addr, 16);
	*ret_len = sizeof(*in);
}

int listen_address_parse(const char *text, struct sockaddr_storage *ret, unsigned *ret_len)
{
	static const uint8_t loopback[4] = { 127, 0, 0, 1 };
	char host[64];
	const char *colon = strrchr(text, ':');
	const char *port_text = colon ? colon + 1 : text;
	size_t len = colon ? (size_t)(colon - text) : 0;
	uint8_t addr[16];
	unsigned before;
	uint32_t port;

	if (parse_u32(port_text, &port) < 0 || port > UINT16_MAX || len >= sizeof(host))
		return -EINVAL;
	if (!colon) {
		put_v4(loopback, (uint16_t)port, ret, ret_len);
		return 0;
	}
	memcpy(host, text, len);
	host[len] = '\0';
	if (len >= 2 && host[0] == '[' && host[len - 1] == ']') {
		host[len - 1] = '\0';
		if (parse_address(host + 1, addr, &before) < 0 || before != 0)
			return -EINVAL;
		put_v6(addr, (uint16_t)port, ret, ret_len);
		return 0;
	}
	if (parse_address(host, addr, &before) < 0 || before != 96)
		return -EINVAL;
	put_v4(addr + 12, (uint16_t)port, ret, ret_len);
	return 0;
}

void address_bytes(const struct sockaddr_storage *from, uint8_t ret[16])
{
	memset(ret, 0, 16);
	if (from->ss_family == AF_INET) {
		memcpy(ret, v4_prefix, sizeof(v4_prefix));
		memcpy(ret + 12, &((const struct sockaddr_in *)from)->sin_addr, 4);
	} else if (from->ss_family == AF_INET6) {
		memcpy(ret, &((const struct sockaddr_in6 *)from)->sin6_addr, 16);
	}
}

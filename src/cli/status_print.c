/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `lamina status` prints: for people, or as JSON. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/json.h"
#include "cli/status.h"

static const char *const states[] = { "off", "on", "refused" };

static const char *state_name(uint32_t state)
{
	return state < 3 ? states[state] : "?";
}

/* ---- JSON ---- */

static void json_number(const char *name, uint64_t value)
{
	(void)printf(", \"%s\": %" PRIu64, name, value);
}

static void json_list(const char *name, const char *const *list, uint32_t n)
{
	(void)printf(", \"%s\": [", name);
	for (uint32_t i = 0; i < n; i++) {
		(void)fputs(i ? ", " : "", stdout);
		json_string(stdout, list[i]);
	}
	(void)putchar(']');
}

static void json_features(const struct status *st)
{
	(void)printf(", \"features\": {");
	for (uint32_t i = 0; i < st->n_features; i++) {
		const struct status_feature *f = &st->features[i];

		(void)printf("%s", i ? ", " : "");
		json_string(stdout, f->name);
		(void)printf(": {\"state\": \"%s\", \"why\": ", state_name(f->state));
		json_string(stdout, f->why[0] ? f->why : NULL);
		(void)putchar('}');
	}
	(void)putchar('}');
}

static void json_requests(const struct status *st)
{
	bool first = true;

	(void)printf(", \"bucket_ns\": %u, \"requests\": {", FUSE_FRONT_BUCKET_NS);
	for (unsigned k = 0; k < FUSE_FRONT_OPS; k++) {
		const char *name = fuse_front_op_name(k);

		if (!st->requests[k])
			continue;
		(void)printf("%s\n  \"%s\": {\"count\": %" PRIu64 ", \"total_ns\": %" PRIu64
			     ", \"histogram\": [",
			     first ? "" : ",", name ? name : "?", st->requests[k],
			     st->latency[k].total_ns);
		for (unsigned b = 0; b < FUSE_FRONT_BUCKETS; b++)
			(void)printf("%s%" PRIu64, b ? ", " : "", st->latency[k].counts[b]);
		(void)printf("]}");
		first = false;
	}
	(void)putchar('}');
}

void status_print_json(const struct status_sample *s)
{
	const struct status *st = s->status;
	const struct lam_stats *n = &st->stack;

	(void)printf("{\"mountpoint\": ");
	json_string(stdout, s->strings[1]);
	(void)printf(", \"program\": ");
	json_string(stdout, s->strings[0]);
	(void)printf(", \"mode\": \"%s\", \"upper\": ", st->writable ? "rw" : "ro");
	json_string(stdout, *s->strings[2] ? s->strings[2] : NULL);
	(void)printf(", \"work\": ");
	json_string(stdout, *s->strings[3] ? s->strings[3] : NULL);
	json_list("lower", s->strings + 4, st->n_lower);
	json_list("data", s->strings + 4 + st->n_lower, st->n_data);
	json_number("pid", (uint64_t)st->pid);
	json_number("supervisor", (uint64_t)st->supervisor);
	json_number("servers", st->generation);
	json_number("deaths", st->deaths);
	json_number("upgrades", st->upgrades);
	json_number("last_gap_us", st->gap_us);
	json_number("serving_ns", st->now_ns - st->since_ns);
	json_number("threads", st->threads);
	json_features(st);
	json_number("resident_bytes", st->rss_bytes);
	json_number("nodes", n->nodes);
	json_number("node_bytes", n->node_bytes);
	json_number("node_hits", n->node_hits);
	json_number("node_misses", n->node_misses);
	json_number("descriptors", n->fds);
	json_number("descriptor_hits", n->fd_hits);
	json_number("descriptor_misses", n->fd_misses);
	json_number("listings", n->listings);
	json_number("listing_bytes", n->listing_bytes);
	json_number("copyups", n->copyups);
	json_number("copyup_bytes", n->copyup_bytes);
	json_number("whiteouts", n->whiteouts);
	json_number("orphans", n->orphans);
	json_number("held_ids", st->held_ids);
	json_number("errors", st->errors);
	json_number("malformed", st->malformed);
	json_number("interrupted", st->interrupted);
	json_number("notifications", st->notifications);
	json_requests(st);
	(void)putchar('}');
}

/* ---- Text ---- */

static void print_size(uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	double n = (double)bytes;
	unsigned u = 0;

	while (n >= 1024 && u + 1 < sizeof(units) / sizeof(units[0])) {
		n /= 1024;
		u++;
	}
	(void)printf("%.*f %s", u ? 1 : 0, n, units[u]);
}

static void print_rate(const char *what, uint64_t hits, uint64_t misses)
{
	if (hits + misses)
		(void)printf("%s %.1f %% of %" PRIu64, what,
			     100.0 * (double)hits / (double)(hits + misses), hits + misses);
	else
		(void)printf("%s unused", what);
}

/* The time that a part of the operations took at most, in microseconds; 0: longer than was counted. */
static uint64_t percentile_us(const uint64_t counts[FUSE_FRONT_BUCKETS], uint64_t total,
			      unsigned percent)
{
	uint64_t seen = 0, want = (total * percent + 99) / 100;

	for (unsigned b = 0; b + 1 < FUSE_FRONT_BUCKETS; b++) {
		seen += counts[b];
		if (seen >= want)
			return (uint64_t)FUSE_FRONT_BUCKET_NS / 1000 << b;
	}
	return 0;
}

static void print_percentile(uint64_t us)
{
	if (us)
		(void)printf(" %9s%5" PRIu64 " us", "<", us);
	else
		(void)printf(" %9s%5u us",
			     ">=", FUSE_FRONT_BUCKET_NS / 1000 << (FUSE_FRONT_BUCKETS - 2));
}

static void print_requests(const struct status *st, const struct status *old)
{
	const uint64_t span = st->now_ns - (old ? old->now_ns : st->since_ns);
	const double seconds = span ? (double)span / 1e9 : 1;

	(void)printf("  %-20s %12s %12s %17s %17s\n", "request", "count", "per second",
		     "half of them", "99 % of them");
	for (unsigned k = 0; k < FUSE_FRONT_OPS; k++) {
		uint64_t counts[FUSE_FRONT_BUCKETS];
		uint64_t n = st->requests[k] - (old ? old->requests[k] : 0), total = 0;
		const char *name = fuse_front_op_name(k);

		if (!n)
			continue;
		for (unsigned b = 0; b < FUSE_FRONT_BUCKETS; b++) {
			counts[b] = st->latency[k].counts[b] -
				    (old ? old->latency[k].counts[b] : 0);
			total += counts[b];
		}
		(void)printf("  %-20s %12" PRIu64 " %12.1f", name ? name : "?", n,
			     (double)n / seconds);
		print_percentile(percentile_us(counts, total, 50));
		print_percentile(percentile_us(counts, total, 99));
		(void)putchar('\n');
	}
}

static void print_layers(const struct status_sample *s)
{
	const struct status *st = s->status;

	if (*s->strings[2])
		(void)printf("  upper %s, work %s\n", s->strings[2], s->strings[3]);
	for (uint32_t i = 0; i < st->n_lower; i++)
		(void)printf("  lower %s\n", s->strings[4 + i]);
	for (uint32_t i = 0; i < st->n_data; i++)
		(void)printf("  data  %s\n", s->strings[4 + st->n_lower + i]);
}

static void print_features(const struct status *st)
{
	for (uint32_t state = STATUS_ON;; state = STATUS_OFF) {
		(void)printf("  %s:", state == STATUS_ON ? "in use" : "off");
		for (uint32_t i = 0; i < st->n_features; i++) {
			if (st->features[i].state == state)
				(void)printf(" %s", st->features[i].name);
		}
		(void)putchar('\n');
		if (state == STATUS_OFF)
			break;
	}
	for (uint32_t i = 0; i < st->n_features; i++) {
		if (st->features[i].state == STATUS_REFUSED)
			(void)printf("  refused: %s: %s\n", st->features[i].name,
				     st->features[i].why);
	}
}

void status_print_text(const struct status_sample *s, const struct status_sample *before)
{
	const struct status *st = s->status;
	const struct lam_stats *n = &st->stack;

	(void)printf("%s\n  %s, server %d (Lamina %s), %" PRIu64 " s, %u threads", s->strings[1],
		     st->writable ? "read-write" : "read-only", st->pid, s->strings[0],
		     (st->now_ns - st->since_ns) / 1000000000u, st->threads);
	if (st->supervisor)
		(void)printf("; supervisor %d, %u servers ended, %u upgrades", st->supervisor,
			     st->deaths, st->upgrades);
	(void)putchar('\n');
	print_layers(s);
	print_features(st);
	(void)printf("  memory: ");
	print_size(st->rss_bytes);
	(void)printf("; %" PRIu64 " objects, ", n->nodes);
	print_size(n->node_bytes);
	(void)printf("; %" PRIu64 " listings, ", n->listings);
	print_size(n->listing_bytes);
	(void)printf("; %" PRIu64 " descriptors; the kernel knows %" PRIu64 " ids\n", n->fds,
		     st->held_ids);
	(void)printf("  found in memory:");
	print_rate(" objects", n->node_hits, n->node_misses);
	print_rate(", descriptors", n->fd_hits, n->fd_misses);
	(void)printf("\n  copied up: %" PRIu64 ", ", n->copyups);
	print_size(n->copyup_bytes);
	(void)printf("; whiteouts made %" PRIu64 "; orphans %" PRIu64 "; errors %" PRIu64 "\n",
		     n->whiteouts, n->orphans, st->errors);
	print_requests(st, before ? before->status : NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The front end as a whole: settings, keys, start and stop. */
#include "front.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/log.h"
#include "internal.h"
#include "super/super.h"

#define DEFAULT_LISTEN "127.0.0.1:2049"
#define DEFAULT_CONNECTIONS 256u
#define CONNECTIONS_MAX 65536u
#define DEFAULT_IDLE 900u
#define DEFAULT_STALL 30u
#define DRC_ENTRIES 4096u
#define KEY_NAME "nfs-key"
#define REPLIES_NAME "nfs-replies"

static const char *const default_rules[] = { "127.0.0.0/8", "::1" };

uint64_t front_now_ms(void)
{
	struct timespec now;

	/* Cannot fail for this clock. */
	(void)clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int take_rules(struct nfs_front *front, const struct nfs_front_config *config)
{
	const char *const *texts = config->n_allow ? config->allow : default_rules;
	size_t n = config->n_allow ? config->n_allow : ARRAY_LEN(default_rules);

	front->rules = calloc(n, sizeof(*front->rules));
	if (!front->rules)
		return -ENOMEM;
	front->n_rules = n;
	for (size_t i = 0; i < n; i++) {
		int r = export_rule_parse(texts[i], &front->rules[i]);

		if (r < 0) {
			log_error("nfs: %s is not ADDRESS[/BITS][,ro|rw][,root_squash|"
				  "no_root_squash|all_squash]",
				  QUOTE(texts[i]));
			return r;
		}
	}
	return 0;
}

/* "/name" without slashes at its end; "/" is no name of its own. */
static int take_export_path(struct nfs_front *front, const char *path)
{
	size_t len = path ? strlen(path) : 0;

	while (len > 0 && path[len - 1] == '/')
		len--;
	if (path && path[0] != '/') {
		log_error("nfs: the export's path %s does not begin with a slash", QUOTE(path));
		return -EINVAL;
	}
	if (len == 0)
		return 0;
	front->export_path = strndup(path, len);
	return front->export_path ? 0 : -ENOMEM;
}

/* ---- The key of the handles ---- */

static int read_key_file(const char *path, uint8_t key[SIPHASH_KEY])
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n;
	uint8_t bytes[SIPHASH_KEY];

	if (fd < 0)
		return -errno;
	n = read(fd, bytes, sizeof(bytes));
	if (n < 0)
		return -errno;
	if ((size_t)n < sizeof(bytes))
		return -EINVAL;
	memcpy(key, bytes, sizeof(bytes));
	return 0;
}

static int take_key(struct nfs_front *front, const struct nfs_front_config *config)
{
	uint8_t *key = front->key.key;
	int r;

	if (config->key_file) {
		r = read_key_file(config->key_file, key);
		if (r < 0)
			log_error("nfs: the key file %s: %s", QUOTE(config->key_file),
				  r == -EINVAL ? "less than 16 bytes" : log_errno(r));
		else if (config->export_id)
			front->key.export_id = (uint32_t)hash_bytes(config->export_id,
								    strlen(config->export_id));
		return r;
	}
	r = lam_stack_secret(front->stack, KEY_NAME, key, SIPHASH_KEY);
	if (r == -EROFS) {
		/* Nowhere to keep one: handles are good until the server ends. */
		r = getrandom(key, SIPHASH_KEY, 0) == SIPHASH_KEY ? 0 : -EIO;
		log_info("nfs: no work directory keeps a key: clients have to mount again when the "
			 "server is started again; a key file avoids that");
	}
	if (r < 0)
		log_error("nfs: the key of the handles: %s", log_errno(r));
	return r;
}

/* Numbers that tell this export from others, and are the same in every run. */
static void derive(struct nfs_front *front)
{
	struct {
		uint32_t export_id;
		char what[12];
	} input = { .export_id = front->key.export_id, .what = "filesystem" };
	uint8_t mac[16];

	siphash128(front->key.key, &input, sizeof(input), mac);
	memcpy(&front->fsid, mac, sizeof(front->fsid));
	memcpy(front->cookie_verf, mac + 8, sizeof(front->cookie_verf));
}

/* ---- Life ---- */

static unsigned default_threads(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (cpus < 4)
		return 8;
	return cpus > 16 ? 32 : (unsigned)cpus * 2;
}

static int make_transport(struct nfs_front *front, const struct nfs_front_config *config)
{
	const char *listen = config->listen ? config->listen : DEFAULT_LISTEN;
	struct sockaddr_storage address;
	struct transport_config tc = {
		.listen = &address,
		.link = config->link,
		.max_connections = config->max_connections ? config->max_connections
							   : DEFAULT_CONNECTIONS,
		.idle_seconds = config->idle_seconds ? config->idle_seconds : DEFAULT_IDLE,
		.stall_seconds = config->stall_seconds ? config->stall_seconds : DEFAULT_STALL,
	};
	int r = listen_address_parse(listen, &address, &tc.listen_len);

	if (r < 0) {
		log_error("nfs: %s is not ADDRESS:PORT", QUOTE(listen));
		return r;
	}
	if (tc.max_connections > CONNECTIONS_MAX)
		tc.max_connections = CONNECTIONS_MAX;
	r = transport_new(front, &tc, &front->transport);
	if (r < 0)
		log_error("nfs: cannot listen on %s: %s", QUOTE(listen), log_errno(r));
	return r;
}

/*
 * What the server before this one told its clients goes on to be true.  VERF is a new verifier: what was
 * written and not committed may be lost since the one before.  Not by the end of a process alone, but
 * when that ended in a sync, nobody knows whether the sync failed.
 */
static void share(struct nfs_front *front, const struct super_link *link, uint64_t verf)
{
	struct state_nfs *kept = link ? &link->state->mem->nfs : &front->own;
	const bool valid = atomic_load(&kept->valid) != 0;

	front->kept = kept;
	if (atomic_exchange(&kept->syncing, 0) > 0 || !valid)
		atomic_store(&kept->write_verf, verf);
	if (!valid) {
		memcpy(kept->key, front->key.key, sizeof(kept->key));
		atomic_store(&kept->valid, 1);
	}
	/* The key may have come from nowhere but a random number. */
	memcpy(front->key.key, kept->key, sizeof(kept->key));
}

static int set_up(struct nfs_front *front, const struct nfs_front_config *config)
{
	uint64_t verf;
	int fd, r = take_rules(front, config);

	if (r == 0)
		r = take_export_path(front, config->export_path);
	if (r == 0)
		r = take_key(front, config);
	if (r < 0)
		return r;
	if (getrandom(&verf, sizeof(verf), 0) != sizeof(verf))
		return -EIO;
	share(front, config->link, verf);
	derive(front);
	/* Without a work directory nothing can be changed, so there is nothing to keep. */
	r = lam_stack_file(front->stack, REPLIES_NAME, &fd);
	if (r < 0 && r != -EROFS)
		log_warning("nfs: answers are not kept for the next start: %s", log_errno(r));
	front->drc = drc_new(DRC_ENTRIES, r < 0 ? -1 : fd);
	if (!front->drc)
		return -ENOMEM;
	return make_transport(front, config);
}

int nfs_front_open(struct nfs_front **ret, struct lam_stack *stack,
		   const struct nfs_front_config *config)
{
	struct nfs_front *front = calloc(1, sizeof(*front));
	int r;

	if (!front) {
		log_error("out of memory");
		return -ENOMEM;
	}
	CHECK(!config->shared || (config->changed && config->name_changed));
	front->stack = stack;
	front->async = config->async;
	front->shared = config->shared;
	front->changed = config->changed;
	front->name_changed = config->name_changed;
	front->ctx = config->ctx;
	front->n_workers = config->threads ? config->threads : default_threads();
	/* A change that takes long leaves two to the others. */
	if (front->n_workers < 4)
		front->n_workers = 4;
	if (front->n_workers > THREADS_MAX)
		front->n_workers = THREADS_MAX;
	r = set_up(front, config);
	if (r < 0) {
		nfs_front_close(front);
		return r;
	}
	*ret = front;
	return 0;
}

int nfs_front_start(struct nfs_front *front)
{
	int r = transport_start(front->transport);

	if (r < 0)
		log_error("nfs: cannot start the serving threads: %s", log_errno(r));
	return r;
}

void nfs_front_wait(struct nfs_front *front)
{
	transport_wait(front->transport);
}

void nfs_front_stop(struct nfs_front *front)
{
	/* Only atomics and write(): this may run in a signal handler. */
	if (atomic_fetch_add(&front->stops, 1) > 0)
		atomic_store(&front->cancelled, true);
	transport_stop(front->transport);
}

void nfs_front_close(struct nfs_front *front)
{
	if (!front)
		return;
	if (front->transport) {
		transport_stop(front->transport);
		transport_wait(front->transport);
		transport_free(front->transport);
	}
	drc_free(front->drc);
	free(front->rules);
	free(front->export_path);
	explicit_bzero(&front->key, sizeof(front->key));
	explicit_bzero(&front->own, sizeof(front->own));
	free(front);
}

unsigned nfs_front_port(const struct nfs_front *front)
{
	return transport_port(front->transport);
}

void nfs_front_stats(struct nfs_front *front, struct nfs_front_stats *ret)
{
	*ret = (struct nfs_front_stats){
		.mount_requests = atomic_load(&front->mount_requests),
		.errors = atomic_load(&front->errors),
		.malformed = atomic_load(&front->malformed),
		.replays = atomic_load(&front->replays),
		.refused = atomic_load(&front->refused),
		.timed_out = atomic_load(&front->timed_out),
		.connections = transport_connections(front->transport),
	};
	for (unsigned i = 0; i < NFS_FRONT_PROCS; i++)
		ret->requests[i] = atomic_load(&front->requests[i]);
}

const char *nfs_front_proc_name(unsigned number)
{
	const struct procedure *p = nfs3_procedure(number);

	return p ? p->name : NULL;
}

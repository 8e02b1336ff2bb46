/* SPDX-License-Identifier: GPL-2.0-or-later */
/* lamina status: ask the server of a mount how it is. */
#include "cli/status.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "mount_table.h"

const char status_usage[] =
	"usage: lamina status [--json | --watch] [MOUNTPOINT]...\n"
	"\n"
	"Show what mounts do: layers, mode, features in use and refused (and why), requests by kind\n"
	"and how long they take, memory, caches, copies.  Without MOUNTPOINT: all mounts of Lamina that\n"
	"this user may ask.\n"
	"\n"
	"      --json    one JSON object\n"
	"      --watch   every second, what came in that second, until interrupted\n"
	"  -h, --help\n"
	"\n"
	"Only root and the user who serves a mount may ask.  All of it: lamina-status(1).\n";

enum { FLAG_JSON = 256, FLAG_WATCH };

static const struct option flags[] = {
	{ "json", no_argument, NULL, FLAG_JSON },
	{ "watch", no_argument, NULL, FLAG_WATCH },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* ---- Asking ---- */

static void sample_done(struct status_sample *s)
{
	free(s->status);
	free(s->strings);
	*s = (struct status_sample){ 0 };
}

static int receive_all(int sock, void *data, size_t len)
{
	char *at = data;

	while (len > 0) {
		ssize_t n = recv(sock, at, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EPERM; /* closed without a word */
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Anybody may take the name of the socket: what is told there counts only if it is told by root, by this
 * user, or by a process that holds the connection. */
static int connect_server(uint64_t minor)
{
	CLEANUP_CLOSE int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval patience = { .tv_sec = 5 };
	struct sockaddr_un address;
	socklen_t len = status_address(minor, &address);
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (sock < 0 ||
	    setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
	    connect(sock, (const struct sockaddr *)&address, len) < 0 ||
	    getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
		return -errno;
	if (peer.uid != 0 && peer.uid != geteuid() && !mount_table_serves(peer.pid, minor))
		return -EPERM;
	return TAKE_FD(sock);
}

/* Take the strings apart; every one must end within the text. */
static int take_strings(struct status_sample *s)
{
	const struct status *st = s->status;
	size_t n = 4 + (size_t)st->n_lower + st->n_data, at = 0;
	const char *text = (const char *)(st + 1);

	if (n > st->text_len)
		return -EPROTO;
	s->strings = calloc(n, sizeof(*s->strings));
	if (!s->strings)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const char *end = at < st->text_len ? memchr(text + at, '\0', st->text_len - at)
						    : NULL;

		if (!end)
			return -EPROTO;
		s->strings[i] = text + at;
		at = (size_t)(end + 1 - text);
	}
	return 0;
}

static int check_head(const struct status *st)
{
	if (st->magic != STATUS_MAGIC || st->version != STATUS_VERSION || st->size != sizeof(*st) ||
	    st->text_len > STATUS_TEXT_MAX || st->n_features > STATUS_FEATURES)
		return -EPROTO;
	for (uint32_t i = 0; i < st->n_features; i++) {
		const struct status_feature *f = &st->features[i];

		if (!memchr(f->name, '\0', sizeof(f->name)) ||
		    !memchr(f->why, '\0', sizeof(f->why)))
			return -EPROTO;
	}
	return 0;
}

static int take_sample(uint64_t minor, struct status_sample *ret)
{
	CLEANUP_CLOSE int sock = connect_server(minor);
	struct status_sample s = { .status = malloc(sizeof(*s.status)) };
	struct status *bigger;
	int r = sock < 0 ? sock : s.status ? 0 : -ENOMEM;

	if (r == 0)
		r = receive_all(sock, s.status, sizeof(*s.status));
	if (r == 0)
		r = check_head(s.status);
	if (r == 0) {
		bigger = realloc(s.status, sizeof(*s.status) + s.status->text_len);
		if (bigger)
			s.status = bigger;
		r = bigger ? receive_all(sock, s.status + 1, s.status->text_len) : -ENOMEM;
	}
	if (r == 0)
		r = take_strings(&s);
	if (r < 0)
		sample_done(&s);
	else
		*ret = s;
	return r;
}

/* ---- Printing ---- */

struct request {
	bool json, watch, all;
	unsigned printed;
};

static void complain(const char *path, int r)
{
	if (r == -ECONNREFUSED)
		message_error(
			"nobody can be asked about the mount on %s: it is not one of Lamina's, "
			"or in another network namespace",
			QUOTE(path));
	else if (r == -EPERM)
		message_error("only root and the user who serves %s may ask", QUOTE(path));
	else if (r == -EPROTO)
		message_error("the server of %s is of another version; lamina upgrade replaces it",
			      QUOTE(path));
	else
		message_error("cannot ask the server of %s: %s", QUOTE(path), log_errno(r));
}

static int show(void *ctx, const char *path, uint64_t minor)
{
	struct status_sample s = { 0 };
	struct request *q = ctx;
	int r = take_sample(minor, &s);

	if (r < 0) {
		if (!q->all)
			complain(path, r);
		return q->all ? 0 : r;
	}
	if (q->json) {
		(void)printf("%s\n ", q->printed ? "," : "");
		status_print_json(&s);
	} else {
		status_print_text(&s, NULL);
	}
	q->printed++;
	sample_done(&s);
	return 0;
}

/* The number of the connection; a failure has been said. */
static int find(const char *arg, char **ret_path, uint64_t *ret_minor)
{
	CLEANUP_FREE char *path = mount_table_path(arg);
	struct mount_entry entry = { 0 };
	int r = path ? mount_table_find(path, &entry) : -errno;

	if (r == -ENOENT && path)
		message_error("nothing is mounted on %s", QUOTE(path));
	else if (r < 0)
		message_error("%s: %s", QUOTE(arg), log_errno(r));
	else if (!entry.fuse)
		message_error("the mount on %s is not one of Lamina's", QUOTE(path));
	else
		*ret_minor = entry.minor;
	if (r == 0 && !entry.fuse)
		r = -EINVAL;
	if (r == 0)
		*ret_path = TAKE_PTR(path);
	return r;
}

static int show_one(struct request *q, const char *arg)
{
	CLEANUP_FREE char *path = NULL;
	uint64_t minor;
	int r = find(arg, &path, &minor);

	return r < 0 ? r : show(q, path, minor);
}

/* Until the mount ends; a server that was replaced begins at zero. */
static int watch(const char *arg)
{
	CLEANUP_FREE char *path = NULL;
	struct status_sample old = { 0 }, now = { 0 };
	const struct timespec second = { .tv_sec = 1 };
	uint64_t minor;
	int r = find(arg, &path, &minor);

	if (r == 0)
		r = take_sample(minor, &old);
	while (r == 0) {
		(void)nanosleep(&second, NULL); /* a shorter one does no harm */
		r = take_sample(minor, &now);
		if (r < 0)
			break;
		if (isatty(STDOUT_FILENO))
			(void)fputs("\033[H\033[J", stdout);
		status_print_text(&now, now.status->pid == old.status->pid ? &old : NULL);
		if (fflush(stdout) != 0)
			r = -EIO;
		sample_done(&old);
		old = now;
		now = (struct status_sample){ 0 };
	}
	if (path && r != -EIO)
		complain(path, r);
	sample_done(&old);
	return r;
}

int cmd_status(int argc, char **argv)
{
	struct request q = { 0 };
	int c, status = 0;

	opterr = 0;
	while ((c = getopt_long(argc, argv, "h", flags, NULL)) != -1) {
		if (c == 'h') {
			(void)fputs(status_usage, stdout);
			return 0;
		}
		if (c != FLAG_JSON && c != FLAG_WATCH)
			return command_misused("status", "unknown flag");
		*(c == FLAG_JSON ? &q.json : &q.watch) = true;
	}
	if (q.watch && (q.json || argc - optind != 1))
		return command_misused("status", "--watch takes one mountpoint, and no --json");
	if (q.watch)
		return watch(argv[optind]) < 0;
	q.all = optind == argc;
	if (q.json)
		(void)printf("{\"version\": %u, \"mounts\": [", STATUS_VERSION);
	if (q.all && mount_table_each(show, &q) < 0)
		status = 1;
	for (int i = optind; i < argc; i++)
		status |= show_one(&q, argv[i]) < 0;
	if (q.json)
		(void)printf("%s]}\n", q.printed ? "\n" : "");
	return fflush(stdout) == 0 ? status : 1;
}

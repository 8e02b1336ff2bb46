// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A client of NFS version 3 over TCP, on this machine.  Where the server closes the connection instead of
 * an answer, it asks again by another one under the same number, as clients do.
 *
 *	getattr P	access P	readlink P	lookup P	fsstat	fsinfo	pathconf
 *	chmod P MODE	chown P U G	truncate P SIZE	utimes P S	mnt
 *	read P OFF LEN	write P OFF TEXT		sync P OFF TEXT commit P
 *	create P MODE	guarded P MODE	exclusive P	mkdir P MODE	symlink P TO
 *	fifo P MODE	device P MODE	(all with MODE also with UID GID)
 *	remove P	rmdir P		rename A B
 *	link OLD NEW	readdir P	readdirplus P
 */
#include "client.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "nfs/internal.h"
#include "tests/trial/trial.h"

#define PATIENCE_MS 30000
#define ANSWER_MOST (256u << 10)
#define REPLY_HEAD 24u /* xid, reply, accepted, verifier (2), status */
#define READ_ATTR 92u  /* before the data of READ: a status, and attributes */

static struct nfs_front *front;
static int sock = -1;
static uint32_t xid;

/* The call that was made, after its mark; and who it is for. */
static _Alignas(8) uint8_t msg[4096];
static size_t msg_len;
static uint32_t proc, program;
static XDR out;

/* The answer that came last. */
static _Alignas(8) uint8_t reply[ANSWER_MOST];
static size_t reply_len;

/* ---- The connection ---- */

static void dial(void)
{
	const struct sockaddr_in to = { .sin_family = AF_INET,
					.sin_port = htons((uint16_t)nfs_front_port(front)),
					.sin_addr = { htonl(INADDR_LOOPBACK) } };
	const int one = 1;

	if (sock >= 0)
		(void)close(sock);
	sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (sock < 0 || connect(sock, (const struct sockaddr *)&to, sizeof(to)) < 0 ||
	    setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
		trial_die("cannot connect: %s", strerror(errno));
}

static bool take(void *to, size_t len)
{
	struct pollfd p = { .fd = sock, .events = POLLIN };

	for (size_t at = 0; at < len;) {
		ssize_t n;

		if (poll(&p, 1, PATIENCE_MS) != 1)
			trial_die("no answer comes to procedure %u", proc);
		n = recv(sock, (uint8_t *)to + at, len - at, 0);
		if (n <= 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

/* One record; false: the connection is closed. */
static bool hear(void)
{
	uint32_t mark;

	if (!take(&mark, sizeof(mark)))
		return false;
	mark = be32toh(mark);
	reply_len = mark & 0x7fffffffu;
	if (!(mark & 0x80000000u) || reply_len > sizeof(reply) || reply_len < REPLY_HEAD)
		trial_die("an answer of %zu bytes", reply_len);
	return take(reply, reply_len);
}

static uint32_t word(const uint8_t *at)
{
	uint32_t w;

	memcpy(&w, at, sizeof(w));
	return be32toh(w);
}

static void put_word(uint8_t *at, uint32_t w)
{
	w = htobe32(w);
	memcpy(at, &w, sizeof(w));
}

/* Send the call under a number and take what comes. */
static void exchange(void)
{
	uint8_t mark[4];

	put_word(msg, xid);
	put_word(mark, 0x80000000u | (uint32_t)msg_len);
	for (unsigned i = 0; i < 3; i++) {
		if (send(sock, mark, sizeof(mark), MSG_NOSIGNAL | MSG_MORE) == sizeof(mark) &&
		    send(sock, msg, msg_len, MSG_NOSIGNAL) == (ssize_t)msg_len && hear())
			return;
		dial();
	}
	trial_die("the connection is closed again and again");
}

/* ---- Calls ---- */

static void must(bool_t done)
{
	CHECK(done);
}

static void start(uint32_t prog, uint32_t number)
{
	const uint32_t head[] = { 0, 0, 2, prog, 3, number, 1 };
	/* AUTH_SYS: stamp, no machine, root, no groups; then no verifier. */
	const uint32_t cred[] = { 20, 0, 0, 0, 0, 0, 0, 0 };

	program = prog;
	proc = number;
	xdrmem_create(&out, (char *)msg, sizeof(msg), XDR_ENCODE);
	for (size_t i = 0; i < ARRAY_LEN(head) + ARRAY_LEN(cred); i++) {
		uint32_t w = i < ARRAY_LEN(head) ? head[i] : cred[i - ARRAY_LEN(head)];

		must(xdr_u_int(&out, &w));
	}
}

static void done(void)
{
	msg_len = xdr_getpos(&out);
}

static uint32_t status(void)
{
	return reply_len >= REPLY_HEAD + 4 ? word(reply + REPLY_HEAD) : 0;
}

/* Of the answers before all is made, which nothing is refused of. */
static void must_answer(const char *what)
{
	xid++;
	exchange();
	if (word(reply) != xid || word(reply + 20) != 0 || status() != NFS3_OK)
		trial_die("%s: no answer, or an error", what);
}

/* ---- Objects ---- */

struct handle {
	uint8_t bytes[HANDLE_SIZE];
};

static fh3 fh_of(struct handle *h)
{
	return (fh3){ .data = { .data_len = HANDLE_SIZE, .data_val = (char *)h->bytes } };
}

/* The handle that an answer begins with, behind the status. */
static void take_handle(struct handle *ret)
{
	CHECK(word(reply + REPLY_HEAD + 4) == HANDLE_SIZE);
	memcpy(ret->bytes, reply + REPLY_HEAD + 8, HANDLE_SIZE);
}

static void start_mnt(void)
{
	path3 path = { .path3_len = 1, .path3_val = "/" };

	start(MOUNT_PROGRAM, 1);
	must(xdr_path3(&out, &path));
	done();
}

static dirop3 dirop_of(struct handle *dir, const char *name)
{
	return (dirop3){ .dir = fh_of(dir),
			 .name = { .name3_len = (unsigned)strlen(name),
				   .name3_val = (char *)(uintptr_t)name } };
}

static void start_lookup(struct handle *dir, const char *name)
{
	dirop3 what = dirop_of(dir, name);

	start(NFS_PROGRAM, 3);
	must(xdr_dirop3(&out, &what));
	done();
}

/* As in client_fuse.c. */
static struct handle find(char *path, const char **last)
{
	struct handle at;
	char *name = path;

	start_mnt();
	must_answer("MNT");
	take_handle(&at);
	for (;;) {
		char *slash = strchr(name, '/');

		if (!slash && last) {
			*last = name;
			return at;
		}
		if (slash)
			*slash = '\0';
		if (strcmp(name, ".") != 0) {
			start_lookup(&at, name);
			must_answer(name);
			take_handle(&at);
		}
		if (!slash)
			return at;
		name = slash + 1;
	}
}

/* ---- Requests ---- */

static sattr3 sattr_of_mode(const char *mode)
{
	sattr3 attr = { .mode = { .set_it = FALSE } };

	if (mode) {
		attr.mode.set_it = TRUE;
		attr.mode.set_u32_u.value = (unsigned)strtoul(mode, NULL, 8);
	}
	return attr;
}

/* Of something new, with or without an owner: "P MODE [UID GID]". */
static sattr3 sattr_of_new(const struct words *w)
{
	sattr3 attr = sattr_of_mode(w->word[2]);

	if (w->n > 4) {
		attr.uid = (set_u32){ TRUE, { (unsigned)w->num[3] } };
		attr.gid = (set_u32){ TRUE, { (unsigned)w->num[4] } };
	}
	return attr;
}

static bool make_attr(struct words *w)
{
	setattr3args in = { .attr = sattr_of_mode(is_verb(w, "chmod") ? w->word[2] : NULL) };
	struct handle h;

	if (is_verb(w, "chown")) {
		in.attr.uid = (set_u32){ TRUE, { (unsigned)w->num[2] } };
		in.attr.gid = (set_u32){ TRUE, { (unsigned)w->num[3] } };
	} else if (is_verb(w, "truncate")) {
		in.attr.size = (set_u64){ TRUE, { w->num[2] } };
	} else if (is_verb(w, "utimes")) {
		in.attr.mtime = (set_time){ SET_TO_CLIENT_TIME, { { (unsigned)w->num[2], 0 } } };
	} else if (!is_verb(w, "chmod")) {
		return false;
	}
	h = find(w->word[1], NULL);
	in.object = fh_of(&h);
	start(NFS_PROGRAM, 2);
	must(xdr_setattr3args(&out, &in));
	return true;
}

static bool make_create(struct words *w)
{
	create3args in = { .how = { .mode = UNCHECKED } };
	const char *name;
	struct handle dir;

	if (is_verb(w, "guarded"))
		in.how.mode = GUARDED;
	else if (is_verb(w, "exclusive"))
		in.how.mode = EXCLUSIVE;
	else if (!is_verb(w, "create"))
		return false;
	if (in.how.mode == EXCLUSIVE)
		memcpy(in.how.createhow3_u.verf, "\1\2\3\4\5\6\7\10", CREATEVERFSIZE3);
	else
		in.how.createhow3_u.attr = sattr_of_new(w);
	dir = find(w->word[1], &name);
	in.where = dirop_of(&dir, name);
	start(NFS_PROGRAM, 8);
	must(xdr_create3args(&out, &in));
	return true;
}

/* The others that name an entry of a directory. */
static bool make_name(struct words *w)
{
	const bool fifo = is_verb(w, "fifo");
	const char *name;
	struct handle dir;
	mkdir3args mkdir = { .attr = sattr_of_new(w) };
	symlink3args symlink = { .attr = sattr_of_mode(NULL) };
	mknod3args mknod = { .what = { .type = fifo ? NF3FIFO : NF3BLK } };
	bool yes = false;

	for (const char *const *v = (const char *const[]){ "mkdir", "symlink", "fifo", "device",
							   "remove", "rmdir", "lookup", NULL };
	     *v; v++)
		yes |= is_verb(w, *v);
	if (!yes)
		return false;
	dir = find(w->word[1], &name);
	mkdir.where = symlink.where = mknod.where = dirop_of(&dir, name);
	if (is_verb(w, "mkdir")) {
		start(NFS_PROGRAM, 9);
		must(xdr_mkdir3args(&out, &mkdir));
	} else if (is_verb(w, "symlink")) {
		symlink.target = (path3){ .path3_len = (unsigned)strlen(w->word[2]),
					  .path3_val = w->word[2] };
		start(NFS_PROGRAM, 10);
		must(xdr_symlink3args(&out, &symlink));
	} else if (fifo || is_verb(w, "device")) {
		if (fifo)
			mknod.what.mknoddata3_u.attr = mkdir.attr;
		else
			mknod.what.mknoddata3_u.device = (devicedata3){ .attr = mkdir.attr,
									.spec = { 7, 251 } };
		start(NFS_PROGRAM, 11);
		must(xdr_mknod3args(&out, &mknod));
	} else {
		start(NFS_PROGRAM, is_verb(w, "lookup") ? 3 : is_verb(w, "remove") ? 12 : 13);
		must(xdr_dirop3(&out, &mknod.where));
	}
	return true;
}

static bool make_two_names(struct words *w)
{
	const char *from, *to;
	struct handle a, b;

	if (is_verb(w, "rename")) {
		rename3args in;

		a = find(w->word[1], &from);
		b = find(w->word[2], &to);
		in = (rename3args){ dirop_of(&a, from), dirop_of(&b, to) };
		start(NFS_PROGRAM, 14);
		must(xdr_rename3args(&out, &in));
	} else if (is_verb(w, "link")) {
		link3args in;

		a = find(w->word[1], NULL);
		b = find(w->word[2], &to);
		in = (link3args){ fh_of(&a), dirop_of(&b, to) };
		start(NFS_PROGRAM, 15);
		must(xdr_link3args(&out, &in));
	} else {
		return false;
	}
	return true;
}

static bool make_data(struct words *w)
{
	struct handle h;
	unsigned len;

	if (is_verb(w, "read")) {
		read3args in = { .offset = w->num[2], .count = (unsigned)w->num[3] };

		h = find(w->word[1], NULL);
		in.file = fh_of(&h);
		start(NFS_PROGRAM, 6);
		must(xdr_read3args(&out, &in));
	} else if (is_verb(w, "write") || is_verb(w, "sync")) {
		write3args in = { .offset = w->num[2],
				  .count = (unsigned)strlen(w->word[3]),
				  .stable = is_verb(w, "sync") ? FILE_SYNC : UNSTABLE };

		h = find(w->word[1], NULL);
		in.file = fh_of(&h);
		len = in.count;
		start(NFS_PROGRAM, 7);
		must(xdr_write3args(&out, &in));
		must(xdr_u_int(&out, &len));
		must(message_opaque(&out, w->word[3], len));
	} else if (is_verb(w, "commit")) {
		commit3args in = { .offset = 0 };

		h = find(w->word[1], NULL);
		in.file = fh_of(&h);
		start(NFS_PROGRAM, 21);
		must(xdr_commit3args(&out, &in));
	} else {
		return false;
	}
	return true;
}

static void start_list(struct handle *dir, bool plus, uint64_t cookie)
{
	readdir3args in = { .dir = fh_of(dir), .cookie = cookie, .count = 1024 };
	readdirplus3args in_plus = {
		.dir = fh_of(dir), .cookie = cookie, .dircount = 1024, .maxcount = 1024
	};

	memcpy(in.verf, front->cookie_verf, sizeof(in.verf));
	memcpy(in_plus.verf, front->cookie_verf, sizeof(in_plus.verf));
	start(NFS_PROGRAM, plus ? 17 : 16);
	must(plus ? xdr_readdirplus3args(&out, &in_plus) : xdr_readdir3args(&out, &in));
	done();
}

static struct handle listed;

/* What has an object as its only argument, or the like. */
static void make_object(struct words *w)
{
	static const struct {
		const char *verb;
		uint32_t proc;
	} verbs[] = { { "getattr", 1 }, { "access", 4 },  { "readlink", 5 },
		      { "fsstat", 18 }, { "fsinfo", 19 }, { "pathconf", 20 } };
	char root[] = ".";
	struct handle h = find(w->n > 1 ? w->word[1] : root, NULL);
	fh3 fh = fh_of(&h);
	unsigned all = 0x3f;

	if (is_verb(w, "readdir") || is_verb(w, "readdirplus")) {
		listed = h;
		start_list(&listed, is_verb(w, "readdirplus"), 0);
		return;
	}
	if (is_verb(w, "mnt")) {
		start_mnt();
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
		if (!is_verb(w, verbs[i].verb))
			continue;
		start(NFS_PROGRAM, verbs[i].proc);
		must(xdr_fh3(&out, &fh));
		if (verbs[i].proc == 4)
			must(xdr_u_int(&out, &all));
		return;
	}
	trial_die("%s: no such request", w->word[0]);
}

static void make_nfs(const char *request)
{
	struct words w;

	words_of(request, &w);
	if (!make_attr(&w) && !make_create(&w) && !make_name(&w) && !make_two_names(&w) &&
	    !make_data(&w))
		make_object(&w);
	done();
}

/* ---- One request ---- */

static void send_nfs(struct said *ret)
{
	size_t skip = 0;

	xid++;
	*ret = (struct said){ .result = 0 };
	exchange();
	/* Reading moves the time of access, which comes with the data. */
	if (proc == 6 && status() == NFS3_OK)
		skip = READ_ATTR;
	if (word(reply) != xid)
		ret->wrong = "an answer to something else";
	else if (word(reply + 20) != 0)
		ret->wrong = "no answer of this procedure";
	ret->result = -(int)status();
	ret->body = reply + REPLY_HEAD + skip;
	ret->len = reply_len - REPLY_HEAD - skip;
}

static const char *next_nfs(void)
{
	static uint8_t kept[sizeof(msg)];
	const size_t kept_len = msg_len;
	const uint32_t kept_proc = proc;
	const char *wrong = NULL;

	memcpy(kept, msg, sizeof(msg));
	start_mnt();
	xid++;
	exchange();
	if (word(reply) != xid)
		wrong = "a second answer";
	else if (word(reply + 20) != 0 || status() != 0)
		wrong = "the next request fails";
	memcpy(msg, kept, sizeof(msg));
	msg_len = kept_len;
	proc = kept_proc;
	return wrong;
}

/* ---- Listings ---- */

struct list {
	struct names names;
	uint64_t cookie;
	bool at_end;
};

static void list_take(struct list *l, bool plus)
{
	XDR in;
	post_op_attr attr;
	post_op_fh3 fh;
	nfsstat3 st;
	char verf[COOKIEVERFSIZE3];
	bool_t more, eof;

	xdrmem_create(&in, (char *)reply + REPLY_HEAD, (unsigned)(reply_len - REPLY_HEAD),
		      XDR_DECODE);
	must(xdr_nfsstat3(&in, &st));
	must(xdr_post_op_attr(&in, &attr));
	must(message_opaque(&in, verf, sizeof(verf)));
	for (must(xdr_bool(&in, &more)); more; must(xdr_bool(&in, &more))) {
		char name[NAME_MOST];
		u_quad_t ino, cookie;
		unsigned len;

		must(xdr_u_quad_t(&in, &ino));
		must(xdr_u_int(&in, &len));
		CHECK(len < sizeof(name));
		must(message_opaque(&in, name, len));
		names_add(&l->names, name, len);
		must(xdr_u_quad_t(&in, &cookie));
		l->cookie = cookie;
		if (plus) {
			must(xdr_post_op_attr(&in, &attr));
			must(xdr_post_op_fh3(&in, &fh));
		}
	}
	must(xdr_bool(&in, &eof));
	l->at_end = eof;
}

static void list_rest(struct list *l, bool plus)
{
	while (!l->at_end) {
		start_list(&listed, plus, l->cookie);
		must_answer("a listing");
		list_take(l, plus);
	}
}

static const char *list_on_nfs(void)
{
	const bool plus = proc == 17;
	static struct list all, ours;

	memset(&all, 0, sizeof(all));
	memset(&ours, 0, sizeof(ours));
	list_take(&ours, plus);
	list_rest(&ours, plus);
	list_rest(&all, plus);
	return lists_differ(&all.names, &ours.names);
}

/* ---- Begin and end ---- */

static void begin_nfs(struct lam_stack *stack)
{
	static const char *const rules[] = { "127.0.0.0/8,rw,no_root_squash" };
	const struct nfs_front_config config = { .listen = "127.0.0.1:0",
						 .allow = rules,
						 .n_allow = 1,
						 .threads = 4,
						 .max_connections = 4 };
	struct said first;

	if (nfs_front_open(&front, stack, &config) < 0 || nfs_front_start(front) < 0)
		trial_die("the server cannot be started");
	xid = 1000;
	dial();
	/* The connection is there for both. */
	start_mnt();
	send_nfs(&first);
}

/* What no client refers to is not held. */
static const char *let_go_nfs(void)
{
	for (size_t i = 0; i < WCC_STRIPES; i++)
		if (atomic_load(&front->stripes[i].active) != 0)
			return "a change never ended";
	for (size_t i = 0; i < THREADS_MAX; i++)
		if (atomic_load(&front->running[i].id) != 0)
			return "a worker still changes something";
	return NULL;
}

static void end_nfs(void)
{
	(void)close(sock);
	sock = -1;
	nfs_front_close(front);
	front = NULL;
}

static const struct ask asks[] = {
	{ "MNT", NULL, "mnt", MAY_SAME },
	{ "GETATTR", NULL, "getattr big", MAY_SAME },
	{ "SETATTR of a mode", NULL, "chmod rich 755", 0 },
	{ "SETATTR of a size", NULL, "truncate dir/file 3", MAY_PARTS },
	{ "SETATTR of an owner", NULL, "chown sym 5 6", 0 },
	{ "SETATTR of times", NULL, "utimes rich 77", 0 },
	{ "LOOKUP", NULL, "lookup dir/file", MAY_SAME },
	{ "ACCESS", NULL, "access rich", MAY_SAME },
	{ "READLINK", NULL, "readlink sym", MAY_SAME },
	{ "READ", NULL, "read copied 0 9000", MAY_SAME },
	{ "READ of a large file", NULL, "read big 0 200000", MAY_SAME },
	{ "WRITE", NULL, "write dir/file 0 BELOW", MAY_PARTS },
	{ "WRITE that is synced", NULL, "sync dir/file 0 BELOW", MAY_PARTS },
	{ "WRITE to a link", NULL, "write hard1 0 HARD", MAY_COUNT | MAY_PARTS },
	{ "COMMIT", "write up 3 more", "commit up", MAY_SAME | MAY_DIFFER },
	{ "CREATE", NULL, "create dir/new 644", 0 },
	{ "CREATE that is guarded", NULL, "guarded gone 644", 0 },
	{ "CREATE with an owner", NULL, "create dir/new 644 5 6", 0 },
	{ "CREATE that is exclusive", NULL, "exclusive dir/sub/low/new", 0 },
	{ "CREATE of what is there", NULL, "create f1 644", MAY_SAME | MAY_DIFFER },
	{ "MKDIR", NULL, "mkdir dir/new 750", 0 },
	{ "MKDIR with an owner", NULL, "mkdir dir/new 750 5 6", 0 },
	{ "MKDIR over a whiteout", NULL, "mkdir gonedir 750", 0 },
	{ "SYMLINK", NULL, "symlink gone anywhere", 0 },
	{ "MKNOD of a fifo", NULL, "fifo dir/new 600", 0 },
	{ "MKNOD with an owner", NULL, "fifo gone 640 5 6", 0 },
	{ "MKNOD of a device", NULL, "device gone 600", 0 },
	{ "REMOVE of a lower file", NULL, "remove f1", 0 },
	{ "REMOVE of an upper file", NULL, "remove up", 0 },
	{ "REMOVE of a copied-up file", NULL, "remove copied", 0 },
	{ "REMOVE of a link", NULL, "remove hard2", MAY_COUNT },
	{ "RMDIR", NULL, "rmdir upempty", 0 },
	{ "RMDIR of whiteouts", NULL, "rmdir empty", 0 },
	{ "RENAME of a lower file", NULL, "rename f1 dir/new", 0 },
	{ "RENAME over an upper file", NULL, "rename f1 up", 0 },
	{ "RENAME of a directory", NULL, "rename ren dir/sub/new", 0 },
	{ "LINK", NULL, "link f1 dir/new", MAY_COUNT },
	{ "READDIR", NULL, "readdir dir", MAY_SAME | MAY_LIST },
	{ "READDIR of the root", NULL, "readdir .", MAY_SAME | MAY_LIST },
	{ "READDIRPLUS", NULL, "readdirplus dir", MAY_SAME | MAY_LIST },
	{ "READDIRPLUS of the root", NULL, "readdirplus .", MAY_SAME | MAY_LIST },
	{ "FSSTAT", NULL, "fsstat", MAY_SAME },
	{ "FSINFO", NULL, "fsinfo", MAY_SAME },
	{ "PATHCONF", NULL, "pathconf", MAY_SAME },
};

const struct client nfs_client = {
	.name = "NFS",
	.asks = asks,
	.n_asks = sizeof(asks) / sizeof(asks[0]),
	.begin = begin_nfs,
	.make = make_nfs,
	.send = send_nfs,
	.next = next_nfs,
	.list_on = list_on_nfs,
	.let_go = let_go_nfs,
	.end = end_nfs,
};

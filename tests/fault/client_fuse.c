// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The kernel's part of FUSE: messages to a front end without a mount, whose threads serve them.
 *
 *	lookup P	forget P	batchforget P	getattr P	statx P
 *	chmod P MODE	chown P U G	truncate P SIZE	utimes P S	readlink P
 *	symlink P TO	mknod P MODE MAJOR MINOR	mkdir P MODE	link OLD NEW
 *	unlink P	rmdir P		rename A B	exchange A B	noreplace A B
 *	create P MODE	tmpfile DIR	open P		opendir P
 *	read P OFF LEN	write P OFF TEXT		fsync P		fsyncdir P
 *	falloc P OFF LEN		seek P OFF	range FROM TO LEN
 *	readdir P	readdirplus P	setx P NAME VALUE		getx P NAME
 *	listx P		rmx P NAME	getflags P	chattr P FLAGS	statfs
 *	syncfs
 */
#include "client.h"

#include <errno.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>

#include "tests/lib/fuse_bare.h"
#include "tests/trial/trial.h"

#define PATIENCE_MS 30000
#define IDS_MOST 512u

static struct fuse_front front;
static int kernel = -1;
static pthread_t server;
static uint64_t unique;

/* The request that was made. */
static _Alignas(8) char msg[4096];
static size_t msg_len;
static uint32_t opcode;

/* What came last. */
static struct fuse_out_header head;
static _Alignas(8) char body[BARE_PAYLOAD];
static size_t body_len;

/* What the kernel knows, once for each time that it was told. */
static uint64_t ids[IDS_MOST];
static size_t n_ids;

static void *serve_main(void *arg)
{
	(void)arg;
	if (fuse_front_serve(&front) < 0)
		trial_die("the front end ended with an error");
	return NULL;
}

static const char *next_fuse(void);

static void begin_fuse(struct lam_stack *stack)
{
	bare_init(&front, stack, &kernel);
	front.proto.zero_open = false;
	unique = 0;
	n_ids = 0;
	if (lam_stack_add_user(stack, front_in_use, &front) < 0 ||
	    pthread_create(&server, NULL, serve_main, NULL) != 0)
		trial_die("the front end cannot be started");
	/* It is up when it has answered. */
	if (next_fuse())
		trial_die("the front end serves nothing");
}

static void end_fuse(void)
{
	fuse_front_stop(&front);
	(void)pthread_join(server, NULL); /* it is joinable */
	bare_end(&front, kernel);
}

/* ---- Messages ---- */

static void start(uint32_t op, uint64_t node)
{
	struct fuse_in_header in = { .opcode = op, .unique = ++unique, .nodeid = node };

	opcode = op;
	memcpy(msg, &in, sizeof(in));
	msg_len = sizeof(in);
}

static void add(const void *data, size_t len)
{
	CHECK(len <= sizeof(msg) - msg_len);
	memcpy(msg + msg_len, data, len);
	msg_len += len;
}

static void add_name(const char *name)
{
	add(name, strlen(name) + 1);
}

#define ADD(...) add(&(__VA_ARGS__), sizeof(__VA_ARGS__))

static void send_msg(void)
{
	const uint32_t len = (uint32_t)msg_len;
	struct pollfd p = { .fd = kernel, .events = POLLOUT };

	(void)poll(&p, 1, PATIENCE_MS); /* else sending says so */
	memcpy(msg, &len, sizeof(len)); /* the header begins with it */
	if (send(kernel, msg, msg_len, 0) != (ssize_t)msg_len)
		trial_die("a message cannot be sent: %s", strerror(errno));
}

/* The next message, that no notification is; false: none comes. */
static bool hear(void)
{
	for (;;) {
		struct pollfd p = { .fd = kernel, .events = POLLIN };
		struct iovec iov[2] = { { &head, sizeof(head) }, { body, sizeof(body) } };
		struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };
		ssize_t n;

		if (poll(&p, 1, PATIENCE_MS) != 1)
			return false;
		n = recvmsg(kernel, &m, 0);
		if (n < (ssize_t)sizeof(head) || (size_t)n != head.len)
			trial_die("no message of FUSE");
		body_len = (size_t)n - sizeof(head);
		if (head.unique != 0)
			return true;
	}
}

/* ---- What the kernel is told ---- */

static void learn(uint64_t id)
{
	if (id == 0 || id == LAM_ROOT_ID)
		return;
	CHECK(n_ids < IDS_MOST);
	ids[n_ids++] = id;
}

static void learn_list(void)
{
	for (size_t at = 0; at < body_len;) {
		struct fuse_direntplus d;

		memcpy(&d, body + at, FUSE_NAME_OFFSET_DIRENTPLUS);
		learn(d.entry_out.nodeid);
		at += FUSE_DIRENTPLUS_SIZE(&d);
	}
}

static void learn_answer(void)
{
	struct fuse_entry_out out;

	if (head.error)
		return;
	switch (opcode) {
	case FUSE_LOOKUP:
	case FUSE_MKNOD:
	case FUSE_MKDIR:
	case FUSE_SYMLINK:
	case FUSE_LINK:
	case FUSE_CREATE:
	case FUSE_TMPFILE:
		CHECK(body_len >= sizeof(out));
		memcpy(&out, body, sizeof(out));
		learn(out.nodeid);
		break;
	case FUSE_READDIRPLUS:
		learn_list();
		break;
	default:
		break;
	}
}

/* Of the answers before all is made, which nothing is refused of. */
static void must_answer(const char *what)
{
	send_msg();
	if (!hear() || head.unique != unique || head.error)
		trial_die("%s: no answer, or an error", what);
	learn_answer();
}

static uint64_t look_up(uint64_t parent, const char *name)
{
	struct fuse_entry_out out;

	start(FUSE_LOOKUP, parent);
	add_name(name);
	must_answer(name);
	memcpy(&out, body, sizeof(out));
	if (out.nodeid == 0)
		trial_die("%s is not there", name);
	return out.nodeid;
}

/* The node of PATH; with LAST of its directory, and *LAST is the last component. */
static uint64_t find(char *path, const char **last)
{
	uint64_t id = LAM_ROOT_ID;
	char *name = path;

	for (;;) {
		char *slash = strchr(name, '/');

		if (!slash && last) {
			*last = name;
			return id;
		}
		if (slash)
			*slash = '\0';
		if (strcmp(name, ".") != 0)
			id = look_up(id, name);
		if (!slash)
			return id;
		name = slash + 1;
	}
}

/* ---- Requests ---- */

static bool make_attr(struct words *w)
{
	struct fuse_setattr_in in = { .valid = 0 };

	if (is_verb(w, "chmod"))
		in = (struct fuse_setattr_in){ .valid = FATTR_MODE,
					       .mode = (uint32_t)strtoul(w->word[2], NULL, 8) };
	else if (is_verb(w, "chown"))
		in = (struct fuse_setattr_in){ .valid = FATTR_UID | FATTR_GID,
					       .uid = (uint32_t)w->num[2],
					       .gid = (uint32_t)w->num[3] };
	else if (is_verb(w, "truncate"))
		in = (struct fuse_setattr_in){ .valid = FATTR_SIZE, .size = w->num[2] };
	else if (is_verb(w, "utimes"))
		in = (struct fuse_setattr_in){ .valid = FATTR_ATIME | FATTR_MTIME,
					       .atime = w->num[2],
					       .mtime = w->num[2] };
	else
		return false;
	start(FUSE_SETATTR, find(w->word[1], NULL));
	ADD(in);
	return true;
}

/* Those that name an entry of a directory. */
static bool make_name(struct words *w)
{
	static const struct {
		const char *verb;
		uint32_t op;
	} verbs[] = { { "lookup", FUSE_LOOKUP }, { "symlink", FUSE_SYMLINK },
		      { "mknod", FUSE_MKNOD },	 { "mkdir", FUSE_MKDIR },
		      { "unlink", FUSE_UNLINK }, { "rmdir", FUSE_RMDIR },
		      { "create", FUSE_CREATE } };
	const uint32_t mode = w->n > 2 ? (uint32_t)strtoul(w->word[2], NULL, 8) : 0;
	const struct fuse_mknod_in node = { .mode = mode,
					    .umask = 022,
					    .rdev = (uint32_t)(w->num[4] | w->num[3] << 8) };
	const struct fuse_mkdir_in dir = { .mode = mode, .umask = 022 };
	const struct fuse_create_in file = { .mode = mode, .umask = 022, .flags = O_RDWR };
	const char *name;
	uint64_t parent;
	uint32_t op = 0;

	for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
		if (is_verb(w, verbs[i].verb))
			op = verbs[i].op;
	if (!op)
		return false;
	parent = find(w->word[1], &name);
	/* The kernel knows what it removes. */
	if (op == FUSE_UNLINK || op == FUSE_RMDIR)
		(void)look_up(parent, name);
	start(op, parent);
	if (op == FUSE_MKNOD)
		ADD(node);
	else if (op == FUSE_MKDIR)
		ADD(dir);
	else if (op == FUSE_CREATE)
		ADD(file);
	add_name(name);
	if (op == FUSE_SYMLINK)
		add_name(w->word[2]);
	return true;
}

static bool make_two_names(struct words *w)
{
	struct fuse_rename2_in in = { .flags = 0 };
	const char *from, *to;
	uint64_t node;

	if (is_verb(w, "link")) {
		const struct fuse_link_in link = { .oldnodeid = find(w->word[1], NULL) };

		node = find(w->word[2], &to);
		start(FUSE_LINK, node);
		ADD(link);
		add_name(to);
		return true;
	}
	if (is_verb(w, "exchange"))
		in.flags = RENAME_EXCHANGE;
	else if (is_verb(w, "noreplace"))
		in.flags = RENAME_NOREPLACE;
	else if (!is_verb(w, "rename"))
		return false;
	node = find(w->word[1], &from);
	(void)look_up(node, from);
	in.newdir = find(w->word[2], &to);
	start(FUSE_RENAME2, node);
	ADD(in);
	add_name(from);
	add_name(to);
	return true;
}

static bool make_data(struct words *w, uint64_t node)
{
	if (is_verb(w, "read")) {
		const struct fuse_read_in in = { .offset = w->num[2], .size = (uint32_t)w->num[3] };

		start(FUSE_READ, node);
		ADD(in);
	} else if (is_verb(w, "write")) {
		const struct fuse_write_in in = { .offset = w->num[2],
						  .size = (uint32_t)strlen(w->word[3]),
						  .write_flags = FUSE_WRITE_KILL_SUIDGID };

		start(FUSE_WRITE, node);
		ADD(in);
		add(w->word[3], in.size);
	} else if (is_verb(w, "fsync") || is_verb(w, "fsyncdir")) {
		const struct fuse_fsync_in in = { .fsync_flags = 0 };

		start(is_verb(w, "fsync") ? FUSE_FSYNC : FUSE_FSYNCDIR, node);
		ADD(in);
	} else if (is_verb(w, "falloc")) {
		const struct fuse_fallocate_in in = { .offset = w->num[2], .length = w->num[3] };

		start(FUSE_FALLOCATE, node);
		ADD(in);
	} else if (is_verb(w, "seek")) {
		const struct fuse_lseek_in in = { .offset = w->num[2], .whence = SEEK_HOLE };

		start(FUSE_LSEEK, node);
		ADD(in);
	} else {
		return false;
	}
	return true;
}

static bool make_xattr(struct words *w, uint64_t node)
{
	if (is_verb(w, "setx")) {
		const struct fuse_setxattr_in in = { .size = (uint32_t)strlen(w->word[3]) };

		start(FUSE_SETXATTR, node);
		ADD(in);
		add_name(w->word[2]);
		add(w->word[3], in.size);
	} else if (is_verb(w, "getx") || is_verb(w, "listx")) {
		const struct fuse_getxattr_in in = { .size = 4096 };

		start(is_verb(w, "getx") ? FUSE_GETXATTR : FUSE_LISTXATTR, node);
		ADD(in);
		if (w->n > 2)
			add_name(w->word[2]);
	} else if (is_verb(w, "rmx")) {
		start(FUSE_REMOVEXATTR, node);
		add_name(w->word[2]);
	} else if (is_verb(w, "getflags") || is_verb(w, "chattr")) {
		const uint32_t flags = (uint32_t)w->num[2];
		const bool get = is_verb(w, "getflags");
		const struct fuse_ioctl_in in = { .cmd = get ? FS_IOC_GETFLAGS : FS_IOC_SETFLAGS,
						  .in_size = get ? 0 : sizeof(flags),
						  .out_size = get ? sizeof(flags) : 0 };

		start(FUSE_IOCTL, node);
		ADD(in);
		if (!get)
			ADD(flags);
	} else {
		return false;
	}
	return true;
}

static void start_list(uint32_t op, uint64_t node, uint64_t cookie)
{
	const struct fuse_read_in in = { .offset = cookie, .size = 1024 };

	start(op, node);
	ADD(in);
}

/* Those that are about one object. */
static bool make_object(struct words *w)
{
	const struct fuse_forget_in forget = { .nlookup = 1 };
	const struct fuse_batch_forget_in batch = { .count = 1 };
	const struct fuse_getattr_in attr = { .getattr_flags = 0 };
	const struct fuse_statx_in statx = { .sx_mask = STATX_BASIC_STATS | STATX_BTIME };
	const struct fuse_open_in open = { .flags = O_RDONLY };
	const struct fuse_create_in tmp = { .mode = 0600, .flags = O_RDWR };
	uint64_t node = find(w->word[1], NULL);
	const struct fuse_forget_one one = { .nodeid = node, .nlookup = 1 };

	if (is_verb(w, "forget")) {
		start(FUSE_FORGET, node);
		ADD(forget);
	} else if (is_verb(w, "batchforget")) {
		start(FUSE_BATCH_FORGET, 0);
		ADD(batch);
		ADD(one);
	} else if (is_verb(w, "getattr")) {
		start(FUSE_GETATTR, node);
		ADD(attr);
	} else if (is_verb(w, "statx")) {
		start(FUSE_STATX, node);
		ADD(statx);
	} else if (is_verb(w, "readlink")) {
		start(FUSE_READLINK, node);
	} else if (is_verb(w, "open") || is_verb(w, "opendir")) {
		start(is_verb(w, "open") ? FUSE_OPEN : FUSE_OPENDIR, node);
		ADD(open);
	} else if (is_verb(w, "tmpfile")) {
		start(FUSE_TMPFILE, node);
		ADD(tmp);
		add_name("unnamed");
	} else if (is_verb(w, "readdir") || is_verb(w, "readdirplus")) {
		start_list(is_verb(w, "readdir") ? FUSE_READDIR : FUSE_READDIRPLUS, node, 0);
	} else {
		return make_data(w, node) || make_xattr(w, node);
	}
	return true;
}

static bool make_other(struct words *w)
{
	const struct fuse_syncfs_in sync = { .padding = 0 };
	struct fuse_copy_file_range_in range = { .len = w->num[3] };
	uint64_t node;

	if (is_verb(w, "statfs")) {
		start(FUSE_STATFS, LAM_ROOT_ID);
	} else if (is_verb(w, "syncfs")) {
		start(FUSE_SYNCFS, LAM_ROOT_ID);
		ADD(sync);
	} else if (is_verb(w, "range")) {
		node = find(w->word[1], NULL);
		range.nodeid_out = find(w->word[2], NULL);
		start(FUSE_COPY_FILE_RANGE_64, node);
		ADD(range);
	} else {
		return false;
	}
	return true;
}

static void make_fuse(const char *request)
{
	struct words w;

	words_of(request, &w);
	if (!make_attr(&w) && !make_name(&w) && !make_two_names(&w) && !make_other(&w) &&
	    !make_object(&w))
		trial_die("%s: no such request", request);
}

/* ---- One request ---- */

static void send_fuse(struct said *ret)
{
	const uint64_t served = atomic_load(&front.slots[0].requests[opcode]);

	*ret = (struct said){ .result = 0 };
	((struct fuse_in_header *)(void *)msg)->unique = ++unique;
	send_msg();
	if (opcode == FUSE_FORGET || opcode == FUSE_BATCH_FORGET) {
		while (atomic_load(&front.slots[0].requests[opcode]) == served)
			(void)usleep(50);
		n_ids--; /* it was the last one that was found */
		return;
	}
	if (!hear())
		trial_die("no answer comes to request %u", opcode);
	if (head.unique != unique)
		ret->wrong = "an answer to something else";
	learn_answer();
	ret->result = head.error;
	ret->body = body;
	ret->len = body_len;
}

static const char *next_fuse(void)
{
	const struct fuse_getattr_in in = { .getattr_flags = 0 };
	static _Alignas(8) char kept[sizeof(msg)];
	const size_t kept_len = msg_len;
	const uint32_t kept_opcode = opcode;
	const char *wrong = NULL;

	memcpy(kept, msg, sizeof(msg));
	start(FUSE_GETATTR, LAM_ROOT_ID);
	ADD(in);
	send_msg();
	if (!hear())
		trial_die("the next request gets no answer");
	if (head.unique != unique)
		wrong = "a second answer";
	else if (head.error)
		wrong = "the next request fails";
	memcpy(msg, kept, sizeof(msg));
	msg_len = kept_len;
	opcode = kept_opcode;
	return wrong;
}

/* ---- Listings ---- */

struct list {
	struct names names;
	uint64_t cookie;
};

/* Take the entries of the last answer. */
static void list_take(struct list *l)
{
	const size_t before = opcode == FUSE_READDIRPLUS ? offsetof(struct fuse_direntplus, dirent)
							 : 0;

	for (size_t at = 0; at < body_len;) {
		struct fuse_dirent d;

		at += before;
		memcpy(&d, body + at, FUSE_NAME_OFFSET);
		names_add(&l->names, body + at + FUSE_NAME_OFFSET, d.namelen);
		l->cookie = d.off;
		at += FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + d.namelen);
	}
}

static void list_rest(struct list *l, uint32_t op, uint64_t node)
{
	do {
		start_list(op, node, l->cookie);
		must_answer("a listing");
		list_take(l);
	} while (body_len > 0);
}

/* The first part was the last answer. */
static const char *list_on_fuse(void)
{
	const uint64_t node = ((struct fuse_in_header *)(void *)msg)->nodeid;
	static struct list all, ours;
	const uint32_t op = opcode;

	memset(&all, 0, sizeof(all));
	memset(&ours, 0, sizeof(ours));
	list_take(&ours);
	if (body_len > 0)
		list_rest(&ours, op, node);
	list_rest(&all, op, node);
	return lists_differ(&all.names, &ours.names);
}

static const char *let_go_fuse(void)
{
	static char said[64];
	const char *wrong;

	while (n_ids > 0) {
		const struct fuse_forget_in in = { .nlookup = 1 };

		start(FUSE_FORGET, ids[--n_ids]);
		ADD(in);
		send_msg();
	}
	wrong = next_fuse();
	if (wrong || holds_count(front.holds) == 0)
		return wrong;
	(void)snprintf(said, sizeof(said), "%llu objects count as known to the kernel",
		       (unsigned long long)holds_count(front.holds));
	return said;
}

static const struct ask asks[] = {
	{ "LOOKUP", NULL, "lookup dir/file", MAY_SAME },
	{ "LOOKUP of nothing", NULL, "lookup gone", MAY_SAME },
	{ "LOOKUP of a link", NULL, "lookup dir/hard3", MAY_SAME },
	{ "FORGET", NULL, "forget dir/sub/deep", MAY_SAME | MAY_DIFFER },
	{ "BATCH_FORGET", NULL, "batchforget dir/sub/deep", MAY_SAME | MAY_DIFFER },
	{ "GETATTR", NULL, "getattr big", MAY_SAME },
	{ "STATX", NULL, "statx copied", MAY_SAME },
	{ "SETATTR of a mode", NULL, "chmod rich 755", 0 },
	{ "SETATTR of a size", NULL, "truncate dir/file 3", MAY_PARTS },
	{ "SETATTR of an owner", NULL, "chown sym 5 6", 0 },
	{ "SETATTR of times", NULL, "utimes rich 77", 0 },
	{ "READLINK", NULL, "readlink sym", MAY_SAME },
	{ "SYMLINK", NULL, "symlink dir/new anywhere", 0 },
	{ "SYMLINK over a whiteout", NULL, "symlink gone anywhere", 0 },
	{ "MKNOD", NULL, "mknod dir/sub/low/new 100644 0 0", 0 },
	{ "MKNOD of a device", NULL, "mknod gone 60600 7 251", 0 },
	{ "MKDIR", NULL, "mkdir dir/new 750", 0 },
	{ "MKDIR over a whiteout", NULL, "mkdir gonedir 750", 0 },
	{ "UNLINK of a lower file", NULL, "unlink f1", 0 },
	{ "UNLINK of an upper file", NULL, "unlink up", 0 },
	{ "UNLINK of a copied-up file", NULL, "unlink copied", 0 },
	{ "UNLINK of a link", NULL, "unlink hard2", MAY_COUNT },
	{ "RMDIR", NULL, "rmdir upempty", 0 },
	{ "RMDIR of whiteouts", NULL, "rmdir empty", 0 },
	{ "RENAME2 of a lower file", NULL, "rename f1 dir/new", 0 },
	{ "RENAME2 over an upper file", NULL, "rename f1 up", 0 },
	{ "RENAME2 of a directory", NULL, "rename ren dir/sub/new", 0 },
	{ "RENAME2 without replacing", NULL, "noreplace f1 gone", 0 },
	{ "RENAME2 that exchanges", NULL, "exchange f1 dir/file", 0 },
	{ "LINK", NULL, "link f1 dir/new", MAY_COUNT },
	{ "LINK of a lower link", NULL, "link hard1 new", MAY_COUNT },
	{ "CREATE", NULL, "create dir/new 644", 0 },
	{ "CREATE over a whiteout", NULL, "create gone 644", 0 },
	{ "TMPFILE", NULL, "tmpfile dir", MAY_SAME | MAY_DIFFER },
	{ "OPEN", NULL, "open f1", MAY_SAME },
	{ "OPENDIR", NULL, "opendir dir", MAY_SAME },
	{ "READ", NULL, "read big 4000 9000", MAY_SAME },
	{ "READ of an upper file", NULL, "read up 0 100", MAY_SAME },
	{ "WRITE", NULL, "write dir/file 0 BELOW", MAY_PARTS },
	{ "WRITE to a set-uid file", NULL, "write suid 0 #?", MAY_PARTS },
	{ "WRITE to an upper file", NULL, "write up 0 UPPER", 0 },
	{ "WRITE to a link", NULL, "write hard1 0 HARD", MAY_COUNT | MAY_PARTS },
	{ "FSYNC", "write up 3 more", "fsync up", MAY_SAME },
	{ "FSYNC of a lower file", NULL, "fsync f1", MAY_SAME },
	{ "FSYNCDIR", NULL, "fsyncdir dir", MAY_SAME },
	{ "FALLOCATE", NULL, "falloc f1 0 9000", MAY_PARTS },
	/* Without a thread to wait in, a file is all data: true, and less than could be said. */
	{ "LSEEK", NULL, "seek big 0", MAY_SAME | MAY_DIFFER },
	{ "COPY_FILE_RANGE_64", NULL, "range f1 f2 5", MAY_PARTS },
	{ "READDIR", NULL, "readdir dir", MAY_SAME | MAY_LIST },
	{ "READDIR of the root", NULL, "readdir .", MAY_SAME | MAY_LIST },
	{ "READDIRPLUS", NULL, "readdirplus dir", MAY_SAME | MAY_LIST },
	{ "READDIRPLUS of the root", NULL, "readdirplus .", MAY_SAME | MAY_LIST },
	{ "SETXATTR", NULL, "setx rich user.new value", 0 },
	{ "SETXATTR of a directory", NULL, "setx dir user.new value", 0 },
	{ "GETXATTR", NULL, "getx rich user.a", MAY_SAME },
	{ "LISTXATTR", NULL, "listx rich", MAY_SAME },
	{ "REMOVEXATTR", NULL, "rmx rich user.a", 0 },
	{ "IOCTL that asks", NULL, "getflags f1", MAY_SAME },
	{ "IOCTL that sets", NULL, "chattr f1 0x40", MAY_SAME },
	{ "IOCTL that guards", NULL, "chattr up 0x10", MAY_SAME },
	{ "STATFS", NULL, "statfs", MAY_SAME },
	{ "SYNCFS", NULL, "syncfs", MAY_SAME },
};

const struct client fuse_client = {
	.name = "FUSE",
	.asks = asks,
	.n_asks = sizeof(asks) / sizeof(asks[0]),
	.begin = begin_fuse,
	.make = make_fuse,
	.send = send_fuse,
	.next = next_fuse,
	.list_on = list_on_fuse,
	.let_go = let_go_fuse,
	.end = end_fuse,
};

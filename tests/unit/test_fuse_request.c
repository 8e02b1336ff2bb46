/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests as the kernel sends them, and as it never would, against a double of the engine. */
#include "unit.h"

#include "tests/lib/fuse_harness.h"

#include <linux/fs.h>
#include <sys/xattr.h>

static struct harness h;

static int set_up(void **state)
{
	(void)state;
	harness_init(&h);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	harness_end(&h);
	return 0;
}

/* Begin a message, add to it, serve it. */
static void begin(uint32_t opcode, uint64_t nodeid)
{
	struct fuse_in_header head = { .opcode = opcode,
				       .unique = 42,
				       .nodeid = nodeid,
				       .uid = 1000,
				       .gid = 1001,
				       .pid = 77 };

	memcpy(h.buf, &head, sizeof(head));
	h.len = sizeof(head);
}

static void add(const void *data, size_t len)
{
	memcpy(h.buf + h.len, data, len);
	h.len += len;
}

static void add_name(const char *name)
{
	add(name, strlen(name) + 1);
}

static int serve(void)
{
	struct fuse_in_header *head = (struct fuse_in_header *)h.buf;

	head->len = (uint32_t)h.len;
	return harness_serve(&h, h.buf, h.len, HARNESS_BODY);
}

#define ADD(...) add(&(__VA_ARGS__), sizeof(__VA_ARGS__))
#define BODY(type) (*(type *)(void *)(h.buf + HARNESS_BODY))

static int lookup(uint64_t parent, const char *name)
{
	begin(FUSE_LOOKUP, parent);
	add_name(name);
	return serve();
}

/* What the front told the kernel unasked; false if nothing. */
static bool notified(uint64_t *id, int64_t *off)
{
	struct {
		struct fuse_out_header head;
		struct fuse_notify_inval_inode_out body;
	} msg;

	if (recv(h.kernel, &msg, sizeof(msg), MSG_DONTWAIT) != (ssize_t)sizeof(msg))
		return false;
	assert_int_equal(msg.head.unique, 0);
	assert_int_equal(msg.head.error, FUSE_NOTIFY_INVAL_INODE);
	assert_int_equal(msg.head.len, sizeof(msg));
	*id = msg.body.ino;
	*off = msg.body.off;
	return true;
}

static void short_messages_are_refused(void **state)
{
	(void)state;
	for (uint32_t op = 0; op < FUSE_FRONT_OPS + 3; op++) {
		size_t least = sizeof(struct fuse_in_header);

		if (!fuse_front_op_name(op))
			continue;
		/* The first length that is not refused for itself is the one it needs. */
		for (;; least++) {
			unsigned before = h.stack.n_calls;
			int r;

			memset(h.buf, 0, 512);
			begin(op, 1);
			h.len = least;
			r = serve();
			if (r != -EIO)
				break;
			assert_int_equal(h.stack.n_calls, before);
			assert_true(least < 256);
		}
	}
}

static void lengths_must_agree(void **state)
{
	struct fuse_in_header *head = (struct fuse_in_header *)h.buf;

	(void)state;
	for (size_t len = 0; len < sizeof(*head); len++)
		assert_int_equal(harness_serve(&h, h.buf, len, HARNESS_BODY), -EIO);
	begin(FUSE_LOOKUP, 1);
	add_name("file");
	head->len = (uint32_t)h.len + 1;
	assert_int_equal(harness_serve(&h, h.buf, h.len, HARNESS_BODY), -EIO);
	head->len = (uint32_t)h.len - 1;
	assert_int_equal(harness_serve(&h, h.buf, h.len, HARNESS_BODY), -EIO);
	head->len = (uint32_t)h.len;
	assert_true(harness_serve(&h, h.buf, h.len, HARNESS_BODY) > 0);
	/* Extensions longer than the message, then one that is passed over. */
	head->total_extlen = 5;
	assert_int_equal(harness_serve(&h, h.buf, h.len, HARNESS_BODY), -EIO);
	add("EXTENDED", 8);
	head->total_extlen = 1;
	assert_true(serve() > 0);
	assert_string_equal(h.stack.name, "file");
	/* What is in it does not end a name. */
	begin(FUSE_LOOKUP, 1);
	add("file", 4);
	add("E\0TENDED", 8);
	head->total_extlen = 1;
	assert_int_equal(serve(), -EIO);
	assert_true(atomic_load(&h.front.slots[0].malformed) > 0);
	begin(1000, 1);
	assert_int_equal(serve(), -ENOSYS);
}

static void lookup_describes_and_counts(void **state)
{
	(void)state;
	assert_int_equal(lookup(1, "file"), sizeof(struct fuse_entry_out));
	assert_int_equal(BODY(struct fuse_entry_out).nodeid, 100);
	assert_int_equal(BODY(struct fuse_entry_out).generation, 9);
	assert_int_equal(BODY(struct fuse_entry_out).entry_valid, 11);
	assert_int_equal(BODY(struct fuse_entry_out).entry_valid_nsec, 12);
	assert_int_equal(BODY(struct fuse_entry_out).attr_valid, 13);
	assert_int_equal(BODY(struct fuse_entry_out).attr_valid_nsec, 14);
	assert_int_equal(BODY(struct fuse_entry_out).attr.ino, 1000100);
	assert_int_equal(BODY(struct fuse_entry_out).attr.mode, S_IFREG | 0644);
	assert_int_equal(BODY(struct fuse_entry_out).attr.mtime, (uint64_t)-3);
	assert_int_equal(BODY(struct fuse_entry_out).attr.mtimensec, 4);
	/* 259:300 as the kernel packs it. */
	assert_int_equal(BODY(struct fuse_entry_out).attr.rdev,
			 (300 & 0xff) | 259 << 8 | 0x100 << 12);
	assert_int_equal(h.stack.cred.uid, 1000);
	assert_int_equal(h.stack.cred.gid, 1001);
	assert_int_equal(h.stack.cred.pid, 77);
	assert_true(holds_has(h.front.holds, 100));
	/* The answer is lost: so is what it counted. */
	request_undo(&h.rq, sizeof(struct fuse_entry_out));
	assert_false(holds_has(h.front.holds, 100));
	assert_int_equal(h.stack.forgotten[0], 100);
}

static void lookup_of_dots_and_of_nothing(void **state)
{
	char name[258];

	(void)state;
	assert_true(lookup(201, ".") > 0);
	assert_int_equal(BODY(struct fuse_entry_out).nodeid, 201);
	assert_true(lookup(200, "..") > 0);
	assert_int_equal(BODY(struct fuse_entry_out).nodeid, 1);
	assert_int_equal(BODY(struct fuse_entry_out).generation, 0);
	assert_false(holds_has(h.front.holds, 1));

	assert_true(lookup(1, "none") > 0);
	assert_int_equal(BODY(struct fuse_entry_out).nodeid, 0);
	assert_int_equal(BODY(struct fuse_entry_out).entry_valid, 15);
	h.front.negative_ttl = (struct ttl){ 0 };
	assert_int_equal(lookup(1, "none"), -ENOENT);
	assert_int_equal(lookup(555, "file"), -ESTALE);

	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	assert_int_equal(lookup(1, name), -ENOENT);
	name[255] = 'n';
	name[256] = '\0';
	assert_int_equal(lookup(1, name), -ENAMETOOLONG);
	assert_int_equal(lookup(1, ""), -EINVAL);
	assert_int_equal(lookup(1, "a/b"), -EINVAL);
	begin(FUSE_LOOKUP, 1);
	add("file", 4);
	assert_int_equal(serve(), -EIO);
}

static void forget_tells_the_engine_at_zero(void **state)
{
	struct fuse_forget_in in = { .nlookup = 2 };
	struct fuse_batch_forget_in batch = { .count = 3 };
	struct fuse_forget_one ones[3] = { { 100, 1 }, { 101, 1 }, { 1, 5 } };

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(lookup(1, "file") > 0);
	assert_true(lookup(1, "suid") > 0);
	begin(FUSE_FORGET, 100);
	ADD(in);
	assert_int_equal(serve(), REQUEST_SILENT);
	assert_int_equal(h.stack.n_forgotten, 0);
	/* One short of what it says: nothing happens, and no answer either. */
	begin(FUSE_BATCH_FORGET, 0);
	ADD(batch);
	add(ones, 2 * sizeof(ones[0]));
	assert_int_equal(serve(), REQUEST_SILENT);
	assert_int_equal(h.stack.n_forgotten, 0);
	begin(FUSE_BATCH_FORGET, 0);
	ADD(batch);
	ADD(ones);
	assert_int_equal(serve(), REQUEST_SILENT);
	assert_int_equal(h.stack.n_forgotten, 2);
	assert_int_equal(h.stack.forgotten[0], 100);
	assert_int_equal(h.stack.forgotten[1], 101);
}

static void setattr_says_what_is_meant(void **state)
{
	struct fuse_setattr_in in = { .mode = 0600,
				      .uid = 5,
				      .gid = 6,
				      .size = 7,
				      .atime = 8,
				      .atimensec = 9,
				      .mtime = (uint64_t)-10,
				      .mtimensec = 11 };
	static const struct {
		uint32_t theirs;
		unsigned ours;
	} cases[] = {
		{ FATTR_MODE, LAM_SET_MODE },
		{ FATTR_UID | FATTR_GID | FATTR_KILL_SUIDGID,
		  LAM_SET_UID | LAM_SET_GID | LAM_SET_KILL_PRIV },
		{ FATTR_SIZE | FATTR_FH | FATTR_LOCKOWNER, LAM_SET_SIZE },
		{ FATTR_ATIME | FATTR_ATIME_NOW | FATTR_MTIME, LAM_SET_ATIME_NOW | LAM_SET_MTIME },
		{ FATTR_ATIME | FATTR_MTIME | FATTR_MTIME_NOW, LAM_SET_ATIME | LAM_SET_MTIME_NOW },
		{ FATTR_MTIME | FATTR_CTIME, LAM_SET_MTIME | LAM_SET_CTIME },
		{ 0, LAM_SET_KILL_PRIV }, /* chown(-1, -1) */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		in.valid = cases[i].theirs;
		begin(FUSE_SETATTR, 100);
		ADD(in);
		assert_int_equal(serve(), sizeof(struct fuse_attr_out));
		assert_int_equal(h.stack.flags, cases[i].ours);
	}
	assert_int_equal(h.stack.set.mode, 0600);
	assert_int_equal(h.stack.set.uid, 5);
	assert_int_equal(h.stack.set.gid, 6);
	assert_int_equal(h.stack.set.size, 7);
	assert_int_equal(h.stack.set.mtime.tv_sec, -10);
	assert_int_equal(h.stack.set.mtime.tv_nsec, 11);
	in.mtimensec = 1000000000;
	begin(FUSE_SETATTR, 100);
	ADD(in);
	assert_int_equal(serve(), -EINVAL);
}

static void statx_gives_the_birth(void **state)
{
	struct fuse_statx_in in = { .sx_mask = 0xfff };

	(void)state;
	begin(FUSE_STATX, 100);
	ADD(in);
	assert_int_equal(serve(), sizeof(struct fuse_statx_out));
	assert_int_equal(BODY(struct fuse_statx_out).stat.btime.tv_sec, 7);
	assert_int_equal(BODY(struct fuse_statx_out).stat.btime.tv_nsec, 8);
	assert_int_equal(BODY(struct fuse_statx_out).stat.mask, STATX_BASIC_STATS | STATX_BTIME);
	assert_int_equal(BODY(struct fuse_statx_out).stat.rdev_minor, 300);
	assert_int_equal(BODY(struct fuse_statx_out).attr_valid, 13);
}

static void making_passes_mode_umask_and_device(void **state)
{
	struct fuse_mknod_in node = { .mode = S_IFCHR | 0666,
				      .umask = 0777022,
				      .rdev = (300 & 0xff) | 259 << 8 | 0x100 << 12 };
	struct fuse_mkdir_in dir = { .mode = 01777, .umask = 027 };
	struct fuse_link_in link = { .oldnodeid = 100 };

	(void)state;
	begin(FUSE_MKNOD, 200);
	ADD(node);
	add_name("dev");
	assert_int_equal(serve(), sizeof(struct fuse_entry_out));
	assert_int_equal(h.stack.mode, S_IFCHR | 0666);
	assert_int_equal(h.stack.major, 259);
	assert_int_equal(h.stack.minor, 300);
	assert_int_equal(h.stack.cred.umask, 022);
	assert_string_equal(h.stack.name, "dev");
	assert_int_equal(h.stack.id, 200);

	begin(FUSE_MKDIR, 1);
	ADD(dir);
	add_name("new");
	assert_true(serve() > 0);
	assert_int_equal(h.stack.mode, 01777);
	assert_int_equal(h.stack.cred.umask, 027);

	begin(FUSE_SYMLINK, 1);
	add_name("sl");
	add_name("../to/there");
	assert_true(serve() > 0);
	assert_string_equal(h.stack.name, "sl");
	assert_string_equal(h.stack.name2, "../to/there");
	begin(FUSE_SYMLINK, 1);
	add_name("sl");
	add("no end", 6);
	assert_int_equal(serve(), -EIO);

	begin(FUSE_LINK, 200);
	ADD(link);
	add_name("again");
	assert_true(serve() > 0);
	assert_int_equal(h.stack.id2, 100);
	assert_int_equal(h.stack.id, 200);

	begin(FUSE_MKDIR, 1);
	ADD(dir);
	add_name("..");
	assert_int_equal(serve(), -EEXIST);
	begin(FUSE_RMDIR, 1);
	add_name(".");
	assert_int_equal(serve(), -EINVAL);
}

static int create(uint32_t flags, const char *name)
{
	struct fuse_create_in in = { .flags = flags, .mode = S_IFREG | 0640, .umask = 077 };

	begin(FUSE_CREATE, 1);
	ADD(in);
	add_name(name);
	return serve();
}

static void create_opens_what_was_faster(void **state)
{
	struct fuse_create_in in = { .flags = O_RDWR, .mode = 0600 };
	const size_t len = sizeof(struct fuse_entry_out) + sizeof(struct fuse_open_out);

	(void)state;
	h.front.proto.zero_open = false;
	assert_int_equal(create(O_CREAT | O_RDWR, "new"), len);
	assert_int_equal(h.stack.mode, S_IFREG | 0640);
	assert_int_equal(h.stack.cred.umask, 077);
	assert_int_equal(BODY(struct fuse_entry_out).nodeid, 201);
	assert_int_equal(holds_marks(h.front.holds, 201), HOLD_OWN_DATA);

	h.stack.exists = true;
	assert_int_equal(create(O_CREAT | O_EXCL, "file"), -EEXIST);
	h.stack.flags = 0;
	assert_int_equal(create(O_CREAT, "file"), len);
	assert_int_equal(BODY(struct fuse_entry_out).nodeid, 100);
	assert_int_equal(h.stack.flags, 0);
	assert_int_equal(create(O_CREAT | O_TRUNC, "file"), len);
	assert_int_equal(h.stack.flags, LAM_SET_SIZE);
	assert_int_equal(h.stack.set.size, 0);
	assert_int_equal(create(O_CREAT, "dir"), -ESTALE);
	h.stack.exists = false;

	begin(FUSE_TMPFILE, 200);
	ADD(in);
	add_name("#1");
	assert_int_equal(serve(), len);
	assert_int_equal(h.stack.mode, S_IFREG | 0600);
	assert_int_equal(h.stack.id, 200);
	h.front.proto.zero_open = true;
}

/* With opens switched off a file is made by MKNOD; the kernel knows better than we whether one that is
 * there already will do. */
static void without_opens_mknod_makes_files(void **state)
{
	struct fuse_mknod_in in = { .mode = S_IFREG | 0640, .umask = 077 };

	(void)state;
	assert_int_equal(create(O_CREAT | O_RDWR, "new"), -ENOSYS);
	h.stack.exists = true;
	begin(FUSE_MKNOD, 1);
	ADD(in);
	add_name("file");
	assert_int_equal(serve(), -ESTALE);
	in.mode = S_IFIFO | 0640;
	begin(FUSE_MKNOD, 1);
	ADD(in);
	add_name("file");
	assert_int_equal(serve(), -EEXIST);
	h.stack.exists = false;
}

static void rename_knows_its_flags(void **state)
{
	static const struct {
		uint32_t theirs;
		int result;
		unsigned ours;
	} cases[] = {
		{ 0, 0, 0 },
		{ 1, 0, LAM_RENAME_NOREPLACE },
		{ 2, 0, LAM_RENAME_EXCHANGE },
		{ 3, -EINVAL, 0 },
		{ 4, -EINVAL, 0 },
		{ 5, -EINVAL, 0 },
		{ 1u << 31, -EINVAL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct fuse_rename2_in in = { .newdir = 200, .flags = cases[i].theirs };

		begin(FUSE_RENAME2, 1);
		ADD(in);
		add_name("from");
		add_name("to");
		assert_int_equal(serve(), cases[i].result);
		if (cases[i].result < 0)
			continue;
		assert_int_equal(h.stack.flags, cases[i].ours);
		assert_int_equal(h.stack.id2, 200);
		assert_string_equal(h.stack.old_name, "from");
		assert_string_equal(h.stack.name2, "to");
	}
}

static int write_file(uint64_t id, uint32_t write_flags, uint32_t flags, uint32_t announced)
{
	struct fuse_write_in in = {
		.offset = 4096, .size = announced, .write_flags = write_flags, .flags = flags
	};

	begin(FUSE_WRITE, id);
	ADD(in);
	add("12345", 5);
	return serve();
}

static void write_passes_data_and_flags(void **state)
{
	(void)state;
	assert_int_equal(write_file(100, 0, 0, 5), sizeof(struct fuse_write_out));
	assert_int_equal(BODY(struct fuse_write_out).size, 5);
	assert_int_equal(h.stack.off, 4096);
	assert_memory_equal(h.stack.name2, "12345", 5);
	assert_int_equal(h.stack.flags, 0);
	assert_true(write_file(100, FUSE_WRITE_KILL_SUIDGID, O_APPEND, 5) > 0);
	assert_int_equal(h.stack.flags, LAM_WRITE_KILL_PRIV | LAM_WRITE_APPEND);
	assert_true(write_file(100, FUSE_WRITE_CACHE, O_APPEND, 5) > 0);
	assert_int_equal(h.stack.flags, 0);
	h.front.proto.flags |= FUSE_WRITEBACK_CACHE;
	assert_true(write_file(100, 0, O_APPEND, 5) > 0);
	assert_int_equal(h.stack.flags, 0);
	h.stack.n_calls = 0;
	assert_int_equal(write_file(100, 0, 0, 6), -EIO);
	assert_int_equal(h.stack.n_calls, 0);
}

static void cleared_bits_reach_the_kernel_once(void **state)
{
	struct fuse_fallocate_in fa = { .length = 10 };
	struct fuse_getattr_in ga = { 0 };
	int64_t off;
	uint64_t id;

	(void)state;
	assert_true(lookup(1, "suid") > 0);
	assert_true(lookup(1, "file") > 0);
	/* A file that never showed such bits has none to lose. */
	assert_true(write_file(100, FUSE_WRITE_KILL_SUIDGID, 0, 5) > 0);
	assert_false(notified(&id, &off));
	/* Root's write keeps them. */
	assert_true(write_file(101, 0, 0, 5) > 0);
	assert_false(notified(&id, &off));
	assert_true(write_file(101, FUSE_WRITE_KILL_SUIDGID, 0, 5) > 0);
	assert_true(notified(&id, &off));
	assert_int_equal(id, 101);
	assert_int_equal(off, -1);
	assert_true(write_file(101, FUSE_WRITE_KILL_SUIDGID, 0, 5) > 0);
	assert_false(notified(&id, &off));
	/* Shown again, they may go again. */
	begin(FUSE_GETATTR, 101);
	ADD(ga);
	assert_true(serve() > 0);
	begin(FUSE_FALLOCATE, 101);
	ADD(fa);
	assert_int_equal(serve(), 0);
	assert_true(notified(&id, &off));
	assert_false(notified(&id, &off));
}

static void read_is_bounded(void **state)
{
	struct fuse_read_in in = { .offset = 100, .size = 777 };

	(void)state;
	begin(FUSE_READ, 100);
	ADD(in);
	assert_int_equal(serve(), 777);
	assert_int_equal(h.stack.off, 100);
	in.size = UINT32_MAX;
	begin(FUSE_READ, 100);
	ADD(in);
	assert_int_equal(serve(), HARNESS_BODY);
	in.offset = (uint64_t)INT64_MAX + 1;
	begin(FUSE_READ, 100);
	ADD(in);
	assert_int_equal(serve(), -EINVAL);
}

static int read_dir(uint32_t opcode, uint64_t offset, uint32_t size)
{
	struct fuse_read_in in = { .offset = offset, .size = size };

	begin(opcode, 200);
	ADD(in);
	return serve();
}

static void listings_fit_and_count(void **state)
{
	const size_t one = FUSE_REC_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + 10);
	const size_t dot = FUSE_REC_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + 2);
	const struct fuse_dirent *d = (const void *)(h.buf + HARNESS_BODY);
	int n;

	(void)state;
	h.stack.listed = 10;
	n = read_dir(FUSE_READDIR, 0, 4096);
	assert_int_equal(n, 2 * FUSE_REC_ALIGN(FUSE_NAME_OFFSET + 2) +
				    10 * FUSE_REC_ALIGN(FUSE_NAME_OFFSET + 10));
	assert_int_equal(d->type, S_IFDIR >> 12);
	assert_int_equal(d->off, 1);
	assert_int_equal(holds_count(h.front.holds), 0);

	assert_int_equal(read_dir(FUSE_READDIRPLUS, 0, 4096), 2 * dot + 10 * one);
	assert_int_equal(holds_count(h.front.holds), 10);
	request_undo(&h.rq, (int)(2 * dot + 10 * one));
	assert_int_equal(holds_count(h.front.holds), 0);
	assert_int_equal(h.stack.n_forgotten, 10);

	/* One byte too few for the third. */
	assert_int_equal(read_dir(FUSE_READDIRPLUS, 0, (uint32_t)(2 * dot + one - 1)), 2 * dot);
	assert_int_equal(holds_count(h.front.holds), 0);
	assert_int_equal(read_dir(FUSE_READDIRPLUS, 0, (uint32_t)(2 * dot + one)), 2 * dot + one);
	assert_int_equal(holds_count(h.front.holds), 1);
	/* Room for none is no end. */
	assert_int_equal(read_dir(FUSE_READDIRPLUS, 2, 100), -EINVAL);
	assert_int_equal(read_dir(FUSE_READDIRPLUS, 12, 4096), 0);
}

static int get_xattr(const char *name, uint32_t size)
{
	struct fuse_getxattr_in in = { .size = size };

	begin(FUSE_GETXATTR, 100);
	ADD(in);
	add_name(name);
	return serve();
}

static void xattrs(void **state)
{
	struct fuse_setxattr_in in = { .size = 5,
				       .flags = XATTR_CREATE,
				       .setxattr_flags = FUSE_SETXATTR_ACL_KILL_SGID };
	int64_t off;
	uint64_t id;

	(void)state;
	assert_int_equal(get_xattr("user.x", 0), sizeof(struct fuse_getxattr_out));
	assert_int_equal(BODY(struct fuse_getxattr_out).size, 12);
	assert_int_equal(get_xattr("user.x", 11), -ERANGE);
	assert_int_equal(get_xattr("user.x", 12), 12);
	assert_memory_equal(h.buf + HARNESS_BODY, "user.xuser.x", 12);

	begin(FUSE_SETXATTR, 100);
	ADD(in);
	add_name("user.y");
	add("value", 5);
	assert_int_equal(serve(), 0);
	assert_string_equal(h.stack.name, "user.y");
	assert_memory_equal(h.stack.name2, "value", 5);
	assert_int_equal(h.stack.flags, LAM_XATTR_CREATE | LAM_XATTR_KILL_SGID);
	assert_false(notified(&id, &off));

	/* The argument as kernels without FUSE_SETXATTR_EXT send it. */
	h.front.proto.flags = 0;
	begin(FUSE_SETXATTR, 100);
	add(&in, FUSE_COMPAT_SETXATTR_IN_SIZE);
	add_name("system.posix_acl_access");
	add("value", 5);
	assert_int_equal(serve(), 0);
	assert_string_equal(h.stack.name, "system.posix_acl_access");
	assert_int_equal(h.stack.flags, LAM_XATTR_CREATE);
	assert_true(notified(&id, &off));
	assert_int_equal(id, 100);
	assert_int_equal(off, -1);

	begin(FUSE_SETXATTR, 100);
	add(&in, FUSE_COMPAT_SETXATTR_IN_SIZE);
	add_name("user.y");
	add("valu", 4);
	assert_int_equal(serve(), -EIO);

	h.front.no_acl = true;
	assert_int_equal(get_xattr("system.posix_acl_access", 100), -EOPNOTSUPP);
	h.front.no_xattr = true;
	assert_int_equal(get_xattr("user.x", 12), -ENOSYS);
}

static int io_control(uint32_t cmd, const void *value, uint32_t in_size, uint32_t out_size)
{
	struct fuse_ioctl_in in = { .cmd = cmd, .in_size = in_size, .out_size = out_size };

	begin(FUSE_IOCTL, 100);
	ADD(in);
	add(value, in_size);
	return serve();
}

static void ioctls(void **state)
{
	const uint32_t flags = 0x40;
	struct fsxattr fsx = { .fsx_xflags = 3, .fsx_projid = 99 };
	int64_t off;
	uint64_t id;

	(void)state;
	assert_int_equal(io_control(FS_IOC_GETFLAGS, "", 0, 4), sizeof(struct fuse_ioctl_out) + 4);
	assert_int_equal(
		*(uint32_t *)(void *)(h.buf + HARNESS_BODY + sizeof(struct fuse_ioctl_out)), 0x10);
	assert_int_equal(io_control(FS_IOC_GETFLAGS, "", 0, 3), -EINVAL);
	assert_int_equal(io_control(FS_IOC32_GETVERSION, "", 0, 4),
			 sizeof(struct fuse_ioctl_out) + 4);
	assert_int_equal(io_control(FS_IOC_SETFLAGS, &flags, 4, 0), sizeof(struct fuse_ioctl_out));
	assert_true(h.stack.fileattr.flags_valid);
	assert_int_equal(h.stack.fileattr.flags, 0x40);
	assert_true(notified(&id, &off));
	assert_int_equal(off, -1);
	assert_int_equal(io_control(FS_IOC_SETFLAGS, &flags, 3, 0), -EINVAL);
	assert_int_equal(io_control(FS_IOC_FSSETXATTR, &fsx, sizeof(fsx), 0),
			 sizeof(struct fuse_ioctl_out));
	assert_false(h.stack.fileattr.flags_valid);
	assert_int_equal(h.stack.fileattr.projid, 99);
	assert_int_equal(h.stack.fileattr.xflags, 3);
	assert_int_equal(io_control(FS_IOC_FSGETXATTR, "", 0, sizeof(fsx)),
			 sizeof(struct fuse_ioctl_out) + sizeof(fsx));
	assert_int_equal(io_control(FIGETBSZ, "", 0, 4), -ENOTTY);
}

/* Dirty pages are written back before they would be refused, and nobody waits who serves. */
static void guarding_waits_elsewhere(void **state)
{
	const uint32_t flags = FS_IMMUTABLE_FL;
	const struct fsxattr fsx = { .fsx_xflags = FS_XFLAG_APPEND };
	int64_t off;
	uint64_t id;

	(void)state;
	h.rq.late = LATE_MAY;
	assert_int_equal(io_control(FS_IOC_SETFLAGS, &flags, 4, 0), REQUEST_LATE);
	assert_int_equal(io_control(FS_IOC_FSSETXATTR, &fsx, sizeof(fsx), 0), REQUEST_LATE);
	assert_false(notified(&id, &off));
	h.rq.late = LATE_IS;
	assert_int_equal(io_control(FS_IOC_SETFLAGS, &flags, 4, 0), sizeof(struct fuse_ioctl_out));
	assert_int_equal(h.stack.fileattr.flags, FS_IMMUTABLE_FL);
	assert_true(notified(&id, &off));
	assert_int_equal(id, 100);
	assert_int_equal(off, 0);
	assert_true(notified(&id, &off));
	assert_int_equal(off, -1);
	h.rq.late = LATE_NEVER;
	assert_int_equal(io_control(FS_IOC_SETFLAGS, &flags, 4, 0), sizeof(struct fuse_ioctl_out));
	assert_true(notified(&id, &off));
	assert_int_equal(off, -1);
	assert_false(notified(&id, &off));
	h.rq.late = LATE_MAY;
}

static int seek(uint64_t off, uint32_t whence)
{
	struct fuse_lseek_in in = { .offset = off, .whence = whence };

	begin(FUSE_LSEEK, 100);
	ADD(in);
	return serve();
}

static void seeking_waits_elsewhere_or_guesses(void **state)
{
	int64_t off;
	uint64_t id;

	(void)state;
	h.rq.late = LATE_MAY;
	assert_int_equal(seek(70000, SEEK_DATA), REQUEST_LATE);
	assert_int_equal(seek(0, SEEK_SET), -EINVAL);
	h.rq.late = LATE_IS;
	assert_true(seek(70000, SEEK_DATA) > 0);
	assert_int_equal(BODY(struct fuse_lseek_out).offset, 4096);
	/* Written back from the page on, not only from the byte on. */
	assert_true(notified(&id, &off));
	assert_int_equal(id, 100);
	assert_int_equal(off, 65536);
	h.rq.late = LATE_NEVER;
	assert_true(seek(100, SEEK_DATA) > 0);
	assert_int_equal(BODY(struct fuse_lseek_out).offset, 100);
	assert_true(seek(100, SEEK_HOLE) > 0);
	assert_int_equal(BODY(struct fuse_lseek_out).offset, 5000);
	assert_int_equal(seek(5000, SEEK_DATA), -ENXIO);
	assert_false(notified(&id, &off));
	h.rq.late = LATE_MAY;
}

static void copying_is_clamped_and_checked(void **state)
{
	struct fuse_copy_file_range_in in = {
		.off_in = 1, .nodeid_out = 101, .off_out = 2, .len = UINT64_MAX / 4
	};

	(void)state;
	begin(FUSE_COPY_FILE_RANGE, 100);
	ADD(in);
	assert_int_equal(serve(), sizeof(struct fuse_write_out));
	assert_int_equal(BODY(struct fuse_write_out).size, 0x7ffff000);
	assert_int_equal(h.stack.id2, 101);
	assert_int_equal(h.stack.off2, 2);
	in.len = 100;
	begin(FUSE_COPY_FILE_RANGE_64, 100);
	ADD(in);
	assert_int_equal(serve(), sizeof(struct fuse_copy_file_range_out));
	assert_int_equal(BODY(struct fuse_copy_file_range_out).bytes_copied, 100);
	in.off_out = INT64_MAX;
	begin(FUSE_COPY_FILE_RANGE, 100);
	ADD(in);
	assert_int_equal(serve(), -EINVAL);
	in.off_out = 0;
	in.flags = 1;
	begin(FUSE_COPY_FILE_RANGE, 100);
	ADD(in);
	assert_int_equal(serve(), -EINVAL);
}

/* Another thread reads an INTERRUPT while UNIQUE is served. */
static void interrupt(uint64_t unique)
{
	struct {
		struct fuse_in_header head;
		struct fuse_interrupt_in in;
	} msg = { .head = { .len = sizeof(msg), .opcode = FUSE_INTERRUPT },
		  .in = { .unique = unique } };
	struct request rq = { .front = &h.front, .slot = &h.front.slots[3] };

	assert_int_equal(request_decode_flat(&rq, &msg, sizeof(msg)), 0);
	assert_int_equal(request_serve(&rq), REQUEST_SILENT);
}

static bool was_cancelled;

static void interrupt_me(void *ctx, const struct lam_call *call)
{
	const uint64_t *unique = ctx;

	if (unique)
		interrupt(*unique);
	was_cancelled = atomic_load(call->cancelled);
}

static bool read_while(uint64_t unique, uint64_t *interrupted)
{
	struct fuse_read_in in = { .size = 1 };
	struct fuse_in_header *head = (struct fuse_in_header *)h.buf;

	h.stack.during = interrupt_me;
	h.stack.during_ctx = interrupted;
	begin(FUSE_READ, 100);
	head->unique = unique;
	ADD(in);
	assert_int_equal(serve(), 1);
	return was_cancelled;
}

static void interrupts_find_their_request(void **state)
{
	uint64_t mine = 1000, other = 2000;

	(void)state;
	assert_false(read_while(1000, NULL));
	assert_true(read_while(1000, &mine));
	assert_false(read_while(1002, NULL));
	assert_false(read_while(1004, &other));
	/* That one came before its request was begun. */
	assert_true(read_while(2000, NULL));
	assert_false(read_while(2002, NULL));
}

static void opens_are_switched_off_or_answered(void **state)
{
	struct fuse_open_in in = { .flags = O_RDWR };

	(void)state;
	begin(FUSE_OPEN, 100);
	ADD(in);
	assert_int_equal(serve(), -ENOSYS);
	begin(FUSE_OPENDIR, 200);
	ADD(in);
	assert_int_equal(serve(), -ENOSYS);
	h.front.proto.zero_open = false;
	begin(FUSE_OPEN, 100);
	ADD(in);
	assert_int_equal(serve(), sizeof(struct fuse_open_out));
	assert_int_equal(BODY(struct fuse_open_out).fh, 0);
	assert_int_equal(BODY(struct fuse_open_out).open_flags, FOPEN_KEEP_CACHE);
	for (unsigned forever = 0; forever < 2; forever++) {
		h.front.forever = forever;
		begin(FUSE_OPENDIR, 200);
		ADD(in);
		assert_true(serve() > 0);
		assert_int_equal(BODY(struct fuse_open_out).open_flags,
				 forever ? FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR : 0);
	}
}

static void root_only_keeps_others_out(void **state)
{
	struct fuse_in_header *head = (struct fuse_in_header *)h.buf;
	struct fuse_read_in in = { .size = 1 };

	(void)state;
	h.front.root_only = true;
	assert_true(lookup(1, "file") > 0); /* the owner */
	for (uint32_t uid = 0; uid < 2; uid++) {
		begin(FUSE_LOOKUP, 1);
		head->uid = uid;
		add_name("file");
		if (uid == 0)
			assert_true(serve() > 0);
		else
			assert_int_equal(serve(), -EACCES);
	}
	begin(FUSE_READ, 100);
	head->uid = 1;
	ADD(in);
	assert_int_equal(serve(), 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(short_messages_are_refused),
		TEST(lengths_must_agree),
		TEST(lookup_describes_and_counts),
		TEST(lookup_of_dots_and_of_nothing),
		TEST(forget_tells_the_engine_at_zero),
		TEST(setattr_says_what_is_meant),
		TEST(statx_gives_the_birth),
		TEST(making_passes_mode_umask_and_device),
		TEST(create_opens_what_was_faster),
		TEST(without_opens_mknod_makes_files),
		TEST(rename_knows_its_flags),
		TEST(write_passes_data_and_flags),
		TEST(cleared_bits_reach_the_kernel_once),
		TEST(read_is_bounded),
		TEST(listings_fit_and_count),
		TEST(xattrs),
		TEST(ioctls),
		TEST(guarding_waits_elsewhere),
		TEST(seeking_waits_elsewhere_or_guesses),
		TEST(copying_is_clamped_and_checked),
		TEST(interrupts_find_their_request),
		TEST(opens_are_switched_off_or_answered),
		TEST(root_only_keeps_others_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A double of the engine for tests of the FUSE front end: a tree of five objects in memory that
 * answers the same every time and notes what it was asked.  Included by one file of a test program,
 * it takes the place of liblamina.
 *
 *	1 /	100 /file	101 /suid (4755)	200 /dir	201 /dir/sub
 */
#ifndef TESTS_LAM_DOUBLE_H
#define TESTS_LAM_DOUBLE_H

#include <lamina/lamina.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct lam_stack {
	lam_in_use_fn in_use;
	void *in_use_ctx;
	/* Notes, for the test to look at. */
	struct lam_cred cred; /* of the last call */
	uint64_t id, id2, off, off2;
	size_t size;
	unsigned flags;
	uint32_t mode, major, minor;
	char name[300], old_name[300], name2[5000];
	struct lam_attr set;
	struct lam_fileattr fileattr;
	uint64_t forgotten[16];
	unsigned n_forgotten, n_calls;
	/* What to do. */
	bool exists;	 /* mknod and the like find their name taken */
	unsigned listed; /* how many entries a directory has besides "." and ".." */
	void (*during)(void *ctx, const struct lam_call *call); /* called in lam_read() */
	void *during_ctx;
};

static struct lam_attr double_attr(uint64_t id)
{
	struct lam_attr a = {
		.ino = id + 1000000,
		.size = 5000,
		.blocks = 16,
		.mode = id == 1 || id == 200 ? S_IFDIR | 0755 : S_IFREG | 0644,
		.nlink = 1,
		.blksize = 4096,
		.rdev_major = 259,
		.rdev_minor = 300,
		.atime = { 1, 2 },
		.mtime = { -3, 4 },
		.ctime = { 5, 6 },
		.btime = { 7, 8 },
		.has_btime = true,
	};

	if (id == 101)
		a.mode |= S_ISUID;
	return a;
}

static bool double_known(uint64_t id)
{
	return id == 1 || id == 100 || id == 101 || id == 200 || id == 201;
}

/* Of the notes that calls by several threads at once write. */
static pthread_mutex_t double_lock = PTHREAD_MUTEX_INITIALIZER;

static int double_note(struct lam_stack *s, const struct lam_call *call, uint64_t id)
{
	pthread_mutex_lock(&double_lock);
	s->cred = call->cred;
	s->id = id;
	s->n_calls++;
	pthread_mutex_unlock(&double_lock);
	return double_known(id) ? 0 : -ESTALE;
}

static void double_name(char *to, size_t size, const char *from)
{
	size_t n = strlen(from);

	if (n >= size)
		n = size - 1;
	pthread_mutex_lock(&double_lock);
	memcpy(to, from, n);
	to[n] = '\0';
	pthread_mutex_unlock(&double_lock);
}

static int double_entry(uint64_t id, struct lam_entry *ret)
{
	*ret = (struct lam_entry){ .id = id, .generation = 9, .attr = double_attr(id) };
	return 0;
}

int lam_stack_add_user(struct lam_stack *s, lam_in_use_fn in_use, void *ctx)
{
	s->in_use = in_use;
	s->in_use_ctx = ctx;
	return 0;
}

void lam_forget(struct lam_stack *s, uint64_t id)
{
	if (s->n_forgotten < sizeof(s->forgotten) / sizeof(s->forgotten[0]))
		s->forgotten[s->n_forgotten] = id;
	s->n_forgotten++;
}

int lam_lookup(struct lam_stack *s, const struct lam_call *call, uint64_t parent, const char *name,
	       struct lam_entry *ret)
{
	int r = double_note(s, call, parent);

	double_name(s->name, sizeof(s->name), name);
	if (r < 0)
		return r;
	if (parent == 1 && strcmp(name, "file") == 0)
		return double_entry(100, ret);
	if (parent == 1 && strcmp(name, "suid") == 0)
		return double_entry(101, ret);
	if (parent == 1 && strcmp(name, "dir") == 0)
		return double_entry(200, ret);
	if (parent == 200 && strcmp(name, "sub") == 0)
		return double_entry(201, ret);
	return -ENOENT;
}

int lam_resolve(struct lam_stack *s, const struct lam_call *call, uint64_t id,
		struct lam_entry *ret)
{
	int r = double_note(s, call, id);

	return r < 0 ? r : double_entry(id, ret);
}

int lam_parent(struct lam_stack *s, const struct lam_call *call, uint64_t id, struct lam_entry *ret)
{
	int r = double_note(s, call, id);

	return r < 0 ? r : double_entry(1, ret);
}

int lam_readdir(struct lam_stack *s, const struct lam_call *call, uint64_t id, uint64_t cookie,
		unsigned flags, lam_emit_fn emit, void *ctx)
{
	int r = double_note(s, call, id);

	if (r < 0)
		return r;
	for (uint64_t i = cookie; i < (uint64_t)s->listed + 2; i++) {
		char name[] = "entry-0000";
		struct lam_entry entry;
		struct lam_dirent d = { .name = i == 0 ? "." : "..",
					.name_len = i == 0 ? 1 : 2,
					.ino = 1000001,
					.cookie = i + 1,
					.type = S_IFDIR };

		if (i >= 2) {
			for (uint64_t n = i, k = 9; k > 5; k--, n /= 10)
				name[k] = (char)('0' + n % 10);
			d = (struct lam_dirent){ .name = name,
						 .name_len = 10,
						 .ino = i,
						 .cookie = i + 1,
						 .type = S_IFREG };
			(void)double_entry(1000 + i, &entry);
			d.entry = flags & LAM_LIST_PLUS ? &entry : NULL;
		}
		if (!emit(ctx, &d))
			break;
	}
	return 0;
}

int lam_getattr(struct lam_stack *s, const struct lam_call *call, uint64_t id, struct lam_attr *ret)
{
	int r = double_note(s, call, id);

	if (r == 0)
		*ret = double_attr(id);
	return r;
}

void lam_stack_info(const struct lam_stack *s, struct lam_info *ret)
{
	(void)s;
	*ret = (struct lam_info){ .writable = true };
}

int lam_backing(struct lam_stack *s, const struct lam_call *call, uint64_t id, bool write,
		int *ret_fd, bool *ret_lower)
{
	(void)write;
	(void)ret_fd;
	(void)ret_lower;
	return double_note(s, call, id) < 0 ? -ESTALE : -EIO;
}

int lam_setattr(struct lam_stack *s, const struct lam_call *call, uint64_t id, unsigned valid,
		const struct lam_attr *attr, struct lam_attr *ret)
{
	int r = double_note(s, call, id);

	s->flags = valid;
	s->set = *attr;
	if (r == 0)
		*ret = double_attr(id);
	return r;
}

ssize_t lam_readlink(struct lam_stack *s, const struct lam_call *call, uint64_t id, char *buf,
		     size_t size)
{
	int r = double_note(s, call, id);

	s->size = size;
	if (r < 0)
		return r;
	if (size > 6)
		size = 6;
	memcpy(buf, "target", size);
	return (ssize_t)size;
}

ssize_t lam_getxattr(struct lam_stack *s, const struct lam_call *call, uint64_t id,
		     const char *name, void *value, size_t size)
{
	size_t n;
	int r = double_note(s, call, id);

	s->size = size;
	if (r < 0)
		return r;
	/* The value is the name, twice: it shows if one is written over the other. */
	n = strlen(name);
	if (size == 0)
		return (ssize_t)(2 * n);
	if (size < 2 * n)
		return -ERANGE;
	memcpy((char *)value + n, name, n);
	memcpy(value, name, n);
	return (ssize_t)(2 * n);
}

ssize_t lam_listxattr(struct lam_stack *s, const struct lam_call *call, uint64_t id, char *list,
		      size_t size)
{
	int r = double_note(s, call, id);

	if (r < 0)
		return r;
	if (size == 0)
		return 7;
	if (size < 7)
		return -ERANGE;
	memcpy(list, "user.a", 7);
	return 7;
}

int lam_setxattr(struct lam_stack *s, const struct lam_call *call, uint64_t id, const char *name,
		 const void *value, size_t size, unsigned flags)
{
	double_name(s->name, sizeof(s->name), name);
	double_name(s->name2, sizeof(s->name2), "");
	memcpy(s->name2, value, size < sizeof(s->name2) ? size : sizeof(s->name2));
	s->size = size;
	s->flags = flags;
	return double_note(s, call, id);
}

int lam_removexattr(struct lam_stack *s, const struct lam_call *call, uint64_t id, const char *name)
{
	double_name(s->name, sizeof(s->name), name);
	return double_note(s, call, id);
}

int lam_get_fileattr(struct lam_stack *s, const struct lam_call *call, uint64_t id,
		     struct lam_fileattr *ret)
{
	int r = double_note(s, call, id);

	if (r == 0)
		*ret = (struct lam_fileattr){ .flags = 0x10, .xflags = 0x8, .projid = 77 };
	return r;
}

int lam_set_fileattr(struct lam_stack *s, const struct lam_call *call, uint64_t id,
		     const struct lam_fileattr *attr)
{
	s->fileattr = *attr;
	return double_note(s, call, id);
}

int lam_get_version(struct lam_stack *s, const struct lam_call *call, uint64_t id, uint32_t *ret)
{
	int r = double_note(s, call, id);

	if (r == 0)
		*ret = 1234;
	return r;
}

int lam_statfs(struct lam_stack *s, struct lam_statfs *ret)
{
	s->n_calls++;
	*ret = (struct lam_statfs){ 100, 50, 40, 30, 20, 4096, 512, 255 };
	return 0;
}

static int double_make(struct lam_stack *s, const struct lam_call *call, uint64_t parent,
		       const char *name, uint32_t mode, struct lam_entry *ret)
{
	int r = double_note(s, call, parent);

	double_name(s->name, sizeof(s->name), name);
	s->mode = mode;
	if (r < 0)
		return r;
	return s->exists ? -EEXIST : double_entry(201, ret);
}

int lam_mknod(struct lam_stack *s, const struct lam_call *call, uint64_t parent, const char *name,
	      uint32_t mode, uint32_t rdev_major, uint32_t rdev_minor, struct lam_entry *ret)
{
	s->major = rdev_major;
	s->minor = rdev_minor;
	return double_make(s, call, parent, name, mode, ret);
}

int lam_mkdir(struct lam_stack *s, const struct lam_call *call, uint64_t parent, const char *name,
	      uint32_t mode, struct lam_entry *ret)
{
	return double_make(s, call, parent, name, mode, ret);
}

int lam_symlink(struct lam_stack *s, const struct lam_call *call, uint64_t parent, const char *name,
		const char *target, struct lam_entry *ret)
{
	double_name(s->name2, sizeof(s->name2), target);
	return double_make(s, call, parent, name, S_IFLNK, ret);
}

int lam_link(struct lam_stack *s, const struct lam_call *call, uint64_t id, uint64_t parent,
	     const char *name, struct lam_entry *ret)
{
	s->id2 = id;
	return double_make(s, call, parent, name, 0, ret);
}

int lam_tmpfile(struct lam_stack *s, const struct lam_call *call, uint64_t parent, uint32_t mode,
		struct lam_entry *ret)
{
	return double_make(s, call, parent, "", mode, ret);
}

int lam_unlink(struct lam_stack *s, const struct lam_call *call, uint64_t parent, const char *name)
{
	double_name(s->name, sizeof(s->name), name);
	return double_note(s, call, parent);
}

int lam_rmdir(struct lam_stack *s, const struct lam_call *call, uint64_t parent, const char *name)
{
	double_name(s->name, sizeof(s->name), name);
	return double_note(s, call, parent);
}

int lam_rename(struct lam_stack *s, const struct lam_call *call, uint64_t parent, const char *name,
	       uint64_t new_parent, const char *new_name, unsigned flags)
{
	double_name(s->old_name, sizeof(s->old_name), name);
	double_name(s->name2, sizeof(s->name2), new_name);
	s->id2 = new_parent;
	s->flags = flags;
	return double_note(s, call, parent);
}

ssize_t lam_read(struct lam_stack *s, const struct lam_call *call, uint64_t id, uint64_t off,
		 void *buf, size_t size)
{
	int r = double_note(s, call, id);

	s->off = off;
	s->size = size;
	if (s->during)
		s->during(s->during_ctx, call);
	if (r < 0)
		return r;
	memset(buf, 'r', size);
	return (ssize_t)size;
}

ssize_t lam_write(struct lam_stack *s, const struct lam_call *call, uint64_t id, uint64_t off,
		  const void *buf, size_t size, unsigned flags)
{
	int r = double_note(s, call, id);

	s->off = off;
	s->size = size;
	s->flags = flags;
	memcpy(s->name2, buf, size < sizeof(s->name2) ? size : sizeof(s->name2));
	return r < 0 ? r : (ssize_t)size;
}

int lam_fallocate(struct lam_stack *s, const struct lam_call *call, uint64_t id, int mode,
		  uint64_t off, uint64_t len)
{
	s->mode = (uint32_t)mode;
	s->off = off;
	s->size = len;
	return double_note(s, call, id);
}

int64_t lam_seek(struct lam_stack *s, const struct lam_call *call, uint64_t id, uint64_t off,
		 int whence)
{
	int r = double_note(s, call, id);

	s->off = off;
	if (r < 0)
		return r;
	return whence == SEEK_DATA ? 4096 : 0;
}

ssize_t lam_copy_range(struct lam_stack *s, const struct lam_call *call, uint64_t id_in,
		       uint64_t off_in, uint64_t id_out, uint64_t off_out, size_t len)
{
	int r = double_note(s, call, id_in);

	s->off = off_in;
	s->id2 = id_out;
	s->off2 = off_out;
	s->size = len;
	return r < 0 ? r : (ssize_t)len;
}

int lam_fsync(struct lam_stack *s, const struct lam_call *call, uint64_t id, bool data_only)
{
	s->flags = data_only;
	return double_note(s, call, id);
}

int lam_orphans(struct lam_stack *stack, void (*fn)(void *ctx, uint64_t id), void *ctx)
{
	(void)stack;
	(void)fn;
	(void)ctx;
	return 0;
}

int lam_syncfs(struct lam_stack *s)
{
	s->n_calls++;
	return 0;
}

#endif

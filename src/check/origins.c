/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Origins: which lower object an upper one was copied from, as a stored file handle. */
#include "check.h"

#include <errno.h>

#include "base/hash.h"

#define BTRFS_HANDLE 0x4d

int origin_make(const struct check *c, uint16_t layer, int dirfd, const char *name, bool path_upper,
		struct fh *ret)
{
	const struct clayer *l = &c->layers[layer];
	struct sys_handle h;
	int r;

	if (!l->can_encode)
		return -EOPNOTSUPP;
	r = sys_name_to_handle(dirfd, name, &h, NULL);
	return r < 0 ? r : fh_encode(h.type, l->uuid, h.fid, h.len, path_upper, ret);
}

static int open_on(const struct clayer *l, const struct fh_view *v)
{
	struct sys_handle h = { .type = v->type, .len = (unsigned)v->fid_len };
	int fd;

	if (v->fid_len > sizeof(h.fid))
		return -EINVAL;
	memcpy(h.fid, v->fid, v->fid_len);
	fd = sys_open_by_handle(l->fd, &h, O_PATH);
	return fd == -ENOENT ? -ESTALE : fd;
}

int origin_open(struct check *c, const struct fh *fh)
{
	const struct clayer *found = NULL;
	struct fh_view v;
	int r = fh_decode(fh->bytes, fh->len, &v);

	if (r < 0)
		return r;
	for (uint16_t i = 1; i <= c->n_lower; i++) {
		const struct clayer *l = &c->layers[i];

		if (memcmp(l->uuid, v.uuid, FH_UUID_LEN) != 0)
			continue;
		/* Two filesystems with one UUID, but for the subvolumes of a btrfs. */
		if (found && found->dev != l->dev && v.type != BTRFS_HANDLE)
			return -EOPNOTSUPP;
		found = l;
	}
	if (!found)
		return -ENODATA;
	if (found->foreign || !found->can_decode)
		return -EOPNOTSUPP;
	r = open_on(found, &v);
	return r == -EINVAL || r == -EPERM || r == -EACCES ? -EOPNOTSUPP : r;
}

/* Two objects with one origin. */
static int check_unique(struct check *c, struct object *o, const struct fh *fh)
{
	uint64_t key = hash_bytes(fh->bytes, fh->len) | 1;
	struct tslot *slot = table64_add(&c->origins, key);
	struct problem p;
	int r;

	if (!slot)
		return -ENOMEM;
	r = problem_begin(c, &p, KIND_ORIGIN_DUPLICATE, o->layer, o->shown);
	if (r < 0)
		return r;
	if (!slot->text) {
		slot->number = o->ino;
		slot->text = TAKE_PTR(p.path);
		return 0;
	}
	if (slot->number == o->ino) { /* another name of it */
		free(p.path);
		return 0;
	}
	problem_say(&p, "%s has the same origin", QUOTE(slot->text));
	if (problem_mend(c, &p, true))
		problem_done(c, &p, mark_remove(c, o->dirfd, o->name, "origin"));
	return 0;
}

/* What the handle leads to.  1 if something was found wrong. */
static int check_target(struct check *c, struct object *o, const struct fh *fh)
{
	CLEANUP_CLOSE int fd = origin_open(c, fh);
	struct stat st;
	int r = 0;

	if (fd == -ESTALE)
		r = object_drop_mark(c, o, KIND_ORIGIN_DANGLING, "origin",
				     "the origin is of an object that is gone");
	else if (fd == -ENODATA)
		r = object_drop_mark(c, o, KIND_ORIGIN_FOREIGN, "origin",
				     "the origin is of another filesystem than the lower layers'");
	else if (fd < 0)
		return fd == -EOPNOTSUPP ? 0 : fd;
	else if (sys_stat(fd, "", &st) < 0 || (st.st_mode & S_IFMT) == o->type)
		return 0;
	else
		r = object_drop_mark(c, o, KIND_ORIGIN_TYPE, "origin",
				     "the origin is of an object of another type");
	return r < 0 ? r : 1;
}

int origin_check(struct check *c, struct object *o)
{
	struct fh_view v;
	struct fh fh;
	int r;

	if (o->layer != LAYER_UPPER)
		return 0;
	r = mark_get_fh(c, o->dirfd, o->name, "origin", &fh);
	if (r == 0 && fh_decode(fh.bytes, fh.len, &v) == 0 && v.path_upper)
		r = -EINVAL;
	if (r == -EINVAL)
		return object_drop_mark(c, o, KIND_ORIGIN_BAD, "origin",
					"the origin is not the handle of a lower object");
	if (r < 0) /* none, or of a newer make: as no origin */
		return r == -ENODATA ? 0 : r;
	if (c->lone)
		return 0;
	r = check_target(c, o, &fh);
	return r ? (r < 0 ? r : 0) : check_unique(c, o, &fh);
}

int origin_check_root(struct check *c, struct object *o)
{
	struct fh stored, wanted;
	struct problem p;
	int r = mark_get_fh(c, o->dirfd, o->name, "origin", &stored);

	if (r == -EINVAL)
		return object_drop_mark(c, o, KIND_ORIGIN_BAD, "origin",
					"the origin is not the handle of a lower object");
	if (r < 0)
		return r == -ENODATA ? 0 : r;
	if (c->layers[1].foreign || origin_make(c, 1, c->layers[1].fd, "", false, &wanted) < 0 ||
	    fh_equal(&stored, &wanted))
		return 0;
	r = problem_begin(c, &p, KIND_ORIGIN_ROOT, o->layer, NULL);
	if (r < 0)
		return r;
	problem_say(&p, "the origin is another directory than lower layer 1");
	if (problem_mend(c, &p, true))
		problem_done(c, &p, mark_set(c, o->dirfd, "", "origin", wanted.bytes, wanted.len));
	return 0;
}

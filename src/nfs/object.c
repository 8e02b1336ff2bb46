/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From handles to objects of the stack, and from the stack's attributes and errors to NFS's. */
#include "internal.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"

/* ---- Errors ---- */

static const struct {
	int r;
	nfsstat3 status;
} statuses[] = {
	{ 0, NFS3_OK },
	{ -EPERM, NFS3ERR_PERM },
	{ -ENOENT, NFS3ERR_NOENT },
	{ -EIO, NFS3ERR_IO },
	{ -ENXIO, NFS3ERR_NXIO },
	{ -EACCES, NFS3ERR_ACCES },
	{ -EEXIST, NFS3ERR_EXIST },
	{ -EXDEV, NFS3ERR_XDEV },
	{ -ENODEV, NFS3ERR_NODEV },
	{ -ENOTDIR, NFS3ERR_NOTDIR },
	{ -EISDIR, NFS3ERR_ISDIR },
	{ -EINVAL, NFS3ERR_INVAL },
	{ -ELOOP, NFS3ERR_INVAL },
	{ -EOVERFLOW, NFS3ERR_INVAL },
	{ -EFBIG, NFS3ERR_FBIG },
	{ -ENOSPC, NFS3ERR_NOSPC },
	{ -EROFS, NFS3ERR_ROFS },
	{ -EMLINK, NFS3ERR_MLINK },
	{ -ENAMETOOLONG, NFS3ERR_NAMETOOLONG },
	{ -ENOTEMPTY, NFS3ERR_NOTEMPTY },
	{ -EDQUOT, NFS3ERR_DQUOT },
	{ -ESTALE, NFS3ERR_STALE },
	{ -EBADF, NFS3ERR_BADHANDLE },
	{ -EOPNOTSUPP, NFS3ERR_NOTSUPP },
	{ -ENOSYS, NFS3ERR_NOTSUPP },
	{ -EBUSY, NFS3ERR_ACCES },
	/* What may work later. */
	{ -EINTR, NFS3ERR_JUKEBOX },
	{ -EAGAIN, NFS3ERR_JUKEBOX },
	{ -ENOMEM, NFS3ERR_JUKEBOX },
	{ -EMFILE, NFS3ERR_JUKEBOX },
	{ -ENFILE, NFS3ERR_JUKEBOX },
	{ -ETXTBSY, NFS3ERR_JUKEBOX },
};

nfsstat3 nfs_status(int r)
{
	for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
		if (statuses[i].r == r)
			return statuses[i].status;
	}
	log_warning("nfs: an error that NFS has no word for: %s", log_errno(r));
	return NFS3ERR_SERVERFAULT;
}

/* ---- Objects ---- */

void object_of_entry(const struct lam_entry *entry, struct object *ret)
{
	ret->id = entry->id;
	ret->generation = entry->generation;
	ret->attr = entry->attr;
}

static nfsstat3 resolve(struct nfs_call *call, uint64_t id, uint32_t generation, struct object *ret)
{
	struct lam_entry entry;
	int r = lam_resolve(call->front->stack, &call->lam, id, &entry);

	if (r < 0)
		return nfs_status(r == -ENOENT ? -ESTALE : r);
	if (entry.generation != generation)
		return NFS3ERR_STALE;
	object_of_entry(&entry, ret);
	return NFS3_OK;
}

nfsstat3 object_find(struct nfs_call *call, const fh3 *fh, struct object *ret)
{
	uint64_t id;
	uint32_t generation;

	if (handle_decode(&call->front->key, fh->data.data_val, fh->data.data_len, &id,
			  &generation) < 0)
		return NFS3ERR_BADHANDLE;
	return resolve(call, id, generation, ret);
}

void put_handle(struct nfs_call *call, uint64_t id, uint32_t generation, fh3 *ret)
{
	handle_encode(&call->front->key, id, generation, call->handle_room);
	ret->data.data_len = HANDLE_SIZE;
	ret->data.data_val = (char *)call->handle_room;
}

/* ---- Names ---- */

nfsstat3 get_name(const name3 *from, char ret[LAM_NAME_MAX + 1])
{
	if (from->name3_len == 0)
		return NFS3ERR_ACCES;
	if (from->name3_len > LAM_NAME_MAX)
		return NFS3ERR_NAMETOOLONG;
	if (memchr(from->name3_val, '\0', from->name3_len) ||
	    memchr(from->name3_val, '/', from->name3_len))
		return NFS3ERR_ACCES;
	memcpy(ret, from->name3_val, from->name3_len);
	ret[from->name3_len] = '\0';
	return NFS3_OK;
}

bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* ---- Attributes ---- */

static ftype3 type_of(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return NF3DIR;
	case S_IFBLK:
		return NF3BLK;
	case S_IFCHR:
		return NF3CHR;
	case S_IFLNK:
		return NF3LNK;
	case S_IFSOCK:
		return NF3SOCK;
	case S_IFIFO:
		return NF3FIFO;
	default:
		return NF3REG;
	}
}

/* From 1970 to 2106; what is outside of that gets the nearer end. */
static time3 put_time(const struct timespec *from)
{
	if (from->tv_sec < 0)
		return (time3){ 0, 0 };
	if (from->tv_sec > (time_t)UINT32_MAX)
		return (time3){ UINT32_MAX, 0 };
	return (time3){ (uint32_t)from->tv_sec, (uint32_t)from->tv_nsec };
}

void put_attr(const struct nfs_call *call, const struct lam_attr *attr, fattr3 *ret)
{
	*ret = (fattr3){
		.type = type_of(attr->mode),
		.mode = attr->mode & 07777u,
		.nlink = attr->nlink,
		.uid = attr->uid,
		.gid = attr->gid,
		.size = attr->size,
		.used = attr->blocks * 512,
		.rdev = { attr->rdev_major, attr->rdev_minor },
		.fsid = call->front->fsid,
		.fileid = attr->ino,
		.atime = put_time(&attr->atime),
		.mtime = put_time(&attr->mtime),
		.ctime = put_time(&attr->ctime),
	};
}

void put_post_attr(const struct nfs_call *call, const struct lam_attr *attr, post_op_attr *ret)
{
	ret->attributes_follow = TRUE;
	put_attr(call, attr, &ret->post_op_attr_u.attributes);
}

void put_fresh_attr(struct nfs_call *call, uint64_t id, post_op_attr *ret)
{
	struct lam_attr attr;

	ret->attributes_follow = FALSE;
	if (lam_getattr(call->front->stack, &call->lam, id, &attr) == 0)
		put_post_attr(call, &attr, ret);
}

/* ---- Around a change ---- */

/*
 * A client whose cache agrees with the attributes from before takes its cache for good together with
 * those from after.  That is only right if nothing else came in between, so each change counts
 * itself in one of some stripes: who was alone from beginning to end shows what was before.
 */
nfsstat3 wcc_begin(struct nfs_call *call, const fh3 *fh, struct wcc *w)
{
	uint64_t id;
	uint32_t generation;
	nfsstat3 status;

	*w = (struct wcc){ 0 };
	if (handle_decode(&call->front->key, fh->data.data_val, fh->data.data_len, &id,
			  &generation) < 0)
		return NFS3ERR_BADHANDLE;
	w->stripe = &call->front->stripes[hash_u64(id) % WCC_STRIPES];
	w->alone = atomic_fetch_add(&w->stripe->active, 1) == 0 && !call->front->shared;
	w->ticket = atomic_fetch_add(&w->stripe->begun, 1) + 1;
	status = resolve(call, id, generation, &w->obj);
	w->found = status == NFS3_OK;
	return status;
}

void wcc_end(struct nfs_call *call, struct wcc *w, wcc_data *ret)
{
	ret->before.attributes_follow = FALSE;
	ret->after.attributes_follow = FALSE;
	if (!w->stripe)
		return;
	if (w->found)
		put_fresh_attr(call, w->obj.id, &ret->after);
	if (w->found && w->alone && atomic_load(&w->stripe->begun) == w->ticket) {
		ret->before.attributes_follow = TRUE;
		ret->before.pre_op_attr_u.attributes = (wcc_attr){
			.size = w->obj.attr.size,
			.mtime = put_time(&w->obj.attr.mtime),
			.ctime = put_time(&w->obj.attr.ctime),
		};
	}
	atomic_fetch_sub(&w->stripe->active, 1);
	w->stripe = NULL;
}

void tell_changed(struct nfs_call *call, uint64_t id)
{
	if (call->front->shared)
		call->front->changed(call->front->ctx, id);
}

void tell_name(struct nfs_call *call, uint64_t parent, const char *name)
{
	if (call->front->shared)
		call->front->name_changed(call->front->ctx, parent, name);
}

nfsstat3 sync_dir(struct nfs_call *call, uint64_t dir)
{
	if (call->front->async)
		return NFS3_OK;
	return nfs_status(lam_fsync(call->front->stack, &call->lam, dir, false));
}

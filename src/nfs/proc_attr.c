/* SPDX-License-Identifier: GPL-2.0-or-later */
/* NULL, GETATTR, SETATTR and ACCESS (RFC 1813, 3.3.0 to 3.3.2 and 3.3.4). */
#include "internal.h"

#include <string.h>
#include <sys/stat.h>

#define NSEC_PER_SEC 1000000000u

/* A change that has run for longer keeps others waiting, and a client had better come again. */
#define LONG_CHANGE_MS 1000u

void proc_null(struct nfs_call *call, void *args, void *res)
{
	(void)call;
	(void)args;
	(void)res;
}

void proc_getattr(struct nfs_call *call, void *args, void *res)
{
	getattr3res *out = res;
	struct object obj;

	out->status = object_find(call, args, &obj);
	if (out->status == NFS3_OK)
		put_attr(call, &obj.attr, &out->getattr3res_u.attr);
}

/* ---- Changes that take long ---- */

bool change_begin(struct nfs_call *call, uint64_t id)
{
	struct nfs_front *front = call->front;
	const uint64_t now = front_now_ms();
	unsigned n_long = 0;

	for (unsigned i = 0; i < front->n_workers; i++) {
		const struct running *other = &front->running[i];
		uint64_t its_id = atomic_load(&other->id);

		if (its_id == 0 ||
		    front_ms_since(now, atomic_load(&other->since_ms)) < LONG_CHANGE_MS)
			continue;
		n_long++;
		if (its_id == id)
			return false;
	}
	/* Two workers are left for those who only read. */
	if (n_long + 2 >= front->n_workers)
		return false;
	atomic_store(&front->running[call->worker].since_ms, now);
	atomic_store(&front->running[call->worker].id, id);
	return true;
}

void change_end(struct nfs_call *call)
{
	atomic_store(&call->front->running[call->worker].id, 0);
}

/* ---- Attributes to be set ---- */

struct setting {
	struct nfs_call *call;
	const struct object *obj;
	const sattr3 *in;
	bool is_owner;
	unsigned valid;
	struct lam_attr attr;
};

static nfsstat3 take_owner(struct setting *s)
{
	const struct lam_attr *old = &s->obj->attr;
	const struct nfs_cred *cred = &s->call->cred;

	if (s->in->uid.set_it && s->in->uid.set_u32_u.value != old->uid) {
		if (cred->uid != 0)
			return NFS3ERR_PERM;
		s->attr.uid = s->in->uid.set_u32_u.value;
		s->valid |= LAM_SET_UID;
	}
	if (s->in->gid.set_it && s->in->gid.set_u32_u.value != old->gid) {
		const uint32_t gid = s->in->gid.set_u32_u.value;

		if (cred->uid != 0 && !(s->is_owner && access_in_group(cred, gid)))
			return NFS3ERR_PERM;
		s->attr.gid = gid;
		s->valid |= LAM_SET_GID;
	}
	if ((s->valid & (LAM_SET_UID | LAM_SET_GID)) && !S_ISDIR(old->mode) && !s->in->mode.set_it)
		s->valid |= LAM_SET_KILL_PRIV;
	return NFS3_OK;
}

static nfsstat3 take_mode(struct setting *s)
{
	const uint32_t gid = s->valid & LAM_SET_GID ? s->attr.gid : s->obj->attr.gid;

	if (!s->in->mode.set_it)
		return NFS3_OK;
	if (!s->is_owner)
		return NFS3ERR_PERM;
	s->attr.mode = s->in->mode.set_u32_u.value & 07777u;
	if (s->call->cred.uid != 0 && !access_in_group(&s->call->cred, gid))
		s->attr.mode &= ~(uint32_t)S_ISGID;
	s->valid |= LAM_SET_MODE;
	return NFS3_OK;
}

static nfsstat3 take_size(struct setting *s, bool for_new)
{
	nfsstat3 status;

	if (!s->in->size.set_it)
		return NFS3_OK;
	if (!S_ISREG(s->obj->attr.mode))
		return S_ISDIR(s->obj->attr.mode) ? NFS3ERR_ISDIR : NFS3ERR_INVAL;
	status = for_new ? NFS3_OK : access_check_owner(s->call, s->obj, MAY_WRITE);
	if (status != NFS3_OK)
		return status;
	if (s->in->size.set_u64_u.value > INT64_MAX)
		return NFS3ERR_FBIG;
	s->attr.size = s->in->size.set_u64_u.value;
	s->valid |= LAM_SET_SIZE;
	if (s->call->cred.uid != 0 && !for_new)
		s->valid |= LAM_SET_KILL_PRIV;
	return NFS3_OK;
}

static nfsstat3 take_time(struct setting *s, const set_time *in, struct timespec *out,
			  unsigned now_bit, unsigned bit)
{
	switch (in->how) {
	case DONT_CHANGE:
		return NFS3_OK;
	case SET_TO_SERVER_TIME:
		if (!s->is_owner && access_check(s->call, s->obj, MAY_WRITE) != NFS3_OK)
			return NFS3ERR_ACCES;
		s->valid |= now_bit;
		return NFS3_OK;
	case SET_TO_CLIENT_TIME:
		if (!s->is_owner)
			return NFS3ERR_PERM;
		if (in->set_time_u.value.nseconds >= NSEC_PER_SEC)
			return NFS3ERR_INVAL;
		out->tv_sec = in->set_time_u.value.seconds;
		out->tv_nsec = in->set_time_u.value.nseconds;
		s->valid |= bit;
		return NFS3_OK;
	}
	return NFS3ERR_INVAL; /* a number that is none of them */
}

nfsstat3 apply_sattr(struct nfs_call *call, const struct object *obj, const sattr3 *sattr,
		     bool for_new, struct lam_attr *ret)
{
	struct setting s = {
		.call = call,
		.obj = obj,
		.in = sattr,
		.is_owner = for_new || call->cred.uid == 0 || call->cred.uid == obj->attr.uid,
	};
	nfsstat3 status = access_read_only(call) ? NFS3ERR_ROFS : NFS3_OK;

	if (status == NFS3_OK)
		status = take_owner(&s);
	if (status == NFS3_OK)
		status = take_mode(&s);
	if (status == NFS3_OK)
		status = take_size(&s, for_new);
	if (status == NFS3_OK)
		status = take_time(&s, &sattr->atime, &s.attr.atime, LAM_SET_ATIME_NOW,
				   LAM_SET_ATIME);
	if (status == NFS3_OK)
		status = take_time(&s, &sattr->mtime, &s.attr.mtime, LAM_SET_MTIME_NOW,
				   LAM_SET_MTIME);
	if (status != NFS3_OK)
		return status;
	if (s.valid == 0) {
		*ret = obj->attr;
		return NFS3_OK;
	}
	return nfs_status(
		lam_setattr(call->front->stack, &call->lam, obj->id, s.valid, &s.attr, ret));
}

void proc_setattr(struct nfs_call *call, void *args, void *res)
{
	setattr3args *in = args;
	status_wcc3 *out = res;
	struct lam_attr now;
	struct wcc w;

	out->status = wcc_begin(call, &in->object, &w);
	if (out->status == NFS3_OK && in->guard.check && !call->again) {
		const time3 *guard = &in->guard.sattrguard3_u.ctime;

		/* RFC 1813 3.3.2: the client has seen the object as it is. */
		if ((uint32_t)w.obj.attr.ctime.tv_sec != guard->seconds ||
		    (uint32_t)w.obj.attr.ctime.tv_nsec != guard->nseconds)
			out->status = NFS3ERR_NOT_SYNC;
	}
	/* Done, it would not match: who asks again shall not be told so. */
	if (out->status == NFS3_OK && in->guard.check)
		drc_note(call->front->drc, call->entry, w.obj.id);
	if (out->status == NFS3_OK && !change_begin(call, w.obj.id))
		out->status = NFS3ERR_JUKEBOX;
	else if (out->status == NFS3_OK) {
		out->status = apply_sattr(call, &w.obj, &in->attr, false, &now);
		if (out->status == NFS3_OK)
			out->status = sync_dir(call, w.obj.id);
		change_end(call);
		tell_changed(call, w.obj.id);
	}
	wcc_end(call, &w, &out->wcc);
}

/* ---- ACCESS ---- */

#define ACCESS3_READ 0x0001u
#define ACCESS3_LOOKUP 0x0002u
#define ACCESS3_MODIFY 0x0004u
#define ACCESS3_EXTEND 0x0008u
#define ACCESS3_DELETE 0x0010u
#define ACCESS3_EXECUTE 0x0020u

static unsigned access_bits(struct nfs_call *call, const struct object *obj)
{
	const bool dir = S_ISDIR(obj->attr.mode);
	unsigned bits = 0;

	if (access_check(call, obj, MAY_READ) == NFS3_OK)
		bits |= ACCESS3_READ;
	if (access_check(call, obj, MAY_WRITE) == NFS3_OK)
		bits |= ACCESS3_MODIFY | ACCESS3_EXTEND | (dir ? ACCESS3_DELETE : 0);
	if (access_check(call, obj, MAY_EXEC) == NFS3_OK)
		bits |= dir ? ACCESS3_LOOKUP : ACCESS3_EXECUTE;
	return bits;
}

void proc_access(struct nfs_call *call, void *args, void *res)
{
	access3args *in = args;
	access3res *out = res;
	struct object obj;

	out->status = object_find(call, &in->object, &obj);
	if (out->status != NFS3_OK)
		return;
	out->access3res_u.ok.access = access_bits(call, &obj) & in->access;
	put_post_attr(call, &obj.attr, &out->access3res_u.ok.attr);
}

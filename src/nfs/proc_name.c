/* SPDX-License-Identifier: GPL-2.0-or-later */
/* REMOVE, RMDIR, RENAME and LINK (RFC 1813, 3.3.12 to 3.3.15). */
#include "internal.h"

#include <string.h>
#include <sys/stat.h>

/* ---- REMOVE and RMDIR ---- */

static nfsstat3 find_victim(struct nfs_call *call, const struct object *dir, const char *name,
			    struct object *ret)
{
	struct lam_entry entry;
	nfsstat3 status = access_check(call, dir, MAY_EXEC);

	if (status == NFS3_OK)
		status = nfs_status(
			lam_lookup(call->front->stack, &call->lam, dir->id, name, &entry));
	if (status == NFS3_OK)
		object_of_entry(&entry, ret);
	return status;
}

/* What RFC 1813 says of "." and "..": 3.3.12 nothing, 3.3.13 these two. */
static nfsstat3 dots_status(const char *name, bool is_rmdir)
{
	if (!is_rmdir)
		return NFS3ERR_ACCES;
	return name[1] == '\0' ? NFS3ERR_INVAL : NFS3ERR_EXIST;
}

/* An earlier run of the server has begun this request and was killed.  If what it was about is not there
 * any more it was done. */
static bool gone_before(const struct nfs_call *call, nfsstat3 status, const struct object *victim)
{
	return call->again && (status == NFS3ERR_NOENT ||
			       (status == NFS3_OK && victim->id != drc_noted(call->entry)));
}

static nfsstat3 take_victim(struct nfs_call *call, const struct object *dir, const char *name,
			    const struct object *victim, bool is_rmdir)
{
	struct lam_stack *stack = call->front->stack;
	nfsstat3 status = access_check_remove(call, dir, victim);

	if (status != NFS3_OK)
		return status;
	drc_note(call->front->drc, call->entry, victim->id);
	return nfs_status(is_rmdir ? lam_rmdir(stack, &call->lam, dir->id, name)
				   : lam_unlink(stack, &call->lam, dir->id, name));
}

static void take_away(struct nfs_call *call, const dirop3 *in, bool is_rmdir, status_wcc3 *out)
{
	char name[LAM_NAME_MAX + 1];
	struct object victim = { 0 };
	struct wcc dir;
	nfsstat3 status = wcc_begin(call, &in->dir, &dir);

	if (status == NFS3_OK && !S_ISDIR(dir.obj.attr.mode))
		status = NFS3ERR_NOTDIR;
	if (status == NFS3_OK)
		status = get_name(&in->name, name);
	if (status == NFS3_OK && is_dots(name))
		status = dots_status(name, is_rmdir);
	if (status == NFS3_OK) {
		status = find_victim(call, &dir.obj, name, &victim);
		if (gone_before(call, status, &victim))
			status = NFS3_OK;
		else if (status == NFS3_OK)
			status = take_victim(call, &dir.obj, name, &victim, is_rmdir);
	}
	if (status == NFS3_OK) {
		tell_name(call, dir.obj.id, name);
		if (victim.id)
			tell_changed(call, victim.id);
		status = sync_dir(call, dir.obj.id);
	}
	out->status = status;
	wcc_end(call, &dir, &out->wcc);
}

void proc_remove(struct nfs_call *call, void *args, void *res)
{
	take_away(call, args, false, res);
}

void proc_rmdir(struct nfs_call *call, void *args, void *res)
{
	take_away(call, args, true, res);
}

/* ---- RENAME ---- */

struct renaming {
	struct wcc from, to; /* TO is not begun where both are one directory */
	const struct object *from_dir, *to_dir;
	char from_name[LAM_NAME_MAX + 1], to_name[LAM_NAME_MAX + 1];
	struct object moved, replaced;
	bool replaces;
};

static nfsstat3 rename_find(struct nfs_call *call, const rename3args *in, struct renaming *rn)
{
	nfsstat3 status = wcc_begin(call, &in->from.dir, &rn->from);

	rn->from_dir = rn->to_dir = &rn->from.obj;
	if (status == NFS3_OK && (in->to.dir.data.data_len != in->from.dir.data.data_len ||
				  memcmp(in->to.dir.data.data_val, in->from.dir.data.data_val,
					 in->to.dir.data.data_len) != 0)) {
		status = wcc_begin(call, &in->to.dir, &rn->to);
		rn->to_dir = &rn->to.obj;
	}
	if (status == NFS3_OK &&
	    (!S_ISDIR(rn->from_dir->attr.mode) || !S_ISDIR(rn->to_dir->attr.mode)))
		status = NFS3ERR_NOTDIR;
	if (status == NFS3_OK)
		status = get_name(&in->from.name, rn->from_name);
	if (status == NFS3_OK)
		status = get_name(&in->to.name, rn->to_name);
	if (status == NFS3_OK && (is_dots(rn->from_name) || is_dots(rn->to_name)))
		status = NFS3ERR_INVAL;
	return status;
}

static nfsstat3 rename_check(struct nfs_call *call, struct renaming *rn)
{
	nfsstat3 status = find_victim(call, rn->from_dir, rn->from_name, &rn->moved);

	if (status == NFS3_OK)
		status = access_check_remove(call, rn->from_dir, &rn->moved);
	if (status == NFS3_OK)
		status = access_check(call, rn->to_dir, MAY_WRITE | MAY_EXEC);
	if (status != NFS3_OK)
		return status;
	/* A directory that moves gets another "..". */
	if (S_ISDIR(rn->moved.attr.mode) && rn->from_dir->id != rn->to_dir->id) {
		status = access_check(call, &rn->moved, MAY_WRITE);
		if (status != NFS3_OK)
			return status;
	}
	status = find_victim(call, rn->to_dir, rn->to_name, &rn->replaced);
	if (status == NFS3ERR_NOENT)
		return NFS3_OK;
	if (status != NFS3_OK)
		return status;
	rn->replaces = true;
	return access_check_remove(call, rn->to_dir, &rn->replaced);
}

/* As gone_before(): what was to be moved is at its new place already. */
static bool moved_before(struct nfs_call *call, nfsstat3 status, struct renaming *rn)
{
	struct object there;

	if (!call->again ||
	    !(status == NFS3ERR_NOENT ||
	      (status == NFS3_OK && rn->moved.id != drc_noted(call->entry))) ||
	    find_victim(call, rn->to_dir, rn->to_name, &there) != NFS3_OK ||
	    there.id != drc_noted(call->entry))
		return false;
	rn->moved = there;
	rn->replaces = false;
	return true;
}

static nfsstat3 move(struct nfs_call *call, const struct renaming *rn)
{
	nfsstat3 status;

	if (!change_begin(call, rn->moved.id))
		return NFS3ERR_JUKEBOX;
	drc_note(call->front->drc, call->entry, rn->moved.id);
	status = nfs_status(lam_rename(call->front->stack, &call->lam, rn->from_dir->id,
				       rn->from_name, rn->to_dir->id, rn->to_name, 0));
	change_end(call);
	return status;
}

static void rename_tell(struct nfs_call *call, const struct renaming *rn)
{
	tell_name(call, rn->from_dir->id, rn->from_name);
	tell_name(call, rn->to_dir->id, rn->to_name);
	tell_changed(call, rn->moved.id);
	if (rn->replaces)
		tell_changed(call, rn->replaced.id);
}

void proc_rename(struct nfs_call *call, void *args, void *res)
{
	rename3res *out = res;
	struct renaming rn = { 0 };
	nfsstat3 status = rename_find(call, args, &rn);

	if (status == NFS3_OK) {
		status = rename_check(call, &rn);
		if (moved_before(call, status, &rn))
			status = NFS3_OK;
		else if (status == NFS3_OK)
			status = move(call, &rn);
	}
	if (status == NFS3_OK) {
		rename_tell(call, &rn);
		status = sync_dir(call, rn.to_dir->id);
	}
	if (status == NFS3_OK && rn.from_dir->id != rn.to_dir->id)
		status = sync_dir(call, rn.from_dir->id);
	out->status = status;
	wcc_end(call, &rn.to, &out->to_wcc);
	wcc_end(call, &rn.from, &out->from_wcc);
	if (rn.from_dir == rn.to_dir)
		out->to_wcc = out->from_wcc;
}

/* ---- LINK ---- */

static nfsstat3 link_to(struct nfs_call *call, const struct object *obj, const struct object *dir,
			const char *name)
{
	struct lam_entry entry;
	nfsstat3 status;

	/* What is noted says that the name was free. */
	if (!call->again && lam_lookup(call->front->stack, &call->lam, dir->id, name, &entry) == 0)
		return NFS3ERR_EXIST;
	if (!change_begin(call, obj->id))
		return NFS3ERR_JUKEBOX;
	drc_note(call->front->drc, call->entry, obj->id);
	status = nfs_status(
		lam_link(call->front->stack, &call->lam, obj->id, dir->id, name, &entry));
	change_end(call);
	/* Begun by an earlier run of the server, and done by it. */
	if (status == NFS3ERR_EXIST && call->again &&
	    lam_lookup(call->front->stack, &call->lam, dir->id, name, &entry) == 0 &&
	    entry.id == obj->id)
		status = NFS3_OK;
	if (status != NFS3_OK)
		return status;
	tell_name(call, dir->id, name);
	tell_changed(call, obj->id);
	return sync_dir(call, dir->id);
}

void proc_link(struct nfs_call *call, void *args, void *res)
{
	link3args *in = args;
	link3res *out = res;
	char name[LAM_NAME_MAX + 1];
	struct object obj = { 0 };
	struct wcc dir;
	nfsstat3 status = wcc_begin(call, &in->link.dir, &dir);
	bool found = false;

	if (status == NFS3_OK) {
		status = object_find(call, &in->file, &obj);
		found = status == NFS3_OK;
	}
	if (status == NFS3_OK && !S_ISDIR(dir.obj.attr.mode))
		status = NFS3ERR_NOTDIR;
	if (status == NFS3_OK && S_ISDIR(obj.attr.mode))
		status = NFS3ERR_ISDIR;
	if (status == NFS3_OK)
		status = get_name(&in->link.name, name);
	if (status == NFS3_OK && is_dots(name))
		status = NFS3ERR_EXIST;
	if (status == NFS3_OK)
		status = access_check(call, &dir.obj, MAY_WRITE | MAY_EXEC);
	if (status == NFS3_OK)
		status = link_to(call, &obj, &dir.obj, name);
	out->status = status;
	if (found)
		put_fresh_attr(call, obj.id, &out->attr);
	wcc_end(call, &dir, &out->dir_wcc);
}

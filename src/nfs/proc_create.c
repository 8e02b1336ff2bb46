/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CREATE, MKDIR, SYMLINK and MKNOD (RFC 1813, 3.3.8 to 3.3.11). */
#include "internal.h"

#include <endian.h>
#include <string.h>
#include <sys/stat.h>

/* One creation. */
struct making {
	struct nfs_call *call;
	struct wcc dir;
	char name[LAM_NAME_MAX + 1];
	struct lam_entry entry; /* of the new object */
	bool reusing;		/* a file that is there will do */
};

/* Find the directory and check the name.  Whatever this returns, finish() follows. */
static nfsstat3 begin(struct nfs_call *call, const dirop3 *where, struct making *m)
{
	nfsstat3 status;

	m->call = call;
	status = wcc_begin(call, &where->dir, &m->dir);
	if (status == NFS3_OK && !S_ISDIR(m->dir.obj.attr.mode))
		status = NFS3ERR_NOTDIR;
	if (status == NFS3_OK)
		status = get_name(&where->name, m->name);
	if (status == NFS3_OK && is_dots(m->name))
		status = NFS3ERR_EXIST;
	if (status == NFS3_OK)
		status = access_check(call, &m->dir.obj, MAY_WRITE | MAY_EXEC);
	return status;
}

/* A name that is taken is told before the lack of a right to make it, as everywhere. */
static nfsstat3 check_free(struct making *m, nfsstat3 status)
{
	struct lam_entry entry;

	if ((status == NFS3ERR_ACCES || status == NFS3ERR_ROFS) && m->dir.found && m->name[0] &&
	    access_check(m->call, &m->dir.obj, MAY_EXEC) == NFS3_OK &&
	    lam_lookup(m->call->front->stack, &m->call->lam, m->dir.obj.id, m->name, &entry) == 0)
		return NFS3ERR_EXIST;
	return status;
}

/* To be called before an object is made: what is noted says that the name was free.  NFS3ERR_EXIST: it is not. */
static nfsstat3 note(const struct making *m)
{
	struct nfs_call *call = m->call;
	struct lam_entry entry;

	if (!call->again &&
	    lam_lookup(call->front->stack, &call->lam, m->dir.obj.id, m->name, &entry) == 0)
		return NFS3ERR_EXIST;
	drc_note(call->front->drc, call->entry, DRC_NEW_OBJECT);
	return NFS3_OK;
}

/* An object of this name is there, but an earlier run of the server, which was killed, has begun this very
 * request: then it is what that has made, if it looks like it. */
static nfsstat3 made_before(struct making *m, nfsstat3 status, uint32_t type)
{
	struct nfs_call *call = m->call;
	struct lam_entry entry;

	if (status != NFS3ERR_EXIST || !call->again ||
	    lam_lookup(call->front->stack, &call->lam, m->dir.obj.id, m->name, &entry) < 0 ||
	    (entry.attr.mode & S_IFMT) != type || (type == S_IFREG && entry.attr.size > 0))
		return status;
	m->entry = entry;
	return NFS3_OK;
}

/* The mode of a new object: the owner's only where the client did not say. */
static uint32_t first_mode(const struct making *m, const sattr3 *attr, uint32_t type)
{
	const struct nfs_cred *cred = &m->call->cred;
	const struct lam_attr *dir = &m->dir.obj.attr;
	uint32_t mode = type == S_IFDIR ? 0700 : 0600;

	if (attr && attr->mode.set_it)
		mode = attr->mode.set_u32_u.value & 07777u;
	/* A file of the directory's group does not get that group's rights from a stranger. */
	if (type != S_IFDIR && cred->uid != 0 && (dir->mode & S_ISGID) &&
	    !access_in_group(cred, dir->gid))
		mode &= ~(uint32_t)S_ISGID;
	return type | mode;
}

/* What the client wants set besides the mode. */
static nfsstat3 set_rest(struct making *m, const sattr3 *attr)
{
	struct object obj;
	sattr3 rest = *attr;

	object_of_entry(&m->entry, &obj);
	/* A change of owner takes set-user-id bits away: the mode once more. */
	if (!rest.uid.set_it && !rest.gid.set_it)
		rest.mode.set_it = FALSE;
	if (S_ISLNK(obj.attr.mode))
		rest.size.set_it = rest.mode.set_it = FALSE;
	if (S_ISREG(obj.attr.mode) && rest.size.set_it && rest.size.set_u64_u.value == 0)
		rest.size.set_it = FALSE; /* it is */
	return apply_sattr(m->call, &obj, &rest, true, &m->entry.attr);
}

/* What was made and could not be finished goes again: an error says that there is nothing new, and a client
 * that is told to come later must find the name free.  Where that fails too it stays, as with the kernel's
 * server. */
static nfsstat3 or_take_back(struct making *m, nfsstat3 status)
{
	struct lam_stack *stack = m->call->front->stack;
	const struct lam_call *lam = &m->call->lam;
	const uint64_t dir = m->dir.obj.id;
	struct lam_entry there;

	if (status == NFS3_OK || lam_lookup(stack, lam, dir, m->name, &there) < 0 ||
	    there.id != m->entry.id)
		return status;
	if (S_ISDIR(there.attr.mode))
		(void)lam_rmdir(stack, lam, dir, m->name);
	else
		(void)lam_unlink(stack, lam, dir, m->name);
	tell_name(m->call, dir, m->name);
	return status;
}

static void finish(struct making *m, nfsstat3 status, create3res *out)
{
	struct nfs_call *call = m->call;
	wcc_data wcc;

	if (m->dir.found && !m->reusing)
		status = check_free(m, status);
	if (status == NFS3_OK) {
		tell_name(call, m->dir.obj.id, m->name);
		status = sync_dir(call, m->dir.obj.id);
	}
	wcc_end(call, &m->dir, &wcc);
	out->status = status;
	if (status != NFS3_OK) {
		out->create3res_u.dir_wcc = wcc;
		return;
	}
	out->create3res_u.ok.object.handle_follows = TRUE;
	put_handle(call, m->entry.id, m->entry.generation,
		   &out->create3res_u.ok.object.post_op_fh3_u.handle);
	put_post_attr(call, &m->entry.attr, &out->create3res_u.ok.attr);
	out->create3res_u.ok.dir_wcc = wcc;
}

/* ---- CREATE ---- */

/* The client's verifier as times, to be known again when the request comes twice. */
static void verf_times(const char verf[CREATEVERFSIZE3], struct timespec *atime,
		       struct timespec *mtime)
{
	uint32_t words[2];

	memcpy(words, verf, sizeof(words));
	/* 31 bits each: some filesystems have no more. */
	*atime = (struct timespec){ .tv_sec = (time_t)(be32toh(words[0]) & 0x7fffffffu) };
	*mtime = (struct timespec){ .tv_sec = (time_t)(be32toh(words[1]) & 0x7fffffffu) };
}

static nfsstat3 set_verf(struct making *m, const struct lam_attr *times)
{
	return nfs_status(lam_setattr(m->call->front->stack, &m->call->lam, m->entry.id,
				      LAM_SET_ATIME | LAM_SET_MTIME, times, &m->entry.attr));
}

static nfsstat3 create_exclusive(struct making *m, const char verf[CREATEVERFSIZE3])
{
	struct nfs_call *call = m->call;
	struct lam_attr set = { 0 };
	nfsstat3 status;

	verf_times(verf, &set.atime, &set.mtime);
	status = note(m);
	if (status == NFS3_OK) {
		status = nfs_status(lam_mknod(call->front->stack, &call->lam, m->dir.obj.id,
					      m->name, first_mode(m, NULL, S_IFREG), 0, 0,
					      &m->entry));
		if (status == NFS3_OK)
			return or_take_back(m, set_verf(m, &set));
	}
	if (status != NFS3ERR_EXIST)
		return status;
	status = nfs_status(
		lam_lookup(call->front->stack, &call->lam, m->dir.obj.id, m->name, &m->entry));
	if (status != NFS3_OK)
		return status;
	/* The same request again, whose answer was lost. */
	if (S_ISREG(m->entry.attr.mode) && m->entry.attr.size == 0 &&
	    m->entry.attr.atime.tv_sec == set.atime.tv_sec &&
	    m->entry.attr.mtime.tv_sec == set.mtime.tv_sec)
		return NFS3_OK;
	/* Killed before the verifier was in it. */
	status = made_before(m, NFS3ERR_EXIST, S_IFREG);
	return status == NFS3_OK ? or_take_back(m, set_verf(m, &set)) : status;
}

/* UNCHECKED finds a file: only its size is set. */
static nfsstat3 reuse(struct making *m, const sattr3 *attr)
{
	struct nfs_call *call = m->call;
	struct object obj;
	sattr3 size = { 0 };
	nfsstat3 status = nfs_status(
		lam_lookup(call->front->stack, &call->lam, m->dir.obj.id, m->name, &m->entry));

	if (status != NFS3_OK)
		return status;
	if (!S_ISREG(m->entry.attr.mode))
		return NFS3ERR_EXIST;
	size.size = attr->size;
	if (!attr->size.set_it)
		return NFS3_OK;
	object_of_entry(&m->entry, &obj);
	if (!change_begin(call, obj.id))
		return NFS3ERR_JUKEBOX;
	status = apply_sattr(call, &obj, &size, false, &m->entry.attr);
	change_end(call);
	tell_changed(call, obj.id);
	return status;
}

static nfsstat3 create_plain(struct making *m, const sattr3 *attr, bool guarded)
{
	struct nfs_call *call = m->call;
	nfsstat3 status;

	status = note(m);
	if (status == NFS3_OK)
		status = nfs_status(lam_mknod(call->front->stack, &call->lam, m->dir.obj.id,
					      m->name, first_mode(m, attr, S_IFREG), 0, 0,
					      &m->entry));
	if (guarded)
		status = made_before(m, status, S_IFREG);
	if (status == NFS3_OK)
		return or_take_back(m, set_rest(m, attr));
	if (status == NFS3ERR_EXIST && !guarded)
		return reuse(m, attr);
	return status;
}

/* Without the right to make names a file that is there may still be used. */
static bool may_reuse(const struct making *m, nfsstat3 status)
{
	return m->reusing && status == NFS3ERR_ACCES && m->dir.found && m->name[0] &&
	       access_check(m->call, &m->dir.obj, MAY_EXEC) == NFS3_OK;
}

void proc_create(struct nfs_call *call, void *args, void *res)
{
	create3args *in = args;
	struct making m = { .reusing = in->how.mode == UNCHECKED };
	nfsstat3 status = begin(call, &in->where, &m);

	if (may_reuse(&m, status)) {
		status = reuse(&m, &in->how.createhow3_u.attr);
		if (status == NFS3ERR_NOENT)
			status = NFS3ERR_ACCES;
	} else if (status == NFS3_OK && in->how.mode == EXCLUSIVE) {
		status = create_exclusive(&m, in->how.createhow3_u.verf);
	} else if (status == NFS3_OK) {
		status = create_plain(&m, &in->how.createhow3_u.attr, in->how.mode == GUARDED);
	}
	finish(&m, status, res);
}

/* ---- The others ---- */

void proc_mkdir(struct nfs_call *call, void *args, void *res)
{
	mkdir3args *in = args;
	struct making m = { 0 };
	nfsstat3 status = begin(call, &in->where, &m);

	if (status == NFS3_OK)
		status = note(&m);
	if (status == NFS3_OK) {
		status = nfs_status(lam_mkdir(call->front->stack, &call->lam, m.dir.obj.id, m.name,
					      first_mode(&m, &in->attr, S_IFDIR), &m.entry));
		status = made_before(&m, status, S_IFDIR);
	}
	if (status == NFS3_OK)
		status = or_take_back(&m, set_rest(&m, &in->attr));
	finish(&m, status, res);
}

void proc_symlink(struct nfs_call *call, void *args, void *res)
{
	symlink3args *in = args;
	struct making m = { 0 };
	nfsstat3 status = begin(call, &in->where, &m);
	const path3 *target = &in->target;

	if (status == NFS3_OK && target->path3_len >= sizeof(call->path_room))
		status = NFS3ERR_NAMETOOLONG;
	if (status == NFS3_OK &&
	    (target->path3_len == 0 || memchr(target->path3_val, '\0', target->path3_len)))
		status = NFS3ERR_INVAL;
	if (status == NFS3_OK)
		status = note(&m);
	if (status == NFS3_OK) {
		memcpy(call->path_room, target->path3_val, target->path3_len);
		call->path_room[target->path3_len] = '\0';
		status = nfs_status(lam_symlink(call->front->stack, &call->lam, m.dir.obj.id,
						m.name, call->path_room, &m.entry));
		status = made_before(&m, status, S_IFLNK);
	}
	if (status == NFS3_OK)
		status = or_take_back(&m, set_rest(&m, &in->attr));
	finish(&m, status, res);
}

void proc_mknod(struct nfs_call *call, void *args, void *res)
{
	mknod3args *in = args;
	const devicedata3 *device = &in->what.mknoddata3_u.device;
	const sattr3 *attr = &in->what.mknoddata3_u.attr;
	specdata3 spec = { 0, 0 };
	struct making m = { 0 };
	uint32_t type = in->what.type == NF3SOCK ? S_IFSOCK : S_IFIFO;
	nfsstat3 status = begin(call, &in->where, &m);

	if (in->what.type == NF3CHR || in->what.type == NF3BLK) {
		type = in->what.type == NF3CHR ? S_IFCHR : S_IFBLK;
		attr = &device->attr;
		spec = device->spec;
		if (status == NFS3_OK && call->cred.uid != 0)
			status = NFS3ERR_PERM;
	} else if (in->what.type != NF3SOCK && in->what.type != NF3FIFO && status == NFS3_OK) {
		status = NFS3ERR_BADTYPE;
	}
	if (status == NFS3_OK)
		status = note(&m);
	if (status == NFS3_OK) {
		status = nfs_status(lam_mknod(call->front->stack, &call->lam, m.dir.obj.id, m.name,
					      first_mode(&m, attr, type), spec.major_number,
					      spec.minor_number, &m.entry));
		status = made_before(&m, status, type);
	}
	if (status == NFS3_OK)
		status = or_take_back(&m, set_rest(&m, attr));
	finish(&m, status, res);
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * READDIR and READDIRPLUS (RFC 1813, 3.3.16 and 3.3.17).
 *
 * Entries are written straight into the answer while the stack lists them.  Cookies are a function
 * of names, so they stay good while names come and go and over a restart of the server; the cookie
 * verifier is the same for the life of an export and tells cookies of another one.
 */
#include "internal.h"

#include <string.h>
#include <sys/stat.h>

/* Bytes: status, attributes and verifier; and at the end "no more entries" and eof. */
#define HEAD_BYTES 100u
#define END_BYTES 8u
/* Of an entry: "one more", fileid, length of the name, cookie.  And of its attributes and handle. */
#define ENTRY_FIXED 24u
#define ENTRY_PLUS (88u + 8u + HANDLE_SIZE)
#define ENTRY_PLUS_NONE 8u

struct listing {
	struct nfs_call *call;
	bool plus;
	size_t room;	  /* bytes of the answer that are left for entries */
	size_t name_room; /* the same without attributes and handles: dircount */
	bool full;
	unsigned n;
};

static void put_plus(struct listing *l, const struct lam_entry *entry)
{
	XDR *out = l->call->out;
	post_op_attr attr = { .attributes_follow = FALSE };
	post_op_fh3 fh = { .handle_follows = FALSE };

	if (entry) {
		put_post_attr(l->call, &entry->attr, &attr);
		fh.handle_follows = TRUE;
		put_handle(l->call, entry->id, entry->generation, &fh.post_op_fh3_u.handle);
	}
	(void)xdr_post_op_attr(out, &attr); /* room was counted before */
	(void)xdr_post_op_fh3(out, &fh);
}

static bool emit(void *ctx, const struct lam_dirent *de)
{
	struct listing *l = ctx;
	XDR *out = l->call->out;
	const size_t names = ENTRY_FIXED + ((de->name_len + 3) & ~(size_t)3);
	size_t all = names;
	bool_t more = TRUE;
	u_quad_t ino = de->ino, cookie = de->cookie;
	unsigned len = (unsigned)de->name_len;

	if (l->plus)
		all += de->entry ? ENTRY_PLUS : ENTRY_PLUS_NONE;
	if (all > l->room || (l->plus && l->n > 0 && names > l->name_room)) {
		l->full = true;
		return false;
	}
	l->room -= all;
	l->name_room -= names < l->name_room ? names : l->name_room;
	l->n++;
	(void)xdr_bool(out, &more);
	(void)xdr_u_quad_t(out, &ino);
	(void)xdr_u_int(out, &len);
	(void)message_opaque(out, (char *)(uintptr_t)de->name, len); /* only read */
	(void)xdr_u_quad_t(out, &cookie);
	if (l->plus)
		put_plus(l, de->entry);
	return true;
}

struct list_args {
	const fh3 *dir;
	uint64_t cookie;
	const char *verf;
	unsigned room, name_room;
	bool plus;
};

static nfsstat3 check_listing(struct nfs_call *call, const struct list_args *in,
			      const struct object *dir)
{
	nfsstat3 status;

	if (!S_ISDIR(dir->attr.mode))
		return NFS3ERR_NOTDIR;
	status = access_check(call, dir, MAY_READ);
	if (status != NFS3_OK)
		return status;
	if (in->cookie > INT64_MAX ||
	    (in->cookie != 0 && memcmp(in->verf, call->front->cookie_verf, COOKIEVERFSIZE3) != 0))
		return NFS3ERR_BAD_COOKIE;
	return in->room < HEAD_BYTES + END_BYTES + ENTRY_FIXED ? NFS3ERR_TOOSMALL : NFS3_OK;
}

static nfsstat3 list(struct nfs_call *call, const struct list_args *in, const struct object *dir)
{
	struct listing l = {
		.call = call,
		.plus = in->plus,
		.room = in->room - HEAD_BYTES - END_BYTES,
		.name_room = in->name_room,
	};
	post_op_attr attr;
	nfsstat3 status = NFS3_OK;
	bool_t more = FALSE, eof;
	int r;

	put_post_attr(call, &dir->attr, &attr);
	(void)xdr_nfsstat3(call->out, &status); /* in->room is less than what the answer has */
	(void)xdr_post_op_attr(call->out, &attr);
	(void)message_opaque(call->out, (char *)call->front->cookie_verf, COOKIEVERFSIZE3);
	r = lam_readdir(call->front->stack, &call->lam, dir->id, in->cookie,
			in->plus ? LAM_LIST_PLUS : 0, emit, &l);
	if (r < 0)
		return nfs_status(r);
	if (l.full && l.n == 0)
		return NFS3ERR_TOOSMALL;
	eof = !l.full;
	(void)xdr_bool(call->out, &more);
	(void)xdr_bool(call->out, &eof);
	return NFS3_OK;
}

static void readdir_any(struct nfs_call *call, const struct list_args *in)
{
	const unsigned begin = xdr_getpos(call->out);
	post_op_attr attr = { .attributes_follow = FALSE };
	struct object dir;
	nfsstat3 status = object_find(call, in->dir, &dir);

	if (status == NFS3_OK) {
		put_post_attr(call, &dir.attr, &attr);
		status = check_listing(call, in, &dir);
	}
	if (status == NFS3_OK)
		status = list(call, in, &dir);
	if (status == NFS3_OK)
		return;
	call->failed = true;
	(void)xdr_setpos(call->out, begin);
	(void)xdr_nfsstat3(call->out, &status);
	(void)xdr_post_op_attr(call->out, &attr);
}

static unsigned bounded(unsigned bytes)
{
	return bytes < NFS_MAX_LISTING ? bytes : NFS_MAX_LISTING;
}

void proc_readdir(struct nfs_call *call, void *args, void *res)
{
	readdir3args *in = args;
	const struct list_args list_args = {
		.dir = &in->dir,
		.cookie = in->cookie,
		.verf = in->verf,
		.room = bounded(in->count),
		.name_room = bounded(in->count),
	};

	(void)res;
	readdir_any(call, &list_args);
}

void proc_readdirplus(struct nfs_call *call, void *args, void *res)
{
	readdirplus3args *in = args;
	const struct list_args list_args = {
		.dir = &in->dir,
		.cookie = in->cookie,
		.verf = in->verf,
		.room = bounded(in->maxcount),
		.name_room = bounded(in->dircount),
		.plus = true,
	};

	(void)res;
	readdir_any(call, &list_args);
}

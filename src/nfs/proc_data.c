/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * READ, WRITE and COMMIT (RFC 1813, 3.3.6, 3.3.7 and 3.3.21).
 *
 * Data is read straight into the answer, or, where it is much, left to be sent from the file, and
 * written straight from the message.  The write verifier
 * is new at each start and after each sync that failed: a client then writes again what it had not
 * seen committed.
 */
#include "internal.h"

#include <string.h>
#include <sys/stat.h>

/* Bytes of the results of READ before the data: status, attributes, count, eof, length. */
#define READ_HEAD 104u
/* From here on it is worth another descriptor to send from the file itself. */
#define SEND_FILE_MIN (64u * 1024u)

static nfsstat3 check_file(struct nfs_call *call, const struct object *obj, unsigned want)
{
	if (!S_ISREG(obj->attr.mode))
		return S_ISDIR(obj->attr.mode) ? NFS3ERR_ISDIR : NFS3ERR_INVAL;
	return access_check_owner(call, obj, want);
}

static void put_read_error(struct nfs_call *call, nfsstat3 status, const struct object *obj)
{
	post_op_attr attr = { .attributes_follow = FALSE };

	if (obj)
		put_post_attr(call, &obj->attr, &attr);
	call->failed = true;
	(void)xdr_nfsstat3(call->out, &status); /* there is room for megabytes */
	(void)xdr_post_op_attr(call->out, &attr);
}

/* The data is in its place; now what goes before it. */
static void put_read(struct nfs_call *call, const struct object *obj, unsigned n, bool_t eof)
{
	const unsigned begin = xdr_getpos(call->out);
	nfsstat3 status = NFS3_OK;
	post_op_attr attr;
	static const uint8_t zero[4];

	put_post_attr(call, &obj->attr, &attr);
	(void)xdr_nfsstat3(call->out, &status); /* as above */
	(void)xdr_post_op_attr(call->out, &attr);
	(void)xdr_u_int(call->out, &n);
	(void)xdr_bool(call->out, &eof);
	(void)xdr_u_int(call->out, &n);
	if (call->file.fd >= 0)
		return;
	memcpy(call->out_buf + begin + READ_HEAD + n, zero, (4 - n % 4) % 4);
	(void)xdr_setpos(call->out, begin + READ_HEAD + ((n + 3) & ~3u));
}

/* Large reads within the file as it is now are sent from it.  Where that does not work, they are read. */
static bool send_from_file(struct nfs_call *call, const struct object *obj, uint64_t off,
			   unsigned count)
{
	bool lower;
	int fd;

	if (off >= obj->attr.size)
		return false;
	if (count > obj->attr.size - off)
		count = (unsigned)(obj->attr.size - off);
	if (count < SEND_FILE_MIN ||
	    lam_backing(call->front->stack, &call->lam, obj->id, false, &fd, &lower) < 0)
		return false;
	call->file = (struct file_part){ .fd = fd, .off = off, .len = count };
	return true;
}

void proc_read(struct nfs_call *call, void *args, void *res)
{
	read3args *in = args;
	const unsigned begin = xdr_getpos(call->out);
	unsigned count = in->count < NFS_MAX_DATA ? in->count : NFS_MAX_DATA;
	struct object obj;
	nfsstat3 status = object_find(call, &in->file, &obj);
	bool found = status == NFS3_OK;
	struct lam_attr now;
	ssize_t n = 0;

	(void)res;
	if (found)
		status = check_file(call, &obj, MAY_READ);
	if (status == NFS3_OK && send_from_file(call, &obj, in->offset, count))
		n = call->file.len;
	else if (status == NFS3_OK && in->offset < INT64_MAX)
		n = lam_read(call->front->stack, &call->lam, obj.id, in->offset,
			     call->out_buf + begin + READ_HEAD, count);
	if (n < 0)
		status = nfs_status((int)n);
	if (status != NFS3_OK) {
		put_read_error(call, status, found ? &obj : NULL);
		return;
	}
	/* Where the file seemed to end it may have grown since it was looked at. */
	if (in->offset + (uint64_t)n >= obj.attr.size &&
	    lam_getattr(call->front->stack, &call->lam, obj.id, &now) == 0)
		obj.attr = now;
	put_read(call, &obj, (unsigned)n, in->offset + (uint64_t)n >= obj.attr.size);
}

/* Make durable.  A failure means that data may be lost, also other clients'; so may the end of the
 * process meanwhile. */
static nfsstat3 sync_data(struct nfs_call *call, uint64_t id, bool data_only)
{
	struct state_nfs *kept = call->front->kept;
	int r;

	atomic_fetch_add(&kept->syncing, 1);
	r = lam_fsync(call->front->stack, &call->lam, id, data_only);
	if (r < 0)
		atomic_fetch_add(&kept->write_verf, 1);
	atomic_fetch_sub(&kept->syncing, 1);
	return nfs_status(r);
}

static void put_verf(const struct nfs_call *call, char ret[WRITEVERFSIZE3])
{
	uint64_t verf = atomic_load(&call->front->kept->write_verf);

	memcpy(ret, &verf, WRITEVERFSIZE3);
}

static nfsstat3 write_all(struct nfs_call *call, const write3args *in, const struct object *obj,
			  uint32_t *ret_count)
{
	/* As the kernel: root's writes leave set-user-id bits. */
	const unsigned flags = call->cred.uid == 0 ? 0 : LAM_WRITE_KILL_PRIV;
	uint32_t done = 0;

	if (in->offset > INT64_MAX || in->count > INT64_MAX - in->offset)
		return NFS3ERR_FBIG;
	while (done < in->count) {
		ssize_t n = lam_write(call->front->stack, &call->lam, obj->id, in->offset + done,
				      call->data + done, in->count - done, flags);

		if (n <= 0 && done == 0)
			return n < 0 ? nfs_status((int)n) : NFS3ERR_IO;
		if (n <= 0)
			break; /* what was written counts; the next WRITE gets the error */
		done += (uint32_t)n;
	}
	*ret_count = done;
	return NFS3_OK;
}

void proc_write(struct nfs_call *call, void *args, void *res)
{
	write3args *in = args;
	write3res *out = res;
	write3resok *ok = &out->write3res_u.ok;
	stable_how stable = in->stable;
	uint32_t count = 0;
	wcc_data wcc;
	struct wcc w;

	out->status = wcc_begin(call, &in->file, &w);
	if (out->status == NFS3_OK &&
	    (in->count > call->data_len || in->count > NFS_MAX_DATA || stable > FILE_SYNC))
		out->status = NFS3ERR_INVAL;
	if (out->status == NFS3_OK)
		out->status = check_file(call, &w.obj, MAY_WRITE);
	if (out->status == NFS3_OK && !change_begin(call, w.obj.id)) {
		out->status = NFS3ERR_JUKEBOX;
	} else if (out->status == NFS3_OK) {
		/* The verifier from before: a sync that fails from now on may lose what is written here. */
		put_verf(call, ok->verf);
		out->status = write_all(call, in, &w.obj, &count);
		change_end(call);
		tell_changed(call, w.obj.id);
	}
	if (out->status == NFS3_OK && stable != UNSTABLE)
		out->status = sync_data(call, w.obj.id, stable == DATA_SYNC);
	wcc_end(call, &w, &wcc);
	if (out->status != NFS3_OK) {
		out->write3res_u.wcc = wcc;
		return;
	}
	ok->wcc = wcc;
	ok->count = count;
	ok->committed = stable;
}

void proc_commit(struct nfs_call *call, void *args, void *res)
{
	commit3args *in = args;
	commit3res *out = res;
	wcc_data wcc;
	struct wcc w;

	out->status = wcc_begin(call, &in->file, &w);
	if (out->status == NFS3_OK)
		out->status = check_file(call, &w.obj, MAY_WRITE);
	/* RFC 1813 allows to sync more than the range. */
	if (out->status == NFS3_OK)
		out->status = sync_data(call, w.obj.id, false);
	/* The verifier from after it: another sync of the file, that failed, may have got the error. */
	if (out->status == NFS3_OK)
		put_verf(call, out->commit3res_u.ok.verf);
	wcc_end(call, &w, &wcc);
	if (out->status == NFS3_OK)
		out->commit3res_u.ok.wcc = wcc;
	else
		out->commit3res_u.wcc = wcc;
}

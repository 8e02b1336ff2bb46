/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Calls and replies (RFC 5531): which procedure, who asks, and whether it was asked before.
 *
 * AUTH_SYS is believed, as far as the client's rule lets it; AUTH_NONE is nobody.  All that comes in
 * is decoded by generated code with a bound for each length, and only bytes of the message are read.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/hash.h"

enum { MSG_IS_CALL = 0, MSG_IS_REPLY = 1 };
enum { REPLY_ACCEPTED = 0, REPLY_DENIED = 1 };
enum {
	CALL_DONE = 0,
	CALL_PROG_UNAVAIL = 1,
	CALL_PROG_MISMATCH = 2,
	CALL_PROC_UNAVAIL = 3,
	CALL_GARBAGE = 4
};
enum { DENIED_VERSION = 0, DENIED_AUTH = 1 };
enum { AUTH_BAD_CREDENTIALS = 1, AUTH_FLAVOR_TOO_WEAK = 5 };
enum { FLAVOR_NONE = 0, FLAVOR_SYS = 1 };

#define RPC_VERSION 2u
#define PROTOCOL_VERSION 3u /* of NFS and of MOUNT */
#define HASHED_MAX 4096u    /* bytes of a request that tell it from another one */

static const struct procedure nfs_procedures[NFS_FRONT_PROCS] = {
	{ .name = "NULL", .run = proc_null },
	{ .name = "GETATTR",
	  .decode = (xdrproc_t)xdr_fh3,
	  .encode = (xdrproc_t)xdr_getattr3res,
	  .run = proc_getattr },
	{ .name = "SETATTR",
	  .decode = (xdrproc_t)xdr_setattr3args,
	  .encode = (xdrproc_t)xdr_status_wcc3,
	  .run = proc_setattr,
	  .cached = true },
	{ .name = "LOOKUP",
	  .decode = (xdrproc_t)xdr_dirop3,
	  .encode = (xdrproc_t)xdr_lookup3res,
	  .run = proc_lookup },
	{ .name = "ACCESS",
	  .decode = (xdrproc_t)xdr_access3args,
	  .encode = (xdrproc_t)xdr_access3res,
	  .run = proc_access },
	{ .name = "READLINK",
	  .decode = (xdrproc_t)xdr_fh3,
	  .encode = (xdrproc_t)xdr_readlink3res,
	  .run = proc_readlink },
	{ .name = "READ", .decode = (xdrproc_t)xdr_read3args, .run = proc_read },
	{ .name = "WRITE",
	  .decode = (xdrproc_t)xdr_write3args,
	  .encode = (xdrproc_t)xdr_write3res,
	  .run = proc_write,
	  .cached = true,
	  .data = true },
	{ .name = "CREATE",
	  .decode = (xdrproc_t)xdr_create3args,
	  .encode = (xdrproc_t)xdr_create3res,
	  .run = proc_create,
	  .cached = true },
	{ .name = "MKDIR",
	  .decode = (xdrproc_t)xdr_mkdir3args,
	  .encode = (xdrproc_t)xdr_create3res,
	  .run = proc_mkdir,
	  .cached = true },
	{ .name = "SYMLINK",
	  .decode = (xdrproc_t)xdr_symlink3args,
	  .encode = (xdrproc_t)xdr_create3res,
	  .run = proc_symlink,
	  .cached = true },
	{ .name = "MKNOD",
	  .decode = (xdrproc_t)xdr_mknod3args,
	  .encode = (xdrproc_t)xdr_create3res,
	  .run = proc_mknod,
	  .cached = true },
	{ .name = "REMOVE",
	  .decode = (xdrproc_t)xdr_dirop3,
	  .encode = (xdrproc_t)xdr_status_wcc3,
	  .run = proc_remove,
	  .cached = true },
	{ .name = "RMDIR",
	  .decode = (xdrproc_t)xdr_dirop3,
	  .encode = (xdrproc_t)xdr_status_wcc3,
	  .run = proc_rmdir,
	  .cached = true },
	{ .name = "RENAME",
	  .decode = (xdrproc_t)xdr_rename3args,
	  .encode = (xdrproc_t)xdr_rename3res,
	  .run = proc_rename,
	  .cached = true },
	{ .name = "LINK",
	  .decode = (xdrproc_t)xdr_link3args,
	  .encode = (xdrproc_t)xdr_link3res,
	  .run = proc_link,
	  .cached = true },
	{ .name = "READDIR", .decode = (xdrproc_t)xdr_readdir3args, .run = proc_readdir },
	{ .name = "READDIRPLUS",
	  .decode = (xdrproc_t)xdr_readdirplus3args,
	  .run = proc_readdirplus },
	{ .name = "FSSTAT",
	  .decode = (xdrproc_t)xdr_fh3,
	  .encode = (xdrproc_t)xdr_fsstat3res,
	  .run = proc_fsstat },
	{ .name = "FSINFO",
	  .decode = (xdrproc_t)xdr_fh3,
	  .encode = (xdrproc_t)xdr_fsinfo3res,
	  .run = proc_fsinfo },
	{ .name = "PATHCONF",
	  .decode = (xdrproc_t)xdr_fh3,
	  .encode = (xdrproc_t)xdr_pathconf3res,
	  .run = proc_pathconf },
	{ .name = "COMMIT",
	  .decode = (xdrproc_t)xdr_commit3args,
	  .encode = (xdrproc_t)xdr_commit3res,
	  .run = proc_commit },
};

const struct procedure *nfs3_procedure(uint32_t number)
{
	return number < NFS_FRONT_PROCS ? &nfs_procedures[number] : NULL;
}

/* ---- Replies: all of them far smaller than the room ---- */

static void put_u32(XDR *out, uint32_t value)
{
	bool_t fits = xdr_u_int(out, &value);

	CHECK(fits);
}

static void put_accepted(XDR *out, uint32_t xid, uint32_t status)
{
	const uint32_t words[] = { xid, MSG_IS_REPLY, REPLY_ACCEPTED, FLAVOR_NONE, 0, status };

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		put_u32(out, words[i]);
	if (status != CALL_PROG_MISMATCH)
		return;
	put_u32(out, PROTOCOL_VERSION);
	put_u32(out, PROTOCOL_VERSION);
}

static void put_denied(XDR *out, uint32_t xid, uint32_t why, uint32_t detail)
{
	const uint32_t words[] = { xid, MSG_IS_REPLY, REPLY_DENIED, why, detail };

	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		put_u32(out, words[i]);
	if (why == DENIED_VERSION)
		put_u32(out, RPC_VERSION);
}

/* ---- Who asks ---- */

static void be_nobody(struct nfs_cred *cred)
{
	*cred = (struct nfs_cred){ .uid = NOBODY, .gid = NOBODY };
}

/* As the kernel's server: root and root's groups are nobody's. */
static void squash(const struct export_rule *rule, struct nfs_cred *cred)
{
	if (rule->squash == SQUASH_ALL)
		be_nobody(cred);
	if (rule->squash != SQUASH_ROOT)
		return;
	if (cred->uid == 0)
		cred->uid = NOBODY;
	if (cred->gid == 0)
		cred->gid = NOBODY;
	for (unsigned i = 0; i < cred->n_gids; i++) {
		if (cred->gids[i] == 0)
			cred->gids[i] = NOBODY;
	}
}

/* Returns 0 or what the client is told about its credentials. */
static uint32_t take_cred(const struct peer *peer, const rpc_auth *auth, struct nfs_cred *ret)
{
	uint32_t gids[16];
	auth_sys_body body = { .gids.gids_val = gids };
	XDR in;

	be_nobody(ret);
	if (auth->flavor == FLAVOR_NONE)
		return 0;
	if (auth->flavor != FLAVOR_SYS)
		return AUTH_FLAVOR_TOO_WEAK;
	xdrmem_create(&in, auth->body.body_val, auth->body.body_len, XDR_DECODE);
	if (!xdr_auth_sys_body(&in, &body))
		return AUTH_BAD_CREDENTIALS;
	ret->uid = body.uid;
	ret->gid = body.gid;
	ret->n_gids = body.gids.gids_len;
	memcpy(ret->gids, gids, ret->n_gids * sizeof(gids[0]));
	squash(peer->rule, ret);
	return 0;
}

/* ---- One call ---- */

struct message {
	struct nfs_front *front;
	unsigned worker;
	const struct peer *peer;
	uint8_t *msg;
	size_t len;
	uint8_t *out_buf;
	struct file_part *file;
	struct drc_entry *entry;
	bool again;
	XDR in, out;
	uint32_t xid;
	call_head head;
};

/* The data that WRITE's arguments end in. */
static bool take_data(struct message *m, struct nfs_call *call)
{
	unsigned at;

	if (!xdr_u_int(&m->in, &call->data_len))
		return false;
	at = xdr_getpos(&m->in);
	if (call->data_len > m->len - at)
		return false;
	call->data = m->msg + at;
	return true;
}

static bool take_args(struct message *m, const struct procedure *p, struct nfs_call *call,
		      union nfs_args *args)
{
	if (!p->decode)
		return true;
	if (!p->decode(&m->in, args))
		return false;
	return !p->data || take_data(m, call);
}

/* Decode, do, encode.  The reply is in m->out. */
static void run(struct message *m, const struct procedure *p, const struct nfs_cred *cred)
{
	struct nfs_call call = {
		.front = m->front,
		.worker = m->worker,
		.rule = m->peer->rule,
		.cred = *cred,
		.lam = { .cred = { .uid = cred->uid, .gid = cred->gid },
			 .cancelled = &m->front->cancelled },
		.proc = m->head.proc,
		.out = &m->out,
		.file = { .fd = -1 },
		.entry = m->entry,
		.again = m->again,
		.out_buf = m->out_buf,
	};
	union nfs_args args;
	union nfs_results res;
	bool good;

	memset(&args, 0, sizeof(args));
	memset(&res, 0, sizeof(res));
	good = take_args(m, p, &call, &args);
	put_accepted(&m->out, m->xid, good ? CALL_DONE : CALL_GARBAGE);
	if (good) {
		p->run(&call, &args, &res);
		if (p->encode && !p->encode(&m->out, &res))
			CHECK(false); /* results are bounded, the room is not small */
	}
	*m->file = call.file;
	if (!good)
		atomic_fetch_add(&m->front->malformed, 1);
	else if (call.failed || (p->encode && res.status != NFS3_OK))
		atomic_fetch_add(&m->front->errors, 1);
}

static ssize_t run_once(struct message *m, const struct procedure *p, const struct nfs_cred *cred)
{
	struct drc_key key = {
		.xid = m->xid,
		.len = (uint32_t)m->len,
		.hash = hash_bytes(m->msg, m->len < HASHED_MAX ? m->len : HASHED_MAX),
	};
	size_t len;

	memcpy(key.addr, m->peer->addr, sizeof(key.addr));
	switch (drc_begin(m->front->drc, &key, &m->entry, m->out_buf, &len)) {
	case DRC_REPLAY:
		atomic_fetch_add(&m->front->replays, 1);
		return (ssize_t)len;
	case DRC_BUSY:
		return 0;
	case DRC_AGAIN:
		m->again = true;
		break;
	case DRC_NEW:
		break;
	}
	run(m, p, cred);
	len = xdr_getpos(&m->out);
	CHECK(len <= DRC_ANSWER_MAX);
	drc_done(m->front->drc, m->entry, m->out_buf, len);
	return (ssize_t)len;
}

/* The procedure, or NULL, and then *RET_STATUS says why there is none. */
static const struct procedure *find_procedure(const call_head *head, uint32_t *ret_status)
{
	const struct procedure *p;

	if (head->prog != NFS_PROGRAM && head->prog != MOUNT_PROGRAM) {
		*ret_status = CALL_PROG_UNAVAIL;
		return NULL;
	}
	if (head->vers != PROTOCOL_VERSION) {
		*ret_status = CALL_PROG_MISMATCH;
		return NULL;
	}
	p = head->prog == NFS_PROGRAM ? nfs3_procedure(head->proc) : mount3_procedure(head->proc);
	if (!p)
		*ret_status = CALL_PROC_UNAVAIL;
	return p;
}

static void count(struct nfs_front *front, const call_head *head)
{
	if (head->prog == NFS_PROGRAM)
		atomic_fetch_add_explicit(&front->requests[head->proc], 1, memory_order_relaxed);
	else
		atomic_fetch_add_explicit(&front->mount_requests, 1, memory_order_relaxed);
}

static ssize_t dispatch(struct message *m)
{
	const struct procedure *p;
	struct nfs_cred cred;
	uint32_t status;

	if (m->head.rpcvers != RPC_VERSION) {
		put_denied(&m->out, m->xid, DENIED_VERSION, RPC_VERSION);
		atomic_fetch_add(&m->front->malformed, 1);
		return (ssize_t)xdr_getpos(&m->out);
	}
	p = find_procedure(&m->head, &status);
	if (!p) {
		put_accepted(&m->out, m->xid, status);
		atomic_fetch_add(&m->front->malformed, 1);
		return (ssize_t)xdr_getpos(&m->out);
	}
	status = take_cred(m->peer, &m->head.cred, &cred);
	/* Anybody may ask whether somebody is there. */
	if (status != 0 && m->head.proc != 0) {
		put_denied(&m->out, m->xid, DENIED_AUTH, status);
		atomic_fetch_add(&m->front->malformed, 1);
		return (ssize_t)xdr_getpos(&m->out);
	}
	count(m->front, &m->head);
	if (p->cached)
		return run_once(m, p, &cred);
	run(m, p, &cred);
	return (ssize_t)xdr_getpos(&m->out);
}

ssize_t rpc_serve(struct nfs_front *front, unsigned worker, const struct peer *peer, uint8_t *msg,
		  size_t len, uint8_t *out, struct file_part *ret_file)
{
	struct message m = {
		.front = front,
		.worker = worker,
		.peer = peer,
		.msg = msg,
		.len = len,
		.out_buf = out,
		.file = ret_file,
	};
	uint32_t type;

	*ret_file = (struct file_part){ .fd = -1 };

	CHECK(len <= NFS_MAX_RECORD && (uintptr_t)msg % 4 == 0 && (uintptr_t)out % 4 == 0);
	xdrmem_create(&m.in, (char *)msg, (unsigned)len, XDR_DECODE);
	xdrmem_create(&m.out, (char *)out, NFS_MAX_ANSWER, XDR_ENCODE);
	if (!xdr_u_int(&m.in, &m.xid) || !xdr_u_int(&m.in, &type) || type != MSG_IS_CALL ||
	    !xdr_call_head(&m.in, &m.head)) {
		atomic_fetch_add(&front->malformed, 1);
		return -EPROTO;
	}
	return dispatch(&m);
}

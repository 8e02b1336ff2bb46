/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the NFS front end share.
 *
 * A request's way: transport.c puts a record together, rpc.c reads the call and who asks, asks
 * drc.c whether it is a replay, and hands it to a procedure (proc_*.c, mount3.c); the answer is
 * written into the worker's own buffer and sent by transport.c.
 *
 * Locks: `conn.lock` and `drc.lock`, both of RANK_LEAF; no other lock is taken and the stack is not
 * called with one of them held.
 */
#ifndef NFS_INTERNAL_H
#define NFS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <lamina/lamina.h>

#include "base/mutex.h"
#include "front.h"
#include "nfs3.h" /* made from nfs3.x */
#include "super/state.h"
#include "xdr.h"

#define NFS_PROGRAM 100003u
#define MOUNT_PROGRAM 100005u

/* Bytes of one READ or WRITE, of a listing, of a record and of an answer. */
#define NFS_MAX_DATA (1024u * 1024u)
#define NFS_MAX_LISTING (256u * 1024u)
#define NFS_HEAD_ROOM 8192u
#define NFS_MAX_RECORD (NFS_MAX_DATA + NFS_HEAD_ROOM)
#define NFS_MAX_ANSWER (NFS_MAX_DATA + NFS_HEAD_ROOM)

/* ---- siphash.c ---- */

#define SIPHASH_KEY 16u
/* SipHash-2-4 with a result of 128 bits. */
void siphash128(const uint8_t key[SIPHASH_KEY], const void *data, size_t len, uint8_t ret[16]);

/* ---- exports.c: who may come ---- */

enum squash { SQUASH_ROOT, SQUASH_NONE, SQUASH_ALL };

#define NOBODY 65534u

/* An address, IPv4 as ::ffff:a.b.c.d, and for how many of its bits. */
struct export_rule {
	uint8_t addr[16];
	unsigned bits;
	bool read_only;
	enum squash squash;
};

/* -EINVAL for what is no rule. */
int export_rule_parse(const char *text, struct export_rule *ret);
/* The first of N rules that has ADDR in it, or NULL. */
const struct export_rule *export_rule_find(const struct export_rule *rules, size_t n,
					   const uint8_t addr[16]);

struct sockaddr_storage;
/* "ADDR:PORT", "[ADDR6]:PORT" or "PORT".  -EINVAL. */
int listen_address_parse(const char *text, struct sockaddr_storage *ret, unsigned *ret_len);
/* The 16 bytes that rules are compared with. */
void address_bytes(const struct sockaddr_storage *from, uint8_t ret[16]);

/* ---- handles.c ---- */

struct handle_key {
	uint8_t key[SIPHASH_KEY];
	uint32_t export_id;
};

#define HANDLE_SIZE 40u

void handle_encode(const struct handle_key *key, uint64_t id, uint32_t generation,
		   uint8_t ret[HANDLE_SIZE]);
/* -EBADF: not one that this export has given out. */
int handle_decode(const struct handle_key *key, const void *data, size_t len, uint64_t *ret_id,
		  uint32_t *ret_generation);

/* ---- drc.c: the duplicate-request cache ---- */

struct drc;

/* What tells one request from another. */
struct drc_key {
	uint8_t addr[16];
	uint32_t xid;
	uint32_t len;
	uint64_t hash;
};

enum drc_found {
	DRC_NEW,   /* do it, then drc_done() */
	DRC_AGAIN, /* the same, but an earlier run of the server has begun it, and perhaps done it */
	DRC_REPLAY, /* the answer is in the caller's buffer */
	DRC_BUSY,   /* the first one is still being done */
};

#define DRC_ANSWER_MAX 512u /* longer answers than any that is to be kept */

struct drc_entry;

/* FD (owned from here on; -1: none) keeps what must be known by the next run of the server. */
struct drc *drc_new(unsigned entries, int fd);
void drc_free(struct drc *drc);
/* With DRC_NEW and DRC_AGAIN, *RET_ENTRY is for drc_done(), NULL where all entries are in use. */
enum drc_found drc_begin(struct drc *drc, const struct drc_key *key, struct drc_entry **ret_entry,
			 uint8_t *answer, size_t *ret_len);
#define DRC_NEW_OBJECT UINT64_MAX
/* What is done now cannot be done twice: note that it has begun, and the object that it is about (or
 * DRC_NEW_OBJECT).  ENTRY may be NULL. */
void drc_note(struct drc *drc, struct drc_entry *entry, uint64_t id);
/* With DRC_AGAIN: what was noted by the run that began it. */
uint64_t drc_noted(const struct drc_entry *entry);
/* Keep the answer; LEN 0: there is none, forget the request.  ENTRY may be NULL. */
void drc_done(struct drc *drc, struct drc_entry *entry, const uint8_t *answer, size_t len);

/* ---- The front as a whole ---- */

#define WCC_STRIPES 1024u
#define THREADS_MAX 64u

/* What a worker does now, for the others to see. */
struct running {
	_Atomic uint64_t id;	   /* the object whose data or attributes it changes; 0: none */
	_Atomic uint64_t since_ms; /* monotonic */
};

struct wcc_stripe {
	_Atomic uint32_t begun, active;
};

struct transport;

struct nfs_front {
	struct lam_stack *stack;
	/* Set by nfs_front_open() and constant from then on. */
	struct export_rule *rules;
	size_t n_rules;
	char *export_path; /* "/name" without a slash at its end, or NULL */
	struct handle_key key;
	uint64_t fsid;
	uint8_t cookie_verf[COOKIEVERFSIZE3];
	bool async, shared;
	void (*changed)(void *ctx, uint64_t id);
	void (*name_changed)(void *ctx, uint64_t parent, const char *name);
	void *ctx;
	unsigned n_workers;

	struct state_nfs *kept; /* in the supervisor's memory, or OWN */
	struct state_nfs own;
	atomic_bool cancelled; /* long copies are to stop */
	atomic_uint stops;
	struct drc *drc;
	struct running running[THREADS_MAX];
	struct wcc_stripe stripes[WCC_STRIPES];
	struct transport *transport;

	_Atomic uint64_t requests[NFS_FRONT_PROCS];
	_Atomic uint64_t mount_requests, errors, malformed, replays, refused, timed_out;
};

uint64_t front_now_ms(void);
/* How long before NOW it was; 0 where another thread has seen a later time already. */
static inline uint64_t front_ms_since(uint64_t now, uint64_t then)
{
	return now > then ? now - then : 0;
}

/* ---- transport.c ---- */

struct transport_config {
	struct sockaddr_storage *listen;
	unsigned listen_len;
	const struct super_link *link; /* NULL, or who keeps the socket */
	unsigned max_connections, idle_seconds, stall_seconds;
};

int transport_new(struct nfs_front *front, const struct transport_config *config,
		  struct transport **ret);
int transport_start(struct transport *t);
void transport_stop(struct transport *t); /* async-signal-safe */
void transport_wait(struct transport *t);
void transport_free(struct transport *t);
unsigned transport_port(const struct transport *t);
unsigned transport_connections(struct transport *t);

/* ---- record.c: record marking (RFC 5531, 11) ---- */

/* One record being put together from fragments. */
struct record {
	uint8_t *buf;	 /* of NFS_MAX_RECORD bytes; owned by who holds the record */
	size_t len;	 /* what is there */
	uint32_t left;	 /* of the fragment that is being read */
	uint8_t mark[4]; /* a record mark that has not come whole */
	unsigned n_mark;
	bool last; /* the fragment that is being read is the last one */
};

enum record_state { RECORD_MORE, RECORD_COMPLETE, RECORD_BAD };

/* Take up to *LEN bytes of DATA, and leave in *LEN how many were taken.  RECORD_COMPLETE: all is
 * there, and what was not taken belongs to the next one.  RECORD_BAD: too long. */
enum record_state record_add(struct record *rec, const uint8_t *data, size_t *len);
/* The place of the next bytes of the fragment, and how many are to come (0: a mark is next); for
 * reading without a copy.  record_took() says how many came. */
size_t record_room(struct record *rec, uint8_t **ret);
enum record_state record_took(struct record *rec, size_t n);
/* Ready for the next record; the buffer stays. */
void record_reset(struct record *rec);

/* ---- send.c: answers on their way ---- */

/* Bytes of a file that follow an answer's head, and padding to a multiple of four. */
struct file_part {
	int fd; /* owned; -1: none */
	uint64_t off;
	uint32_t len;
};

struct answer {
	uint8_t *marked; /* 4 bytes for the record mark, and then the head */
	size_t len;	 /* of the head, without the mark */
	struct file_part file;
};

size_t answer_len(const struct answer *a); /* with the mark */
void answer_mark(struct answer *a);
void answer_done(struct answer *a);
/* Send from *DONE on, which follows.  0: all is sent; -EAGAIN: the socket takes no more now; other errors
 * are of the socket or of the file. */
int answer_send(int fd, const struct answer *a, size_t *done);
/* Wait until the socket is ready for EVENTS, if it is so soon. */
bool socket_await(int fd, short events, int timeout_ms);

struct chunk;
/* What is left of an answer from DONE on, in memory.  NULL: no memory, or the file is shorter now. */
struct chunk *answer_rest(const struct answer *a, size_t done);

/* Answers that a socket did not take. */
struct out_queue {
	STAILQ_HEAD(chunk_list, chunk) chunks;
	size_t bytes;
};

void queue_init(struct out_queue *q);
void queue_add(struct out_queue *q, struct chunk *chunk, bool first);
/* Write what waits, as far as the socket takes it.  False: the connection is broken. */
bool queue_flush(struct out_queue *q, int fd, bool *ret_moved);
void queue_clear(struct out_queue *q);

/* ---- lone.c ---- */

/* The client that is alone, if one is.  Any thread may call these. */
struct lone {
	bool possible;
	atomic_uint_least64_t token; /* of the last request's connection */
	atomic_uint count;	     /* of its requests in a row */
	atomic_uint misses;	     /* looks in a row at which it had nothing */
};

void lone_init(struct lone *lone);
/* A request came from that connection while no other was served. */
void lone_note(struct lone *lone, uint64_t token);
/* Several are served at once, or what is transferred is large. */
void lone_end(struct lone *lone);
/* Whether that connection's next request is worth a look, which is lone_await(): true, it is there. */
bool lone_is(const struct lone *lone, uint64_t token);
bool lone_await(struct lone *lone, int fd);

/* ---- rpc.c ---- */

struct peer {
	uint8_t addr[16];
	const struct export_rule *rule;
};

/*
 * Do what the record MSG asks and write the answer to OUT, which has NFS_MAX_ANSWER bytes; both begin
 * at a multiple of four.  Returns its length, 0 if nothing is to be answered, or -EPROTO if this is no
 * call at all and the connection is not worth keeping.  *RET_FILE gets what follows.
 */
ssize_t rpc_serve(struct nfs_front *front, unsigned worker, const struct peer *peer, uint8_t *msg,
		  size_t len, uint8_t *out, struct file_part *ret_file);

struct nfs_cred {
	uint32_t uid, gid;
	uint32_t gids[16];
	unsigned n_gids;
};

/* One call. */
struct nfs_call {
	struct nfs_front *front;
	unsigned worker;
	const struct export_rule *rule;
	struct nfs_cred cred;
	struct lam_call lam;
	uint32_t proc;
	/* What follows the arguments of WRITE; inside the message. */
	const uint8_t *data;
	uint32_t data_len;
	/* For procedures that write their results themselves: from here to the end of the room. */
	XDR *out;
	uint8_t *out_buf; /* where OUT begins */
	size_t out_room;
	bool failed;		 /* the results tell of an error */
	struct drc_entry *entry; /* NULL: replays of it are harmless, or not known */
	bool again;		 /* DRC_AGAIN */
	struct file_part file;	 /* follows the results */
	/* What results point to. */
	uint8_t handle_room[HANDLE_SIZE];
	char path_room[4096];
	unsigned int flavor_room[1];
};

struct procedure {
	const char *name;
	xdrproc_t decode; /* NULL: no arguments */
	xdrproc_t encode; /* NULL: RUN writes to CALL->out */
	void (*run)(struct nfs_call *call, void *args, void *res);
	bool cached; /* a replay of it could do harm */
	bool data;   /* arguments end in opaque<> */
};

/* Any results or arguments. */
union nfs_args {
	fh3 fh;
	setattr3args setattr;
	dirop3 dirop;
	access3args access;
	read3args read;
	write3args write;
	create3args create;
	mkdir3args mkdir;
	symlink3args symlink;
	mknod3args mknod;
	rename3args rename;
	link3args link;
	readdir3args readdir;
	readdirplus3args readdirplus;
	commit3args commit;
	path3 path;
};

union nfs_results {
	nfsstat3 status; /* begins all but those of MOUNT */
	getattr3res getattr;
	status_wcc3 wcc;
	lookup3res lookup;
	access3res access;
	readlink3res readlink;
	write3res write;
	create3res create;
	rename3res rename;
	link3res link;
	fsstat3res fsstat;
	fsinfo3res fsinfo;
	pathconf3res pathconf;
	commit3res commit;
	mnt3res mnt;
};

/* The table of NFS version 3, in the order of RFC 1813; NFS_FRONT_PROCS of them. */
const struct procedure *nfs3_procedure(uint32_t number);
/* Of MOUNT version 3; NULL: none of this number. */
const struct procedure *mount3_procedure(uint32_t number);

/* ---- object.c: from handles to objects, and back to attributes ---- */

struct object {
	uint64_t id;
	uint32_t generation;
	struct lam_attr attr;
};

nfsstat3 nfs_status(int r);
nfsstat3 object_find(struct nfs_call *call, const fh3 *fh, struct object *ret);
void object_of_entry(const struct lam_entry *entry, struct object *ret);
void put_attr(const struct nfs_call *call, const struct lam_attr *attr, fattr3 *ret);
void put_post_attr(const struct nfs_call *call, const struct lam_attr *attr, post_op_attr *ret);
/* The attributes as they are now, if they can be had. */
void put_fresh_attr(struct nfs_call *call, uint64_t id, post_op_attr *ret);
/* RET points into CALL: one handle in one answer. */
void put_handle(struct nfs_call *call, uint64_t id, uint32_t generation, fh3 *ret);
/* Check a name and make a string of it.  NFS3ERR_ACCES, NFS3ERR_NAMETOOLONG. */
nfsstat3 get_name(const name3 *from, char ret[LAM_NAME_MAX + 1]);
bool is_dots(const char *name);

/*
 * Around a change of one object: attributes before, which are only shown if nothing else can have
 * changed it in between, and after.
 */
struct wcc {
	struct object obj;
	struct wcc_stripe *stripe; /* NULL: not begun */
	uint32_t ticket;
	bool alone;
	bool found;
};

/* Find the object that is to be changed.  Whatever this returns, wcc_end() follows. */
nfsstat3 wcc_begin(struct nfs_call *call, const fh3 *fh, struct wcc *w);
void wcc_end(struct nfs_call *call, struct wcc *w, wcc_data *ret);
/* Tell who else shows this stack. */
void tell_changed(struct nfs_call *call, uint64_t id);
void tell_name(struct nfs_call *call, uint64_t parent, const char *name);
/* Make a change of names in DIR durable, unless that is not wanted. */
nfsstat3 sync_dir(struct nfs_call *call, uint64_t dir);

/* ---- access.c ---- */

#define MAY_READ 4u
#define MAY_WRITE 2u
#define MAY_EXEC 1u

bool access_in_group(const struct nfs_cred *cred, uint32_t gid);
/* NFS3_OK, NFS3ERR_ACCES; for MAY_WRITE also NFS3ERR_ROFS. */
nfsstat3 access_check(struct nfs_call *call, const struct object *obj, unsigned want);
/* The same where the owner always may: reading and writing files that were opened before. */
nfsstat3 access_check_owner(struct nfs_call *call, const struct object *obj, unsigned want);
/* May NAME, which is VICTIM, be taken out of DIR? */
nfsstat3 access_check_remove(struct nfs_call *call, const struct object *dir,
			     const struct object *victim);
bool access_read_only(const struct nfs_call *call);

/* ---- proc_attr.c ---- */

/* Take the attributes of SATTR for an object of which *OBJ is known.  FOR_NEW: it was made by this
 * very call, so the caller may set them. */
nfsstat3 apply_sattr(struct nfs_call *call, const struct object *obj, const sattr3 *sattr,
		     bool for_new, struct lam_attr *ret);
/* Whether someone is changing ID for so long that a client should ask again later. */
bool change_begin(struct nfs_call *call, uint64_t id);
void change_end(struct nfs_call *call);

/* ---- Procedures ---- */

void proc_null(struct nfs_call *call, void *args, void *res);
void proc_getattr(struct nfs_call *call, void *args, void *res);
void proc_setattr(struct nfs_call *call, void *args, void *res);
void proc_lookup(struct nfs_call *call, void *args, void *res);
void proc_access(struct nfs_call *call, void *args, void *res);
void proc_readlink(struct nfs_call *call, void *args, void *res);
void proc_read(struct nfs_call *call, void *args, void *res);
void proc_write(struct nfs_call *call, void *args, void *res);
void proc_create(struct nfs_call *call, void *args, void *res);
void proc_mkdir(struct nfs_call *call, void *args, void *res);
void proc_symlink(struct nfs_call *call, void *args, void *res);
void proc_mknod(struct nfs_call *call, void *args, void *res);
void proc_remove(struct nfs_call *call, void *args, void *res);
void proc_rmdir(struct nfs_call *call, void *args, void *res);
void proc_rename(struct nfs_call *call, void *args, void *res);
void proc_link(struct nfs_call *call, void *args, void *res);
void proc_readdir(struct nfs_call *call, void *args, void *res);
void proc_readdirplus(struct nfs_call *call, void *args, void *res);
void proc_fsstat(struct nfs_call *call, void *args, void *res);
void proc_fsinfo(struct nfs_call *call, void *args, void *res);
void proc_pathconf(struct nfs_call *call, void *args, void *res);
void proc_commit(struct nfs_call *call, void *args, void *res);

#endif

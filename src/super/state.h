/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What outlives a worker: one piece of shared memory, held by the supervisor.
 *
 * A worker may be gone after any instruction.  So each change here is a single store that says "from now
 * on", made after all that it speaks of; and who finds a record half written finds it unmarked.  Nothing
 * here is a pointer, and none of its numbers comes from outside.
 *
 * STATE_LAYOUT changes with anything in this file.  A program of another layout does not take over.
 */
#ifndef SUPER_STATE_H
#define SUPER_STATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATE_MAGIC UINT64_C(0x6c616d696e617374)
#define STATE_LAYOUT 1u

#define STATE_KEPT 128u	      /* descriptors that workers give to the supervisor */
#define STATE_INTENTS 1024u   /* requests under way; many more than threads */
#define STATE_BACKINGS 16384u /* objects that are open while passthrough is in use */
#define STATE_PATH 4096u

/* ---- Descriptors ---- */

enum state_fd {
	STATE_FD_NONE,
	STATE_FD_FUSE,	 /* the connection */
	STATE_FD_CLONE,	 /* clones of it, one for each thread but the first */
	STATE_FD_ABORT,	 /* ends the connection when written to */
	STATE_FD_NFS,	 /* the listening socket */
	STATE_FD_LOG,	 /* the file of messages */
	STATE_FD_NAMES,	 /* memory for where objects were last seen */
	STATE_FD_SYSLOG, /* the connected socket of the system log */
};

/* The number is the same in all processes, which have it from the supervisor. */
struct state_kept {
	uint32_t kind, index;
	int32_t fd;
	uint32_t reserved;
};

/* ---- FUSE ---- */

struct state_fuse {
	_Atomic uint32_t agreed; /* INIT is answered and all of this is true */
	uint32_t minor;
	uint64_t flags;
	uint32_t max_write, max_pages;
	uint64_t payload;
	uint32_t zero_open, passthrough, by_helper;
	_Atomic int32_t last_backing; /* the largest backing id that was recorded */
	uint32_t resend;	      /* requests can be asked for again */
	uint32_t conn_minor;	      /* the number of the connection; 0: not known */
	char mountpoint[STATE_PATH];
};

/* How far a request has come. */
enum intent_phase {
	INTENT_FREE,
	INTENT_BEGUN, /* PRIOR is written; the change may have happened or not */
	INTENT_DONE,  /* it has happened, with RESULT (and ID) */
};

/* A request that must not be done twice. */
struct state_intent {
	_Atomic uint64_t unique; /* 0: free */
	_Atomic uint32_t phase;
	uint32_t opcode;
	_Atomic uint32_t generation; /* of the worker that had it last */
	int32_t result;
	uint64_t id;
	uint64_t prior[2]; /* what the opcode wants to know of the time before */
	/* An open of object ID is counted, or taken back, in its struct state_backing. */
	_Atomic uint32_t count_phase; /* INTENT_* */
	uint32_t count_kind;
	uint64_t count_prior; /* the count before */
};

/* An object that is open while passthrough is in use.  Written by who has it busy. */
struct state_backing {
	_Atomic uint64_t id; /* 0: free */
	uint64_t cached, through;
	int32_t backing;
	uint32_t lower;
};

/* ---- NFS ---- */

struct state_nfs {
	_Atomic uint32_t valid;
	_Atomic uint32_t syncing; /* syncs of data that have begun and not ended */
	_Atomic uint64_t write_verf;
	uint8_t key[16];
};

/* ---- All of it ---- */

struct state_memory {
	uint64_t magic;
	uint32_t layout;
	uint32_t n_dirs; /* entries of dirs[] */
	uint64_t size;
	char version[32];	     /* of the program that made it; for messages */
	_Atomic uint32_t generation; /* counts the workers */
	_Atomic uint32_t n_kept;
	_Atomic int32_t worker;	      /* its process; 0: none */
	_Atomic uint32_t deaths;      /* workers that were replaced after an end of their own */
	_Atomic uint32_t upgrades;    /* workers that were replaced by another program */
	_Atomic uint64_t last_gap_us; /* how long nobody served */
	struct state_kept kept[STATE_KEPT];
	struct state_fuse fuse;
	struct state_nfs nfs;
	struct state_intent intents[STATE_INTENTS];
	struct state_backing backings[STATE_BACKINGS];
	int32_t dirs[]; /* as lam_config.dir_fds */
};

struct state {
	struct state_memory *mem; /* NULL: none */
	int fd;
};

/* Make the memory, with room for N_DIRS directories (all -1). */
int state_create(struct state *ret, size_t n_dirs, const char *version);
/* Use what another process made.  -EPROTO: it is of another layout. */
int state_attach(struct state *ret, int fd);

/* The descriptor of that kind, or -1. */
int state_kept(const struct state *s, enum state_fd kind, uint32_t index);

/* ---- Requests under way: from any thread, without locks ---- */

/* The record that a worker made of UNIQUE, or NULL. */
struct state_intent *intent_find(struct state *s, uint64_t unique);
/* A new record, or NULL where there is no room (of more threads than there can be). */
struct state_intent *intent_take(struct state *s, uint64_t unique, uint32_t opcode);
void intent_begin(struct state_intent *in);
void intent_done(struct state_intent *in, int result, uint64_t id);
/* The request is answered. */
void intent_free(struct state_intent *in);

#endif

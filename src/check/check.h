/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside the check of layers.  One thread; nothing here is locked.
 *
 * What lies below a layer is asked of the engine: a stack of the lower layers under it, opened without
 * an upper, so that whiteouts, opaque directories, redirects and metacopy mean here what they mean in a
 * mount.  docs/design/check.md tells the plan.
 */
#ifndef CHECK_CHECK_H
#define CHECK_CHECK_H

#include <lamina/check.h>

#include "core/core.h"

/* ---- Kinds of findings: kinds.c ---- */

enum kind {
	/* Layers. */
	KIND_LAYERS_OVERLAP,
	/* Redirects. */
	KIND_REDIRECT_BAD,
	KIND_REDIRECT_ESCAPE,
	KIND_REDIRECT_DANGLING,
	KIND_REDIRECT_DUPLICATE,
	KIND_REDIRECT_LOOP,
	/* Origins. */
	KIND_ORIGIN_BAD,
	KIND_ORIGIN_DANGLING,
	KIND_ORIGIN_FOREIGN,
	KIND_ORIGIN_TYPE,
	KIND_ORIGIN_DUPLICATE,
	KIND_ORIGIN_MISMATCH,
	KIND_ORIGIN_ROOT,
	/* Marks of directories. */
	KIND_IMPURE_MISSING,
	KIND_OPAQUE_UNKNOWN,
	/* Whiteouts. */
	KIND_WHITEOUT_NEEDLESS,
	KIND_WHITEOUT_NOT_EMPTY,
	KIND_WHITEOUT_UNMARKED,
	KIND_DOT_WHITEOUT,
	KIND_DOT_OPAQUE,
	/* Files. */
	KIND_METACOPY_BAD,
	KIND_METACOPY_DATALESS,
	KIND_PROTATTR_BAD,
	KIND_NLINK_BAD,
	KIND_NLINK_WRONG,
	KIND_UUID_BAD,
	KIND_MARK_MISPLACED,
	KIND_MARK_UNKNOWN,
	/* What fuse-overlayfs leaves. */
	KIND_FUSE_OPAQUE,
	KIND_FUSE_ORIGIN,
	KIND_FUSE_MARK,
	KIND_OVERRIDE_BAD,
	/* The index. */
	KIND_INDEX_FOREIGN,
	KIND_INDEX_NAME,
	KIND_INDEX_TEMP,
	KIND_INDEX_ORIGIN,
	KIND_INDEX_STALE,
	KIND_INDEX_ORPHAN,
	KIND_INDEX_TYPE,
	KIND_INDEX_MISSING,
	KIND_INDEX_WHITEOUT,
	KIND_INDEX_HIDES,
	KIND_INDEX_DIR_BAD,
	KIND_INDEX_DIR_DANGLING,
	KIND_INDEX_DIR_WRONG,
	KIND_INDEX_DIR_MISSING,
	/* The work directory. */
	KIND_WORK_LEFTOVER,
	KIND_WORK_VOLATILE,
	KIND_WORK_INCOMPAT,
	KIND_RECORD_FILESYSTEMS,
	KIND_RECORD_LINK,
	KIND_RECORD_LINK_STALE,
	KIND_RECORD_ORIGIN,
	KIND_RECORD_ORIGIN_STALE,
	KIND_RECORD_INDEX,
	KIND_RECORD_INDEX_STALE,
	KIND_RECORD_ORPHAN,
	KIND_RECORD_BEHIND,
	KIND_COUNT
};

struct kind_text {
	const char *name;
	const char *why;
	const char *repair; /* NULL: never mended */
};
extern const struct kind_text kinds[KIND_COUNT];

/* ---- Tables: table.c ---- */

/* 64-bit keys, never 0, to a number and a text. */
struct tslot {
	uint64_t key, number;
	char *text; /* owned; may be NULL */
};
struct table64 {
	struct tslot *slots;
	size_t mask, count;
};
/* The slot of KEY, made (with zeroes) if need be; valid until the next call.  NULL: no memory. */
struct tslot *table64_add(struct table64 *t, uint64_t key);
struct tslot *table64_find(const struct table64 *t, uint64_t key);
void table64_free(struct table64 *t);

/* ---- The check ---- */

struct clayer {
	int fd;
	const char *path; /* borrowed */
	dev_t dev;
	uint64_t ino;
	bool has_uuid, can_encode, can_decode;
	bool foreign; /* handles in no layout that is known, or that do not last */
	uint8_t uuid[FH_UUID_LEN];
	struct lam_stack *below; /* of the lowers under this one; NULL: none, or not opened yet */
	bool below_tried;
};

/* What an object is marked with: names only, of one listxattr. */
struct marks {
	bool opaque, redirect, metacopy, origin, impure, whiteout, nlink, protattr, upper, uuid;
	bool fuse_opaque, fuse_origin, fuse_other;
	bool other_opaque; /* the opaque mark of the prefix that is not in use */
	bool override, any;
	char unknown[64]; /* "" or a name after the prefix that no version is known to write */
	char override_name[48];
};

struct check {
	const struct lam_config *config;
	lam_check_fn fn;
	void *fn_ctx;
	struct lam_check_result result;
	bool repair, lone, userxattr;
	bool overlap;	       /* the layers cannot be opened as a stack */
	bool leftovers;	       /* a crash left links in the work directory */
	bool stopped;	       /* an unknown feature is in use: look, but do not touch */
	struct clayer *layers; /* 0 is upper, or the lone one; fd -1 if there is none */
	uint16_t n_layers, n_lower;
	int base_fd, work_fd, index_fd, own_fd, stray_fd, lock_fd; /* -1: not there */
	uint64_t work_ino;
	uint64_t temp_counter;
	struct table64 claims;	 /* id below -> path of the upper directory that shows it */
	struct table64 origins;	 /* hash of an origin -> inode and path of the upper object */
	struct table64 linked;	 /* inode of upper -> 1: has a name there and an nlink mark */
	struct table64 recorded; /* inode of upper with a record of its origin -> 1: it is there */
	struct table64 hidden;	 /* inode of a lower -> 1: the index has a whiteout for it */
	char *path;		 /* of the directory under way, without a leading slash */
	size_t path_len, path_cap;
};

#define BELOW_NONE 0ull		/* nothing is below */
#define BELOW_UNKNOWN (~0ull)	/* cannot be told: no finding may rest on it */
#define BELOW_LATER (~0ull - 1) /* was not asked for yet */

/* A directory on the way of the walk. */
struct frame {
	int fd; /* -1: closed for the time being */
	uint64_t ino;
	dev_t dev;
	size_t path_len; /* of c->path, with this directory */
	uint64_t below;	 /* id in the stack below, or one of BELOW_* */
	size_t name_at;	 /* of C->path: where the directory's own name begins */
	bool opaque_x, impure;
	bool origin_child; /* something in it has an origin */
	char *todo;	   /* names of subdirectories still to be walked, NUL after each */
	size_t todo_len, todo_cap;
};

/* report.c: one finding about NAME in the directory under way (NULL: that directory; with another place
 * the path is NAME alone).  The _at forms say so.  Returns true if the caller is to mend it now and to
 * tell how that went by check_mended(). */
struct problem {
	enum kind kind;
	enum lam_check_place place;
	unsigned layer;
	bool mendable; /* if the kind is */
	char what[512];
	char *path; /* owned */
};
int problem_begin(struct check *c, struct problem *p, enum kind kind, uint16_t layer,
		  const char *name);
int problem_begin_work(struct check *c, struct problem *p, enum kind kind, const char *path);
void problem_say(struct problem *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Whether it is to be mended now; if not, it has been reported. */
bool problem_mend(struct check *c, struct problem *p, bool possible);
/* Mending came to R. */
void problem_done(struct check *c, struct problem *p, int r);

/* open.c */
int check_open(struct check *c, const char *lone);
void check_close(struct check *c);
/* The engine over what is below LAYER; NULL if that is nothing or cannot be opened. */
struct lam_stack *check_below(struct check *c, uint16_t layer);

/* below.c */
/* What NAME in directory ID of LAYER's stack below is: its id and type.  -ENOENT if nothing; -EIO and
 * alike if that cannot be told.  ID may be BELOW_NONE or _UNKNOWN. */
int below_lookup(struct check *c, uint16_t layer, uint64_t id, const char *name,
		 struct lam_entry *ret);
/* The same for a redirect: absolute, or in directory ID. */
int below_follow(struct check *c, uint16_t layer, uint64_t id, const char *redirect, size_t len,
		 struct lam_entry *ret);
/* The stored handle of the topmost part of directory ID. */
int below_handle(struct check *c, uint16_t layer, uint64_t id, struct fh *ret);
/* The path that leads to the lower object behind a stored handle, absolute as in a redirect. */
int below_path_of(struct check *c, uint16_t layer, const struct fh *fh, char **ret);

/* marks.c */
int marks_read(struct check *c, int dirfd, const char *name, struct marks *ret);
ssize_t mark_get(struct check *c, int dirfd, const char *name, const char *mark, void *value,
		 size_t size);
int mark_set(struct check *c, int dirfd, const char *name, const char *mark, const void *value,
	     size_t size);
int mark_remove(struct check *c, int dirfd, const char *name, const char *mark);
/* A stored handle kept as MARK.  -EINVAL malformed, -ENODATA none, empty, or of a make that is to be
 * ignored. */
int mark_get_fh(struct check *c, int dirfd, const char *name, const char *mark, struct fh *ret);

/* walk.c */
int walk_tree(struct check *c, uint16_t layer);
uint64_t frame_below(struct check *c, uint16_t layer, struct frame *frames, size_t n);

/* dirs.c */
/* Frame N - 1 is new: its marks, and what is below it. */
int dir_enter(struct check *c, uint16_t layer, struct frame *frames, size_t n);
/* All of its names have been seen. */
int dir_leave(struct check *c, uint16_t layer, struct frame *f);

/* objects.c: an object that is no directory. */
int object_check(struct check *c, uint16_t layer, struct frame *frames, size_t n, uint8_t type,
		 const struct sys_dirent *de);

/* An object whose marks are looked at: NAME in DIRFD, or DIRFD itself with "". */
struct object {
	int dirfd;
	const char *name;
	const char *shown; /* for messages: NAME, or NULL for the directory under way */
	uint64_t ino;
	uint32_t type; /* S_IFMT */
	uint16_t layer;
	struct marks m;
};
/* Marks that any object may have wrong: those at the wrong place, unknown ones, fuse-overlayfs's. */
int object_marks(struct check *c, struct object *o);
/* Remove MARK for a finding of KIND. */
int object_drop_mark(struct check *c, struct object *o, enum kind kind, const char *mark,
		     const char *what);

/* whiteouts.c */
/* NAME in the last directory is a whiteout: a character device, or an empty file BY_MARK. */
int whiteout_check(struct check *c, uint16_t layer, struct frame *frames, size_t n,
		   const char *name, bool by_mark);
/* NAME begins with `.wh.`, in upper. */
int whiteout_dot(struct check *c, struct frame *frames, size_t n, const char *name);
/* Whether `.wh.` names are what upper has to have. */
bool whiteout_dot_usual(const struct check *c);

/* origins.c */
int origin_check(struct check *c, struct object *o);
int origin_check_root(struct check *c, struct object *o);
/* Open the object behind a stored handle, O_PATH.  -ESTALE: it is gone; -ENODATA: its filesystem is none
 * of the lower layers'; -EOPNOTSUPP: cannot be told. */
int origin_open(struct check *c, const struct fh *fh);
/* The stored handle of NAME in DIRFD of LAYER. */
int origin_make(const struct check *c, uint16_t layer, int dirfd, const char *name, bool path_upper,
		struct fh *ret);

/* metacopy.c */
int metacopy_check(struct check *c, struct frame *frames, size_t n, struct object *o);

/* redirects.c */
#define REDIRECT_LIMIT 65536u
/* The redirect of O, LEN bytes and a NUL; the caller frees it. */
int redirect_read(struct check *c, const struct object *o, char **ret, size_t *ret_len);
/* A directory's redirect: leaves what is below it in FRAMES[N - 1]. */
int redirect_check_dir(struct check *c, struct frame *frames, size_t n, struct object *o);
/* A redirect that is not valid, of a file. *RET_DROPPED: nothing usable is left. */
int redirect_check_file(struct check *c, struct object *o, char **value, size_t *len);
/* Two directories of upper must not show one lower directory. */
int redirect_claim(struct check *c, struct frame *f, struct object *o);

/* index.c, work.c */
int index_check(struct check *c);
/* The nlink mark of an upper file, and its entry in the index. */
int index_check_link(struct check *c, struct object *o);
/* Before the walk: which lower inodes the index hides. */
int index_prepare(struct check *c);
/* A directory of upper with something below: its entry. */
int index_check_dir(struct check *c, struct object *o, uint64_t below);
/* A lower object that the index calls removed. */
int index_check_hidden(struct check *c, uint16_t layer, struct frame *frames, size_t n,
		       const struct sys_dirent *de);
int work_check(struct check *c);
/* records.c: what Lamina keeps for itself in workdir/lamina */
int records_check(struct check *c);
/* After the walk: those of objects that upper has not got, and the index for what has no attributes. */
int records_finish(struct check *c);
/* An object of upper: if there is a record of the number, whether it is the one that is meant. */
void records_note(struct check *c, int dirfd, const char *name, uint64_t ino);
/* One name in a directory of ours, and what to do about it. */
struct part {
	struct check *c;
	int fd;
};
int records_report(struct part *part, enum kind kind, const char *dir, const char *name,
		   const char *what, bool remove);
/* special.c: workdir/lamina/index */
int special_check(struct check *c);

/* mend.c: steps of repairs */
void mend_temp_name(struct check *c, char out[32]);
/* Move NAME in DIRFD to workdir/lamina/stray, under a name that is free. */
int mend_put_aside(struct check *c, int dirfd, const char *name);
bool mend_can_put_aside(const struct check *c);
/* Remove NAME in DIRFD, a directory with all that is in it. */
int mend_remove(int dirfd, const char *name);
/* Put a whiteout (character device) at NAME in DIRFD, over a file that is there. */
int mend_whiteout(struct check *c, int dirfd, const char *name);

static inline bool check_is_upper(const struct check *c, uint16_t layer)
{
	return layer == LAYER_UPPER && !c->lone;
}
/* Whether marks that speak of what is below are read there. */
static inline bool check_is_lowest(const struct check *c, uint16_t layer)
{
	return !c->lone && layer >= c->n_lower;
}

#endif

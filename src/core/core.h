/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The engine's structures.  Everything here is a cache of what the layers say and may be dropped
 * and found again; docs/design/overview.md tells how the parts fit, docs/design/locking.md which
 * lock protects what.
 */
#ifndef CORE_CORE_H
#define CORE_CORE_H

#include <lamina/lamina.h>
#include <linux/stat.h>
#include <stdio.h> /* RENAME_* */
#include <string.h>
#include <sys/queue.h>

#include "behind.h"
#include "base/check.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/mutex.h"
#include "base/numset.h"
#include "format/format.h"
#include "sys/sys.h"

#define MAX_FILESYSTEMS 63u
#define LAYER_UPPER 0u

/* ---- Ids: fsys.c, docs/design/identity.md ---- */

#define ID_BORN_UPPER (1ull << 62)
#define ID_FS_SHIFT 56
#define ID_INO_MASK ((1ull << ID_FS_SHIFT) - 1)

/* One real filesystem (one st_dev) that layers lie on.  Fixed after it is made, but for the table
 * of large inode numbers, which has a lock of its own. */
struct fsys {
	dev_t dev;
	uint8_t index; /* the 6 bits of an id */
	bool has_uuid;
	bool uuid_unique;      /* no other filesystem of the stack has the same UUID */
	bool can_encode;       /* name_to_handle_at works */
	bool can_decode;       /* open_by_handle_at works for every kind of object */
	bool can_decode_dirs;  /* ... for directories: without privilege, our own */
	bool tmpfs;	       /* handles have tmpfs's layout */
	bool births;	       /* generations of lower objects are made from birth times */
	bool needs_generation; /* a handle with generation 0 is not taken for any */
	bool opaque_handles;   /* handles of a layout that is not known */
	bool owns_fd;	       /* mount_fd is its own */
	int handle_type;       /* of its handles; -1 if none */
	uint8_t uuid[FH_UUID_LEN];
	int mount_fd;		/* for open_by_handle_at; a layer's root, borrowed */
	struct fsys *host;	/* met inside a layer of this one: a subvolume of it; or NULL */
	uint64_t subvolume;	/* btrfs: which one */
	struct numset inside;	/* numbers of lower files, once gathered; origins_lock */
	struct inotable *table; /* numbers over 56 bits; NULL until one is met */
};

struct layer {
	int fd; /* the root; lower ones on a private read-only clone */
	struct fsys *fs;
	uint64_t ino;		   /* of the root */
	char *path;		   /* as configured; for messages */
	const char *override_name; /* the attribute that overrides owner and mode, or NULL */
	bool data_only;
};

/* ---- Cached descriptors: fdcache.c ---- */

struct fdent {
	TAILQ_ENTRY(fdent) lru;
	struct fdent **owner; /* the pointer that refers to this; NULL: left behind */
	int fd;
	uint32_t pins;
	bool writable;
};
TAILQ_HEAD(fdlist, fdent);

struct fdcache {
	struct mutex lock;  /* RANK_FDCACHE: everything here and every owner pointer */
	struct fdlist list; /* most recently used first */
	unsigned count, limit;
	uint64_t hits, misses; /* of fdcache_get() */
};

void fdcache_init(struct fdcache *c, unsigned limit);
void fdcache_destroy(struct fdcache *c);
/* The pinned entry of *OWNER, or NULL if there is none (or none that is writable when asked). */
struct fdent *fdcache_get(struct fdcache *c, struct fdent **owner, bool writable);
/* Give FD (owned from here on) to the cache as *OWNER's and pin it; another thread's may be found there
 * already and is returned instead, FD being closed.  NULL: out of memory, FD closed. */
struct fdent *fdcache_add(struct fdcache *c, struct fdent **owner, int fd, bool writable);
void fdcache_put(struct fdcache *c, struct fdent *e);
/* *OWNER refers to nothing any more; the descriptor closes with its last pin. */
void fdcache_drop(struct fdcache *c, struct fdent **owner);
/* Close idle writable descriptors of data (another program may want to execute the file). */
void fdcache_shrink(struct fdcache *c, unsigned keep);

/* ---- Real directories: rdir.c ---- */

/* A directory in a layer.  Children hold their parents. */
struct rdir {
	struct rdir *parent; /* NULL for a layer's root; RANK_RDIR */
	char *name;	     /* RANK_RDIR */
	uint64_t ino;
	struct fdent *fde; /* RANK_FDCACHE */
	_Atomic uint32_t refs;
	uint16_t layer;
	bool no_dot_wh;	   /* a full listing saw no `.wh.` name */
	bool true_numbers; /* on its layer's own filesystem: d_ino of what is in it is st_ino */
	_Atomic uint8_t impure; /* 0 unknown, 1 no, 2 yes */
	char first_name[];	/* NAME, until it is moved: directories are many */
};

struct lam_stack;
struct node;

struct rdir *rdir_new(struct rdir *parent, const char *name, uint16_t layer, uint64_t ino);
struct rdir *rdir_ref(struct rdir *r);
void rdir_put(struct lam_stack *s, struct rdir *r);
/* A directory of upper got another parent or name. */
void rdir_move(struct lam_stack *s, struct rdir *r, struct rdir *parent, char *name);
/* A pinned descriptor (readable) of a real directory, checked to be the same directory; -ESTALE if
 * the layer has changed behind our back. */
int rdir_open(struct lam_stack *s, struct rdir *r, struct fdent **ret);

/* ---- Merged listings: listing.c ---- */

/* Positions within a directory: 0 is its upper part, 1.. its lower parts from the top. */
#define LE_UPPER 1u	/* upper has the name (as something else than a whiteout) */
#define LE_WHITEOUT 2u	/* the topmost is a whiteout by name */
#define LE_BELOW 4u	/* a lower position has the name */
#define LE_STOP 8u	/* nothing under the positions seen so far counts */
#define LE_MAYBE_WH 16u /* topmost is a character device: may be a whiteout */

struct lentry {
	uint64_t hash; /* also the cookie; unique in its directory */
	uint64_t ino;  /* as the topmost layer's directory tells it; 0: not known */
	struct lentry *next;
	uint32_t more;	/* 1 + index into the listing's chain of further positions */
	uint16_t first; /* topmost position */
	uint8_t type;	/* DT_* */
	uint8_t flags;
	uint8_t len;
	char name[];
};

struct lchain {
	uint32_t next; /* 1 + index; 0 ends */
	uint16_t pos;
};

struct listing {
	TAILQ_ENTRY(listing) lru; /* RANK_LISTINGS */
	struct node *node;	  /* whose */
	struct lentry **buckets;
	unsigned bits; /* 1 << bits buckets */
	size_t count, bytes;
	struct lchunk *chunks;	 /* memory of the entries */
	struct lentry *free[40]; /* removed ones, by size in units of 8 bytes */
	size_t chunk_used, chunk_size;
	struct lchain *chain;
	uint32_t n_chain, cap_chain;
};
TAILQ_HEAD(listinglist, listing);

struct listing *listing_new(void);
void listing_free(struct listing *l);
struct lentry *listing_find(const struct listing *l, const char *name, size_t len);
/* The entry of NAME, made if need be (*RET_NEW); NULL: out of memory. */
struct lentry *listing_add(struct listing *l, const char *name, size_t len, bool *ret_new);
void listing_remove(struct listing *l, struct lentry *e);
int listing_more(struct listing *l, struct lentry *e, uint16_t pos);
/* The first entry with a hash above COOKIE, in the order of hashes; NULL at the end. */
struct lentry *listing_after(const struct listing *l, uint64_t cookie);
/* The cookie of a name; LISTING_HASH_MIN or more (0 is the start, 1 and 2 are "." and ".."), below
 * 2^62. */
#define LISTING_HASH_MIN 3u
uint64_t listing_hash(const char *name, size_t len);

/* ---- Nodes: node.c ---- */

/* An array of a directory's lower parts, of N places, that is not the present one. */
struct old_parts {
	struct old_parts *next;
	struct rdir **lower;
	uint16_t n;
};

struct dir {
	struct mutex lock; /* RANK_DIR: the names in the directory and all below */
	struct rdir *_Atomic
		upper; /* NULL until copied up; set under the parent's lock and node lock */
	/* Topmost first.  Fixed, but for watch_lower: then another array may take its place, under this lock and
	 * the node's.  Who reads without them asks for the number first. */
	struct rdir **_Atomic lower;
	_Atomic uint16_t n_lower;
	uint16_t n_spare;      /* references in the array after these */
	struct old_parts *old; /* arrays that somebody may still be reading */
	uint16_t lookups;      /* without a listing so far */
	bool never_pure;       /* upper part may hold whiteouts although nothing is below */
	bool too_big;	       /* more names than a listing may have */
	struct listing *listing;
	struct window *window; /* where it is too big for a listing */
};

/* Rarely needed parts of a node. */
struct node_extra {
	struct rdir *data_dir; /* metacopy: where the data is */
	char *data_name;
	char *data_path;	   /* metacopy into a data-only layer: absolute redirect */
	uint16_t data_after;	   /* ... searched in data layers */
	struct sys_handle *handle; /* detached: how to reach the upper inode */
	char *index_name;	   /* indexed: the name in the index directory */
	int32_t nlink_adjust;	   /* lower hard link with names removed: to add to st_nlink */
};

enum { ALIAS_BUCKETS = 256 };

#define NF_INDEXED 0x0001u     /* the upper inode has an index entry */
#define NF_METACOPY 0x0002u    /* the upper or lower inode has no data of its own */
#define NF_COPYING 0x0004u     /* a copy-up is under way; copyup_lock */
#define NF_DEAD 0x0008u	       /* the last name is gone */
#define NF_ORPHAN 0x0010u      /* lives in the orphan area */
#define NF_DETACHED 0x0020u    /* no name is known: reached by handle */
#define NF_LOWER_LINKS 0x0040u /* the lower inode has several names */
#define NF_ORIGIN 0x0080u      /* upper object with an origin */
#define NF_NAME_GONE 0x0100u   /* the name on record is removed; others exist */
#define NF_BY_NAME 0x1000u     /* the id is made from the place, not from an inode */
#define NF_PROTATTR 0x0400u    /* upper object with immutable or append-only marks */

struct node {
	uint64_t id;
	struct node *next;   /* hash chain; RANK_TABLE */
	struct node *parent; /* where it was last seen; held; NULL: root or unknown */
	char *name;	     /* ... under this name; lock */
	struct dir *dir;     /* directories only */
	struct node_extra *extra;
	struct fdent *fde;	   /* data; RANK_FDCACHE */
	_Atomic uint64_t real_ino; /* of the topmost real inode */
	struct mutex lock;	   /* RANK_NODE: parent, name, layer, real_ino, flags, extra */
	_Atomic uint32_t refs;
	uint32_t generation;
	_Atomic uint16_t layer; /* of the topmost real inode; never back from upper */
	_Atomic uint16_t flags;
	uint8_t type;		/* S_IFMT >> 12 */
	_Atomic uint8_t recent; /* used since the last sweep */
};

#define NODE_SHARDS 64u
#define NAME_STRIPES 256u

struct node_shard {
	struct mutex lock; /* RANK_TABLE */
	struct node **buckets;
	uint32_t mask, count;
	uint64_t hits, misses; /* of node_find() */
};

/* ---- The stack ---- */

struct user {
	lam_in_use_fn in_use;
	void *ctx;
};

struct lam_stack {
	struct layer *layers; /* 0 is upper (fd -1 if there is none) */
	uint16_t n_layers;    /* all, with upper and data-only ones */
	uint16_t n_lower;     /* merged lower layers: 1 .. n_lower */
	struct fsys filesystems[MAX_FILESYSTEMS];
	_Atomic unsigned n_filesystems;
	struct mutex fs_lock; /* RANK_LEAF: adding filesystems */
	uint16_t n_data;      /* data-only layers: n_lower + 1 .. n_lower + n_data */
	uint64_t work_ino;    /* of workdir */
	bool one_fs;	      /* all layers are on one: st_ino is the real number */

	/* Settings, as resolved at open. */
	bool has_upper, privileged, userxattr;
	_Atomic bool read_only;
	bool redirect_follow, redirect_on, index, nfs_export, metacopy, metacopy_read, xino_on;
	bool read_dot_wh, write_dot_wh, watch_lower;
	bool no_acl, no_xattr, static_nlink;
	bool takeover;		       /* clients of an earlier process go on */
	_Atomic unsigned left_orphans; /* of those that it left, at most so many are still there */
	enum lam_fsync fsync;
	bool ino32;
	bool upper_tmpfile, upper_rename_wh, upper_exchange, upper_xattr, upper_char_wh,
		upper_handles;
	bool upper_ordered; /* what reached the device before a change is durable before it */
	bool can_switch_ids;
	bool path_fds_lead; /* by /proc, from descriptors by O_PATH to their inodes */
	uid_t self_uid;
	gid_t self_gid;
	struct lam_idmap uidmap, gidmap;
	bool squash_uid, squash_gid;
	uint32_t squash_to_uid, squash_to_gid;
	int xattr_permissions;

	/* Descriptors of the work directory; -1 without an upper. */
	int base_fd;		     /* workdir itself */
	int work_fd;		     /* workdir/work: temporary names */
	int index_fd;		     /* workdir/index, or -1 */
	int own_fd;		     /* workdir/lamina */
	int orphan_fd;		     /* workdir/lamina/orphans */
	int links_fd;		     /* workdir/lamina/links */
	int origins_fd;		     /* workdir/lamina/origins */
	int special_fd;		     /* workdir/lamina/index, or -1 */
	int lock_fd;		     /* held lock on workdir/lamina/lock */
	int begun_fd;		     /* workdir/lamina/begun, or -1 */
	_Atomic uint64_t begun_used; /* slots of it, one bit each */
	_Atomic bool links_used;     /* links_fd may have entries */

	struct mutex alias_lock; /* RANK_LEAF: aliases */
	struct alias *aliases[ALIAS_BUCKETS];
	struct mutex record_lock;    /* RANK_LEAF: replacing and removing in origins_fd */
	struct numset records_fresh; /* inodes with a record made since the start; record_lock */
	_Atomic bool records_used;   /* origins_fd may have entries */

	struct mutex orphans_lock; /* RANK_ORPHANS: an orphan and its node come and go together */
	struct mutex work_lock;	   /* RANK_WORK: the shared whiteout */
	char whiteout_name[32];	   /* in work_fd; "" until made */
	_Atomic uint64_t temp_counter;
	bool whiteout_link; /* hard links of whiteouts work */

	struct mutex rename_lock;	       /* RANK_RENAME */
	struct mutex name_locks[NAME_STRIPES]; /* RANK_NAMES, by id: names.c */
	_Atomic uint64_t names_seq;	       /* changes of files with several names */
	struct behinds behinds;
	struct mutex copyup_lock; /* RANK_LEAF: NF_COPYING */
	struct cond copyup_cond;

	struct node_shard shards[NODE_SHARDS];
	uint64_t node_limit; /* nodes to have in memory */
	_Atomic uint64_t
		sweep_at; /* how many nodes make the next sweep due; UINT64_MAX: under way */
	struct node *root;
	struct rdir **root_stack; /* roots of the merged lowers: [layer - 1] */
	struct rdir *upper_root;
	struct mutex rdir_lock; /* RANK_RDIR */
	struct fdcache fds;

	struct mutex listings_lock;  /* RANK_LISTINGS */
	struct listinglist listings; /* most recently used first */
	size_t listings_bytes, listings_limit;
	size_t listing_max; /* names in one */
	_Atomic unsigned large_windows;

	struct user users[4];
	_Atomic unsigned n_users;

	struct uppermap *uppermap; /* made on the first cold need; origins_lock */
	struct mutex origins_lock; /* RANK_MAP */
	struct cond dirs_cond;
	unsigned dirs_busy; /* of upper's directories, how many are being looked up; origins_lock */
	unsigned dirs_waiting; /* how many of these by threads that wait for others; origins_lock */
	bool inside_known;     /* the numbers in lower layers are gathered; origins_lock */
	int64_t inside_since;  /* ... at this time, in seconds */

	_Atomic uint64_t stat_copyups, stat_copyup_bytes, stat_whiteouts, stat_orphans;
	_Atomic uint64_t forgotten; /* nodes freed since memory was last given back */
	_Atomic uint64_t stat_nodes, stat_node_bytes;
	uint64_t root_ino_id; /* the id that gives the root's st_ino */
};

/* node.c */
int nodes_init(struct lam_stack *s);
void nodes_destroy(struct lam_stack *s);
/* Bound the table if it has grown over its limit.  No lock may be held. */
void nodes_check(struct lam_stack *s);
struct node *node_find(struct lam_stack *s, uint64_t id); /* referenced, or NULL */
struct node *node_ref(struct node *n);
void node_put(struct lam_stack *s, struct node *n);
/* The node of ID, made with the given type if there is none; *RET_NEW.  Referenced. */
struct node *node_obtain(struct lam_stack *s, uint64_t id, uint32_t mode, bool *ret_new);
/* The same for an object that is known to be new: a dead node with its number makes way. */
struct node *node_fresh(struct lam_stack *s, uint64_t id, uint32_t mode, bool *ret_new);
/* Take a dead node out of the table; it is freed with its last reference. */
void node_retire(struct lam_stack *s, struct node *n);
struct node_extra *node_extra(struct node *n); /* made on demand; NULL: no memory */
/* Remember where it was seen.  Takes n->lock. -ENOMEM */
int node_set_location(struct lam_stack *s, struct node *n, struct node *parent, const char *name);
bool node_has_location(struct node *n, const struct node *parent, const char *name);
/* If that is the name on record: note that it is removed while others remain, or that it is back. */
void node_name_gone(struct node *n, const struct node *parent, const char *name, bool gone);
/* The same with a NAME that is allocated, and the node's from here on: it cannot fail. */
void node_take_location(struct lam_stack *s, struct node *n, struct node *parent, char *name);
static inline uint32_t node_mode_type(const struct node *n)
{
	return (uint32_t)n->type << 12;
}
static inline bool node_is_dir(const struct node *n)
{
	return n->dir != NULL;
}
static inline bool node_is_upper(const struct node *n)
{
	return n->layer == LAYER_UPPER;
}

/* Where an object's real inode is reached: NAME in DIRFD, or DIRFD itself when NAME is "". */
struct place {
	int dirfd;
	struct fdent *pin; /* of dirfd, or NULL */
	int owned;	   /* of dirfd if it is to be closed; else -1 */
	char name[LAM_NAME_MAX + 1];
	uint64_t ino; /* what must be found there */
	uint16_t layer;
};
#define PLACE_NONE                       \
	{                                \
		.dirfd = -1, .owned = -1 \
	}
int node_place(struct lam_stack *s, struct node *n, struct place *ret);
void place_done(struct lam_stack *s, struct place *p);
/* The status of the topmost real inode, checked to be the right one.  -ESTALE */
int node_statx(struct lam_stack *s, struct node *n, struct statx *ret);
/* A new descriptor of the topmost real inode (not its data file where they differ). */
int node_open(struct lam_stack *s, struct node *n, int flags);
/* By O_PATH, but for what can be opened for reading where no /proc leads from there to the inode: then
 * attributes can be set by it. */
int node_open_marks(struct lam_stack *s, struct node *n);
/* An attribute to be set, or, without a value, removed. */
struct node_mark {
	const char *name;
	const void *value;
	size_t size;
	int flags;
};
/* Of N, which FD is; where that cannot be by FD, by its name, with its directory locked. */
int node_set_mark(struct lam_stack *s, struct node *n, int fd, const struct node_mark *m);
/* Resolve ID to a referenced node, cached or not.  -ESTALE */
int node_get(struct lam_stack *s, uint64_t id, struct node **ret);
/* The same, and it must be a directory: -ENOTDIR. */
int node_get_dir(struct lam_stack *s, uint64_t id, struct node **ret);

/* stack.c */
/* Whether a directory, given by device and number, is one that is looked for. */
typedef bool (*climb_fn)(void *ctx, dev_t dev, uint64_t ino);
/* Go from directory FD up to the root of the system until FN matches: 1, 0 (nowhere) or -errno. */
int dir_climb(int fd, climb_fn fn, void *ctx);

/* fsys.c */
/* Whether handles of a filesystem of this type hold the inode number where fid_inode() looks for it.
 * Types of handles are no proof: FUSE uses the number that xfs has. */
bool fsys_known_layout(uint64_t f_type);
struct fsys *fsys_by_dev(struct lam_stack *s, dev_t dev);
/* The filesystem of FD, a directory with this status: a layer's root, or (HOST: the layer's filesystem) a
 * subvolume met inside one. */
struct fsys *fsys_add(struct lam_stack *s, int fd, const struct statx *st, struct fsys *host);
/* The same for what may be known already; NULL if there are too many. */
struct fsys *fsys_met(struct lam_stack *s, int fd, const struct statx *st, struct fsys *host);
/* The filesystem that a stored handle is of, or NULL. */
struct fsys *fsys_by_fh(struct lam_stack *s, const struct fh_view *v);
void fsys_finish(struct lam_stack *s);
void fsys_destroy(struct lam_stack *s);
static inline dev_t statx_dev(const struct statx *st)
{
	return ((dev_t)st->stx_dev_major << 32) | st->stx_dev_minor;
}
uint64_t id_make(struct lam_stack *s, struct fsys *fs, uint64_t ino, bool born_upper);
/* Whether an id means the same object after a new start. */
bool id_lasts(uint64_t id);
/* The st_ino of an id. */
uint64_t id_ino(const struct lam_stack *s, uint64_t id);
/* The real inode number of an id, and its filesystem (NULL if there is none). */
uint64_t id_real_ino(struct lam_stack *s, uint64_t id, struct fsys **ret_fs);
/* The generation of NAME ("" for FD itself), 0 if the filesystem has none; the handle when RET is given. */
/* The generation that a birth time makes; 0 never. */
uint32_t birth_generation(const struct statx *st);
uint32_t fsys_generation(struct lam_stack *s, struct fsys *fs, int fd, const char *name,
			 struct sys_handle *ret);
int fsys_fh(struct lam_stack *s, struct fsys *fs, int fd, const char *name, bool path_upper,
	    struct fh *ret);

/* ovlxattr.c: the overlay's own attributes */
struct ovl_xattrs { /* what one listxattr found */
	bool opaque, opaque_x, redirect, metacopy, origin, impure, whiteout, nlink, protattr, upper;
	bool fuse_origin;
};
/* Which overlay attributes NAME in DIRFD has; LAYER tells which prefixes count. */
int ovl_scan(struct lam_stack *s, uint16_t layer, int dirfd, const char *name,
	     struct ovl_xattrs *ret);
ssize_t ovl_get(struct lam_stack *s, int dirfd, const char *name, const char *attr, void *value,
		size_t size);
int ovl_set(struct lam_stack *s, int dirfd, const char *name, const char *attr, const void *value,
	    size_t size);
int ovl_remove(struct lam_stack *s, int dirfd, const char *name, const char *attr);
int ovl_get_redirect(struct lam_stack *s, int dirfd, const char *name, char **ret);
int ovl_get_origin(struct lam_stack *s, int dirfd, const char *name, struct fh *ret);

/* lookup.c */
struct found {
	uint32_t type;	      /* S_IFMT; 0: nothing is visible */
	uint16_t layer;	      /* of the topmost */
	bool upper_whiteout;  /* upper hides the name with a whiteout that is a file */
	bool upper_dot_wh;    /* ... with `.wh.NAME` */
	bool upper_dead_file; /* ... with an xattr whiteout */
	struct statx st;      /* of the topmost */
	/* Directories. */
	struct rdir *upper;
	struct rdir **lower;
	uint16_t n_lower, cap_lower;
	uint64_t bottom_ino; /* of the lowest part, which gives the identity */
	dev_t bottom_dev;
	uint32_t bottom_birth; /* generation by its birth */
	bool have_bottom;
	bool opaque; /* upper part hides what is below */
	bool has_redirect;
	/* Others. */
	bool origin_known;
	struct fsys *origin_fs;
	uint64_t origin_ino;
	uint32_t origin_generation;
	struct sys_handle origin_handle;
	bool recorded; /* by a record: ORIGIN_GENERATION is the object's */
	bool metacopy, protattr;
	struct rdir *data_dir;
	char *data_name, *data_path;
	uint32_t generation;
	char *index_name; /* found through the index: the entry's name */
	bool indexed, index_only;
	struct statx lower_st; /* of the lower inode behind an index entry */
	int32_t nlink_adjust;
	bool lower_links, by_name;
};
void found_done(struct lam_stack *s, struct found *f);
/* What NAME is in directory D.  Caller holds D's lock.  0 also where nothing is there (type 0). */
int lookup_locked(struct lam_stack *s, struct node *d, const char *name, struct found *f);
/* The node of what was found.  Caller holds D's lock.  Referenced. */
int lookup_node_locked(struct lam_stack *s, struct node *d, const char *name, struct found *f,
		       struct node **ret);
/* Both, and fill in an entry; -ENOENT if nothing is there.  RET_NODE may be NULL. */
int lookup_entry_locked(struct lam_stack *s, struct node *d, const char *name,
			struct lam_entry *ret, struct node **ret_node);
/* Whether a lower layer shows NAME below upper.  Caller holds D's lock. 0, 1 or -errno */
int lookup_lower_positive(struct lam_stack *s, struct node *d, const char *name);
bool lookup_is_whiteout(struct lam_stack *s, uint16_t layer, int dirfd, const char *name,
			const struct statx *st);
int lookup_origin(struct lam_stack *s, const struct fh *fh, struct found *f);
int name_check(struct lam_stack *s, const char *name, bool create);

/* dirlist.c: building merged listings */
/* Make D's listing if it is due (or NOW); 0 with d->dir->listing set or NULL (too big). Lock held. */
int dirlist_build(struct lam_stack *s, struct node *d, bool now);
void dirlist_drop_locked(struct lam_stack *s, struct node *d);
/* The same for a node that nobody refers to any more; without its lock. */
void dirlist_drop_last(struct lam_stack *s, struct node *d);
void dirlist_touch(struct lam_stack *s, struct listing *l);
/* Keep D's listing in step.  Lock held. */
void dirlist_note_upper(struct lam_stack *s, struct node *d, const char *name, uint32_t mode,
			bool stop);
void dirlist_note_removed(struct lam_stack *s, struct node *d, const char *name, bool whiteout);
/* One pass over a real directory. */
typedef int (*dirscan_fn)(void *ctx, const struct sys_dirent *de);
int dirscan(int fd, dirscan_fn fn, void *ctx);
/* The same without opening it again, for a real directory's cached descriptor: the lock of the directory
 * that it is part of is held, so nobody else moves its position. */
int dirscan_locked(int fd, dirscan_fn fn, void *ctx);
/* 0 if the merged directory is empty, -ENOTEMPTY; *RET_WHITEOUTS: upper has whiteouts. Lock held. */
int dirlist_check_empty(struct lam_stack *s, struct node *d, bool *ret_whiteouts);
/* Remove whiteouts in a real directory that is out of sight. */
int dirlist_clean(struct lam_stack *s, int fd);

/* ---- Windows over big directories: window.c.  The directory's lock is held ---- */

struct window {
	uint64_t after;	      /* the hash from which it goes on */
	unsigned n, capacity; /* fewer than capacity: the directory ends here */
	struct wname {
		uint64_t hash;
		char *name;
	} names[]; /* in the order of hashes */
};

/* The directory's window with the names after the cookie; made where there is none that has them.  It
 * stays with the directory, for the next reading goes on in it. */
int window_at(struct lam_stack *s, struct node *d, uint64_t cookie, struct window **ret);
/* The position of the first name with a hash above COOKIE. */
unsigned window_position(const struct window *w, uint64_t cookie);
void window_drop(struct lam_stack *s, struct dir *dir);
/* A name has come: a window that should have it is no good any more. */
void window_note_added(struct lam_stack *s, struct dir *dir, const char *name);

/* attr.c */
void attr_from_statx(struct lam_stack *s, const struct statx *st, struct lam_attr *ret);
/* alias.c */
void alias_note(struct lam_stack *s, const struct node *n, uint64_t ino);
uint64_t alias_of(struct lam_stack *s, uint64_t upper_id);
void alias_forget(struct lam_stack *s, const struct node *n);
/* What st_ino shows. */
uint64_t attr_ino(struct lam_stack *s, struct node *n);
int attr_of_node(struct lam_stack *s, struct node *n, const struct statx *st, struct lam_attr *ret);
int attr_get(struct lam_stack *s, struct node *n, struct lam_attr *ret);
/* Clear set-uid, set-gid and file capabilities of the file behind FD. */
int attr_kill_priv(struct lam_stack *s, int fd, const struct statx *st, uint32_t caller_gid);
int attr_protect(struct lam_stack *s, struct node *n, unsigned *ret_protattr);
/* -EPERM if an immutable (or append-only) file forbids a change. */
int attr_check_change(struct lam_stack *s, struct node *n, bool append_ok);

/* copyup.c */
int copyup(struct lam_stack *s, const struct lam_call *call, struct node *n);
/* With at least the first SIZE bytes of its data. */
int copyup_data(struct lam_stack *s, const struct lam_call *call, struct node *n, uint64_t size);
/* The same for a write: of a big file it may only be begun, which returns 1 (behind.h). */
int copyup_behind(struct lam_stack *s, const struct lam_call *call, struct node *n);
int copyup_set_impure(struct lam_stack *s, struct node *d);
int copyup_keep_data(struct lam_stack *s, struct node *n);

/* link.c */
/* N's NAME in directory D must exist in upper (an index-only alias gets its link). D is upper, locked. */
int link_name_locked(struct lam_stack *s, struct node *d, const char *name, struct node *n);

/* index.c */
int index_open(struct lam_stack *s);
bool index_check_orphan(struct lam_stack *s, const char *key, const struct statx *st);
/* The name of the entry of NAME in FD, which has this type. */
int index_key(struct lam_stack *s, struct fsys *fs, int fd, const char *name, uint32_t type,
	      char out[INDEX_NAME_MAX + 1]);
/* Whether an entry is there: 1, 0 or -errno; its status in ST. */
int index_stat(struct lam_stack *s, const char *name, struct statx *st);
/* Visible names of an indexed upper inode. */
int index_settle_nlink(struct lam_stack *s, struct node *n, const struct statx *st);
int index_node_nlink(struct lam_stack *s, struct node *n, const struct statx *st, uint32_t *ret);
int index_key_nlink(struct lam_stack *s, const char *key, const struct statx *st, uint32_t *ret);
int index_write_nlink(struct lam_stack *s, int fd, const char *name, uint32_t visible,
		      uint32_t upper_nlink);
/* The same relative to the lower inode's count, which a link to upper does not change. */
int index_write_nlink_lower(struct lam_stack *s, struct node *n, const char *key, uint32_t visible);
int links_adjust_load(struct lam_stack *s, const char *key, int32_t *ret);
int links_adjust_store(struct lam_stack *s, const char *key, int32_t value);
int index_remove(struct lam_stack *s, struct node *n);
int index_mark_dir(struct lam_stack *s, struct node *n);
/* With nfs_export: an object that a crash left without its entry gets it when it is looked up. 1 if the file
 * NAME in DIRFD has it now, else 0; ST follows. */
int index_adopt_file(struct lam_stack *s, int dirfd, const char *name, const char *key,
		     struct statx *st);
void index_adopt_dir(struct lam_stack *s, struct node *n);
int index_forget_dir(struct lam_stack *s, struct node *n, const char *key);
int index_whiteout(struct lam_stack *s, const char *key);
int index_node_key(struct lam_stack *s, struct node *n, char out[INDEX_NAME_MAX + 1]);

/* record.c */
int record_open(struct lam_stack *s);
/* Whether an upper object of this type, no directory, cannot carry the attribute. */
bool record_needed(const struct lam_stack *s, uint32_t type);
/* Record what N is, for the upper copy NAME in DIRFD that is to get its names.  TEXT gets the record, "" where
 * none is needed or possible. */
int record_store(struct lam_stack *s, const struct node *n, int dirfd, const char *name,
		 const struct statx *st, char text[ORIGIN_RECORD_LEN + 1]);
/* The record of an upper object, if it has one that is its own. */
bool record_load(struct lam_stack *s, int dirfd, const char *name, const struct statx *st,
		 struct origin_record *ret);
/* Before the last name goes: the record of N's upper inode, or "".  After it: to be dropped. */
void record_peek(struct lam_stack *s, const struct node *n, char text[ORIGIN_RECORD_LEN + 1]);
void record_drop(struct lam_stack *s, uint64_t ino, const char *text);
/* Drop the records of numbers that are not in upper. */
void record_sweep(struct lam_stack *s, bool (*in_upper)(void *ctx, uint64_t ino), void *ctx);

/* special.c */
int special_open(struct lam_stack *s);
bool special_applies(const struct lam_stack *s, uint32_t type);
bool special_key(const char *key);
/* The directory that an entry of this name is in. */
int index_dir(const struct lam_stack *s, const char *key);
/* The name of the entry of what has this handle and type; -EOPNOTSUPP: too long. */
int index_key_of(const struct lam_stack *s, const struct fh *fh, uint32_t type,
		 char out[INDEX_NAME_MAX + 1]);
/* What stands beside an entry, before it is there; its count; and after it is gone. */
int special_prepare(struct lam_stack *s, const char *key, uint64_t ino, const char *nlink);
int special_write_nlink(struct lam_stack *s, const char *key, const char *nlink);
ssize_t special_read_nlink(struct lam_stack *s, const char *key, char *value, size_t size);
void special_forget(struct lam_stack *s, const char *key, uint64_t ino);
/* The entry of an upper inode, if it has one. */
bool special_find(struct lam_stack *s, const struct statx *st, char key[INDEX_NAME_MAX + 1]);

/* workdir.c */
/* Empty a directory of ours, however deep, but for the name KEEP (may be NULL). */
int work_wipe(int fd, const char *keep);

/* work.c */
int work_open(struct lam_stack *s, const struct lam_config *config);
void work_close(struct lam_stack *s);
void work_temp_name(struct lam_stack *s, char out[32]);
/* Hide NAME in the real directory DIRFD of upper, where nothing must be in upper. */
int work_whiteout(struct lam_stack *s, int dirfd, const char *name);
/* Put a whiteout over an existing non-directory NAME. */
int work_whiteout_over(struct lam_stack *s, int dirfd, const char *name);
/* A temporary name for what will be VICTIM, an object that is in use (or NULL), and on its way to the orphans. */
void work_victim_name(struct lam_stack *s, const struct node *victim, char out[32]);
#define WORK_VICTIM_INO UINT64_C(0xfffffffffffff) /* what of an inode number has room there */
/* Whether NAME was given by that, and inode INO is the one that was meant. */
bool work_is_victim(const char *name, uint64_t ino, uint64_t *ret_id);
/* Put a whiteout in place of NAME, whose remains go to the work directory as TEMP.  VICTIM: as above. */
int work_whiteout_exchange(struct lam_stack *s, const struct node *victim, int dirfd,
			   const char *name, char temp[32]);
/* Remove a whiteout, of either kind. */
int work_unwhiteout(struct lam_stack *s, int dirfd, const char *name, bool dot_wh);
/* Put TEMP of the work directory in place of NAME, which goes to the work directory as the new TEMP. */
int work_replace(struct lam_stack *s, int dirfd, const char *name, char temp[32]);
/* Make a whiteout under NAME itself one of the kind `.wh.NAME`. */
int work_whiteout_to_dot(struct lam_stack *s, int dirfd, const char *name);
/* Move a name out of sight: kept as an orphan of node N, which is in use. */
int work_orphan(struct lam_stack *s, struct node *n, int dirfd, const char *name,
		bool leave_whiteout);
void work_orphan_name(uint64_t id, char out[32]);
int work_orphan_drop(struct lam_stack *s, struct node *n);
void work_left_orphan_drop(struct lam_stack *s, uint64_t id);
/* The entry NAME of an index becomes an orphan of ID, of which nothing is cached. */
int work_orphan_entry(struct lam_stack *s, uint64_t id, int dirfd, const char *name,
		      bool leave_whiteout);
/* Remove a temporary file or directory with what is in it. */
void work_discard(struct lam_stack *s, const char *name, bool dir);
bool stack_in_use(struct lam_stack *s, uint64_t id);

/* names.c: one change at a time of the names of one file */
struct names_lock {
	struct mutex *first, *second; /* NULL: not taken */
};
/* Hold the names of A and B, which may be NULL or directories (of which nothing is held).  The caller
 * holds the directories of the names that it is about to change. */
struct names_lock names_lock(struct lam_stack *s, const struct node *a, const struct node *b);
void names_unlock(struct names_lock *lock);
/* What was seen of a file's names after names_seen() is still true under its lock if names_changed()
 * says so. */
static inline uint64_t names_seen(struct lam_stack *s)
{
	return atomic_load(&s->names_seq);
}
static inline bool names_changed(struct lam_stack *s, uint64_t seen)
{
	return atomic_load(&s->names_seq) != seen;
}
/* Before the lock is given back: the number of a file's names, or where they are, has changed. */
static inline void names_note(struct lam_stack *s)
{
	atomic_fetch_add(&s->names_seq, 1);
}

/* create.c */
struct newobj {
	uint32_t mode, major, minor;
	const char *target; /* symlinks */
	const struct lam_call *call;
};
int create_in(struct lam_stack *s, struct node *d, const char *name, const struct newobj *o,
	      struct lam_entry *ret);

/* remove.c */
/* A name about to go. */
struct drop {
	struct node *n;
	bool in_upper;		      /* the name is in upper */
	bool lower_positive;	      /* a lower layer shows the name: a whiteout is needed */
	bool in_use;		      /* some client refers to the object */
	bool last;		      /* no name will be left */
	uint32_t names;		      /* visible ones before; not for directories */
	uint32_t upper_nlink;	      /* of an indexed inode whose name is only below; else 0 */
	char key[INDEX_NAME_MAX + 1]; /* of the index, where it has to be told; "" otherwise */
	char record[ORIGIN_RECORD_LEN + 1]; /* of its origin, if it has one */
	int pin;	/* keeps the upper inode's number from being used again, or -1 */
	unsigned begun; /* its slot in workdir/lamina/begun, from 1, or 0 */
};
int drop_begin(struct lam_stack *s, struct node *d, const char *name, const struct found *f,
	       struct node *n, struct drop *ret);
/* Before a name goes: keep a way to the inode if other names remain. */
int drop_keep_way(struct lam_stack *s, struct node *d, const char *name, struct drop *w);
/* Just before it goes: until drop_unpin() the number of the upper inode is not used again.  A new object with the
 * number of one that is not yet known to be gone would be taken for that one, and go with it. */
int drop_pin(struct drop *w, int dirfd, const char *name);
void drop_unpin(struct drop *w);
/* After the name is gone. */
int drop_end(struct lam_stack *s, struct drop *w);
/* begun.c */
/* Just before NAME of the upper directory DIRFD goes: who opens the layers after a kill tells the index. */
void begun_note(struct lam_stack *s, int dirfd, const char *name, struct drop *w);
/* The index is told, or the name has stayed. */
void begun_clear(struct lam_stack *s, struct drop *w);
/* When the index is open: finish what the process before had begun. */
int begun_open(struct lam_stack *s);
/* When no lock is held any more: what was kept for a user that has meanwhile let it go. */
void drop_unused(struct lam_stack *s, struct node *n);
/* Put a clean opaque directory, which is like the other otherwise, in place of an empty one that has whiteouts
 * in it or is in use; that one goes to the work directory as TEMP.  Then one of the others. */
int remove_clear_dir(struct lam_stack *s, int dirfd, const char *name, const struct drop *w,
		     char temp[32]);
void remove_clear_undo(struct lam_stack *s, int dirfd, const char *name, char temp[32]);
void remove_clear_done(struct lam_stack *s, const char *temp, struct drop *w);

/* rename.c */
/* The redirect that N needs: relative for another name in the same directory, else absolute.
 * Caller holds rename_lock. */
int rename_set_redirect(struct lam_stack *s, struct node *n, bool same_parent);

/* perm.c */
int perm_to_outside(struct lam_stack *s, uint32_t uid, uint32_t gid, uint32_t *ruid,
		    uint32_t *rgid);
/* Change the owner in the layer; what the server may not change and nobody is shown stays as it is. */
int perm_chown(struct lam_stack *s, int fd, const char *name, uint32_t uid, uint32_t gid);
/* Set or remove an attribute of an object of ours whose mode forbids it to an ordinary user. */
int perm_setxattr(struct lam_stack *s, int fd, const char *name, const char *attr,
		  const void *value, size_t size, int flags);
int perm_removexattr(struct lam_stack *s, int fd, const char *name, const char *attr);
/* Who owns what CALL makes. */
void perm_creator(struct lam_stack *s, const struct lam_call *call, uint32_t *ruid, uint32_t *rgid);
void perm_to_inside(struct lam_stack *s, struct lam_attr *attr);
int perm_override_apply(struct lam_stack *s, uint16_t layer, int dirfd, const char *name,
			struct lam_attr *attr);
void perm_probe_layer(struct lam_stack *s, uint16_t layer);
int perm_override_store(struct lam_stack *s, int dirfd, const char *name,
			const struct lam_attr *attr);
int perm_acl_map(struct lam_stack *s, void *value, size_t size, bool to_outside);
void perm_thread_init(void);

/* data.c */
int data_fd(struct lam_stack *s, struct node *n, bool write, struct fdent **ret);

/* resolve.c */
int resolve_id(struct lam_stack *s, uint64_t id, struct node **ret);
/* Find a name for a node that is known by handle only.  -ESTALE if it has none. */
int resolve_connect(struct lam_stack *s, struct node *n);
/* The same for what is only below; but a lower file that an earlier process let lose its name while it was in use is dead, which is no error.
 * Takes the rename lock. */
int resolve_connect_or_end(struct lam_stack *s, struct node *n);

/* inside.c */
/* The directory that a walk is in. */
struct walked {
	int fd;
	uint64_t ino;
	struct fsys *fs; /* NULL: there are too many */
	uint8_t type;	 /* DT_* of the name that is looked at */
};
/* DE: a name in it, or NULL when a directory (not the layer's root) is entered. */
typedef int (*walk_fn)(void *ctx, const struct walked *at, const struct sys_dirent *de);
/* Every name of a layer, directory by directory; needs decodable handles.  Ends when FN does not return 0, and
 * returns that.  RET_PARTIAL, if not NULL, is set where a directory could not be entered. */
int walk_layer(struct lam_stack *s, uint16_t layer, walk_fn fn, void *ctx, bool *ret_partial);
/* The path of a real object below the root of LAYER, from the kernel's own knowledge of where FD is. */
int path_below(struct lam_stack *s, int fd, uint16_t layer, char **ret);
/* Whether a layer lies on FS, or FS is a subvolume that may be inside it. */
bool layer_has_fs(const struct lam_stack *s, uint16_t layer, const struct fsys *fs);
/* Whether a file that was found by its number is in a lower layer: 1, 0 or -errno. */
int inside_lower(struct lam_stack *s, uint64_t id, struct fsys *fs, uint64_t ino,
		 const struct sys_handle *h);

/* uppermap.c */
/* Whether upper has this inode: 1, 0 or -errno. */
int uppermap_has(struct lam_stack *s, struct fsys *fs, uint64_t ino, uint32_t *ret_generation);
/* The upper inode that came from ID, as the id that it has as born in upper: 1, 0 or -errno. */
int uppermap_origin(struct lam_stack *s, uint64_t id, uint64_t *ret_upper,
		    uint32_t *ret_generation);
/* A directory of upper whose identity the map does not know yet; false: there is none (left). */
bool uppermap_next_dir(struct lam_stack *s, struct sys_handle *ret);
/* It was looked up, and noted if it is there. */
void uppermap_dir_done(struct lam_stack *s);
/* Wait for those that other threads are looking up; OWN are this thread's. */
void uppermap_await_dirs(struct lam_stack *s, unsigned own);
int uppermap_lower_generation(struct lam_stack *s, uint64_t id, uint32_t *ret);
/* N is in upper from now on. */
void uppermap_note(struct lam_stack *s, const struct node *n, uint64_t ino, uint32_t generation);
/* N's upper inode is removed. */
void uppermap_gone(struct lam_stack *s, const struct node *n);
void uppermap_destroy(struct lam_stack *s);

/* A node held for the length of a scope. */
struct held {
	struct lam_stack *s;
	struct node *n;
};
static inline void heldp(struct held *h)
{
	if (h->n)
		node_put(h->s, h->n);
}
#define HELD(var, stack) __attribute__((cleanup(heldp))) struct held var = { (stack), NULL }

#endif

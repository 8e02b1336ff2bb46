/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The differential test: the same layers twice, the same random operations on both, one mounted by
 * Linux's overlayfs and the other by Lamina, compared step by step.  README.md tells of the parts.
 *
 * Processes: main -> one worker for each job -> for each run one actor for each of ACTORS callers.
 * A worker hands a turn to one actor at a time; what they share lies in struct shared.
 */
#ifndef DIFFERENTIAL_H
#define DIFFERENTIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/types.h>

enum {
	ACTORS = 4,
	SLOTS = 8,    /* descriptors that an actor keeps */
	MAPS = 4,     /* mappings that an actor keeps */
	HANDLES = 4,  /* file handles that an actor keeps */
	LAYERS = 8,   /* 0 is upper */
	AT_ROOT = -1, /* op.at: the root of the mount */
	AT_CWD = -2,  /* op.at: the actor's current directory */
};

/* ---- Scripts ---- */

struct str {
	char *p;
	size_t len;
};

/* One step: of building a layer, or of the run.  ops.c says which fields each code uses. */
struct op {
	uint8_t code;
	uint8_t actor;
	int fd, fd2;
	int at, at2;
	struct str path, path2, text;
	uint64_t a, b, c, d;
};

struct oplist {
	struct op *v;
	size_t n, room;
};

struct config {
	uint64_t seed;
	char fs[8];	 /* ext4, xfs, or mixed: upper on ext4 and lowers on xfs */
	unsigned lowers; /* those that are merged */
	unsigned datas;	 /* those that hold data only */
	bool userxattr, index, nfs_export, metacopy, volatile_;
	char redirect[12], xino[8];
};

struct script {
	struct config cfg;
	struct oplist layers, ops;
	struct arena *arena;
};

struct script *script_new(void);
void script_free(struct script *s);
struct op *script_add(struct oplist *list, const struct op *op);
struct str script_str(struct script *s, const void *p, size_t len);
/* Text form; script_read() returns NULL and says why on stderr. */
void script_write(const struct script *s, FILE *f);
void op_write(const struct op *op, bool layer, FILE *f);
struct script *script_read(const char *path);
const char *config_options(const struct config *cfg, char *buf, size_t size);
bool op_writes_open(const struct op *op);

/* ---- What is seen ---- */

/* W_LED: what a symlink that is the target leads to. */
enum where {
	W_CALL,
	W_FD,
	W_TARGET,
	W_PARENT,
	W_TARGET2,
	W_PARENT2,
	W_LED,
	W_TREE,
	W_UPPER,
	W_COUNT
};

#define TAGS(X)                       \
	X(RET, "ret")                 \
	X(ERRNO, "errno")             \
	X(MODE, "mode")               \
	X(UID, "uid")                 \
	X(GID, "gid")                 \
	X(NLINK, "nlink")             \
	X(SIZE, "size")               \
	X(INO, "inode number")        \
	X(RDEV, "rdev")               \
	X(BLKSIZE, "blksize")         \
	X(BLOCKS, "blocks")           \
	X(ATTRS, "attributes")        \
	X(ATIME, "atime")             \
	X(MTIME, "mtime")             \
	X(CTIME, "ctime")             \
	X(MTIME_MOVED, "mtime moved") \
	X(CTIME_MOVED, "ctime moved") \
	X(DATA, "data")               \
	X(POS, "position")            \
	X(TARGET, "link target")      \
	X(NAME, "entry")              \
	X(D_INO, "d_ino of entry")    \
	X(XATTR, "xattr")             \
	X(GROUP, "hard link of")      \
	X(VALUE, "value")             \
	X(HANDLE, "handle of")        \
	X(IMPURE, "impure mark needed")

enum tag {
#define X(id, name) TAG_##id,
	TAGS(X)
#undef X
		TAG_COUNT
};

/* One thing that was seen.  A key (an entry's or attribute's name) makes it one of a sorted set. */
struct field {
	uint8_t where, tag;
	uint32_t key, key_len;
	uint64_t value;
};

/* In the value of an entry: it is listed, but cannot be looked up, or not by this caller. */
enum { PHANTOM = 0x100 };

enum { REC_FIELDS = 4096, REC_BYTES = 512 << 10 };

struct rec {
	size_t n, used;
	struct field f[REC_FIELDS];
	char bytes[REC_BYTES];
};

void rec_clear(struct rec *r);
void rec_put(struct rec *r, enum where w, enum tag t, uint64_t value);
void rec_put_key(struct rec *r, enum where w, enum tag t, struct str key, uint64_t value);
/* Sort the fields with keys from FIRST on. */
void rec_sort(struct rec *r, size_t first);
bool rec_get(const struct rec *r, enum where w, enum tag t, uint64_t *value);
uint64_t rec_value(const struct rec *r, enum where w, enum tag t, uint64_t other);

/* ---- A run ---- */

/* What an object's times were when last seen: tells whether a step moved them. */
struct seen {
	uint64_t ino;
	int64_t mtime, ctime, btime;
};

enum { SEEN_SIZE = 1 << 14, RULES_MAX = 80, TEXT_MAX = 4096, OPENED_MAX = 4096 };

struct side {
	unsigned number; /* 0 or 1: whose layers */
	bool kernel;	 /* who has it mounted */
	char base[64], mnt[80];
	int root, cwd;
	int fd[SLOTS];
	void *map[MAPS];
	size_t map_len[MAPS];
	int map_fd[MAPS]; /* O_PATH, to ask for the size; only while it is mapped */
	struct {
		int type;
		unsigned len;
		unsigned char bytes[128];
	} handle[HANDLES];
	pid_t server;
};

/* What both sides of an actor's slot have in common. */
struct slot {
	int flags;
	bool dir;
	bool odd; /* a difference that is meant was seen through it: it is closed */
};

/* Memory that worker and actors share. */
struct shared {
	uint32_t turn;	   /* futex: 0 the worker's, i+1 the actor's */
	uint32_t progress; /* steps done, for the watchdog */
	uint32_t next, last;
	bool closing; /* the turn is for letting go of everything */
	bool failed;
	uint32_t guarded;  /* how often something was made immutable or append-only */
	unsigned remounts; /* of this run; caches that were dropped count */
	uint64_t
		reclaims; /* how often the machine had taken memory from caches when the run began */
	unsigned swaps;	  /* of these, where each has mounted what the other left */
	bool refused_name; /* one was listed that may not be followed, and is known from before */
	bool odd_change;   /* the kernel has refused a change of a lower file that was unlinked */
	bool over; /* a difference that is meant cannot be set right: the run ends without one */
	unsigned mounted; /* number of the mount, so that actors open the roots again */
	bool kernel[2];	  /* who serves which side */
	char what[TEXT_MAX];
	char kind[128]; /* the same for the same kind of failure */
	int64_t start_ns;
	struct seen seen[2][SEEN_SIZE];
	uint64_t opened[OPENED_MAX]; /* objects of the kernel's that were opened for writing */
	size_t n_opened;
	uint64_t mapped[OPENED_MAX]; /* those that were written through a mapping */
	size_t n_mapped;
	uint64_t maps[ACTORS]
		     [MAPS]; /* of each mapping that is there: the kernel's number of the object */
	uint64_t
		refused[OPENED_MAX]; /* hashes of the names in paths of renames that were refused */
	size_t n_refused;
	uint64_t rules[RULES_MAX];
	uint64_t ops_done;
};

/* Where a worker has its images; what a run needs of it. */
struct place {
	char dir[48];
	const char *program; /* of Lamina; NULL: the kernel on both sides */
	const char *only;    /* when not NULL, the one filesystem */
	unsigned seconds;    /* of a step, before it counts as hung */
	bool keep_log;
};

struct run {
	const struct script *script;
	const struct place *place;
	struct shared *sh;
	struct side side[2];
	/* an actor's own */
	unsigned actor;
	struct slot slot[SLOTS];
	uint32_t guarded;
	int map_flags[MAPS];
	/* differences that are meant, and set right after the step */
	bool fd_times, path_times, parent_times[2], fd_mode, path_mode;
	struct rec *rec[2];
};

/* What a comparison of two records is about; rules look at it. */
struct difference {
	struct run *run;
	const struct op *op; /* NULL: a whole tree or layer */
	const char *path;    /* then: of what */
	enum where where;
	enum tag tag;
	const char *key;
	size_t key_len;
	bool has_k, has_l; /* whether the kernel and Lamina have the field */
	uint64_t k, l;
	const struct rec *kr, *lr;
};

/* True if the records are equal but for what rules allow; else the difference is told. */
bool compare_records(struct run *run, const struct op *op, const char *path);
void run_fail(struct run *run, const char *kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The path of differences in the index: no path in a layer is like it. */
#define INDEX_PATH "//index"

/* facts.c */
uint64_t cache_reclaims(void);
void note_refused_rename(struct shared *sh, const struct op *op);
void note_moved(struct shared *sh, const struct op *op);

/* rules.c */
bool rules_allow(const struct difference *d);
const char *rule_name(size_t i);
size_t rules_count(void);
/* A rule that does not come from a comparison of fields fired. */
void rule_fired(struct run *run, const char *name);

/* ops.c: the table of steps */
struct op_info {
	const char *name, *spec;
	unsigned observe; /* 1 << enum where */
	long (*call)(struct run *run, struct side *s, const struct op *op, struct rec *r);
};
extern const struct op_info op_table[];
extern const struct op_info layer_table[];

/* clang-format off */
#define OPS(X)                                                                                     \
	X(open, OPEN)                                                                              \
	X(close, CLOSE)                                                                            \
	X(read, READ)                                                                              \
	X(pread, PREAD)                                                                            \
	X(write, WRITE)                                                                            \
	X(pwrite, PWRITE)                                                                          \
	X(readv, READV)                                                                            \
	X(writev, WRITEV)                                                                          \
	X(lseek, LSEEK)                                                                            \
	X(truncate, TRUNCATE)                                                                      \
	X(ftruncate, FTRUNCATE)                                                                    \
	X(fallocate, FALLOCATE)                                                                    \
	X(copy_file_range, COPY_RANGE)                                                             \
	X(sendfile, SENDFILE)                                                                      \
	X(splice, SPLICE) X(fsync, FSYNC) X(fdatasync, FDATASYNC) X(syncfs, SYNCFS) X(             \
		fadvise,                                                                           \
		FADVISE) X(mmap, MMAP) X(mread, MREAD) X(mwrite, MWRITE) X(msync, MSYNC) X(munmap, \
											   MUNMAP) \
		X(link, LINK) X(linkfd, LINKFD) X(symlink, SYMLINK) X(readlink, READLINK) X(       \
			mknod, MKNOD) X(mkdir, MKDIR) X(unlink,                                    \
							UNLINK) X(rmdir, RMDIR) X(rename,          \
										  RENAME) X(chmod, \
											    CHMOD) \
			X(fchmod, FCHMOD) X(chown, CHOWN) X(fchown, FCHOWN) X(utimens, UTIMENS) X( \
				futimens,                                                          \
				FUTIMENS) X(setxattr,                                              \
					    SETXATTR) X(fsetxattr,                                 \
							FSETXATTR) X(getxattr,                     \
								     GETXATTR) X(fgetxattr,        \
										 FGETXATTR)        \
				X(listxattr, LISTXATTR) X(flistxattr, FLISTXATTR) X(               \
					removexattr,                                               \
					REMOVEXATTR) X(fremovexattr,                               \
						       FREMOVEXATTR) X(stat, STAT) X(fstat, FSTAT) \
					X(statfs, STATFS) X(access, ACCESS) X(list, LIST) X(       \
						readdir, READDIR) X(flock, FLOCK)                  \
						X(lock, LOCK) X(getlk, GETLK) X(                   \
							getflags,                                  \
							GETFLAGS) X(setflags,                      \
								    SETFLAGS) X(getfsx, GETFSX)    \
							X(setfsx, SETFSX) X(handle, HANDLE) X(     \
								openhandle,                        \
								OPENHANDLE) X(chdir, CHDIR)        \
								X(umask,                           \
								  UMASK) X(check, CHECK)           \
									X(remount, REMOUNT)        \
										X(drop, DROP)
/* clang-format on */

enum op_code {
#define X(lower, upper) OP_##upper,
	OPS(X)
#undef X
		OP_COUNT
};

enum layer_code {
	LY_DIR,
	LY_FILE,
	LY_SYMLINK,
	LY_NODE,
	LY_LINK,
	LY_ATTR,
	LY_XATTR,
	LY_FLAGS,
	LY_TIME,
	LY_ORIGIN,
	LY_COUNT
};

#define X(lower, upper) \
	long do_##lower(struct run *run, struct side *s, const struct op *op, struct rec *r);
OPS(X)
#undef X

/* ops_common: what the executors share */
int op_dir(const struct side *s, int at);
int op_enter(const struct side *s, int at);
int op_fd(const struct side *s, int slot);
void op_unmap(struct side *s, int slot);
char *op_buffer(void); /* of OP_BUFFER bytes */
void op_fill(char *p, size_t n, uint64_t seed);
enum { OP_BUFFER = 1 << 20 };

/* look.c: what an object looks like */
void look_stat(struct run *run, const struct side *s, struct rec *r, enum where w,
	       const struct statx *sx);
int look_at(struct run *run, const struct side *s, struct rec *r, enum where w, int dirfd,
	    const char *path, unsigned flags);
void look_xattrs(struct rec *r, enum where w, int dirfd, const char *path);
uint64_t look_hash(const void *p, size_t n);
uint64_t look_content(int fd, uint64_t *ret_len);
bool look_list(int fd, struct rec *r, enum where w, bool numbers, int root);
bool look_listing(struct run *run, const struct side *s, int fd, struct rec *r, enum where w,
		  int root);
bool look_refused(struct run *run, const struct side *s, int error, unsigned tries);

/* tree.c, upper.c: whole trees */
bool tree_compare(struct run *run);
/* Before an unmount: compare, and copy up on both sides what was opened for writing. */
bool tree_settle(struct run *run);
bool upper_compare(struct run *run);
uint64_t lower_print(struct run *run, const struct side *s);

/* build.c */
int layers_build(struct run *run, struct side *s);
void tree_remove(const char *path);

/* mount.c */
int place_make(const struct place *p);
int side_mount(struct run *run, struct side *s);
int side_unmount(struct run *run, struct side *s);
void side_abort(struct side *s);
const char *layer_dir(const struct side *s, unsigned layer, const struct config *cfg, char *buf);
const char *fs_of_layer(const struct config *cfg, unsigned layer);

/* actor.c, run.c */
void actor_main(struct run *run) __attribute__((noreturn));
/* True if nothing differs; else sh->what and sh->kind tell. */
bool run_script(const struct script *s, const struct place *p, struct shared *sh);
void turn_give(struct shared *sh, uint32_t to);
bool turn_wait(struct shared *sh, uint32_t want, unsigned seconds);

/* gen*.c */
struct rng {
	uint64_t x;
};
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);
bool rng_chance(struct rng *r, unsigned percent);
struct names;
void gen_config(struct rng *r, struct config *cfg);
void gen_layers(struct rng *r, struct script *s, struct names *names);
void gen_ops(struct rng *r, struct script *s, struct names *names, size_t n);
struct script *generate(uint64_t seed, size_t n, const char *fs);

/* shrink.c: the shortest script that fails in the same way; frees S */
struct script *shrink(struct script *s, const struct place *p, struct shared *sh);

#endif

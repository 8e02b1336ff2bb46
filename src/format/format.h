/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The on-disk format of Linux's overlayfs, and what others put beside it: bytes <-> structs.
 * No input or output here.  Every decoder takes bytes that nobody has checked.
 * Decoders return 0 or -EINVAL (malformed) or -ENODATA (of a kind that is to be ignored).
 */
#ifndef FORMAT_FORMAT_H
#define FORMAT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- Stored file handles (origin, upper, index names): handle.c ---- */

#define FH_MAX_FID 128u /* MAX_HANDLE_SZ of name_to_handle_at(2) */
#define FH_HEADER 21u
#define FH_MAX (FH_HEADER + FH_MAX_FID)
#define FH_UUID_LEN 16u

/* A stored handle; LEN bytes of BYTES are valid. */
struct fh {
	uint8_t len;
	uint8_t bytes[FH_MAX];
};

/* What a stored handle says.  FID points into the decoded bytes. */
struct fh_view {
	uint8_t type;
	bool path_upper;
	const uint8_t *uuid; /* FH_UUID_LEN bytes */
	const uint8_t *fid;
	size_t fid_len;
	size_t len; /* of the whole handle: what is compared */
};

/* -EOVERFLOW if the fid is too long or the type is not one byte. */
int fh_encode(int type, const uint8_t uuid[FH_UUID_LEN], const void *fid, size_t fid_len,
	      bool path_upper, struct fh *ret);
/* -ENODATA: empty, of a newer version, unknown flags, or of the other byte order; -EINVAL: no handle. */
int fh_decode(const void *bytes, size_t size, struct fh_view *ret);
bool fh_equal(const struct fh *a, const struct fh *b);

/* The inode number and generation inside a raw fid of a known TYPE (ext4 and alike 0x01,
 * xfs 0x81, btrfs 0x4d).  TMPFS tells that type 0x01 has tmpfs's layout (generation, number low,
 * number high).  -ENODATA for other types, -EINVAL for a length that the type does not have. */
int fid_inode(int type, const void *fid, size_t fid_len, bool tmpfs, uint64_t *ret_ino,
	      uint32_t *ret_generation);

/* ---- Index entry names: lower-case hex of the stored handle ---- */

#define INDEX_NAME_MAX (2 * FH_MAX)
/* OUT gets NUL terminated hex. */
void index_name_encode(const struct fh *fh, char out[INDEX_NAME_MAX + 1]);
int index_name_decode(const char *name, struct fh *ret);

/* ---- Redirects ---- */

/* Check a redirect's bytes (LEN, not NUL terminated) by the kernel's rules: relative = one
 * component, absolute = '/' then non-empty components, else -EINVAL; "." and ".." are -EACCES. */
int redirect_check(const char *value, size_t len);
/* The next component of a checked redirect (a relative one is its only component): *POS starts at 0, moves on; false at the end. */
bool redirect_next(const char *value, size_t len, size_t *pos, const char **ret_part,
		   size_t *ret_part_len);

/* ---- metacopy, nlink, protattr ---- */

struct metacopy {
	uint8_t algorithm; /* FS_VERITY_HASH_ALG_*; 0: no digest, DIGEST_LEN is 0 */
	uint8_t digest_len;
	uint8_t digest[64];
};
int metacopy_decode(const void *value, size_t len, struct metacopy *ret);

/* The `nlink` attribute: "U%+d" or "L%+d". */
struct nlink_diff {
	bool lower; /* relative to the lower inode's count, else the upper's */
	int32_t diff;
};
int nlink_decode(const char *value, size_t len, struct nlink_diff *ret);
/* Returns the length. OUT is not NUL terminated by contract but has room for it. */
size_t nlink_encode(const struct nlink_diff *diff, char out[16]);

#define PROTATTR_APPEND 1u
#define PROTATTR_IMMUTABLE 2u
int protattr_decode(const char *value, size_t len, unsigned *ret);
size_t protattr_encode(unsigned attrs, char out[4]);

/* ---- Origins of what can carry no attribute ---- */

#define ORIGIN_RECORD_LEN 43
struct origin_record {
	uint64_t id; /* of the object */
	uint32_t generation;
	uint32_t upper_generation; /* of the upper inode; 0: unknown */
	uint32_t upper_birth;	   /* its birth time, hashed; 0: unknown */
};
int origin_record_decode(const char *text, size_t len, struct origin_record *ret);
void origin_record_encode(const struct origin_record *rec, char out[ORIGIN_RECORD_LEN + 1]);

/* ---- Whiteouts by name ---- */

#define DOT_WH ".wh."
#define DOT_WH_LEN 4u
#define DOT_WH_OPAQUE ".wh..wh..opq"
/* Whether NAME is a whiteout or another marker by name (begins with ".wh."). */
bool name_is_dot_wh(const char *name);
/* The name that a ".wh." file hides, or NULL if it hides none (the opaque marker, AUFS's own). */
const char *dot_wh_target(const char *name);

/* ---- Names of extended attributes ---- */

#define XATTR_TRUSTED_OVL "trusted.overlay."
#define XATTR_USER_OVL "user.overlay."
#define XATTR_FUSE_OVL "user.fuseoverlayfs."
#define XATTR_NAME_LIMIT 255u

enum xattr_class {
	XATTR_PLAIN,   /* passes as it is */
	XATTR_PRIVATE, /* the overlay's own: hidden */
	XATTR_ESCAPED, /* seen from below: an escaped one */
};
/* Classify a name as stored in a layer.  USERXATTR: user.overlay. is the prefix in use. */
enum xattr_class xattr_classify(const char *stored, bool userxattr);
/* The name that a client's NAME is stored under; OUT has XATTR_NAME_LIMIT + 1 bytes.
 * -EOPNOTSUPP if it does not fit; -EPERM for a name that nobody may set (user.fuseoverlayfs.). */
int xattr_escape(const char *name, bool userxattr, char *out);
/* The reverse of an escaped name; OUT as above. */
int xattr_unescape(const char *stored, bool userxattr, char *out);

/* ---- Id maps and override_stat ---- */

struct lam_idmap;
/* "INSIDE:OUTSIDE:LENGTH[:...]", one leading colon allowed.  The caller frees RET->extents.
 * -EINVAL: no such list, overlapping or overflowing ranges. */
int idmap_parse(const char *text, struct lam_idmap *ret);
/* False if the id is not mapped. */
bool idmap_to_outside(const struct lam_idmap *map, uint32_t inside, uint32_t *ret);
bool idmap_to_inside(const struct lam_idmap *map, uint32_t outside, uint32_t *ret);

#define XATTR_OVERRIDE_CONTAINERS "user.containers.override_stat"
#define XATTR_OVERRIDE_FUSE "user.fuseoverlayfs.override_stat"
#define XATTR_OVERRIDE_PRIVILEGED "security.fuseoverlayfs.override_stat"
/* "uid:gid:mode[:type]": mode in octal; type "file", "dir", "symlink", "pipe", "socket",
 * "block-MAJOR-MINOR", "char-MAJOR-MINOR". */
struct override_stat {
	uint32_t uid, gid, mode; /* permission bits */
	uint32_t type;		 /* S_IFMT bits; 0 if the value has none */
	uint32_t rdev_major, rdev_minor;
};
int override_stat_decode(const char *value, size_t len, struct override_stat *ret);
#define OVERRIDE_STAT_MAX 96u
size_t override_stat_encode(const struct override_stat *o, char out[OVERRIDE_STAT_MAX]);

/* ---- Mount options: options.c ---- */

/* Callback for each NAME or NAME=VALUE of a comma separated list.  VALUE is NULL if there is no
 * '='.  Escapes: `\,` and `\054` are a comma inside a value and come unescaped; `\:` and other
 * pairs stay as they are (see layers_split, path_unescape).  A value that is in double quotes may
 * hold commas and comes without the quotes.  Empty options are skipped; -EINVAL: a value without a
 * name.  A negative return of FN ends it and is returned. */
typedef int (*option_fn)(void *ctx, const char *name, const char *value);
int options_split(const char *text, option_fn fn, void *ctx);
/* Split the value of lowerdir= at unescaped colons; `::` starts data-only layers; `\:` and `\\:`
 * are a colon in a path, `\\` a backslash.  The caller frees with layers_free(). -EINVAL as the kernel:
 * leading or trailing colon, `:::`, `:` after `::`. */
struct layer_list {
	char **lower, **data;
	size_t n_lower, n_data;
};
/* The path in the value of upperdir= or workdir=, with the same escapes; the caller frees it. */
int path_unescape(const char *value, char **ret);
int layers_split(const char *value, struct layer_list *ret);
void layers_free(struct layer_list *list);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The differences that are meant: each rule has the name of a row in docs/design/divergences.md, and
 * says as narrowly as it can which difference it lets through.  Nothing else is.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "facts.h"

/* With an index the two copy directories up at different moments, for names that are free. */
static bool nlink_of_directories(const struct difference *d)
{
	uint64_t mode = rec_value(d->lr, d->where, TAG_MODE, 0);
	/* what the kernel has copied up by then is merged, and Lamina has that now */
	bool after_refused_rename = d->run->sh->swaps && d->run->sh->n_refused;

	return d->tag == TAG_NLINK && S_ISDIR(mode) &&
	       (d->k == 1 || d->l == 0 ||
		(d->l == 1 && (d->run->script->cfg.index || after_refused_rename)));
}

static bool block_sizes(const struct difference *d)
{
	/* one for attributes: which of them fit into the inode depends on the order they came in */
	const uint64_t attributes = 4096 / 512;

	return d->tag == TAG_BLOCKS && (d->l <= d->k + attributes || d->run->sh->swaps);
}

/* The kernel's side does not do it where FUSE could not: actor.c. */
static bool copy_between_layers(const struct difference *d)
{
	(void)d;
	return false;
}

static bool collapse_and_insert(const struct difference *d)
{
	(void)d;
	return false;
}

static bool statx_attributes(const struct difference *d)
{
	return d->tag == TAG_ATTRS && d->l == 0;
}

/*
 * A copy-up changes the ctime of the directories around it (the marks `impure` and `origin`), and the
 * two copy up at different moments.  A directory whose names changed has its mtime moved, and that
 * must agree.
 */
static bool ctime_of_copy_up(const struct difference *d)
{
	return d->tag == TAG_CTIME_MOVED && d->op &&
	       S_ISDIR(rec_value(d->lr, d->where, TAG_MODE, 0)) &&
	       !(fact_changes_attributes(d) && d->l == 0);
}

/* FUSE writes a mapping's pages later, and that sets the times, over what was set between. */
static bool times_of_mappings(const struct difference *d)
{
	if (d->tag != TAG_MTIME && d->tag != TAG_MTIME_MOVED && d->tag != TAG_CTIME_MOVED &&
	    d->tag != TAG_CTIME)
		return false;
	return fact_was_mapped(d, d->where);
}

/* The kernel has made the copy when Lamina still has not: at the open. */
static bool open_does_not_copy_up(const struct difference *d)
{
	if (d->tag == TAG_CTIME_MOVED && d->op)
		return op_writes_open(d->op) ? d->k == 1 && d->l == 0
					     : d->l == 1 && fact_was_opened(d, d->where);
	/* without an index the copy is no link any more */
	if (d->tag == TAG_NLINK && !d->run->script->cfg.index && d->where != W_UPPER)
		return d->k == 1 && d->l > 1 && fact_was_opened(d, d->where);
	return false;
}

/* Filling a file that had metadata only in upper sets its mtime in the kernel. */
static bool metacopy_keeps_mtime(const struct difference *d)
{
	/* what may only grow cannot be set right, and stays different */
	if ((d->tag == TAG_MTIME || d->tag == TAG_MTIME_MOVED) && d->run->script->cfg.metacopy &&
	    rec_value(d->kr, d->where, TAG_ATTRS, 0))
		return true;
	/* until it may do more */
	if (d->op && d->op->code == OP_SETFLAGS && d->run->script->cfg.metacopy &&
	    d->where == W_TARGET && (d->tag == TAG_MTIME || d->tag == TAG_MTIME_MOVED) &&
	    rec_value(d->kr, W_TARGET, TAG_MTIME, 0) == 1) {
		d->run->path_times = true;
		return true;
	}
	if (!d->op || !op_writes_open(d->op) || !d->run->script->cfg.metacopy ||
	    (d->where != W_FD && d->where != W_TARGET && d->where != W_LED))
		return false;
	if ((d->tag != TAG_MTIME && d->tag != TAG_MTIME_MOVED) || d->k != 1)
		return false;
	d->run->fd_times = true;
	return true;
}

/*
 * FUSE does not know of immutable and append-only objects: it lets them be opened, and looks at
 * permissions and names first.  Whatever would change something is refused by both.
 */
static bool open_of_immutable(const struct difference *d)
{
	bool attrs = rec_value(d->kr, W_TARGET, TAG_ATTRS, 0) ||
		     rec_value(d->kr, W_PARENT, TAG_ATTRS, 0) ||
		     rec_value(d->kr, W_TARGET2, TAG_ATTRS, 0) ||
		     rec_value(d->kr, W_PARENT2, TAG_ATTRS, 0) ||
		     rec_value(d->kr, W_FD, TAG_ATTRS, 0) ||
		     rec_value(d->kr, W_LED, TAG_ATTRS, 0) ||
		     (d->op && (d->op->code == OP_OPEN || d->op->code == OP_ACCESS) &&
		      S_ISLNK(rec_value(d->kr, W_TARGET, TAG_MODE, 0)));

	uint64_t e = rec_value(d->kr, W_CALL, TAG_ERRNO, 0);

	/* by its handle there is nothing else to look at */
	if (d->op && d->op->code == OP_OPENHANDLE && e == EPERM)
		return true;
	if (!d->op || !attrs || (e != EPERM && !(e == EACCES && d->op->code == OP_MMAP)))
		return false;
	if (d->op->code == OP_OPEN && d->where == W_FD)
		return true;
	if (d->op->code == OP_COPY_RANGE && rec_value(d->lr, W_CALL, TAG_RET, 1) == 0)
		return true; /* there was nothing to copy */
	if (d->tag != TAG_RET && d->tag != TAG_ERRNO)
		return false;
	return d->op->code == OP_OPEN || d->op->code == OP_ACCESS || d->op->code == OP_MMAP ||
	       fact_removes_acl(d->op) || rec_value(d->lr, W_CALL, TAG_ERRNO, 0) != 0;
}

/*
 * A lower file that was unlinked while open: the kernel shows links where none are, and refuses every
 * change with EEXIST.  The descriptor is closed.
 */
static bool unlinked_lower_file(const struct difference *d)
{
	if (d->tag == TAG_NLINK && d->op && d->l == 0 && d->k != 0 &&
	    ((d->where == W_PARENT && d->op->at >= 0) ||
	     (d->where == W_PARENT2 && d->op->at2 >= 0))) {
		/* it stands where a directory should */
		int slot = d->where == W_PARENT ? d->op->at : d->op->at2;

		d->run->slot[slot % SLOTS].odd = true;
		return true;
	}
	if (d->op && d->op->code == OP_FSTAT && rec_value(d->lr, W_CALL, TAG_NLINK, 1) == 0 &&
	    rec_value(d->kr, W_CALL, TAG_NLINK, 0) != 0) {
		fact_slot(d)->odd = true;
		return true;
	}
	if (!d->op || (d->where != W_FD && d->where != W_CALL) ||
	    rec_value(d->lr, W_FD, TAG_NLINK, 1) != 0 || rec_value(d->kr, W_FD, TAG_NLINK, 0) == 0)
		return false;
	if (rec_value(d->kr, W_CALL, TAG_ERRNO, 0))
		d->run->sh->odd_change = true;
	else if (fact_changes_attributes(d) && !S_ISREG(rec_value(d->kr, W_FD, TAG_MODE, 0)))
		d->run->sh->over = true; /* a device has its name again, by the copy-up */
	fact_slot(d)->odd = true;
	return true;
}

/* The same of a directory, by the name ".": ENOTDIR. */
static bool removed_lower_directory(const struct difference *d)
{
	/* nothing can be made in it, as both say */
	if (d->op && d->op->code == OP_OPEN && d->tag == TAG_ERRNO && d->where == W_CALL)
		return d->k == ENOTDIR && d->l == ENOENT && (d->op->a & __O_TMPFILE) != 0;
	if (!d->op || d->where > W_PARENT || rec_value(d->lr, W_CALL, TAG_ERRNO, 1) != 0 ||
	    rec_value(d->kr, W_CALL, TAG_ERRNO, 0) != ENOTDIR ||
	    !S_ISDIR(rec_value(d->lr, W_TARGET, TAG_MODE, 0)) ||
	    rec_value(d->lr, W_TARGET, TAG_NLINK, 1) != 0)
		return false;
	d->run->sh->over = true;
	return true;
}

/* After such a change was refused, a new object of that name is ESTALE until the next mount. */
static bool name_of_unlinked_lower_file(const struct difference *d)
{
	if (!d->op || !d->run->sh->odd_change || rec_value(d->kr, W_CALL, TAG_ERRNO, 0) != ESTALE ||
	    rec_value(d->lr, W_CALL, TAG_ERRNO, 1) != 0)
		return false;
	d->run->sh->over = true;
	return true;
}

/* The kernel copies a lower file into the index before it takes one of its names away. */
static bool removal_copies_nothing(const struct difference *d)
{
	return d->tag == TAG_CTIME_MOVED && d->op && d->run->script->cfg.index && d->k == 1 &&
	       d->l == 0 && !S_ISDIR(rec_value(d->lr, d->where, TAG_MODE, S_IFDIR)) &&
	       !fact_changes_attributes(d);
}

/* In the index alone: the copy that the kernel has made. */
static bool index_of_removal(const struct difference *d)
{
	return d->where == W_UPPER && !strcmp(d->path, INDEX_PATH) &&
	       (!d->has_l || (d->run->sh->swaps && !d->has_k)) &&
	       (d->tag == TAG_NAME || d->tag == TAG_NLINK);
}

/* The kernel copies up and sets the marks for a rename before it finds that the target is not empty. */
static bool marks_of_refused_rename(const struct difference *d)
{
	bool one = !d->has_l || d->run->sh->swaps || fact_is_mark(d, "overlay.redirect");
	const char *slash;

	if (d->where != W_UPPER || !one)
		return false;
	if (d->tag == TAG_NAME && strcmp(d->path, INDEX_PATH) != 0)
		return d->has_k != d->has_l && (d->has_k ? d->k : d->l) == DT_DIR &&
		       fact_was_refused(d, d->key, d->key_len);
	slash = strrchr(d->path, '/');
	slash = slash ? slash + 1 : d->path;
	return S_ISDIR(rec_value(d->lr, W_UPPER, TAG_MODE, 0)) &&
	       (fact_is_mark(d, "overlay.opaque") || fact_is_mark(d, "overlay.redirect")) &&
	       fact_was_refused(d, slash, strlen(slash));
}

/* An empty file is copied whole: there is no data to leave below. */
static bool empty_is_whole(const struct difference *d)
{
	if (!d->run->script->cfg.metacopy || rec_value(d->lr, W_UPPER, TAG_SIZE, 1) != 0)
		return false;
	return fact_is_mark(d, "overlay.metacopy") || (d->where == W_UPPER && d->tag == TAG_DATA);
}

/* More marks than are needed are free; the kernel leaves one out with a complete index. */
static bool impure_marks(const struct difference *d)
{
	return d->tag == TAG_IMPURE && (!d->has_l || d->run->sh->swaps);
}

/* The times of a directory that is gone: whiteouts were taken out of it, or it was replaced first. */
static bool times_of_removed(const struct difference *d)
{
	return (d->tag == TAG_MTIME || d->tag == TAG_MTIME_MOVED || d->tag == TAG_CTIME_MOVED) &&
	       S_ISDIR(rec_value(d->lr, d->where, TAG_MODE, 0)) &&
	       rec_value(d->lr, d->where, TAG_NLINK, 1) == 0;
}

/* Removing an ACL that is not there is an error in the kernel while the file is in a lower layer. */
static bool removal_of_no_acl(const struct difference *d)
{
	if (d->op && fact_removes_acl(d->op) && d->tag == TAG_CTIME_MOVED)
		return d->k == 1 && d->l == 0;
	return d->op && fact_removes_acl(d->op) && (d->tag == TAG_RET || d->tag == TAG_ERRNO) &&
	       rec_value(d->kr, W_CALL, TAG_ERRNO, 0) == ENODATA &&
	       rec_value(d->lr, W_CALL, TAG_ERRNO, 1) == 0;
}

/* FUSE does not tell capabilities: names of trusted attributes are shown to user 0, and to nobody else. */
static bool trusted_names(const struct difference *d)
{
	return d->op && d->op->actor == 3 && d->tag == TAG_XATTR && !d->has_k && d->key_len > 8 &&
	       !memcmp(d->key, "trusted.", 8);
}

/* A name that is refused or damaged: listed without a type, where the kernel has that of the layer. */
static bool type_of_refused_name(const struct difference *d)
{
	const struct config *cfg = &d->run->script->cfg;

	/* on the way to the refusal the kernel has set an origin */
	if (d->where == W_UPPER && d->tag == TAG_HANDLE && (!d->has_l || d->run->sh->swaps))
		return cfg->userxattr || strcmp(cfg->redirect, "on") != 0;
	/* it has no number either, and may still be known by the one of before it came here */
	if (d->tag == TAG_D_INO && d->has_l && !d->has_k) {
		if (fact_has_no_type(d->lr, d->key, d->key_len))
			d->run->sh->refused_name = true;
		return fact_has_no_type(d->lr, d->key, d->key_len) ||
		       (d->run->sh->refused_name && d->key_len == 2 && d->key[1] == '.');
	}
	return d->tag == TAG_NAME && d->where != W_UPPER && d->has_l &&
	       (!(d->l & ~(uint64_t)PHANTOM) || (!d->has_k && d->l & PHANTOM));
}

/* Truncation to the size that a file has. */
static bool truncate_sets_mtime(const struct difference *d)
{
	if (!d->op ||
	    (d->tag != TAG_MTIME && d->tag != TAG_MTIME_MOVED && d->tag != TAG_CTIME_MOVED))
		return false;
	if (d->l != 1 || (d->op->code != OP_TRUNCATE && d->op->code != OP_FTRUNCATE &&
			  !(d->op->code == OP_OPEN && d->op->a & O_TRUNC)))
		return false;
	if (d->op->code == OP_TRUNCATE)
		d->run->path_times = true;
	else
		d->run->fd_times = true;
	return true;
}

/* Of several names of a file below, Lamina records another than the one that was used: a request to
 * link names the object alone. */
static bool redirect_of_links(const struct difference *d)
{
	if (!d->run->script->cfg.metacopy || !S_ISREG(rec_value(d->kr, d->where, TAG_MODE, 0)))
		return false;
	if (d->op &&
	    (d->op->code == OP_RENAME || d->op->code == OP_LINK || d->op->code == OP_LINKFD))
		return d->tag == TAG_CTIME_MOVED && ((d->k == 1 && d->l == 0) || d->run->sh->swaps);
	return fact_is_mark(d, "overlay.redirect");
}

/* POSIX allows both; Lamina gives one, the kernel what upper's filesystem gives. */
static bool not_empty(const struct difference *d)
{
	return d->tag == TAG_ERRNO && d->where == W_CALL && d->k == EEXIST && d->l == ENOTEMPTY;
}

/* FUSE has no flags for what is no file and no directory. */
static bool flags_of_special_files(const struct difference *d)
{
	uint64_t mode = rec_value(d->lr, W_TARGET, TAG_MODE, 0);

	return d->op && (d->op->code == OP_GETFLAGS || d->op->code == OP_GETFSX) &&
	       d->where == W_CALL && !S_ISREG(mode) && !S_ISDIR(mode) &&
	       rec_value(d->lr, W_CALL, TAG_ERRNO, 0) == ENOTTY;
}

/* What the kernel lists but cannot look up: a whiteout where nothing is merged. */
static bool whiteout_not_merged(const struct difference *d)
{
	uint64_t e = rec_value(d->kr, W_CALL, TAG_ERRNO, 0);
	/* not empty, as upper's filesystem says it */
	bool full = e == ENOTEMPTY ||
		    (e == EEXIST && d->op && !(d->op->code == OP_RENAME && d->op->a));

	if (d->op && (d->op->code == OP_RMDIR || d->op->code == OP_RENAME) && d->where < W_TREE &&
	    full && rec_value(d->lr, W_CALL, TAG_ERRNO, 1) == 0) {
		d->run->sh->over = true;
		return true;
	}
	return d->tag == TAG_NAME && !d->has_l && d->where != W_UPPER && d->k & PHANTOM;
}

static bool refused_setxattr(const struct difference *d)
{
	bool broken = d->tag == TAG_NLINK && d->k == 1 && !d->run->script->cfg.index;

	return (broken || (d->tag == TAG_CTIME_MOVED && d->k == 1 && d->l == 0)) && d->op &&
	       (d->op->code == OP_SETXATTR || d->op->code == OP_FSETXATTR) &&
	       rec_value(d->lr, W_CALL, TAG_ERRNO, 0) != 0;
}

/* FUSE gives directories' descriptors the seeks of a file; a filesystem does not know them. */
static bool seek_in_directories(const struct difference *d)
{
	if (d->op && (d->op->code == OP_READ || d->op->code == OP_READV) && d->tag == TAG_ERRNO)
		return d->k && d->l && S_ISDIR(rec_value(d->lr, W_FD, TAG_MODE, 0));
	return d->op && d->op->code == OP_LSEEK && d->op->b >= SEEK_CUR &&
	       (d->tag == TAG_RET || d->tag == TAG_ERRNO || d->tag == TAG_POS) &&
	       S_ISDIR(rec_value(d->lr, W_FD, TAG_MODE, 0));
}

/* Both are the kernel's when it is compared with itself. */
static bool d_ino_of_kernel(const struct difference *d)
{
	return d->tag == TAG_D_INO && (!d->has_l || d->run->sh->kernel[1] == d->run->sh->kernel[0]);
}

/* The kernel does not know Lamina's record of names that were removed without a copy. */
static bool links_removed_before(const struct difference *d)
{
	if (d->tag == TAG_NLINK && d->where == W_UPPER && !strcmp(d->path, INDEX_PATH))
		return d->run->sh->swaps;
	/* after two swaps Lamina may have an entry that the kernel made, with the count too high */
	return d->tag == TAG_NLINK && d->run->script->cfg.index && d->run->sh->swaps &&
	       (d->k > d->l || d->run->sh->swaps > 1) &&
	       !S_ISDIR(rec_value(d->lr, d->where, TAG_MODE, S_IFDIR));
}

/* A request for nothing comes both to drop capabilities and for an owner of (-1, -1), which clears more. */
static bool privileges_together(const struct difference *d)
{
	if (d->tag != TAG_MODE || !d->op || d->k == d->l ||
	    (d->where != W_FD &&
	     !(d->op->code == OP_TRUNCATE && (d->where == W_TARGET || d->where == W_LED))) ||
	    (d->k & ~(uint64_t)06000) != (d->l & ~(uint64_t)06000) || d->l & ~d->k)
		return false;
	if (d->where == W_FD)
		d->run->fd_mode = true;
	else
		d->run->path_mode = true;
	return true;
}

/* ext4 sets the directory's times for a rename with a whiteout that it then refuses. */
static bool times_of_refused_rename(const struct difference *d)
{
	if (!d->op || d->op->code != OP_RENAME || !rec_value(d->lr, W_CALL, TAG_ERRNO, 0) ||
	    (d->where != W_PARENT && d->where != W_PARENT2))
		return false;
	if ((d->tag != TAG_MTIME && d->tag != TAG_MTIME_MOVED && d->tag != TAG_CTIME_MOVED) ||
	    d->k != 1)
		return false;
	d->run->parent_times[d->where == W_PARENT2] = true;
	return true;
}

/* Without an index a copy-up gives one of several names a number of its own, and a listing that the
 * client keeps has the one of before. */
static bool number_of_broken_link(const struct difference *d)
{
	return (d->tag == TAG_D_INO || d->tag == TAG_GROUP) && !d->run->script->cfg.index;
}

/* No attribute of the index can be set on a symlink or a special file with userxattr. */
static bool userxattr_index(const struct difference *d)
{
	const struct config *cfg = &d->run->script->cfg;
	uint64_t mode = rec_value(d->lr, d->where, TAG_MODE, S_IFREG);

	if (cfg->userxattr && !S_ISREG(mode) && !S_ISDIR(mode) &&
	    (d->tag == TAG_NLINK || d->tag == TAG_GROUP || d->tag == TAG_CTIME_MOVED ||
	     d->tag == TAG_MTIME || d->tag == TAG_MTIME_MOVED || d->tag == TAG_ATIME))
		return true;
	if (!d->op || !cfg->userxattr || d->where >= W_TREE)
		return false;
	/* two names of one symlink are two objects after the copy-up */
	if (d->op->code == OP_RENAME && rec_value(d->kr, W_CALL, TAG_ERRNO, 0) == ESTALE &&
	    rec_value(d->lr, W_CALL, TAG_ERRNO, 1) == 0 &&
	    rec_value(d->kr, W_TARGET2, TAG_NLINK, 0) > 1) {
		d->run->sh->over = true;
		return true;
	}
	if (!cfg->index || rec_value(d->kr, W_CALL, TAG_ERRNO, 0) != EPERM)
		return false;
	/* or both refuse it, and one before the directories were copied up */
	if (rec_value(d->lr, W_CALL, TAG_ERRNO, 1) != 0 &&
	    (d->op->code != OP_SETXATTR || d->tag != TAG_ERRNO))
		return false;
	d->run->sh->over = true;
	return true;
}

/* Holes are kept by one and filled by the other: there is more data in the kernel's copy. */
static bool exact_holes(const struct difference *d)
{
	if (!d->op || d->op->code != OP_LSEEK || d->op->b < SEEK_DATA)
		return false;
	if (!fact_only_zeros_between(d))
		return false;
	if (d->tag == TAG_POS || (d->tag == TAG_RET && (int64_t)d->l == -1))
		return true;
	/* each has copies that the other made */
	if (d->run->sh->swaps)
		return d->tag == TAG_RET || d->k == ENXIO || d->l == ENXIO;
	if (d->tag == TAG_ERRNO)
		return d->l == ENXIO;
	return d->tag == TAG_RET && (d->op->b == SEEK_DATA ? d->k < d->l : d->k > d->l);
}

/* xfs allocates ahead of what is written, by the sizes of the writes that it sees: FUSE cuts them into
 * others.  Blocks that are allocated and not written are zeros, and a seek calls them data when their
 * pages happen to be in memory. */
static bool allocated_ahead(const struct difference *d)
{
	if (d->tag == TAG_BLOCKS)
		return !strcmp(fs_of_layer(&d->run->script->cfg, 0), "xfs");
	return d->op && d->op->code == OP_LSEEK && d->op->b >= SEEK_DATA &&
	       fact_only_zeros_between(d);
}

/* A mapping of a descriptor from before the copy-up shows the lower file for ever. */
static bool coherent_mappings(const struct difference *d)
{
	return d->op && (d->op->code == OP_MREAD || d->op->code == OP_MWRITE) &&
	       d->where == W_CALL && (d->run->map_flags[d->op->fd2 % MAPS] & O_ACCMODE) == O_RDONLY;
}

static bool long_redirect(const struct difference *d)
{
	const struct config *cfg = d->op ? &d->run->script->cfg : NULL;

	if (!cfg || rec_value(d->kr, W_CALL, TAG_ERRNO, 0) != EXDEV ||
	    rec_value(d->lr, W_CALL, TAG_ERRNO, 1) != 0 || strcmp(cfg->redirect, "on"))
		return false;
	if (d->op->code != OP_RENAME &&
	    !(cfg->metacopy && (d->op->code == OP_LINK || d->op->code == OP_LINKFD)))
		return false;
	d->run->sh->over = true;
	return true;
}

/*
 * FUSE tells one group of the caller and no capabilities: whether a write, or the removal of an ACL,
 * takes the set-group-id bit away cannot be known for all callers.
 */
static bool set_group_id(const struct difference *d)
{
	if (!d->op || d->tag != TAG_MODE || (d->k ^ d->l) != S_ISGID || d->op->actor == 0)
		return false;
	if (d->where == W_FD)
		d->run->fd_mode = true;
	else
		d->run->path_mode = true;
	return true;
}

/* No whiteout, and no file but one that has another name, which is its entry in the index. */
static int not_a_free_name(const char *path, const struct stat *st, int type, struct FTW *f)
{
	(void)path;
	(void)type;
	(void)f;
	return !S_ISDIR(st->st_mode) &&
	       (st->st_nlink < 2 || (S_ISCHR(st->st_mode) && !st->st_rdev));
}

/* When a name of an indexed file gets its link in upper, with the directories above it, is free; what both
 * show was equal.  A rename needs the link, which moves the change time; that xfs exchanges two names does not. */
static bool names_of_index(const struct difference *d)
{
	const struct run *run = d->run;
	char dir[128], path[4500];

	if (d->op && d->op->code == OP_RENAME && d->tag == TAG_CTIME_MOVED && d->l == 1)
		return run->script->cfg.index && !rec_value(d->lr, W_CALL, TAG_ERRNO, 1) &&
		       (d->where == W_TARGET || d->where == W_TARGET2) &&
		       !S_ISDIR(rec_value(d->lr, d->where, TAG_MODE, S_IFDIR)) &&
		       rec_value(d->lr, d->where, TAG_NLINK, 1) > 1;
	if (d->where != W_UPPER || d->tag != TAG_NAME || !run->script->cfg.index ||
	    d->has_k == d->has_l)
		return false;
	if (!strcmp(d->path, INDEX_PATH)) /* the entries of these directories */
		return run->script->cfg.nfs_export && S_ISDIR(d->has_k ? d->k : d->l);
	(void)snprintf(path, sizeof(path), "%s/%s/%.*s",
		       layer_dir(&run->side[run->sh->kernel[0] == d->has_k ? 0 : 1], 0,
				 &run->script->cfg, dir),
		       d->path, (int)d->key_len, d->key);
	return nftw(path, not_a_free_name, 32, FTW_PHYS) == 0;
}

/* The kernel of a FUSE mount keeps the change time of what has lost its last name. */
static bool ctime_of_unlinked(const struct difference *d)
{
	return d->tag == TAG_CTIME_MOVED && d->l == 0 &&
	       rec_value(d->lr, d->where, TAG_NLINK, 1) == 0;
}

/* Whether a file may lose flags of its filesystem depends on whether it was written out yet. */
static bool flags_refused_in_part(const struct difference *d)
{
	if (!d->op || d->op->code != OP_SETFLAGS ||
	    rec_value(d->kr, W_CALL, TAG_ERRNO, 0) != EOPNOTSUPP)
		return false;
	d->run->sh->over = true;
	return true;
}

/* An owner of (-1, -1) on somebody else's file with set-id bits: FUSE does not say that it is one. */
static bool owner_of_nobody(const struct difference *d)
{
	return d->op && (d->op->code == OP_CHOWN || d->op->code == OP_FCHOWN) &&
	       (uint32_t)d->op->b == UINT32_MAX && (uint32_t)d->op->c == UINT32_MAX &&
	       (d->tag == TAG_RET || d->tag == TAG_ERRNO || d->tag == TAG_CTIME_MOVED) &&
	       d->op->actor != 0;
}

/* In the kernel's overlayfs a mapping holds the layer's file, and a lock goes with the descriptor. */
static bool locks_of_mappings(const struct difference *d)
{
	uint64_t e = rec_value(d->lr, W_CALL, TAG_ERRNO, 0);

	if (!d->op || rec_value(d->kr, W_CALL, TAG_ERRNO, 1) || !fact_is_mapped(d))
		return false;
	if (d->op->code == OP_GETLK
		    ? rec_value(d->kr, W_CALL, TAG_VALUE, F_RDLCK) != F_UNLCK
		    : (d->op->code != OP_FLOCK && d->op->code != OP_LOCK) || e != EWOULDBLOCK)
		return false;
	fact_slot(d)->odd = true;
	return true;
}

/* Handled by actor.c. */
static bool extents_kept(const struct difference *d)
{
	(void)d;
	return false;
}

/* Handled by actor.c. */
static bool immutable_at_once(const struct difference *d)
{
	(void)d;
	return false;
}

static bool encoding_writes_nothing(const struct difference *d)
{
	return d->op && d->op->code == OP_HANDLE && d->tag == TAG_CTIME_MOVED;
}

/* The kernel of a FUSE mount finds what is in use by its handle, and asks nobody. */
static bool handle_of_removed(const struct difference *d)
{
	uint64_t e;

	if (!d->op || d->op->code != OP_OPENHANDLE ||
	    rec_value(d->kr, W_CALL, TAG_ERRNO, 0) != ESTALE)
		return false;
	/* or it finds a directory, a symlink, a socket, which cannot be opened like this */
	e = rec_value(d->lr, W_CALL, TAG_ERRNO, 0);
	return e == EISDIR || e == ELOOP || e == ENXIO ||
	       (e == 0 && rec_value(d->lr, W_FD, TAG_NLINK, 1) == 0);
}

/* To find the names of what a handle stands for the kernel reads directories of upper, on a mount of its own
 * that sets access times. */
static bool atime_of_handles(const struct difference *d)
{
	if (d->tag != TAG_ATIME || d->k != 1 || !d->run->script->cfg.nfs_export ||
	    !S_ISDIR(rec_value(d->lr, d->where, TAG_MODE, 0)) || !fact_forgot(d->run->sh))
		return false;
	d->run->sh->over = true;
	return true;
}

static bool nlink_of_complete_index(const struct difference *d)
{
	uint64_t k = rec_value(d->kr, W_CALL, TAG_ERRNO, 0);
	uint64_t l = rec_value(d->lr, W_CALL, TAG_ERRNO, 0);
	const struct shared *sh = d->run->sh;
	bool dir = S_ISDIR(rec_value(d->lr, d->where, TAG_MODE, 0));

	if (!d->run->script->cfg.nfs_export)
		return false;
	/* the kernel knows a directory without an entry, and removes it without a whiteout there */
	if (d->where == W_UPPER && d->tag == TAG_NAME && !strcmp(d->path, INDEX_PATH) &&
	    d->has_k != d->has_l && !d->k && !d->l)
		return !d->has_k || sh->swaps;
	/* so it does where the name is not known */
	if (d->op && d->op->code == OP_OPENHANDLE && d->tag == TAG_NLINK && !dir)
		return d->k > d->l || sh->swaps;
	if (!fact_forgot(sh))
		return false;
	/* and can be linked again */
	if (d->op && d->op->code == OP_LINKFD && !k && l == ENOENT &&
	    rec_value(d->lr, W_FD, TAG_NLINK, 1) == 0) {
		d->run->sh->over = true;
		return true;
	}
	/* what is removed stays, and its handle opens it, or fails in another way */
	if (d->op && d->op->code == OP_OPENHANDLE)
		return l == ESTALE && (!k || d->tag == TAG_ERRNO);
	if (d->tag == TAG_NLINK)
		return !dir && (d->k > d->l || sh->swaps);
	/* an entry, where the other has none or a whiteout */
	return d->where == W_UPPER && d->tag == TAG_NAME && !strcmp(d->path, INDEX_PATH) &&
	       (!d->l || (sh->swaps && !d->k));
}

/* A mapping's pages are written back by a WRITE, and a filesystem drops file capabilities at each. */
static bool capabilities_of_mappings(const struct difference *d)
{
	static const char name[] = "security.capability";
	bool field = d->tag == TAG_XATTR && d->key_len == sizeof(name) - 1 &&
		     !memcmp(d->key, name, d->key_len);
	bool step = d->op && d->where == W_CALL &&
		    (d->op->code == OP_GETXATTR || d->op->code == OP_SETXATTR ||
		     d->op->code == OP_REMOVEXATTR || d->op->code == OP_FGETXATTR ||
		     d->op->code == OP_FSETXATTR || d->op->code == OP_FREMOVEXATTR) &&
		    !strcmp(d->op->path2.p, name) &&
		    (rec_value(d->lr, W_CALL, TAG_ERRNO, 0) == ENODATA ||
		     d->op->code == OP_SETXATTR || d->op->code == OP_FSETXATTR);

	if ((!field || !d->has_k || d->has_l) && !step)
		return false;
	if (!fact_was_mapped(d, field && d->op ? W_TARGET : d->where) &&
	    !fact_was_mapped(d, W_TARGET) && !fact_was_mapped(d, W_FD))
		return false;
	d->run->sh->over = true;
	return true;
}

/* A file with metadata only, and data below that is longer than it says. */
static bool size_of_metacopy(const struct difference *d)
{
	uint64_t read;

	return d->where == W_TREE && (d->tag == TAG_DATA || d->tag == TAG_POS) &&
	       d->run->script->cfg.metacopy && rec_get(d->kr, W_TREE, TAG_POS, &read) &&
	       read > rec_value(d->kr, W_TREE, TAG_SIZE, UINT64_MAX) &&
	       !rec_get(d->lr, W_TREE, TAG_POS, &read);
}

/* Whether what the step has opened, or its target, cannot be read in Lamina for this reason. */
static bool read_fails(const struct difference *d, uint64_t error)
{
	const struct side *s = &d->run->side[d->run->sh->kernel[0] ? 1 : 0];
	bool opens = d->op->code == OP_OPEN || d->op->code == OP_OPENHANDLE;
	char proc[40], byte;
	bool fails;
	int fd;

	(void)snprintf(proc, sizeof(proc), "/proc/self/fd/%d", op_fd(s, d->op->fd));
	fd = opens ? open(proc, O_RDONLY | O_CLOEXEC)
		   : openat(op_dir(s, d->op->at), d->op->path.p,
			    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	fails = fd >= 0 && pread(fd, &byte, 1, 0) < 0 && (uint64_t)errno == error;
	if (fd >= 0)
		(void)close(fd);
	return fails;
}

/* A file with metadata only whose data is nowhere: opens ask nobody, so it is the first read that fails. */
static bool missing_data(const struct difference *d)
{
	const struct config *cfg = &d->run->script->cfg;
	uint64_t k = rec_value(d->kr, W_CALL, TAG_ERRNO, 0);

	if (!cfg->metacopy && !cfg->datas)
		return false;
	if (d->where == W_TREE) /* both have an error in the place of the contents */
		return d->tag == TAG_POS && !d->has_k && d->l == 0 &&
		       rec_value(d->lr, W_TREE, TAG_DATA, 0) < 4096 &&
		       rec_value(d->lr, W_TREE, TAG_DATA, 0) ==
			       rec_value(d->kr, W_TREE, TAG_DATA, 1);
	if (!d->op || d->where >= W_TREE || (k != ENOENT && k != EIO) ||
	    rec_value(d->lr, W_CALL, TAG_ERRNO, 1) != 0)
		return false;
	if (d->op->code == OP_OPEN || d->op->code == OP_OPENHANDLE)
		return (d->where == W_CALL || d->where == W_FD) && read_fails(d, k);
	/* the kernel wants it for a copy of the metadata, too */
	if (d->op->code < OP_CHMOD || d->op->code > OP_REMOVEXATTR || !read_fails(d, k))
		return false;
	d->run->sh->over = true;
	return true;
}

static const struct rule {
	const char *name;
	bool (*allows)(const struct difference *d);
} rules[] = {
	{ "open-of-immutable", open_of_immutable },
	{ "nlink-of-directories", nlink_of_directories },
	{ "blocks", block_sizes },
	{ "statx-attributes", statx_attributes },
	{ "ctime-of-copy-up", ctime_of_copy_up },
	{ "open-does-not-copy-up", open_does_not_copy_up },
	{ "metacopy-keeps-mtime", metacopy_keeps_mtime },
	{ "unlinked-lower-file", unlinked_lower_file },
	{ "unlinked-lower-file", removed_lower_directory },
	{ "unlinked-lower-file", name_of_unlinked_lower_file },
	{ "removal-copies-nothing", removal_copies_nothing },
	{ "removal-copies-nothing", index_of_removal },
	{ "marks-of-refused-rename", marks_of_refused_rename },
	{ "removal-of-no-acl", removal_of_no_acl },
	{ "trusted-names-by-user", trusted_names },
	{ "type-of-refused-name", type_of_refused_name },
	{ "truncate-sets-mtime", truncate_sets_mtime },
	{ "removal-copies-nothing", links_removed_before },
	{ "privileges-together", privileges_together },
	{ "times-of-refused-rename", times_of_refused_rename },
	{ "number-of-broken-link", number_of_broken_link },
	{ "userxattr-index", userxattr_index },
	{ "immutable-at-once", immutable_at_once },
	{ "extents-kept", extents_kept },
	{ "encoding-writes-nothing", encoding_writes_nothing },
	{ "times-of-mappings", times_of_mappings },
	{ "empty-is-whole", empty_is_whole },
	{ "exact-holes", exact_holes },
	{ "allocated-ahead", allocated_ahead },
	{ "capabilities-of-mappings", capabilities_of_mappings },
	{ "size-of-metacopy", size_of_metacopy },
	{ "missing-data", missing_data },
	{ "coherent-mappings", coherent_mappings },
	{ "long-redirect", long_redirect },
	{ "set-group-id", set_group_id },
	{ "names-of-index", names_of_index },
	{ "owner-of-nobody", owner_of_nobody },
	{ "locks-of-mappings", locks_of_mappings },
	{ "ctime-of-unlinked", ctime_of_unlinked },
	{ "flags-refused-in-part", flags_refused_in_part },
	{ "impure-marks", impure_marks },
	{ "times-of-removed", times_of_removed },
	{ "redirect-of-links", redirect_of_links },
	{ "not-empty", not_empty },
	{ "flags-of-special-files", flags_of_special_files },
	{ "whiteout-not-merged", whiteout_not_merged },
	{ "refused-setxattr", refused_setxattr },
	{ "seek-in-directories", seek_in_directories },
	{ "ino-constant", d_ino_of_kernel },
	{ "atime-of-handles", atime_of_handles },
	{ "handle-of-removed", handle_of_removed },
	{ "nlink-of-complete-index", nlink_of_complete_index },
	{ "collapse-and-insert", collapse_and_insert },
	{ "copy-between-layers", copy_between_layers },
};

enum { RULES = sizeof(rules) / sizeof(rules[0]) };
_Static_assert((int)RULES <= (int)RULES_MAX, "more rules than there are counters");

bool rules_allow(const struct difference *d)
{
	for (size_t i = 0; i < RULES; i++)
		if (rules[i].allows(d)) {
			__atomic_add_fetch(&d->run->sh->rules[i], 1, __ATOMIC_RELAXED);
			return true;
		}
	return false;
}

const char *rule_name(size_t i)
{
	return rules[i].name;
}

size_t rules_count(void)
{
	return RULES;
}

void rule_fired(struct run *run, const char *name)
{
	for (size_t i = 0; i < RULES; i++)
		if (!strcmp(rules[i].name, name))
			__atomic_add_fetch(&run->sh->rules[i], 1, __ATOMIC_RELAXED);
}

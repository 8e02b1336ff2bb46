/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Removals that take two steps: a name goes, or something else takes it, and then the index is told (a count of
 * names, an entry that goes, the count in workdir/lamina/links).  Before the first step it is noted in
 * workdir/lamina/begun what is about to happen, and after the second that it has; so whoever opens the layers next,
 * after a kill between the two, makes the second step.  A file in place of names costs a system call on either side
 * and no inode; a loss of power may lose it, which leaves what was so without it: a count that is one too
 * high, or an entry that nobody sees.
 *
 * The file has slots of fixed size, none of which is on two pages: a process that is killed has written one or has
 * not.  A slot that was not cleared does no harm, for what it says of the time before is compared with what is there.
 * Lock: none; a slot belongs to one change, which holds the directory and the names of the file.
 */
#include "core.h"

#include <errno.h>

#include "base/hash.h"

#define BEGUN_SLOTS 64u /* as many as bits in lam_stack.begun_used */

/* What is to be done in the index once the name is gone. */
enum begun_kind {
	BEGUN_NONE,
	BEGUN_COUNT = 1, /* an entry counts one name less */
	BEGUN_ENTRY,	 /* an entry goes */
	BEGUN_LINKS,	 /* a lower file that is not in upper counts one name less */
	BEGUN_LOWER,	 /* ... has no name left */
	BEGUN_DIR,	 /* a directory is gone for the complete index */
};

struct slot {
	uint64_t sum; /* of all that follows; 0: nothing is under way */
	uint64_t id;  /* of what loses the name */
	uint64_t ino; /* of what has the name in upper; 0: it is only below */
	uint32_t kind;
	uint32_t names;	      /* COUNT: visible ones before */
	uint32_t upper_nlink; /* COUNT: of the entry's inode */
	int32_t adjust;	      /* LINKS: the count on record before */
	int32_t dir_type;     /* handle of the directory in upper */
	uint32_t dir_len;
	uint8_t dir_fid[FH_MAX_FID];
	char name[LAM_NAME_MAX + 1];
	char key[INDEX_NAME_MAX + 1]; /* of the index */
	char fill[293];
};
_Static_assert(sizeof(struct slot) == 1024, "pages hold whole slots");

static uint64_t sum_of(const struct slot *slot)
{
	const uint64_t sum = hash_bytes(&slot->id, sizeof(*slot) - sizeof(slot->sum));

	return sum ? sum : 1;
}

/* ---- Noting ---- */

static enum begun_kind kind_of(const struct drop *w)
{
	const struct node *n = w->n;

	if (w->last && n->flags & NF_INDEXED)
		return BEGUN_ENTRY;
	if (!w->key[0])
		return BEGUN_NONE;
	if (!w->last && w->upper_nlink)
		return BEGUN_COUNT;
	if (w->last && node_is_dir(n))
		return BEGUN_DIR;
	if (node_is_upper(n))
		return BEGUN_NONE;
	return w->last ? BEGUN_LOWER : BEGUN_LINKS;
}

/* What the slot is to say, but for the sum. */
static int fill(struct slot *slot, enum begun_kind kind, int dirfd, const char *name,
		const struct drop *w)
{
	struct node *n = w->n;
	struct sys_handle h;
	struct statx st;
	int r = sys_name_to_handle(dirfd, "", &h, NULL);

	if (r == 0 && w->in_upper)
		r = sys_statx(dirfd, name, &st);
	if (r < 0 || strlen(name) > LAM_NAME_MAX || h.len > sizeof(slot->dir_fid))
		return r < 0 ? r : -EINVAL;
	*slot = (struct slot){
		.id = n->id,
		.ino = w->in_upper ? st.stx_ino : 0,
		.kind = kind,
		.names = w->names,
		.upper_nlink = w->upper_nlink,
		.dir_type = h.type,
		.dir_len = h.len,
	};
	memcpy(slot->dir_fid, h.fid, h.len);
	strcpy(slot->name, name);
	strcpy(slot->key, w->key);
	mutex_lock(&n->lock);
	if (n->extra) {
		slot->adjust = n->extra->nlink_adjust;
		if (kind == BEGUN_ENTRY && n->extra->index_name)
			strcpy(slot->key, n->extra->index_name);
	}
	mutex_unlock(&n->lock);
	return slot->key[0] ? 0 : -ENODATA;
}

/* One that is free, from 1; 0: there is none. */
static unsigned take_slot(struct lam_stack *s)
{
	uint64_t used = atomic_load(&s->begun_used);

	while (~used) {
		const unsigned i = (unsigned)__builtin_ctzll(~used);

		if (atomic_compare_exchange_weak(&s->begun_used, &used, used | 1ull << i))
			return i + 1;
	}
	return 0;
}

static void free_slot(struct lam_stack *s, unsigned slot)
{
	(void)atomic_fetch_and(&s->begun_used, ~(1ull << (slot - 1)));
}

static uint64_t offset_of(unsigned slot)
{
	return (uint64_t)(slot - 1) * sizeof(struct slot);
}

void begun_note(struct lam_stack *s, int dirfd, const char *name, struct drop *w)
{
	const enum begun_kind kind = kind_of(w);
	struct slot slot;
	unsigned i;

	if (s->begun_fd < 0 || !kind || fill(&slot, kind, dirfd, name, w) < 0)
		return; /* the change is made all the same; a crash in it leaves what is said above */
	i = take_slot(s);
	if (!i)
		return;
	slot.sum = sum_of(&slot);
	if (sys_pwrite(s->begun_fd, &slot, sizeof(slot), offset_of(i)) == sizeof(slot))
		w->begun = i;
	else
		free_slot(s, i);
}

void begun_clear(struct lam_stack *s, struct drop *w)
{
	static const uint64_t none;

	if (!w->begun)
		return;
	/* What stays is found to be done by who reads it. */
	(void)sys_pwrite(s->begun_fd, &none, sizeof(none), offset_of(w->begun));
	free_slot(s, w->begun);
	w->begun = 0;
}

/* ---- Making the second step ---- */

static bool is_valid(const struct slot *slot)
{
	return slot->sum && slot->sum == sum_of(slot) && slot->dir_len <= sizeof(slot->dir_fid) &&
	       memchr(slot->name, '\0', sizeof(slot->name)) &&
	       memchr(slot->key, '\0', sizeof(slot->key)) && slot->name[0] && slot->key[0];
}

/* The directory of upper that the name was in. */
static int open_dir(struct lam_stack *s, const struct slot *slot)
{
	struct sys_handle h = { .type = slot->dir_type, .len = slot->dir_len };
	const struct layer *upper = &s->layers[LAYER_UPPER];

	memcpy(h.fid, slot->dir_fid, slot->dir_len);
	return sys_open_by_handle(upper->fd, &h,
				  upper->fs->can_decode ? O_PATH : O_RDONLY | O_DIRECTORY);
}

/* Whether the name does not stand any more for what it was to be taken from: 1, 0 or -errno. */
static int name_gone(int dirfd, const struct slot *slot)
{
	char wh[DOT_WH_LEN + LAM_NAME_MAX + 1];
	struct statx st;
	int r = sys_statx(dirfd, slot->name, &st);

	if (r == 0)
		return st.stx_ino != slot->ino;
	if (r != -ENOENT)
		return r;
	if (slot->ino)
		return 1;
	memcpy(wh, DOT_WH, DOT_WH_LEN);
	strcpy(wh + DOT_WH_LEN, slot->name);
	r = sys_statx(dirfd, wh, &st);
	return r == 0 ? 1 : r == -ENOENT || r == -ENAMETOOLONG ? 0 : r;
}

static int finish_entry(struct lam_stack *s, const struct slot *slot, const struct statx *st)
{
	const bool whiteout = s->nfs_export && !special_key(slot->key);
	int r;

	if (st->stx_nlink != 1 || S_ISDIR(st->stx_mode) || S_ISCHR(st->stx_mode))
		return 0; /* it has another name, or has been done */
	/* Clients of the process before may have it open. */
	if (s->takeover)
		r = work_orphan_entry(s, slot->id, index_dir(s, slot->key), slot->key, whiteout);
	else if (whiteout)
		r = index_whiteout(s, slot->key);
	else
		r = sys_unlink(index_dir(s, slot->key), slot->key);
	if (r == 0 && special_key(slot->key))
		special_forget(s, slot->key, st->stx_ino);
	return r;
}

static int finish_count(struct lam_stack *s, const struct slot *slot, const struct statx *st)
{
	uint32_t visible;
	int r = index_key_nlink(s, slot->key, st, &visible);

	if (r < 0 || visible != slot->names || st->stx_nlink != slot->upper_nlink)
		return r;
	return index_write_nlink(s, index_dir(s, slot->key), slot->key, visible - 1, st->stx_nlink);
}

static int finish_links(struct lam_stack *s, const struct slot *slot)
{
	int32_t adjust;
	int r = links_adjust_load(s, slot->key, &adjust);

	return r < 0 || adjust != slot->adjust ? r : links_adjust_store(s, slot->key, adjust - 1);
}

/* The entry of one that was only about to be replaced, and has given way to a clean one, goes as the next mount would
 * have it go: the handle still leads to what is there. */
static int finish_dir(struct lam_stack *s, int dirfd, const struct slot *slot)
{
	char own[INDEX_NAME_MAX + 1];
	struct fh fh;

	if (ovl_get_origin(s, dirfd, slot->name, &fh) == 0) {
		index_name_encode(&fh, own);
		if (!strcmp(own, slot->key))
			return sys_rmdir(s->index_fd, slot->key);
	}
	return index_forget_dir(s, NULL, slot->key);
}

static int finish(struct lam_stack *s, int dirfd, const struct slot *slot)
{
	struct statx st;
	int r, entry = index_stat(s, slot->key, &st);

	if (entry < 0)
		return entry;
	switch ((enum begun_kind)slot->kind) {
	case BEGUN_NONE:
		break;
	case BEGUN_COUNT:
		return entry ? finish_count(s, slot, &st) : 0;
	case BEGUN_ENTRY:
		return entry ? finish_entry(s, slot, &st) : 0;
	case BEGUN_LINKS:
		return entry ? 0 : finish_links(s, slot);
	case BEGUN_LOWER:
		r = entry ? 0 : links_adjust_store(s, slot->key, 0);
		return r == 0 && !entry && s->nfs_export ? index_whiteout(s, slot->key) : r;
	case BEGUN_DIR:
		return s->nfs_export && (!entry || S_ISDIR(st.stx_mode))
			       ? finish_dir(s, dirfd, slot)
			       : 0;
	}
	return 0;
}

static int finish_one(struct lam_stack *s, const struct slot *slot)
{
	CLEANUP_CLOSE int dirfd = open_dir(s, slot);
	int r;

	if (dirfd < 0) /* it went later, and what is noted was done */
		return dirfd == -ESTALE ? 0 : dirfd;
	r = name_gone(dirfd, slot);
	return r > 0 ? finish(s, dirfd, slot) : r;
}

int begun_open(struct lam_stack *s)
{
	CLEANUP_FREE struct slot *slots = NULL;
	ssize_t n;
	int r = 0;

	if (!s->layers[LAYER_UPPER].fs->can_decode_dirs)
		return 0; /* a directory could not be found again */
	s->begun_fd = sys_openat(s->own_fd, "begun", O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (s->begun_fd < 0) {
		r = s->begun_fd;
		s->begun_fd = -1;
		return r == -ENOSPC || r == -EDQUOT ? 0 : r;
	}
	slots = calloc(BEGUN_SLOTS, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	n = sys_pread(s->begun_fd, slots, BEGUN_SLOTS * sizeof(*slots), 0);
	if (n < 0)
		return (int)n;
	for (unsigned i = 0; i < (size_t)n / sizeof(*slots); i++) {
		if (!is_valid(&slots[i]))
			continue;
		r = finish_one(s, &slots[i]);
		if (r < 0)
			log_warning("what was begun with %s cannot be finished: %s",
				    QUOTE(slots[i].name),
				    log_errno(r)); /* the tree is whole without */
	}
	if (n > 0) /* else it is read once more */
		(void)sys_ftruncate(s->begun_fd, 0);
	return 0;
}

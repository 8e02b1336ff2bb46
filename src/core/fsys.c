/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The real filesystems under a stack, and ids made from their inode numbers.
 *
 * id = [62] born in upper | [61:56] filesystem | [55:0] real inode number.  A number that does not
 * fit is mapped by a table (docs/design/identity.md).  The index of a filesystem is by its UUID and
 * is kept in workdir/lamina/filesystems, so that ids do not move when layers are added.
 */
#include "core.h"

#include <linux/capability.h>
#include <stdio.h>
#include <sys/vfs.h>

#include "base/hash.h"

#define TMPFS_TYPE 0x01021994

/* Numbers over 55 bits of one filesystem.  Each stands under a hash of it, so that it has the same id after
 * a new start; where two hash alike, the one that is met second goes under another.  They get the upper half
 * of the 56-bit space, which no such filesystem's small numbers reach. */
struct wide {
	uint64_t place; /* the low bits of the id; 0 is free */
	uint64_t number;
};

struct inotable {
	struct mutex lock; /* RANK_LEAF */
	struct wide *slots;
	size_t mask, count;
};

#define TABLE_BIT (1ull << (ID_FS_SHIFT - 1))

static struct inotable *inotable_new(void)
{
	struct inotable *t = calloc(1, sizeof(*t));

	if (t)
		mutex_init(&t->lock, RANK_LEAF);
	return t;
}

/* Where PLACE is or would be. */
static struct wide *wide_slot(const struct inotable *t, uint64_t place)
{
	size_t i = (size_t)hash_u64(place) & t->mask;

	while (t->slots[i].place && t->slots[i].place != place)
		i = (i + 1) & t->mask;
	return &t->slots[i];
}

static int inotable_grow(struct inotable *t)
{
	struct inotable bigger = { .mask = t->slots ? t->mask * 2 + 1 : 63 };

	bigger.slots = calloc(bigger.mask + 1, sizeof(*bigger.slots));
	if (!bigger.slots)
		return -ENOMEM;
	for (size_t i = 0; t->slots && i <= t->mask; i++)
		if (t->slots[i].place)
			*wide_slot(&bigger, t->slots[i].place) = t->slots[i];
	free(t->slots);
	t->slots = bigger.slots;
	t->mask = bigger.mask;
	return 0;
}

/* The place of a number, taken if need be; 0: no memory. */
static uint64_t inotable_place(struct inotable *t, uint64_t number)
{
	struct mutex *guard MUTEX_GUARD = mutex_guard(&t->lock);
	uint64_t place = number;

	if ((!t->slots || t->count * 2 > t->mask) && inotable_grow(t) < 0)
		return 0;
	for (;;) {
		struct wide *w;

		place = hash_u64(place + 1);
		w = wide_slot(t, TABLE_BIT | (place & (TABLE_BIT - 1)));
		if (w->place && w->number != number)
			continue; /* another's */
		if (!w->place) {
			w->place = TABLE_BIT | (place & (TABLE_BIT - 1));
			w->number = number;
			t->count++;
		}
		return w->place;
	}
}

/* The number that is at a place; 0: none. */
static uint64_t inotable_number(struct inotable *t, uint64_t place)
{
	struct mutex *guard MUTEX_GUARD = mutex_guard(&t->lock);

	return t->slots ? wide_slot(t, place)->number : 0;
}

uint64_t id_make(struct lam_stack *s, struct fsys *fs, uint64_t ino, bool born_upper)
{
	uint64_t low = ino;

	(void)s;
	if (ino >= TABLE_BIT) {
		low = fs->table ? inotable_place(fs->table, ino) : 0;
		/* Without memory for the table: the hash alone, which at worst makes two objects look
		 * like hard links of each other until the memory is back. */
		if (!low)
			low = TABLE_BIT | (hash_u64(ino + 1) & (TABLE_BIT - 1));
	}
	return (born_upper ? ID_BORN_UPPER : 0) | (uint64_t)fs->index << ID_FS_SHIFT | low;
}

static struct fsys *subvolume_by_index(struct lam_stack *s, unsigned index);

static struct fsys *by_index(struct lam_stack *s, unsigned index)
{
	unsigned n = atomic_load_explicit(&s->n_filesystems, memory_order_acquire);

	for (unsigned i = 0; i < n; i++)
		if (s->filesystems[i].index == index)
			return &s->filesystems[i];
	return NULL;
}

uint64_t id_real_ino(struct lam_stack *s, uint64_t id, struct fsys **ret_fs)
{
	unsigned index = (unsigned)(id >> ID_FS_SHIFT) & MAX_FILESYSTEMS;
	uint64_t low = id & ID_INO_MASK;
	struct fsys *fs;

	*ret_fs = NULL;
	if (id >> 63)
		return 0;
	fs = by_index(s, index);
	if (!fs)
		fs = subvolume_by_index(s, index);
	if (!fs)
		return 0;
	if (low & TABLE_BIT) {
		low = fs->table ? inotable_number(fs->table, low) : 0;
		if (!low)
			return 0;
	}
	*ret_fs = fs;
	return low;
}

bool id_lasts(uint64_t id)
{
	return !(id & TABLE_BIT);
}

uint64_t id_ino(const struct lam_stack *s, uint64_t id)
{
	uint64_t ino;

	if (id == LAM_ROOT_ID)
		id = s->root_ino_id;
	ino = id & ~ID_BORN_UPPER;
	if (s->one_fs) {
		/* Filesystems met inside the layers since (subvolumes) have numbers of their own, which may be
		 * the same: they keep their index, of which 0 is not to be told from none. */
		unsigned index = (unsigned)(ino >> ID_FS_SHIFT);

		if (index == s->filesystems[0].index)
			ino &= ID_INO_MASK;
		else if (index == 0)
			ino |= (uint64_t)MAX_FILESYSTEMS << ID_FS_SHIFT;
	}
	if (s->ino32 && ino > UINT32_MAX)
		ino = (uint32_t)(hash_u64(ino) >> 32) | 0x80000000u;
	return ino;
}

struct fsys *fsys_by_dev(struct lam_stack *s, dev_t dev)
{
	unsigned n = atomic_load_explicit(&s->n_filesystems, memory_order_acquire);

	for (unsigned i = 0; i < n; i++)
		if (s->filesystems[i].dev == dev)
			return &s->filesystems[i];
	return NULL;
}

bool fsys_known_layout(uint64_t f_type)
{
	switch (f_type) {
	case 0xef53:	 /* ext2, ext3, ext4 */
	case 0x58465342: /* xfs */
	case 0x9123683e: /* btrfs */
	case TMPFS_TYPE:
	case 0xf2f52010: /* f2fs */
		return true;
	default:
		return false;
	}
}

#define XFS_HANDLE 0x81
#define BTRFS_HANDLE 0x4d /* number of the inode, of the subvolume, generation */
#define BTRFS_HANDLE_LEN 20u
#define SUBVOLUME_ROOT 256u /* the number of its root */

/* Whether xfs tells the generation of an inode by number, which only root may ask. */
static bool xfs_tells(int root_fd, const struct sys_handle *h)
{
	uint32_t generation;
	uint64_t ino;

	return fid_inode(h->type, h->fid, h->len, false, &ino, &generation) == 0 &&
	       sys_xfs_generation(root_fd, ino, &generation) == 0;
}

static void probe_handles(struct fsys *fs, int root_fd)
{
	struct sys_handle h;
	int fd;

	fs->handle_type = -1;
	if (sys_name_to_handle(root_fd, "", &h, NULL) < 0)
		return;
	fs->handle_type = h.type;
	fs->can_encode = true;
	if (h.type == BTRFS_HANDLE && h.len >= BTRFS_HANDLE_LEN)
		memcpy(&fs->subvolume, h.fid + 8, sizeof(fs->subvolume));
	fd = sys_open_by_handle(root_fd, &h, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return;
	sys_close(fd);
	fs->can_decode_dirs = true;
	fs->can_decode = sys_init_ns_capable(CAP_DAC_READ_SEARCH);
	fs->needs_generation = fs->tmpfs || (h.type == XFS_HANDLE && !xfs_tells(root_fd, &h));
}

/* The index an earlier mount gave to the filesystem with this key, or a new one. */
static uint8_t index_for_key(struct lam_stack *s, const char *key)
{
	char buf[8192], *line, *save = NULL;
	uint64_t used = 0;
	CLEANUP_CLOSE int fd = -1;
	bool torn;
	ssize_t n;
	uint8_t index;

	for (unsigned i = 0; i < s->n_filesystems; i++)
		used |= 1ull << s->filesystems[i].index;
	if (s->own_fd < 0) {
		index = (uint8_t)__builtin_ctzll(~used);
		return index;
	}
	fd = sys_openat(s->own_fd, "filesystems", O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW, 0600);
	if (fd < 0)
		return (uint8_t)__builtin_ctzll(~used);
	n = sys_pread(fd, buf, sizeof(buf) - 1, 0);
	buf[n > 0 ? n : 0] = '\0';
	torn = n > 0 && buf[n - 1] != '\n'; /* by a crash: the next line must not go on in it */
	for (line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *end;
		unsigned long i = strtoul(line, &end, 10);

		if (i >= MAX_FILESYSTEMS || *end != ' ')
			continue; /* not a line of ours */
		if (!strcmp(end + 1, key) && !(used & 1ull << i))
			return (uint8_t)i;
		used |= 1ull << i;
	}
	if (!~(used | 1ull << MAX_FILESYSTEMS)) {
		log_warning(
			"workdir/lamina/filesystems is full: inode numbers may change at the next mount");
		used = 0;
		for (unsigned i = 0; i < s->n_filesystems; i++)
			used |= 1ull << s->filesystems[i].index;
		return (uint8_t)__builtin_ctzll(~used);
	}
	index = (uint8_t)__builtin_ctzll(~used);
	n = snprintf(buf, sizeof(buf), "%s%u %s\n", torn ? "\n" : "", index, key);
	if (sys_pwrite(fd, buf, (size_t)n, 0) < 0) /* O_APPEND: goes to the end */
		log_warning(
			"cannot write workdir/lamina/filesystems: inode numbers may change at the next mount");
	return index;
}

static void make_key(const struct fsys *fs, int root_fd, char out[128])
{
	static const char hex[] = "0123456789abcdef";
	struct statfs sf;
	size_t pos = 0;

	for (unsigned i = 0; fs->has_uuid && i < FH_UUID_LEN; i++) {
		out[pos++] = hex[fs->uuid[i] >> 4];
		out[pos++] = hex[fs->uuid[i] & 15];
	}
	/* The subvolumes of a btrfs have one UUID and the same inode numbers. */
	if (fs->has_uuid && fs->subvolume)
		pos += (size_t)snprintf(out + pos, 128 - pos, ":%llu",
					(unsigned long long)fs->subvolume);
	if (!fs->has_uuid && !sys_statfs(root_fd, &sf))
		pos += (size_t)snprintf(out + pos, 128 - pos, "type:%lx:%x%08x", (long)sf.f_type,
					(unsigned)sf.f_fsid.__val[0], (unsigned)sf.f_fsid.__val[1]);
	out[pos] = '\0';
}

struct fsys *fsys_add(struct lam_stack *s, int fd, const struct statx *st, struct fsys *host)
{
	struct mutex *guard MUTEX_GUARD = mutex_guard(&s->fs_lock);
	struct fsys *fs = fsys_by_dev(s, statx_dev(st));
	struct statfs sf;
	char key[128];

	if (fs)
		return fs;
	if (s->n_filesystems == MAX_FILESYSTEMS)
		return NULL;
	fs = &s->filesystems[s->n_filesystems];
	memset(fs, 0, sizeof(*fs));
	fs->dev = statx_dev(st);
	fs->mount_fd = fd;
	if (host) { /* for as long as the stack; nobody else keeps this one */
		fs->mount_fd = sys_dup(fd);
		if (fs->mount_fd < 0)
			return NULL;
		fs->owns_fd = true;
	}
	fs->has_uuid = sys_fs_uuid(fd, fs->uuid) == 0;
	if (!sys_statfs(fd, &sf)) {
		fs->tmpfs = sf.f_type == TMPFS_TYPE;
		fs->opaque_handles = !fsys_known_layout((uint64_t)sf.f_type);
	}
	fs->table = inotable_new();
	probe_handles(fs, fd);
	if (host && fs->subvolume && host->subvolume &&
	    !memcmp(fs->uuid, host->uuid, FH_UUID_LEN)) {
		fs->host = host;
		fs->uuid_unique = host->uuid_unique;
	}
	fs->births = fs->can_decode && !fs->opaque_handles && st->stx_mask & STATX_BTIME;
	make_key(fs, fd, key);
	fs->index = index_for_key(s, key);
	atomic_fetch_add_explicit(&s->n_filesystems, 1, memory_order_release);
	return fs;
}

struct fsys *fsys_met(struct lam_stack *s, int fd, const struct statx *st, struct fsys *host)
{
	struct fsys *fs = fsys_by_dev(s, statx_dev(st));

	return fs ? fs : fsys_add(s, fd, st, host);
}

static bool same_kind(const struct fsys *a, const uint8_t uuid[FH_UUID_LEN], uint64_t subvolume)
{
	return a->subvolume == subvolume && !memcmp(a->uuid, uuid, FH_UUID_LEN);
}

void fsys_finish(struct lam_stack *s)
{
	unsigned n = s->n_filesystems;

	for (unsigned i = 0; i < n; i++) {
		struct fsys *a = &s->filesystems[i];

		/* A filesystem without a UUID has zeros; that will do where only one is so. */
		a->uuid_unique = a->can_encode;
		for (unsigned j = 0; j < n; j++)
			if (j != i && s->filesystems[j].can_encode &&
			    same_kind(&s->filesystems[j], a->uuid, a->subvolume))
				a->uuid_unique = false;
	}
	s->one_fs = n == 1;
}

/* ---- Subvolumes that no lookup has come to yet ---- */

/* Open the root of a subvolume of A; it counts only where it lies in a layer. */
static struct fsys *open_subvolume(struct lam_stack *s, const struct fsys *a, uint64_t subvolume)
{
	struct sys_handle h = { .type = BTRFS_HANDLE, .len = BTRFS_HANDLE_LEN };
	const uint64_t root = SUBVOLUME_ROOT;

	memcpy(h.fid, &root, sizeof(root));
	memcpy(h.fid + 8, &subvolume, sizeof(subvolume));
	for (uint16_t i = s->has_upper ? 0 : 1; i <= s->n_lower; i++) {
		CLEANUP_CLOSE int fd = -1;
		CLEANUP_FREE char *path = NULL;
		struct statx st;

		if (!layer_has_fs(s, i, a))
			continue;
		fd = sys_open_by_handle(s->layers[i].fd, &h, O_RDONLY | O_DIRECTORY);
		if (fd >= 0 && path_below(s, fd, i, &path) == 0 && *path &&
		    sys_statx(fd, "", &st) == 0)
			return fsys_met(s, fd, &st, s->layers[i].fs);
	}
	return NULL;
}

static struct fsys *find_subvolume(struct lam_stack *s, const uint8_t uuid[FH_UUID_LEN],
				   uint64_t subvolume)
{
	unsigned n = atomic_load_explicit(&s->n_filesystems, memory_order_acquire);

	for (unsigned i = 0; i < n; i++) {
		struct fsys *a = &s->filesystems[i];

		if (a->subvolume && !a->host && a->can_decode_dirs &&
		    !memcmp(a->uuid, uuid, FH_UUID_LEN)) {
			struct fsys *fs = open_subvolume(s, a, subvolume);

			if (fs)
				return fs;
		}
	}
	return NULL;
}

struct fsys *fsys_by_fh(struct lam_stack *s, const struct fh_view *v)
{
	unsigned n = atomic_load_explicit(&s->n_filesystems, memory_order_acquire);
	uint64_t subvolume = 0;

	if (v->type == BTRFS_HANDLE && v->fid_len >= BTRFS_HANDLE_LEN)
		memcpy(&subvolume, v->fid + 8, sizeof(subvolume));
	for (unsigned i = 0; i < n; i++) {
		struct fsys *fs = &s->filesystems[i];

		if (fs->uuid_unique && same_kind(fs, v->uuid, subvolume))
			return fs;
	}
	return subvolume ? find_subvolume(s, v->uuid, subvolume) : NULL;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The UUID and subvolume of a key that make_key() made for one. */
static bool parse_key(const char *key, uint8_t uuid[FH_UUID_LEN], uint64_t *ret_subvolume)
{
	char *end;

	for (unsigned i = 0; i < FH_UUID_LEN; i++) {
		int high = hex_digit(key[2 * i]), low = high < 0 ? -1 : hex_digit(key[2 * i + 1]);

		if (low < 0)
			return false;
		uuid[i] = (uint8_t)(high << 4 | low);
	}
	key += 2 * FH_UUID_LEN;
	if (*key++ != ':')
		return false;
	*ret_subvolume = strtoull(key, &end, 10);
	return *end == '\0' && *ret_subvolume;
}

/* What an earlier mount wrote down under this index, if it is a subvolume in a layer. */
static struct fsys *subvolume_by_index(struct lam_stack *s, unsigned index)
{
	char buf[8192], *line, *save = NULL;
	CLEANUP_CLOSE int fd = -1;
	ssize_t n;

	if (s->own_fd < 0)
		return NULL;
	fd = sys_openat(s->own_fd, "filesystems", O_RDONLY | O_NOFOLLOW, 0);
	n = fd < 0 ? fd : sys_pread(fd, buf, sizeof(buf) - 1, 0);
	if (n <= 0)
		return NULL;
	buf[n] = '\0';
	for (line = strtok_r(buf, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		uint8_t uuid[FH_UUID_LEN];
		uint64_t subvolume;
		char *end;

		if (strtoul(line, &end, 10) != index || *end != ' ' ||
		    !parse_key(end + 1, uuid, &subvolume))
			continue;
		/* The first of a name is the one that counts: index_for_key() */
		return find_subvolume(s, uuid, subvolume);
	}
	return NULL;
}

void fsys_destroy(struct lam_stack *s)
{
	for (unsigned i = 0; i < s->n_filesystems; i++) {
		struct fsys *fs = &s->filesystems[i];
		struct inotable *t = fs->table;

		numset_clear(&fs->inside);
		if (fs->owns_fd)
			sys_close(fs->mount_fd);
		if (!t)
			continue;
		free(t->slots);
		free(t);
	}
}

uint32_t birth_generation(const struct statx *st)
{
	uint64_t h = hash_u64((uint64_t)st->stx_btime.tv_sec * 1000000000u + st->stx_btime.tv_nsec);
	uint32_t generation = (uint32_t)(h >> 32);

	return generation ? generation : 1;
}

uint32_t fsys_generation(struct lam_stack *s, struct fsys *fs, int fd, const char *name,
			 struct sys_handle *ret)
{
	struct sys_handle h;
	uint32_t generation;
	uint64_t ino;

	(void)s;
	if (!fs->can_encode || sys_name_to_handle(fd, name, ret ? ret : &h, NULL) < 0)
		return 0;
	if (!ret)
		ret = &h;
	if (fs->opaque_handles ||
	    fid_inode(ret->type, ret->fid, ret->len, fs->tmpfs, &ino, &generation) < 0)
		return 0;
	return generation;
}

int fsys_fh(struct lam_stack *s, struct fsys *fs, int fd, const char *name, bool path_upper,
	    struct fh *ret)
{
	struct sys_handle h;
	int r;

	(void)s;
	if (!fs->can_encode)
		return -EOPNOTSUPP;
	r = sys_name_to_handle(fd, name, &h, NULL);
	if (r < 0)
		return r == -EOVERFLOW ? -EOPNOTSUPP : r; /* too long for what is stored */
	return fh_encode(h.type, fs->uuid, h.fid, h.len, path_upper, ret);
}

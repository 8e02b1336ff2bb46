/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening and closing a stack: settings checked and resolved, layers opened, root made. */
#include "core.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/resource.h>

#define LISTING_BYTES_DEFAULT (2u << 20)
#define LISTING_NAMES_MAX 200000u

/* ---- Settings ---- */

static int settle_redirect(struct lam_stack *s, const struct lam_config *c)
{
	enum lam_redirect r = c->redirect_dir;

	if (r == LAM_REDIRECT_DEFAULT)
		r = LAM_REDIRECT_ON;
	s->redirect_on = r == LAM_REDIRECT_ON;
	s->redirect_follow = r == LAM_REDIRECT_ON || r == LAM_REDIRECT_FOLLOW ||
			     r == LAM_REDIRECT_OFF;
	s->xino_on = c->xino == LAM_XINO_ON;
	return 0;
}

/* Settings that contradict each other are refused as the kernel's overlayfs refuses them. */
static int check_settings(const struct lam_config *c)
{
	if (c->upper && !c->work) {
		log_error("upperdir needs a workdir");
		return -EINVAL;
	}
	if (c->work && !c->upper) {
		log_error("workdir makes no sense without an upperdir");
		return -EINVAL;
	}
	if (!c->n_lower) {
		log_error("at least one lower layer is needed");
		return -EINVAL;
	}
	if (c->n_lower + c->n_data_lower > 60000) {
		log_error("too many layers: %zu", c->n_lower + c->n_data_lower);
		return -EINVAL;
	}
	if (c->metacopy == LAM_ON && c->redirect_dir != LAM_REDIRECT_DEFAULT &&
	    c->redirect_dir != LAM_REDIRECT_ON) {
		log_error("metacopy=on needs redirect_dir=on");
		return -EINVAL;
	}
	if (c->nfs_export == LAM_ON && c->index == LAM_OFF) {
		log_error("nfs_export=on needs index=on");
		return -EINVAL;
	}
	if (c->nfs_export == LAM_ON && c->metacopy == LAM_ON) {
		log_error("nfs_export=on and metacopy=on do not go together");
		return -EINVAL;
	}
	if (c->xattr_permissions < 0 || c->xattr_permissions > 2) {
		log_error("xattr_permissions is 0, 1 or 2");
		return -EINVAL;
	}
	return 0;
}

static int copy_map(const struct lam_idmap *from, struct lam_idmap *to)
{
	if (!from->extents)
		return 0;
	to->extents = calloc(from->n, sizeof(*to->extents));
	if (!to->extents)
		return -ENOMEM;
	memcpy(to->extents, from->extents, from->n * sizeof(*to->extents));
	to->n = from->n;
	return 0;
}

static int take_settings(struct lam_stack *s, const struct lam_config *c)
{
	int r = check_settings(c);

	if (r == 0)
		r = settle_redirect(s, c);
	if (r == 0)
		r = copy_map(&c->uidmap, &s->uidmap);
	if (r == 0)
		r = copy_map(&c->gidmap, &s->gidmap);
	if (r < 0)
		return r;
	s->has_upper = c->upper != NULL;
	s->read_only = c->read_only || !s->has_upper;
	s->privileged = sys_init_ns_capable(CAP_SYS_ADMIN);
	s->index = s->has_upper && c->index != LAM_OFF;
	s->nfs_export = s->index && c->nfs_export == LAM_ON;
	s->metacopy = c->metacopy == LAM_ON;
	s->metacopy_read = c->metacopy != LAM_OFF;
	s->read_dot_wh = c->dot_whiteouts != LAM_OFF;
	s->watch_lower = c->watch_lower;
	s->fsync = s->has_upper ? c->fsync : LAM_FSYNC_AUTO;
	s->ino32 = c->ino32;
	s->no_acl = c->no_acl;
	s->no_xattr = c->no_xattr;
	s->static_nlink = c->static_nlink;
	s->squash_uid = c->squash_uid;
	s->squash_gid = c->squash_gid;
	s->squash_to_uid = c->squash_to_uid;
	s->squash_to_gid = c->squash_to_gid;
	s->xattr_permissions = c->xattr_permissions;
	s->self_uid = geteuid();
	s->self_gid = getegid();
	s->can_switch_ids = sys_can_switch_ids();
	s->path_fds_lead = sys_path_fds_lead();
	return 0;
}

static unsigned fd_limit(const struct lam_config *c)
{
	struct rlimit rl;
	unsigned limit = 4096;

	if (c->max_fds)
		return c->max_fds;
	/* Half of what there is: layers, transports and callers need some as well. */
	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur != RLIM_INFINITY &&
	    rl.rlim_cur / 2 < limit)
		limit = (unsigned)(rl.rlim_cur / 2);
	return limit < 16 ? 16 : limit;
}

/* ---- Layers ---- */

/* Where the descriptors of lam_config.dir_fds are. */
enum { DIR_UPPER, DIR_WORK, DIR_LOWER };

static int open_layer_dir(const char *path)
{
	int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		log_error("cannot open layer %s: %s", QUOTE(path), log_errno(fd));
	return fd;
}

/* A directory of the configuration, which may be open as its descriptor I.  It is opened anew: locks go
 * with the open file, and another process has this one. */
static int open_config_dir(const struct lam_config *c, size_t i, const char *path)
{
	int fd;

	if (!c->dir_fds || c->dir_fds[i] < 0)
		return open_layer_dir(path);
	fd = sys_openat(c->dir_fds[i], ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		log_error("cannot open layer %s again: %s", QUOTE(path), log_errno(fd));
	return fd;
}

static bool opens_handles(int dirfd)
{
	struct sys_handle h;
	int fd = sys_name_to_handle(dirfd, "", &h, NULL);

	if (fd == 0)
		fd = sys_open_by_handle(dirfd, &h, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return false;
	sys_close(fd);
	return true;
}

/* A lower layer is reached through a private read-only clone of its mount where that is allowed. */
static int protect_lower(int fd)
{
	int clone = sys_clone_readonly(fd), own;

	if (clone < 0)
		return fd;
	own = sys_openat(clone, ".", O_RDONLY | O_DIRECTORY, 0);
	sys_close(clone);
	if (own < 0)
		return fd;
	/* In a user namespace handles cannot be opened through a detached mount: they matter more, since
	 * nothing of a lower layer is ever opened for writing anyway. */
	if (opens_handles(fd) && !opens_handles(own)) {
		sys_close(own);
		return fd;
	}
	sys_close(fd);
	return own;
}

/* Take FD, which may be an error, as layer I. */
static int take_layer(struct lam_stack *s, uint16_t i, int fd, const char *path, bool data_only)
{
	struct layer *l = &s->layers[i];
	struct statx st;
	int r;

	if (fd < 0)
		return fd;
	l->fd = i == LAYER_UPPER ? fd : protect_lower(fd);
	l->data_only = data_only;
	l->path = strdup(path);
	if (!l->path)
		return -ENOMEM;
	r = sys_statx(l->fd, "", &st);
	if (r < 0)
		return r;
	l->ino = st.stx_ino;
	l->fs = fsys_add(s, l->fd, &st, NULL);
	if (!l->fs) {
		log_error("the layers lie on more than %u filesystems", MAX_FILESYSTEMS);
		return -EMFILE;
	}
	perm_probe_layer(s, i);
	return 0;
}

int dir_climb(int fd, climb_fn fn, void *ctx)
{
	CLEANUP_CLOSE int at = sys_dup(fd);
	struct statx st;
	uint64_t last_ino = 0;
	dev_t last_dev = 0;
	int r;

	if (at < 0)
		return at;
	for (;;) {
		int up;

		r = sys_statx(at, "", &st);
		if (r < 0)
			return r;
		if (fn(ctx, statx_dev(&st), st.stx_ino))
			return 1;
		if (st.stx_ino == last_ino && statx_dev(&st) == last_dev)
			return 0; /* the root: ".." is itself */
		last_ino = st.stx_ino;
		last_dev = statx_dev(&st);
		up = sys_openat(at, "..", O_PATH | O_DIRECTORY, 0);
		if (up < 0)
			return up == -EACCES ? 0 : up;
		sys_close(at);
		at = up;
	}
}

struct one_dir {
	dev_t dev;
	uint64_t ino;
};

static bool is_dir(void *ctx, dev_t dev, uint64_t ino)
{
	const struct one_dir *d = ctx;

	return d->ino == ino && d->dev == dev;
}

/* Whether directory FD lies below (or is) the directory with this number on this device. */
static int lies_below(int fd, dev_t dev, uint64_t ino)
{
	struct one_dir d = { dev, ino };

	return dir_climb(fd, is_dir, &d);
}

struct other_layer {
	const struct lam_stack *s;
	unsigned self;
	uint16_t n_open;
	const struct layer *found; /* NULL: the work directory */
};

static bool is_other_layer(void *ctx, dev_t dev, uint64_t ino)
{
	struct other_layer *o = ctx;
	const struct lam_stack *s = o->s;

	for (unsigned i = 0; i < o->n_open; i++) {
		const struct layer *l = &s->layers[i];

		if (i != o->self && l->fd >= 0 && l->ino == ino && l->fs->dev == dev) {
			o->found = l;
			return true;
		}
	}
	return s->base_fd >= 0 && s->work_ino == ino && s->layers[LAYER_UPPER].fs->dev == dev;
}

/* Layers must not overlap: an object would have two places.  Upper inside a lower one is let pass, as the
 * kernel does; a lookup that reaches it gives ELOOP. */
static int check_overlap(struct lam_stack *s, const char *path, unsigned self, uint16_t n_open)
{
	struct other_layer o = { .s = s, .self = self, .n_open = n_open };
	CLEANUP_CLOSE int fd = open_layer_dir(path);
	int r = fd < 0 ? fd : dir_climb(fd, is_other_layer, &o);

	if (r <= 0)
		return r;
	if (o.found)
		log_error("layers overlap: %s lies in %s", QUOTE(path), QUOTE(o.found->path));
	else
		log_error("layer %s lies in the work directory", QUOTE(path));
	return -ELOOP;
}

static bool same_as_earlier(struct lam_stack *s, uint16_t i)
{
	for (uint16_t j = 1; j < i; j++)
		if (s->layers[j].ino == s->layers[i].ino && s->layers[j].fs == s->layers[i].fs &&
		    s->layers[j].data_only == s->layers[i].data_only)
			return true;
	return false;
}

static void close_layer(struct layer *l)
{
	if (l->fd >= 0)
		sys_close(l->fd);
	free(l->path);
	l->path = NULL;
	l->fd = -1;
}

static int open_lowers(struct lam_stack *s, const struct lam_config *c, bool data)
{
	const char *const *paths = data ? c->data_lower : c->lower;
	size_t n = data ? c->n_data_lower : c->n_lower;

	for (size_t i = 0; i < n; i++) {
		int fd = open_config_dir(c, DIR_LOWER + (data ? c->n_lower : 0) + i, paths[i]);
		int r = take_layer(s, s->n_layers, fd, paths[i], data);

		if (r < 0) {
			s->n_layers++; /* closed with the rest */
			return r;
		}
		if (same_as_earlier(s, s->n_layers)) {
			/* The same directory again, lower down, shows nothing that the first does not. */
			close_layer(&s->layers[s->n_layers]);
			continue;
		}
		s->n_layers++;
		if (data)
			s->n_data++;
		else
			s->n_lower++;
	}
	return 0;
}

static int open_upper(struct lam_stack *s, const struct lam_config *c)
{
	struct statx up, work;
	struct sys_handle h;
	int mount_up = 0, mount_work = 0, r;

	r = take_layer(s, LAYER_UPPER, open_config_dir(c, DIR_UPPER, c->upper), c->upper, false);
	if (r < 0)
		return r;
	s->base_fd = open_config_dir(c, DIR_WORK, c->work);
	if (s->base_fd < 0)
		return s->base_fd;
	r = sys_statx(s->layers[LAYER_UPPER].fd, "", &up);
	if (r == 0)
		r = sys_statx(s->base_fd, "", &work);
	if (r < 0)
		return r;
	s->work_ino = work.stx_ino;
	if (sys_name_to_handle(s->layers[LAYER_UPPER].fd, "", &h, &mount_up) < 0 ||
	    sys_name_to_handle(s->base_fd, "", &h, &mount_work) < 0)
		mount_up = mount_work = 0;
	if (statx_dev(&up) != statx_dev(&work) || mount_up != mount_work) {
		log_error("upperdir %s and workdir %s must be on the same mount", QUOTE(c->upper),
			  QUOTE(c->work));
		return -EINVAL;
	}
	if (lies_below(s->base_fd, statx_dev(&up), up.stx_ino) ||
	    lies_below(s->layers[LAYER_UPPER].fd, statx_dev(&work), work.stx_ino)) {
		log_error("upperdir %s and workdir %s must be separate directories",
			  QUOTE(c->upper), QUOTE(c->work));
		return -EINVAL;
	}
	return work_open(s, c);
}

static int open_layers(struct lam_stack *s, const struct lam_config *c)
{
	size_t total = 1 + c->n_lower + c->n_data_lower;
	int r = 0;

	s->layers = calloc(total, sizeof(*s->layers));
	if (!s->layers)
		return -ENOMEM;
	for (size_t i = 0; i < total; i++)
		s->layers[i].fd = -1;
	s->n_layers = 1;
	if (s->has_upper)
		r = open_upper(s, c);
	if (r == 0)
		r = open_lowers(s, c, false);
	if (r == 0)
		r = open_lowers(s, c, true);
	/* Who takes over has the directories that were found good, and no paths to look at. */
	for (uint16_t i = 1; r == 0 && !c->takeover && i < s->n_layers; i++)
		r = check_overlap(s, s->layers[i].path, i, s->n_layers);
	return r;
}

/* What the settings come to, now that the filesystems are known. */
/* Whether an object of any layer is found by its number alone. */
static bool resolves_files(const struct lam_stack *s)
{
	for (unsigned i = 0; i < s->n_filesystems; i++) {
		if (!s->filesystems[i].can_decode)
			return false;
	}
	return true;
}

static void settle(struct lam_stack *s, const struct lam_config *c)
{
	struct layer *upper = &s->layers[LAYER_UPPER];

	fsys_finish(s);
	if (!s->has_upper) {
		s->userxattr = c->userxattr == LAM_ON ||
			       (c->userxattr == LAM_DEFAULT && !s->privileged);
		return;
	}
	s->upper_handles = upper->fs->can_decode;
	if (!s->upper_xattr) {
		s->index = s->nfs_export = s->metacopy = s->redirect_on = false;
		log_info("upper %s has no extended attributes: no index, no redirects",
			 QUOTE(c->upper));
	}
	if (!s->upper_char_wh || s->write_dot_wh)
		s->nfs_export = false; /* the index marks what is removed by character devices */
	if (c->xattr_permissions)
		upper->override_name = c->xattr_permissions == 1 ? XATTR_OVERRIDE_PRIVILEGED
								 : XATTR_OVERRIDE_CONTAINERS;
	/* Who finishes a copy, perhaps another process, has nothing but the number of the file. */
	if (c->copy_behind && resolves_files(s))
		s->behinds.min = c->copy_behind;
}

/* ---- The root ---- */

static int make_root_stack(struct lam_stack *s)
{
	s->root_stack = calloc(s->n_lower, sizeof(*s->root_stack));
	if (!s->root_stack)
		return -ENOMEM;
	for (uint16_t i = 0; i < s->n_lower; i++) {
		s->root_stack[i] = rdir_new(NULL, NULL, (uint16_t)(i + 1), s->layers[i + 1].ino);
		if (!s->root_stack[i])
			return -ENOMEM;
		s->root_stack[i]->true_numbers = !s->layers[i + 1].fs->opaque_handles;
	}
	if (!s->has_upper)
		return 0;
	s->upper_root = rdir_new(NULL, NULL, LAYER_UPPER, s->layers[LAYER_UPPER].ino);
	return s->upper_root ? 0 : -ENOMEM;
}

static int make_root(struct lam_stack *s)
{
	struct layer *bottom = &s->layers[s->n_lower];
	struct node *root;
	bool is_new;
	int r = make_root_stack(s);

	if (r < 0)
		return r;
	s->root_ino_id = id_make(s, bottom->fs, bottom->ino, false);
	root = node_obtain(s, LAM_ROOT_ID, S_IFDIR, &is_new);
	if (!root)
		return -ENOMEM;
	s->root = root;
	root->dir->lower = calloc(s->n_lower, sizeof(struct rdir *));
	if (!root->dir->lower)
		return -ENOMEM;
	for (uint16_t i = 0; i < s->n_lower; i++)
		root->dir->lower[i] = rdir_ref(s->root_stack[i]);
	root->dir->n_lower = s->n_lower;
	root->layer = 1;
	root->real_ino = s->layers[1].ino;
	if (s->has_upper) {
		root->dir->upper = rdir_ref(s->upper_root);
		root->layer = LAYER_UPPER;
		root->real_ino = s->layers[LAYER_UPPER].ino;
		root->flags |= NF_PROTATTR;
	}
	return 0;
}

/* ---- Open and close ---- */

static struct lam_stack *stack_alloc(const struct lam_config *c)
{
	struct lam_stack *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->base_fd = s->work_fd = s->index_fd = s->own_fd = s->orphan_fd = s->links_fd =
		s->origins_fd = s->special_fd = s->lock_fd = s->begun_fd = -1;
	mutex_init(&s->fs_lock, RANK_LEAF);
	mutex_init(&s->work_lock, RANK_WORK);
	mutex_init(&s->orphans_lock, RANK_ORPHANS);
	mutex_init(&s->rename_lock, RANK_RENAME);
	for (unsigned i = 0; i < NAME_STRIPES; i++)
		mutex_init(&s->name_locks[i], RANK_NAMES);
	mutex_init(&s->copyup_lock, RANK_LEAF);
	mutex_init(&s->behinds.lock, RANK_LEAF);
	TAILQ_INIT(&s->behinds.all);
	s->behinds.dir_fd = -1;
	s->behinds.min = UINT64_MAX;
	mutex_init(&s->alias_lock, RANK_LEAF);
	mutex_init(&s->record_lock, RANK_LEAF);
	mutex_init(&s->rdir_lock, RANK_RDIR);
	mutex_init(&s->listings_lock, RANK_LISTINGS);
	mutex_init(&s->origins_lock, RANK_MAP);
	TAILQ_INIT(&s->listings);
	s->listings_limit = c->max_cache_bytes ? c->max_cache_bytes : LISTING_BYTES_DEFAULT;
	s->listing_max = LISTING_NAMES_MAX;
	fdcache_init(&s->fds, fd_limit(c));
	s->node_limit = c->max_nodes;
	s->takeover = c->takeover;
	return s;
}

int lam_stack_open(const struct lam_config *config, struct lam_stack **ret)
{
	struct lam_stack *s = stack_alloc(config);
	int r;

	if (!s)
		return -ENOMEM;
	r = nodes_init(s);
	if (r == 0)
		r = take_settings(s, config);
	if (r == 0)
		r = open_layers(s, config);
	if (r == 0)
		settle(s, config);
	if (r == 0)
		r = make_root(s);
	if (r == 0 && s->index)
		r = index_open(s);
	if (r < 0) {
		lam_stack_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void lam_stack_close(struct lam_stack *s)
{
	if (!s)
		return;
	behinds_close(s);
	uppermap_destroy(s);
	nodes_destroy(s);
	for (uint16_t i = 0; s->root_stack && i < s->n_lower; i++)
		rdir_put(s, s->root_stack[i]);
	free(s->root_stack);
	rdir_put(s, s->upper_root);
	fdcache_destroy(&s->fds);
	work_close(s);
	for (uint16_t i = 0; s->layers && i < s->n_layers; i++)
		close_layer(&s->layers[i]);
	free(s->layers);
	fsys_destroy(s);
	free(s->uidmap.extents);
	free(s->gidmap.extents);
	free(s);
}

void lam_stack_info(const struct lam_stack *s, struct lam_info *ret)
{
	*ret = (struct lam_info){
		.writable = s->has_upper && !s->read_only,
		.privileged = s->privileged,
		.resolves_files = resolves_files(s),
		.index = s->index_fd >= 0,
		.nfs_export = s->nfs_export,
		.metacopy = s->metacopy,
		.redirect = s->redirect_on,
		.upper_tmpfile = s->upper_tmpfile,
		.upper_rename_whiteout = s->upper_rename_wh,
		.upper_xattr = s->upper_xattr,
		.upper_char_whiteout = s->upper_char_wh,
		.n_lower = s->n_lower,
		.n_data_lower = s->n_data,
		.n_filesystems = s->n_filesystems,
		.xattr_prefix = s->userxattr ? XATTR_USER_OVL : XATTR_TRUSTED_OVL,
	};
}

int lam_stack_set_read_only(struct lam_stack *s, bool read_only)
{
	if (!read_only && !s->has_upper)
		return -EROFS;
	if (read_only && s->has_upper) {
		int r = behinds_settle(s);

		if (r < 0)
			return r;
	}
	s->read_only = read_only;
	return read_only && s->has_upper ? lam_syncfs(s) : 0;
}

int lam_stack_add_user(struct lam_stack *s, lam_in_use_fn in_use, void *ctx)
{
	unsigned n = s->n_users;

	if (n == ARRAY_LEN(s->users))
		return -ENOSPC;
	s->users[n] = (struct user){ in_use, ctx };
	atomic_store_explicit(&s->n_users, n + 1, memory_order_release);
	/* What an earlier process began goes on when there is somebody who serves. */
	return atomic_load(&s->behinds.n) > 0 ? behind_kick(s) : 0;
}

void lam_stack_stats(struct lam_stack *s, struct lam_stats *ret)
{
	struct lam_stats st = {
		.nodes = s->stat_nodes,
		.node_bytes = s->stat_node_bytes,
		.copyups = s->stat_copyups,
		.copyup_bytes = s->stat_copyup_bytes,
		.whiteouts = s->stat_whiteouts,
		.orphans = s->stat_orphans,
	};
	struct listing *l;

	for (unsigned i = 0; i < NODE_SHARDS; i++) {
		struct node_shard *sh = &s->shards[i];

		mutex_lock(&sh->lock);
		st.node_hits += sh->hits;
		st.node_misses += sh->misses;
		mutex_unlock(&sh->lock);
	}
	mutex_lock(&s->fds.lock);
	st.fd_hits = s->fds.hits;
	st.fd_misses = s->fds.misses;
	st.fds = s->fds.count;
	mutex_unlock(&s->fds.lock);
	mutex_lock(&s->listings_lock);
	TAILQ_FOREACH(l, &s->listings, lru)
		st.listings++;
	st.listing_bytes = s->listings_bytes;
	mutex_unlock(&s->listings_lock);
	*ret = st;
}

void lam_set_log(lam_log_fn fn, void *ctx)
{
	log_set_sink(fn, ctx);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Opening layers for a check: locked as a mount locks them, refused where one has them. */
#include "check.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/file.h>

static int open_dir(const char *path)
{
	int fd = sys_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		log_error("cannot open %s: %s", QUOTE(path), log_errno(fd));
	return fd;
}

/* What a handle of this layer is good for. */
static void probe_layer(struct clayer *l)
{
	struct sys_handle h;
	struct statfs sf;
	int fd;

	l->has_uuid = sys_fs_uuid(l->fd, l->uuid) == 0;
	l->foreign = sys_statfs(l->fd, &sf) < 0 || !fsys_known_layout((uint64_t)sf.f_type);
	if (sys_name_to_handle(l->fd, "", &h, NULL) < 0)
		return;
	l->can_encode = true;
	fd = sys_open_by_handle(l->fd, &h, O_PATH);
	if (fd < 0)
		return;
	sys_close(fd);
	l->can_decode = sys_init_ns_capable(CAP_DAC_READ_SEARCH);
}

static int open_layer(struct check *c, uint16_t i, const char *path)
{
	struct clayer *l = &c->layers[i];
	struct statx st;
	int r;

	l->path = path;
	l->fd = open_dir(path);
	if (l->fd < 0)
		return l->fd;
	r = sys_statx(l->fd, "", &st);
	if (r < 0)
		return r;
	l->dev = statx_dev(&st);
	l->ino = st.stx_ino;
	probe_layer(l);
	return 0;
}

/* ---- The work directory ---- */

/* A directory of ours below the work directory; -1 where there is none. */
static int open_part(const char *name, int dirfd, int *ret)
{
	int fd = sys_openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);

	if (fd == -ENOENT)
		return 0;
	if (fd < 0) {
		log_error("cannot open %s in the work directory: %s", name, log_errno(fd));
		return fd;
	}
	*ret = fd;
	return 0;
}

static int same_mount(struct check *c)
{
	struct clayer *up = &c->layers[LAYER_UPPER];
	struct sys_handle h;
	struct statx st;
	int mount_up = 0, mount_work = 0;
	int r = sys_statx(c->base_fd, "", &st);

	if (r < 0)
		return r;
	c->work_ino = st.stx_ino;
	if (sys_name_to_handle(up->fd, "", &h, &mount_up) < 0 ||
	    sys_name_to_handle(c->base_fd, "", &h, &mount_work) < 0)
		mount_up = mount_work = 0;
	if (statx_dev(&st) == up->dev && mount_up == mount_work)
		return 0;
	log_error("upperdir %s and workdir %s must be on the same mount", QUOTE(c->config->upper),
		  QUOTE(c->config->work));
	return -EINVAL;
}

static int in_use(const char *path)
{
	log_error("%s is in use by a mount: unmount it first", QUOTE(path));
	return -EBUSY;
}

/* The locks of a mount.  A filesystem without locks does without. */
static int take_locks(struct check *c, const char *path)
{
	if (flock(c->layers[LAYER_UPPER].fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return in_use(path);
	if (c->own_fd < 0)
		return 0;
	c->lock_fd = sys_openat(c->own_fd, "lock", O_RDWR | O_NOFOLLOW, 0);
	if (c->lock_fd == -EACCES || c->lock_fd == -EROFS)
		c->lock_fd = sys_openat(c->own_fd, "lock", O_RDONLY | O_NOFOLLOW, 0);
	if (c->lock_fd >= 0 && flock(c->lock_fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
		return in_use(path);
	return 0;
}

static int kernel_uses(int fd, const char *path)
{
	int r = sys_overlay_uses(fd);

	return r > 0 ? in_use(path) : r;
}

static int open_work(struct check *c)
{
	int r;

	c->base_fd = open_dir(c->config->work);
	if (c->base_fd < 0)
		return c->base_fd;
	r = same_mount(c);
	if (r == 0)
		r = open_part("lamina", c->base_fd, &c->own_fd);
	if (r == 0)
		r = take_locks(c, c->config->upper);
	if (r == 0)
		r = kernel_uses(c->layers[LAYER_UPPER].fd, c->config->upper);
	if (r == 0)
		r = kernel_uses(c->base_fd, c->config->work);
	if (r == 0)
		r = open_part("work", c->base_fd, &c->work_fd);
	if (r == 0)
		r = open_part("index", c->base_fd, &c->index_fd);
	return r;
}

/* ---- Overlap ---- */

struct other {
	const struct check *c;
	uint16_t self;
	const char *found;
};

static bool is_other(void *ctx, dev_t dev, uint64_t ino)
{
	struct other *o = ctx;
	const struct check *c = o->c;

	for (uint16_t i = 0; i < c->n_layers; i++) {
		const struct clayer *l = &c->layers[i];

		if (i == o->self || l->fd < 0 || l->ino != ino || l->dev != dev)
			continue;
		o->found = l->path;
		return true;
	}
	if (c->base_fd < 0 || c->work_ino != ino || c->layers[LAYER_UPPER].dev != dev)
		return false;
	o->found = c->config->work;
	return true;
}

/* Upper may lie in a lower layer, as in the kernel; a lower in any other layer may not. */
static int check_overlap(struct check *c)
{
	for (uint16_t i = 1; i < c->n_layers; i++) {
		struct other o = { .c = c, .self = i };
		struct problem p;
		int r = dir_climb(c->layers[i].fd, is_other, &o);

		if (r == 0)
			continue;
		if (r > 0)
			r = problem_begin(c, &p, KIND_LAYERS_OVERLAP, i, NULL);
		if (r < 0)
			return r;
		c->overlap = true;
		problem_say(&p, "layer %s is, or lies in, %s", QUOTE(c->layers[i].path),
			    QUOTE(o.found));
		(void)problem_mend(c, &p, false);
	}
	return 0;
}

/* ---- All of it ---- */

static int open_stack(struct check *c)
{
	const struct lam_config *f = c->config;
	size_t total = 1 + f->n_lower + f->n_data_lower;
	int r = 0;

	if (!f->n_lower || total > UINT16_MAX || !f->upper != !f->work) {
		log_error("%s", !f->n_lower	     ? "at least one lower layer is needed"
				: total > UINT16_MAX ? "too many layers"
						     : "upperdir and workdir belong together");
		return -EINVAL;
	}
	c->layers = calloc(total, sizeof(*c->layers));
	if (!c->layers)
		return -ENOMEM;
	c->n_layers = (uint16_t)total;
	c->n_lower = (uint16_t)f->n_lower;
	for (size_t i = 0; i < total; i++)
		c->layers[i].fd = -1;
	if (f->upper)
		r = open_layer(c, LAYER_UPPER, f->upper);
	for (size_t i = 0; i < f->n_lower && r == 0; i++)
		r = open_layer(c, (uint16_t)(1 + i), f->lower[i]);
	for (size_t i = 0; i < f->n_data_lower && r == 0; i++)
		r = open_layer(c, (uint16_t)(1 + f->n_lower + i), f->data_lower[i]);
	if (r == 0 && f->upper)
		r = open_work(c);
	return r < 0 ? r : check_overlap(c);
}

static int open_lone(struct check *c, const char *path)
{
	int r;

	c->lone = true;
	c->n_layers = 1;
	c->layers = calloc(1, sizeof(*c->layers));
	if (!c->layers)
		return -ENOMEM;
	c->layers[0].fd = -1;
	r = open_layer(c, 0, path);
	if (r == 0)
		r = take_locks(c, path);
	return r < 0 ? r : kernel_uses(c->layers[0].fd, path);
}

int check_open(struct check *c, const char *lone)
{
	const struct lam_config *f = c->config;

	c->base_fd = c->work_fd = c->index_fd = c->own_fd = c->stray_fd = c->lock_fd = -1;
	c->userxattr = f->userxattr == LAM_ON ||
		       (f->userxattr == LAM_DEFAULT && !sys_init_ns_capable(CAP_SYS_ADMIN));
	c->path = malloc(c->path_cap = 256);
	if (!c->path)
		return -ENOMEM;
	c->path[0] = '\0';
	return lone ? open_lone(c, lone) : open_stack(c);
}

void check_close(struct check *c)
{
	int *fds[] = {
		&c->stray_fd, &c->index_fd, &c->work_fd, &c->lock_fd, &c->own_fd, &c->base_fd
	};

	for (unsigned i = 0; c->layers && i < c->n_layers; i++) {
		lam_stack_close(c->layers[i].below);
		if (c->layers[i].fd >= 0)
			sys_close(c->layers[i].fd);
	}
	free(c->layers);
	for (unsigned i = 0; i < ARRAY_LEN(fds); i++)
		if (*fds[i] >= 0)
			sys_close(*fds[i]);
	table64_free(&c->claims);
	table64_free(&c->origins);
	table64_free(&c->linked);
	table64_free(&c->hidden);
	table64_free(&c->recorded);
	free(c->path);
}

struct lam_stack *check_below(struct check *c, uint16_t layer)
{
	const struct lam_config *f = c->config;
	struct clayer *l = &c->layers[layer];
	struct lam_config below = {
		.lower = f->lower + layer,
		.n_lower = (size_t)(c->n_lower - layer),
		.data_lower = f->data_lower,
		.n_data_lower = f->n_data_lower,
		.userxattr = f->userxattr,
		.dot_whiteouts = f->dot_whiteouts,
		.xattr_permissions = f->xattr_permissions,
	};

	if (l->below_tried)
		return l->below;
	l->below_tried = true;
	if (!c->lone && !c->overlap && layer < c->n_lower && lam_stack_open(&below, &l->below) < 0)
		l->below = NULL; /* the library said why: nothing can be said */
	return l->below;
}

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mount_libnfs [-m] URL DIRECTORY
 *
 * A mount whose every request goes to an NFS server by libnfs, so that programs work over that
 * library as over the kernel's client.  It knows objects by their handles alone, as that one does.
 * Runs until it is unmounted.
 *
 * Nothing is cached: names and attributes are asked for each time, and so are bytes; only with -m
 * does the kernel keep pages of a file while it is open and has not changed, without which no file
 * can be mapped shared.  What a client has to do is done: a server that is gone is waited for, and a
 * request whose answer did not come is sent again under its number (both by libnfs); who is told to
 * come later does; what was written unstable is kept until it is committed, and written again when
 * the server's verifier is another one; and an open file that is removed has a hidden name until it
 * is closed.
 *
 * Not there: attributes by name, copies and holes (the protocol has none), locks between clients,
 * users other than the one who mounted, more than one request at a time, and a hidden name for an
 * open file that something else is renamed over.
 */
#include "mount_libnfs.h"

#define PENDING_MAX ((size_t)16 << 20) /* bytes not committed, of one file */

static bool mappable;

/* ---- Names ---- */

static void do_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	LOOKUP3args args = { .what = at(parent, name) };
	struct object o;

	reply_entry(req, ASK(lookup, &args, take_lookup, &o), &o);
}

static void do_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	MKDIR3args args = { .where = at(parent, name), .attributes = with_mode(mode) };
	struct object o;

	reply_entry(req, ASK(mkdir, &args, take_mkdir, &o), &o);
}

static void do_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	SYMLINK3args args = {
		.where = at(parent, name),
		.symlink.symlink_data = (char *)(uintptr_t)target,
	};
	struct object o;

	reply_entry(req, ASK(symlink, &args, take_symlink, &o), &o);
}

static int create(fuse_ino_t parent, const char *name, mode_t mode, createmode3 how,
		  struct object *o)
{
	CREATE3args args = { .where = at(parent, name), .how.mode = how };

	args.how.createhow3_u.obj_attributes = with_mode(mode);
	return ASK(create, &args, take_create, o);
}

static void do_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
	MKNOD3args args = { .where = at(parent, name) };
	struct object o;

	if (S_ISREG(mode)) {
		reply_entry(req, create(parent, name, mode, GUARDED, &o), &o);
		return;
	}
	args.what.type = S_ISCHR(mode)	  ? NF3CHR
			 : S_ISBLK(mode)  ? NF3BLK
			 : S_ISSOCK(mode) ? NF3SOCK
					  : NF3FIFO;
	if (S_ISCHR(mode) || S_ISBLK(mode)) {
		args.what.mknoddata3_u.chr_device.dev_attributes = with_mode(mode);
		args.what.mknoddata3_u.chr_device.spec = (specdata3){ major(dev), minor(dev) };
	} else {
		args.what.mknoddata3_u.pipe_attributes = with_mode(mode);
	}
	reply_entry(req, ASK(mknod, &args, take_mknod, &o), &o);
}

static int rename_at(diropargs3 from, diropargs3 to)
{
	RENAME3args args = { .from = from, .to = to };

	return ASK(rename, &args, NULL, NULL);
}

/* Give the file another name if somebody has it open.  0: that is done; -1: nobody has; else an errno. */
static int hide(fuse_ino_t parent, const char *name)
{
	static unsigned number;
	LOOKUP3args args = { .what = at(parent, name) };
	struct object o;
	struct node *n;
	char hidden[sizeof(n->hidden)];
	int error = ASK(lookup, &args, take_lookup, &o);

	if (error)
		return error;
	n = find(&o.fh);
	if (!n || n->opens == 0 || n->hidden_in)
		return -1;
	snprintf(hidden, sizeof(hidden), ".nfs%08x%08x", (unsigned)getpid(), number++);
	error = rename_at(args.what, at(parent, hidden));
	if (error)
		return error;
	memcpy(n->hidden, hidden, sizeof(hidden));
	n->hidden_in = node_of(parent);
	n->hidden_in->lookups++;
	return 0;
}

static void do_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	REMOVE3args args = { .object = at(parent, name) };
	int error = hide(parent, name);

	if (error < 0)
		error = ASK(remove, &args, NULL, NULL);
	fuse_reply_err(req, error);
}

static void do_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	RMDIR3args args = { .object = at(parent, name) };

	fuse_reply_err(req, ASK(rmdir, &args, NULL, NULL));
}

static void do_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to,
		      const char *to_name, unsigned flags)
{
	fuse_reply_err(req, flags ? EINVAL : rename_at(at(parent, name), at(to, to_name)));
}

static void do_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	LINK3args args = { .file = node_of(ino)->fh, .link = at(parent, name) };
	struct object o = { .fh = args.file };
	int error = ASK(link, &args, NULL, NULL);

	if (!error)
		error = get_attributes(&o.fh, &o.attr);
	reply_entry(req, error, &o);
}

static void take_readlink(void *answer, void *to)
{
	*(char **)to = strdup(((READLINK3res *)answer)->READLINK3res_u.resok.data);
}

static void do_readlink(fuse_req_t req, fuse_ino_t ino)
{
	READLINK3args args = { .symlink = node_of(ino)->fh };
	char *target = NULL;
	int error = ASK(readlink, &args, take_readlink, &target);

	if (error || !target)
		fuse_reply_err(req, error ? error : ENOMEM);
	else
		fuse_reply_readlink(req, target);
	free(target);
}

static void do_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
	node_forget(node_of(ino), lookups);
	fuse_reply_none(req);
}

/* ---- Data ---- */

struct written {
	u_int count;
	stable_how committed;
	writeverf3 verf;
};

static void take_write(void *answer, void *to)
{
	const WRITE3resok *ok = &((WRITE3res *)answer)->WRITE3res_u.resok;
	struct written *w = to;

	w->count = ok->count;
	w->committed = ok->committed;
	memcpy(w->verf, ok->verf, sizeof(w->verf));
}

/* Write it all, and remember what is not stable. */
static int write_all(struct node *n, uint64_t off, const char *data, size_t len)
{
	while (len > 0) {
		WRITE3args args = { .file = n->fh, .offset = off, .stable = UNSTABLE };
		struct written w;
		struct unstable *u;
		int error;

		args.count = args.data.data_len = (u_int)len;
		args.data.data_val = (char *)(uintptr_t)data;
		error = ASK(write, &args, take_write, &w);
		if (error)
			return error;
		if (w.count == 0 || w.count > len)
			fatal("a WRITE of nothing, or of too much");
		if (w.committed == UNSTABLE) {
			u = allocate(sizeof(*u) + w.count);
			u->off = off;
			u->len = w.count;
			memcpy(u->verf, w.verf, sizeof(u->verf));
			memcpy(u->data, data, w.count);
			STAILQ_INSERT_TAIL(&n->pending, u, next);
			n->pending_bytes += w.count;
		}
		off += w.count;
		data += w.count;
		len -= w.count;
	}
	return 0;
}

static void take_commit(void *answer, void *to)
{
	memcpy(to, ((COMMIT3res *)answer)->COMMIT3res_u.resok.verf, sizeof(writeverf3));
}

/* Until the server has said, under the verifier of each of them, that all writes are stable. */
static int commit(struct node *n)
{
	while (!STAILQ_EMPTY(&n->pending)) {
		COMMIT3args args = { .file = n->fh };
		struct unstables sent = STAILQ_HEAD_INITIALIZER(sent);
		struct unstable *u;
		writeverf3 verf;
		int error = ASK(commit, &args, take_commit, verf);

		if (error)
			return error;
		STAILQ_CONCAT(&sent, &n->pending);
		n->pending_bytes = 0;
		while ((u = STAILQ_FIRST(&sent)) != NULL) {
			STAILQ_REMOVE_HEAD(&sent, next);
			if (memcmp(u->verf, verf, sizeof(verf)) != 0 && !error)
				error = write_all(n, u->off, u->data, u->len);
			free(u);
		}
		if (error)
			return error;
	}
	return 0;
}

static void do_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t len, off_t off,
		     struct fuse_file_info *fi)
{
	struct node *n = node_of(ino);
	int error = write_all(n, (uint64_t)off, data, len);

	(void)fi;
	if (!error && n->pending_bytes > PENDING_MAX)
		error = commit(n);
	if (error)
		fuse_reply_err(req, error);
	else
		fuse_reply_write(req, len);
}

struct piece {
	char *to;
	u_int count;
	bool eof;
};

static void take_read(void *answer, void *to)
{
	const READ3resok *ok = &((READ3res *)answer)->READ3res_u.resok;
	struct piece *p = to;

	if (ok->data.data_len != ok->count || ok->count > p->count)
		fatal("a READ of more than was asked for");
	memcpy(p->to, ok->data.data_val, ok->count);
	p->count = ok->count;
	p->eof = ok->eof;
}

static void do_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t off,
		    struct fuse_file_info *fi)
{
	char *buf = allocate(len);
	size_t done = 0;
	bool eof = false;
	int error = 0;

	(void)fi;
	while (done < len && !eof && !error) {
		READ3args args = { .file = node_of(ino)->fh, .offset = (uint64_t)off + done };
		struct piece p = { .to = buf + done };

		args.count = p.count = (u_int)(len - done);
		error = ASK(read, &args, take_read, &p);
		if (!error) {
			done += p.count;
			eof = p.eof || p.count == 0;
		}
	}
	if (error)
		fuse_reply_err(req, error);
	else
		fuse_reply_buf(req, buf, done);
	free(buf);
}

static void opened(struct node *n, struct fuse_file_info *fi)
{
	n->opens++;
	fi->direct_io = !mappable;
}

static void do_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	fattr3 attr;
	int error = get_attributes(&node_of(ino)->fh, &attr);

	if (error) {
		fuse_reply_err(req, error);
		return;
	}
	opened(node_of(ino), fi);
	fuse_reply_open(req, fi);
}

static void do_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
		      struct fuse_file_info *fi)
{
	struct fuse_entry_param e;
	struct object o;
	int error = create(parent, name, mode, fi->flags & O_EXCL ? GUARDED : UNCHECKED, &o);

	if (error) {
		fuse_reply_err(req, error);
		return;
	}
	e = entry_of(&o);
	opened(node_of(e.ino), fi);
	fuse_reply_create(req, &e, fi);
}

static void do_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	(void)fi;
	fuse_reply_err(req, commit(node_of(ino)));
}

/* A close: as the kernel's client, all is stable then. */
static void do_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	do_fsync(req, ino, 0, fi);
}

static void do_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct node *n = node_of(ino);
	int error = commit(n);

	(void)fi;
	if (--n->opens == 0 && n->hidden_in) {
		REMOVE3args args = { .object = { .dir = n->hidden_in->fh, .name = n->hidden } };

		if (ASK(remove, &args, NULL, NULL) != 0)
			fprintf(stderr, "mount_libnfs: %s stays\n", n->hidden);
		node_forget(n->hidden_in, 1);
		n->hidden_in = NULL;
	}
	fuse_reply_err(req, error);
}

/* ---- Attributes ---- */

static void do_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	fattr3 attr;
	int error = get_attributes(&node_of(ino)->fh, &attr);

	(void)fi;
	if (error) {
		fuse_reply_err(req, error);
		return;
	}
	st = as_stat(&attr);
	fuse_reply_attr(req, &st, 0);
}

static nfstime3 as_time(struct timespec ts)
{
	return (nfstime3){ (u_int)ts.tv_sec, (u_int)ts.tv_nsec };
}

static sattr3 wanted(const struct stat *st, int what)
{
	sattr3 a = { .mode.set_it = !!(what & FUSE_SET_ATTR_MODE) };

	a.mode.set_mode3_u.mode = st->st_mode & 07777;
	a.uid.set_it = !!(what & FUSE_SET_ATTR_UID);
	a.uid.set_uid3_u.uid = st->st_uid;
	a.gid.set_it = !!(what & FUSE_SET_ATTR_GID);
	a.gid.set_gid3_u.gid = st->st_gid;
	a.size.set_it = !!(what & FUSE_SET_ATTR_SIZE);
	a.size.set_size3_u.size = (uint64_t)st->st_size;
	a.atime.set_it = what & FUSE_SET_ATTR_ATIME_NOW ? SET_TO_SERVER_TIME
			 : what & FUSE_SET_ATTR_ATIME	? SET_TO_CLIENT_TIME
							: DONT_CHANGE;
	a.atime.set_atime_u.atime = as_time(st->st_atim);
	a.mtime.set_it = what & FUSE_SET_ATTR_MTIME_NOW ? SET_TO_SERVER_TIME
			 : what & FUSE_SET_ATTR_MTIME	? SET_TO_CLIENT_TIME
							: DONT_CHANGE;
	a.mtime.set_mtime_u.mtime = as_time(st->st_mtim);
	return a;
}

static void do_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int what,
		       struct fuse_file_info *fi)
{
	struct node *n = node_of(ino);
	SETATTR3args args = { .object = n->fh, .new_attributes = wanted(st, what) };
	/* What is sent again after it must not undo it. */
	int error = commit(n);

	if (!error)
		error = ASK(setattr, &args, NULL, NULL);
	if (error)
		fuse_reply_err(req, error);
	else
		do_getattr(req, ino, fi);
}

static void take_access(void *answer, void *to)
{
	*(u_int *)to = ((ACCESS3res *)answer)->ACCESS3res_u.resok.access;
}

static void do_access(fuse_req_t req, fuse_ino_t ino, int mask)
{
	ACCESS3args args = { .object = node_of(ino)->fh };
	fattr3 attr;
	u_int given = 0;
	int error = get_attributes(&args.object, &attr);

	if (mask & R_OK)
		args.access |= ACCESS3_READ;
	if (mask & W_OK)
		args.access |= ACCESS3_MODIFY;
	if (mask & X_OK)
		args.access |= attr.type == NF3DIR ? ACCESS3_LOOKUP : ACCESS3_EXECUTE;
	if (!error)
		error = ASK(access, &args, take_access, &given);
	if (!error && (given & args.access) != args.access)
		error = EACCES;
	fuse_reply_err(req, error);
}

static void take_fsstat(void *answer, void *to)
{
	*(FSSTAT3resok *)to = ((FSSTAT3res *)answer)->FSSTAT3res_u.resok;
}

static void do_statfs(fuse_req_t req, fuse_ino_t ino)
{
	FSSTAT3args args = { .fsroot = node_of(ino)->fh };
	FSSTAT3resok ok;
	struct statvfs st = { .f_bsize = 4096, .f_frsize = 4096, .f_namemax = 255 };
	int error = ASK(fsstat, &args, take_fsstat, &ok);

	if (error) {
		fuse_reply_err(req, error);
		return;
	}
	st.f_blocks = ok.tbytes / 4096;
	st.f_bfree = ok.fbytes / 4096;
	st.f_bavail = ok.abytes / 4096;
	st.f_files = ok.tfiles;
	st.f_ffree = ok.ffiles;
	st.f_favail = ok.afiles;
	fuse_reply_statfs(req, &st);
}

/* ---- Listings ---- */

/* An open directory. */
struct listing {
	cookieverf3 verf;
};

static void do_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	fi->fh = (uint64_t)(uintptr_t)allocate(sizeof(struct listing));
	fuse_reply_open(req, fi);
}

static void do_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	free((struct listing *)(uintptr_t)fi->fh);
	fuse_reply_err(req, 0);
}

struct portion {
	fuse_req_t req;
	struct listing *listing;
	char *buf;
	size_t size, len;
};

/* What does not fit is asked for again, by its cookie. */
static void take_readdir(void *answer, void *to)
{
	const READDIR3resok *ok = &((READDIR3res *)answer)->READDIR3res_u.resok;
	struct portion *p = to;

	memcpy(p->listing->verf, ok->cookieverf, sizeof(p->listing->verf));
	for (const entry3 *e = ok->reply.entries; e; e = e->nextentry) {
		const struct stat st = { .st_ino = e->fileid };
		size_t n = fuse_add_direntry(p->req, p->buf + p->len, p->size - p->len, e->name,
					     &st, (off_t)e->cookie);

		if (n > p->size - p->len)
			return;
		p->len += n;
	}
	if (!ok->reply.entries && !ok->reply.eof)
		fatal("a listing that does not go on");
}

static void do_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	struct listing *listing = (struct listing *)(uintptr_t)fi->fh;
	READDIR3args args = { .dir = node_of(ino)->fh, .cookie = (uint64_t)off };
	struct portion p = { .req = req, .listing = listing, .size = size };
	int error;

	args.count = size > 8192 ? (u_int)size : 8192;
	if (off == 0)
		memset(listing->verf, 0, sizeof(listing->verf));
	memcpy(args.cookieverf, listing->verf, sizeof(args.cookieverf));
	p.buf = allocate(size);
	error = ASK(readdir, &args, take_readdir, &p);
	if (error)
		fuse_reply_err(req, error);
	else
		fuse_reply_buf(req, p.buf, p.len);
	free(p.buf);
}

/* ---- The mount ---- */

static void do_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->want &= ~(unsigned)FUSE_CAP_ATOMIC_O_TRUNC; /* that comes as a change of the size */
}

static const struct fuse_lowlevel_ops ops = {
	.init = do_init,
	.lookup = do_lookup,
	.forget = do_forget,
	.getattr = do_getattr,
	.setattr = do_setattr,
	.readlink = do_readlink,
	.mknod = do_mknod,
	.mkdir = do_mkdir,
	.unlink = do_unlink,
	.rmdir = do_rmdir,
	.symlink = do_symlink,
	.rename = do_rename,
	.link = do_link,
	.open = do_open,
	.read = do_read,
	.write = do_write,
	.flush = do_flush,
	.release = do_release,
	.fsync = do_fsync,
	.opendir = do_opendir,
	.readdir = do_readdir,
	.releasedir = do_releasedir,
	.statfs = do_statfs,
	.access = do_access,
	.create = do_create,
};

static void take_mount(void *answer, void *to)
{
	const fhandle3 *fh = &((mountres3 *)answer)->mountres3_u.mountinfo.fhandle;

	copy_handle(to, &(nfs_fh3){ { fh->fhandle3_len, fh->fhandle3_val } });
}

/* The library keeps the handle of the root for itself: ask once more. */
static void connect_to(const char *text)
{
	struct question q = { .take = take_mount };
	struct object top;
	struct nfs_url *url;

	nfs = nfs_init_context();
	url = nfs ? nfs_parse_url_dir(nfs, text) : NULL;
	if (!url)
		fatal("the URL is none");
	if (nfs_mount(nfs, url->server, url->path) < 0)
		fatal(nfs_get_error(nfs));
	rpc = nfs_get_rpc_context(nfs);
	q.to = &top;
	if (rpc_mount3_mnt_async(rpc, answered, url->path, &q) != 0)
		fatal(rpc_get_error(rpc));
	await(&q);
	if (q.error)
		fatal("the root has no handle");
	nfs_destroy_url(url);
	root.lookups = 1;
	node_init(&root, &top.fh);
}

int main(int argc, char **argv)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *session;
	int r;

	if (argc > 1 && strcmp(argv[1], "-m") == 0) {
		mappable = true;
		argc--;
		argv++;
	}
	if (argc != 3)
		fatal("usage: mount_libnfs [-m] URL DIRECTORY");
	connect_to(argv[1]);
	fuse_opt_add_arg(&args, "mount_libnfs");
	fuse_opt_add_arg(&args, "-ofsname=libnfs,subtype=libnfs,dev,suid");
	session = fuse_session_new(&args, &ops, sizeof(ops), NULL);
	if (!session || fuse_set_signal_handlers(session) != 0 ||
	    fuse_session_mount(session, argv[2]) != 0)
		fatal("cannot mount");
	r = fuse_session_loop(session);
	fuse_session_unmount(session);
	fuse_remove_signal_handlers(session);
	fuse_session_destroy(session);
	fuse_opt_free_args(&args);
	nfs_destroy_context(nfs);
	return r < 0 ? 1 : 0;
}

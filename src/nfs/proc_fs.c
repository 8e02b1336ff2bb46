/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FSSTAT, FSINFO and PATHCONF (RFC 1813, 3.3.18 to 3.3.20). */
#include "internal.h"

#include <string.h>

/* The least that filesystems below allow (ext4's 65,000 is the lowest of the usual ones). */
#define LINKS_MAX 65000u

void proc_fsstat(struct nfs_call *call, void *args, void *res)
{
	fsstat3res *out = res;
	fsstat3resok *ok = &out->fsstat3res_u.ok;
	struct lam_statfs st;
	struct object obj;
	uint64_t unit;
	int r;

	out->status = object_find(call, args, &obj);
	if (out->status != NFS3_OK)
		return;
	r = lam_statfs(call->front->stack, &st);
	if (r < 0) {
		out->status = nfs_status(r);
		put_post_attr(call, &obj.attr, &out->fsstat3res_u.attr);
		return;
	}
	unit = st.frsize ? st.frsize : st.bsize;
	put_post_attr(call, &obj.attr, &ok->attr);
	ok->tbytes = st.blocks * unit;
	ok->fbytes = st.bfree * unit;
	ok->abytes = st.bavail * unit;
	ok->tfiles = st.files;
	ok->ffiles = st.ffree;
	ok->afiles = st.ffree;
	ok->invarsec = 0; /* others use the filesystem too */
}

void proc_fsinfo(struct nfs_call *call, void *args, void *res)
{
	fsinfo3res *out = res;
	fsinfo3resok *ok = &out->fsinfo3res_u.ok;
	struct object obj;

	out->status = object_find(call, args, &obj);
	if (out->status != NFS3_OK)
		return;
	*ok = (fsinfo3resok){
		.rtmax = NFS_MAX_DATA,
		.rtpref = NFS_MAX_DATA,
		.rtmult = 4096,
		.wtmax = NFS_MAX_DATA,
		.wtpref = NFS_MAX_DATA,
		.wtmult = 4096,
		.dtpref = NFS_MAX_LISTING / 4,
		.maxfilesize = INT64_MAX,
		.time_delta = { 0, 1 },
		.properties = FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME,
	};
	put_post_attr(call, &obj.attr, &ok->attr);
}

void proc_pathconf(struct nfs_call *call, void *args, void *res)
{
	pathconf3res *out = res;
	pathconf3resok *ok = &out->pathconf3res_u.ok;
	struct lam_statfs st;
	struct object obj;

	out->status = object_find(call, args, &obj);
	if (out->status != NFS3_OK)
		return;
	*ok = (pathconf3resok){
		.linkmax = LINKS_MAX,
		.name_max = LAM_NAME_MAX,
		.no_trunc = TRUE,
		.chown_restricted = TRUE,
		.case_insensitive = FALSE,
		.case_preserving = TRUE,
	};
	if (lam_statfs(call->front->stack, &st) == 0 && st.namelen > 0 && st.namelen < LAM_NAME_MAX)
		ok->name_max = st.namelen;
	put_post_attr(call, &obj.attr, &ok->attr);
}

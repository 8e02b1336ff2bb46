/* SPDX-License-Identifier: GPL-2.0-or-later */
/* INIT: agreeing with the kernel on what both sides know. */
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "base/seam.h"

/* Linux 5.2: zero-message opens of directories, explicit invalidation of data. */
#define MINOR_MIN 30u

#define WRITE_DEFAULT (1024u * 1024u)
#define PAGES_MAX 256u

/* What is always wanted. */
#define FLAGS_ALWAYS                                                                           \
	((uint64_t)(FUSE_ASYNC_READ | FUSE_EXPORT_SUPPORT | FUSE_BIG_WRITES | FUSE_DONT_MASK | \
		    FUSE_HAS_IOCTL_DIR | FUSE_DO_READDIRPLUS | FUSE_ASYNC_DIO |                \
		    FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS |              \
		    FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_INIT_EXT) |             \
	 FUSE_DIRECT_IO_ALLOW_MMAP | FUSE_HAS_RESEND)

#define FLAGS_ZERO_OPEN ((uint64_t)(FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT))

/*
 * FUSE_ATOMIC_O_TRUNC is not wanted: together with switched-off OPENs the truncation would get
 * lost; without it a SETATTR comes.  Locks stay in the kernel.  READDIRPLUS without AUTO: always.
 */
static uint64_t wanted(const struct fuse_front *front)
{
	uint64_t flags = FLAGS_ALWAYS;

	/* For ever: all changes come through us, and the kernel is told of the others.  Else what
	 * changes below is found by size and time. */
	flags |= (uint64_t)(front->forever ? FUSE_EXPLICIT_INVAL_DATA : FUSE_AUTO_INVAL_DATA);
	if (!front->no_acl && !front->no_xattr)
		flags |= FUSE_POSIX_ACL;
	if (front->writeback)
		flags |= FUSE_WRITEBACK_CACHE;
	if (front->want_passthrough)
		flags |= FUSE_PASSTHROUGH;
	if (front->uring)
		flags |= FUSE_OVER_IO_URING;
	return flags;
}

#ifdef LAMINA_FAULT_SEAM

static const struct {
	const char *name;
	uint64_t flags;
} refusable[] = {
	{ "fuse_zero_open", FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT },
	{ "fuse_readdirplus", FUSE_DO_READDIRPLUS },
	{ "fuse_max_pages", FUSE_MAX_PAGES },
	{ "fuse_cache_symlinks", FUSE_CACHE_SYMLINKS },
	{ "fuse_handle_killpriv_v2", FUSE_HANDLE_KILLPRIV_V2 },
	{ "fuse_setxattr_ext", FUSE_SETXATTR_EXT },
	{ "fuse_init_ext", FUSE_INIT_EXT },
	{ "fuse_direct_io_allow_mmap", FUSE_DIRECT_IO_ALLOW_MMAP },
	{ "fuse_has_resend", FUSE_HAS_RESEND },
	{ "fuse_explicit_inval_data", FUSE_EXPLICIT_INVAL_DATA },
	{ "fuse_posix_acl", FUSE_POSIX_ACL },
	{ "fuse_parallel_dirops", FUSE_PARALLEL_DIROPS },
	{ "fuse_passthrough", FUSE_PASSTHROUGH },
	{ "fuse_over_io_uring", FUSE_OVER_IO_URING },
};

/* What a test says that this kernel does not offer. */
static uint64_t refused_by_test(void)
{
	const char *names[ARRAY_LEN(refusable)];
	uint64_t flags = 0;

	for (unsigned i = 0; i < ARRAY_LEN(refusable); i++) {
		names[i] = refusable[i].name;
		if (seam_without(names[i]))
			flags |= refusable[i].flags;
	}
	seam_check("fuse_", names, ARRAY_LEN(refusable));
	return flags;
}

#else

static uint64_t refused_by_test(void)
{
	return 0;
}

#endif

static void negotiate_sizes(const struct fuse_front *front, struct protocol *proto)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t write = front->want_write ? front->want_write : WRITE_DEFAULT;
	size_t pages;

	if (write < page)
		write = page;
	if (write > PAGES_MAX * page)
		write = PAGES_MAX * page;
	pages = proto->flags & FUSE_MAX_PAGES ? (write + page - 1) / page : 32;
	if (write > pages * page)
		write = pages * page;
	proto->max_pages = (uint32_t)pages;
	proto->max_write = (uint32_t)write;
	proto->payload = pages * page;
	if (proto->payload < FUSE_MIN_READ_BUFFER)
		proto->payload = FUSE_MIN_READ_BUFFER;
}

int init_negotiate(const struct fuse_front *front, const struct fuse_init_in *in,
		   struct fuse_init_out *out, struct protocol *proto)
{
	uint64_t offered = in->flags;

	*out = (struct fuse_init_out){ .major = FUSE_KERNEL_VERSION, .minor = COMPAT_MINOR };
	if (in->major > FUSE_KERNEL_VERSION)
		return -EAGAIN;
	if (in->major < FUSE_KERNEL_VERSION || in->minor < MINOR_MIN)
		return -EPROTO;
	if (offered & FUSE_INIT_EXT)
		offered |= (uint64_t)in->flags2 << 32;
	offered &= ~refused_by_test();

	*proto = (struct protocol){
		.minor = in->minor < COMPAT_MINOR ? in->minor : COMPAT_MINOR,
		.flags = wanted(front) & offered,
		.zero_open = !front->opens_answered &&
			     (offered & FLAGS_ZERO_OPEN) == FLAGS_ZERO_OPEN,
	};
	negotiate_sizes(front, proto);

	out->max_readahead = in->max_readahead;
	out->flags = (uint32_t)proto->flags;
	out->flags2 = (uint32_t)(proto->flags >> 32);
	out->max_background = 64;
	out->congestion_threshold = 48;
	out->max_write = proto->max_write;
	out->max_pages = (uint16_t)proto->max_pages;
	out->time_gran = 1;
	if (proto->flags & FUSE_PASSTHROUGH)
		compat_set_stack_depth(out, 1);
	return 0;
}

static int read_message(int fd, void *buf, size_t size, size_t *ret_len)
{
	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t n = read(fd, buf, size);

		if (n >= 0) {
			*ret_len = (size_t)n;
			return 0;
		}
		if (errno == EAGAIN) {
			if (poll(&p, 1, -1) < 0 && errno != EINTR)
				return -errno;
		} else if (errno != EINTR && errno != ENOENT) {
			return -errno;
		}
	}
}

static int answer(int fd, uint64_t unique, int error, const struct fuse_init_out *out)
{
	struct {
		struct fuse_out_header head;
		struct fuse_init_out init;
	} msg = { .init = *out };
	size_t len = error ? sizeof(msg.head) : sizeof(msg);

	msg.head =
		(struct fuse_out_header){ .len = (uint32_t)len, .error = error, .unique = unique };
	return write(fd, &msg, len) < 0 ? -errno : 0;
}

/* One INIT: 0 when agreed, -EAGAIN when the kernel will ask again. */
static int answer_init(struct fuse_front *front, const char *msg, size_t len)
{
	struct fuse_in_header head;
	struct fuse_init_in in = { 0 };
	struct fuse_init_out out;
	size_t arg;
	int r, w;

	if (len < sizeof(head) + 16)
		return -EPROTO;
	memcpy(&head, msg, sizeof(head));
	if (head.opcode != FUSE_INIT || head.len != len) {
		log_error("the kernel does not begin with INIT: the descriptor is in use already?");
		return -EPROTO;
	}
	arg = len - sizeof(head);
	memcpy(&in, msg + sizeof(head), arg < sizeof(in) ? arg : sizeof(in));
	r = init_negotiate(front, &in, &out, &front->proto);
	if (r == -EPROTO)
		log_error("this kernel speaks FUSE %u.%u; Lamina needs %u.%u (Linux 5.2) or later",
			  in.major, in.minor, FUSE_KERNEL_VERSION, MINOR_MIN);
	w = answer(front->fd, head.unique, r == -EPROTO ? r : 0, &out);
	return r < 0 ? r : w;
}

int init_handshake(struct fuse_front *front)
{
	/* As large as the kernel demands of any reader before it knows max_write. */
	char msg[FUSE_MIN_READ_BUFFER] __attribute__((aligned(8)));
	size_t len = 0;
	int r;

	do {
		r = read_message(front->fd, msg, sizeof(msg), &len);
		if (r < 0) {
			log_error("waiting for the kernel's first request: %s", log_errno(r));
			return r;
		}
		r = answer_init(front, msg, len);
	} while (r == -EAGAIN);
	if (r < 0)
		return r;
	if (front->writeback && !(front->proto.flags & FUSE_WRITEBACK_CACHE))
		log_warning("this kernel has no writeback caching");
	front->uring = (front->proto.flags & FUSE_OVER_IO_URING) != 0;
	return 0;
}

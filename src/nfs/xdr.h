/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the codecs that rpcgen made take instead of two functions of the RPC library; included before
 * them by the build.
 */
#ifndef NFS_XDR_H
#define NFS_XDR_H

#include <rpc/xdr.h>

#define xdr_bytes message_bytes
#define xdr_opaque message_opaque

/* Counted bytes.  Decoding leaves a pointer into the message: it is valid as long as that, and there
 * is nothing to be freed. */
bool_t message_bytes(XDR *xdrs, char **data, unsigned *len, unsigned max);
/* LEN bytes, and zeros to the next multiple of four. */
bool_t message_opaque(XDR *xdrs, char *data, unsigned len);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bytes in a message.  The functions of libtirpc allocate and copy what they decode, and put the
 * padding into one static variable of all threads; a message that is in memory as a whole, and
 * longer there than anything that is decoded from it, needs neither.
 */
#include "xdr.h"

#include <stdint.h>
#include <string.h>

static char *room_for(XDR *xdrs, unsigned len)
{
	if (len > UINT32_MAX - 3)
		return NULL;
	/* Messages begin at a multiple of four, so this is NULL only where they end. */
	return (char *)XDR_INLINE(xdrs, (len + 3) & ~3u);
}

bool_t message_opaque(XDR *xdrs, char *data, unsigned len)
{
	char *place;

	if (xdrs->x_op == XDR_FREE || len == 0)
		return TRUE;
	place = room_for(xdrs, len);
	if (!place)
		return FALSE;
	if (xdrs->x_op == XDR_DECODE) {
		memcpy(data, place, len);
		return TRUE;
	}
	memcpy(place, data, len);
	memset(place + len, 0, (4 - len % 4) % 4);
	return TRUE;
}

bool_t message_bytes(XDR *xdrs, char **data, unsigned *len, unsigned max)
{
	if (xdrs->x_op == XDR_FREE)
		return TRUE;
	if (!xdr_u_int(xdrs, len) || *len > max)
		return FALSE;
	if (xdrs->x_op == XDR_ENCODE)
		return message_opaque(xdrs, *data, *len);
	*data = room_for(xdrs, *len);
	return *data != NULL;
}

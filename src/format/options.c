/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The text of mount options, and of the list of layers in one of them. */
#include "format/format.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* How many bytes of IN an escaped comma at its beginning takes, or 0. */
static size_t escaped_comma(const char *in)
{
	if (strncmp(in, "\\,", 2) == 0)
		return 2;
	return strncmp(in, "\\054", 4) == 0 ? 4 : 0;
}

/* The length of a value in double quotes at IN with the quotes, or 0 if there is none: a quote
 * that does not close just before the end of an option is an ordinary byte. */
static size_t quoted_length(const char *in)
{
	const char *end;

	if (*in != '"')
		return 0;
	end = strchr(in + 1, '"');
	return end && (end[1] == ',' || end[1] == '\0') ? (size_t)(end - in) + 1 : 0;
}

/* Copy one option from IN to OUT, its commas unescaped and its quotes taken off.  *RET_VALUE is
 * where the value begins in OUT, or NULL.  Returns how many bytes of IN it took, without the comma. */
static size_t copy_option(const char *in, char *out, char **ret_value)
{
	const char *start = in;
	size_t n;

	*ret_value = NULL;
	while (*in && *in != ',') {
		n = escaped_comma(in);
		if (n) {
			*out++ = ',';
			in += n;
			continue;
		}
		/* A pair stays together, but for "=": nothing keeps that from ending a name. */
		if (*in == '\\' && in[1] && (in[1] != '=' || *ret_value)) {
			*out++ = *in++;
			*out++ = *in++;
			continue;
		}
		if (*in != '=' || *ret_value) {
			*out++ = *in++;
			continue;
		}
		/* The first '=' ends the name. */
		*out++ = '\0';
		in++;
		*ret_value = out;
		n = quoted_length(in);
		if (n) {
			memcpy(out, in + 1, n - 2);
			out += n - 2;
			in += n;
		}
	}
	*out = '\0';
	return (size_t)(in - start);
}

int options_split(const char *text, option_fn fn, void *ctx)
{
	/* No option gets longer by unescaping. */
	CLEANUP_FREE char *option = malloc(strlen(text) + 1);
	char *value;
	int r;

	if (!option)
		return -ENOMEM;
	for (;;) {
		size_t taken = copy_option(text, option, &value);

		if (*option == '\0' && value)
			return -EINVAL;
		if (*option != '\0') {
			r = fn(ctx, option, value);
			if (r < 0)
				return r;
		}
		text += taken;
		if (*text == '\0')
			return 0;
		text++;
	}
}

/* How many bytes of a path the escape at IN takes, and what it stands for; 0 if IN is none.  A
 * backslash before any other byte goes away, as in the kernel. */
static size_t escape_in_path(const char *in, char *ret)
{
	if (in[0] != '\\' || in[1] == '\0')
		return 0;
	if (in[1] == '\\' && in[2] == ':') {
		*ret = ':';
		return 3;
	}
	*ret = in[1];
	return 2;
}

/* Take the path at *IN, up to a colon or the end, unescaped.  NULL: out of memory. */
static char *take_path(const char **in)
{
	char *path = malloc(strlen(*in) + 1);
	char *out = path;

	if (!path)
		return NULL;
	while (**in && **in != ':') {
		char c = **in;
		size_t n = escape_in_path(*in, &c);

		*out++ = c;
		*in += n ? n : 1;
	}
	*out = '\0';
	return path;
}

int path_unescape(const char *value, char **ret)
{
	size_t len = strlen(value), at = 0;
	char *path = malloc(len + 1);

	if (!path)
		return -ENOMEM;
	while (*value) {
		char c = *value;
		size_t n = escape_in_path(value, &c);

		path[at++] = c;
		value += n ? n : 1;
	}
	path[at] = '\0';
	*ret = path;
	return 0;
}

void layers_free(struct layer_list *list)
{
	for (size_t i = 0; i < list->n_lower; i++)
		free(list->lower[i]);
	for (size_t i = 0; i < list->n_data; i++)
		free(list->data[i]);
	free(list->lower);
	free(list->data);
	*list = (struct layer_list){ 0 };
}

/* Fill LIST, whose arrays have room for every path of VALUE. */
static int take_layers(const char *value, struct layer_list *list)
{
	bool data = false;

	for (;;) {
		char *path;

		if (*value == '\0' || *value == ':')
			return -EINVAL;
		path = take_path(&value);
		if (!path)
			return -ENOMEM;
		if (data)
			list->data[list->n_data++] = path;
		else
			list->lower[list->n_lower++] = path;
		if (*value == '\0')
			return 0;
		value++;
		if (*value == ':') {
			data = true;
			value++;
		} else if (data) {
			/* Once data-only, always data-only. */
			return -EINVAL;
		}
	}
}

int layers_split(const char *value, struct layer_list *ret)
{
	struct layer_list list = { 0 };
	size_t room = 1;
	int r = -ENOMEM;

	for (const char *p = value; *p; p++)
		room += *p == ':';
	list.lower = calloc(room, sizeof(*list.lower));
	list.data = calloc(room, sizeof(*list.data));
	if (list.lower && list.data)
		r = take_layers(value, &list);
	if (r < 0) {
		layers_free(&list);
		return r;
	}
	*ret = list;
	return 0;
}

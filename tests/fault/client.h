/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A front end that serves a stack, and its only client, who sends one request and looks at what comes
 * back: one answer, whatever was refused meanwhile.
 */
#ifndef TESTS_CLIENT_H
#define TESTS_CLIENT_H

#include <lamina/lamina.h>
#include <stdbool.h>
#include <stddef.h>

/* A request as text: a verb and its words, as tests/trial/script.c has them; the client has the list. */
struct ask {
	const char *name;
	const char *prepare; /* done by the engine before: commands of tests/trial */
	const char *request;
	unsigned may; /* MAY_* of tests/trial, and these */
};

#define MAY_DIFFER 1024u /* what is answered twice need not be the same */
#define MAY_LIST 2048u	 /* a listing, of which the answer is a part */

struct said {
	int result;	  /* 0, or a negative error: of FUSE an errno, of NFS a status */
	const void *body; /* what is the same each time if nothing changes */
	size_t len;
	const char *wrong; /* what must not be; NULL: nothing */
};

struct client {
	const char *name;
	const struct ask *asks;
	size_t n_asks;
	/* Serve STACK. */
	void (*begin)(struct lam_stack *stack);
	/* Find the objects that a request is about, and make it. */
	void (*make)(const char *request);
	/* Send it and take the answer. */
	void (*send)(struct said *ret);
	/* Whether another request is served after it, and nothing else comes; NULL or what is wrong. */
	const char *(*next)(void);
	/* Whether a listing that SEND began names all there is, when it is gone on with. */
	const char *(*list_on)(void);
	/* Let go of all objects; NULL or what is held. */
	const char *(*let_go)(void);
	void (*end)(void);
};

extern const struct client fuse_client, nfs_client;

#define WORDS_MAX 6u

/* A request's words, and as numbers. */
struct words {
	char text[256];
	char *word[WORDS_MAX];
	unsigned long long num[WORDS_MAX];
	unsigned n;
};

static inline bool is_verb(const struct words *w, const char *verb)
{
	return __builtin_strcmp(w->word[0], verb) == 0;
}

#define NAMES_MOST 256u
#define NAME_MOST 64u

/* What a listing names. */
struct names {
	char name[NAMES_MOST][NAME_MOST];
	unsigned n;
};

/* fronts.c */
void names_add(struct names *names, const char *name, size_t len);
/* Whether OURS, of which something was refused, has not each of ALL once.  A name more may be there: one
 * that is hidden, and could not be looked at. */
const char *lists_differ(const struct names *all, const struct names *ours);
void words_of(const char *request, struct words *ret);

#endif

/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What rules ask about the objects of a difference. */
#ifndef DIFFERENTIAL_FACTS_H
#define DIFFERENTIAL_FACTS_H

#include "differential.h"

/* The step. */
bool fact_changes_attributes(const struct difference *d);
bool fact_removes_acl(const struct op *op);
struct slot *fact_slot(const struct difference *d);

/* The object at W, by the kernel's number: opened for writing, written through a mapping, mapped now. */
bool fact_was_opened(const struct difference *d, enum where w);
bool fact_was_mapped(const struct difference *d, enum where w);
bool fact_is_mapped(const struct difference *d);

/* Names: in a refused rename, in a listing without a type, an attribute that is this mark in upper. */
bool fact_was_refused(const struct difference *d, const char *name, size_t len);
bool fact_has_no_type(const struct rec *r, const char *name, size_t len);
bool fact_is_mark(const struct difference *d, const char *mark);

bool fact_only_zeros_between(const struct difference *d);
bool fact_forgot(const struct shared *sh);

#endif

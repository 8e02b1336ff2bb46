/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A disk that remembers in which order it was written and flushed: one file, shown by a FUSE filesystem of
 * our own, for a loop device to lie on.  What a loss of power can leave is made of it: all that was written
 * before a flush, and any part of what came after.
 */
#ifndef TESTS_RECORDER_H
#define TESTS_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct recorder;

/* A process that shows IMAGE (its present size) as FILE, which exists.  What is written goes to the image
 * too. */
struct recorder *recorder_start(const char *image, const char *file);
/* FILE is no more; nothing may use it. */
void recorder_stop(struct recorder *r);

/* Remember from here on; what was before counts as flushed. */
void recorder_begin(struct recorder *r);
/* How many writes and flushes there are since then: a moment. */
size_t recorder_now(const struct recorder *r);
/* Writes since the last flush before a moment. */
size_t recorder_loose(const struct recorder *r, size_t moment);

/*
 * Write to FD, which is the disk as it was at recorder_begin(), what it could be after a loss of power at that
 * moment.  SEED decides which of the loose writes are there: none, all, or some, whole or in blocks.
 */
void recorder_replay(const struct recorder *r, size_t moment, uint64_t seed, int fd);

#endif

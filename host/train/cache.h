/* cache.h (internal) - what enters the lowest block with a memory, kept per sample: below it nothing ever
 * changes, so it is computed once.
 *
 * Rows are fp32, or fp16 rounded to nearest even; fp16 rounds at once, also what is used right away,
 * so that a run gives the same numbers whether a sample was kept or is computed again. Of several replicas each keeps
 * what it has computed: the order of samples changes from epoch to epoch, so that in epoch e (from 0) one of n has met a
 * sample before with probability 1 - (1 - 1/n)^e; over 25 epochs 84 % of the passes are saved with 4 replicas, 96 % with
 * one. Its room is that of all samples, but only pages of memory that are written to are taken; a file is as large on every rank. */
#ifndef MNEME_TRAIN_CACHE_H
#define MNEME_TRAIN_CACHE_H

#include "mneme/train.h"

typedef struct activation_cache activation_cache;

/* Where options and sizes put it: MN_CACHE_OFF, MN_CACHE_MEMORY or MN_CACHE_FILE. `passes`: how often a
 * sample comes at most; `first`: the lowest block with a memory. *bytes = its size when it is kept. */
mn_status mn_cache_place(mn_train_cache *out, int64_t *bytes, const mn_train_options *options,
                         const mn_samples *samples, int64_t dim, int64_t first, double passes);

/* *out stays NULL when `place` is MN_CACHE_OFF. A file has no name any more once it is open: it is gone
 * when the process is. Its blocks are allocated now: a full disk is an error here, not a crash later. */
mn_status mn_cache_open(activation_cache **out, mn_train_cache place,
                        const mn_train_options *options, const mn_samples *samples, int64_t dim);
void mn_cache_close(activation_cache **cache);

bool mn_cache_has(const activation_cache *cache, int64_t sample); /* NULL: no */
/* Copies a kept sample to hidden (inputs, dim) and returns true. */
bool mn_cache_get(const activation_cache *cache, int64_t sample, float *hidden);
/* Whether nobody has asked so before in this step or a later one: a step that overflows comes again. */
bool mn_cache_first_time(activation_cache *cache, int64_t sample, int64_t step);
/* Keeps it. */
void mn_cache_put(activation_cache *cache, int64_t sample, const float *hidden);
/* Rounds hidden as the cache would, when its type is fp16 (also without a cache). */
void mn_cache_round(mn_train_cache_dtype dtype, float *hidden, int64_t count);

#endif

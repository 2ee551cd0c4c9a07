/* tally.h (internal) - what the files of the counting device share. */
#ifndef MNEME_TALLY_TALLY_H
#define MNEME_TALLY_TALLY_H

#include "mneme/tally.h"

typedef struct tally {
    mn_device device; /* first: a device's address is its tally's; the stream is the same address */
    bool cuda;
    uintptr_t next; /* the next address to give out */
    size_t memory, workspace, reserved;
    mn_tally_row *rows;
    size_t count, cap;
    int32_t *places; /* hash table of numbers of rows + 1, 0 where free */
    size_t place_count;
} tally;

static inline tally *tally_of(mn_stream *stream) { return (tally *)(void *)stream; }

/* Adds a call to its row. */
mn_status tally_add(tally *t, mn_tally_row call);

extern const mn_kernels tally_kernels;
extern const mn_device_collectives tally_collectives;

#endif

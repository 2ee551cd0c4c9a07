/* tally.h - a device that computes nothing and counts: memory that would be allocated, work of kernels, bytes that move.
 *
 * Models, sessions, tapes and their passes run on it through the same code as on the device that it stands for, so
 * that plans need no formulas of their own. Addresses are made up: nothing is ever read from or written to them,
 * downloads bring zeros. A tally of the CPU only measures memory; passes need MN_TALLY_CUDA, since on the CPU they
 * read their ids back. Used by one thread at a time.
 *
 * Arithmetic is counted as `mneme bench` counts it: multiplications and additions of products, attention's two (and
 * four for its gradient) for every pair of a query and a key that it sees. Bytes are those that cannot be done
 * without: every input read once, every result written once. */
#ifndef MNEME_TALLY_H
#define MNEME_TALLY_H

#include "mneme/comm.h"
#include "mneme/device.h"

typedef enum mn_tally_like { MN_TALLY_CPU, MN_TALLY_CUDA } mn_tally_like;

/* What limits a row's work. */
typedef enum mn_tally_unit {
    MN_TALLY_TENSOR, /* products of fp16 or bf16 inputs, and device memory */
    MN_TALLY_F32,    /* products of fp32 inputs, and device memory; kernels without products */
    MN_TALLY_HOST,   /* copies between host and device */
    MN_TALLY_LINK    /* messages between ranks: what one rank sends in a ring */
} mn_tally_unit;

enum { MN_TALLY_DIMS = 3 };
/* All calls of one kernel with one shape. */
typedef struct mn_tally_row {
    const char *kernel; /* row of kernels.def; "upload", "download"; "all-reduce" ... */
    int64_t shape
        [MN_TALLY_DIMS]; /* products: M, N, K; attention: T, Hq, D; else rows and columns; 0: unused */
    mn_tally_unit unit;
    int64_t calls;
    double flops, bytes; /* of all calls together */
} mn_tally_row;

mn_status mn_tally_open(mn_device **out, mn_tally_like like); /* closed by mn_device_close */
/* Memory that is allocated now, workspaces included. */
int64_t mn_tally_memory(const mn_device *tally);
int64_t mn_tally_workspace(const mn_device *tally); /* of that, what no arena holds */
/* Rows in the order of their first calls; they live until the next call that counts. */
const mn_tally_row *mn_tally_rows(const mn_device *tally, int64_t *count);
void mn_tally_clear(mn_device *tally); /* forgets the rows */

/* Rank `tp_rank` of `tp` and replica `dp_rank` of `dp`, alone: the others are made up, they always come at once and
 * have nothing but zeros. What goes to them is counted. Groups of one are NULL, so is the world. Closed by
 * mn_ranks_close before the tally. */
mn_status mn_tally_ranks(mn_ranks *out, mn_device *tally, int tp, int tp_rank, int dp, int dp_rank);

#endif

/* forecast.h - what a job of a layout of ranks takes, found by running it on a device that only counts (tally.h). */
#ifndef MNEME_CLI_FORECAST_H
#define MNEME_CLI_FORECAST_H

#include "cli/gpus.h"
#include "mneme/model.h"

/* `TRAIN` trains memories, as in epoch 1; `CACHED` as from epoch 2 on, without the trunk; `FULL` the model itself. */
typedef enum mn_forecast_kind {
    MN_FORECAST_EVALUATE, /* claims about pages, with shared prefixes */
    MN_FORECAST_TRAIN,
    MN_FORECAST_CACHED,
    MN_FORECAST_FULL,
    MN_FORECAST_PREFILL, /* one prompt */
    MN_FORECAST_DECODE,  /* one token behind it */
    MN_FORECASTS
} mn_forecast_kind;

extern const char *const mn_forecast_names[MN_FORECASTS + 1]; /* "evaluate" ..., ended by NULL */

typedef struct mn_forecast_job {
    const char *name; /* of the model */
    mn_model_config config;
    mn_dtype dtype; /* of frozen matrices */
    mn_tally_like like;
    int tp, dp;
    int tp_rank, dp_rank;  /* whose memory; rank 0 never has less than another */
    int64_t batch, length; /* a training step: samples, and tokens of each */
    int64_t hidden;        /* of a memory */
    int64_t memories;      /* evaluated beside the base */
    int64_t pages, claims; /* of an evaluation: claims per page */
    int64_t shared, own;   /* tokens: of a page's common prefix, of a claim */
    int64_t prompt;        /* tokens of prefill */
} mn_forecast_job;

/* Bytes of one rank's device, as its arenas and workspaces hold them; `mapped` and `host` lie elsewhere. */
typedef struct mn_forecast_memory {
    int64_t weights,
        panels;       /* of the model; on the CPU: what is no mapped file, and packed copies */
    int64_t mapped;   /* weights that are used where they lie in files: on the CPU only */
    int64_t memories; /* parameters of memories */
    int64_t gradients, optimizer; /* the latter with the sums of the gradients' norm */
    int64_t kv;                   /* cache of keys and values, of an evaluation */
    int64_t activations;          /* kept for backward, and of the step at hand */
    int64_t workspace;
    int64_t total; /* all of these but `mapped` */
    int64_t host;  /* activation cache, per token of the training texts: host memory or a file */
} mn_forecast_memory;

typedef struct mn_forecast_work {
    mn_forecast_kind kind;
    double tokens, claims; /* of all replicas together; claims: of an evaluation */
    mn_tally_row *rows;    /* of one rank; owned */
    int64_t count;
} mn_forecast_work;

/* MN_ERR_USAGE where ranks cannot share this model so. */
mn_status mn_forecast_memory_of(mn_forecast_memory *out, const mn_forecast_job *job,
                                mn_forecast_kind kind);
/* What one pass, step or evaluation costs. Only like MN_TALLY_CUDA. */
mn_status mn_forecast_run(mn_forecast_work *out, const mn_forecast_job *job, mn_forecast_kind kind);
void mn_forecast_work_free(mn_forecast_work *work); /* safe twice */

typedef struct mn_forecast_sums {
    double flops, bytes; /* of one rank; bytes of its own memory */
    double link_bytes,
        host_bytes; /* that it sends to other ranks, that it exchanges with its host */
    double seconds; /* at least, on a GPU: nothing overlaps, every row at full speed */
} mn_forecast_sums;
mn_forecast_sums mn_forecast_sum(const mn_forecast_work *work, const mn_gpu *gpu);

#endif

/* outlook.h - what `mneme plan` knows of one model: memory and work of every layout of ranks. */
#ifndef MNEME_CLI_OUTLOOK_H
#define MNEME_CLI_OUTLOOK_H

#include "cli/forecast.h"
#include "cli/options.h"

enum { MN_OUTLOOK_RANKS = 8, MN_OUTLOOK_SIZES = 3, MN_OUTLOOK_JOBS = 3 };
/* Jobs that differ in memory, in this order; and the sizes of GPUs that are asked for, in bytes. */
extern const mn_forecast_kind mn_outlook_jobs[MN_OUTLOOK_JOBS];
extern const double mn_outlook_sizes[MN_OUTLOOK_SIZES];
/* Left free beside what is planned: the CUDA context, kernels, NCCL's buffers. An assumption, not a measurement. */
extern const double mn_outlook_reserve;

typedef struct mn_outlook_options {
    const char *model;
    mn_option_list gpu;
    int tp, dp;         /* --tp and --dp of every command; 0: all that can be */
    int dtype, backend; /* mn_outlook_dtypes, mn_outlook_backends */
    int64_t per_device_train_batch_size, chunk_length;
    struct {
        int64_t hidden;
    } memory;
    int64_t memories, pages, claims, prefix_tokens, claim_tokens, prompt_tokens;
    bool roofline, json;
} mn_outlook_options;
extern const char *const mn_outlook_dtypes[], *const mn_outlook_backends[]; /* ended by NULL */

typedef struct mn_outlook_layout {
    int tp, dp;
    mn_forecast_memory memory[MN_OUTLOOK_JOBS];
    mn_forecast_work works[MN_FORECASTS]; /* where they were asked for */
} mn_outlook_layout;

typedef struct mn_outlook {
    const mn_outlook_options *options;
    mn_forecast_job job; /* of layout 1 x 1 */
    mn_outlook_layout *layouts;
    size_t count, cap;
    bool has_work;
} mn_outlook;

/* Of the model that `name` names or whose folder it is. `one`: alone, with what steps and passes cost. Closed in any
 * case. */
mn_status mn_outlook_open(mn_outlook *out, const mn_outlook_options *options, const char *name,
                          bool one);
void mn_outlook_close(mn_outlook *outlook);

bool mn_outlook_fits(const mn_forecast_memory *memory, double size); /* on a GPU of `size` bytes */
bool mn_outlook_shares(mn_forecast_kind kind); /* whether more replicas need less memory each */
mn_forecast_memory mn_outlook_memory(const mn_outlook_layout *layout, mn_forecast_kind kind);

/* ---- outlook_text.c, outlook_roofline.c, outlook_json.c ---- */

mn_status mn_outlook_text(mn_buf *out, const mn_outlook *outlook);
/* Which layouts fit on which GPUs, a row per model. */
mn_status mn_outlooks_text(mn_buf *out, const mn_outlook *outlooks, size_t count);
/* Every kernel of the first layout's steps and passes. */
mn_status mn_outlook_roofline(mn_buf *out, const mn_outlook *outlook);
mn_status mn_outlooks_json(mn_buf *out, const mn_outlook *outlooks, size_t count);

#endif

/* forecast_stage.h - one rank's share of a job, opened on a counting device. */
#ifndef MNEME_CLI_FORECAST_STAGE_H
#define MNEME_CLI_FORECAST_STAGE_H

#include "cli/forecast.h"
#include "mneme/complete.h"
#include "mneme/tape.h"
#include "train/params.h"

enum { MN_FORECAST_CANDIDATES = 3 };

typedef struct forecast_stage {
    const mn_forecast_job *job;
    mn_forecast_kind kind;
    mn_device *device;
    mn_ranks ranks; /* made up; world stays NULL */
    mn_model *model;
    mn_memory **memories; /* [memory_count]: trained, or evaluated beside the base */
    int64_t memory_count;
    /* training */
    mn_train_options options;
    train_params params;
    mn_tape *tape;
    mn_tape_options tape_limits;
    /* passes */
    const mn_memory **variants; /* [1 + memory_count], the base first */
    mn_session *session;
    mn_session_options limits;
    /* an evaluation's prompts */
    mn_request *requests;
    int32_t *ids; /* the tokens of all prompts */
    int64_t request_count;
    mn_ids candidates[MN_FORECAST_CANDIDATES];
    mn_plan *plan;
} forecast_stage;

/* Opens all that the job needs; closed in any case. */
mn_status mn_forecast_open(forecast_stage *out, const mn_forecast_job *job, mn_forecast_kind kind);
void mn_forecast_close(forecast_stage *stage);

static inline bool mn_forecast_trains(mn_forecast_kind kind) {
    return kind == MN_FORECAST_TRAIN || kind == MN_FORECAST_CACHED || kind == MN_FORECAST_FULL;
}

#endif

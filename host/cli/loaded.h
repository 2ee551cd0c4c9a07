/* loaded.h - a model folder opened for work: device, weights, tokenizer. */
#ifndef MNEME_CLI_LOADED_H
#define MNEME_CLI_LOADED_H

#include "cli/adapters.h"
#include "cli/common.h"
#include "mneme/complete.h"
#include "mneme/model.h"
#include "mneme/tokenizer.h"

typedef struct mn_loaded {
    mn_device *device;
    mn_model *model;
    mn_tokenizer *tokenizer;
    const mn_ranks *ranks; /* who shares it and its work; NULL: nobody */
    mn_adapters adapters;  /* none, until somebody opens them beside the model */
} mn_loaded;

mn_status mn_loaded_open(mn_loaded *out, const mn_cli *cli, const char *dir);
void mn_loaded_close(mn_loaded *loaded); /* safe twice */

/* Plans, opens a session and answers requests, with the adapter if there is one (two are for an
 * evaluation). An adapter that changes nothing is MN_ERR_DATA. */
mn_status mn_loaded_complete(mn_loaded *loaded, const mn_request *requests, int64_t count,
                             const mn_plan_options *plan, mn_compute compute,
                             mn_completion *answers, const mn_complete_hooks *hooks);

extern const char *const mn_compute_choices[]; /* in the order of mn_compute */

#endif

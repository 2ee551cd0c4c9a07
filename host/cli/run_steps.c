/* run_steps.c - the steps of a run: prepare, train each variant, evaluate them, report. What is done
 * already is said and skipped. */
#include "cli/launch.h"
#include "cli/run.h"

#include "mneme/device.h"
#include "mneme/log.h"
#include "mneme/report.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

/* ---- the keys of each step ---- */

mn_prepare_keys mn_run_prepare_keys(const mn_run *run) {
    mn_prepare_keys keys = run->keys.prepare;
    keys.claims = run->keys.claims;
    keys.train_claims = run->keys.train_claims;
    keys.wiki = run->keys.wiki;
    keys.seed = run->keys.prepare_seed;
    keys.out = run->prepared;
    return keys;
}

mn_status mn_run_train_options(mn_train_options *out, const mn_run *run,
                               const mn_run_variant *variant) {
    MN_TRY(mn_train_library(out, &run->keys.train));
    out->model = run->keys.model;
    out->data = run->data;
    out->output_dir = variant->dir;
    out->method = variant->method;
    out->weight_decay = variant->weight_decay;
    out->num_fewshot = run->keys.train_num_fewshot;
    out->compute = (mn_compute)run->keys.compute;
    out->seed = run->keys.seed;
    out->ranks = run->cli->ranks;
    return MN_OK;
}

mn_eval_options mn_run_eval_options(const mn_run *run) {
    mn_eval_keys keys = run->keys.eval;
    keys.model = run->keys.model;
    keys.data = run->data;
    keys.output_path = run->eval;
    keys.compute = run->keys.compute;
    keys.seed = run->keys.seed;
    mn_eval_options options = mn_eval_library(&keys);
    options.ranks = run->cli->ranks;
    return options;
}

/* ---- steps ---- */

static mn_status prepare(mn_run *run) {
    if (run->is_prepared) {
        mn_log(MN_LOG_INFO, "prepare: skipped, %s is there", run->data);
        return MN_OK;
    }
    MN_CHECK(!run->keys.data, MN_ERR_DATA, "data: %s has no manifest.json; mneme prepare makes it",
             run->data);
    MN_TRY(mn_launch_stopped(run->cli, "preparing"));
    const mn_prepare_keys keys = mn_run_prepare_keys(run);
    return mn_prepare_print(&keys, run->cli);
}

mn_status mn_run_backbone(mn_run *run, mn_device *device) {
    if (run->backbone) return MN_OK;
    MN_TRY(mn_model_open(&run->backbone, run->keys.model, device, mn_cli_tp(run->cli)));
    return mn_model_pack(run->backbone, mn_cli_world(run->cli));
}

/* Training that has ended before is looked at again as long as something is to be done with it: the
 * library refuses what was trained on other data or another model. */
static mn_status train_variant(mn_run *run, const mn_run_variant *v, mn_device *device) {
    mn_train_options options;
    mn_train_summary summary = {.finished_before = true};
    MN_TRY(mn_launch_stopped(run->cli, "training"));
    if (!v->done) mn_log(MN_LOG_INFO, "train %s", v->name);
    if (!run->is_evaluated) {
        MN_TRY(mn_run_train_options(&options, run, v));
        if (!mn_run_full(run)) MN_TRY(mn_run_backbone(run, device));
        options.backbone = run->backbone;
        MN_TRY(mn_fail_in(mn_train(&summary, device, &options), "%s", v->name));
    }
    if (summary.finished_before)
        mn_log(MN_LOG_INFO, "train %s: skipped, it has ended before", v->name);
    else
        mn_log(MN_LOG_INFO, "train %s: %lld steps, loss %.4f", v->name, (long long)summary.steps,
               summary.loss);
    return MN_OK;
}

static mn_status train(mn_run *run, mn_device *device) {
    for (size_t i = 0; i < run->count; i++) MN_TRY(train_variant(run, &run->variants[i], device));
    return MN_OK;
}

/* The report speaks of what is about to change. */
static mn_status drop_report(const mn_run *run) {
    mn_buf path = {0};
    mn_status st = mn_path_join(&path, run->report, "report.html");
    if (st == MN_OK && unlink(path.data) != 0 && errno != ENOENT) st = mn_fail_errno(path.data);
    mn_buf_free(&path);
    return st;
}

static mn_status report(void *context) {
    const mn_run *run = context;
    mn_buf page = {0};
    const char *const folder = run->keys.run_dir;
    const mn_status st = mn_report_write(&page, &folder, 1, run->report);
    if (st == MN_OK) mn_log(MN_LOG_INFO, "report: %s", page.data);
    mn_buf_free(&page);
    return st;
}

mn_status mn_run_steps(mn_run *run) {
    mn_status st = MN_OK;
    mn_device *device = NULL;
    if (!run->is_evaluated) {
        if (mn_cli_leads(run->cli)) st = drop_report(run);
        MN_TRY(mn_ranks_agree(run->cli->ranks, st));
    }
    MN_TRY(prepare(run));
    MN_GOTO(mn_cli_device_open(&device, run->cli));
    MN_GOTO(train(run, device));
    MN_GOTO(mn_run_look(run));
    if (run->is_evaluated) {
        mn_log(MN_LOG_INFO, "eval: skipped, its results are there");
    } else {
        MN_GOTO(mn_launch_stopped(run->cli, "evaluating"));
        MN_GOTO(mn_run_evaluate(run, device));
    }
    if (run->is_evaluated && run->is_reported) {
        mn_log(MN_LOG_INFO, "report: skipped, %s is there", run->report);
    } else {
        MN_GOTO(mn_launch_stopped(run->cli, "reporting"));
        st = mn_launch_alone(run->cli, report, run);
    }
done:
    mn_launch_tell(run->cli, st);
    mn_model_close(&run->backbone);
    mn_device_close(&device);
    return st;
}

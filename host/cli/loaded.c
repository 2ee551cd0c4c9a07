/* loaded.c - opens what a command needs of a model folder. */
#include "cli/loaded.h"

#include "mneme/log.h"

const char *const mn_compute_choices[] = {"f32", "bf16", NULL};

mn_status mn_loaded_open(mn_loaded *l, const mn_cli *cli, const char *dir) {
    MN_TRY(mn_cli_device_open(&l->device, cli));
    l->ranks = cli->ranks;
    MN_TRY(mn_model_open(&l->model, dir, l->device, mn_cli_tp(cli)));
    MN_TRY(mn_model_pack(l->model, mn_cli_world(cli)));
    MN_TRY(mn_tokenizer_open(&l->tokenizer, dir));
    const mn_model_config *c = &l->model->config;
    MN_TRY(mn_model_fits_tokens(c, mn_tokenizer_size(l->tokenizer), dir));
    mn_log(MN_LOG_INFO, "%s: %s, %lld layers, %.1f M parameters; %s", dir, mn_arch_name(c->arch),
           (long long)c->layers, (double)mn_model_parameters(c) / 1e6, l->device->description);
    return MN_OK;
}

void mn_loaded_close(mn_loaded *l) {
    mn_adapters_close(&l->adapters);
    mn_tokenizer_close(&l->tokenizer);
    mn_model_close(&l->model);
    mn_device_close(&l->device);
}

mn_status mn_loaded_complete(mn_loaded *l, const mn_request *requests, int64_t count,
                             const mn_plan_options *options, mn_compute compute,
                             mn_completion *answers, const mn_complete_hooks *hooks) {
    mn_status st = MN_OK;
    mn_plan *plan = NULL;
    mn_session *session = NULL;
    mn_session_options room;
    mn_plan_options with = *options;
    mn_complete_hooks together = *hooks;
    const mn_adapters *a = &l->adapters;
    MN_CHECK(a->count <= 1, MN_ERR_USAGE, "%lld adapters, where one can be", (long long)a->count);
    with.variants = (const mn_memory *const *)a->memories;
    with.variant_count = a->count;
    together.ranks = l->ranks;
    MN_GOTO(mn_plan_make(&plan, l->model, requests, count, &with));
    mn_plan_session(&room, plan);
    room.compute = compute;
    room.audit = a->count > 0;
    MN_GOTO(mn_session_open(&session, l->model, &room));
    MN_GOTO(mn_complete(session, plan, answers, &together));
    if (a->count > 0) st = mn_completions_effect(answers, NULL, count, a->memories[0], a->names[0]);
done:
    mn_session_close(&session);
    mn_plan_close(&plan);
    return st;
}

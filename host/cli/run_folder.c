/* run_folder.c - a run's folder: its parts, what is done of them, keys that contradict it. */
#include "cli/launch.h"
#include "cli/run.h"

#include "mneme/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* ---- names ---- */

static mn_status take(char **out, mn_buf *text) {
    *out = mn_strdup_n(text->data, text->len);
    MN_CHECK(*out, MN_ERR_MEMORY, "no memory for a name of %zu bytes", text->len);
    return MN_OK;
}

static mn_status name_parts(mn_run *run) {
    const struct {
        const char *name;
        char **path;
    } parts[] = {{"prepared", &run->prepared},
                 {"train", &run->train},
                 {"eval", &run->eval},
                 {"report", &run->report},
                 {"config.json", &run->config}};
    mn_buf path = {0};
    mn_status st = MN_OK;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        MN_GOTO(mn_path_join(&path, run->keys.run_dir, parts[i].name));
        MN_GOTO(take(parts[i].path, &path));
    }
    run->data = run->keys.data ? run->keys.data : run->prepared;
done:
    mn_buf_free(&path);
    return st;
}

bool mn_run_full(const mn_run *run) { return run->keys.train.options.update == MN_UPDATE_FULL; }

static mn_status name_variant(mn_run_variant *v, const mn_run *run) {
    mn_buf name = {0}, dir = {0};
    mn_status st = MN_OK;
    MN_GOTO(mn_buf_printf(&name, "%s%s-wd", mn_train_methods[v->method],
                          mn_run_full(run) ? "-full" : ""));
    MN_GOTO(mn_json_number(&name, v->weight_decay));
    MN_GOTO(mn_path_join(&dir, run->train, name.data));
    MN_GOTO(take(&v->name, &name));
    MN_GOTO(take(&v->dir, &dir));
done:
    mn_buf_free(&dir);
    mn_buf_free(&name);
    return st;
}

/* Every method with every weight decay, in the order of the config; the base is no variant here. */
static mn_status list_variants(mn_run *run) {
    const mn_option_list *methods = &run->keys.methods;
    const mn_option_reals *decays = &run->keys.weight_decays;
    run->variants = calloc(methods->count * decays->count + 1, sizeof *run->variants);
    MN_CHECK(run->variants, MN_ERR_MEMORY, "no memory for variants");
    for (size_t m = 0; m < methods->count; m++)
        for (size_t d = 0; d < decays->count && methods->items[m] > 0; d++) {
            mn_run_variant *v = &run->variants[run->count++];
            v->method = (mn_train_method)(methods->items[m] - 1);
            v->weight_decay = decays->items[d];
            MN_TRY(name_variant(v, run));
        }
    return MN_OK;
}

/* ---- what is done ---- */

static mn_status is_there(bool *out, const char *dir, const char *name) {
    mn_buf path = {0};
    const mn_status st = mn_path_join(&path, dir, name);
    *out = st == MN_OK && mn_file_exists(path.data);
    mn_buf_free(&path);
    return st;
}

mn_status mn_run_weights(mn_run_variant *v, bool full) {
    mn_buf path = {0};
    mn_status st = mn_path_join(&path, v->dir,
                                full ? "model.safetensors" : "adapter_model.safetensors");
    if (st == MN_OK) st = mn_sha256_file(v->sha256, path.data);
    mn_buf_free(&path);
    return st;
}

/* The sha256 of the prepared data's manifest, which has those of all its files. */
static mn_status hash_data(char sha256[MN_SHA256_HEX], const mn_run *run) {
    mn_buf path = {0};
    mn_status st = mn_path_join(&path, run->data, "manifest.json");
    if (st == MN_OK) st = mn_sha256_file(sha256, path.data);
    mn_buf_free(&path);
    return st;
}

/* Whether evaluation.json speaks of exactly these data and weights and its results are there. */
static mn_status look_at_evaluation(mn_run *run) {
    mn_json *doc = NULL;
    mn_buf path = {0};
    mn_status st = MN_OK;
    const char *results, *sha256;
    char data[MN_SHA256_HEX];
    const cJSON *variants;
    run->is_evaluated = false;
    MN_GOTO(mn_path_join(&path, run->eval, "evaluation.json"));
    run->has_evaluation = mn_file_exists(path.data);
    if (!run->has_evaluation || !run->is_trained || !run->is_prepared) goto done;
    MN_GOTO(mn_json_load(&doc, path.data));
    MN_GOTO(mn_json_string(&results, doc, doc->root, "results"));
    MN_GOTO(mn_json_object(&variants, doc, doc->root, "variants"));
    MN_GOTO(mn_path_join(&path, run->eval, results));
    MN_GOTO(hash_data(data, run));
    MN_GOTO(mn_json_string(&sha256, doc, doc->root, "data"));
    bool same = strcmp(sha256, data) == 0 && mn_file_exists(path.data) &&
                (size_t)cJSON_GetArraySize(variants) == run->count;
    for (size_t i = 0; i < run->count && same; i++) {
        MN_GOTO(mn_json_string_or(&sha256, doc, variants, run->variants[i].name, ""));
        MN_GOTO(mn_run_weights(&run->variants[i], mn_run_full(run)));
        same = strcmp(sha256, run->variants[i].sha256) == 0;
    }
    run->is_evaluated = same;
done:
    mn_json_close(&doc);
    mn_buf_free(&path);
    return st;
}

/* ---- what all ranks know ---- */

/* What rank 0 has found, the others take over: a shared folder may show them an older state. */
static mn_status share_findings(mn_run *run) {
    mn_comm *world = run->cli->ranks ? run->cli->ranks->world : NULL;
    bool *const found[] = {&run->is_prepared, &run->is_trained, &run->has_evaluation,
                           &run->is_evaluated, &run->is_reported};
    for (size_t i = 0; i < sizeof found / sizeof *found; i++)
        MN_TRY(mn_comm_broadcast(world, found[i], sizeof *found[i], 0));
    for (size_t i = 0; i < run->count; i++)
        MN_TRY(mn_comm_broadcast(world, &run->variants[i].done, sizeof run->variants[i].done, 0));
    return MN_OK;
}

static mn_status look(mn_run *run) {
    MN_TRY(is_there(&run->is_prepared, run->data, "manifest.json"));
    run->is_trained = true;
    for (size_t i = 0; i < run->count; i++) {
        mn_run_variant *v = &run->variants[i];
        MN_TRY(is_there(&v->done, v->dir, "train_results.json"));
        run->is_trained &= v->done;
    }
    MN_TRY(look_at_evaluation(run));
    MN_TRY(is_there(&run->is_reported, run->report, "report.html"));
    run->is_reported &= run->is_evaluated;
    return MN_OK;
}

mn_status mn_run_look(mn_run *run) {
    const mn_status st = mn_cli_leads(run->cli) ? look(run) : MN_OK;
    MN_TRY(mn_ranks_agree(run->cli->ranks, st));
    return share_findings(run);
}

mn_status mn_run_mark_evaluated(mn_run *run, const char *results) {
    mn_buf text = {0}, path = {0};
    mn_status st = MN_OK;
    char data[MN_SHA256_HEX];
    const size_t folder = strlen(run->eval);
    const char *inside = strncmp(results, run->eval, folder) == 0 ? results + folder : results;
    MN_GOTO(mn_buf_puts(&text, "{\n  \"results\": "));
    inside += strspn(inside, "/");
    MN_GOTO(mn_json_quote(&text, inside, strlen(inside)));
    MN_GOTO(hash_data(data, run));
    MN_GOTO(mn_buf_printf(&text, ",\n  \"data\": \"%s\",\n  \"variants\": {", data));
    for (size_t i = 0; i < run->count; i++) {
        MN_GOTO(mn_run_weights(&run->variants[i], mn_run_full(run)));
        MN_GOTO(mn_buf_printf(&text, "%s\n    \"%s\": \"%s\"", i > 0 ? "," : "",
                              run->variants[i].name, run->variants[i].sha256));
    }
    MN_GOTO(mn_buf_printf(&text, "%s}\n}\n", run->count > 0 ? "\n  " : ""));
    MN_GOTO(mn_path_join(&path, run->eval, "evaluation.json"));
    st = mn_write_file(path.data, text.data, text.len);
done:
    mn_buf_free(&path);
    mn_buf_free(&text);
    return st;
}

/* ---- keys ---- */

/* The first finished part of the folder that a key is bound to; NULL: none. Unfinished training
 * looks after itself: it refuses other keys than its checkpoints'. */
static const char *binding_part(const mn_run *run, const char *key) {
    const unsigned bound = mn_run_bound(key);
    if ((bound & MN_RUN_PREPARED) && run->is_prepared && !run->keys.data) return run->prepared;
    for (size_t i = 0; i < run->count && (bound & MN_RUN_TRAINED); i++)
        if (run->variants[i].done) return run->variants[i].dir;
    return (bound & MN_RUN_EVALUATED) && run->has_evaluation ? run->eval : NULL;
}

static mn_status fail_key(const mn_run *run, const cJSON *was, const cJSON *now, const char *part) {
    char *before = cJSON_PrintUnformatted(was), *after = cJSON_PrintUnformatted(now);
    const mn_status st = mn_fail(
        MN_ERR_USAGE,
        "%s: %s was %.100s, now it is %.100s, but %s is there already; take another "
        "run_dir, or remove that folder",
        run->config, now->string, before ? before : "another", after ? after : "another", part);
    cJSON_free(after);
    cJSON_free(before);
    return st;
}

/* Compares the keys with those of config.json, then writes it. */
static mn_status settle_config(mn_run *run) {
    mn_json *old = NULL, *new = NULL;
    mn_buf text = {0};
    mn_status st = MN_OK;
    const cJSON *now;
    MN_GOTO(mn_options_dump(&text, run->cli->options));
    MN_GOTO(mn_buf_puts(&text, "\n"));
    MN_GOTO(mn_json_parse(&new, text.data, text.len, "the keys of this run"));
    if (mn_file_exists(run->config)) {
        MN_GOTO(mn_json_load(&old, run->config));
        cJSON_ArrayForEach(now, new->root) {
            const cJSON *was = cJSON_GetObjectItemCaseSensitive(old->root, now->string);
            if (!was || cJSON_Compare(was, now, true)) continue;
            const char *part = binding_part(run, now->string);
            if (!part) continue;
            st = fail_key(run, was, now, part);
            goto done;
        }
    }
    const bool same = old && cJSON_Compare(old->root, new->root, true);
    if (!run->keys.dry_run && !same) st = mn_write_file(run->config, text.data, text.len);
done:
    mn_buf_free(&text);
    mn_json_close(&new);
    mn_json_close(&old);
    return st;
}

/* ---- life ---- */

/* One process per run folder. The lock goes with the process, the file stays. */
static mn_status lock_folder(mn_run *run) {
    mn_buf path = {0};
    mn_status st = MN_OK;
    MN_GOTO(mn_make_dirs(run->keys.run_dir));
    MN_GOTO(mn_path_join(&path, run->keys.run_dir, ".lock"));
    run->lock = open(path.data, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (run->lock < 0) st = mn_fail_errno(path.data);
    else if (flock(run->lock, LOCK_EX | LOCK_NB) != 0)
        st = errno == EWOULDBLOCK
                 ? mn_fail(MN_ERR_IO, "%s: another mneme is at this run", run->keys.run_dir)
                 : mn_fail_errno(path.data);
done:
    mn_buf_free(&path);
    return st;
}

mn_status mn_run_open(mn_run *run, const mn_cli *cli, const mn_run_keys *keys) {
    *run = (mn_run){.cli = cli, .keys = *keys, .lock = -1};
    mn_train_options checked; /* no wrong key comes to light only when its step begins */
    MN_TRY(mn_train_library(&checked, &keys->train));
    MN_TRY(name_parts(run));
    MN_TRY(list_variants(run));
    mn_status st = MN_OK;
    const bool leads = mn_cli_leads(cli);
    if (!keys->dry_run && leads) st = lock_folder(run);
    MN_TRY(mn_ranks_agree(cli->ranks, st));
    if (!keys->dry_run) MN_TRY(mn_launch_log(cli, keys->run_dir));
    MN_TRY(mn_run_look(run));
    return mn_ranks_agree(cli->ranks, leads ? settle_config(run) : MN_OK);
}

void mn_run_close(mn_run *run) {
    for (size_t i = 0; i < run->count; i++) {
        free(run->variants[i].name);
        free(run->variants[i].dir);
    }
    free(run->variants);
    char *const paths[] = {run->prepared, run->train, run->eval, run->report, run->config};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) free(paths[i]);
    if (run->lock >= 0) close(run->lock);
    *run = (mn_run){.lock = -1};
}

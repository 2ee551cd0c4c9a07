/* runs.c - what lies in a run folder: the newest results, the trainings, the data's manifest. */
#include "report/runs.h"

#include "mneme/file.h"
#include "report/document.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void free_training(mn_rundir_training *t) {
    mn_json_close(&t->results);
    free(t->log_path);
    free(t->loss.points);
    free(t->eval.points);
}

void mn_rundir_close(mn_rundir *run) {
    for (size_t i = 0; i < run->variant_count; i++) {
        free(run->variants[i].id);
        free(run->variants[i].label);
    }
    for (size_t i = 0; i < run->training_count; i++) free_training(&run->trainings[i]);
    free(run->variants);
    free(run->entries);
    free(run->trainings);
    mn_json_close(&run->results);
    mn_json_close(&run->manifest);
    free(run->results_why);
    free(run->manifest_why);
    free(run->manifest_sha256);
    free(run->dir);
    free(run->name);
    *run = (mn_rundir){0};
}

static mn_status keep(char **out, const char *text) {
    free(*out);
    *out = mn_strdup_n(text, strlen(text));
    return *out ? MN_OK : mn_fail(MN_ERR_MEMORY, "report: no memory");
}

/* ---- folders ---- */

static int no_dots(const struct dirent *entry) { return entry->d_name[0] != '.'; }

/* The names in a folder, sorted byte by byte; a folder that is not there has none. */
static mn_status list(struct dirent ***out, int *count, const char *dir) {
    *out = NULL;
    *count = scandir(dir, out, no_dots, NULL);
    if (*count < 0) {
        *count = 0;
        if (errno != ENOENT && errno != ENOTDIR) return mn_fail_errno(dir);
        return MN_OK;
    }
    for (int i = 1; i < *count; i++)
        for (int k = i; k > 0 && strcmp((*out)[k - 1]->d_name, (*out)[k]->d_name) > 0; k--) {
            struct dirent *swap = (*out)[k];
            (*out)[k] = (*out)[k - 1];
            (*out)[k - 1] = swap;
        }
    return MN_OK;
}

static void unlist(struct dirent **names, int count) {
    for (int i = 0; i < count; i++) free(names[i]);
    free(names);
}

static bool is_results(const char *name) {
    const size_t len = strlen(name);
    return strncmp(name, "results_", 8) == 0 && len > 13 && strcmp(name + len - 5, ".json") == 0;
}

/* The results file with the greatest name, which ends in its date; `best` stays empty without. */
static mn_status newest(mn_buf *best, const char *dir, bool deeper) {
    struct dirent **names = NULL;
    int count = 0;
    mn_buf path = {0};
    mn_status st = list(&names, &count, dir);
    for (int i = 0; st == MN_OK && i < count; i++) {
        const char *slash = best->len ? strrchr(best->data, '/') : NULL;
        MN_GOTO(mn_path_join(&path, dir, names[i]->d_name));
        if (deeper && mn_dir_exists(path.data)) {
            MN_GOTO(newest(best, path.data, false));
        } else if (is_results(names[i]->d_name) &&
                   (!slash || strcmp(names[i]->d_name, slash + 1) > 0)) {
            mn_buf_clear(best);
            MN_GOTO(mn_buf_puts(best, path.data));
        }
    }
done:
    unlist(names, count);
    mn_buf_free(&path);
    return st;
}

/* ---- parts of a run ---- */

static mn_status read_evaluation(mn_rundir *run) {
    mn_buf dir = {0}, path = {0}, why = {0};
    mn_status st = MN_OK;
    MN_GOTO(mn_path_join(&dir, run->dir, "eval"));
    if (mn_dir_exists(dir.data)) MN_GOTO(newest(&path, dir.data, true));
    else MN_GOTO(newest(&path, run->dir, true));
    if (path.len) {
        MN_GOTO(mn_rundir_read_results(run, path.data));
    } else {
        MN_GOTO(mn_buf_printf(&why, "%s has no eval/results_*.json", run->dir));
        MN_GOTO(keep(&run->results_why, why.data));
    }
done:
    mn_buf_free(&why);
    mn_buf_free(&path);
    mn_buf_free(&dir);
    return st;
}

static mn_status read_trainings(mn_rundir *run) {
    struct dirent **names = NULL;
    int count = 0;
    mn_buf dir = {0}, path = {0};
    mn_status st = MN_OK;
    MN_GOTO(mn_path_join(&dir, run->dir, "train"));
    MN_GOTO(list(&names, &count, dir.data));
    for (int i = 0; i < count; i++) {
        MN_GOTO(mn_path_join(&path, dir.data, names[i]->d_name));
        if (mn_dir_exists(path.data))
            MN_GOTO(mn_rundir_read_training(run, path.data, names[i]->d_name));
    }
done:
    unlist(names, count);
    mn_buf_free(&path);
    mn_buf_free(&dir);
    return st;
}

/* The folder that the evaluation read may have changed since: only the recorded manifest counts. */
static mn_status find_manifest(mn_buf *path, mn_buf *why, mn_rundir *run) {
    char sha256[MN_SHA256_HEX];
    const char *data = NULL, *recorded = NULL;
    const cJSON *config = NULL;
    MN_TRY(mn_path_join(path, run->dir, "prepared/manifest.json"));
    const bool own = mn_file_exists(path->data);
    if (run->results && mn_json_has(run->results->root, "config")) {
        MN_TRY(mn_json_object(&config, run->results, run->results->root, "config"));
        MN_TRY(mn_json_string_or(&data, run->results, config, "data", NULL));
        MN_TRY(mn_json_string_or(&recorded, run->results, config, "manifest_sha256", NULL));
    }
    if (!own) {
        if (data) MN_TRY(mn_path_join(path, data, "manifest.json"));
        if (!data || !mn_file_exists(path->data)) {
            mn_buf_clear(path);
            MN_TRY(mn_buf_printf(why, "%s has no prepared/manifest.json", run->dir));
            return data ? mn_buf_printf(why, " and %s no manifest.json", data) : MN_OK;
        }
    }
    MN_TRY(mn_sha256_file(sha256, path->data));
    if (!own && (!recorded || strcmp(recorded, sha256) != 0)) {
        MN_TRY(mn_buf_printf(why, "%s is not the one that was evaluated", path->data));
        mn_buf_clear(path);
        return MN_OK;
    }
    return keep(&run->manifest_sha256, sha256);
}

static mn_status read_manifest(mn_rundir *run) {
    mn_buf path = {0}, why = {0};
    mn_status st = MN_OK;
    MN_GOTO(find_manifest(&path, &why, run));
    if (path.len) {
        MN_GOTO(mn_json_load(&run->manifest, path.data));
        if (!cJSON_IsObject(run->manifest->root))
            st = mn_json_fail(run->manifest, run->manifest->root, "expected an object");
    } else {
        MN_GOTO(keep(&run->manifest_why, why.data));
    }
done:
    mn_buf_free(&why);
    mn_buf_free(&path);
    return st;
}

static mn_status name_run(mn_rundir *run) {
    const char *name = NULL;
    if (run->results)
        MN_TRY(mn_json_string_or(&name, run->results, run->results->root, "model_name", NULL));
    if (name && *name) { /* "EleutherAI/pythia-70m": the publisher would widen every table */
        const char *slash = strrchr(name, '/');
        return keep(&run->name, slash && slash[1] ? slash + 1 : name);
    }
    size_t len = strlen(run->dir);
    while (len > 1 && run->dir[len - 1] == '/') len--;
    size_t from = len;
    while (from > 0 && run->dir[from - 1] != '/') from--;
    run->name = mn_strdup_n(run->dir + from, len - from);
    return run->name ? MN_OK : mn_fail(MN_ERR_MEMORY, "report: no memory");
}

mn_status mn_rundir_open(mn_rundir *out, const char *dir) {
    mn_rundir run = {0};
    mn_status st = MN_OK;
    *out = (mn_rundir){0};
    MN_CHECK_GOTO(mn_dir_exists(dir), MN_ERR_USAGE, "%s: no such run folder", dir);
    MN_GOTO(keep(&run.dir, dir));
    MN_GOTO(read_evaluation(&run));
    MN_GOTO(read_trainings(&run));
    MN_CHECK_GOTO(
        run.results || run.training_count > 0, MN_ERR_USAGE,
        "%s: no run folder: neither eval/results_*.json nor train/*/train_log.jsonl is there", dir);
    MN_GOTO(read_manifest(&run));
    MN_GOTO(name_run(&run));
    MN_GOTO(mn_rundir_sort(&run));
    run.document = mn_document_find(run.name);
    *out = run;
    run = (mn_rundir){0};
done:
    mn_rundir_close(&run);
    return st;
}

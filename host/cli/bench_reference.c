/* bench_reference.c - runs another program that does the same training steps, for the same sizes, and
 * reads its speeds. */
#include "cli/bench.h"

#include "cli/bench_figures.h"
#include "mneme/json.h"
#include "mneme/signals.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static mn_status command_line(mn_buf *out, const mn_bench *b, const mn_memory *memory) {
    const mn_bench_options *o = b->options;
    const mn_model_config *c = &b->model->config;
    const struct {
        const char *name;
        int64_t value;
    } sizes[] = {{"layers", c->layers},
                 {"dim", c->dim},
                 {"heads", c->heads},
                 {"ffn_dim", c->ffn_dim},
                 {"vocab", c->vocab},
                 {"rotary_dims", c->rotary_dims},
                 {"parallel_residual", c->parallel_residual},
                 {"sequences", MN_BENCH_TRAIN_SEQS},
                 {"length", mn_bench_train_length(o)},
                 {"answer", MN_BENCH_TRAIN_ANSWER},
                 {"memory_hidden", memory->hidden},
                 {"threads", b->device->threads},
                 {"repeat", o->repeat},
                 {"seed", o->seed}};
    MN_TRY(mn_buf_printf(out, "%s --arch %s --compute %s", o->reference, mn_arch_name(c->arch),
                         mn_bench_compute_name(b)));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        MN_TRY(mn_buf_printf(out, " --%s %lld", sizes[i].name, (long long)sizes[i].value));
    for (int64_t i = 0; i < memory->count; i++)
        MN_TRY(mn_buf_printf(out, "%s%lld", i > 0 ? "," : " --memory_blocks ",
                             (long long)memory->layers[i].block));
    return MN_OK;
}

/* What the command prints. */
static mn_status output_of(mn_buf *out, const char *command, const char *name) {
    mn_status st = MN_OK;
    char part[4096];
    fflush(NULL); /* the child must not print it once more */
    FILE *pipe = popen(command, "r");
    MN_CHECK(pipe, MN_ERR_IO, "reference %s does not start: %s", name, strerror(errno));
    for (size_t n; (n = fread(part, 1, sizeof part, pipe)) > 0;)
        MN_GOTO(mn_buf_append(out, part, n));
done:;
    const int ended = pclose(pipe);
    if (st != MN_OK) return st;
    MN_CHECK(!mn_stop_requested(), MN_STOPPED, "stopped on request");
    MN_CHECK(ended >= 0 && WIFEXITED(ended), MN_ERR_IO, "reference %s was ended", name);
    MN_CHECK(WEXITSTATUS(ended) == 0, MN_ERR_IO, "reference %s ended with status %d", name,
             WEXITSTATUS(ended));
    return MN_OK;
}

static mn_status read_speeds(mn_bench_reference *out, const mn_json *doc) {
    const char *version = NULL;
    const struct {
        const char *key;
        double *value;
    } speeds[] = {
        {"epoch1", &out->train}, {"template", &out->templates}, {"forward", &out->forward}};
    for (size_t i = 0; i < sizeof speeds / sizeof *speeds; i++) {
        MN_TRY(mn_json_f64(speeds[i].value, doc, doc->root, speeds[i].key));
        MN_CHECK(*speeds[i].value > 0, MN_ERR_DATA, "%s: %s is %g tokens per second", doc->name,
                 speeds[i].key, *speeds[i].value);
    }
    MN_TRY(mn_json_string(&version, doc, doc->root, "version"));
    snprintf(out->version, sizeof out->version, "%s", version);
    return MN_OK;
}

mn_status mn_bench_refer(mn_bench *b, const mn_memory *memory) {
    const char *name = b->options->reference;
    mn_buf command = {0}, text = {0}, label = {0};
    mn_json *doc = NULL;
    mn_status st = MN_OK;
    MN_GOTO(command_line(&command, b, memory));
    mn_log(MN_LOG_DEBUG, "reference: %s", command.data);
    MN_GOTO(output_of(&text, command.data, name));
    MN_GOTO(mn_buf_printf(&label, "output of reference %s", name));
    MN_GOTO(mn_json_parse(&doc, text.data ? text.data : "", text.len, label.data));
    MN_GOTO(read_speeds(&b->reference, doc));
    b->has_reference = true;
done:
    mn_json_close(&doc);
    mn_buf_free(&label);
    mn_buf_free(&text);
    mn_buf_free(&command);
    return st;
}

/* cmd_bench.c - mneme bench: how fast this machine does a model's work, beside what the machine can
 * do at most, measured in the same run. */
#include "cli/bench.h"

#include "cli/commands.h"
#include "cli/common.h"
#include "mneme/file.h"

#include <stdio.h>
#include <stdlib.h>

/* In the order of mn_bench_kind and mn_compute. */
static const char *const kinds[] = {"prefill", "decode",  "prefix",    "linear", "fanout",
                                    "train",   "kernels", "attention", NULL};
static const char *const computes[] = {"f32", "bf16", NULL};

enum { MARK_BYTES = 64 };

static const mn_option rows[] = {
    MN_OPT_PATH(mn_bench_options, shape, "NAME", NULL,
                "random fp16 weights of this shape: pythia-70m, pythia-160m, pythia-410m, "
                "pythia-1b, pythia-1.4b, pythia-2.8b, pythia-6.9b, pythia-12b, llama-2-7b, "
                "llama-2-13b or one of these two with -chat"),
    MN_OPT_PATH(mn_bench_options, model, "DIR", NULL, "the weights of a model's folder instead"),
    MN_OPT_CHOICE_LIST(
        mn_bench_options, what, "prefill,decode,prefix", kinds,
        "prefill: one prompt, its last logits. decode: one token after the other. "
        "prefix: claims about one page, as whole prompts and with their common "
        "beginning computed once. linear: single matrix products. fanout: such claims "
        "by the base alone, and by the base and three memories in one pass. train: steps of "
        "4 x 256 tokens for memories at 70 to 80 % of the depth. kernels: each one alone, at "
        "the model's shapes for --tokens tokens. attention: several lengths and head sizes, own "
        "and cuDNN's"),
    MN_OPT_PATH(
        mn_bench_options, reference, "CMD", NULL,
        "a command that does the steps of train in its own way, to compare with: it gets the "
        "sizes as options and prints {\"epoch1\": tokens per second, \"template\": the same, "
        "\"forward\": the same, \"version\": \"its name\"}. tools/bench_train_torch.py is one"),
    MN_OPT_CHOICE(mn_bench_options, compute, "f32", computes,
                  "what the inputs of matrix products are rounded to; on a GPU the weights' type "
                  "decides"),
    MN_OPT_I64(mn_bench_options, repeat, "5", 1, MN_BENCH_REPEATS,
               "timed runs of each work; one that does not count goes before them"),
    MN_OPT_I64(mn_bench_options, max_seconds, "60", 1, 1 << 20,
               "start no further timed run of a work after so many seconds"),
    MN_OPT_I64(mn_bench_options, tokens, "512", 1, 1 << 20, "prompt of prefill"),
    MN_OPT_I64(mn_bench_options, context, "128", 1, 1 << 20, "tokens before the first of decode"),
    MN_OPT_I64(mn_bench_options, steps, "32", 1, 1 << 20, "tokens of decode"),
    MN_OPT_I64(mn_bench_options, claims, "64", 1, 4096, "claims of prefix and fanout"),
    MN_OPT_I64(mn_bench_options, seed, "0", 0, MN_OPTION_NO_MAX, "for weights and tokens"),
    MN_OPT_FLAG(mn_bench_options, json, "false", "one JSON object instead of tables"),
    MN_OPT_FLAG(mn_bench_options, quick, "false",
                "small sizes, one run: to see that it works, not how fast"),
};

static void make_quick(mn_bench_options *o, const mn_options *given) {
    const struct {
        const char *name;
        int64_t *value, quick;
    } sizes[] = {{"repeat", &o->repeat, 1},
                 {"tokens", &o->tokens, 32},
                 {"context", &o->context, 16},
                 {"steps", &o->steps, 4},
                 {"claims", &o->claims, 3}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (!mn_options_given(given, sizes[i].name)) *sizes[i].value = sizes[i].quick;
}

static bool wanted(const mn_bench_options *o, mn_bench_kind kind) {
    for (size_t i = 0; i < o->what.count; i++)
        if (o->what.items[i] == (int64_t)kind) return true;
    return false;
}

static void raise_to(int64_t *value, int64_t least) {
    if (*value < least) *value = least;
}

/* A session that all the works fit into; *longest is the longest sequence. */
static mn_session_options limits_of(const mn_bench_options *o, mn_compute compute,
                                    int64_t *longest) {
    mn_session_options s = {.max_seqs = 1, .max_logits = 1, .compute = compute};
    const int64_t decoded = o->context + o->steps, whole = MN_BENCH_SHARED + MN_BENCH_OWN;
    *longest = 0;
    if (wanted(o, MN_BENCH_PREFILL)) {
        raise_to(&s.max_tokens, o->tokens);
        raise_to(&s.kv_rows, o->tokens);
        raise_to(longest, o->tokens);
    }
    if (wanted(o, MN_BENCH_DECODE)) {
        raise_to(&s.max_tokens, o->context);
        raise_to(&s.kv_rows, decoded);
        raise_to(longest, decoded);
    }
    if (wanted(o, MN_BENCH_PREFIX)) {
        const int64_t at_once = mn_bench_whole_batch(o->claims) * whole;
        raise_to(&s.max_tokens, at_once);
        raise_to(&s.max_tokens, o->claims * MN_BENCH_OWN);
        raise_to(&s.kv_rows, at_once);
        raise_to(&s.kv_rows, MN_BENCH_SHARED + o->claims * MN_BENCH_OWN);
        raise_to(&s.max_seqs, o->claims);
        raise_to(&s.max_logits, o->claims);
        raise_to(longest, whole);
    }
    if (wanted(o, MN_BENCH_FANOUT)) {
        raise_to(&s.max_tokens, MN_BENCH_SHARED);
        raise_to(&s.max_tokens, o->claims * MN_BENCH_OWN);
        raise_to(&s.kv_rows, MN_BENCH_SHARED + o->claims * MN_BENCH_OWN);
        raise_to(&s.max_seqs, o->claims);
        raise_to(&s.max_logits, o->claims);
        raise_to(longest, whole);
    }
    return s;
}

mn_status mn_bench_want_memory(const mn_bench *b, double bytes, const char *what) {
    if (!b->device->host_memory) return MN_OK; /* a GPU says itself what it lacks */
    const double there = mn_memory_available();
    MN_CHECK(bytes < there, MN_ERR_MEMORY, "%s needs %.1f GB of memory, %.1f GB are available",
             what, bytes / 1e9, there / 1e9);
    return MN_OK;
}

static mn_status open_model(mn_bench *b) {
    const mn_bench_options *o = b->options;
    mn_model_config config;
    if (o->model) {
        MN_TRY(mn_model_open(&b->model, o->model, b->device, NULL));
        return mn_model_pack(b->model, NULL);
    }
    MN_TRY(mn_model_config_named(&config, o->shape));
    const double embedding = config.tied ? 0 : (double)(config.vocab * config.dim) * 2;
    MN_TRY(mn_bench_want_memory(b, mn_bench_weight_bytes(&config, MN_F16) + embedding, o->shape));
    mn_log(MN_LOG_DEBUG, "drawing random weights of %s", o->shape);
    MN_TRY(
        mn_model_random(&b->model, &config, o->shape, MN_F16, (uint64_t)o->seed, b->device, NULL));
    return mn_model_pack(b->model, NULL);
}

static mn_status open_session(mn_bench *b) {
    int64_t longest = 0, kv_bytes = 0, step_bytes = 0;
    const mn_session_options limits = limits_of(b->options, b->compute, &longest);
    const int64_t positions = b->model->config.max_positions;
    if (longest == 0) return MN_OK;
    MN_CHECK(longest <= positions, MN_ERR_USAGE, "%s: a sequence of %lld tokens, at most %lld",
             b->model->path, (long long)longest, (long long)positions);
    MN_TRY(mn_session_plan(&kv_bytes, &step_bytes, b->model, &limits));
    MN_TRY(mn_bench_want_memory(b, (double)kv_bytes + (double)step_bytes, "the work"));
    return mn_session_open(&b->session, b->model, &limits);
}

/* Reads go over as much memory as a pass over the weights, but at least half a gigabyte, which no
 * cache holds, and at most two. */
static mn_status open_peaks(mn_bench *b) {
    const double low = (double)(512 << 20), high = 4 * low;
    double bytes = mn_bench_weight_bytes(&b->model->config, mn_bench_dtype(b->model));
    bytes = bytes < low ? low : bytes > high ? high : bytes;
    if (!b->device->host_memory)
        return mn_device_peaks_open(&b->device_peaks, b->device, mn_bench_dtype(b->model),
                                    b->options->quick ? 64 : 8192,
                                    b->options->quick ? 1 << 20 : 1 << 30, 4);
    if (b->options->quick) return mn_peaks_open(&b->peaks, b->device->threads, 32 << 20, 5e-4, 1);
    MN_TRY(mn_bench_want_memory(b, bytes, "the read test"));
    return mn_peaks_open(&b->peaks, b->device->threads, (size_t)bytes, 5e-3, 4);
}

static mn_status read_all_peaks(mn_bench *b) {
    double rate;
    for (int i = 0; i < MN_PEAKS; i++) MN_TRY(mn_bench_peak(&rate, b, (mn_peak)i));
    return MN_OK;
}

static int64_t works_of(mn_bench_kind kind) { /* in runs of b->options->repeat */
    if (kind == MN_BENCH_LINEAR || kind >= MN_BENCH_KERNELS) return 0;
    if (kind == MN_BENCH_TRAIN) return MN_BENCH_TRAIN_WORKS;
    return kind == MN_BENCH_PREFIX || kind == MN_BENCH_FANOUT ? 2 : 1;
}

static mn_status measure(mn_bench *b) {
    const mn_bench_options *o = b->options;
    int64_t works = 0;
    for (size_t i = 0; i < o->what.count; i++) works += works_of((mn_bench_kind)o->what.items[i]);
    if (works > 0) b->progress = mn_progress_begin("bench", "runs", works * o->repeat);
    MN_TRY(read_all_peaks(b));
    for (size_t i = 0; i < o->what.count; i++) {
        switch ((mn_bench_kind)o->what.items[i]) {
        case MN_BENCH_PREFILL: MN_TRY(mn_bench_prefill(b)); break;
        case MN_BENCH_DECODE: MN_TRY(mn_bench_decode(b)); break;
        case MN_BENCH_PREFIX: MN_TRY(mn_bench_prefix(b)); break;
        case MN_BENCH_LINEAR: MN_TRY(mn_bench_linear_sweep(b)); break;
        case MN_BENCH_FANOUT: MN_TRY(mn_bench_fanout(b)); break;
        case MN_BENCH_TRAIN: MN_TRY(mn_bench_train(b)); break;
        case MN_BENCH_KERNELS: MN_TRY(mn_bench_kernels(b)); break;
        case MN_BENCH_ATTENTION: MN_TRY(mn_bench_attention(b)); break;
        }
    }
    return read_all_peaks(b);
}

static void release(mn_bench *b) {
    mn_progress_end(&b->progress);
    mn_peaks_close(&b->peaks);
    mn_device_peaks_close(&b->device_peaks);
    if (b->mark) b->device->release(b->device, b->mark, MARK_BYTES);
    mn_session_close(&b->session);
    mn_model_close(&b->model);
    mn_device_close(&b->device);
    for (int i = 0; i < MN_PEAKS; i++) free(b->readings[i].rates);
    free(b->linear);
    free(b->kernels);
    free(b);
}

static mn_status run(const mn_cli *cli, const void *options) {
    mn_bench_options o = *(const mn_bench_options *)options;
    mn_buf out = {0};
    mn_status st = MN_OK;
    MN_CHECK(!o.shape != !o.model, MN_ERR_USAGE, "one of --shape NAME and --model DIR is needed");
    MN_CHECK(o.what.count > 0, MN_ERR_USAGE, "--what names no work");
    MN_CHECK(!o.reference || wanted(&o, MN_BENCH_TRAIN), MN_ERR_USAGE,
             "--reference is compared with --what train");
    if (o.quick) make_quick(&o, cli->options);
    mn_bench *b = calloc(1, sizeof *b);
    MN_CHECK(b, MN_ERR_MEMORY, "no memory for the benchmark");
    b->options = &o;
    b->compute = (mn_compute)o.compute;
    if (getloadavg(&b->load, 1) != 1) b->load = -1;
    b->by_cudnn = cli->common.attention;
    MN_GOTO(mn_cli_device_open(&b->device, cli));
    if (b->device->narrow_products) b->compute = MN_COMPUTE_F32; /* the weights' type decides */
    MN_GOTO(b->device->alloc(b->device, &b->mark, MARK_BYTES));
    MN_GOTO(open_model(b));
    MN_GOTO(open_session(b));
    MN_GOTO(open_peaks(b));
    MN_GOTO(measure(b));
    mn_progress_end(&b->progress);
    MN_GOTO(o.json ? mn_bench_json(&out, b) : mn_bench_text(&out, b));
    st = mn_print(&out);
done:
    mn_buf_free(&out);
    release(b);
    return st;
}

static const mn_command command = {
    .name = "bench",
    .about = "Times the work of a model on this machine and shows it beside the machine's own "
             "limits - arithmetic in registers, reads of memory; of a GPU, products and copies - "
             "which are measured again between the runs.",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
    .examples = {"mneme bench --shape pythia-410m",
                 "mneme bench --shape llama-2-7b --what decode,prefill --compute bf16 --json",
                 "mneme bench --shape pythia-410m --what train --reference "
                 "\"python3 tools/bench_train_torch.py\""},
    .run = run,
};

mn_status mn_cmd_bench(int argc, char **argv) {
    mn_bench_options options;
    return mn_command_main(&command, &options, argc, argv);
}

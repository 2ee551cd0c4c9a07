/* bench.h - what the files of `mneme bench` share: the state of one run, timed work, packed batches
 * and what they must cost. */
#ifndef MNEME_CLI_BENCH_H
#define MNEME_CLI_BENCH_H

#include "cli/bench_peaks.h"
#include "cli/options.h"
#include "mneme/log.h"
#include "mneme/memory.h"
#include "mneme/session.h"

enum { MN_BENCH_REPEATS = 99, MN_BENCH_LETTERS = 3, MN_BENCH_WORKS = 10 };
enum { MN_BENCH_VARIANTS = 4 }; /* of the fan-out: the base and three memories */
/* Sequences of a training step; those of its tokens that answer a template. */
enum { MN_BENCH_TRAIN_SEQS = 4, MN_BENCH_TRAIN_ANSWER = 4, MN_BENCH_TRAIN_WORKS = 4 };

typedef enum mn_bench_kind {
    MN_BENCH_PREFILL,
    MN_BENCH_DECODE,
    MN_BENCH_PREFIX,
    MN_BENCH_LINEAR,
    MN_BENCH_FANOUT,
    MN_BENCH_TRAIN,
    MN_BENCH_KERNELS,
    MN_BENCH_ATTENTION
} mn_bench_kind;

typedef struct mn_bench_options {
    const char *shape, *model, *reference;
    mn_option_list what; /* mn_bench_kind */
    int compute;         /* mn_compute */
    int64_t repeat, max_seconds, tokens, context, steps, claims, seed;
    bool json, quick;
} mn_bench_options;

/* Readings of one kind of peak. */
typedef struct mn_bench_readings {
    double *rates;
    size_t count, cap;
} mn_bench_readings;

/* A piece of work, timed some times; `peaks` are the better readings of those before and behind. */
typedef struct mn_bench_work {
    const char *name, *unit; /* "prefill", "tokens/s" */
    char title[64];
    double units, flops, bytes; /* of one run */
    mn_peak limit;
    int runs;
    double seconds[MN_BENCH_REPEATS], peaks[MN_BENCH_REPEATS];
} mn_bench_work;

/* What a prefix run says of each claim. */
typedef struct mn_bench_answers {
    int32_t *best;  /* (claims): the likeliest next token */
    float *logprob; /* (claims, MN_BENCH_LETTERS) */
} mn_bench_answers;

/* Reads logits as an evaluation does. Memory of the device, and of the host. */
typedef struct mn_bench_reader {
    mn_device *device;
    mn_arena arena;
    int64_t claims;
    mn_row_stat *stats, *host_stats;
    int32_t *row, *letter; /* (claims, letters): where log-probabilities are taken */
    float *logprob, *difference, *host_difference;
} mn_bench_reader;

/* How often two sets of answers agree. */
typedef struct mn_bench_agreement {
    int64_t claims, best, letter;
    double max_difference; /* of the letters' log-probabilities */
} mn_bench_agreement;

typedef struct mn_bench_linear {
    char matrix[64];
    int64_t m, n, k;
    double flops, bytes; /* of one product */
    int runs;
    double seconds[MN_BENCH_REPEATS];   /* of one product */
    double read_peak[MN_BENCH_REPEATS]; /* bytes per second, read beside each run */
    double flop_peak;
} mn_bench_linear;

/* A kernel alone. */
typedef struct mn_bench_kernel {
    char title[96];
    double flops, bytes; /* that a call needs */
    mn_peak limit;       /* of its operations */
    int runs;
    double seconds[MN_BENCH_REPEATS]; /* of one call */
} mn_bench_kernel;

/* What another program says of its own speed, in tokens per second. */
typedef struct mn_bench_reference {
    char version[64];
    double train, templates, forward;
} mn_bench_reference;

typedef struct mn_bench {
    const mn_bench_options *options;
    mn_compute compute;
    mn_device *device;
    bool by_cudnn; /* the attention that the command line names */
    mn_model *model;
    mn_session *session;
    mn_peaks *peaks;               /* the CPU's */
    mn_device_peaks *device_peaks; /* where the device has memory of its own */
    void *mark;                    /* a word of the device: to wait for it */
    mn_progress *progress;
    double load; /* the machine's load average before the run; below 0: unknown */
    mn_bench_readings readings[MN_PEAKS];
    mn_bench_work works[MN_BENCH_WORKS];
    size_t work_count;
    bool has_sharing, has_rounding, has_fanout; /* below */
    mn_bench_agreement sharing;                 /* shared prefix against whole prompts */
    mn_bench_agreement rounding;                /* bf16 against fp32 */
    mn_bench_agreement fanout;                  /* the base among variants against the base alone */
    size_t fanout_work; /* works[fanout_work] is one, the next all variants */
    bool has_train, has_reference;
    size_t train_work; /* the first of MN_BENCH_TRAIN_WORKS */
    mn_bench_reference reference;
    mn_bench_linear *linear;
    size_t linear_count;
    mn_bench_kernel *kernels;
    size_t kernel_count, kernel_cap;
} mn_bench;

/* A reading of a peak, also filed in b->readings. MN_STOPPED when a stop was requested. */
mn_status mn_bench_peak(double *out, mn_bench *b, mn_peak which);
/* fp32's or bf16's: by b->compute, on a GPU by the weights' type. */
mn_peak mn_bench_flop_peak(const mn_bench *b);
mn_status mn_bench_wait(mn_bench *b); /* for all work of the device */
/* `warm_up` once, then up to b->options->repeat timed calls of `run`, with what they leave the device to do; none
 * begins after b->options->max_seconds. */
mn_status mn_bench_time(mn_bench *b, mn_bench_work *work, mn_status (*warm_up)(void *),
                        mn_status (*run)(void *), void *context);

/* ---- bench_batch.c ---- */

/* A packed batch of prompts with room for a number of tokens and sequences. */
typedef struct mn_bench_batch {
    mn_batch batch; /* shows the arrays below */
    int32_t *ids, *positions, *rows, *outputs;
    mn_attn_seq *seqs;
    int64_t max_tokens, max_seqs;
} mn_bench_batch;

/* `count` new tokens that see the first `shared` rows of the cache, `before` rows of their own and
 * themselves. Own rows begin at `own_begin`. The last token is an output if wanted. */
typedef struct mn_bench_seq {
    const int32_t *ids;
    int64_t count, shared, own_begin, before;
    bool output;
} mn_bench_seq;

mn_status mn_bench_batch_open(mn_bench_batch *out, int64_t tokens, int64_t seqs);
void mn_bench_batch_close(mn_bench_batch *batch); /* safe twice */
void mn_bench_batch_clear(mn_bench_batch *batch);
void mn_bench_batch_add(mn_bench_batch *batch, const mn_bench_seq *seq);

/* Multiplications and additions that the batch needs: matrices of the blocks for every token,
 * attention for every pair of query and visible key, the output matrix for every output. */
double mn_bench_flops(const mn_model_config *config, const mn_batch *batch);
/* Bytes that must come from memory: every weight that is used, once; the cache rows, once. */
double mn_bench_bytes(const mn_model *model, const mn_batch *batch);
/* All weights that a batch with an output reads: everything but the embedding table. */
double mn_bench_weight_bytes(const mn_model_config *config, mn_dtype dtype);
mn_dtype mn_bench_dtype(const mn_model *model); /* of the matrices */

/* Better refused than killed by the system half way through. */
mn_status mn_bench_want_memory(const mn_bench *b, double bytes, const char *what);

/* ---- bench_answers.c ---- */

mn_status mn_bench_answers_open(mn_bench_answers *out, int64_t claims);
void mn_bench_answers_close(mn_bench_answers *answers); /* safe twice */
/* Stand-ins for the label letters, which depend on the tokenizer: any three ids cost the same. */
extern const int32_t mn_bench_letters[MN_BENCH_LETTERS];
mn_status mn_bench_reader_open(mn_bench_reader *out, mn_device *device, int64_t claims,
                               int64_t vocab);
void mn_bench_reader_close(mn_bench_reader *reader); /* safe twice */
/* Claims first .. first + the rows of logits - 1. */
mn_status mn_bench_read(mn_bench_reader *reader, const mn_tensor *logits,
                        const mn_bench_answers *out, int64_t first);
/* The likeliest next token of the only row. */
mn_status mn_bench_read_best(mn_bench_reader *reader, const mn_tensor *logits, int32_t *best);
/* The largest difference of each row, read and thrown away. */
mn_status mn_bench_read_difference(mn_bench_reader *reader, const mn_tensor *logits,
                                   const mn_tensor *base);
mn_bench_agreement mn_bench_compare(const mn_bench_answers *a, const mn_bench_answers *b,
                                    int64_t claims);

/* ---- bench_work.c, bench_prefix.c, bench_fanout.c, bench_train.c, bench_linear.c ---- */

mn_status mn_bench_prefill(mn_bench *b);
mn_status mn_bench_decode(mn_bench *b);
mn_status mn_bench_prefix(mn_bench *b);
mn_status mn_bench_fanout(mn_bench *b);
mn_status mn_bench_train(mn_bench *b);
mn_status mn_bench_linear_sweep(mn_bench *b);
mn_status mn_bench_kernels(mn_bench *b);   /* bench_kernels.c: every row of kernels.def */
mn_status mn_bench_attention(mn_bench *b); /* bench_attention.c */

enum { MN_BENCH_SHARED = 120, MN_BENCH_OWN = 12 }; /* tokens of the prefix and of a claim */
int64_t mn_bench_whole_batch(int64_t claims);      /* whole prompts per pass */
int64_t mn_bench_train_length(const mn_bench_options *options); /* tokens of a sequence */

/* ---- bench_kernel_list.c ---- */

/* *out: a place at the end of b->kernels, until the next call. */
mn_status mn_bench_add_kernel(mn_bench_kernel **out, mn_bench *b, const char *title, ...)
    __attribute__((format(printf, 3, 4)));
/* kernel->seconds: of one `call` among many that follow each other. */
mn_status mn_bench_time_kernel(mn_bench *b, mn_bench_kernel *kernel, mn_status (*call)(void *),
                               void *context);
mn_status mn_bench_kernels_text(mn_buf *out, const mn_bench *b);
mn_status mn_bench_kernels_json(mn_buf *out, const mn_bench *b);

/* ---- bench_reference.c ---- */

/* b->reference = what `--reference` prints when it gets the sizes of the training step as options:
 * {"epoch1": tokens/s, "template": tokens/s, "forward": tokens/s, "version": "name and version"}. */
mn_status mn_bench_refer(mn_bench *b, const mn_memory *memory);

/* ---- bench_report.c, bench_json.c ---- */

mn_status mn_bench_text(mn_buf *out, const mn_bench *b);
mn_status mn_bench_json(mn_buf *out, const mn_bench *b);

#endif

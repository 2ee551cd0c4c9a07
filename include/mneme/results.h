/* results.h - from predictions to what is kept of an evaluation: numbers, a results file, a table.
 *
 * The caller fills the first part of each struct, mn_results_compute the second. Strings and arrays
 * stay the caller's and must outlive the struct. Files and keys are those of lm-evaluation-harness,
 * so its readers read them; what they do not know (intervals, confusion, comparison) is added
 * beside. The file depends on nothing but these structs. */
#ifndef MNEME_RESULTS_H
#define MNEME_RESULTS_H

#include "mneme/buf.h"
#include "mneme/stats.h"
#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* How an answer is read: from generated text, or as the likeliest of the three candidates. */
typedef enum mn_scoring { MN_SCORING_GENERATE, MN_SCORING_CHOICE } mn_scoring;
const char *mn_scoring_name(mn_scoring scoring); /* "generate", "choice" */

#define MN_NOISE_P 0.05
#define MN_BASE_VARIANT "pretrained" /* what the base is called */

/* Two entries over the same rows, "this" against "reference". */
typedef struct mn_comparison {
    int64_t reference;       /* index of the entry compared with, -1 for none */
    bool same;               /* every prediction is the same */
    int64_t changed;         /* predictions that are not */
    mn_mcnemar mcnemar;      /* a is the reference, b is this */
    mn_bootstrap difference; /* this - reference, page-clustered and paired */
    double accuracy;         /* this - reference */
    double half_width;       /* of the 95 % interval of that; NaN when there is none */
    bool within_noise;       /* |accuracy| <= half_width, or McNemar's p above MN_NOISE_P: only
                                when both speak against chance is it more than noise (the bootstrap
                                is too sure with few pages, McNemar's test does not know of pages);
                                false without an interval */
} mn_comparison;

enum { MN_TASK_MAX = 192 };

typedef struct mn_result_entry {
    const char *variant; /* NULL: the base */
    int shots;           /* 0 .. 99 */
    mn_scoring scoring;
    int64_t n;              /* rows below */
    int64_t n_original;     /* rows of the data before any limit */
    const int8_t *gold;     /* n labels 0 .. 2 */
    const int8_t *pred;     /* n answers 0 .. 2, -1 unreadable */
    const int64_t *cluster; /* n page ids 0 .. clusters-1 */
    int64_t clusters;
    double seconds; /* spent on it */

    char task[MN_TASK_MAX]; /* "fever_1shot", "fever_1shot_choice@gpt_wikipage" */
    mn_metrics metrics;
    mn_bootstrap interval;
    mn_comparison comparison;
} mn_result_entry;

/* The effect audit of a variant with memories: what they change where the answers are read off. */
typedef struct mn_effect_memory {
    int64_t block;          /* it stands behind this one */
    double relative_change; /* mean of |delta h| / |h|, Euclidean norms */
} mn_effect_memory;

typedef struct mn_effect {
    const char *variant;
    const mn_effect_memory *memories; /* [memory_count], by rising block */
    int64_t memory_count;
    double max_logit_change; /* from the base's, of any token of the vocabulary */
} mn_effect;

typedef struct mn_results {
    const char *model_name;   /* "EleutherAI/pythia-70m", or the folder's name */
    const char *model_path;   /* its folder */
    const char *architecture; /* "GPT-NeoX, 6 layers, width 512" */
    int64_t parameters;
    const char *device, *compute;        /* "cpu: 2 threads, avx512"; "fp32" or "bf16" */
    const char *data_path, *data_sha256; /* the prepared folder, its manifest.json */
    const char *version, *git_hash;      /* of mneme; git_hash may be NULL */
    uint64_t seed;                       /* of the bootstrap */
    int bootstrap_iters;                 /* 0: no intervals */
    mn_unparsed unparsed;
    int64_t batch_size;   /* 0: auto */
    int64_t max_gen_toks; /* of a generated answer */
    int64_t limit;        /* rows asked for, 0 for all */
    double date;  /* start, seconds since 1970; 0: mn_results_compute puts the present time */
    double first; /* start of an evaluation that was interrupted since, for file names; 0: `date` */
    double seconds; /* the whole evaluation */
    mn_result_entry *entries;
    size_t count;
    const mn_effect *effects; /* one for each variant with memories */
    size_t effect_count;

    /* The most accurate entry against the second best (the earlier one wins ties); best is -1, or
     * top.reference is, when there are fewer or they do not cover the same rows. */
    int64_t best;
    mn_comparison top;
} mn_results;

/* Fills the second part of everything. Each entry is compared with the entry whose task is
 * `reference`; NULL stands for the first entry with the same scoring, but where the variant is not that of
 * the first entry (the base, if it is there): for this variant's entry with the same shots and scoring. Fails with MN_ERR_USAGE when
 * there is no such task, two entries have the same one, a label or page is out of range, or an
 * entry and its reference do not cover the same rows. */
mn_status mn_results_compute(mn_results *results, const char *reference);

/* How many predictions of a variant's entry are not the base's; -1 when it is not compared with the
 * base. */
int64_t mn_results_changed(const mn_results *results, size_t entry);

mn_status mn_results_json(mn_buf *out, const mn_results *results); /* appends */

/* Where lm-evaluation-harness would put the files: `output_path` is a folder, then the file is
 * <output_path>/<model name>/results_<date>.json; or it ends in ".json", then that name gets the
 * date (of the first start) before its ending. The model name has "__" for characters that file names cannot have. Samples of
 * a task lie beside it: samples_<task>_<date>.jsonl. Both clear `out` first. */
mn_status mn_results_path(mn_buf *out, const mn_results *results, const char *output_path);
mn_status mn_results_samples_path(mn_buf *out, const mn_results *results, const char *output_path,
                                  const char *task);

/* Writes the file (folders made, replaced atomically); `path` gets its name and may be NULL. */
mn_status mn_results_write(mn_buf *path, const mn_results *results, const char *output_path);

/* The tables for people: scores, which differences are noise, confusion matrices. */
mn_status mn_results_text(mn_buf *out, const mn_results *results, bool markdown); /* appends */
mn_status mn_results_print(FILE *out, const mn_results *results, bool markdown);

#endif

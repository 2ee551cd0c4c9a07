/* runs.h - what a run folder says, read once and checked. Numbers that are not there are NaN,
 * counts -1, strings NULL. Strings are owned by the run. */
#ifndef MNEME_REPORT_RUNS_H
#define MNEME_REPORT_RUNS_H

#include "mneme/json.h"
#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mn_rundir_method {
    MN_RUNDIR_BASE,    /* pretrained */
    MN_RUNDIR_DOC,     /* gpt_wikipage */
    MN_RUNDIR_TEMP,    /* gpt_template */
    MN_RUNDIR_DOCTEMP, /* gpt_wikipage_and_template */
    MN_RUNDIR_OTHER    /* no method of the document: shown under its own name */
} mn_rundir_method;

typedef struct mn_rundir_variant {
    char *id; /* "gpt_wikipage-wd0.05" */
    mn_rundir_method method;
    bool full;           /* every weight trained, no memory */
    double weight_decay; /* NaN: not named */
    char *label;         /* "Doc, wd 0.05" */
} mn_rundir_variant;

typedef struct mn_rundir_value {
    double value, low, high; /* 95 % interval */
} mn_rundir_value;

typedef struct mn_rundir_comparison {
    bool known;
    const char *reference; /* task; owned by the results document */
    int64_t only_reference, only_this;
    double p;
    bool same;                /* every prediction */
    bool judged, noise;       /* judged: `noise` was decided with an interval */
    mn_rundir_value accuracy; /* this - reference */
} mn_rundir_comparison;

typedef struct mn_rundir_entry {
    const char *task; /* "fever_1shot@gpt_wikipage-wd0.05"; owned by the results document */
    size_t variant;
    int64_t shots;
    bool choice; /* else generate */
    int64_t n, unparsed;
    mn_rundir_value accuracy, micro, macro;
    double coverage;
    bool has_confusion;
    int64_t confusion[3][4]; /* [gold][supports, refutes, not enough info, unparsed] */
    mn_rundir_comparison comparison;
} mn_rundir_entry;

typedef struct mn_rundir_point {
    double step, value;
} mn_rundir_point;

typedef struct mn_rundir_curve {
    mn_rundir_point *points;
    size_t count, cap;
} mn_rundir_curve;

typedef struct mn_rundir_training {
    size_t variant;
    char *log_path; /* for messages */
    mn_rundir_curve loss, eval;
    bool torn;        /* the log's last line was cut off */
    mn_json *results; /* train_results.json; NULL: not finished */
    double train_loss, runtime;
    int64_t tokens, steps;
    const cJSON *options; /* the resolved ones; NULL: not recorded */
} mn_rundir_training;

typedef struct mn_rundir {
    char *dir, *name; /* name: of the model, else of the folder */
    mn_json *results; /* NULL: no evaluation */
    char *results_why;
    mn_json *manifest; /* NULL: none, and why */
    char *manifest_why, *manifest_sha256;
    mn_rundir_variant *variants;
    size_t variant_count, variant_cap;
    mn_rundir_entry *entries;
    size_t entry_count, entry_cap;
    mn_rundir_training *trainings; /* in the order of the variants */
    size_t training_count, training_cap;
    const struct mn_document_model *document; /* NULL: not one of its models */
} mn_rundir;

mn_status mn_rundir_open(mn_rundir *out, const char *dir);
void mn_rundir_close(mn_rundir *run); /* safe twice */

/* What mn_rundir_open is made of. */
mn_status mn_rundir_read_results(mn_rundir *run, const char *path);
mn_status mn_rundir_read_training(mn_rundir *run, const char *dir, const char *id);
/* The index of the variant `id`, which is added when it is new. */
mn_status mn_rundir_variant_at(size_t *out, mn_rundir *run, const char *id);
mn_status mn_rundir_variant_full(mn_rundir *run, size_t variant); /* its training said so */
mn_status
mn_rundir_sort(mn_rundir *run); /* variants as they are shown, entries and trainings by them */

/* The entry, or NULL. */
const mn_rundir_entry *mn_rundir_find(const mn_rundir *run, size_t variant, int64_t shots,
                                      bool choice);
/* The memory variant of a method trained with this weight decay: its index, or -1. */
int64_t mn_rundir_memory(const mn_rundir *run, mn_rundir_method method, double weight_decay);
int64_t mn_rundir_base(const mn_rundir *run); /* the pretrained variant, or -1 */

#endif

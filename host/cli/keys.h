/* keys.h - option tables of single commands that mneme run takes over, with what each command does
 * with them. */
#ifndef MNEME_CLI_KEYS_H
#define MNEME_CLI_KEYS_H

#include "cli/common.h"
#include "mneme/evaluate.h"
#include "mneme/train.h"

/* ---- mneme prepare ---- */

typedef struct mn_prepare_keys {
    const char *claims, *train_claims, *wiki, *out;
    int64_t top_pages, seed;
    int rows, nei, fewshot_labels, page_text;
    bool skip_bad_lines;
} mn_prepare_keys;

enum { MN_PREPARE_ROWS = 11 };
extern const mn_option mn_prepare_rows[MN_PREPARE_ROWS];
/* Prepares and prints what was chosen and what was left out; of several ranks, rank 0 does. */
mn_status mn_prepare_print(const mn_prepare_keys *keys, const mn_cli *cli);

/* ---- mneme train ---- */

/* `options` comes first: rows of train_keys.def know it alone. The others are its lists. */
typedef struct mn_train_keys {
    mn_train_options options;
    struct {
        mn_option_reals location;
        mn_option_list blocks;
    } memory;
    mn_option_list decay_groups;
} mn_train_keys;

enum {
#define MN_KEY_PATH(...) +1
#define MN_KEY_TEXT MN_KEY_PATH
#define MN_KEY_I64 MN_KEY_PATH
#define MN_KEY_F64 MN_KEY_PATH
#define MN_KEY_FLAG MN_KEY_PATH
#define MN_KEY_CHOICE MN_KEY_PATH
    MN_TRAIN_ROWS = 3 /* the lists */
#include "mneme/train_keys.def"
#undef MN_KEY_PATH
#undef MN_KEY_TEXT
#undef MN_KEY_I64
#undef MN_KEY_F64
#undef MN_KEY_FLAG
#undef MN_KEY_CHOICE
};
extern const mn_option mn_train_rows[MN_TRAIN_ROWS];
/* The keys as the library has them. */
mn_status mn_train_library(mn_train_options *out, const mn_train_keys *keys);

/* ---- mneme eval ---- */

typedef struct mn_eval_keys {
    const char *model, *adapter, *data, *output_path;
    mn_option_list num_fewshot, scoring;
    int64_t batch_size, limit, max_gen_toks, bootstrap_iters, seed;
    int unparsed, compute;
    bool log_samples, no_share, no_base;
} mn_eval_keys;

enum { MN_EVAL_ROWS = 16 };
extern const mn_option mn_eval_rows[MN_EVAL_ROWS];
mn_eval_options mn_eval_library(const mn_eval_keys *keys);

#endif

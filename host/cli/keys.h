/* keys.h - option tables of single commands that mneme run takes over, with what each command does
 * with them. */
#ifndef MNEME_CLI_KEYS_H
#define MNEME_CLI_KEYS_H

#include "cli/common.h"
#include "mneme/fever.h"

/* ---- mneme prepare ---- */

typedef struct mn_prepare_keys {
    const char *claims, *train_claims, *wiki, *out;
    int64_t top_pages, seed;
    int rows, nei, fewshot_labels, page_text;
    bool skip_bad_lines;
} mn_prepare_keys;

enum { MN_PREPARE_ROWS = 11 };
extern const mn_option mn_prepare_rows[MN_PREPARE_ROWS];
/* Prepares and prints what was chosen and what was left out. */
mn_status mn_prepare_print(const mn_prepare_keys *keys, const mn_cli *cli);

#endif

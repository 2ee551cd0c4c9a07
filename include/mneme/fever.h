/* fever.h - FEVER as an experiment needs it: claims and wiki pages in, a prepared folder out.
 *
 * mn_fever_prepare streams the official files and writes a prepared folder:
 *   pages.jsonl   {"page", "text", "lines": [[number, "sentence"], ..]}   the pages, in rank order
 *   eval.jsonl    {"row", "id", "page", "claim", "label"}    evaluation rows, grouped by page
 *   train.jsonl   the same for the training claims of those pages
 *   demos.jsonl   {"page", "demos": [{"claim", "label", "source"}]}   the page's demonstrations, in
 *                 the order in which they are shown; source is "train" or "fixed"
 *   manifest.json counts, switches, dropped pages, and the sha256 of every input and output
 * Each file is replaced atomically and the manifest comes last: a folder without one is
 * unfinished. The same inputs and switches give the same bytes, whatever the number of threads
 * and whether the wiki dump is a folder, a zip or one file. mn_fever_open reads such a folder
 * back. Nothing here sees a model or a device.
 *
 * Pages. The claims are grouped by the page that their evidence names, titles compared in
 * Unicode NFC. Pages are ranked by their number of rows (see `rows`), ties by the bytes of the
 * title; the first `top_pages` are taken; a page is dropped when the dump lacks it, its text is
 * empty, or no training claim names it (counted under the first of these that applies). No page
 * moves up.
 *
 * Page text. The sentences of `lines` joined by one space, `text` when there are none. The dump has
 * newlines inside sentences and anchors: what starts with no number that fits continues the record
 * before it.
 *
 * Claims without a page. NOT ENOUGH INFO claims name none, so choosing by page drops them all,
 * which is the published experiment (MN_NEI_DROP). MN_NEI_RANDOM_PAGE gives each one, of both
 * splits, to one of the pages that are left, drawn from (seed, split, id of the claim); all of
 * them then belong to the selected pages, so they outweigh their share in FEVER.
 *
 * Demonstrations. A page's own training claims first, each text once and never the text of one
 * of its evaluation claims, in an order drawn from (seed, id of the claim). The next one shown
 * has the label shown least so far among those that are left; ties go round the labels from one
 * drawn per page: so every prefix is as balanced as the claims allow, and k-shot is the first k
 * of k+1-shot. When the page's claims are used up the document's 17 fixed claims fill up by the
 * same rule, the claims of a label in the document's order. Claims that wear another label than
 * FEVER's (fixed ones under MN_DEMO_DOCUMENT) are warned about and listed in the manifest.
 *
 * Labels are 0 supports, 1 refutes, 2 not enough info: the order of the answer letters a, b, c. */
#ifndef MNEME_FEVER_H
#define MNEME_FEVER_H

#include "mneme/file.h"

#include <stdbool.h>
#include <stdint.h>

enum { MN_LABELS = 3, MN_MAX_SHOTS = 5 };

typedef enum mn_label { MN_SUPPORTS, MN_REFUTES, MN_NEI } mn_label;
const char *mn_label_name(mn_label label); /* "SUPPORTS", "REFUTES", "NOT ENOUGH INFO" */
mn_status mn_label_read(mn_label *out, const char *name); /* the inverse; the names are exact */

/* One row per (claim, page), or one per evidence entry, which is the published counting. */
typedef enum mn_rows_mode { MN_ROWS_CLAIM_PAGE, MN_ROWS_EVIDENCE } mn_rows_mode; /* --rows */
typedef enum mn_nei_mode { MN_NEI_DROP, MN_NEI_RANDOM_PAGE } mn_nei_mode;        /* --nei */
/* Labels of the fixed claims: FEVER's, or those of the document's template (its three blocks as
 * supports, refutes, not enough info). */
typedef enum mn_demo_labels {
    MN_DEMO_GOLD,
    MN_DEMO_DOCUMENT
} mn_demo_labels; /* --fewshot_labels */
/* Page text as FEVER's dump has it, or with its Penn Treebank tokens as plain characters: -LRB-
 * -RRB- -LSB- -RSB- -LCB- -RCB- -COLON- as ()[]{}: and `` '' as ". Unchanged is the default: the
 * published memories learnt the pages as they are. Claims, and so prompts, are plain text in
 * either case. */
typedef enum mn_page_text { MN_TEXT_UNCHANGED, MN_TEXT_PLAIN } mn_page_text; /* --page_text */

typedef struct mn_prepare_options {
    const char *claims, *train_claims; /* official jsonl files */
    const char *wiki; /* a folder of wiki-*.jsonl, a .zip of them, or one .jsonl file */
    const char *out;  /* the folder to write; made when it is missing */
    int64_t top_pages;
    mn_rows_mode rows;
    mn_nei_mode nei;
    mn_demo_labels fewshot_labels;
    mn_page_text page_text;
    uint64_t seed;
    bool skip_bad_lines; /* count lines that cannot be read; otherwise the first is an error */
    int threads;         /* 0: as many as the process may use */
} mn_prepare_options;

typedef struct mn_prepare_summary {
    int64_t claims, evidence_pages, rows_per_evidence; /* of the claims file */
    int64_t train_claims;                              /* of the training file */
    int64_t n_full, n_top, n_trunc;                    /* pages: all, top N, after dropping */
    int64_t dropped_missing, dropped_empty, dropped_untrained; /* of the n_top: why */
    int64_t eval_rows, labels[MN_LABELS];
    int64_t train_rows, train_labels[MN_LABELS];
    int64_t nei_dropped, nei_assigned; /* NEI claims of the claims file without a page */
    int64_t train_nei_dropped, train_nei_assigned; /* and of the training file */
    int64_t unplaced;                 /* other claims without a page, both files: dropped */
    int64_t demos_train, demos_fixed; /* demonstrations by source, all pages */
    int64_t demos_leaking; /* passed over because an evaluation claim of the page has the text */
    int64_t demos_mislabelled; /* shown with a label that is not FEVER's */
    int64_t train_leaking;     /* training rows with the text of an evaluation row of their page */
    int64_t wiki_lines, wiki_repeated; /* lines read; pages that came more than once */
    int64_t bad_lines;
} mn_prepare_summary;

/* MN_STOPPED when a stop was requested (signals.h); nothing has been written then. */
mn_status mn_fever_prepare(mn_prepare_summary *out, const mn_prepare_options *options);

typedef struct mn_fever_row {
    int64_t row, id; /* row: 0 .. n-1 in file order; id: the claim's own */
    int64_t page;    /* index into mn_fever.pages */
    mn_label label;
    char *claim;
} mn_fever_row;

typedef struct mn_demo {
    char *claim;
    mn_label label;
    bool fixed; /* from the document's list, not one of the page's training claims */
} mn_demo;

typedef struct mn_fever_page {
    char *title; /* FEVER's own (underscores, -LRB-), in NFC */
    char *text;
    mn_demo demos[MN_MAX_SHOTS];
    int demo_count;
    int64_t eval_begin, eval_end;   /* its rows in mn_fever.eval */
    int64_t train_begin, train_end; /* and in mn_fever.train */
} mn_fever_page;

typedef struct mn_fever {
    mn_fever_page *pages;
    int64_t page_count;
    mn_fever_row *eval, *train;
    int64_t eval_count, train_count;
    char sha256[MN_SHA256_HEX]; /* of manifest.json: identifies the prepared data */
} mn_fever;

/* Checks every line, the counts and the sha256 of the files against the manifest. */
mn_status mn_fever_open(mn_fever **out, const char *dir);
void mn_fever_close(mn_fever **fever);

/* Appends what all k-shot prompts of a page begin with: header line with its trailing space,
 * candidates line, k demonstrations, ending in a newline. `shots` is 0 .. page->demo_count. */
mn_status mn_fever_prefix(mn_buf *out, const mn_fever_page *page, int shots);

/* Appends the k-shot prompt of `claim` on `page`, ending in "A:" (no space behind). It starts with
 * mn_fever_prefix, except when `claim` is itself one of the first k demonstrations, as a training
 * claim may be: that one is left out, and the next one, if there is one, is shown at the end. */
mn_status mn_fever_prompt(mn_buf *out, const mn_fever_page *page, int shots, const char *claim);

/* Answer candidates as continuations of a prompt: " (a)", " (b)", " (c)". */
extern const char *const mn_fever_candidates[MN_LABELS];

/* Reads the first answer letter of a generated continuation: returns 0..2, or -1 when
 * unreadable. Only the first line counts, an empty one too; white space around it is ignored. It
 * starts with "(a)", or with "a" or "(a" followed by ")", ".", ",", ":" or the end of the line;
 * otherwise the first "(a)", "(b)" or "(c)" anywhere in the line counts. Letters in either case.
 * "a band from ..." is not an answer. */
int mn_fever_parse_answer(const char *text, size_t len);

#endif

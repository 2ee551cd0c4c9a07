/* output.h - writes the prepared folder. */
#ifndef MNEME_HOST_FEVER_OUTPUT_H
#define MNEME_HOST_FEVER_OUTPUT_H

#include "fever/demos.h"
#include "fever/wiki_scan.h"

enum { MN_PREPARED_FORMAT = 1 };

#define MN_PAGES_FILE "pages.jsonl"
#define MN_EVAL_FILE "eval.jsonl"
#define MN_TRAIN_FILE "train.jsonl"
#define MN_DEMOS_FILE "demos.jsonl"
#define MN_MANIFEST_FILE "manifest.json"

/* Everything that was found out, on its way to the files. */
typedef struct mn_prepared {
    const mn_prepare_options *options;
    mn_prepare_summary summary;
    mn_titles *titles;
    mn_claims *eval, *train;
    mn_wiki_source *source;
    mn_wiki_found found;
    mn_selection *selection;
    mn_rows eval_rows, train_rows;
    mn_demo_set demos;
} mn_prepared;

/* Removes an old manifest first and writes the new one last. */
mn_status mn_prepared_write(const mn_prepared *prepared);

/* The manifest's text; `outputs` is the JSON array of the other files. */
mn_status mn_prepared_manifest(mn_buf *out, const mn_prepared *prepared, const char *outputs);

/* Appends {"path": .., "bytes": .., "sha256": ..}. */
mn_status mn_manifest_file(mn_buf *out, const char *path, int64_t bytes, const char *sha256);

#endif

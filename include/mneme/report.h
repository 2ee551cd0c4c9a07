/* report.h - the report of an experiment: what run folders hold, as Markdown, CSV and one HTML page.
 *
 * A run folder has eval/results_*.json (the newest counts, also one folder deeper), and may have
 * train/<variant>/{train_log.jsonl,train_results.json} and prepared/manifest.json (else the manifest
 * that the results file names, when its sha256 is the recorded one). Variants are named
 * <method>[-full][-wd<weight decay>], methods as in the experiment: pretrained, gpt_wikipage,
 * gpt_template, gpt_wikipage_and_template.
 *
 * Several run folders are several models: the tables get one group of rows for each. Models that the
 * experiment's document names get its figures beside theirs. What a run folder does not hold leaves
 * its table or plot out, with a sentence that says so. The output depends on the files alone, so
 * the same files give the same bytes. */
#ifndef MNEME_REPORT_H
#define MNEME_REPORT_H

#include "mneme/buf.h"
#include "mneme/status.h"

#include <stddef.h>

/* Writes report.md, report.html (self-contained), one CSV file per table and one SVG file per plot
 * into the folder `out` (NULL: <first run>/report), each replaced atomically, report.html last.
 * `page` gets the name of report.html and may be NULL. MN_ERR_DATA names file and JSON path;
 * MN_ERR_USAGE: no run, or one that holds neither results nor training. */
mn_status mn_report_write(mn_buf *page, const char *const *runs, size_t count, const char *out);

#endif

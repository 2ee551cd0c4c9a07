/* sections.h - the parts of the report, in their order, and what they share. */
#ifndef MNEME_REPORT_SECTIONS_H
#define MNEME_REPORT_SECTIONS_H

#include "report/document.h"
#include "report/page.h"
#include "report/runs.h"

typedef struct mn_report {
    mn_page page;
    mn_rundir *runs;
    size_t count;
    bool choice;       /* what plots and sentences show: choice where nothing was generated */
    bool any_document; /* some run is one of the document's models */
    bool any_memory;   /* some variant has one */
    double decay;      /* the weight decay of the memory table: 0.05 where it is; NaN: none named */
    double other_decay; /* that of the weight decay table; NaN: there is no second one */
} mn_report;

void mn_report_summary(mn_report *report);
void mn_report_f1_by_shots(mn_report *report);
void mn_report_memories(mn_report *report);
void mn_report_weight_decay(mn_report *report);
void mn_report_full_update(mn_report *report);
void mn_report_full_results(mn_report *report);
void mn_report_paired(mn_report *report);
void mn_report_audit(mn_report *report);
void mn_report_training(mn_report *report);
void mn_report_confusion(mn_report *report);
void mn_report_data(mn_report *report);
void mn_report_settings(mn_report *report);

/* plots.c */
void mn_report_plot_shots(mn_report *report);
void mn_report_plot_memories(mn_report *report, const mn_rundir *run, size_t number);
void mn_report_plot_loss(mn_report *report, const mn_rundir *run, size_t number);

/* ---- shared (report.c) ---- */

/* The document's f1.micro (its accuracy, too) for the same cell; NaN when it has none. */
double mn_report_document(const mn_rundir *run, const mn_rundir_variant *variant, int64_t shots,
                          bool choice);
/* The comparison of a variant's entry with the base of the same task, or NULL. */
const mn_rundir_comparison *mn_report_against_base(const mn_rundir *run,
                                                   const mn_rundir_entry *entry);
/* How often the most frequent gold label, or answer of an entry, is the one: its share of all rows
 * and its name; NaN and NULL without a confusion matrix. What always gives that label scores so. */
double mn_report_majority(const mn_rundir *run, const char **label);
double mn_report_favourite(const mn_rundir_entry *entry, const char **label);
/* "within noise", "more than noise", "same answers", "no interval". */
const char *mn_report_verdict(const mn_rundir_comparison *comparison);
/* Its label on the page where `shown`, its id in the CSV file. */
void mn_report_variant_cell(mn_grid *grid, const mn_rundir_variant *variant, bool shown);
const char *mn_report_scoring(bool choice);               /* "generate", "choice" */
const char *mn_report_shots(char out[32], int64_t shots); /* "zero-shot", "1-shot" */

#endif

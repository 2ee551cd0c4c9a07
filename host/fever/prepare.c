/* prepare.c - from FEVER's files to the prepared folder, step by step. */
#include "fever/output.h"

#include "mneme/log.h"
#include "mneme/signals.h"

#include <inttypes.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

static mn_status check_options(const mn_prepare_options *o) {
    MN_CHECK(o->claims && o->train_claims && o->wiki && o->out, MN_ERR_USAGE,
             "preparing FEVER needs the claims, the training claims, the wiki dump and a folder");
    MN_CHECK(o->top_pages >= 1, MN_ERR_USAGE, "top_pages is %lld, at least 1 is needed",
             (long long)o->top_pages);
    MN_CHECK(o->threads >= 0, MN_ERR_USAGE, "threads is %d, 0 or more expected", o->threads);
    return MN_OK;
}

/* Found out now, not after 5 GB of reading. */
static mn_status check_folder(const char *out) {
    MN_TRY(mn_make_dirs(out));
    MN_CHECK(mn_dir_exists(out), MN_ERR_IO, "%s: not a folder", out);
    if (access(out, W_OK | X_OK) != 0) return mn_fail_errno(out);
    return MN_OK;
}

static int usable_cores(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return CPU_COUNT(&set);
}

static mn_status read_claims(mn_prepared *p) {
    const mn_prepare_options *o = p->options;
    mn_prepare_summary *s = &p->summary;
    MN_TRY(mn_titles_open(&p->titles));
    MN_TRY(mn_claims_load(&p->eval, p->titles, o->claims, o->skip_bad_lines));
    MN_TRY(mn_claims_load(&p->train, p->titles, o->train_claims, o->skip_bad_lines));
    s->claims = p->eval->count;
    s->rows_per_evidence = p->eval->entries;
    s->train_claims = p->train->count;
    mn_demos_check_fixed(p->train);
    return MN_OK;
}

static mn_status read_wiki(mn_prepared *p) {
    const mn_prepare_options *o = p->options;
    const mn_wiki_query query = {
        .titles = p->titles, .wanted = p->selection->wanted, .page_text = o->page_text};
    const double begin = mn_now();
    MN_TRY(mn_wiki_source_open(&p->source, o->wiki, 0));
    MN_TRY(mn_wiki_scan(&p->found, p->source, &query, o->skip_bad_lines,
                        o->threads ? o->threads : usable_cores()));
    const double seconds = mn_now() - begin;
    p->summary.wiki_lines = p->found.lines;
    p->summary.wiki_repeated = p->found.repeated;
    mn_log(MN_LOG_DEBUG, "%s: %" PRId64 " lines, %.1f MB in %.2f s (%.0f MB/s)", o->wiki,
           p->found.lines, (double)p->source->text_bytes / 1e6, seconds,
           (double)p->source->text_bytes / 1e6 / seconds);
    return MN_OK;
}

static void count_drops(mn_prepared *p) {
    mn_prepare_summary *s = &p->summary;
    for (int64_t i = 0; i < p->selection->n_top; i++) {
        const mn_drop_reason drop = p->selection->top[i].drop;
        s->dropped_missing += drop == MN_DROPPED_MISSING;
        s->dropped_empty += drop == MN_DROPPED_EMPTY;
        s->dropped_untrained += drop == MN_DROPPED_UNTRAINED;
    }
    s->n_full = s->evidence_pages = p->selection->n_full;
    s->n_top = p->selection->n_top;
    s->n_trunc = p->selection->n_trunc;
}

static void count_labels(int64_t labels[MN_LABELS], const mn_claims *claims, const mn_rows *rows) {
    for (int64_t i = 0; i < rows->count; i++) labels[claims->items[rows->claim[i]].label]++;
}

static mn_status make_rows(mn_prepared *p) {
    const mn_prepare_options *o = p->options;
    mn_prepare_summary *s = &p->summary;
    MN_TRY(mn_select_rows(&p->eval_rows, p->selection, p->eval, o->rows, o->nei, o->seed,
                          MN_DRAW_NEI_EVAL));
    MN_TRY(mn_select_rows(&p->train_rows, p->selection, p->train, o->rows, o->nei, o->seed,
                          MN_DRAW_NEI_TRAIN));
    s->eval_rows = p->eval_rows.count;
    s->train_rows = p->train_rows.count;
    s->nei_dropped = p->eval_rows.nei_dropped;
    s->nei_assigned = p->eval_rows.nei_assigned;
    s->train_nei_dropped = p->train_rows.nei_dropped;
    s->train_nei_assigned = p->train_rows.nei_assigned;
    s->unplaced = p->eval_rows.unplaced + p->train_rows.unplaced;
    count_labels(s->labels, p->eval, &p->eval_rows);
    count_labels(s->train_labels, p->train, &p->train_rows);
    return MN_OK;
}

static mn_status make_demos(mn_prepared *p) {
    const mn_prepare_options *o = p->options;
    mn_prepare_summary *s = &p->summary;
    MN_TRY(mn_demos_choose(&p->demos, p->selection, p->titles, p->eval, &p->eval_rows, p->train,
                           &p->train_rows, o->fewshot_labels, o->seed));
    s->demos_train = p->demos.from_train;
    s->demos_fixed = p->demos.from_fixed;
    s->demos_leaking = p->demos.leaking;
    s->demos_mislabelled = p->demos.mislabelled;
    s->train_leaking = p->demos.train_leaking;
    return MN_OK;
}

/* What deserves a second look; the counts themselves are for the caller to print. */
static mn_status warn(mn_prepared *p) {
    const mn_prepare_summary *s = &p->summary;
    mn_bad_lines bad = {0};
    mn_status st = MN_OK;
    MN_GOTO(mn_bad_merge(&bad, &p->eval->bad));
    MN_GOTO(mn_bad_merge(&bad, &p->train->bad));
    MN_GOTO(mn_bad_merge(&bad, &p->found.bad));
    p->summary.bad_lines = bad.count;
    mn_bad_log(&bad);
    for (int i = 0; i < MN_FIXED_CLAIMS; i++) {
        const mn_fixed_claim *claim = &mn_fixed_claims[i];
        if (p->demos.worn[i] == 0) continue;
        mn_log(MN_LOG_WARN, "demonstration \"%s\" is shown as %s (pages: %" PRId64 "), FEVER: %s",
               claim->text, mn_label_name(claim->document), p->demos.worn[i],
               mn_label_name(claim->gold));
    }
    if (s->train_leaking > 0) {
        mn_log(MN_LOG_WARN,
               "training rows that have the text of an evaluation row of their page: %" PRId64,
               s->train_leaking);
    }
    if (s->wiki_repeated > 0) {
        mn_log(MN_LOG_WARN,
               "pages that come again in the wiki dump: %" PRId64 " (the first with text is taken)",
               s->wiki_repeated);
    }
    if (s->unplaced > 0) {
        mn_log(MN_LOG_WARN, "claims that name no page though they are not %s: %" PRId64 ", dropped",
               mn_label_name(MN_NEI), s->unplaced);
    }
done:
    mn_bad_free(&bad);
    return st;
}

static mn_status prepare(mn_prepared *p) {
    const mn_prepare_options *o = p->options;
    MN_TRY(check_options(o));
    MN_TRY(check_folder(o->out));
    MN_TRY(read_claims(p));
    MN_TRY(mn_fail_in(mn_select_rank(&p->selection, p->eval, p->titles, o->rows, o->top_pages),
                      "%s", o->claims));
    MN_TRY(read_wiki(p));
    MN_TRY(mn_select_truncate(p->selection, p->titles, p->train, p->found.pages));
    count_drops(p);
    MN_TRY(make_rows(p));
    MN_TRY(make_demos(p));
    MN_TRY(warn(p));
    MN_CHECK(!mn_stop_requested(), MN_STOPPED, "stopped on request");
    return mn_prepared_write(p);
}

mn_status mn_fever_prepare(mn_prepare_summary *out, const mn_prepare_options *options) {
    mn_prepared p = {.options = options};
    *out = (mn_prepare_summary){0};
    const mn_status st = prepare(&p);
    if (st == MN_OK) *out = p.summary;
    mn_demos_free(&p.demos);
    mn_rows_free(&p.train_rows);
    mn_rows_free(&p.eval_rows);
    mn_wiki_found_free(&p.found);
    mn_wiki_source_close(&p.source);
    mn_selection_close(&p.selection);
    mn_claims_close(&p.train);
    mn_claims_close(&p.eval);
    mn_titles_close(&p.titles);
    return st;
}

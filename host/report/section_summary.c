/* section_summary.c - what the numbers say, one sentence for each question of the experiment. */
#include "report/sections.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void interval(char out[64], const mn_rundir_value *v) {
    if (isnan(v->low) || isnan(v->high)) snprintf(out, 64, "no interval");
    else snprintf(out, 64, "95 %% %.3f to %.3f", v->low, v->high);
}

/* "+0.012 (95 % -0.004 to 0.028), McNemar p 0.210: within noise" */
static void difference(char out[192], const mn_rundir_comparison *c) {
    char range[64], p[32];
    if (c->same) {
        snprintf(out, 192, "the same answer in every row");
        return;
    }
    interval(range, &c->accuracy);
    if (c->p < 0.001) snprintf(p, sizeof p, "<0.001");
    else snprintf(p, sizeof p, "%.3f", c->p);
    snprintf(out, 192, "%+.3f (%s), McNemar p %s: %s", c->accuracy.value, range, p,
             c->judged ? mn_report_verdict(c) : "no interval, so this may be noise");
}

static const mn_rundir_entry *best_of(const mn_rundir *run, size_t variant, bool choice) {
    const mn_rundir_entry *best = NULL;
    for (size_t i = 0; i < run->entry_count; i++) {
        const mn_rundir_entry *e = &run->entries[i];
        if (e->variant == variant && e->choice == choice && !isnan(e->micro.value) &&
            (!best || e->micro.value > best->micro.value))
            best = e;
    }
    return best;
}

/* " It answers "supports" in 97 % of the rows.", or nothing: one answer for all is no knowledge. */
static void one_sided(char out[96], const mn_rundir_entry *e) {
    const char *label;
    const double share = mn_report_favourite(e, &label);
    if (share >= 0.9)
        snprintf(out, 96, " It answers \"%s\" in %.0f %% of the rows.", label, 100 * share);
    else out[0] = '\0';
}

static void say_shots(mn_page *page, const mn_rundir *run, bool choice) {
    const int64_t base = mn_rundir_base(run);
    const mn_rundir_entry *best = base >= 0 ? best_of(run, (size_t)base, choice) : NULL;
    char range[64], text[192] = "", name[32], other[32] = "", note[96];
    if (!best) return;
    interval(range, &best->micro);
    one_sided(note, best);
    const mn_rundir_comparison *c = &best->comparison;
    if (c->known) {
        for (size_t i = 0; i < run->entry_count; i++)
            if (strcmp(run->entries[i].task, c->reference) == 0)
                mn_report_shots(other, run->entries[i].shots);
        difference(text, c);
    }
    mn_page_item(page, "Examples without training: best is %s with f1.micro %.3f (%s)%s%s%s%s.%s",
                 mn_report_shots(name, best->shots), best->micro.value, range,
                 *text ? "; accuracy against " : "", *text ? other : "", *text ? ": " : "", text,
                 note);
}

static void say_memory(mn_page *page, const mn_rundir *run, const mn_rundir_variant *v,
                       bool choice) {
    const mn_rundir_entry *e = mn_rundir_find(run, (size_t)(v - run->variants), 1, choice);
    const mn_rundir_comparison *c = mn_report_against_base(run, e);
    char text[192], note[96];
    if (!e) return;
    if (c) difference(text, c);
    else snprintf(text, sizeof text, "not tested");
    one_sided(note, e);
    mn_page_item(page, "%s at 1 shot: accuracy %.3f; against base %s.%s", v->label,
                 e->accuracy.value, text, note);
}

/* Of the base and the memories of the first weight decay. */
static void say_best(mn_page *page, const mn_report *report, const mn_rundir *run) {
    const mn_rundir_entry *best = NULL;
    const char *label = NULL;
    size_t compared = 0;
    for (size_t i = 0; i < run->variant_count; i++) {
        const mn_rundir_variant *v = &run->variants[i];
        const bool memory = v->method != MN_RUNDIR_OTHER && v->method != MN_RUNDIR_BASE &&
                            mn_rundir_memory(run, v->method, report->decay) == (int64_t)i;
        const mn_rundir_entry *e = mn_rundir_find(run, i, 1, report->choice);
        if (!e || isnan(e->accuracy.value) || !(memory || v->method == MN_RUNDIR_BASE)) continue;
        compared++;
        if (best && !(e->accuracy.value > best->accuracy.value)) continue;
        best = e;
        label = v->label;
    }
    if (compared < 3) return;
    const mn_rundir_comparison *c = mn_report_against_base(run, best);
    const char *answer;
    const double majority = mn_report_majority(run, &answer);
    char note[128] = "";
    if (best->accuracy.low <= majority)
        snprintf(note, sizeof note,
                 " Its 95 %% interval does not lie above always answering \"%s\" (%.3f).", answer,
                 majority);
    mn_page_item(page, "Highest accuracy at 1 shot of these: %s with %.3f%s.%s", label,
                 best->accuracy.value,
                 !c           ? ""
                 : c->same    ? ", the answers of base"
                 : !c->judged ? "; without an interval this may be noise"
                 : c->noise   ? "; the lead over base is within noise"
                              : "; the lead over base is more than noise",
                 note);
}

static mn_status count_in(int64_t *out, const mn_rundir *run, const char *key) {
    *out = -1;
    if (!run->manifest) return MN_OK;
    return mn_json_i64_or(out, run->manifest, run->manifest->root, key, 0, INT64_C(1) << 52, -1);
}

static void say_rows(mn_report *report, const mn_rundir *run) {
    mn_page *page = &report->page;
    int64_t dropped = -1, pages = -1;
    const int64_t n = run->entry_count ? run->entries[0].n : -1;
    if (page->st == MN_OK) page->st = count_in(&dropped, run, "nei_dropped");
    if (page->st == MN_OK) page->st = count_in(&pages, run, "N_trunc");
    if (n < 0) return;
    if (pages >= 0)
        mn_page_item(
            page,
            "%lld rows of %lld pages; %lld NOT ENOUGH INFO claims dropped, since they name "
            "no page.",
            (long long)n, (long long)pages, (long long)(dropped > 0 ? dropped : 0));
    else mn_page_item(page, "%lld rows.", (long long)n);
    const char *label;
    const double majority = mn_report_majority(run, &label);
    if (label)
        mn_page_item(page, "Always answering \"%s\" would be right in %.3f of them.", label,
                     majority);
}

void mn_report_summary(mn_report *report) {
    mn_page *page = &report->page;
    mn_page_section(page, "summary", "What the numbers say");
    mn_page_para(page,
                 "Does an extra, trainable memory in an otherwise frozen language model help "
                 "factual prediction on FEVER? base (pretrained): no memory. Doc (gpt_wikipage): "
                 "a memory trained on the evidence pages. Temp (gpt_template): on training "
                 "claims and answers in the few-shot template. DocTemp "
                 "(gpt_wikipage_and_template): on both. wd: weight decay. Sentences and plots are "
                 "of scoring by \"%s\".",
                 mn_report_scoring(report->choice));
    const bool many = report->count > 3; /* the tables come first then */
    if (many) mn_page_fold(page, "Show the sentences of every model");
    for (size_t r = 0; r < report->count; r++) {
        const mn_rundir *run = &report->runs[r];
        mn_page_heading(page, "%s", run->name);
        if (!run->results) {
            mn_page_item(page, "Not evaluated: %s.", run->results_why);
            continue;
        }
        say_rows(report, run);
        say_shots(page, run, report->choice);
        for (size_t i = 0; i < run->variant_count; i++)
            if (run->variants[i].method != MN_RUNDIR_BASE)
                say_memory(page, run, &run->variants[i], report->choice);
        say_best(page, report, run);
    }
    if (many) mn_page_unfold(page);
}

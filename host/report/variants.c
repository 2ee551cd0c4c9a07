/* variants.c - what the name of a variant says, and the order in which variants are shown. */
#include "report/runs.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *id, *label;
} methods[] = {
    [MN_RUNDIR_BASE] = {"pretrained", "base"},
    [MN_RUNDIR_DOC] = {"gpt_wikipage", "Doc"},
    [MN_RUNDIR_TEMP] = {"gpt_template", "Temp"},
    [MN_RUNDIR_DOCTEMP] = {"gpt_wikipage_and_template", "DocTemp"},
};

/* "-full" and "-wd<number>" behind a method; anything else makes it another experiment. */
static bool tail(mn_rundir_variant *v, const char *at) {
    while (*at) {
        if (strncmp(at, "-full", 5) == 0 && (at[5] == '-' || !at[5])) {
            v->full = true;
            at += 5;
        } else if (strncmp(at, "-wd", 3) == 0) {
            char *end;
            v->weight_decay = strtod(at + 3, &end);
            if (end == at + 3 || !(v->weight_decay >= 0) || (*end && *end != '-')) return false;
            at = end;
        } else {
            return false;
        }
    }
    return true;
}

static void parse(mn_rundir_variant *v) {
    v->method = MN_RUNDIR_OTHER;
    for (mn_rundir_method m = MN_RUNDIR_BASE; m < MN_RUNDIR_OTHER; m++) {
        const size_t len = strlen(methods[m].id);
        if (strncmp(v->id, methods[m].id, len) != 0) continue;
        v->full = false;
        v->weight_decay = NAN;
        if (tail(v, v->id + len)) {
            v->method = m;
            return;
        }
    }
    v->full = false;
    v->weight_decay = NAN;
}

static mn_status describe(mn_rundir_variant *v) {
    const bool known = v->method < MN_RUNDIR_OTHER;
    mn_buf text = {0};
    mn_status st = mn_buf_puts(&text, known ? methods[v->method].label : v->id);
    if (st == MN_OK && v->full) st = mn_buf_puts(&text, ", full update");
    if (st == MN_OK && !isnan(v->weight_decay))
        st = mn_buf_printf(&text, ", wd %.6g", v->weight_decay);
    v->label = text.data;
    return st;
}

mn_status mn_rundir_variant_at(size_t *out, mn_rundir *run, const char *id) {
    for (size_t i = 0; i < run->variant_count; i++) {
        if (strcmp(run->variants[i].id, id) != 0) continue;
        *out = i;
        return MN_OK;
    }
    MN_TRY(
        mn_grow(&run->variants, &run->variant_cap, run->variant_count + 1, sizeof *run->variants));
    mn_rundir_variant *v = &run->variants[run->variant_count];
    *v = (mn_rundir_variant){.id = mn_strdup_n(id, strlen(id)), .weight_decay = NAN};
    *out = run->variant_count++;
    MN_CHECK(v->id, MN_ERR_MEMORY, "report: no memory for a variant");
    parse(v);
    return describe(v);
}

mn_status mn_rundir_variant_full(mn_rundir *run, size_t variant) {
    mn_rundir_variant *v = &run->variants[variant];
    if (v->full) return MN_OK;
    v->full = true;
    free(v->label);
    v->label = NULL;
    return describe(v);
}

/* Base, memories by falling weight decay, full updates, unknown names. */
static int before(const mn_rundir_variant *a, const mn_rundir_variant *b) {
    const int rank_a = a->method == MN_RUNDIR_BASE    ? 0
                       : a->method == MN_RUNDIR_OTHER ? 3
                       : a->full                      ? 2
                                                      : 1;
    const int rank_b = b->method == MN_RUNDIR_BASE    ? 0
                       : b->method == MN_RUNDIR_OTHER ? 3
                       : b->full                      ? 2
                                                      : 1;
    if (rank_a != rank_b) return rank_a - rank_b;
    const double wd_a = isnan(a->weight_decay) ? INFINITY : a->weight_decay;
    const double wd_b = isnan(b->weight_decay) ? INFINITY : b->weight_decay;
    if (wd_a != wd_b) return wd_a > wd_b ? -1 : 1;
    if (a->method != b->method) return (int)a->method - (int)b->method;
    return strcmp(a->id, b->id);
}

static int entry_order(const void *left, const void *right) {
    const mn_rundir_entry *a = left, *b = right;
    if (a->choice != b->choice) return a->choice ? 1 : -1;
    if (a->variant != b->variant) return a->variant < b->variant ? -1 : 1;
    return a->shots < b->shots ? -1 : a->shots > b->shots;
}

static int training_order(const void *left, const void *right) {
    const mn_rundir_training *a = left, *b = right;
    return a->variant < b->variant ? -1 : a->variant > b->variant;
}

mn_status mn_rundir_sort(mn_rundir *run) {
    const size_t count = run->variant_count;
    if (count == 0) return MN_OK;
    size_t *place = calloc(count, sizeof *place); /* of the variant that was number i */
    mn_rundir_variant *sorted = calloc(count, sizeof *sorted);
    mn_status st = MN_OK;
    MN_CHECK_GOTO(place && sorted, MN_ERR_MEMORY, "report: no memory for %zu variants", count);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < count; k++)
            place[i] += k != i && before(&run->variants[k], &run->variants[i]) < 0;
    for (size_t i = 0; i < count; i++) sorted[place[i]] = run->variants[i];
    memcpy(run->variants, sorted, count * sizeof *sorted);
    for (size_t i = 0; i < run->entry_count; i++)
        run->entries[i].variant = place[run->entries[i].variant];
    for (size_t i = 0; i < run->training_count; i++)
        run->trainings[i].variant = place[run->trainings[i].variant];
    if (run->entry_count) qsort(run->entries, run->entry_count, sizeof *run->entries, entry_order);
    if (run->training_count)
        qsort(run->trainings, run->training_count, sizeof *run->trainings, training_order);
done:
    free(sorted);
    free(place);
    return st;
}

const mn_rundir_entry *mn_rundir_find(const mn_rundir *run, size_t variant, int64_t shots,
                                      bool choice) {
    for (size_t i = 0; i < run->entry_count; i++) {
        const mn_rundir_entry *e = &run->entries[i];
        if (e->variant == variant && e->shots == shots && e->choice == choice) return e;
    }
    return NULL;
}

int64_t mn_rundir_memory(const mn_rundir *run, mn_rundir_method method, double weight_decay) {
    for (size_t i = 0; i < run->variant_count; i++) {
        const mn_rundir_variant *v = &run->variants[i];
        const bool same = isnan(weight_decay) ? isnan(v->weight_decay)
                                              : fabs(v->weight_decay - weight_decay) < 1e-9;
        if (v->method == method && !v->full && same) return (int64_t)i;
    }
    return -1;
}

int64_t mn_rundir_base(const mn_rundir *run) {
    for (size_t i = 0; i < run->variant_count; i++)
        if (run->variants[i].method == MN_RUNDIR_BASE) return (int64_t)i;
    return -1;
}

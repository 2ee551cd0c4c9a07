/* effect.c - the effect audit: that memories are applied, and how much they change. */
#include "eval/evaluation.h"

#include <math.h>
#include <stdlib.h>

/* Sums over prompts, of one variant. */
typedef struct sums {
    double change; /* of |delta h| / |h| behind one memory */
    int64_t outputs;
    bool compared;
    double logit_change;
} sums;

static void add(sums *s, const mn_completion *a, int64_t memory) {
    s->change += a->change[memory];
    s->outputs += a->outputs;
    s->compared |= a->compared;
    if (a->compared) s->logit_change = fmax(s->logit_change, a->logit_change);
}

static mn_status refuse(const char *name, const mn_memory *memory, int64_t index) {
    return mn_fail(MN_ERR_DATA,
                   "adapter %s changes nothing: its memory behind block %lld adds 0 to every "
                   "hidden state (a gate of 0, or weights that were never trained?)",
                   name, (long long)memory->layers[index].block);
}

mn_status mn_completions_effect(const mn_completion *answers, const int64_t *which, int64_t count,
                                const mn_memory *memory, const char *name) {
    for (int64_t m = 0; m < memory->count; m++) {
        sums s = {0};
        for (int64_t i = 0; i < count; i++) add(&s, &answers[which ? which[i] : i], m);
        if (s.outputs > 0 && s.change == 0) return refuse(name, memory, m);
    }
    return MN_OK;
}

mn_status mn_effect_check(const mn_evaluation *e, const int64_t *prompts, int64_t count) {
    for (int64_t v = 1; v < e->variant_count; v++) {
        const eval_variant *variant = &e->variants[v];
        MN_TRY(mn_completions_effect(mn_eval_completion(e, v, 0), prompts, count, variant->memory,
                                     variant->name));
    }
    return MN_OK;
}

static mn_status audit_variant(const mn_evaluation *e, int64_t v, mn_effect *out,
                               mn_effect_memory *memories) {
    const eval_variant *variant = &e->variants[v];
    *out = (mn_effect){
        .variant = variant->name, .memories = memories, .memory_count = variant->memory->count};
    for (int64_t m = 0; m < variant->memory->count; m++) {
        sums s = {0};
        for (int64_t i = 0; i < e->count; i++) add(&s, mn_eval_completion(e, v, i), m);
        memories[m].block = variant->memory->layers[m].block;
        memories[m].relative_change = s.outputs ? s.change / (double)s.outputs : NAN;
        out->max_logit_change = s.compared ? s.logit_change : NAN;
        if (s.outputs > 0 && s.change == 0) return refuse(variant->name, variant->memory, m);
    }
    MN_CHECK(out->max_logit_change != 0, MN_ERR_DATA,
             "adapter %s changes nothing: every logit is the base's", variant->name);
    return MN_OK;
}

mn_status mn_effect_audit(mn_evaluation *e) {
    const size_t count = (size_t)(e->variant_count - 1);
    size_t memories = 0;
    if (count == 0) return MN_OK;
    for (int64_t v = 1; v < e->variant_count; v++) memories += (size_t)e->memories[v]->count;
    e->effects = calloc(count, sizeof *e->effects);
    e->effect_memories = calloc(memories, sizeof *e->effect_memories);
    MN_CHECK(e->effects && e->effect_memories, MN_ERR_MEMORY, "no memory for the effect audit");
    mn_effect_memory *next = e->effect_memories;
    for (int64_t v = 1; v < e->variant_count; v++) {
        MN_TRY(audit_variant(e, v, &e->effects[v - 1], next));
        next += e->memories[v]->count;
    }
    e->results.effects = e->effects;
    e->results.effect_count = count;
    return MN_OK;
}

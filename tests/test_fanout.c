/* test_fanout.c - many variants in one pass answer as each of them alone: base and memories against
 * whole prompts through one variant's own session, whatever the batch size and sharing; the effect
 * audit against plain computations. */
#include "test_fanout.h"

/* The variants part, and a variant that follows the candidates further than one before it is there:
 * the trunk's rows that it needs have been overwritten. */
static void check_that_they_differ(const crowd *c) {
    int parted = 0, overwritten = 0;
    for (int64_t i = 0; i < PROMPTS; i++) {
        int64_t least = NEW;
        for (int v = 0; v < VARIANTS; v++) {
            const wanted *w = &c->want[v][i];
            if (v > 0)
                parted += memcmp(w->generated.data, c->want[0][i].generated.data,
                                 NEW * sizeof(int32_t)) != 0;
            if (c->requests[i].candidate_count == 0 || c->requests[i].max_new_tokens == 0) continue;
            overwritten += w->matched > least;
            if (w->matched < least) least = w->matched;
        }
    }
    if (parted < 3 * PROMPTS / 2) fail_msg("only %d of %d answers differ", parted, 3 * PROMPTS);
    if (overwritten < 3) fail_msg("only %d answers need what was overwritten", overwritten);
}

/* ---- one pass against one by one ---- */

static double worst;

static void compare(const crowd *c, int v, const mn_completion *got, const char *label) {
    for (int64_t i = 0; i < PROMPTS; i++) {
        const mn_request *r = &c->requests[i];
        const wanted *w = &c->want[v][i];
        int best = 0;
        for (int k = 0; k < r->candidate_count; k++) {
            const double off = fabs(got[i].logprob[k] - w->logprob[k]);
            if (!(off <= c->tolerance))
                fail_msg("%s: variant %d, prompt %d, candidate %d: %.9g, alone %.9g", label, v,
                         (int)i, k, got[i].logprob[k], w->logprob[k]);
            worst = mn_worse(worst, off);
            if (got[i].logprob[k] > got[i].logprob[best]) best = k;
        }
        if (r->candidate_count) assert_int_equal(best, w->best);
        const size_t count = r->max_new_tokens ? NEW : 0;
        if (got[i].generated.len != count ||
            (count && memcmp(got[i].generated.data, w->generated.data, count * sizeof(int32_t))))
            fail_msg("%s: variant %d, prompt %d: other tokens", label, v, (int)i);
    }
}

/* Answers of `count` variants in one pass, [count][PROMPTS]. */
static mn_completion *fan_out(const crowd *c, const mn_memory *const *variants, int64_t count,
                              const setting *how, bool audit, bool base_for_audit) {
    mn_session_options room;
    mn_plan *plan = NULL;
    mn_session *session = NULL;
    const mn_plan_options options = {.batch_size = how->batch_size,
                                     .share_prefixes = how->share,
                                     .max_tokens = how->max_tokens,
                                     .kv_bytes = how->kv_rows,
                                     .variants = variants,
                                     .variant_count = count};
    const mn_complete_hooks hooks = {.eos = -1, .base_for_audit = base_for_audit};
    mn_completion *answers = calloc((size_t)(count * PROMPTS), sizeof *answers);
    assert_non_null(answers);
    MN_ASSERT_OK(mn_plan_make(&plan, c->base.model, c->requests, PROMPTS, &options));
    mn_plan_session(&room, plan);
    room.audit = audit;
    MN_ASSERT_OK(mn_session_open(&session, c->base.model, &room));
    MN_ASSERT_OK(mn_complete(session, plan, answers, &hooks));
    mn_session_close(&session);
    mn_plan_close(&plan);
    return answers;
}

static void check_fanout(const char *folder, int64_t shift) {
    static const setting ways[] = {
        {0, true, 0, 0},  {1, true, 0, 0},  {7, true, 0, 0},   {64, true, 0, 0},  {0, false, 0, 0},
        {1, false, 0, 0}, {7, false, 0, 0}, {64, false, 0, 0}, {64, true, 13, 0}, {0, true, 0, 1}};
    crowd *c = malloc(sizeof *c);
    assert_non_null(c);
    worst = 0;
    crowd_open(c, folder, shift);
    check_that_they_differ(c);
    for (size_t k = 0; k < sizeof ways / sizeof *ways; k++) {
        char label[128];
        snprintf(label, sizeof label, "%s, batch size %d, sharing %d, passes of %d, cache %d",
                 folder, (int)ways[k].batch_size, ways[k].share, (int)ways[k].max_tokens,
                 (int)ways[k].kv_rows);
        mn_completion *answers = fan_out(c, c->variants, VARIANTS, &ways[k], k % 2, false);
        for (int v = 0; v < VARIANTS; v++) compare(c, v, answers + v * PROMPTS, label);
        drop(answers, VARIANTS * PROMPTS);
    }
    /* Other orders, with and without the base; the base for the audit alone leaves no answer. */
    const mn_memory *const order[] = {c->variants[3], NULL, c->variants[1]};
    mn_completion *answers = fan_out(c, order, 3, &ways[2], true, false);
    compare(c, 3, answers, "3 0 1");
    compare(c, 0, answers + PROMPTS, "3 0 1");
    compare(c, 1, answers + 2 * PROMPTS, "3 0 1");
    drop(answers, 3 * PROMPTS);
    answers = fan_out(c, order, 3, &ways[2], true, true);
    compare(c, 3, answers, "3 and 1");
    compare(c, 1, answers + 2 * PROMPTS, "3 and 1");
    int compared = 0;
    for (int64_t i = 0; i < PROMPTS; i++) {
        assert_int_equal(answers[PROMPTS + i].generated.len, 0);
        assert_true(answers[i].compared == answers[2 * PROMPTS + i].compared);
        compared += answers[i].compared;
    }
    assert_int_equal(compared, 7); /* the first batch */
    drop(answers, 3 * PROMPTS);
    answers = fan_out(c, order, 1, &ways[0], false, false);
    compare(c, 3, answers, "3 alone");
    drop(answers, PROMPTS);
    print_message("%s: within %.1e of one by one, allowed %.1e; the likeliest leads by %.1e\n",
                  folder, worst, c->tolerance, c->margin);
    crowd_close(c);
    free(c);
}

static void test_neox(void **state) {
    (void)state;
    check_fanout("tests/golden/neox-parallel", 0);
    check_fanout("tests/golden/neox-sequential", 1);
}

static void test_llama(void **state) {
    (void)state;
    check_fanout("tests/golden/llama-mha", 0);
    check_fanout("tests/golden/llama-gqa", 0);
}

/* ---- the session's memories against the tape's, which PyTorch has proven ---- */

static void test_against_tape(void **state) {
    static const char *const folders[] = {"tests/golden/neox-parallel", "tests/golden/llama-mha"};
    (void)state;
    for (int f = 0; f < 2; f++) {
        enum { LEN = 24 };
        crowd *c = calloc(1, sizeof *c);
        assert_non_null(c);
        subject_open(&c->base, folders[f], 1);
        make_memories(c, 0);
        for (int v = 1; v < VARIANTS; v++) {
            const mn_tape_options options = {.max_tokens = LEN, .max_seqs = 1};
            mn_tape *tape = NULL;
            mn_memory *gradients = NULL;
            int32_t ids[LEN + 1], at[LEN];
            double loss = 0, sum = 0;
            open_alone(c, v);
            for (int i = 0; i <= LEN; i++) ids[i] = random_id(&c->base, 31, (uint64_t)i);
            for (int i = 0; i < LEN; i++) at[i] = i;
            const int64_t length = LEN;
            const mn_train_batch batch = {.ids = ids,
                                          .tokens = LEN,
                                          .lengths = &length,
                                          .seq_count = 1,
                                          .outputs = at,
                                          .targets = ids + 1,
                                          .output_count = LEN};
            MN_ASSERT_OK(mn_memory_like(&gradients, c->memories[v]));
            MN_ASSERT_OK(
                mn_tape_open(&tape, c->base.model, c->memories[v], gradients, NULL, &options));
            MN_ASSERT_OK(mn_tape_loss(tape, &batch, NULL, &loss));
            naive_forward(&c->alone[v], ids, LEN, 0);
            for (int i = 0; i < LEN; i++) sum -= row_of(&c->alone[v], i)[ids[i + 1]];
            /* two ways through the same fp32 kernels: some units of the last place per token */
            if (!(fabs(loss - sum) <= 2e-6 * fabs(sum)))
                fail_msg("%s, variant %d: loss %.9g, session %.9g", folders[f], v, loss, sum);
            mn_tape_close(&tape);
            mn_memory_close(&gradients);
            mn_session_close(&c->alone[v].session);
            mn_memory_close(&c->memories[v]);
        }
        subject_close(&c->base);
        free(c);
    }
}

/* ---- the effect audit ---- */

/* |gate LayerNorm(down(gelu(up(y))))| / |y| in double. */
static double plain_change(const mn_memory *m, const float *y) {
    const mn_memory_layer *l = &m->layers[0];
    const float *up = l->up_w.data, *up_b = l->up_b.data, *down = l->down_w.data;
    const float *down_b = l->down_b.data, *w = l->norm_w.data, *b = l->norm_b.data;
    double inner[HIDDEN + 3], d[256], mean = 0, var = 0, added = 0, size = 0;
    assert_true(m->dim <= 256 && m->hidden <= HIDDEN + 3);
    for (int64_t h = 0; h < m->hidden; h++) {
        double x = (double)up_b[h];
        for (int64_t i = 0; i < m->dim; i++) x += (double)up[h * m->dim + i] * (double)y[i];
        inner[h] = 0.5 * x * (1 + erf(x * 0.7071067811865476));
    }
    for (int64_t i = 0; i < m->dim; i++) {
        d[i] = (double)down_b[i];
        for (int64_t h = 0; h < m->hidden; h++) d[i] += (double)down[i * m->hidden + h] * inner[h];
        mean += d[i] / (double)m->dim;
    }
    for (int64_t i = 0; i < m->dim; i++) var += (d[i] - mean) * (d[i] - mean) / (double)m->dim;
    for (int64_t i = 0; i < m->dim; i++) {
        const double out = ((d[i] - mean) / sqrt(var + 1e-5) * (double)w[i] + (double)b[i]) *
                           (double)*(const float *)l->gate.data;
        added += out * out;
        size += (double)y[i] * (double)y[i];
    }
    return sqrt(added) / sqrt(size);
}

/* What enters a variant's lowest memory, by a tape's trunk. */
static void hidden_before(const crowd *c, int v, const int32_t *ids, int64_t len, float *hidden) {
    const mn_tape_options tape_options = {.max_tokens = len, .max_seqs = 1};
    const mn_train_batch batch = {.ids = ids, .tokens = len, .lengths = &len, .seq_count = 1};
    mn_memory *gradients = NULL;
    mn_tape *tape = NULL;
    MN_ASSERT_OK(mn_memory_like(&gradients, c->memories[v]));
    MN_ASSERT_OK(
        mn_tape_open(&tape, c->base.model, c->memories[v], gradients, NULL, &tape_options));
    MN_ASSERT_OK(mn_tape_trunk(tape, &batch, hidden));
    mn_tape_close(&tape);
    mn_memory_close(&gradients);
}

/* All logits behind the tokens from `first` on. */
static const float *logits_of(mn_session *s, const int32_t *ids, int64_t len, int64_t first) {
    int32_t at[POSITIONS];
    mn_tensor logits;
    for (int32_t i = 0; i < len; i++) at[i] = i;
    const mn_attn_seq seq = {.q_len = (int32_t)len, .own_len = (int32_t)len};
    const mn_batch batch = {.ids = ids,
                            .positions = at,
                            .rows = at,
                            .tokens = len,
                            .seqs = &seq,
                            .seq_count = 1,
                            .outputs = at + first,
                            .output_count = len - first};
    MN_ASSERT_OK(mn_session_forward(s, &batch));
    MN_ASSERT_OK(mn_session_logits(s, 0, len - first, &logits));
    return logits.data;
}

/* Adds what one continuation shows: from its token `from` on, those before it belong to another. */
static void plain_audit(crowd *c, int v, const mn_request *r, const mn_ids *next, int64_t from,
                        mn_completion *sum) {
    int32_t ids[POSITIONS];
    float hidden[POSITIONS / 8 * 256];
    const int64_t len = r->len + (next ? (int64_t)next->len - 1 : 0);
    const int64_t first = r->len - 1 + from, vocab = c->base.vocab;
    const mn_memory *m = c->memories[v];
    assert_true(len <= POSITIONS / 8);
    memcpy(ids, r->ids, (size_t)r->len * sizeof *ids);
    if (next) memcpy(ids + r->len, next->data, (next->len - 1) * sizeof *ids);
    if (first >= len) return;
    hidden_before(c, v, ids, len, hidden);
    for (int64_t i = first; i < len; i++) *sum->change += plain_change(m, hidden + i * m->dim);
    sum->outputs += len - first;
    const float *mine = logits_of(c->alone[v].session, ids, len, first);
    const float *base = logits_of(c->base.session, ids, len, first);
    for (int64_t i = 0; i < (len - first) * vocab; i++)
        sum->logit_change = fmax(sum->logit_change, fabs((double)mine[i] - (double)base[i]));
}

/* Every prompt's sums: the outputs are the prompt's last token and, once each, those of the candidates
 * that something is read behind. */
static void check_audit(const char *folder) {
    static const setting ways[] = {{0, true, 0, 0}, {1, false, 0, 0}, {7, true, 9, 0}};
    crowd *c = malloc(sizeof *c);
    assert_non_null(c);
    crowd_open(c, folder, 0);
    for (int k = 0; k < 3; k++) {
        mn_completion *answers = fan_out(c, c->variants, VARIANTS, &ways[k], true, false);
        for (int v = 1; v < VARIANTS; v++)
            for (int64_t i = k; i < PROMPTS; i += 4) {
                const mn_request *r = &c->requests[i];
                const mn_completion *got = &answers[v * PROMPTS + i];
                double change = 0;
                mn_completion want = {.change = &change};
                const int64_t common = r->candidate_count ? i % 6 : 0;
                if (r->candidate_count == 0) plain_audit(c, v, r, NULL, 0, &want);
                for (int n = 0; n < r->candidate_count; n++)
                    plain_audit(c, v, r, &r->candidates[n], n == 0 ? 0 : common + 1, &want);
                assert_int_equal(got->outputs, want.outputs);
                assert_true(got->compared);
                /* fp32 against double; both sums over a handful of tokens */
                if (!(fabs(got->change[0] - change) <= 1e-5 * change))
                    fail_msg("%s, variant %d, prompt %d: change %.9g, plain %.9g", folder, v,
                             (int)i, got->change[0], change);
                /* log-likelihoods allow as much, and these are differences of two */
                if (!(fabs(got->logit_change - want.logit_change) <= 2 * c->tolerance))
                    fail_msg("%s, variant %d, prompt %d: logits %.9g, plain %.9g", folder, v,
                             (int)i, got->logit_change, want.logit_change);
            }
        drop(answers, VARIANTS * PROMPTS);
    }
    crowd_close(c);
    free(c);
}

static void test_audit(void **state) {
    (void)state;
    check_audit("tests/golden/neox-parallel");
    check_audit("tests/golden/llama-mha");
}

/* ---- sessions ---- */

/* NaN in the trunk is told by every top, also by one without a block of its own. */
static void test_broken_trunk(void **state) {
    const mn_memory *const variants[] = {NULL, NULL};
    const mn_session_options o = {.max_tokens = 8,
                                  .kv_rows = 16,
                                  .max_seqs = 1,
                                  .max_logits = 1,
                                  .variants = variants,
                                  .variant_count = 2};
    const int32_t id = 1, zero = 0;
    const mn_attn_seq seq = {.q_len = 1, .own_len = 1};
    const mn_batch batch = {.ids = &id,
                            .positions = &zero,
                            .rows = &zero,
                            .tokens = 1,
                            .seqs = &seq,
                            .seq_count = 1,
                            .outputs = &zero,
                            .output_count = 1};
    mn_session *s = NULL;
    subject base;
    (void)state;
    subject_open(&base, "tests/golden/neox-parallel", 1);
    MN_ASSERT_OK(mn_session_open(&s, base.model, &o));
    float *weight = (float *)base.model->layers[1].norm1_w.data + 3;
    const float good = *weight;
    *weight = NAN;
    MN_ASSERT_OK(mn_session_trunk(s, &batch));
    for (int i = 0; i < 4; i++)
        MN_ASSERT_FAILS(mn_session_top(s, i % 2), MN_ERR_NUMERIC,
                        "64 of 64 numbers behind block 1 are NaN");
    *weight = good;
    MN_ASSERT_OK(mn_session_trunk(s, &batch));
    for (int i = 0; i < 2; i++) MN_ASSERT_OK(mn_session_top(s, i));
    mn_session_close(&s);
    subject_close(&base);
}

static void test_sessions(void **state) {
    crowd *c = calloc(1, sizeof *c);
    mn_session *s = NULL;
    int64_t kv = 0, more = 0, step = 0;
    (void)state;
    assert_non_null(c);
    subject_open(&c->base, "tests/golden/neox-parallel", 1);
    make_memories(c, 0);
    mn_session_options o = {.max_tokens = 8, .kv_rows = 16, .max_seqs = 1, .max_logits = 1};
    MN_ASSERT_OK(mn_session_plan(&kv, &step, c->base.model, &o));
    o.variants = c->variants;
    o.variant_count = VARIANTS;
    MN_ASSERT_OK(mn_session_plan(&more, &step, c->base.model, &o));
    /* three blocks; the lowest memory stands behind the first, which all share: 1 + 4 * 2 layers */
    assert_int_equal(more, 3 * kv);
    o.variant_count = 0;
    MN_ASSERT_FAILS(mn_session_open(&s, c->base.model, &o), MN_ERR_USAGE, "at least one variant");
    subject other = {0};
    subject_open(&other, "tests/golden/llama-gqa", 1);
    o.variant_count = VARIANTS;
    MN_ASSERT_FAILS(mn_session_open(&s, other.model, &o), MN_ERR_USAGE,
                    "memory doc is for models of width 64");
    subject_close(&other);
    /* A memory with a broken number is named. */
    *(float *)c->memories[2]->layers[1].gate.data = NAN;
    o.max_seqs = 8;
    MN_ASSERT_OK(mn_session_open(&s, c->base.model, &o));
    const int32_t ids[] = {1, 2, 3}, at[] = {0, 1, 2};
    const mn_attn_seq seq = {.q_len = 3, .own_len = 3};
    const mn_batch batch = {.ids = ids,
                            .positions = at,
                            .rows = at,
                            .tokens = 3,
                            .seqs = &seq,
                            .seq_count = 1,
                            .outputs = at,
                            .output_count = 3};
    MN_ASSERT_OK(mn_session_trunk(s, &batch));
    for (int v = VARIANTS - 1; v >= 0; v--) {
        if (v != 2) MN_ASSERT_OK(mn_session_top(s, v));
        else
            MN_ASSERT_FAILS(mn_session_top(s, v), MN_ERR_NUMERIC,
                            "with memory temp: 192 of 192 numbers behind block 1");
    }
    MN_ASSERT_FAILS(mn_session_top(s, VARIANTS), MN_ERR_USAGE, "variant 4 of 4");
    mn_session_close(&s);
    for (int v = 1; v < VARIANTS; v++) mn_memory_close(&c->memories[v]);
    subject_close(&c->base);
    free(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_neox),         cmocka_unit_test(test_llama),
        cmocka_unit_test(test_against_tape), cmocka_unit_test(test_audit),
        cmocka_unit_test(test_broken_trunk), cmocka_unit_test(test_sessions)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

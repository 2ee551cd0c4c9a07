/* test_attention_counters_cuda.c - what attention costs, by the counters of the simulated GPU: products of
 * tensor cores on the blocks that the mask leaves and on no others; shared memory without conflicts; what
 * decoding reads. Skipped on a GPU, which has no such counters. */
#include "kernels/attention_cases.h"
#include "simgpu/simgpu.h"

#include <dlfcn.h>

static void (*totals)(const char *part, sg_stats *sums); /* the simulated runtime's */

static int64_t blocks_16(int64_t n) { return (n + 15) / 16; }

/* Blocks of 16 rows x 16 keys that hold a pair which the mask leaves: row r of `rows`, made of `group` heads,
 * sees r / group + 1 keys. */
static int64_t causal_blocks(int64_t rows, int64_t group) {
    int64_t n = 0;
    for (int64_t r = 0; r < rows; r += 16) {
        const int64_t last = r + 15 < rows ? r + 15 : rows - 1;
        n += blocks_16(last / group + 1);
    }
    return n;
}

static problem one_text(int64_t dim, int64_t heads, int64_t kv_heads, int32_t queries,
                        int32_t keys) {
    problem p = {.dim = dim, .heads = heads, .kv_heads = kv_heads, .nseq = 1, .queries = queries};
    p.seqs[0] = (mn_attn_seq){.q_len = queries, .own_begin = 3, .own_len = keys};
    p.rows = keys + 3;
    fill(&p, true, 1);
    return p;
}

/* Counters since `before`. */
static sg_stats since(const char *kernel, const sg_stats *before) {
    sg_stats now;
    totals(kernel, &now);
    now.mma -= before->mma;
    now.load_sectors -= before->load_sectors;
    now.shared_wavefronts -= before->shared_wavefronts;
    now.shared_ideal -= before->shared_ideal;
    return now;
}

static void expect(const char *kernel, const problem *p, const sg_stats *s, int64_t products) {
    print_message("%s, head size %lld: %llu products, %llu wavefronts, %llu without conflicts\n",
                  kernel, (long long)p->dim, (unsigned long long)s->mma,
                  (unsigned long long)s->shared_wavefronts, (unsigned long long)s->shared_ideal);
    if ((int64_t)s->mma != products)
        fail_msg("%s, head size %lld, %lld heads on %lld: %llu products, %lld are necessary",
                 kernel, (long long)p->dim, (long long)p->heads, (long long)p->kv_heads,
                 (unsigned long long)s->mma, (long long)products);
    assert_true(s->shared_ideal > 0);
    assert_true((double)s->shared_wavefronts <= 1.05 * (double)s->shared_ideal);
}

static const int64_t sizes[] = {64, 72, 80, 96, 128, 256};
enum { SIZES = sizeof sizes / sizeof *sizes, LENGTH = 200, QUERIES = 2 };

/* A product is 16 x 8 x 16. Per block of 16 x 16, scores are blocks_16(D) x 2 of them, outputs D / 8. */
static void prompts(void **state) {
    for (int i = 0; i < SIZES; i++)
        for (int64_t kv_heads = 1; kv_heads <= QUERIES; kv_heads++) {
            problem p = one_text(sizes[i], QUERIES, kv_heads, LENGTH, LENGTH);
            const int64_t group = QUERIES / kv_heads, dim = p.dim;
            const int64_t blocks = kv_heads * causal_blocks(LENGTH * group, group);
            float *out = test_malloc((size_t)query_floats(&p) * sizeof *out);
            sg_stats before;
            totals("attention_fwd_kernel", &before);
            forward_on(*state, &p, false, out, NULL);
            const sg_stats s = since("attention_fwd_kernel", &before);
            expect("attention_fwd_kernel", &p, &s, blocks * (2 * blocks_16(dim) + dim / 8));
            test_free(out);
            problem_free(&p);
        }
}

/* Scores and <dout, v> once in each of the two kernels (once per half of the columns in that of the keys),
 * then dq; dk and dv. */
static void gradients_of_texts(void **state) {
    for (int i = 0; i < SIZES; i++) {
        problem p = one_text(sizes[i], QUERIES, 1, LENGTH, LENGTH);
        const int64_t dim = p.dim, blocks = causal_blocks(LENGTH * QUERIES, QUERIES);
        const int64_t both = 4 * blocks_16(dim), halves = dim > 128 ? 2 : 1;
        float *out = test_calloc((size_t)query_floats(&p), sizeof *out);
        float *lse = test_calloc((size_t)(p.queries * p.heads), sizeof *lse);
        gradients g = gradients_open(&p);
        sg_stats queries, keys;
        totals("attention_bwd_queries_kernel", &queries);
        totals("attention_bwd_keys_kernel", &keys);
        backward_on(*state, &p, out, lse, &g);
        queries = since("attention_bwd_queries_kernel", &queries);
        keys = since("attention_bwd_keys_kernel", &keys);
        expect("attention_bwd_queries_kernel", &p, &queries, blocks * (both + dim / 8));
        expect("attention_bwd_keys_kernel", &p, &keys, blocks * (halves * both + 2 * dim / 8));
        gradients_close(&g);
        test_free(out);
        test_free(lse);
        problem_free(&p);
    }
}

/* One query behind 1000 keys: every key and value is read once, in whole sectors. */
static void decoding(void **state) {
    enum { KEYS = 1000 };
    for (int i = 0; i < SIZES; i++) {
        problem p = one_text(sizes[i], 2, 2, 1, KEYS);
        float *out = test_malloc((size_t)query_floats(&p) * sizeof *out);
        sg_stats before;
        totals("attention_decode_kernel", &before);
        forward_on(*state, &p, false, out, NULL);
        const sg_stats s = since("attention_decode_kernel", &before);
        const int64_t dim = p.dim, blocks = 2 * blocks_16(KEYS);
        /* heads that are no whole number of sectors share some with their neighbours */
        const double sectors = 2 * 2 * KEYS * (double)dim * 2 / 32;
        expect("attention_decode_kernel", &p, &s, blocks * (2 * blocks_16(dim) + dim / 8));
        print_message("%llu sectors, keys and values are %.0f\n",
                      (unsigned long long)s.load_sectors, sectors);
        if (dim % 16 == 0) assert_true((double)s.load_sectors <= 1.10 * sectors);
        test_free(out);
        problem_free(&p);
    }
}

static int setup(void **state) {
    remote_setup(state);
    void *runtime = dlopen("libcudart.so.13", RTLD_NOW | RTLD_NOLOAD);
    if (runtime) *(void **)&totals = dlsym(runtime, "sg_totals");
    if (totals) return 0;
    if (getenv("MNEME_TEST_SIMULATED")) return -1;
    print_message("skipped: no counters, the GPU is none of the simulated ones\n");
    exit(77);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(prompts),
                                       cmocka_unit_test(gradients_of_texts),
                                       cmocka_unit_test(decoding)};
    return cmocka_run_group_tests(tests, setup, remote_teardown);
}

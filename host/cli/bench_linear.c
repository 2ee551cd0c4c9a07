/* bench_linear.c - matrix products alone, for 1 to 512 rows of input: where the time of a model
 * goes, and where one way of multiplying should hand over to the next.
 *
 * Every run walks the same matrix of all blocks, after a pass over other memory: weights come from
 * memory as they do in a model. */
#include "cli/bench.h"

#include "mneme/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const int64_t row_counts[] = {1, 2, 4, 8, 12, 16, 24, 32, 64, 128, 512};
static const int64_t quick_row_counts[] = {1, 16};
enum { MAX_FAMILIES = 8 };

/* A run with more arithmetic than this walks fewer blocks: on a CPU, on a GPU. */
static const double run_flops[] = {2e10, 2e12};

/* Matrices of one shape: the same place in every block, or the output matrix. */
typedef struct family {
    char name[64];
    int64_t place; /* row of the binding table, of block 0 */
    int64_t n, k, count;
} family;

typedef struct sweep {
    mn_bench *b;
    family families[MAX_FAMILIES];
    size_t family_count;
    int64_t layer_rows; /* of the binding table, per block */
    mn_arena arena;
    mn_tensor x, y; /* room for the largest product */
} sweep;

/* "attention.dense" of "gpt_neox.layers.0.attention.dense.weight". */
static void short_name(char *out, size_t size, const char *name) {
    const char *at = strstr(name, ".0.");
    at = at ? at + 3 : name;
    const char *end = strstr(at, ".weight");
    snprintf(out, size, "%.*s", (int)(end ? (size_t)(end - at) : strlen(at)), at);
}

static void add_family(sweep *s, const mn_binding_row *row, int64_t place, int64_t count) {
    for (size_t i = 0; i < s->family_count; i++)
        if (s->families[i].n == row->shape[0] && s->families[i].k == row->shape[1]) return;
    if (s->family_count == MAX_FAMILIES) return;
    family *f = &s->families[s->family_count++];
    *f = (family){.place = place, .n = row->shape[0], .k = row->shape[1], .count = count};
    short_name(f->name, sizeof f->name, row->name);
}

/* Every shape of a block's matrices once, then the output matrix: the table's last one outside of
 * the blocks, which is the embedding where the two are tied. */
static void find_families(sweep *s) {
    const mn_model_config *c = &s->b->model->config;
    mn_binding_row row, head = {.ndim = 0};
    int64_t head_place = 0;
    for (int64_t i = 0; i < mn_binding_count(c); i++) {
        mn_binding_at(&row, c, NULL, i);
        s->layer_rows += row.layer == 0;
        if (row.ndim == 2 && row.layer == 0) add_family(s, &row, i, c->layers);
        if (row.ndim == 2 && row.layer < 0) {
            head = row;
            head_place = i;
        }
    }
    if (head.ndim == 2) add_family(s, &head, head_place, 1);
}

static mn_status lay_out(sweep *s, int64_t max_rows) {
    int64_t n = 0, k = 0;
    for (size_t i = 0; i < s->family_count; i++) {
        if (s->families[i].n > n) n = s->families[i].n;
        if (s->families[i].k > k) k = s->families[i].k;
    }
    s->x = mn_tensor_2d(NULL, MN_F32, max_rows, k);
    s->y = mn_tensor_2d(NULL, MN_F32, max_rows, n);
    MN_TRY(mn_arena_alloc(&s->arena, &s->x.data, mn_tensor_bytes(&s->x)));
    return mn_arena_alloc(&s->arena, &s->y.data, mn_tensor_bytes(&s->y));
}

static mn_status fill(mn_device *dev, mn_tensor *x) {
    const int64_t count = mn_tensor_count(x);
    float *numbers = malloc(mn_tensor_bytes(x));
    MN_CHECK(numbers, MN_ERR_MEMORY, "no memory for %lld inputs", (long long)count);
    for (int64_t i = 0; i < count; i++)
        numbers[i] = (float)mn_rng_uniform(0, 2, (uint64_t)i) - 0.5f;
    const mn_status st = dev->upload(dev, x->data, numbers, mn_tensor_bytes(x));
    free(numbers);
    return st;
}

/* y = x w' for the matrices of some blocks. */
static mn_status multiply(sweep *s, const family *f, int64_t m, int64_t blocks) {
    const mn_model_config *c = &s->b->model->config;
    const mn_tensor x = mn_tensor_2d(s->x.data, MN_F32, m, f->k);
    mn_tensor y = mn_tensor_2d(s->y.data, MN_F32, m, f->n);
    for (int64_t i = 0; i < blocks; i++) {
        mn_binding_row row;
        mn_binding_at(&row, c, s->b->model, f->place + i * s->layer_rows);
        MN_TRY(mn_linear_fwd(s->b->device, &y, f->n, &x, row.weight, NULL, MN_EPILOGUE_STORE,
                             s->b->compute));
    }
    return MN_OK;
}

static mn_status time_product(sweep *s, const family *f, int64_t m) {
    mn_bench *b = s->b;
    mn_bench_linear *l = &b->linear[b->linear_count];
    const mn_dtype dtype = mn_bench_dtype(b->model);
    *l = (mn_bench_linear){
        .m = m, .n = f->n, .k = f->k, .flops = 2 * (double)m * (double)f->n * (double)f->k};
    snprintf(l->matrix, sizeof l->matrix, "%s", f->name);
    l->bytes = (double)f->n * (double)f->k * (double)mn_dtype_size(dtype) +
               (double)(m * (f->n + f->k)) * (double)sizeof(float);
    int64_t blocks = (int64_t)(run_flops[!b->device->host_memory] / l->flops);
    if (blocks > f->count) blocks = f->count;
    if (blocks < 1) blocks = 1;
    MN_TRY(multiply(s, f, m, 1));
    MN_TRY(mn_bench_wait(b));
    MN_TRY(mn_bench_peak(&l->flop_peak, b, mn_bench_flop_peak(b)));
    for (; l->runs < b->options->repeat; l->runs++) {
        MN_TRY(mn_bench_peak(&l->read_peak[l->runs], b, MN_PEAK_READ));
        const double begin = mn_now();
        MN_TRY(multiply(s, f, m, blocks));
        MN_TRY(mn_bench_wait(b));
        l->seconds[l->runs] = (mn_now() - begin) / (double)blocks;
        mn_progress_add(b->progress, 1);
    }
    double behind;
    MN_TRY(mn_bench_peak(&behind, b, mn_bench_flop_peak(b)));
    if (behind > l->flop_peak) l->flop_peak = behind;
    b->linear_count++;
    return MN_OK;
}

mn_status mn_bench_linear_sweep(mn_bench *b) {
    const bool quick = b->options->quick;
    const int64_t *rows = quick ? quick_row_counts : row_counts;
    const size_t count = quick ? sizeof quick_row_counts / sizeof *rows
                               : sizeof row_counts / sizeof *rows;
    mn_progress *const works = b->progress;
    sweep s = {.b = b};
    mn_status st = MN_OK;
    b->progress = NULL;
    mn_arena_init(&s.arena, "step", b->device);
    find_families(&s);
    MN_GOTO(lay_out(&s, rows[count - 1]));
    MN_GOTO(mn_arena_commit(&s.arena));
    MN_GOTO(lay_out(&s, rows[count - 1]));
    MN_GOTO(fill(b->device, &s.x));
    MN_GOTO(b->device->reserve(b->device, s.x.shape[0], s.x.shape[1]));
    b->linear = calloc(s.family_count * count, sizeof *b->linear);
    MN_CHECK_GOTO(b->linear, MN_ERR_MEMORY, "no memory for the results");
    b->progress = mn_progress_begin("bench linear", "runs",
                                    (int64_t)(s.family_count * count) * b->options->repeat);
    for (size_t f = 0; f < s.family_count; f++)
        for (size_t r = 0; r < count; r++) MN_GOTO(time_product(&s, &s.families[f], rows[r]));
done:
    mn_progress_end(&b->progress);
    b->progress = works;
    mn_arena_free(&s.arena);
    return st;
}

/* test_slices_dist.c - ranks that share a model: their slices together are the whole, bit for bit, however the
 * weights come about, and the files that they write are those of one rank. Ranks are threads. */
#include "test_slices.h"

#include <math.h>

/* Models of both architectures: fused and separate, tied and untied, fp32, fp16 and bf16, safetensors and .bin;
 * key-value heads as many as heads, fewer, and one; sizes that ranks divide with a remainder. The numbers of ranks
 * that can share each. */
static const struct {
    const char *name;
    int ranks[4];
} models[] = {{"neox-parallel", {1, 2, 4}}, {"neox-sequential", {1, 2, 4}},
              {"neox-bf16", {1, 2, 4}},     {"neox-bin", {1, 2, 4}},
              {"llama-mha", {1, 2, 4}},     {"llama-gqa", {1, 2, 6}},
              {"llama-bin", {1, 2, 4}}};
enum { MODELS = sizeof models / sizeof *models };

/* Runs `rank_main` with each number of ranks for model k. */
static void over_ranks(int k, const job *j, mn_comm_main *rank_main) {
    for (int i = 0; models[k].ranks[i]; i++)
        for (int far = 0; far < 2; far++) {
            job now = *j;
            now.far = far;
            MN_ASSERT_OK(mn_comm_threads(models[k].ranks[i], TIMEOUT, rank_main, &now));
        }
}

/* ---- what a slice is ---- */

static const unsigned char *at(const mn_tensor *t, int64_t row, int64_t col) {
    const int64_t cols = t->ndim == 2 ? t->shape[1] : 1;
    return (const unsigned char *)t->data + (size_t)(row * cols + col) * mn_dtype_size(t->dtype);
}

/* part[r][c] is whole[r or begin + r][c or begin + c], and has the shape that the row says. */
static mn_status same_part(const char *name, const mn_tensor *part, const mn_tensor *whole,
                           const mn_slice *slice) {
    const int64_t row0 = slice->axis == 0 ? slice->begin : 0,
                  col0 = slice->axis == 1 ? slice->begin : 0;
    WANT(part->dtype == whole->dtype && part->ndim == whole->ndim, "%s: another type", name);
    for (int i = 0; i < part->ndim; i++) {
        WANT(slice->axis != i || slice->whole == whole->shape[i], "%s: not of the whole", name);
        WANT(part->shape[i] == (slice->axis == i ? slice->count : whole->shape[i]),
             "%s: axis %d has %lld", name, i, (long long)part->shape[i]);
    }
    for (int64_t r = 0; r < part->shape[0]; r++)
        for (int64_t c = 0; c < (part->ndim == 2 ? part->shape[1] : 1); c++)
            WANT(memcmp(at(part, r, c), at(whole, row0 + r, col0 + c),
                        mn_dtype_size(part->dtype)) == 0,
                 "%s: element %lld, %lld is not the whole's", name, (long long)r, (long long)c);
    return MN_OK;
}

/* Every element of the whole is at one rank at least; without copies of key-value heads at exactly one. */
static mn_status covered(mn_comm *comm, const char *name, const mn_slice *slice, bool once) {
    mn_slice all[MOST];
    int64_t end = 0, sum = 0;
    MN_TRY(mn_comm_all_gather(comm, all, slice, sizeof *slice));
    if (slice->axis < 0) return MN_OK;
    for (int r = 0; r < mn_comm_size(comm); r++) {
        WANT(all[r].begin <= end && all[r].count > 0, "%s: a gap before rank %d", name, r);
        end = all[r].begin + all[r].count;
        sum += all[r].count;
    }
    WANT(end == slice->whole && (!once || sum == end), "%s: %lld of %lld, %lld in all", name,
         (long long)end, (long long)slice->whole, (long long)sum);
    return MN_OK;
}

/* Gathered at rank 0, the parts are the whole. */
static mn_status gathers(mn_comm *comm, mn_device *device, const char *name, const mn_tensor *part,
                         const mn_tensor *whole, const mn_slice *slice) {
    const size_t bytes = mn_tensor_bytes(whole);
    unsigned char *all = mn_comm_rank(comm) == 0 ? malloc(bytes) : NULL;
    mn_status st = mn_slice_gather(all, comm, device, part, slice);
    if (st == MN_OK && all && memcmp(all, whole->data, bytes) != 0)
        st = mn_fail(MN_ERR_DATA, "%s: gathered, it is not the whole", name);
    free(all);
    return st;
}

/* All of the above for every weight of a model. */
static mn_status same_model(mn_comm *comm, mn_model *model, mn_model *whole) {
    for (int64_t i = 0; i < mn_binding_count(&model->config); i++) {
        mn_binding_row row, full;
        mn_binding_at(&row, &model->config, model, i);
        mn_binding_at(&full, &model->config, whole, i);
        const bool copies = mn_comm_size(comm) > model->config.kv_heads &&
                            strstr(row.name, "_proj.weight");
        MN_TRY(same_part(row.name, row.weight, full.weight, &row.slice));
        MN_TRY(covered(comm, row.name, &row.slice, !copies));
        MN_TRY(gathers(comm, model->device, row.name, row.weight, full.weight, &row.slice));
    }
    if (model->config.tied)
        WANT(model->head_w.data == model->embed_w.data &&
                 model->head_w.shape[0] == model->shard.vocab,
             "the output matrix is not the embedding's slice");
    return MN_OK;
}

/* Columns go to a far device in pieces: larger matrices than models of tests have, and stretches that begin and end
 * within rows. */
static void test_pieces(void **state) {
    enum { ROWS = 3001, WHOLE = 4001, BEGIN = 999, COUNT = 2003 };
    const mn_slice slice = {.axis = 1, .begin = BEGIN, .count = COUNT, .whole = WHOLE};
    const int64_t all = (int64_t)ROWS * COUNT;
    const int64_t stretches[][2] = {{0, all}, {1, all - 1}, {COUNT - 1, 2}, {COUNT, COUNT},
                                    {7, 0},   {5, 3},       {all - 1, 1},   {12345, (4 << 20) + 1}};
    float *numbers = malloc((size_t)ROWS * WHOLE * sizeof *numbers);
    float *got = malloc((size_t)all * sizeof *got);
    (void)state;
    assert_true(numbers && got);
    for (int64_t i = 0; i < (int64_t)ROWS * WHOLE; i++) numbers[i] = (float)i; /* below 2^24 */
    const mn_stored stored = {.name = "numbers",
                              .view = mn_tensor_2d(numbers, MN_F32, ROWS, WHOLE)};
    const mn_tensor part = mn_tensor_2d(NULL, MN_F32, ROWS, COUNT);
    for (int far = 0; far < 2; far++) {
        const job j = {.far = far};
        rank_bench b = {0};
        MN_ASSERT_OK(open_device(&b, &j, 1));
        for (size_t k = 0; k < sizeof stretches / sizeof *stretches; k++) {
            const int64_t first = stretches[k][0], count = stretches[k][1];
            const mn_tensor to = mn_tensor_1d(got, MN_F32, count);
            memset(got, 0xff, (size_t)all * sizeof *got);
            MN_ASSERT_OK(mn_slice_load_some(b.device, &to, &part, first, &slice, &stored));
            for (int64_t i = 0; i < count; i++) {
                const int64_t row = (first + i) / COUNT, col = (first + i) % COUNT + BEGIN;
                assert_true(got[i] == (float)(row * WHOLE + col));
            }
            assert_true(count == all || isnan(got[count]));
        }
        close_rank(&b);
    }
    free(got);
    free(numbers);
}

/* ---- models ---- */

static mn_status opens(mn_comm *comm, void *context) {
    const job *j = context;
    rank_bench b = {0};
    mn_status st = MN_OK;
    MN_GOTO(open_device(&b, j, 1));
    MN_GOTO(mn_model_open(&b.model, j->dir, b.device, comm));
    MN_GOTO(same_model(comm, b.model, j->whole));
    MN_GOTO(mn_model_check_finite(b.model));
    MN_GOTO(mn_model_pack(b.model, NULL)); /* the slices have panels of their own */
    for (int64_t i = 0; i < mn_binding_count(&b.model->config); i++) {
        mn_binding_row row;
        mn_binding_at(&row, &b.model->config, b.model, i);
        const bool packed = row.ndim == 2 && row.weight->dtype != MN_F32 && row.layer >= 0;
        MN_CHECK_GOTO(!packed || row.weight->layout == MN_LAYOUT_PANELS, MN_ERR_DATA,
                      "%s: not packed", row.name);
    }
    st = mn_model_check_finite(b.model);
done:
    close_rank(&b);
    return st;
}

static void test_open(void **state) {
    mn_device *device = NULL;
    (void)state;
    MN_ASSERT_OK(mn_device_open(&device, "cpu", 1));
    for (int k = 0; k < MODELS; k++) {
        const mn_test_path dir = golden(models[k].name);
        job j = {.dir = dir.text};
        MN_ASSERT_OK(mn_model_open(&j.whole, dir.text, device, NULL));
        over_ranks(k, &j, opens);
        mn_model_close(&j.whole);
    }
    mn_device_close(&device);
}

static mn_status draws(mn_comm *comm, void *context) {
    const job *j = context;
    const mn_model_config *c = &j->whole->config;
    rank_bench b = {0};
    mn_status st = MN_OK;
    MN_GOTO(open_device(&b, j, 2));
    MN_GOTO(j->dtype == MN_DTYPES
                ? mn_model_init(&b.model, c, "new", 7, b.device, comm)
                : mn_model_random(&b.model, c, "new", j->dtype, 7, b.device, comm));
    st = same_model(comm, b.model, j->whole);
done:
    close_rank(&b);
    return st;
}

/* MN_DTYPES: initial values, fp32. */
static void test_draw(void **state) {
    static const mn_dtype dtypes[] = {MN_F32, MN_F16, MN_BF16, MN_DTYPES};
    mn_device *device = NULL;
    (void)state;
    MN_ASSERT_OK(mn_device_open(&device, "cpu", 2));
    for (int k = 0; k < MODELS; k++)
        for (int d = 0; d < 4; d++) {
            job j = {.dtype = dtypes[d]};
            mn_model_config c;
            MN_ASSERT_OK(mn_model_config_load(&c, golden(models[k].name).text));
            MN_ASSERT_OK(dtypes[d] == MN_DTYPES
                             ? mn_model_init(&j.whole, &c, "new", 7, device, NULL)
                             : mn_model_random(&j.whole, &c, "new", dtypes[d], 7, device, NULL));
            over_ranks(k, &j, draws);
            mn_model_close(&j.whole);
        }
    mn_device_close(&device);
}

/* What training starts with: the same slices in fp32, and zeros. */
static mn_status trains(mn_comm *comm, void *context) {
    const job *j = context;
    rank_bench b = {0};
    mn_model *copy = NULL, *zeros = NULL;
    mn_status st = MN_OK;
    MN_GOTO(open_device(&b, j, 1));
    MN_GOTO(mn_model_open(&b.model, j->dir, b.device, comm));
    MN_GOTO(mn_model_trainable(&copy, b.model));
    MN_GOTO(mn_model_like(&zeros, b.model));
    MN_GOTO(same_model(comm, copy, j->whole));
    for (int64_t i = 0; i < mn_binding_count(&copy->config); i++) {
        mn_binding_row x, y;
        mn_binding_at(&x, &copy->config, copy, i);
        mn_binding_at(&y, &copy->config, zeros, i);
        MN_CHECK_GOTO(mn_tensor_bytes(x.weight) == mn_tensor_bytes(y.weight), MN_ERR_DATA,
                      "%s: gradients of another shape", x.name);
    }
done:
    mn_model_close(&zeros);
    mn_model_close(&copy);
    close_rank(&b);
    return st;
}

static void test_trainable(void **state) {
    mn_device *device = NULL;
    (void)state;
    MN_ASSERT_OK(mn_device_open(&device, "cpu", 1));
    for (int k = 0; k < MODELS; k++) {
        const mn_test_path dir = golden(models[k].name);
        job j = {.dir = dir.text};
        mn_model *stored = NULL;
        MN_ASSERT_OK(mn_model_open(&stored, dir.text, device, NULL));
        MN_ASSERT_OK(mn_model_trainable(&j.whole, stored));
        over_ranks(k, &j, trains);
        mn_model_close(&j.whole);
        mn_model_close(&stored);
    }
    mn_device_close(&device);
}

/* ---- files ---- */

static void same_file(const char *dir, const char *other, const char *name) {
    size_t len = 0, other_len = 0;
    char *a = mn_test_read(mn_test_join(dir, name).text, &len);
    char *b = mn_test_read(mn_test_join(other, name).text, &other_len);
    assert_int_equal(len, other_len);
    assert_memory_equal(a, b, len);
    free(a);
    free(b);
}

static mn_status saves(mn_comm *comm, void *context) {
    const job *j = context;
    rank_bench b = {0};
    mn_status st = MN_OK;
    MN_GOTO(open_device(&b, j, 1));
    MN_GOTO(mn_model_open(&b.model, j->dir, b.device, comm));
    st = mn_model_save(b.model, j->other, j->dtype);
done:
    close_rank(&b);
    return st;
}

static void test_save(void **state) {
    static const mn_dtype dtypes[] = {MN_F32, MN_F16, MN_BF16};
    (void)state;
    for (int k = 0; k < MODELS; k++) {
        const mn_test_path dir = golden(models[k].name), one = mn_test_tmpdir();
        job j = {.dir = dir.text, .other = one.text, .dtype = dtypes[k % 3]};
        MN_ASSERT_OK(mn_comm_threads(1, TIMEOUT, saves, &j));
        for (int i = 1; models[k].ranks[i]; i++) {
            const mn_test_path several = mn_test_tmpdir();
            j.other = several.text;
            j.far = i % 2;
            MN_ASSERT_OK(mn_comm_threads(models[k].ranks[i], TIMEOUT, saves, &j));
            same_file(one.text, several.text, "model.safetensors");
            same_file(one.text, several.text, "config.json");
            mn_test_rmdir(several.text);
        }
        mn_test_rmdir(one.text);
    }
}

/* ---- memories ---- */

static mn_status same_memory(mn_comm *comm, mn_memory *memory, mn_memory *whole) {
    WANT(memory->hidden == whole->hidden && memory->count == whole->count, "another shape");
    WANT(mn_memory_parameters(memory) == mn_memory_parameters(whole), "another size");
    for (int64_t i = 0; i < memory->count * MN_MEMORY_PARAMS; i++) {
        mn_memory_param row, full;
        mn_memory_param_at(&row, memory, i);
        mn_memory_param_at(&full, whole, i);
        WANT(strcmp(row.name, full.name) == 0, "%s is not %s", row.name, full.name);
        MN_TRY(same_part(row.name, row.tensor, full.tensor, &row.slice));
        MN_TRY(covered(comm, row.name, &row.slice, true));
        MN_TRY(gathers(comm, memory->device, row.name, row.tensor, full.tensor, &row.slice));
    }
    return MN_OK;
}

/* Made anew by several ranks, saved, and the file of one rank read. */
static mn_status shares_memory(mn_comm *comm, void *context) {
    const job *j = context;
    const mn_memory_options o = {
        .name = "shared", .hidden = j->hidden, .from = 0, .to = 1, .gate = 0.5, .seed = 9};
    rank_bench b = {0};
    mn_memory *loaded = NULL, *like = NULL;
    mn_status st = MN_OK;
    MN_GOTO(open_device(&b, j, 1));
    MN_GOTO(mn_model_open(&b.model, j->whole->path, b.device, comm));
    MN_GOTO(mn_memory_create(&b.memory, b.model, &o));
    MN_GOTO(same_memory(comm, b.memory, j->memory));
    MN_GOTO(mn_memory_save(b.memory, j->other, "base"));
    MN_GOTO(mn_memory_load(&loaded, b.model, j->dir));
    MN_GOTO(same_memory(comm, loaded, j->memory));
    MN_GOTO(mn_memory_like(&like, loaded));
    MN_CHECK_GOTO(like->units == loaded->units && like->unit_begin == loaded->unit_begin &&
                      like->weights.size == loaded->weights.size,
                  MN_ERR_DATA, "zeros of another shape");
done:
    mn_memory_close(&like);
    mn_memory_close(&loaded);
    close_rank(&b);
    return st;
}

static void test_memory(void **state) {
    static const int64_t widths[] = {6, 7, 128};
    mn_device *device = NULL;
    (void)state;
    MN_ASSERT_OK(mn_device_open(&device, "cpu", 1));
    for (int k = 0; k < 6; k++) {
        const int which = k < 3 ? 0 : 5; /* one of each architecture */
        const mn_test_path one = mn_test_tmpdir();
        job j = {.dir = one.text, .hidden = widths[k % 3]};
        const mn_memory_options o = {
            .name = "shared", .hidden = j.hidden, .from = 0, .to = 1, .gate = 0.5, .seed = 9};
        MN_ASSERT_OK(mn_model_open(&j.whole, golden(models[which].name).text, device, NULL));
        MN_ASSERT_OK(mn_memory_create(&j.memory, j.whole, &o));
        MN_ASSERT_OK(mn_memory_save(j.memory, one.text, "base"));
        for (int i = 0; models[which].ranks[i]; i++) {
            const int size = models[which].ranks[i];
            const mn_test_path several = mn_test_tmpdir();
            j.other = several.text;
            j.far = i % 2;
            MN_ASSERT_OK(mn_comm_threads(size, TIMEOUT, shares_memory, &j));
            same_file(one.text, several.text, "adapter_model.safetensors");
            same_file(one.text, several.text, "adapter_config.json");
            mn_test_rmdir(several.text);
        }
        mn_memory_close(&j.memory);
        mn_model_close(&j.whole);
        mn_test_rmdir(one.text);
    }
    mn_device_close(&device);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces), cmocka_unit_test(test_open),
        cmocka_unit_test(test_draw),   cmocka_unit_test(test_trainable),
        cmocka_unit_test(test_save),   cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

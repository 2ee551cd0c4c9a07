/* test_sharded_slow.c - a model of 13 billion parameters, 26 GB of random halves in one file, shared by four ranks:
 * each holds its share and no more, and every number of it is the right one. Ranks are threads, which look at their
 * weights one after the other: 24 GB of memory are enough. Needs 27 GB of disk in $TMPDIR or /tmp. */
#include "check.h"

#include "mneme/half.h"
#include "mneme/model.h"
#include "mneme/tally.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

/* A look at one page may map a large one's worth of neighbours that are in the cache anyway. */
enum { RANKS = 4, PAGE = 4096, BORDER = 2 << 20, TIMEOUT = 3600 };
#define GB 1e9

/* Four halves of a tensor: random signs and mantissas, 1/16 to 1/8 in size. The finalizer of splitmix64. */
static uint64_t word_of(int64_t tensor, int64_t index) {
    uint64_t z = ((uint64_t)tensor << 40 | (uint64_t)index) + UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return ((z ^ z >> 31) & UINT64_C(0x83ff83ff83ff83ff)) | UINT64_C(0x2c002c002c002c00);
}

static uint16_t half_of(int64_t tensor, int64_t element) {
    return (uint16_t)(word_of(tensor, element / 4) >> 16 * (element % 4));
}

/* ---- the file ---- */

static mn_status write_tensor(mn_writer *writer, int64_t tensor, int64_t words, uint64_t *piece) {
    enum { PIECE = 1 << 20 };
    for (int64_t at = 0; at < words; at += PIECE) {
        const int64_t n = words - at < PIECE ? words - at : PIECE;
#pragma omp parallel for schedule(static)
        for (int64_t i = 0; i < n; i++) piece[i] = word_of(tensor, at + i);
        MN_TRY(mn_writer_write(writer, piece, (size_t)n * sizeof *piece));
    }
    return MN_OK;
}

static mn_status write_model(const char *path, const mn_model_config *c) {
    const int64_t count = mn_binding_count(c);
    mn_status st = MN_OK;
    mn_writer *writer = NULL;
    mn_binding_row *rows = calloc((size_t)count, sizeof *rows);
    mn_stored *heads = calloc((size_t)count, sizeof *heads);
    uint64_t *piece = malloc((size_t)8 << 20);
    MN_CHECK_GOTO(rows && heads && piece, MN_ERR_MEMORY, "%s: no memory", path);
    for (int64_t i = 0; i < count; i++) {
        mn_binding_at(&rows[i], c, NULL, i);
        heads[i] = (mn_stored){.name = rows[i].name,
                               .view = {.shape = {rows[i].shape[0], rows[i].shape[1]},
                                        .ndim = rows[i].ndim,
                                        .dtype = MN_F16}};
    }
    MN_GOTO(mn_safetensors_begin(&writer, path, heads, count, NULL));
    for (int64_t i = 0; i < count; i++)
        MN_GOTO(write_tensor(writer, i, mn_tensor_count(&heads[i].view) / 4, piece));
    st = mn_writer_commit(writer);
done:
    mn_writer_close(&writer);
    free(piece);
    free(heads);
    free(rows);
    return st;
}

/* As the model's publisher has it. */
static const char config[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 5120, \"num_hidden_layers\": 40, "
    "\"num_attention_heads\": 40, \"num_key_value_heads\": 40, \"intermediate_size\": 13824, "
    "\"vocab_size\": 32000, \"max_position_embeddings\": 4096, \"rms_norm_eps\": 1e-5}";

/* ---- one rank ---- */

typedef struct share {
    int64_t in_file, columns, vectors; /* bytes: used where they lie, copied, as fp32 */
} share;

/* What the table says this rank has, by the rules: rows stay in the file, columns and vectors are copied. */
static share share_of(mn_model *m) {
    share s = {0};
    for (int64_t i = 0; i < mn_binding_count(&m->config); i++) {
        mn_binding_row row;
        mn_binding_at(&row, &m->config, m, i);
        const int64_t all = row.shape[0] * (row.ndim == 2 ? row.shape[1] : 1);
        const int64_t own = row.slice.axis < 0 ? all : all / RANKS;
        if (row.ndim == 1) s.vectors += own * 4;
        else *(row.slice.axis == 1 ? &s.columns : &s.in_file) += own * 2;
    }
    return s;
}

/* Pages of [begin, end) that this process has mapped: the file's that this rank has looked at since it let go of them.
 * -1: the system does not say. */
static int64_t mapped_pages(uintptr_t begin, uintptr_t end) {
    enum { AT_ONCE = 4096 };
    static uint64_t entries[AT_ONCE]; /* one rank looks at a time */
    int64_t count = 0;
    if (begin >= end) return 0;
    FILE *file = fopen("/proc/self/pagemap", "r");
    if (!file) return -1;
    uintptr_t page = begin / PAGE;
    const uintptr_t last = (end - 1) / PAGE;
    bool good = fseeko(file, (off_t)(page * sizeof *entries), SEEK_SET) == 0;
    while (good && page <= last) {
        const size_t n = last - page + 1 < AT_ONCE ? last - page + 1 : AT_ONCE;
        good = fread(entries, sizeof *entries, n, file) == n;
        for (size_t i = 0; good && i < n; i++) count += (int64_t)(entries[i] >> 63);
        page += n;
    }
    fclose(file);
    return good ? count : -1;
}

/* Those of a stored tensor that belong to other ranks, but for the neighbours of own ones and of other tensors. */
static int64_t foreign_pages(const mn_binding_row *row, const mn_tensor *stored) {
    const uintptr_t begin = (uintptr_t)stored->data, end = begin + mn_tensor_bytes(stored);
    const uintptr_t own = (uintptr_t)row->weight->data,
                    own_end = own + mn_tensor_bytes(row->weight);
    const int64_t before = own > begin ? mapped_pages(begin + BORDER, own - BORDER) : 0;
    const int64_t behind = own_end < end ? mapped_pages(own_end + BORDER, end - BORDER) : 0;
    return before < 0 || behind < 0 ? -1 : before + behind;
}

/* The first element of a row that is not what was written, or -1. Touches every number that a pass would. */
static int64_t first_wrong(const mn_binding_row *row, int64_t tensor) {
    const mn_tensor *t = row->weight;
    const int64_t rows = t->ndim == 2 ? t->shape[0] : 1, cols = t->shape[t->ndim - 1];
    const int64_t row0 = row->slice.axis == 0 ? row->slice.begin : 0;
    const int64_t col0 = row->slice.axis == 1 ? row->slice.begin : 0;
    int64_t wrong = INT64_MAX;
#pragma omp parallel for schedule(static) reduction(min : wrong)
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            const int64_t e = (row0 + r) * row->shape[t->ndim - 1] + col0 + c;
            const uint16_t want = half_of(tensor, e);
            const bool same = t->ndim == 1 ? ((const float *)t->data)[c] == mn_f16_to_f32(want)
                                           : ((const uint16_t *)t->data)[r * cols + c] == want;
            if (!same && e < wrong) wrong = e;
        }
    return wrong == INT64_MAX ? -1 : wrong;
}

/* Every number is right, and reading them all touches nobody else's. */
static mn_status check_numbers(mn_model *m, int64_t *looked_at) {
    for (int64_t i = 0; i < mn_binding_count(&m->config); i++) {
        mn_binding_row row;
        mn_binding_at(&row, &m->config, m, i);
        const int64_t wrong = first_wrong(&row, i);
        MN_CHECK(wrong < 0, MN_ERR_DATA, "rank %d: %s: element %lld is wrong", m->shard.rank,
                 row.name, (long long)wrong);
        if (row.ndim == 1 || row.slice.axis == 1) continue; /* copies */
        const mn_stored *s = mn_checkpoint_find(m->checkpoint, row.name);
        const int64_t foreign = foreign_pages(&row, &s->view);
        MN_CHECK(foreign == 0, MN_ERR_DATA, "rank %d: %s: %lld pages of other ranks are in memory",
                 m->shard.rank, row.name, (long long)foreign);
        const uintptr_t own = (uintptr_t)row.weight->data;
        *looked_at += mapped_pages(own, own + mn_tensor_bytes(row.weight)) * PAGE;
    }
    return MN_OK;
}

/* What `mneme plan` says of this rank: the same layout on a device that only counts. */
static mn_status check_plan(const mn_model *m) {
    mn_device *counting = NULL;
    mn_model *outline = NULL;
    mn_status st = MN_OK;
    MN_GOTO(mn_tally_open(&counting, MN_TALLY_CPU));
    MN_GOTO(mn_model_outline(&outline, &m->config, "13b", MN_F16, counting, m->tp));
    MN_CHECK_GOTO(outline->weights.size == m->weights.size, MN_ERR_DATA,
                  "an arena of %zu bytes, the plan has %zu", m->weights.size,
                  outline->weights.size);
done:
    mn_model_close(&outline);
    mn_device_close(&counting);
    return st;
}

static mn_status check_share(mn_model *m, const share *s) {
    const int64_t half = m->config.rotary_dims / 2, tables = 2 * m->config.max_positions * half * 4;
    const int64_t arena = (int64_t)m->weights.size, want = s->columns + s->vectors + tables;
    const int64_t rows = mn_binding_count(&m->config);
    int64_t opened = 0, looked_at = 0;
    for (int64_t i = 0; i < mn_checkpoint_count(m->checkpoint); i++) {
        const mn_tensor *t = &mn_checkpoint_at(m->checkpoint, i)->view;
        opened += mapped_pages((uintptr_t)t->data, (uintptr_t)t->data + mn_tensor_bytes(t)) * PAGE;
    }
    MN_TRY(check_numbers(m, &looked_at));
    printf(
        "rank %d of %d: %.3f GB used in the file, %.3f GB copied (arena %.3f GB); of the file in "
        "memory: %.3f GB when opened, %.3f GB when all was read, nothing of other ranks\n",
        m->shard.rank, RANKS, (double)s->in_file / GB, (double)(s->columns + s->vectors) / GB,
        (double)arena / GB, (double)opened / GB, (double)looked_at / GB);
    fflush(stdout);
    MN_CHECK(arena >= want && arena < want + 64 * 1024, MN_ERR_DATA,
             "an arena of %lld bytes, not %lld", (long long)arena, (long long)want);
    MN_TRY(check_plan(m));
    /* Vectors, which all have, with their neighbours. */
    MN_CHECK(opened >= 0 && opened <= rows * BORDER, MN_ERR_DATA,
             "%lld bytes of the file are in memory when it is opened", (long long)opened);
    /* A system without enough memory takes some back at once. */
    MN_CHECK(looked_at > s->in_file / 2 && looked_at <= s->in_file + rows * 2 * PAGE, MN_ERR_DATA,
             "%lld bytes of the file looked at, %lld are this rank's", (long long)looked_at,
             (long long)s->in_file);
    return MN_OK;
}

static mn_status rank_main(mn_comm *comm, void *context) {
    mn_status st = MN_OK;
    mn_device *device = NULL;
    mn_model *m = NULL;
    MN_GOTO(mn_device_open(&device, "cpu", 1));
    MN_GOTO(mn_model_open(&m, context, device, comm));
    for (int turn = 0; turn < RANKS; turn++) {
        if (turn == mn_comm_rank(comm)) {
            const share s = share_of(m);
            st = check_share(m, &s);
            mn_model_close(&m); /* makes room for the next */
        }
        MN_GOTO(mn_comm_agree(comm, st));
    }
done:
    mn_model_close(&m);
    mn_device_close(&device);
    return st;
}

static void test_13b(void **state) {
    const mn_test_path dir = mn_test_tmpdir();
    struct statvfs disk;
    mn_model_config c;
    (void)state;
    MN_ASSERT_OK(mn_model_config_named(&c, "llama-2-13b"));
    assert_int_equal(statvfs(dir.text, &disk), 0);
    if ((double)disk.f_bavail * (double)disk.f_frsize < 30 * GB) {
        print_message("%s: 30 GB of disk are not there\n", dir.text);
        mn_test_rmdir(dir.text);
        skip();
    }
    mn_test_puts(mn_test_join(dir.text, "config.json").text, config);
    mn_status st = write_model(mn_test_join(dir.text, "model.safetensors").text, &c);
    if (st == MN_OK) st = mn_comm_threads(RANKS, TIMEOUT, rank_main, (void *)(uintptr_t)dir.text);
    mn_test_rmdir(dir.text); /* before anything fails: it is large */
    MN_ASSERT_OK(st);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_13b)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

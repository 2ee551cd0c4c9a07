/* test_slices_errors_dist.c - what is wrong with a model that ranks share, said on all of them alike and in the words
 * of the whole. Ranks are threads. */
#include "test_slices.h"

static mn_status only_opens(mn_comm *comm, void *context) {
    const job *j = context;
    rank_bench b = {0};
    mn_status st = open_device(&b, j, 1);
    if (st == MN_OK) st = mn_model_open(&b.model, j->dir, b.device, comm);
    close_rank(&b);
    return st;
}

/* A model whose tensor `name` has another last axis (`cut`), or a NaN in element `bad`, or neither: it is missing. */
static mn_test_path damaged(const char *from, const char *name, int64_t cut, int64_t bad) {
    const mn_test_path dir = mn_test_tmpdir();
    mn_checkpoint *all = NULL;
    mn_stored tensors[64];
    int64_t count = 0;
    size_t len;
    float *copy = NULL;
    MN_ASSERT_OK(mn_checkpoint_open(&all, golden(from).text));
    for (int64_t i = 0; i < mn_checkpoint_count(all); i++) {
        mn_stored *t = &tensors[count++];
        *t = *mn_checkpoint_at(all, i);
        if (strcmp(t->name, name) != 0) continue;
        if (cut) t->view.shape[t->view.ndim - 1] -= cut;
        else if (bad < 0) count--;
        else {
            assert_int_equal(t->view.dtype, MN_F32);
            copy = malloc(mn_tensor_bytes(&t->view));
            assert_non_null(copy);
            memcpy(copy, t->view.data, mn_tensor_bytes(&t->view));
            const uint32_t nan = 0x7fc00000;
            memcpy(&copy[bad], &nan, sizeof nan);
            t->view.data = copy;
        }
    }
    MN_ASSERT_OK(mn_safetensors_write(mn_test_join(dir.text, "model.safetensors").text, tensors,
                                      count, NULL));
    char *config = mn_test_read(mn_test_join(golden(from).text, "config.json").text, &len);
    mn_test_write(mn_test_join(dir.text, "config.json").text, config, len);
    free(config);
    free(copy);
    mn_checkpoint_close(&all);
    return dir;
}

#define LAYER1 "gpt_neox.layers.1."

static void test_bad_files(void **state) {
    static const struct {
        const char *name;
        int64_t cut, bad;
        mn_status status;
        const char *message;
    } cases[] = {
        {LAYER1 "mlp.dense_h_to_4h.weight", 0, -1, MN_ERR_DATA,
         "tensor " LAYER1 "mlp.dense_h_to_4h.weight (256, 64) is missing"},
        {LAYER1 "mlp.dense_4h_to_h.weight", 6, 0, MN_ERR_DATA,
         "tensor " LAYER1
         "mlp.dense_4h_to_h.weight has shape (64, 250), config.json needs (64, 256)"},
        /* 192 rows on four ranks: number 150 is the last one's */
        {LAYER1 "attention.query_key_value.bias", 0, 150, MN_ERR_NUMERIC,
         "model.safetensors: tensor " LAYER1 "attention.query_key_value.bias: element 150 is nan"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const mn_test_path dir = damaged("neox-parallel", cases[i].name, cases[i].cut,
                                         cases[i].bad);
        job j = {.dir = dir.text};
        MN_ASSERT_FAILS(mn_comm_threads(4, TIMEOUT, only_opens, &j), cases[i].status,
                        cases[i].message);
        mn_test_rmdir(dir.text);
    }
}

/* A broken matrix is not seen when it is opened; asked for it, every rank gives the same answer. */
static mn_status names_broken(mn_comm *comm, void *context) {
    const job *j = context;
    rank_bench b = {0};
    mn_error_record mine, all[MOST];
    mn_status st = MN_OK;
    MN_GOTO(open_device(&b, j, 1));
    MN_GOTO(mn_model_open(&b.model, j->dir, b.device, comm));
    memset(&mine, 0, sizeof mine);
    const mn_status found = mn_model_check_finite(b.model);
    mn_error_save(&mine);
    MN_CHECK_GOTO(found == MN_ERR_NUMERIC, MN_ERR_DATA, "the broken weight was not found");
    MN_GOTO(mn_comm_all_gather(comm, all, &mine, sizeof mine));
    for (int r = 0; r < mn_comm_size(comm); r++)
        MN_CHECK_GOTO(strcmp(all[r].text, mine.text) == 0, MN_ERR_DATA, "rank %d says: %s", r,
                      all[r].text);
    st = mn_error_restore(&mine);
done:
    close_rank(&b);
    return st;
}

static void test_broken_weight(void **state) {
    static const struct {
        const char *name;
        int64_t bad;
        const char *rank;
    } cases[] = {
        {LAYER1 "mlp.dense_h_to_4h.weight", 255 * 64 + 63, "rank 3"},
        {LAYER1 "mlp.dense_4h_to_h.weight", 5 * 256 + 64, "rank 1"}, /* columns 64 to 127 */
        {"embed_out.weight", 81 * 64, "rank 2"},                     /* words 80 to 119 */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const mn_test_path dir = damaged("neox-parallel", cases[i].name, 0, cases[i].bad);
        char message[256];
        job j = {.dir = dir.text};
        snprintf(message, sizeof message, "model.safetensors: tensor %s: element %lld is nan",
                 cases[i].name, (long long)cases[i].bad);
        MN_ASSERT_FAILS(mn_comm_threads(4, TIMEOUT, names_broken, &j), MN_ERR_NUMERIC, message);
        assert_non_null(strstr(mn_error(), cases[i].rank));
        mn_test_rmdir(dir.text);
    }
}

static void test_bad_ranks(void **state) {
    static const struct {
        const char *name;
        int ranks;
        const char *message;
    } cases[] = {
        {"neox-parallel", 3, "3 ranks cannot share a model with 4 heads"},
        {"llama-gqa", 3, "3 ranks cannot share 2 key-value heads"},
        {"llama-gqa", 4, "4 ranks cannot share a model with 6 heads"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const mn_test_path dir = golden(cases[i].name);
        job j = {.dir = dir.text};
        MN_ASSERT_FAILS(mn_comm_threads(cases[i].ranks, TIMEOUT, only_opens, &j), MN_ERR_USAGE,
                        cases[i].message);
    }
}

static mn_status creates(mn_comm *comm, void *context) {
    const job *j = context;
    const mn_memory_options o = {.name = "shared", .hidden = j->hidden, .from = 0, .to = 1};
    rank_bench b = {0};
    mn_status st = MN_OK;
    MN_GOTO(open_device(&b, j, 1));
    MN_GOTO(mn_model_open(&b.model, j->dir, b.device, comm));
    st = mn_memory_create(&b.memory, b.model, &o);
done:
    close_rank(&b);
    return st;
}

static void test_bad_memory(void **state) {
    const mn_test_path dir = golden("neox-parallel");
    job j = {.dir = dir.text, .hidden = 3};
    (void)state;
    MN_ASSERT_FAILS(mn_comm_threads(4, TIMEOUT, creates, &j), MN_ERR_USAGE,
                    "memory shared: 4 ranks cannot share 3 hidden units: each needs one");
    j.hidden = 4;
    MN_ASSERT_OK(mn_comm_threads(4, TIMEOUT, creates, &j));
}

/* Rank 0 writes; the others hear that it could not. */
static mn_status cannot_save(mn_comm *comm, void *context) {
    const job *j = context;
    rank_bench b = {0};
    mn_status st = MN_OK;
    MN_GOTO(open_device(&b, j, 1));
    MN_GOTO(mn_model_open(&b.model, j->dir, b.device, comm));
    const mn_status saved = mn_model_save(b.model, j->other, MN_F32);
    const bool named = saved == MN_ERR_IO && strstr(mn_error(), j->other) != NULL;
    int64_t all = named;
    MN_GOTO(mn_comm_all_reduce(comm, &all, 1, MN_COMM_I64, MN_COMM_SUM));
    MN_CHECK_GOTO(all == mn_comm_size(comm), MN_ERR_DATA, "%lld ranks know: %s", (long long)all,
                  mn_error());
done:
    close_rank(&b);
    return st;
}

static void test_cannot_save(void **state) {
    const mn_test_path dir = mn_test_tmpdir(), model = golden("llama-mha");
    const mn_test_path file = mn_test_join(dir.text, "a file"),
                       below = mn_test_join(file.text, "x");
    job j = {.dir = model.text, .other = below.text};
    (void)state;
    mn_test_puts(file.text, "not a folder");
    MN_ASSERT_OK(mn_comm_threads(4, TIMEOUT, cannot_save, &j));
    mn_test_rmdir(dir.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_files),     cmocka_unit_test(test_bad_ranks),
        cmocka_unit_test(test_broken_weight), cmocka_unit_test(test_bad_memory),
        cmocka_unit_test(test_cannot_save),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

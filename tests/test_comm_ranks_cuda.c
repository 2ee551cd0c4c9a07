/* test_comm_ranks_cuda.c - collectives between GPUs, ranks as threads with a device each: what they compute, that they take
 * their turn among the kernels, and how every rank learns that another is gone. On a real GPU there must be as many as
 * ranks, or the test is skipped; failures are planted in the simulated ones alone. */
#include "check.h"
#include "mneme/comm.h"
#include "mneme/log.h"

#include <dlfcn.h>
#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE = 300 }; /* seconds; only those tests wait for it that set another */

#define WANT(cond)                                                                                 \
    MN_CHECK(cond, MN_ERR_DATA, "%s:%d: rank %d of %d: %s", __func__, __LINE__,                    \
             mn_comm_rank(comm), mn_comm_size(comm), #cond)

static int devices; /* that are there */
static struct {     /* of the simulated runtime; NULL on a real GPU */
    int (*option)(const char *name, long long value);
    int (*count)(void);
    const char *(*report)(int i, int *is_error, uint64_t *times);
    void (*clear)(void);
} simulated;

static void want_devices(int count) {
    if (devices >= count) return;
    print_message("skipped: %d GPUs are needed, %d found\n", count, devices);
    skip();
}

static void want_simulated(void) {
    if (simulated.option) return;
    print_message("skipped: failures are planted in simulated GPUs only\n");
    skip();
}

/* A rank's device with a row of `n` floats on it. */
typedef struct rank_row {
    mn_device *device;
    float *host;
    mn_tensor x;
} rank_row;

static mn_status row_open(rank_row *row, mn_comm *comm, int index, int64_t n) {
    char spec[16];
    snprintf(spec, sizeof spec, "cuda:%d", index);
    *row = (rank_row){0};
    MN_TRY(mn_device_open(&row->device, spec, 1));
    MN_TRY(mn_comm_attach(comm, row->device));
    row->host = calloc((size_t)n + 1, sizeof *row->host);
    MN_CHECK(row->host, MN_ERR_MEMORY, "no memory");
    row->x = mn_tensor_1d(NULL, MN_F32, n);
    return row->device->alloc(row->device, &row->x.data, (size_t)(n + 1) * sizeof *row->host);
}

static void row_close(rank_row *row) {
    if (row->x.data) row->device->release(row->device, row->x.data, 0);
    mn_device_close(&row->device);
    free(row->host);
}

static mn_status up(rank_row *row) {
    return row->device->upload(row->device, row->x.data, row->host, mn_tensor_bytes(&row->x));
}
static mn_status down(rank_row *row) {
    return row->device->download(row->device, row->host, row->x.data, mn_tensor_bytes(&row->x));
}

/* ---- What is computed ---- */

/* Numbers whose sum depends on the order. */
static float number_of(int rank, int64_t i) {
    const float big = rank % 3 == 0 ? 1e7f : rank % 3 == 1 ? -1e7f : 1.0f / 1024;
    return big * (float)(1 + i % 13) + (float)rank / 64;
}

/* Within the roundings of any order of the ranks, the same bits everywhere. */
static mn_status sum_of(mn_comm *comm, rank_row *row) {
    const int64_t n = row->x.shape[0];
    const int size = mn_comm_size(comm);
    for (int64_t i = 0; i < n; i++) row->host[i] = number_of(mn_comm_rank(comm), i);
    MN_TRY(up(row));
    MN_TRY(mn_comm_reduce_tensor(comm, row->device, &row->x, MN_COMM_SUM));
    MN_TRY(down(row));
    for (int64_t i = 0; i < n; i++) {
        double sum = 0, scale = 0;
        for (int r = 0; r < size; r++) {
            sum += (double)number_of(r, i);
            scale += fabs((double)number_of(r, i));
        }
        WANT(fabs((double)row->host[i] - sum) <= scale * size * 0x1p-24);
    }
    const size_t bytes = mn_tensor_bytes(&row->x);
    unsigned char *all = malloc((size_t)size * bytes + 1);
    MN_CHECK(all, MN_ERR_MEMORY, "no memory");
    mn_status st = mn_comm_all_gather(comm, all, row->host, bytes);
    for (int r = 1; r < size && st == MN_OK; r++)
        if (memcmp(all, all + (size_t)r * bytes, bytes) != 0)
            st = mn_fail(MN_ERR_DATA, "rank %d has other bits than rank 0", r);
    free(all);
    return st;
}

/* Both signs of zero and of infinity, and a NaN, which wins wherever it comes from. */
static mn_status maximum_of(mn_comm *comm, rank_row *row) {
    const int64_t n = row->x.shape[0];
    const int rank = mn_comm_rank(comm), last = mn_comm_size(comm) - 1;
    for (int64_t i = 0; i < n; i++)
        row->host[i] = i % 5 == 0   ? -1.5f - (float)rank
                       : i % 5 == 1 ? (rank == last ? 2.5f : -INFINITY)
                       : i % 5 == 2 ? (rank == 0 ? copysignf(NAN, -1) : INFINITY)
                       : i % 5 == 3 ? (rank == last ? NAN : 1)
                                    : (rank == 0 ? -0.0f : -1e-40f);
    MN_TRY(up(row));
    MN_TRY(mn_comm_reduce_tensor(comm, row->device, &row->x, MN_COMM_MAX));
    MN_TRY(down(row));
    for (int64_t i = 0; i < n; i++)
        WANT(i % 5 == 0   ? row->host[i] == -1.5f
             : i % 5 == 1 ? row->host[i] == 2.5f
             : i % 5 == 4 ? row->host[i] == 0 && signbit(row->host[i])
                          : isnan(row->host[i]));
    return MN_OK;
}

/* Kernels before and behind, nothing waits between them: x = 2 (sum of 2 x). */
static mn_status takes_its_turn(mn_comm *comm, rank_row *row) {
    const int64_t n = row->x.shape[0];
    mn_device *dev = row->device;
    float *x = row->x.data;
    for (int64_t i = 0; i < n; i++) row->host[i] = (float)(mn_comm_rank(comm) + i % 100);
    MN_TRY(up(row));
    MN_TRY(dev->k->add(dev->stream, x, x, n));
    MN_TRY(mn_comm_reduce_tensor(comm, dev, &row->x, MN_COMM_SUM));
    MN_TRY(dev->k->add(dev->stream, x, x, n));
    MN_TRY(down(row));
    const int size = mn_comm_size(comm);
    for (int64_t i = 0; i < n; i++)
        WANT(row->host[i] == (float)(4 * (size * (size - 1) / 2 + size * (i % 100))));
    return MN_OK;
}

/* fp16 numbers, 3 of each rank: two bytes that need not be a multiple of anything. */
static mn_status gathered(mn_comm *comm, rank_row *row) {
    enum { EACH = 3 };
    const int size = mn_comm_size(comm), rank = mn_comm_rank(comm);
    uint16_t mine[EACH], *all = calloc((size_t)size, sizeof mine);
    void *from = NULL, *to = NULL;
    mn_device *dev = row->device;
    mn_status st = MN_OK;
    MN_CHECK_GOTO(all, MN_ERR_MEMORY, "no memory");
    for (int i = 0; i < EACH; i++) mine[i] = (uint16_t)(100 * rank + i);
    MN_GOTO(dev->alloc(dev, &from, sizeof mine));
    MN_GOTO(dev->alloc(dev, &to, (size_t)size * sizeof mine));
    MN_GOTO(dev->upload(dev, from, mine, sizeof mine));
    const mn_tensor x = mn_tensor_1d(from, MN_F16, EACH);
    mn_tensor out = mn_tensor_2d(to, MN_F16, size, EACH);
    MN_GOTO(mn_comm_gather_tensor(comm, dev, &out, &x));
    MN_GOTO(dev->download(dev, all, to, (size_t)size * sizeof mine));
    for (int i = 0; i < size * EACH; i++)
        MN_CHECK_GOTO(all[i] == 100 * (i / EACH) + i % EACH, MN_ERR_DATA, "place %d holds %d", i,
                      all[i]);
done:
    if (from) dev->release(dev, from, sizeof mine);
    if (to) dev->release(dev, to, 0);
    free(all);
    return st;
}

static mn_status everything(mn_comm *comm, void *context) {
    static const int64_t sizes[] = {1, 3, 257, 40000};
    (void)context;
    mn_status st = MN_OK;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && st == MN_OK; i++) {
        rank_row row;
        st = row_open(&row, comm, mn_comm_rank(comm), sizes[i]);
        if (st == MN_OK) st = sum_of(comm, &row);
        if (st == MN_OK) st = maximum_of(comm, &row);
        if (st == MN_OK) st = takes_its_turn(comm, &row);
        if (st == MN_OK) st = gathered(comm, &row);
        row_close(&row); /* the next device is attached anew */
    }
    return st;
}

static void collectives_between_two_and_four_devices(void **state) {
    (void)state;
    for (int size = 2; size <= 4; size += 2) {
        want_devices(size);
        MN_ASSERT_OK(mn_comm_threads(size, PATIENCE, everything, NULL));
    }
}

/* Groups inside of the world share a rank's device: 2 x 2, a sum along each side. */
static mn_status both_sides(mn_comm *comm, void *context) {
    (void)context;
    mn_status st = MN_OK;
    mn_comm *tp = NULL, *dp = NULL;
    rank_row row = {0};
    const int rank = mn_comm_rank(comm);
    MN_GOTO(mn_comm_split(&tp, comm, rank / 2));
    MN_GOTO(mn_comm_split(&dp, comm, rank % 2));
    MN_GOTO(row_open(&row, tp, rank, 5));
    MN_GOTO(mn_comm_attach(dp, row.device));
    for (int i = 0; i < 5; i++) row.host[i] = (float)(1 << (4 * rank));
    MN_GOTO(up(&row));
    MN_GOTO(mn_comm_reduce_tensor(tp, row.device, &row.x, MN_COMM_SUM));
    MN_GOTO(mn_comm_reduce_tensor(dp, row.device, &row.x, MN_COMM_SUM));
    MN_GOTO(down(&row));
    for (int i = 0; i < 5; i++)
        MN_CHECK_GOTO(row.host[i] == 0x1111, MN_ERR_DATA, "rank %d: %g", rank, (double)row.host[i]);
done:
    row_close(&row);
    mn_comm_close(&dp);
    mn_comm_close(&tp);
    return st;
}

static void groups_in_the_world_share_a_device(void **state) {
    (void)state;
    want_devices(4);
    MN_ASSERT_OK(mn_comm_threads(4, PATIENCE, both_sides, NULL));
}

/* ---- What goes wrong: every rank keeps what it was told ---- */

typedef struct told {
    char text[4][MN_ERROR_MAX];
    int what;         /* rank 1 does */
    atomic_bool over; /* for rank 0 */
} told;

static mn_status keep(told *t, mn_comm *comm, mn_status st) {
    snprintf(t->text[mn_comm_rank(comm)], MN_ERROR_MAX, "%s",
             st == MN_OK ? "no error" : mn_error());
    return st;
}

static void assert_told(const told *t, int rank, const char *part) {
    if (!strstr(t->text[rank], part))
        fail_msg("rank %d was told '%s', not '%s'", rank, t->text[rank], part);
}

static mn_status same_device(mn_comm *comm, void *context) {
    mn_device *device = NULL;
    MN_TRY(mn_device_open(&device, mn_comm_rank(comm) == 1 ? "cuda:1" : "cuda:0", 1));
    const mn_status st = keep(context, comm, mn_comm_attach(comm, device));
    mn_device_close(&device);
    return st;
}

static void two_ranks_on_one_gpu_are_refused_by_name(void **state) {
    (void)state;
    told t = {0};
    want_devices(2);
    MN_ASSERT_FAILS(mn_comm_threads(3, PATIENCE, same_device, &t), MN_ERR_USAGE,
                    "every rank needs");
    for (int r = 0; r < 3; r++) {
        assert_told(&t, r, "ranks 0 and 2 (");
        assert_told(&t, r, ") are on one GPU, GPU-");
        assert_told(&t, r, " as cuda:0 and cuda:0");
    }
}

/* Sums until one fails, or a download does. The group is broken then: the next calls say the same, and nothing hangs
 * when memory and device go. */
static mn_status sums(mn_comm *comm, told *t, rank_row *row, int calls) {
    mn_status st = MN_OK;
    for (int i = 0; i < calls && st == MN_OK; i++)
        st = mn_comm_reduce_tensor(comm, row->device, &row->x, MN_COMM_SUM);
    if (st == MN_OK) st = down(row);
    keep(t, comm, st);
    if (st == MN_OK) return MN_OK;
    mn_error_record first;
    mn_error_save(&first);
    WANT(mn_comm_reduce_tensor(comm, row->device, &row->x, MN_COMM_SUM) == MN_ERR_COMM);
    WANT(strcmp(mn_error(), first.text) == 0);
    WANT(down(row) == MN_ERR_COMM);
    WANT(mn_comm_barrier(comm) == MN_ERR_COMM);
    return mn_error_restore(&first);
}

static mn_status planted(mn_comm *comm, void *context) {
    rank_row row;
    MN_TRY(row_open(&row, comm, mn_comm_rank(comm), 1024));
    const mn_status st = sums(comm, context, &row, 3);
    row_close(&row);
    return st;
}

static void an_asynchronous_error_ends_all_ranks(void **state) {
    (void)state;
    told t = {0};
    want_devices(2);
    want_simulated();
    simulated.option("nccl_fail", 2);
    MN_ASSERT_FAILS(mn_comm_threads(2, PATIENCE, planted, &t), MN_ERR_COMM, "remote error");
    simulated.option("nccl_fail", 0);
    for (int r = 0; r < 2; r++) {
        assert_told(&t, r, "reduce_tensor of 4096 bytes: rank ");
        assert_told(&t, r, "): NCCL, sum of 4096 bytes: remote error");
    }
    assert_int_equal(simulated.count(), 0);
}

/* Rank 1 does something else: it comes to no sum (0), gives up (1), or brings fewer numbers (2). */
static mn_status one_is_different(mn_comm *comm, void *context) {
    told *t = context;
    rank_row row;
    mn_status st = row_open(&row, comm, mn_comm_rank(comm), 1024);
    if (st == MN_OK && mn_comm_rank(comm) == 1 && t->what == 2) row.x.shape[0] = 1000;
    if (st == MN_OK && (mn_comm_rank(comm) == 0 || t->what == 2)) {
        st = sums(comm, t, &row, 1);
        t->over = true;
    } else if (st == MN_OK && t->what == 1) {
        st = mn_fail(MN_ERR_IO, "prepared/x: the disk is full");
        mn_comm_abort(comm); /* before the device closes, which would wait for rank 0 */
    } else if (st == MN_OK) {
        while (!t->over) usleep(1000);
    }
    row_close(&row);
    if (t->what == 1 && mn_comm_rank(comm) == 1) keep(t, comm, st); /* as it was */
    return st;
}

static void a_rank_that_does_not_come_is_given_up(void **state) {
    (void)state;
    told t = {.what = 0};
    want_devices(2);
    const double begun = mn_now();
    MN_ASSERT_FAILS(mn_comm_threads(2, 1, one_is_different, &t), MN_ERR_COMM,
                    "not done within 1 s");
    assert_true(mn_now() - begun < 60);
    assert_told(&t, 0, "reduce_tensor of 4096 bytes: rank 0 (");
    assert_told(&t, 0, "): NCCL, sum of 4096 bytes: not done within 1 s");
}

static void a_rank_that_gives_up_ends_the_wait(void **state) {
    (void)state;
    told t = {.what = 1};
    want_devices(2);
    const double begun = mn_now();
    const mn_status st = mn_comm_threads(2, PATIENCE, one_is_different, &t);
    assert_true(st == MN_ERR_IO || st == MN_ERR_COMM); /* of the rank that is back first */
    assert_non_null(strstr(mn_error(), "disk is full"));
    assert_true(mn_now() - begun < PATIENCE / 2.0);
    assert_string_equal(t.text[1], "prepared/x: the disk is full");
    assert_told(&t, 0, "reduce_tensor of 4096 bytes: rank 1 (");
    assert_told(&t, 0, "): prepared/x: the disk is full");
}

static void different_counts_are_seen(void **state) {
    (void)state;
    told t = {.what = 2};
    want_devices(2);
    want_simulated();
    MN_ASSERT_FAILS(mn_comm_threads(2, PATIENCE, one_is_different, &t), MN_ERR_COMM,
                    "invalid usage");
    assert_int_equal(simulated.count(), 1);
    assert_non_null(strstr(simulated.report(0, NULL, NULL), "counts 1024 and 1000"));
    simulated.clear();
}

static void a_device_must_be_attached(void **state) {
    (void)state;
    mn_device *device = NULL;
    want_devices(1);
    MN_ASSERT_OK(mn_device_open(&device, "cuda:0", 1));
    mn_tensor x = mn_tensor_1d(NULL, MN_F32, 0);
    MN_ASSERT_OK(mn_comm_attach(NULL, device)); /* one rank needs nothing */
    MN_ASSERT_OK(mn_comm_reduce_tensor(NULL, device, &x, MN_COMM_SUM));
    mn_device_close(&device);
}

/* This program again, with a libnccl that is none in front of its library path. */
static mn_status lacks_nccl(mn_comm *comm, void *context) {
    mn_device *device = NULL;
    (void)context;
    MN_TRY(mn_device_open(&device, mn_comm_rank(comm) ? "cuda:1" : "cuda:0", 1));
    const mn_status st = mn_comm_attach(comm, device);
    mn_device_close(&device);
    return st;
}

static int without_nccl(void) {
    const mn_status st = mn_comm_threads(2, PATIENCE, lacks_nccl, NULL);
    if (st == MN_ERR_UNSUPPORTED && strstr(mn_error(), "package libnccl2")) return 0;
    fprintf(stderr, "without NCCL: %d, %s\n", (int)st, mn_error());
    return 1;
}

static void without_nccl_the_package_is_named(void **state) {
    (void)state;
    want_devices(2);
    const mn_test_path dir = mn_test_tmpdir();
    const char *path = getenv("LD_LIBRARY_PATH");
    char paths[4096];
    mn_test_puts(mn_test_join(dir.text, "libnccl.so.2").text, "no library");
    snprintf(paths, sizeof paths, "%s:%s", dir.text, path ? path : "");
    const pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("LD_LIBRARY_PATH", paths, 1);
        execl("/proc/self/exe", "test_comm_ranks_cuda", "without_nccl", (char *)NULL);
        _exit(127);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    mn_test_rmdir(dir.text);
    assert_int_equal(status, 0);
}

static void find_devices(void) {
    mn_cuda_state found;
    if (mn_cuda_probe(&found)) devices = found.devices;
    else print_message("no CUDA device: %s\n", found.why);
    void *runtime = dlopen("libcudart.so.13", RTLD_LAZY | RTLD_NOLOAD);
    if (!runtime) return;
    *(void **)&simulated.option = dlsym(runtime, "sg_option");
    *(void **)&simulated.count = dlsym(runtime, "sg_report_count");
    *(void **)&simulated.report = dlsym(runtime, "sg_report");
    *(void **)&simulated.clear = dlsym(runtime, "sg_clear_reports");
}

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "without_nccl") == 0) return without_nccl();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(collectives_between_two_and_four_devices),
        cmocka_unit_test(groups_in_the_world_share_a_device),
        cmocka_unit_test(two_ranks_on_one_gpu_are_refused_by_name),
        cmocka_unit_test(an_asynchronous_error_ends_all_ranks),
        cmocka_unit_test(a_rank_that_does_not_come_is_given_up),
        cmocka_unit_test(a_rank_that_gives_up_ends_the_wait),
        cmocka_unit_test(different_counts_are_seen),
        cmocka_unit_test(a_device_must_be_attached),
        cmocka_unit_test(without_nccl_the_package_is_named),
    };
    find_devices();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

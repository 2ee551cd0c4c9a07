/* test_core_device.c - the registry of devices, a device's memory, arenas. */
#include "mneme/device.h"

#include "check.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Devices ------------------------------------------------------------------------------------ */

static void devices_open_by_name(void **state) {
    (void)state;
    static const char *const names[] = {"cpu", "auto"}; /* no GPU: main() hides the backend */
    mn_device *dev = NULL;
    for (int i = 0; i < 2; i++) {
        MN_ASSERT_OK(mn_device_open(&dev, names[i], 3));
        assert_string_equal(dev->name, "cpu");
        assert_int_equal(dev->threads, 3);
        assert_true(dev->host_memory);
        assert_memory_equal(dev->description, "cpu: 3 threads, ", 16);
        mn_device_close(&dev);
        assert_null(dev);
        mn_device_close(&dev);
    }
    MN_ASSERT_OK(mn_device_open(&dev, "cpu", 0)); /* what this process may use */
    assert_true(dev->threads >= 1);
    mn_device_close(&dev);
    dev = (mn_device *)1;
    MN_ASSERT_FAILS(mn_device_open(&dev, "tpu", 1), MN_ERR_USAGE, "device 'tpu' is unknown");
    assert_null(dev);
}

static void cuda_says_why_it_cannot_be_used(void **state) {
    (void)state;
    static const char *const malformed[] = {"cuda:",      "cuda:a", "cuda:-1",
                                            "cuda:12345", "cudas",  "Cpu"};
    mn_device *dev = (mn_device *)1;
    mn_cuda_state found;
    char text[64];
    for (size_t i = 0; i < sizeof malformed / sizeof *malformed; i++) {
        MN_ASSERT_FAILS(mn_device_check(malformed[i]), MN_ERR_USAGE, "is unknown; there are: auto");
        MN_ASSERT_FAILS(mn_device_open(&dev, malformed[i], 1), MN_ERR_USAGE, malformed[i]);
    }
    MN_ASSERT_OK(mn_device_check("cuda"));
    MN_ASSERT_OK(mn_device_check("cuda:15")); /* nothing is opened */
    MN_ASSERT_FAILS(mn_device_open(&dev, "cuda", 1), MN_ERR_UNSUPPORTED,
                    "no CUDA device: /no/such.so");
    assert_null(dev);
    MN_ASSERT_FAILS(mn_cuda_device_text(text, sizeof text, 0), MN_ERR_UNSUPPORTED, "/no/such.so");
    assert_false(mn_cuda_probe(&found));
    assert_int_equal(found.devices, 0);
    assert_string_equal(found.plugin, "/no/such.so");
    assert_non_null(strstr(found.why, "/no/such.so: cannot open"));
    setenv("MNEME_CUDA_PLUGIN", "libm.so.6", 1); /* a library, but no backend */
    assert_false(mn_cuda_probe(&found));
    assert_non_null(strstr(found.why, "mn_plugin_open"));
    setenv("MNEME_CUDA_PLUGIN", "/no/such.so", 1);
}

/* MNEME_CPU_ISA lowers the choice of kernels, never raises it. */
static void the_instruction_set_can_be_lowered(void **state) {
    (void)state;
    static const char *const isas[] = {"base", "avx2", "avx512"};
    const mn_kernels *tables[3];
    mn_device *dev = NULL;
    for (int i = 0; i < 3; i++) {
        setenv("MNEME_CPU_ISA", isas[i], 1);
        MN_ASSERT_OK(mn_device_open(&dev, "cpu", 1));
        tables[i] = dev->k;
        if (i == 0) assert_non_null(strstr(dev->description, "cpu: 1 thread, base, bf16 rounded"));
        mn_device_close(&dev);
    }
    unsetenv("MNEME_CPU_ISA");
    MN_ASSERT_OK(mn_device_open(&dev, "cpu", 1));
    assert_ptr_equal(dev->k, tables[2]); /* the best one, if nothing is said */
    mn_device_close(&dev);
}

static void device_memory_is_zeroed_and_aligned(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 63, 4096, 5000001};
    mn_device *dev = NULL;
    MN_ASSERT_OK(mn_device_open(&dev, "cpu", 1));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *memory = NULL;
        MN_ASSERT_OK(dev->alloc(dev, (void **)&memory, sizes[i]));
        assert_int_equal((uintptr_t)memory % 64, 0);
        size_t set = 0;
        for (size_t j = 0; j < sizes[i]; j++) set += memory[j] != 0;
        assert_int_equal(set, 0);
        unsigned char out[3] = {0};
        const size_t n = sizes[i] < 3 ? sizes[i] : 3;
        MN_ASSERT_OK(dev->upload(dev, memory + sizes[i] - n, "xyz", n));
        MN_ASSERT_OK(dev->download(dev, out, memory + sizes[i] - n, n));
        assert_memory_equal(out, "xyz", n);
        dev->release(dev, memory, sizes[i]);
    }
    void *none = NULL;
    MN_ASSERT_FAILS(dev->alloc(dev, &none, (size_t)1 << 60), MN_ERR_MEMORY, "no memory for 11529");
    assert_null(none);
    assert_true(dev->kv_bytes(1, 1, 1) >= sizeof(float));
    assert_true(dev->kv_bytes(1000, 7, 80) >= 1000 * 7 * 80 * sizeof(float));
    assert_true(dev->kv_bytes(INT32_MAX, 40, 128) / 40 / 128 >= INT32_MAX * sizeof(float));
    MN_ASSERT_OK(dev->reserve(dev, 1000, 3));
    MN_ASSERT_OK(dev->reserve(dev, 1, 10)); /* never less */
    mn_device_close(&dev);
}

/* ---- Arenas ------------------------------------------------------------------------------------- */

/* A device that counts, and fails when told to. */
typedef struct fake {
    mn_device device; /* first: its address is the fake's */
    int allocs, releases;
    size_t bytes;
    bool full;
} fake;

static mn_status fake_alloc(mn_device *device, void **out, size_t bytes) {
    fake *f = (fake *)(void *)device;
    if (f->full) return mn_fail(MN_ERR_MEMORY, "no memory for %zu bytes", bytes);
    f->allocs++;
    f->bytes = bytes;
    *out = aligned_alloc(64, (bytes + 63) / 64 * 64);
    assert_non_null(*out);
    return MN_OK;
}

static void fake_release(mn_device *device, void *memory, size_t bytes) {
    fake *f = (fake *)(void *)device;
    f->releases++;
    assert_int_equal(bytes, f->bytes);
    free(memory);
}

static fake fake_device(void) {
    return (fake){.device = {.alloc = fake_alloc, .release = fake_release}};
}

/* The layout that is first measured, then committed, then laid out again. */
static mn_status lay_out(mn_arena *arena, unsigned char *block[4]) {
    MN_TRY(mn_arena_alloc(arena, &block[0], 1));
    MN_TRY(mn_arena_alloc(arena, &block[1], 64));
    MN_TRY(mn_arena_alloc(arena, &block[2], 0));
    return mn_arena_alloc(arena, &block[3], 1000);
}

static void arenas_are_measured_then_allocated_once(void **state) {
    (void)state;
    fake f = fake_device();
    mn_arena arena;
    unsigned char *block[4] = {(unsigned char *)1, (unsigned char *)1, (unsigned char *)1, NULL};
    mn_arena_init(&arena, "step", &f.device);
    MN_ASSERT_OK(lay_out(&arena, block));
    for (int i = 0; i < 4; i++) assert_null(block[i]);
    assert_int_equal(f.allocs, 0);
    assert_int_equal(arena.used, 64 + 64 + 1024);
    MN_ASSERT_OK(mn_arena_commit(&arena));
    assert_true(f.allocs == 1 && f.bytes == 64 + 64 + 1024 && arena.used == 0);
    MN_ASSERT_OK(lay_out(&arena, block));
    assert_ptr_equal(block[0], arena.base);
    assert_ptr_equal(block[1], arena.base + 64);
    assert_ptr_equal(block[3], arena.base + 128);
    memset(block[3], 7, 1000);
    assert_int_equal(f.allocs, 1);
    unsigned char *more = NULL;
    MN_ASSERT_FAILS(mn_arena_alloc(&arena, &more, 1), MN_ERR_MEMORY,
                    "the step arena is planned for 1152 bytes, 1216 are wanted");
    assert_null(more);
    MN_ASSERT_OK(mn_arena_alloc(&arena, &more, 0)); /* nothing more fits, and nothing does */
    mn_arena_free(&arena);
    mn_arena_free(&arena);
    assert_true(f.releases == 1 && !arena.base && !arena.size && !arena.used);
    MN_ASSERT_OK(mn_arena_alloc(&arena, &more, 5)); /* measuring again */
    assert_null(more);
}

static void arenas_can_be_empty(void **state) {
    (void)state;
    fake f = fake_device();
    mn_arena arena;
    mn_arena_init(&arena, "prefix", &f.device);
    MN_ASSERT_OK(mn_arena_commit(&arena));
    mn_arena_free(&arena);
    assert_true(f.allocs == 1 && f.releases == 1);
    mn_arena_init(&arena, "prefix", &f.device);
    mn_arena_free(&arena); /* never committed */
    assert_int_equal(f.releases, 1);
}

static void a_full_device_is_named_with_the_arena(void **state) {
    (void)state;
    fake f = fake_device();
    mn_arena arena;
    unsigned char *block[4];
    f.full = true;
    mn_arena_init(&arena, "weights", &f.device);
    MN_ASSERT_OK(lay_out(&arena, block));
    MN_ASSERT_FAILS(mn_arena_commit(&arena), MN_ERR_MEMORY,
                    "the weights arena: no memory for 1152 bytes");
    assert_null(arena.base);
    mn_arena_free(&arena);
    assert_int_equal(f.releases, 0);
}

/* Sums of sizes that leave 64 bits are refused while measuring, wherever the limit is crossed. */
static void sizes_do_not_wrap_around(void **state) {
    (void)state;
    fake f = fake_device();
    for (size_t less = 0; less < 200; less++)
        for (size_t more = 0; more < 200; more += 7) {
            mn_arena arena;
            void *block = NULL;
            mn_arena_init(&arena, "huge", &f.device);
            const mn_status first = mn_arena_alloc(&arena, &block, SIZE_MAX - less);
            const size_t used = arena.used;
            if (first == MN_OK) assert_true(used >= SIZE_MAX - less);
            else assert_int_equal(used, 0);
            const mn_status second = mn_arena_alloc(&arena, &block, more);
            if (second == MN_OK && arena.used < used + more)
                fail_msg("SIZE_MAX - %zu and %zu bytes together are %zu", less, more, arena.used);
        }
}

int main(void) {
    setenv("MNEME_CUDA_PLUGIN", "/no/such.so", 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_open_by_name),
        cmocka_unit_test(cuda_says_why_it_cannot_be_used),
        cmocka_unit_test(the_instruction_set_can_be_lowered),
        cmocka_unit_test(device_memory_is_zeroed_and_aligned),
        cmocka_unit_test(arenas_are_measured_then_allocated_once),
        cmocka_unit_test(arenas_can_be_empty),
        cmocka_unit_test(a_full_device_is_named_with_the_arena),
        cmocka_unit_test(sizes_do_not_wrap_around),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

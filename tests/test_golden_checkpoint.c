/* test_golden_checkpoint.c - files that PyTorch and transformers wrote, sound ones and hostile ones. */
#include "check.h"

#include "mneme/checkpoint.h"
#include "mneme/half.h"
#include "mneme/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t fnv(uint64_t hash, const void *bytes, size_t len) {
    const unsigned char *at = bytes;
    for (size_t i = 0; i < len; i++) hash = (hash ^ at[i]) * UINT64_C(0x100000001b3);
    return hash;
}

/* Over "name dtype (shape)\n" and the bytes of every tensor, in the order of the names. */
static uint64_t digest(const mn_checkpoint *c) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (int64_t i = 0; i < mn_checkpoint_count(c); i++) {
        const mn_stored *t = mn_checkpoint_at(c, i);
        char shape[100], line[400];
        mn_shape_text(shape, sizeof shape, t->view.shape, t->view.ndim);
        snprintf(line, sizeof line, "%s %s %s\n", t->name, mn_dtype_name(t->view.dtype), shape);
        hash = fnv(hash, line, strlen(line));
        hash = fnv(hash, t->view.data, mn_tensor_bytes(&t->view));
    }
    return hash;
}

/* The digests were computed in Python: from torch.load for .bin, with json and slices for
 * safetensors. */
static const struct {
    const char *folder, *format;
    int64_t count;
    uint64_t digest;
} golden[] = {
    {"tests/golden/llama-bin", "pytorch", 21, UINT64_C(0x2475b3207dce8a20)},
    {"tests/golden/llama-gqa", "safetensors", 20, UINT64_C(0xc2bf2de3dd027e58)},
    {"tests/golden/llama-mha", "safetensors", 33, UINT64_C(0x4a47b2911be1b2e5)},
    {"tests/golden/neox-bf16", "safetensors", 28, UINT64_C(0xf151716360b31b0f)},
    {"tests/golden/neox-bin", "pytorch", 49, UINT64_C(0x941cbb1c5eec21f5)},
    {"tests/golden/neox-parallel", "safetensors", 40, UINT64_C(0x570badeeff3d4279)},
    {"tests/golden/neox-sequential", "safetensors", 39, UINT64_C(0xd271cab6f74f4700)},
};
enum { GOLDEN = sizeof golden / sizeof *golden };

static void test_golden_models(void **state) {
    (void)state;
    for (int i = 0; i < GOLDEN; i++) {
        mn_checkpoint *c = NULL;
        MN_ASSERT_OK(mn_checkpoint_open(&c, mn_test_source(golden[i].folder).text));
        assert_string_equal(mn_checkpoint_format(c), golden[i].format);
        assert_int_equal(mn_checkpoint_count(c), golden[i].count);
        assert_int_equal(digest(c), golden[i].digest);
        mn_checkpoint_close(&c);
        mn_checkpoint_close(&c);
    }
}

/* What the .bin reader finds, written as safetensors, is what the safetensors reader finds. */
static void test_both_readers_agree(void **state) {
    (void)state;
    const mn_test_path dir = mn_test_tmpdir();
    const mn_test_path path = mn_test_join(dir.text, "model.safetensors");
    for (int i = 0; i < GOLDEN; i++) {
        mn_checkpoint *from = NULL, *to = NULL;
        MN_ASSERT_OK(mn_checkpoint_open(&from, mn_test_source(golden[i].folder).text));
        MN_ASSERT_OK(mn_safetensors_write(path.text, mn_checkpoint_at(from, 0),
                                          mn_checkpoint_count(from), "{\"format\":\"pt\"}"));
        MN_ASSERT_OK(mn_checkpoint_open(&to, dir.text));
        assert_string_equal(mn_checkpoint_format(to), "safetensors");
        assert_int_equal(digest(to), golden[i].digest);
        mn_checkpoint_close(&to);
        mn_checkpoint_close(&from);
    }
    mn_test_rmdir(dir.text);
}

/* Element i of any dtype as a double. */
static double element(const mn_tensor *t, int64_t i) {
    union {
        uint8_t u8;
        uint16_t u16;
        int8_t i8;
        int16_t i16;
        int32_t i32;
        int64_t i64;
        float f32;
        double f64;
    } x = {0};
    const size_t size = mn_dtype_size(t->dtype);
    memcpy(&x, (const char *)t->data + (size_t)i * size, size);
    switch (t->dtype) {
    case MN_F32: return (double)x.f32;
    case MN_F16: return (double)mn_f16_to_f32(x.u16);
    case MN_BF16: return (double)mn_bf16_to_f32(x.u16);
    case MN_F64: return x.f64;
    case MN_I64: return (double)x.i64;
    case MN_I32: return (double)x.i32;
    case MN_I16: return (double)x.i16;
    case MN_I8: return (double)x.i8;
    case MN_U8:
    case MN_BOOL: return (double)x.u8;
    case MN_DTYPES: break;
    }
    fail_msg("dtype %d", (int)t->dtype);
    return 0;
}

static void check_tensor(const mn_json *doc, const mn_checkpoint *c, const cJSON *want) {
    const char *name, *dtype;
    const cJSON *list, *item;
    int64_t i = 0;
    MN_ASSERT_OK(mn_json_string(&name, doc, want, "name"));
    MN_ASSERT_OK(mn_json_string(&dtype, doc, want, "dtype"));
    const mn_stored *t = mn_checkpoint_find(c, name);
    assert_non_null(t);
    assert_string_equal(mn_dtype_name(t->view.dtype), dtype);
    MN_ASSERT_OK(mn_json_array(&list, doc, want, "shape"));
    assert_int_equal(t->view.ndim, cJSON_GetArraySize(list));
    cJSON_ArrayForEach(item, list) assert_true((double)t->view.shape[i++] == item->valuedouble);
    MN_ASSERT_OK(mn_json_array(&list, doc, want, "values"));
    assert_int_equal(mn_tensor_count(&t->view), cJSON_GetArraySize(list));
    i = 0;
    cJSON_ArrayForEach(item, list) assert_true(element(&t->view, i++) == item->valuedouble);
}

/* What the refusal of a hostile file must say, for those whose reason could be lost. */
static const struct {
    const char *file, *part;
} reasons[] = {
    {"bad-global-os-system.bin",
     "pickle byte 147: global os.system is not allowed in a model file"},
    {"bad-global-posix-system.bin", "global posix.system is not allowed in a model file"},
    {"bad-global-eval.bin", "global builtins.eval is not allowed"},
    {"bad-global-python2.bin", "global __builtin__.eval is not allowed"},
    {"bad-global-uncalled.bin", "global os.system is not allowed"},
    {"bad-global-near-name.bin", "global torch._utils._rebuild_tensor_v2x is not allowed"},
    {"bad-inst.bin", "opcode INST (0x69) is not allowed in a model file"},
    {"bad-extension.bin", "opcode EXT1 (0x82) is not allowed in a model file"},
    {"bad-unknown-opcode.bin", "(0xff) is not allowed in a model file"},
    {"bad-reduce-value.bin", "REDUCE: expected a global, found a string"},
    {"bad-storage-kind.bin", "global torch.load is not allowed"},
    {"bad-storage-missing.bin", "expected its storage '1' in the archive, found none"},
    {"bad-storage-path.bin", "expected its storage '../data/0' in the archive, found none"},
    {"bad-storage-short.bin", "expected 4 elements of 4 bytes, found 8 bytes"},
    {"bad-tensor-long.bin", "expected 5 elements from 0 on in storage '0', found 4"},
    {"bad-tensor-offset.bin", "expected 4 elements from 1 on in storage '0', found 4"},
    {"bad-tensor-offset-negative.bin", "elements from -"},
    {"bad-tensor-overflow.bin", "fewer than 2^63 elements"},
    {"bad-tensor-size-negative.bin", "expected sizes from 0 up"},
    {"bad-tensor-ranks.bin", "expected as many strides as sizes, found 1 and 2"},
    {"bad-tensor-stride.bin", "found strides (3, 1) for (2, 2)"},
    {"bad-memo-missing.bin", "memo entry 77 was never put"},
    {"bad-zip-truncated.bin", "is the file cut off?"},
    {"bad-zip-no-pickle.bin", "expected a PyTorch file with an entry <name>/data.pkl"},
    {"ok-legacy.bin", "torch.load"},
    {"ok-strided.bin", "tensor 'transposed': expected a contiguous tensor, found strides (1, 6)"},
};

static void check_refusal(const char *path, const char *file) {
    const char *part = NULL;
    mn_checkpoint *c = NULL;
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (strcmp(reasons[i].file, file) == 0) part = reasons[i].part;
    const mn_status st = mn_checkpoint_open_file(&c, path);
    if (st == MN_OK) fail_msg("%s was opened", path);
    assert_null(c);
    MN_ASSERT_FAILS(st, st == MN_ERR_UNSUPPORTED ? MN_ERR_UNSUPPORTED : MN_ERR_DATA, part);
    assert_memory_equal(mn_error(), path, strlen(path));
}

static void test_golden_pickles(void **state) {
    (void)state;
    mn_json *doc = NULL;
    const cJSON *row, *list, *want;
    const char *file;
    bool ok, optional;
    int good = 0, bad = 0;
    MN_ASSERT_OK(mn_json_load(&doc, mn_test_source("tests/golden/pickle/index.json").text));
    cJSON_ArrayForEach(row, doc->root) {
        mn_checkpoint *c = NULL;
        MN_ASSERT_OK(mn_json_string(&file, doc, row, "file"));
        MN_ASSERT_OK(mn_json_bool_or(&ok, doc, row, "ok", false));
        MN_ASSERT_OK(mn_json_bool_or(&optional, doc, row, "optional", false));
        const mn_test_path folder = mn_test_source("tests/golden/pickle");
        const mn_test_path path = mn_test_join(folder.text, file);
        if (!ok || strcmp(file, "ok-legacy.bin") == 0 || strcmp(file, "ok-strided.bin") == 0) {
            assert_true(!ok || optional);
            check_refusal(path.text, file);
            bad++;
            continue;
        }
        MN_ASSERT_OK(mn_checkpoint_open_file(&c, path.text));
        MN_ASSERT_OK(mn_json_array(&list, doc, row, "tensors"));
        assert_int_equal(mn_checkpoint_count(c), cJSON_GetArraySize(list));
        cJSON_ArrayForEach(want, list) check_tensor(doc, c, want);
        mn_checkpoint_close(&c);
        good++;
    }
    print_message("%s: %d sound files, %d refused\n", __func__, good, bad);
    assert_true(good >= 8 && bad >= 40);
    mn_json_close(&doc);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_models),
        cmocka_unit_test(test_both_readers_agree),
        cmocka_unit_test(test_golden_pickles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

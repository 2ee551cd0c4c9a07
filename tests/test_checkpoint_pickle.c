/* test_checkpoint_pickle.c - pickles that are wrong in one place each and what the refusal says; one
 * that holds all that is allowed; pickles made to exhaust stack, memory or time. */
#include "torch_file.h"

#include "mneme/checkpoint.h"

static mn_status open_pickle(mn_checkpoint **out, torch_file *a, const char *pickle, size_t len) {
    static const float values[4] = {1, 2, 3, 4};
    *a = (torch_file){0};
    torch_add(a, "m/data.pkl", pickle, len, 0);
    torch_add(a, "m/data/0", values, sizeof values, 0);
    torch_finish(a);
    return mn_checkpoint_open_memory(out, a->file.data, a->file.len, "m.bin");
}

static const struct {
    const char *pickle;
    size_t len;
    const char *part;
    mn_status status;
} refused[] = {
    {S(P "cos\nsystem\n(X\4\0\0\0true\205R."), "pickle byte 2: global os.system is not allowed",
     BAD},
    {S(P "ctorch.storage\nUntypedStorage\n."), "global torch.storage.UntypedStorage is not allowed",
     BAD},
    {S(P "ctorch.storage\n_load_from_bytes\n."), "global torch.storage._load_from_bytes is not",
     BAD},
    {S(P "ctorch\nUntypedStorage\n."), "global torch.UntypedStorage is not allowed in a model file",
     BAD},
    {S("\200\4\214\2os\214\6system\223."), "global os.system is not allowed in a model file", BAD},
    {S("\200\4K\1\214\6system\223."), "expected the name of a global, found an int and a string",
     BAD},
    {S(P "c\33[2J\nx\n."), "global ?[2J.x is not allowed", BAD},
    {S("\200\5}."), "expected protocol 2, 3 or 4 (0x80 0x02), found 0x80 0x05", NOT},
    {S("}."), "found 0x7d 0x2e", NOT},
    {S(P P "}."), "pickle byte 2: PROTO is expected at byte 0 only", BAD},
    {S(P "}2."), "opcode DUP (0x32) is not allowed", BAD},
    {S(P "}\216"), "opcode BINBYTES8 (0x8e) is not allowed", BAD},
    {S("\200\4\225\2\0\0\0\0\0\0\0."), "expected a frame of at most 1 bytes, found 2", BAD},
    {S(P "X\377\377\377\377."), "expected a string of at most 1 bytes, found 4294967295", BAD},
    {S(P "\215\0\0\0\0\0\0\0\200."), "at most 1 bytes, found 9223372036854775808", BAD},
    {S(P "\212\11\0\0\0\0\0\0\0\200\0."), "expected an int of 64 bits, found a longer one", BAD},
    {S(P "\212\377."), "expected 8 more bytes, found the end after 1", BAD},
    {S(P "}"), "pickle byte 3: expected 1 more bytes", BAD},
    {S(P "}."
         "."),
     "found 1 values, 0 marks, 1 bytes behind", BAD},
    {S(P "}}."), "expected STOP to end with one value, found 2 values", BAD},
    {S(P "."), "found 0 values", BAD},
    {S(P "}(."), "found 1 values, 1 marks", BAD},
    {S(P "}t."), "expected a mark, found none", BAD},
    {S(P "}(\205."), "expected 1 values on the stack, found 0",
     BAD}, /* the dict is below the mark */
    {S(P "}(K\1u."), "expected keys with values, found 1 items", BAD},
    {S(P "](K\1K\1u."), "expected a dict on the stack, found a list", BAD},
    {S(P "}K\1a."), "expected a list on the stack, found a dict", BAD},
    {S(P "}r\377\377\377\0."), "expected a memo index of at most 8, found 16777215", BAD},
    {S(P "}q\2h\1."), "memo entry 1 was never put", BAD},
    {S(P "}b."), "expected 1 values on the stack, found 0", BAD},
    {S(P "]."), "expected the pickle of a dict of tensors, found a list", BAD},
    {S(P "}K\1K\1s."), "expected a name for entry 0 of the state dict, found an int", BAD},
    {S(P "}X\12\0\0\0state_dict}s."),
     "entry 'state_dict' of the state dict: expected a tensor, found a "
     "dict",
     NOT},
    {S(P "}" TEXT1("w") "]s."), "entry 'w' of the state dict: expected a tensor, found a list",
     NOT},
    {S(P "}" TEXT1("w") ORDERED "s."), "expected a tensor, found a global", NOT},
    {S(P "}" TEXT1("w") FLOAT4 "s."), "expected a tensor, found a storage", NOT},
    {S(P "}}b."), "BUILD: expected an OrderedDict, found a dict", BAD},
    {S(P ORDERED ")R}X\10\0\0\0__dict__}sb."), "BUILD: expected the attribute _metadata alone",
     BAD},
    {S(P ORDERED ")R}b."), "BUILD: expected the attribute _metadata alone", BAD},
    {S(P ORDERED ")RK\1b."), "BUILD: expected a dict, found an int", BAD},
    {S(P GOOD "}b."), "BUILD: expected a dict, found a tensor", BAD},
    {S(P ORDERED "]\205R."), "OrderedDict: expected no arguments, found 1", BAD},
    {S(P ORDERED "]R."), "REDUCE: expected a tuple, found a list", BAD},
    {S(P "K\1)R."), "REDUCE: expected a global, found an int", BAD},
    {S(P "ctorch\nHalfStorage\n)R."), "HalfStorage cannot be called", BAD},
    {S(P PARAMETER ")R."), "_rebuild_parameter: expected 3 arguments, found 0", BAD},
    {S(P PARAMETER "(K\1\211NtR."), "_rebuild_parameter: expected a tensor, found an int", BAD},
    {S(P REBUILD ")R."), "_rebuild_tensor_v2: expected 6 arguments, found 0", BAD},
    {S(P REBUILD "(K\1K\1))\211NtR."), "_rebuild_tensor_v2: expected a storage, found an int", BAD},
    {S(P REBUILD "(" FLOAT4 "N))\211NtR."), "_rebuild_tensor_v2: expected an int, found None", BAD},
    {S(P REBUILD "(" FLOAT4 "K\0])\211NtR."), "expected a tuple, found a list", BAD},
    {S(P REBUILD "(" FLOAT4 "K\0))NNtR."), "expected a bool, found None", BAD},
    {S(P REBUILD "(" FLOAT4 "K\0))\211K\1tR."), "expected a dict, found an int", BAD},
    {S(P REBUILD "(" FLOAT4 "K\0))\211N}tR."), "a tensor with metadata", NOT},
    {S(P "K\1Q."), "persistent id: expected a tuple, found an int", BAD},
    {S(P ")Q."), "persistent id: expected 5 items for a storage, found 0", BAD},
    {S(P "(X\6\0\0\0moduleK\1K\1K\1K\1tQ."), "expected 5 items for a storage", BAD},
    {S(P STORAGE("HalfStorage", "K\1", "K\1") "."),
     "persistent id: expected a string, found an int", BAD},
    {S(P STORAGE("HalfStorage", TEXT1("0"), "N") "."), "persistent id: expected an int, found None",
     BAD},
    {S(P STORAGE("HalfStorage", TEXT1("0"), "J\377\377\377\377") "."), "found -1", BAD},
    {S(P "(X\7\0\0\0storage" TEXT1("f") TEXT1("0") CPU "K\1tQ."),
     "expected a global, found a string", BAD},
    {S(P "(X\7\0\0\0storage" ORDERED TEXT1("0") CPU "K\1tQ."),
     "expected a storage type, found Ordered", BAD},
    {S(W(STORAGE("QInt8Storage", TEXT1("0"), "K\4"), "K\0", ")", ")")), "global torch.QInt8Storage",
     BAD},
    {S(W(STORAGE("FloatStorage", TEXT1("1"), "K\4"), "K\0", ")", ")")),
     "tensor 'w': expected its storage '1' in the archive, found none", BAD},
    {S(W(STORAGE("HalfStorage", TEXT1("0"), "K\4"), "K\0", ")", ")")),
     "tensor 'w': storage '0': expected 4 elements of 2 bytes, found 16 bytes", BAD},
    {S(W(STORAGE("DoubleStorage", TEXT1("0"), "\212\10\2\0\0\0\0\0\0\40"), "K\0", ")", ")")),
     "storage '0': expected 2305843009213693954 elements of 8 bytes, found 16 bytes", BAD},
    {S(W(FLOAT4, "K\4", ")", ")")), "expected 1 elements from 4 on in storage '0', found 4", BAD},
    {S(W(FLOAT4, "J\377\377\377\377", ")", ")")), "1 elements from -1 on", BAD},
    {S(W(FLOAT4, "K\0", "K\2K\2\206", "K\1K\2\206")),
     "tensor 'w': expected a contiguous tensor, found strides (1, 2) for (2, 2)", NOT},
    {S(W(FLOAT4, "K\0", "K\4\205", "K\0\205")), "found strides (0) for (4)", NOT},
    {S(W(FLOAT4, "K\0", "K\5\205", "K\1\205")), "expected 5 elements from 0 on", BAD},
    {S(W(FLOAT4, "K\0", "J\377\377\377\377\205", "K\1\205")), "expected sizes from 0 up", BAD},
    {S(W(FLOAT4, "K\0", "N\205", "K\1\205")), "tensor 'w': size: expected an int, found None", BAD},
    {S(W(FLOAT4, "K\0", "K\1\205", "]\205")), "tensor 'w': stride: expected an int, found a list",
     BAD},
    {S(W(FLOAT4, "K\0", "K\4\205", ")")), "expected as many strides as sizes, found 0 and 1", BAD},
    {S(W(FLOAT4, "K\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t", "K\1\205")),
     "tensor 'w': expected at most 8 dimensions, found 9", NOT},
    {S(P "}(" TEXT1("w") GOOD TEXT1("w") GOOD "u."), "tensor 'w': expected once, found twice", BAD},
    {S(P "}" TEXT1("\0") GOOD "s."), "tensor '?': expected a name in UTF-8 without NUL", BAD},
    {S(P "}" TEXT1("\377") GOOD "s."), "expected a name in UTF-8 without NUL", BAD},
};

static void test_refuses_pickles(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        torch_file a;
        mn_checkpoint *c = NULL;
        MN_ASSERT_FAILS(open_pickle(&c, &a, refused[i].pickle, refused[i].len), refused[i].status,
                        refused[i].part);
        assert_null(c);
        assert_memory_equal(mn_error(), "m.bin: ", 7);
        torch_drop(&a);
    }
}

/* Everything that a state dict may hold, in one. */
static void test_reads_a_pickle(void **state) {
    (void)state;
    torch_file a;
    mn_checkpoint *c = NULL;
    MN_ASSERT_OK(open_pickle(
        &c, &a,
        S("\200\4\225\0\0\0\0\0\0\0\0" ORDERED ")R\224(" TEXT1("w") GOOD "\214\1v" MAKE(
            FLOAT4, "\212\1\1", "K\3K\1\206",
            "K\1M\1\2\206") "\215\1\0\0\0\0\0\0\0e" MAKE(FLOAT4, "K\4", "K\0K\7\206", "K\1K\1\206")
              TEXT1("p") PARAMETER
          "(" MAKE(FLOAT4, "K\3", ")", ")") "\210" ORDERED ")RtR" TEXT1("a") "N" TEXT1(
              "b") "\210" TEXT1("c") "J\376\377\377\377" TEXT1("d") "G\0\0\0\0\0\0\0\0" TEXT1("f")
              TEXT1("x") TEXT1("g") "\212\0"
                                    "u}X\11\0\0\0_metadata" ORDERED
                                    ")R(" TEXT1("0") "}" TEXT1("1") "](K\1Neu\205sb.")));
    assert_int_equal(mn_checkpoint_count(c), 4);
    const float *values = mn_checkpoint_find(c, "w")->view.data;
    float got[3];
    memcpy(got, mn_checkpoint_find(c, "v")->view.data, sizeof got);
    assert_true(got[0] == 2 && got[1] == 3 && got[2] == 4);
    assert_ptr_equal(mn_checkpoint_find(c, "p")->view.data, values + 3);
    assert_int_equal(mn_checkpoint_find(c, "p")->view.ndim, 0);
    assert_int_equal(mn_checkpoint_find(c, "e")->view.shape[1], 7);
    assert_string_equal(mn_checkpoint_format(c), "pytorch");
    mn_checkpoint_close(&c);
    torch_drop(&a);
}

static void repeat(mn_buf *out, int count, const char *bytes, size_t len) {
    for (int i = 0; i < count; i++) MN_ASSERT_OK(mn_buf_append(out, bytes, len));
}

/* Depth and repetition: no recursion, no more than linear work. */
static void test_survives_bombs(void **state) {
    (void)state;
    enum { N = 200000, MANY = (1 << 20) + 1 };
    static const struct {
        int count[3];
        const char *bytes[3], *part;
        size_t len[3];
    } rows[] = {
        {{1, N, 1}, {P ")", "\205", "."}, "found a tuple", {3, 1, 1}},
        {{1, N, N - 1}, {P, "]", "a"}, "expected 1 more bytes", {2, 1, 1}},
        {{1, N, N}, {P "}", TEXT1("a") "}", "s"}, "expected 1 more bytes", {3, 7, 1}},
        {{1, N, N}, {P, "(", "t"}, "expected 1 more bytes", {2, 1, 1}},
        {{1, MANY, 1}, {P, "(", "."}, "more than 1048576 marks", {2, 1, 1}},
        {{1, MANY, 1}, {P, "N", "."}, "more than 1048576 values on the stack", {2, 1, 1}},
        {{1, MANY, 1}, {P "](", "}(u", "e."}, "more than 1048576 values on the stack", {4, 3, 2}},
        {{1, MANY / 8, 1}, {P "](", "}", "e."}, "found a list", {4, 1, 2}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        torch_file a;
        mn_buf pickle = {0};
        mn_checkpoint *c = NULL;
        for (int k = 0; k < 3; k++)
            repeat(&pickle, rows[i].count[k], rows[i].bytes[k], rows[i].len[k]);
        MN_ASSERT_FAILS(open_pickle(&c, &a, pickle.data, pickle.len), MN_ERR_DATA, rows[i].part);
        mn_buf_free(&pickle);
        torch_drop(&a);
    }
    torch_file a; /* one name of 100 kB, 100 000 times out of the memo */
    mn_buf pickle = {0};
    mn_checkpoint *c = NULL;
    repeat(&pickle, 1, S(P "}X\240\206\1\0"));
    repeat(&pickle, 100000, "n", 1);
    repeat(&pickle, 1, S("q\1" GOOD "q\2s"));
    repeat(&pickle, 100000, S("h\1h\2s"));
    repeat(&pickle, 1, ".", 1);
    MN_ASSERT_FAILS(open_pickle(&c, &a, pickle.data, pickle.len), MN_ERR_DATA,
                    "expected different names, found more than fit into the pickle");
    mn_buf_free(&pickle);
    torch_drop(&a);
    pickle = (mn_buf){0};
    torch_number(&pickle, 2, 0x0280);
    MN_ASSERT_OK(mn_buf_reserve(&pickle, (16 << 20) + 1));
    memset(pickle.data + 2, '}', 16 << 20);
    pickle.len += 16 << 20;
    MN_ASSERT_FAILS(open_pickle(&c, &a, pickle.data, pickle.len), MN_ERR_DATA,
                    "expected a pickle of at most 16777216 bytes, found 16777218");
    mn_buf_free(&pickle);
    torch_drop(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses_pickles),
        cmocka_unit_test(test_reads_a_pickle),
        cmocka_unit_test(test_survives_bombs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* bench_tokenizer.c - encoding and decoding speed of one tokenizer on one core, in MB/s of text.
 *
 *   bench_tokenizer [tokenizer [text file]]
 *
 * Without arguments it takes both real tokenizers and the wiki pages of the real data; without those it
 * leaves with 77 (skipped). */
#include "mneme/file.h"
#include "mneme/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Processor time: other programs on the machine do not count. */
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static double seconds_of_encode(const mn_tokenizer *t, const char *text, size_t len, size_t block,
                                mn_ids *ids, mn_status *st) {
    double best = 1e9;
    for (int round = 0; round < 3; round++) {
        const double start = now();
        ids->len = 0;
        for (size_t i = 0; i < len && *st == MN_OK; i += block)
            *st = mn_tokenizer_encode(t, text + i, len - i < block ? len - i : block, 0, ids);
        const double took = now() - start;
        if (took < best) best = took;
    }
    return best;
}

static mn_status bench(const char *tokenizer, const char *file) {
    mn_status st = MN_OK;
    mn_tokenizer *t = NULL;
    mn_map *map = NULL;
    mn_ids ids = {0};
    mn_buf text = {0};
    double start = now();
    MN_GOTO(mn_tokenizer_open(&t, tokenizer));
    const double load = now() - start;
    MN_GOTO(mn_map_open(&map, file));
    const char *data = (const char *)map->data;
    const double mb = (double)map->size / 1e6;
    const double whole = seconds_of_encode(t, data, map->size, map->size, &ids, &st);
    const size_t tokens = ids.len;
    start = now();
    MN_GOTO(mn_tokenizer_decode(t, ids.data, ids.len, false, &text));
    const double back = now() - start;
    const double blocks = seconds_of_encode(t, data, map->size, 1000, &ids, &st);
    if (st != MN_OK) goto done;
    printf(
        "%-50s %-24s load %5.1f ms, %.2f MB, %.2f bytes/token, encode %.1f MB/s whole, %.1f MB/s "
        "in blocks of 1 kB, decode %.1f MB/s\n",
        tokenizer, mn_tokenizer_kind(t), load * 1e3, mb, (double)map->size / (double)tokens,
        mb / whole, mb / blocks, mb / back);
done:
    mn_buf_free(&text);
    mn_ids_free(&ids);
    mn_map_close(&map);
    mn_tokenizer_close(&t);
    return st;
}

int main(int argc, char **argv) {
    static const char *const names[] = {"20B_tokenizer.json", "llama2_tokenizer.json",
                                        "llama2_tokenizer.model"};
    const char *root = getenv("MNEME_REAL_DATA");
    mn_status st = MN_OK;
    mn_buf tokenizer = {0}, text = {0};
    if (!root) root = MN_SOURCE_DIR "/../shared/data";
    MN_GOTO(mn_buf_printf(&text, "%s/fever/wiki-pages-partial.jsonl", root));
    if (argc < 3 && !mn_file_exists(text.data)) {
        printf("bench_tokenizer: skipped, %s is not there\n", text.data);
        mn_buf_free(&text);
        return 77;
    }
    const char *file = argc > 2 ? argv[2] : text.data;
    if (argc > 1) st = bench(argv[1], file);
    for (size_t i = 0; argc < 2 && i < 3 && st == MN_OK; i++) {
        mn_buf_clear(&tokenizer);
        MN_GOTO(mn_buf_printf(&tokenizer, "%s/tokenizers/%s", root, names[i]));
        st = bench(tokenizer.data, file);
    }
done:
    if (st != MN_OK) fprintf(stderr, "bench_tokenizer: %s\n", mn_error());
    mn_buf_free(&tokenizer);
    mn_buf_free(&text);
    return st != MN_OK;
}

/* wiki_scan.c - workers take the tasks of the wiki dump in order; their results are merged in
 * order. */
#include "fever/wiki_scan.h"

#include "mneme/json.h"
#include "mneme/log.h"
#include "mneme/signals.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAX_THREADS = 256, MIB = 1 << 20, POLL_BYTES = MIB };

/* What a task leaves behind. Written by the one worker that has it. */
typedef struct result {
    mn_wiki_page **pages;
    size_t page_count, page_cap;
    int64_t lines;
    mn_bad_lines bad;
    mn_error_record error; /* status MN_OK: none */
} result;

typedef struct scan {
    mn_wiki_source *source;
    const mn_wiki_query *query;
    bool skip_bad;
    result *results;
    mn_progress *progress; /* in MiB: `read` counts the bytes */
    atomic_llong read;
    atomic_llong next;   /* the task that the next free worker takes */
    atomic_llong failed; /* the first task in order that failed; later ones need not go on */
} scan;

/* Where a block of lines is, for messages. `lines_before` -1: count them in the map when needed. */
typedef struct place {
    const char *file;
    const mn_map *map;
    int64_t lines_before;
} place;

static int64_t count_newlines(const char *data, size_t len) {
    int64_t count = 0;
    for (const char *at = data, *end = data + len;
         at < end && (at = memchr(at, '\n', (size_t)(end - at))); at++) {
        count++;
    }
    return count;
}

static mn_status bad_line(scan *s, result *r, const place *where, const char *block,
                          int64_t number) {
    int64_t before = where->lines_before;
    const bool shown = !s->skip_bad || r->bad.shown < MN_BAD_SHOWN;
    if (before < 0 && shown) {
        const char *start = (const char *)where->map->data;
        before = count_newlines(start, (size_t)(block - start));
    }
    if (shown) mn_fail_in(MN_ERR_DATA, "%s:%" PRId64, where->file, before + number);
    return s->skip_bad ? mn_bad_note(&r->bad, mn_error()) : MN_ERR_DATA;
}

static void add_progress(scan *s, ptrdiff_t bytes) {
    const long long before = atomic_fetch_add(&s->read, (long long)bytes);
    mn_progress_add(s->progress, (before + bytes) / MIB - before / MIB);
}

static mn_status keep(result *r, mn_wiki_page *page) {
    mn_status st = mn_grow(&r->pages, &r->page_cap, r->page_count + 1, sizeof *r->pages);
    if (st != MN_OK) {
        mn_wiki_page_close(&page);
        return st;
    }
    r->pages[r->page_count++] = page;
    return MN_OK;
}

/* Whole lines. Leaves early, without an error, when an earlier task has failed. */
static mn_status read_block(scan *s, int64_t task, const place *where, const char *block,
                            size_t len) {
    result *r = &s->results[task];
    mn_lines lines = mn_lines_over(block, len);
    const char *line, *polled = block;
    size_t line_len;
    while (mn_lines_next(&lines, &line, &line_len)) {
        mn_wiki_page *page;
        const mn_status st = mn_wiki_read_line(&page, s->query, line, line_len);
        r->lines++;
        if (st == MN_ERR_DATA) MN_TRY(bad_line(s, r, where, block, lines.number));
        else if (st != MN_OK) return st;
        if (page) MN_TRY(keep(r, page));
        if (line - polled >= POLL_BYTES) {
            add_progress(s, line - polled);
            polled = line;
            MN_CHECK(!mn_stop_requested(), MN_STOPPED, "stopped on request");
            if (atomic_load(&s->failed) < task) return MN_OK;
        }
    }
    add_progress(s, block + len - polled);
    return MN_OK;
}

/* Takes the pages of the file that lie wholly inside the block out of this process's view: they
 * stay in the system's cache, but 5 GB of dump do not count as memory in use here. */
static void let_go(const char *block, size_t len) {
    const uintptr_t size = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t begin = ((uintptr_t)block + size - 1) / size * size;
    const uintptr_t end = ((uintptr_t)block + len) / size * size;
    if (begin < end) madvise((void *)begin, end - begin, MADV_DONTNEED);
}

static mn_status read_range(scan *s, int64_t index) {
    const mn_wiki_task *task = &s->source->tasks[index];
    const mn_wiki_input *input = &s->source->inputs[task->input];
    const place where = {.file = input->path, .map = input->map, .lines_before = -1};
    const char *block;
    size_t len;
    mn_wiki_range(&block, &len, input->map, task);
    const mn_status st = read_block(s, index, &where, block, len);
    let_go(block, len);
    return st;
}

static mn_status read_entry(scan *s, int64_t index, mn_zip_reader **reader) {
    const mn_wiki_task *task = &s->source->tasks[index];
    place where = {.file = task->name};
    if (!*reader) MN_TRY(mn_zip_reader_open(reader, s->source->inputs[task->input].path));
    MN_TRY(mn_zip_reader_start(*reader, task));
    for (;;) {
        const char *block;
        size_t len;
        MN_CHECK(!mn_stop_requested(), MN_STOPPED, "stopped on request");
        MN_TRY(mn_zip_reader_next(*reader, &block, &len));
        if (len == 0 || atomic_load(&s->failed) < index) return MN_OK;
        MN_TRY(read_block(s, index, &where, block, len));
        where.lines_before += count_newlines(block, len);
    }
}

static mn_status do_task(scan *s, int64_t index, mn_zip_reader **reader) {
    const mn_wiki_task *task = &s->source->tasks[index];
    MN_CHECK(!mn_stop_requested(), MN_STOPPED, "stopped on request");
    switch (task->kind) {
    case MN_TASK_HASH: {
        mn_wiki_input *input = &s->source->inputs[task->input];
        return mn_sha256_large(input->sha256, input->path);
    }
    case MN_TASK_RANGE: return read_range(s, index);
    case MN_TASK_ENTRY: return read_entry(s, index, reader);
    }
    return MN_OK;
}

static void note_failure(scan *s, int64_t index) {
    mn_error_save(&s->results[index].error);
    long long first = atomic_load(&s->failed);
    while (index < first && !atomic_compare_exchange_weak(&s->failed, &first, index)) {
    }
}

/* Tasks are handed out in order, so every task before a failed one is finished or in work: the
 * first failure in the dump's order is always found. */
static void *work(void *arg) {
    scan *s = arg;
    mn_zip_reader *reader = NULL;
    for (;;) {
        const int64_t index = atomic_fetch_add(&s->next, 1);
        if (index >= s->source->task_count || index > atomic_load(&s->failed)) break;
        if (do_task(s, index, &reader) != MN_OK) note_failure(s, index);
    }
    mn_zip_reader_close(&reader);
    return NULL;
}

/* The caller is a worker too, so that a refused thread only costs time. */
static void run_workers(scan *s, int threads) {
    pthread_t ids[MAX_THREADS];
    int started = 0;
    if (threads > MAX_THREADS) threads = MAX_THREADS;
    while (started < threads - 1 && pthread_create(&ids[started], NULL, work, s) == 0) started++;
    work(s);
    for (int i = 0; i < started; i++) pthread_join(ids[i], NULL);
}

static mn_status merge(mn_wiki_found *out, scan *s) {
    for (int64_t t = 0; t < s->source->task_count; t++) {
        result *r = &s->results[t];
        out->lines += r->lines;
        MN_TRY(mn_bad_merge(&out->bad, &r->bad));
        for (size_t i = 0; i < r->page_count; i++) {
            mn_wiki_page **kept = &out->pages[r->pages[i]->title];
            if (*kept) out->repeated++;
            if (*kept && ((*kept)->text.len > 0 || r->pages[i]->text.len == 0)) continue;
            mn_wiki_page_close(kept);
            *kept = r->pages[i];
            r->pages[i] = NULL;
        }
    }
    return MN_OK;
}

static void free_results(scan *s) {
    for (int64_t t = 0; s->results && t < s->source->task_count; t++) {
        for (size_t i = 0; i < s->results[t].page_count; i++) {
            mn_wiki_page_close(&s->results[t].pages[i]);
        }
        free(s->results[t].pages);
        mn_bad_free(&s->results[t].bad);
    }
    free(s->results);
}

mn_status mn_wiki_scan(mn_wiki_found *out, mn_wiki_source *source, const mn_wiki_query *query,
                       bool skip_bad, int threads) {
    mn_status st = MN_OK;
    scan s = {.source = source, .query = query, .skip_bad = skip_bad};
    *out = (mn_wiki_found){.title_count = mn_titles_count(query->titles)};
    atomic_init(&s.next, 0);
    atomic_init(&s.read, 0);
    atomic_init(&s.failed, INT64_MAX);
    s.results = calloc((size_t)source->task_count, sizeof *s.results);
    out->pages = calloc((size_t)out->title_count + 1, sizeof(mn_wiki_page *));
    MN_CHECK_GOTO(s.results && out->pages, MN_ERR_MEMORY, "no memory to read the wiki dump");
    s.progress = mn_progress_begin("reading the wiki dump", "MiB", source->text_bytes / MIB);
    run_workers(&s, threads);
    mn_progress_end(&s.progress);
    const int64_t failed = atomic_load(&s.failed);
    if (failed < source->task_count) MN_GOTO(mn_error_restore(&s.results[failed].error));
    MN_GOTO(merge(out, &s));
    MN_CHECK_GOTO(out->lines > 0, MN_ERR_DATA, "%s: there is no page in it",
                  source->inputs[0].path);
done:
    free_results(&s);
    if (st != MN_OK) mn_wiki_found_free(out);
    return st;
}

void mn_wiki_found_free(mn_wiki_found *found) {
    for (int64_t i = 0; found->pages && i < found->title_count; i++) {
        mn_wiki_page_close(&found->pages[i]);
    }
    free(found->pages);
    mn_bad_free(&found->bad);
    *found = (mn_wiki_found){0};
}

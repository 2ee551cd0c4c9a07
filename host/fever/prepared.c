/* prepared.c - reads a prepared folder back and checks that it is whole. */
#include "fever/prepared.h"

#include "fever/output.h"
#include "mneme/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    mn_fever *fever;
    bool train;
    int64_t lines; /* read so far */
    int64_t page;  /* of the last row */
    size_t cap;
} reader;

static mn_status each_line(reader *r, const void *data, size_t size, const char *name,
                           mn_status (*one)(reader *, const mn_json *)) {
    mn_status st = MN_OK;
    mn_json *doc = NULL;
    mn_buf place = {0};
    mn_lines lines = mn_lines_over(data, size);
    const char *line;
    size_t len;
    while (mn_lines_next(&lines, &line, &len)) {
        mn_json_close(&doc);
        mn_buf_clear(&place);
        MN_GOTO(mn_buf_printf(&place, "%s:%" PRId64, name, lines.number));
        MN_GOTO(mn_json_parse(&doc, line, len, place.data));
        MN_GOTO(one(r, doc));
        r->lines++;
    }
done:
    mn_json_close(&doc);
    mn_buf_free(&place);
    return st;
}

static mn_status copy_string(char **out, const mn_json *doc, const cJSON *obj, const char *key) {
    const char *text;
    MN_TRY(mn_json_string(&text, doc, obj, key));
    MN_CHECK(*text, MN_ERR_DATA, "%s: \"%s\" is empty", doc->name, key);
    *out = mn_strdup_n(text, strlen(text));
    MN_CHECK(*out, MN_ERR_MEMORY, "%s: no memory", doc->name);
    return MN_OK;
}

static mn_status read_label(mn_label *out, const mn_json *doc, const cJSON *obj) {
    const char *name;
    MN_TRY(mn_json_string(&name, doc, obj, "label"));
    return mn_fail_in(mn_label_read(out, name), "%s", doc->name);
}

/* ---- pages.jsonl ----------------------------------------------------------------------------- */

static mn_status check_sentences(const mn_json *doc) {
    const cJSON *lines, *pair;
    MN_TRY(mn_json_array(&lines, doc, doc->root, "lines"));
    cJSON_ArrayForEach(pair, lines) {
        const cJSON *number = cJSON_IsArray(pair) ? pair->child : NULL;
        const cJSON *text = number ? number->next : NULL;
        if (!cJSON_IsNumber(number) || !cJSON_IsString(text) || text->next) {
            return mn_json_fail(doc, pair, "expected [number, \"sentence\"]");
        }
    }
    return MN_OK;
}

static mn_status page_line(reader *r, const mn_json *doc) {
    mn_fever *f = r->fever;
    MN_TRY(mn_grow(&f->pages, &r->cap, (size_t)f->page_count + 1, sizeof *f->pages));
    mn_fever_page *page = &f->pages[f->page_count];
    *page = (mn_fever_page){0};
    f->page_count++;
    MN_TRY(copy_string(&page->title, doc, doc->root, "page"));
    MN_TRY(copy_string(&page->text, doc, doc->root, "text"));
    return check_sentences(doc);
}

mn_status mn_prepared_read_pages(mn_fever *fever, const void *data, size_t size, const char *name) {
    reader r = {.fever = fever};
    MN_TRY(each_line(&r, data, size, name, page_line));
    MN_CHECK(fever->page_count > 0, MN_ERR_DATA, "%s: there is no page in it", name);
    return MN_OK;
}

/* ---- eval.jsonl, train.jsonl ----------------------------------------------------------------- */

/* Rows come grouped in the order of the pages; a page without rows gets an empty range. */
static mn_status enter_page(reader *r, const mn_json *doc) {
    const char *title;
    mn_fever *f = r->fever;
    MN_TRY(mn_json_string(&title, doc, doc->root, "page"));
    int64_t page = r->page;
    while (page < 0 || (page < f->page_count && strcmp(f->pages[page].title, title) != 0)) page++;
    MN_CHECK(page < f->page_count, MN_ERR_DATA,
             "%s: page \"%s\" is not one of the pages from here on; rows stand in their order",
             doc->name, title);
    r->page = page;
    return MN_OK;
}

static void set_ranges(mn_fever *f, bool train) {
    const int64_t count = train ? f->train_count : f->eval_count;
    const mn_fever_row *rows = train ? f->train : f->eval;
    int64_t row = 0;
    for (int64_t p = 0; p < f->page_count; p++) {
        mn_fever_page *page = &f->pages[p];
        const int64_t begin = row;
        while (row < count && rows[row].page == p) row++;
        *(train ? &page->train_begin : &page->eval_begin) = begin;
        *(train ? &page->train_end : &page->eval_end) = row;
    }
}

static mn_status row_line(reader *r, const mn_json *doc) {
    const int64_t max_id = INT64_C(1) << 53;
    mn_fever *f = r->fever;
    mn_fever_row **rows = r->train ? &f->train : &f->eval;
    int64_t *count = r->train ? &f->train_count : &f->eval_count;
    MN_TRY(mn_grow(rows, &r->cap, (size_t)*count + 1, sizeof **rows));
    mn_fever_row *row = &(*rows)[*count];
    *row = (mn_fever_row){0};
    ++*count;
    MN_TRY(mn_json_i64(&row->row, doc, doc->root, "row", 0, max_id));
    MN_CHECK(row->row == r->lines, MN_ERR_DATA, "%s: row %" PRId64 ", expected %" PRId64, doc->name,
             row->row, r->lines);
    MN_TRY(mn_json_i64(&row->id, doc, doc->root, "id", 0, max_id));
    MN_TRY(enter_page(r, doc));
    row->page = r->page;
    MN_TRY(read_label(&row->label, doc, doc->root));
    return copy_string(&row->claim, doc, doc->root, "claim");
}

mn_status mn_prepared_read_rows(mn_fever *fever, bool train, const void *data, size_t size,
                                const char *name) {
    reader r = {.fever = fever, .train = train, .page = -1};
    MN_TRY(each_line(&r, data, size, name, row_line));
    set_ranges(fever, train);
    return MN_OK;
}

/* ---- demos.jsonl ----------------------------------------------------------------------------- */

static mn_status check_leak(const mn_fever *f, const mn_fever_page *page, const mn_json *doc,
                            const char *claim) {
    for (int64_t i = page->eval_begin; i < page->eval_end; i++) {
        MN_CHECK(strcmp(f->eval[i].claim, claim) != 0, MN_ERR_DATA,
                 "%s: a demonstration is the evaluation claim %" PRId64 " of its own page",
                 doc->name, f->eval[i].id);
    }
    return MN_OK;
}

static mn_status demo_line(reader *r, const mn_json *doc) {
    mn_fever *f = r->fever;
    const char *title, *source;
    const cJSON *demos, *item;
    MN_TRY(mn_json_string(&title, doc, doc->root, "page"));
    MN_CHECK(r->lines < f->page_count && strcmp(title, f->pages[r->lines].title) == 0, MN_ERR_DATA,
             "%s: page \"%s\" is not page %" PRId64 " of the folder", doc->name, title,
             r->lines + 1);
    mn_fever_page *page = &f->pages[r->lines];
    MN_TRY(mn_json_array(&demos, doc, doc->root, "demos"));
    cJSON_ArrayForEach(item, demos) {
        MN_CHECK(page->demo_count < MN_MAX_SHOTS, MN_ERR_DATA, "%s: more than %d demonstrations",
                 doc->name, MN_MAX_SHOTS);
        mn_demo *demo = &page->demos[page->demo_count++];
        MN_TRY(copy_string(&demo->claim, doc, item, "claim"));
        MN_TRY(read_label(&demo->label, doc, item));
        MN_TRY(mn_json_string(&source, doc, item, "source"));
        demo->fixed = strcmp(source, "fixed") == 0;
        MN_CHECK(demo->fixed || strcmp(source, "train") == 0, MN_ERR_DATA,
                 "%s: source \"%s\", expected \"train\" or \"fixed\"", doc->name, source);
        MN_TRY(check_leak(f, page, doc, demo->claim));
    }
    return MN_OK;
}

mn_status mn_prepared_read_demos(mn_fever *fever, const void *data, size_t size, const char *name) {
    reader r = {.fever = fever};
    MN_TRY(each_line(&r, data, size, name, demo_line));
    MN_CHECK(r.lines == fever->page_count, MN_ERR_DATA,
             "%s: demonstrations of %" PRId64 " pages, expected %" PRId64, name, r.lines,
             fever->page_count);
    return MN_OK;
}

/* ---- The folder ------------------------------------------------------------------------------ */

/* The file must be the one that the manifest names. */
static mn_status check_file(const mn_json *manifest, const char *path, const char *name) {
    const cJSON *outputs, *item, *found = NULL;
    const char *other, *want;
    char sha256[MN_SHA256_HEX];
    MN_TRY(mn_json_array(&outputs, manifest, manifest->root, "outputs"));
    cJSON_ArrayForEach(item, outputs) {
        MN_TRY(mn_json_string(&other, manifest, item, "path"));
        if (strcmp(other, name) == 0) found = item;
    }
    if (!found) return mn_json_fail(manifest, outputs, "%s is missing", name);
    MN_TRY(mn_json_string(&want, manifest, found, "sha256"));
    MN_TRY(mn_sha256_file(sha256, path));
    MN_CHECK(strcmp(sha256, want) == 0, MN_ERR_DATA,
             "%s: changed since it was prepared (its SHA-256 is not the manifest's)", path);
    return MN_OK;
}

static mn_status read_file(mn_fever *f, const mn_json *manifest, const char *dir,
                           const char *name) {
    mn_status st = MN_OK;
    mn_map *map = NULL;
    mn_buf path = {0};
    MN_GOTO(mn_path_join(&path, dir, name));
    MN_GOTO(check_file(manifest, path.data, name));
    MN_GOTO(mn_map_open(&map, path.data));
    if (strcmp(name, MN_PAGES_FILE) == 0) {
        st = mn_prepared_read_pages(f, map->data, map->size, path.data);
    } else if (strcmp(name, MN_DEMOS_FILE) == 0) {
        st = mn_prepared_read_demos(f, map->data, map->size, path.data);
    } else {
        const bool train = strcmp(name, MN_TRAIN_FILE) == 0;
        st = mn_prepared_read_rows(f, train, map->data, map->size, path.data);
    }
done:
    mn_map_close(&map);
    mn_buf_free(&path);
    return st;
}

static mn_status check_count(const mn_json *manifest, const char *key, int64_t found) {
    int64_t want;
    MN_TRY(mn_json_i64(&want, manifest, manifest->root, key, 0, INT64_C(1) << 53));
    MN_CHECK(want == found, MN_ERR_DATA, "%s: %s is %" PRId64 ", but the files hold %" PRId64,
             manifest->name, key, want, found);
    return MN_OK;
}

static mn_status open_manifest(mn_json **out, char sha256[MN_SHA256_HEX], const char *dir) {
    mn_status st = MN_OK;
    mn_buf path = {0};
    int64_t format;
    MN_GOTO(mn_path_join(&path, dir, MN_MANIFEST_FILE));
    MN_CHECK_GOTO(mn_dir_exists(dir), MN_ERR_IO, "%s: there is no such folder", dir);
    MN_CHECK_GOTO(mn_file_exists(path.data), MN_ERR_DATA,
                  "%s: no %s: preparing did not finish, or this is not a prepared folder", dir,
                  MN_MANIFEST_FILE);
    MN_GOTO(mn_json_load(out, path.data));
    MN_GOTO(mn_json_i64(&format, *out, (*out)->root, "format", 0, INT32_MAX));
    MN_CHECK_GOTO(format == MN_PREPARED_FORMAT, MN_ERR_UNSUPPORTED,
                  "%s: format %" PRId64 ", this program reads %d: prepare the data again",
                  path.data, format, MN_PREPARED_FORMAT);
    MN_GOTO(mn_sha256_file(sha256, path.data));
done:
    mn_buf_free(&path);
    return st;
}

mn_status mn_fever_open(mn_fever **out, const char *dir) {
    mn_status st = MN_OK;
    mn_json *manifest = NULL;
    *out = NULL;
    mn_fever *f = calloc(1, sizeof *f);
    MN_CHECK_GOTO(f, MN_ERR_MEMORY, "%s: no memory", dir);
    MN_GOTO(open_manifest(&manifest, f->sha256, dir));
    MN_GOTO(read_file(f, manifest, dir, MN_PAGES_FILE));
    MN_GOTO(read_file(f, manifest, dir, MN_EVAL_FILE));
    MN_GOTO(read_file(f, manifest, dir, MN_TRAIN_FILE));
    MN_GOTO(read_file(f, manifest, dir, MN_DEMOS_FILE));
    MN_GOTO(check_count(manifest, "N_trunc", f->page_count));
    MN_GOTO(check_count(manifest, "eval_rows", f->eval_count));
    MN_GOTO(check_count(manifest, "train_rows", f->train_count));
    *out = f;
    f = NULL;
done:
    mn_json_close(&manifest);
    mn_fever_close(&f);
    return st;
}

static void free_rows(mn_fever_row *rows, int64_t count) {
    for (int64_t i = 0; i < count; i++) free(rows[i].claim);
    free(rows);
}

void mn_fever_close(mn_fever **fever) {
    mn_fever *f = *fever;
    if (!f) return;
    for (int64_t i = 0; i < f->page_count; i++) {
        for (int d = 0; d < f->pages[i].demo_count; d++) free(f->pages[i].demos[d].claim);
        free(f->pages[i].title);
        free(f->pages[i].text);
    }
    free(f->pages);
    free_rows(f->eval, f->eval_count);
    free_rows(f->train, f->train_count);
    free(f);
    *fever = NULL;
}

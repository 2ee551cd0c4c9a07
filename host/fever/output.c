/* output.c - writes the jsonl files of the prepared folder. */
#include "fever/output.h"

#include "mneme/json.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static mn_status quote(mn_buf *out, const char *text) {
    return mn_json_quote(out, text, strlen(text));
}

static const char *title_of(const mn_prepared *p, int64_t page) {
    return mn_titles_name(p->titles, p->selection->titles[page]);
}

/* ---- Lines ----------------------------------------------------------------------------------- */

static mn_status page_line(mn_buf *out, const mn_prepared *p, int64_t index) {
    const mn_wiki_page *page = p->found.pages[p->selection->titles[index]];
    MN_TRY(mn_buf_puts(out, "{\"page\": "));
    MN_TRY(quote(out, title_of(p, index)));
    MN_TRY(mn_buf_puts(out, ", \"text\": "));
    MN_TRY(mn_json_quote(out, page->text.data, page->text.len));
    MN_TRY(mn_buf_puts(out, ", \"lines\": ["));
    for (size_t i = 0; i < page->sentence_count; i++) {
        MN_TRY(mn_buf_printf(out, "%s[%" PRId64 ", ", i ? ", " : "", page->sentences[i].number));
        MN_TRY(quote(out, page->sentences[i].text));
        MN_TRY(mn_buf_puts(out, "]"));
    }
    return mn_buf_puts(out, "]}\n");
}

static mn_status row_line(mn_buf *out, int64_t row, const mn_claim *claim, const char *title) {
    MN_TRY(mn_buf_printf(out, "{\"row\": %" PRId64 ", \"id\": %" PRId64 ", \"page\": ", row,
                         claim->id));
    MN_TRY(quote(out, title));
    MN_TRY(mn_buf_puts(out, ", \"claim\": "));
    MN_TRY(quote(out, claim->text));
    return mn_buf_printf(out, ", \"label\": \"%s\"}\n", mn_label_name(claim->label));
}

static mn_status demo_line(mn_buf *out, const mn_prepared *p, int64_t index) {
    const mn_chosen_demos *demos = &p->demos.pages[index];
    MN_TRY(mn_buf_puts(out, "{\"page\": "));
    MN_TRY(quote(out, title_of(p, index)));
    MN_TRY(mn_buf_puts(out, ", \"demos\": ["));
    for (int i = 0; i < demos->count; i++) {
        const mn_chosen_demo *demo = &demos->items[i];
        MN_TRY(mn_buf_printf(out, "%s{\"claim\": ", i ? ", " : ""));
        MN_TRY(quote(out, demo->text));
        MN_TRY(mn_buf_printf(out, ", \"label\": \"%s\", \"source\": \"%s\"}",
                             mn_label_name(demo->label), demo->fixed < 0 ? "train" : "fixed"));
    }
    return mn_buf_puts(out, "]}\n");
}

/* ---- Files ----------------------------------------------------------------------------------- */

static mn_status flush(mn_writer *writer, mn_buf *line) {
    const mn_status st = mn_writer_write(writer, line->data, line->len);
    mn_buf_clear(line);
    return st;
}

static mn_status write_rows(mn_writer *writer, mn_buf *line, const mn_prepared *p,
                            const mn_claims *claims, const mn_rows *rows) {
    for (int64_t page = 0; page < p->selection->n_trunc; page++) {
        for (int64_t row = rows->begin[page]; row < rows->begin[page + 1]; row++) {
            MN_TRY(row_line(line, row, &claims->items[rows->claim[row]], title_of(p, page)));
            MN_TRY(flush(writer, line));
        }
    }
    return MN_OK;
}

static mn_status write_pages(mn_writer *writer, mn_buf *line, const mn_prepared *p,
                             mn_status (*one)(mn_buf *, const mn_prepared *, int64_t)) {
    for (int64_t page = 0; page < p->selection->n_trunc; page++) {
        MN_TRY(one(line, p, page));
        MN_TRY(flush(writer, line));
    }
    return MN_OK;
}

static mn_status write_lines(mn_writer *writer, mn_buf *line, const mn_prepared *p,
                             const char *name) {
    if (strcmp(name, MN_PAGES_FILE) == 0) return write_pages(writer, line, p, page_line);
    if (strcmp(name, MN_DEMOS_FILE) == 0) return write_pages(writer, line, p, demo_line);
    if (strcmp(name, MN_EVAL_FILE) == 0) return write_rows(writer, line, p, p->eval, &p->eval_rows);
    return write_rows(writer, line, p, p->train, &p->train_rows);
}

/* Writes one file and appends its entry of the manifest. */
static mn_status write_file(mn_buf *outputs, const mn_prepared *p, const char *name) {
    mn_status st = MN_OK;
    mn_writer *writer = NULL;
    mn_buf path = {0}, line = {0};
    struct stat info;
    char sha256[MN_SHA256_HEX];
    MN_GOTO(mn_path_join(&path, p->options->out, name));
    MN_GOTO(mn_writer_open(&writer, path.data));
    MN_GOTO(write_lines(writer, &line, p, name));
    MN_GOTO(mn_writer_commit(writer));
    MN_GOTO(mn_sha256_file(sha256, path.data));
    if (stat(path.data, &info) != 0) {
        st = mn_fail_errno(path.data);
        goto done;
    }
    MN_GOTO(mn_manifest_file(outputs, name, (int64_t)info.st_size, sha256));
done:
    mn_buf_free(&line);
    mn_writer_close(&writer);
    mn_buf_free(&path);
    return st;
}

mn_status mn_prepared_write(const mn_prepared *p) {
    static const char *const names[] = {MN_PAGES_FILE, MN_EVAL_FILE, MN_TRAIN_FILE, MN_DEMOS_FILE};
    mn_status st = MN_OK;
    mn_buf manifest_path = {0}, manifest = {0}, outputs = {0};
    MN_GOTO(mn_path_join(&manifest_path, p->options->out, MN_MANIFEST_FILE));
    if (unlink(manifest_path.data) != 0 && errno != ENOENT) {
        st = mn_fail_errno(manifest_path.data);
        goto done;
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        MN_GOTO(mn_buf_puts(&outputs, i ? ",\n    " : "[\n    "));
        MN_GOTO(write_file(&outputs, p, names[i]));
    }
    MN_GOTO(mn_buf_puts(&outputs, "\n  ]"));
    MN_GOTO(mn_prepared_manifest(&manifest, p, outputs.data));
    MN_GOTO(mn_write_file(manifest_path.data, manifest.data, manifest.len));
done:
    mn_buf_free(&outputs);
    mn_buf_free(&manifest);
    mn_buf_free(&manifest_path);
    return st;
}

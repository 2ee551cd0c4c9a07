/* wiki_zip.c - reads one entry of a zip as blocks of whole lines. One reader per worker. */
#include "fever/wiki_source.h"

#include <stdlib.h>
#include <string.h>
#include <zip.h>

enum { BLOCK = 1 << 20, MAX_LINE = 256 << 20 };

struct mn_zip_reader {
    zip_t *zip;
    zip_file_t *file;
    const char *name; /* of the entry; the task's */
    char *path;
    mn_buf buf;
    size_t given; /* bytes at the start of buf that the last block took */
    bool ended;
};

mn_status mn_zip_reader_open(mn_zip_reader **out, const char *path) {
    mn_status st = MN_OK;
    int code = 0;
    *out = NULL;
    mn_zip_reader *reader = calloc(1, sizeof *reader);
    MN_CHECK_GOTO(reader && (reader->path = mn_strdup_n(path, strlen(path))), MN_ERR_MEMORY,
                  "%s: no memory", path);
    reader->zip = zip_open(path, ZIP_RDONLY, &code);
    MN_CHECK_GOTO(reader->zip, MN_ERR_IO, "%s: cannot open it again (zip error %d)", path, code);
    *out = reader;
    reader = NULL;
done:
    mn_zip_reader_close(&reader);
    return st;
}

void mn_zip_reader_close(mn_zip_reader **reader) {
    mn_zip_reader *r = *reader;
    if (!r) return;
    if (r->file) zip_fclose(r->file);
    if (r->zip) zip_discard(r->zip);
    mn_buf_free(&r->buf);
    free(r->path);
    free(r);
    *reader = NULL;
}

mn_status mn_zip_reader_start(mn_zip_reader *r, const mn_wiki_task *task) {
    if (r->file) zip_fclose(r->file);
    r->name = task->name;
    r->given = 0;
    r->ended = false;
    mn_buf_clear(&r->buf);
    r->file = zip_fopen_index(r->zip, task->entry, 0);
    MN_CHECK(r->file, MN_ERR_DATA, "%s: %s", r->name, zip_strerror(r->zip));
    return MN_OK;
}

/* Appends a block of the entry; at its end libzip has compared the checksum. */
static mn_status fill(mn_zip_reader *r) {
    MN_CHECK(r->buf.len <= MAX_LINE, MN_ERR_DATA, "%s: a line of more than %d MiB", r->name,
             MAX_LINE >> 20);
    MN_TRY(mn_buf_reserve(&r->buf, BLOCK));
    const zip_int64_t got = zip_fread(r->file, r->buf.data + r->buf.len, BLOCK);
    MN_CHECK(got >= 0, MN_ERR_DATA, "%s: %s", r->name,
             zip_error_strerror(zip_file_get_error(r->file)));
    r->buf.len += (size_t)got;
    r->ended = got == 0;
    return MN_OK;
}

mn_status mn_zip_reader_next(mn_zip_reader *r, const char **data, size_t *len) {
    r->buf.len -= r->given;
    if (r->given > 0) memmove(r->buf.data, r->buf.data + r->given, r->buf.len);
    r->given = 0;
    const char *newline = NULL;
    while (!newline && !r->ended) {
        const size_t seen = r->buf.len;
        MN_TRY(fill(r));
        newline = memrchr(r->buf.data + seen, '\n', r->buf.len - seen);
    }
    r->given = newline ? (size_t)(newline - r->buf.data) + 1 : r->buf.len;
    *data = r->buf.data;
    *len = r->given;
    return MN_OK;
}

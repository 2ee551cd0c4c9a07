/* writer.c - atomic replacement: temporary file beside the target, flush, sync, rename. */
#include "mneme/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMPORARY ".tmp-" /* and six characters, behind the name */

struct mn_writer {
    FILE *file;
    char *path, *temporary;
    bool failed, committed;
};

mn_status mn_writer_open(mn_writer **out, const char *path) {
    mn_status st = MN_OK;
    int fd = -1;
    mn_buf name = {0};
    *out = NULL;
    mn_writer *w = calloc(1, sizeof *w);
    MN_CHECK_GOTO(w && (w->path = strdup(path)), MN_ERR_MEMORY, "%s: no memory", path);
    MN_GOTO(mn_buf_printf(&name, "%s" TEMPORARY "XXXXXX", path));
    fd = mkostemp(name.data, O_CLOEXEC);
    if (fd < 0 || fchmod(fd, 0644) != 0 || !(w->file = fdopen(fd, "wb"))) {
        st = mn_fail_errno(path);
        goto done;
    }
    w->temporary = name.data;
    name = (mn_buf){0};
    *out = w;
    w = NULL;
done:
    if (fd >= 0 && w) {
        unlink(name.data);
        close(fd);
    }
    mn_buf_free(&name);
    if (w) {
        free(w->path);
        free(w);
    }
    return st;
}

mn_status mn_writer_write(mn_writer *w, const void *bytes, size_t len) {
    if (len == 0 || fwrite(bytes, 1, len, w->file) == len) return MN_OK;
    w->failed = true;
    return mn_fail_errno(w->path);
}

mn_status mn_writer_printf(mn_writer *w, const char *format, ...) {
    va_list args;
    va_start(args, format);
    const int written = vfprintf(w->file, format, args);
    va_end(args);
    if (written >= 0) return MN_OK;
    w->failed = true;
    return mn_fail_errno(w->path);
}

/* Makes the rename durable. Some file systems refuse to sync a folder: that is not an error. */
static void sync_folder(const char *path) {
    char *copy = strdup(path);
    if (!copy) return;
    char *slash = strrchr(copy, '/');
    if (slash) slash[slash == copy] = '\0';
    const int fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(copy);
}

mn_status mn_writer_commit(mn_writer *w) {
    MN_CHECK(!w->failed && w->file, MN_ERR_IO, "%s: an earlier write failed", w->path);
    if (fflush(w->file) != 0 || fsync(fileno(w->file)) != 0) return mn_fail_errno(w->path);
    FILE *file = w->file;
    w->file = NULL;
    if (fclose(file) != 0) return mn_fail_errno(w->path);
    if (rename(w->temporary, w->path) != 0) return mn_fail_errno(w->path);
    w->committed = true;
    sync_folder(w->path);
    return MN_OK;
}

void mn_writer_close(mn_writer **writer) {
    mn_writer *w = *writer;
    if (!w) return;
    if (w->file) fclose(w->file);
    if (!w->committed) unlink(w->temporary);
    free(w->temporary);
    free(w->path);
    free(w);
    *writer = NULL;
}

mn_status mn_writer_clean(const char *path) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    const size_t len = strlen(name), dir_len = (size_t)(name - path);
    mn_status st = MN_OK;
    char *dir_path = dir_len > 0 ? mn_strdup_n(path, dir_len) : mn_strdup_n(".", 1);
    MN_CHECK(dir_path, MN_ERR_MEMORY, "%s: no memory", path);
    DIR *dir = opendir(dir_path);
    free(dir_path);
    if (!dir) return errno == ENOENT ? MN_OK : mn_fail_errno(path);
    for (const struct dirent *e; st == MN_OK && (e = readdir(dir));)
        if (strncmp(e->d_name, name, len) == 0 &&
            strncmp(e->d_name + len, TEMPORARY, strlen(TEMPORARY)) == 0 &&
            strlen(e->d_name + len) == strlen(TEMPORARY "XXXXXX") &&
            unlinkat(dirfd(dir), e->d_name, 0) != 0 && errno != ENOENT)
            st = mn_fail_errno(path);
    closedir(dir);
    return st;
}

mn_status mn_write_file(const char *path, const void *bytes, size_t len) {
    mn_writer *w = NULL;
    MN_TRY(mn_writer_open(&w, path));
    mn_status st = mn_writer_write(w, bytes, len);
    if (st == MN_OK) st = mn_writer_commit(w);
    mn_writer_close(&w);
    return st;
}

/* folders.c - see folders.h. */
#include "train/folders.h"

#include "mneme/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char prefix[] = "checkpoint-", mark[] = "DONE";

/* The N of "checkpoint-N", or -1. */
static int64_t step_of(const char *name) {
    if (strncmp(name, prefix, sizeof prefix - 1) != 0) return -1;
    const char *digits = name + sizeof prefix - 1;
    const size_t len = strlen(digits);
    if (len == 0 || len > 18 || strspn(digits, "0123456789") != len) return -1;
    return strtoll(digits, NULL, 10);
}

bool mn_folder_is_complete(const char *dir) {
    mn_buf path = {0};
    const bool complete = mn_path_join(&path, dir, mark) == MN_OK && mn_file_exists(path.data);
    mn_buf_free(&path);
    return complete;
}

mn_status mn_folder_finish(const char *dir) {
    mn_status st = MN_OK;
    mn_buf path = {0};
    int fd = -1;
    MN_GOTO(mn_path_join(&path, dir, ".."));
    fd = open(path.data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        st = mn_fail_errno(dir);
        goto done;
    }
    fsync(fd); /* some file systems refuse to sync a folder: that is not an error */
    MN_GOTO(mn_path_join(&path, dir, mark));
    st = mn_write_file(path.data, "", 0);
done:
    if (fd >= 0) close(fd);
    mn_buf_free(&path);
    return st;
}

/* Calls `visit` for every name in a folder, which may remove it; a missing folder has none. */
typedef mn_status visitor(void *context, const char *dir, const char *name);
static mn_status visit_names(const char *dir, visitor *visit, void *context) {
    mn_status st = MN_OK;
    DIR *open_dir = opendir(dir);
    if (!open_dir) return errno == ENOENT ? MN_OK : mn_fail_errno(dir);
    for (const struct dirent *e; st == MN_OK && (e = readdir(open_dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            st = visit(context, dir, e->d_name);
    closedir(open_dir);
    return st;
}

static mn_status remove_file(void *context, const char *dir, const char *name) {
    mn_buf path = {0};
    (void)context;
    mn_status st = mn_path_join(&path, dir, name);
    if (st == MN_OK && unlink(path.data) != 0 && errno != ENOENT) st = mn_fail_errno(path.data);
    mn_buf_free(&path);
    return st;
}

mn_status mn_folder_remove(const char *dir) {
    struct stat info;
    if (lstat(dir, &info) != 0 && errno == ENOENT) return MN_OK;
    MN_TRY(remove_file(NULL, dir, mark));
    MN_TRY(visit_names(dir, remove_file, NULL));
    return rmdir(dir) == 0 ? MN_OK : mn_fail_errno(dir);
}

void mn_folder_drop(const char *dir) {
    mn_error_record first;
    mn_error_save(&first);
    if (mn_folder_remove(dir) != MN_OK) mn_error_restore(&first);
}

/* ---- all of them ---- */

typedef struct survey {
    int64_t count, oldest, newest; /* complete ones */
} survey;

static mn_status look(void *context, const char *dir, const char *name) {
    survey *s = context;
    mn_buf path = {0};
    const int64_t step = step_of(name);
    if (step < 0) return MN_OK;
    const mn_status st = mn_path_join(&path, dir, name);
    if (st == MN_OK && mn_folder_is_complete(path.data)) {
        if (s->count == 0 || step < s->oldest) s->oldest = step;
        if (s->count == 0 || step > s->newest) s->newest = step;
        s->count++;
    }
    mn_buf_free(&path);
    return st;
}

mn_status mn_folder_newest(mn_buf *path, const char *dir) {
    survey s = {0};
    mn_buf_clear(path);
    MN_TRY(visit_names(dir, look, &s));
    return s.count == 0 ? MN_OK
                        : mn_buf_printf(path, "%s/%s%lld", dir, prefix, (long long)s.newest);
}

mn_status mn_folder_limit(const char *dir, int64_t limit) {
    mn_buf path = {0};
    mn_status st = MN_OK;
    for (bool more = limit > 0; more;) {
        survey s = {0};
        MN_GOTO(visit_names(dir, look, &s));
        more = s.count > limit;
        if (!more) break;
        mn_buf_clear(&path);
        MN_GOTO(mn_buf_printf(&path, "%s/%s%lld", dir, prefix, (long long)s.oldest));
        MN_GOTO(mn_folder_remove(path.data));
    }
done:
    mn_buf_free(&path);
    return st;
}

/* "x.tmp-A1b2C3", as the file writer and the activation cache name what is not finished. */
static bool is_temporary_file(const char *name) {
    const char *tail = strstr(name, ".tmp-");
    return tail && strlen(tail) == strlen(".tmp-XXXXXX");
}

static bool is_temporary_folder(const char *name) {
    const size_t len = strlen(name);
    return strncmp(name, prefix, sizeof prefix - 1) == 0 && len > 4 &&
           strcmp(name + len - 4, ".tmp") == 0;
}

static mn_status clean(void *context, const char *dir, const char *name) {
    const bool *all = context;
    mn_buf path = {0};
    mn_status st = MN_OK;
    if (is_temporary_file(name) || (*all && strcmp(name, "train_results.json") == 0))
        return remove_file(NULL, dir, name);
    const bool checkpoint = step_of(name) >= 0;
    if (!is_temporary_folder(name) && !checkpoint) return MN_OK;
    MN_GOTO(mn_path_join(&path, dir, name));
    if (checkpoint && !*all && mn_folder_is_complete(path.data)) goto done;
    st = mn_folder_remove(path.data);
done:
    mn_buf_free(&path);
    return st;
}

mn_status mn_folder_clean(const char *dir, bool all) { return visit_names(dir, clean, &all); }

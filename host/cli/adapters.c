/* adapters.c - loads the adapter folders of a command line and gives them names. */
#include "cli/adapters.h"

#include "mneme/buf.h"
#include "mneme/file.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The last part of a path, whatever slashes it ends with. */
static char *folder_name(const char *path) {
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/') len--;
    size_t begin = len;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    return mn_strdup_n(path + begin, len - begin);
}

static mn_status begin(mn_adapters *a, size_t most) {
    a->memories = calloc(most, sizeof(mn_memory *));
    a->names = calloc(most, sizeof(char *));
    MN_CHECK(a->memories && a->names, MN_ERR_MEMORY, "no memory for the adapters");
    return MN_OK;
}

static mn_status add(mn_adapters *a, const mn_model *model, const char *dir) {
    MN_TRY(mn_memory_load(&a->memories[a->count], model, dir));
    a->names[a->count++] = folder_name(dir);
    MN_CHECK(a->names[a->count - 1], MN_ERR_MEMORY, "no memory for the adapters");
    return MN_OK;
}

/* The list's next name; *at goes to the comma behind it or to the end. */
static mn_status next_name(mn_buf *name, const char **at) {
    mn_buf_clear(name);
    for (; **at && **at != ','; ++*at) {
        if (strncmp(*at, "\\,", 2) == 0) ++*at;
        MN_TRY(mn_buf_append(name, *at, 1));
    }
    MN_CHECK(name->len > 0, MN_ERR_USAGE, "a name in the list of adapters is empty");
    return MN_OK;
}

static bool own_names_differ(const mn_adapters *a) {
    for (int64_t i = 0; i < a->count; i++)
        for (int64_t k = 0; k < i; k++)
            if (strcmp(a->memories[i]->name, a->memories[k]->name) == 0) return false;
    return true;
}

static mn_status choose_names(mn_adapters *a) {
    if (!own_names_differ(a)) return MN_OK; /* they have the folders' */
    for (int64_t i = 0; i < a->count; i++) {
        const char *name = a->memories[i]->name;
        free(a->names[i]);
        a->names[i] = mn_strdup_n(name, strlen(name));
        MN_CHECK(a->names[i], MN_ERR_MEMORY, "no memory for the adapters");
    }
    return MN_OK;
}

mn_status mn_adapters_open(mn_adapters *out, const mn_model *model, const char *list) {
    mn_status st = MN_OK;
    mn_buf name = {0};
    size_t most = 1;
    *out = (mn_adapters){0};
    if (!list || !*list) return MN_OK;
    for (const char *p = list; *p; p++) most += *p == ',';
    MN_GOTO(begin(out, most));
    for (const char *p = list;; p++) {
        MN_GOTO(next_name(&name, &p));
        MN_CHECK_GOTO(most == 1 || mn_dir_exists(name.data), MN_ERR_IO,
                      "%s: no such adapter folder (a comma in a folder's name is written \\,)",
                      name.data);
        MN_GOTO(add(out, model, name.data));
        if (!*p) break;
    }
    st = choose_names(out);
done:
    mn_buf_free(&name);
    if (st != MN_OK) mn_adapters_close(out);
    return st;
}

mn_status mn_adapters_open_one(mn_adapters *out, const mn_model *model, const char *dir) {
    *out = (mn_adapters){0};
    if (!dir || !*dir) return MN_OK;
    mn_status st = begin(out, 1);
    if (st == MN_OK) st = add(out, model, dir);
    if (st == MN_OK) st = choose_names(out);
    if (st != MN_OK) mn_adapters_close(out);
    return st;
}

void mn_adapters_close(mn_adapters *a) {
    for (int64_t i = 0; i < a->count; i++) {
        mn_memory_close(&a->memories[i]);
        free(a->names[i]);
    }
    free(a->memories);
    free(a->names);
    *a = (mn_adapters){0};
}

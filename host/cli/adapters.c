/* adapters.c - loads the adapter folders of a command line and gives them names. */
#include "cli/adapters.h"

#include "mneme/buf.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* The last part of a path, whatever slashes it ends with. */
static char *folder_name(const char *path, size_t len) {
    while (len > 1 && path[len - 1] == '/') len--;
    size_t begin = len;
    while (begin > 0 && path[begin - 1] != '/') begin--;
    return mn_strdup_n(path + begin, len - begin);
}

static mn_status add(mn_adapters *a, const mn_model *model, const char *path, size_t len) {
    mn_status st = MN_OK;
    char *dir = mn_strdup_n(path, len);
    MN_CHECK(dir, MN_ERR_MEMORY, "no memory for the adapters");
    MN_CHECK_GOTO(len > 0, MN_ERR_USAGE, "a name in the list of adapters is empty");
    MN_GOTO(mn_memory_load(&a->memories[a->count], model, dir));
    a->names[a->count++] = folder_name(path, len);
    MN_CHECK_GOTO(a->names[a->count - 1], MN_ERR_MEMORY, "no memory for the adapters");
done:
    free(dir);
    return st;
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
    size_t most = 1;
    *out = (mn_adapters){0};
    if (!list || !*list) return MN_OK;
    for (const char *p = list; *p; p++) most += *p == ',';
    out->memories = calloc(most, sizeof(mn_memory *));
    out->names = calloc(most, sizeof(char *));
    MN_CHECK_GOTO(out->memories && out->names, MN_ERR_MEMORY, "no memory for the adapters");
    for (const char *p = list;; p++) {
        const size_t len = strcspn(p, ",");
        MN_GOTO(add(out, model, p, len));
        p += len;
        if (!*p) break;
    }
    st = choose_names(out);
done:
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

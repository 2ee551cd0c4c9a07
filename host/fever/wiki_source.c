/* wiki_source.c - finds the files of the wiki dump and cuts them into tasks. */
#include "fever/wiki_source.h"

#include <ctype.h>
#include <dirent.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

enum { USUAL_RANGE = 16 << 20 };

static const char pattern[] = "wiki-*.jsonl";

/* ---- Natural order: wiki-2 before wiki-10 ---------------------------------------------------- */

static size_t digits(const char *text) { return strspn(text, "0123456789"); }

static int natural(const char *a, const char *b) {
    while (*a && *b) {
        if (isdigit((unsigned char)*a) && isdigit((unsigned char)*b)) {
            while (*a == '0' && isdigit((unsigned char)a[1])) a++;
            while (*b == '0' && isdigit((unsigned char)b[1])) b++;
            const size_t la = digits(a), lb = digits(b);
            if (la != lb) return la < lb ? -1 : 1;
            const int order = memcmp(a, b, la);
            if (order != 0) return order;
            a += la;
            b += lb;
        } else if (*a != *b) {
            return (unsigned char)*a < (unsigned char)*b ? -1 : 1;
        } else {
            a++;
            b++;
        }
    }
    return (*a != '\0') - (*b != '\0');
}

static int by_name(const void *a, const void *b) {
    const char *const na = *(char *const *)a, *const nb = *(char *const *)b;
    const int order = natural(na, nb);
    return order ? order : strcmp(na, nb);
}

/* ---- Building the list ----------------------------------------------------------------------- */

static mn_status add_task(mn_wiki_source *source, mn_wiki_task task) {
    MN_TRY(mn_grow(&source->tasks, &source->task_cap, (size_t)source->task_count + 1,
                   sizeof *source->tasks));
    source->tasks[source->task_count++] = task;
    return MN_OK;
}

/* Adds the input and its hash task; takes the map. */
static mn_status add_input(mn_wiki_source *source, const char *path, int64_t bytes) {
    MN_TRY(mn_grow(&source->inputs, &source->input_cap, (size_t)source->input_count + 1,
                   sizeof *source->inputs));
    char *copy = mn_strdup_n(path, strlen(path));
    MN_CHECK(copy, MN_ERR_MEMORY, "%s: no memory", path);
    source->inputs[source->input_count++] = (mn_wiki_input){.path = copy, .bytes = bytes};
    return add_task(source, (mn_wiki_task){.kind = MN_TASK_HASH, .input = source->input_count - 1});
}

static mn_status add_file(mn_wiki_source *source, const char *path, size_t range) {
    mn_map *map = NULL;
    MN_TRY(mn_map_open(&map, path));
    const mn_status st = add_input(source, path, (int64_t)map->size);
    if (st != MN_OK) {
        mn_map_close(&map);
        return st;
    }
    source->inputs[source->input_count - 1].map = map;
    source->text_bytes += (int64_t)map->size;
    for (size_t begin = 0; begin < map->size; begin += range) {
        const size_t left = map->size - begin;
        MN_TRY(add_task(source, (mn_wiki_task){.kind = MN_TASK_RANGE,
                                               .input = source->input_count - 1,
                                               .begin = begin,
                                               .end = begin + (left < range ? left : range)}));
    }
    return MN_OK;
}

typedef struct names {
    char **items;
    size_t count, cap;
} names;

static mn_status add_name(names *list, const char *name) {
    MN_TRY(mn_grow(&list->items, &list->cap, list->count + 1, sizeof *list->items));
    char *copy = mn_strdup_n(name, strlen(name));
    MN_CHECK(copy, MN_ERR_MEMORY, "no memory for file names");
    list->items[list->count++] = copy;
    return MN_OK;
}

static void free_names(names *list) {
    for (size_t i = 0; i < list->count; i++) free(list->items[i]);
    free(list->items);
}

static mn_status list_folder(names *list, const char *path) {
    mn_status st = MN_OK;
    DIR *dir = opendir(path);
    if (!dir) return mn_fail_errno(path);
    const struct dirent *entry;
    while (st == MN_OK && (entry = readdir(dir))) {
        if (fnmatch(pattern, entry->d_name, 0) == 0) st = add_name(list, entry->d_name);
    }
    closedir(dir);
    if (list->count > 0) qsort(list->items, list->count, sizeof *list->items, by_name);
    return st;
}

/* The files themselves, or those in wiki-pages/, where the official zip has them. */
static mn_status add_folder(mn_wiki_source *source, const char *path, size_t range) {
    mn_status st = MN_OK;
    names list = {0};
    mn_buf dir = {0}, file = {0};
    MN_GOTO(mn_buf_puts(&dir, path));
    MN_GOTO(list_folder(&list, dir.data));
    if (list.count == 0) {
        MN_GOTO(mn_path_join(&dir, path, "wiki-pages"));
        if (mn_dir_exists(dir.data)) MN_GOTO(list_folder(&list, dir.data));
    }
    MN_CHECK_GOTO(list.count > 0, MN_ERR_DATA, "%s: no file named %s in this folder", path,
                  pattern);
    for (size_t i = 0; i < list.count; i++) {
        MN_GOTO(mn_path_join(&file, dir.data, list.items[i]));
        MN_GOTO(add_file(source, file.data, range));
    }
done:
    mn_buf_free(&file);
    mn_buf_free(&dir);
    free_names(&list);
    return st;
}

static int by_task(const void *a, const void *b) {
    const mn_wiki_task *ta = a, *tb = b;
    return by_name(&ta->name, &tb->name);
}

static const char *base_name(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static mn_status add_entry(mn_wiki_source *source, zip_t *zip, uint64_t index) {
    mn_status st = MN_OK;
    zip_stat_t info;
    mn_buf name = {0};
    const char *path = source->inputs[0].path;
    MN_CHECK(zip_stat_index(zip, index, 0, &info) == 0, MN_ERR_DATA, "%s: entry %llu: %s", path,
             (unsigned long long)index, zip_strerror(zip));
    if (!(info.valid & ZIP_STAT_NAME) || fnmatch(pattern, base_name(info.name), 0) != 0) {
        return MN_OK;
    }
    MN_GOTO(mn_buf_printf(&name, "%s:%s", path, info.name));
    MN_GOTO(add_task(source, (mn_wiki_task){.kind = MN_TASK_ENTRY, .entry = index}));
    source->tasks[source->task_count - 1].name = name.data;
    name = (mn_buf){0};
    if ((info.valid & ZIP_STAT_SIZE) && info.size < INT64_MAX / 1024) {
        source->text_bytes += (int64_t)info.size;
    }
done:
    mn_buf_free(&name);
    return st;
}

static mn_status open_zip(zip_t **out, const char *path) {
    int code = 0;
    *out = zip_open(path, ZIP_RDONLY, &code);
    if (*out) return MN_OK;
    zip_error_t error;
    zip_error_init_with_code(&error, code);
    const mn_status st = mn_fail(MN_ERR_DATA, "%s: %s", path, zip_error_strerror(&error));
    zip_error_fini(&error);
    return st;
}

static mn_status add_zip(mn_wiki_source *source, const char *path, int64_t bytes) {
    mn_status st = MN_OK;
    zip_t *zip = NULL;
    MN_GOTO(add_input(source, path, bytes));
    MN_GOTO(open_zip(&zip, path));
    const zip_int64_t count = zip_get_num_entries(zip, 0);
    for (zip_int64_t i = 0; i < count; i++) MN_GOTO(add_entry(source, zip, (uint64_t)i));
    MN_CHECK_GOTO(source->task_count > 1, MN_ERR_DATA, "%s: no entry named %s in this zip", path,
                  pattern);
    qsort(source->tasks + 1, (size_t)source->task_count - 1, sizeof *source->tasks, by_task);
done:
    if (zip) zip_discard(zip);
    return st;
}

static mn_status add_path(mn_wiki_source *source, const char *path, size_t range) {
    if (mn_dir_exists(path)) return add_folder(source, path, range);
    mn_map *map = NULL;
    MN_TRY(mn_map_open(&map, path));
    char head[4] = {0};
    memcpy(head, map->data ? (const char *)map->data : "", map->size < 4 ? map->size : 4);
    const int64_t bytes = (int64_t)map->size;
    mn_map_close(&map);
    if (memcmp(head, "PK\003\004", 4) == 0 || memcmp(head, "PK\005\006", 4) == 0) {
        return add_zip(source, path, bytes);
    }
    MN_CHECK(memcmp(head, "\x1f\x8b", 2) != 0, MN_ERR_UNSUPPORTED,
             "%s: gzip is not read here: unpack it, or make a zip of wiki-*.jsonl files", path);
    MN_CHECK(bytes > 0, MN_ERR_DATA, "%s: the file is empty, wiki pages were expected", path);
    return add_file(source, path, range);
}

mn_status mn_wiki_source_open(mn_wiki_source **out, const char *path, size_t range) {
    *out = NULL;
    mn_wiki_source *source = calloc(1, sizeof *source);
    MN_CHECK(source, MN_ERR_MEMORY, "%s: no memory", path);
    const mn_status st = add_path(source, path, range ? range : USUAL_RANGE);
    if (st != MN_OK) mn_wiki_source_close(&source);
    *out = source;
    return st;
}

void mn_wiki_source_close(mn_wiki_source **source) {
    mn_wiki_source *s = *source;
    if (!s) return;
    for (int64_t i = 0; i < s->task_count; i++) free(s->tasks[i].name);
    for (int64_t i = 0; i < s->input_count; i++) {
        mn_map_close(&s->inputs[i].map);
        free(s->inputs[i].path);
    }
    free(s->tasks);
    free(s->inputs);
    free(s);
    *source = NULL;
}

/* ---- Working on a task ----------------------------------------------------------------------- */

static size_t line_start(const mn_map *map, size_t at) {
    if (at == 0 || at >= map->size) return at;
    const unsigned char *newline = memchr(map->data + at - 1, '\n', map->size - (at - 1));
    return newline ? (size_t)(newline - map->data) + 1 : map->size;
}

void mn_wiki_range(const char **data, size_t *len, const mn_map *map, const mn_wiki_task *task) {
    const size_t begin = line_start(map, task->begin), end = line_start(map, task->end);
    *data = (const char *)map->data + begin;
    *len = end - begin;
}

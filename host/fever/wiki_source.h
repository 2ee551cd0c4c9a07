/* wiki_source.h - the wiki dump as a list of tasks: a folder of wiki-*.jsonl, a zip, or one file.
 *
 * The tasks stand in the dump's order. Jsonl files are mapped and cut at newlines into ranges; an
 * entry of a zip is one task; hashing an input is one too, so that it runs beside the reading. */
#ifndef MNEME_HOST_FEVER_WIKI_SOURCE_H
#define MNEME_HOST_FEVER_WIKI_SOURCE_H

#include "mneme/file.h"

#include <stddef.h>
#include <stdint.h>

typedef struct mn_wiki_input {
    mn_map *map; /* NULL for a zip, which each worker opens for itself */
    char *path;
    int64_t bytes;
    char sha256[MN_SHA256_HEX]; /* filled by its hash task */
} mn_wiki_input;

typedef enum mn_wiki_task_kind { MN_TASK_HASH, MN_TASK_RANGE, MN_TASK_ENTRY } mn_wiki_task_kind;

typedef struct mn_wiki_task {
    mn_wiki_task_kind kind;
    int64_t input;
    size_t begin, end; /* MN_TASK_RANGE: the lines that start in [begin, end) */
    uint64_t entry;    /* MN_TASK_ENTRY: index in the zip */
    char *name;        /* of the entry, "dump.zip:wiki-pages/wiki-001.jsonl" */
} mn_wiki_task;

typedef struct mn_wiki_source {
    mn_wiki_input *inputs;
    int64_t input_count;
    mn_wiki_task *tasks;
    int64_t task_count;
    int64_t text_bytes; /* of jsonl in all; what progress counts */
    size_t input_cap, task_cap;
} mn_wiki_source;

/* `range` is the length of a range in bytes; 0: the usual one. Tests make it small. */
mn_status mn_wiki_source_open(mn_wiki_source **out, const char *path, size_t range);
void mn_wiki_source_close(mn_wiki_source **source);

/* The bytes of a range task from its first line's start to its last line's end. */
void mn_wiki_range(const char **data, size_t *len, const mn_map *map, const mn_wiki_task *task);

/* Lines come out of an entry in blocks of whole lines; the last one may lack its newline.
 * *len is 0 at the end. The block is valid until the next call. */
typedef struct mn_zip_reader mn_zip_reader;
mn_status mn_zip_reader_open(mn_zip_reader **out, const char *path);
mn_status mn_zip_reader_start(mn_zip_reader *reader, const mn_wiki_task *task);
mn_status mn_zip_reader_next(mn_zip_reader *reader, const char **data, size_t *len);
void mn_zip_reader_close(mn_zip_reader **reader);

#endif

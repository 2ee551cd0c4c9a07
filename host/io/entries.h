/* entries.h - the list that the readers of both file kinds fill: one entry for each stored tensor.
 *
 * The list owns the names; data points into the file, `file` belongs to whoever opened it. An entry
 * whose dtype mneme cannot compute with keeps its place and is refused when somebody asks for it. */
#ifndef MNEME_IO_ENTRIES_H
#define MNEME_IO_ENTRIES_H

#include "mneme/checkpoint.h"

#include <cjson/cJSON.h>

typedef struct mn_entry {
    mn_stored stored;
    const char *refused; /* NULL, or the name of the dtype that mneme does not read (static) */
} mn_entry;

typedef struct mn_entries {
    mn_entry *data;
    size_t len, cap;
} mn_entries;

/* Copies the name. Fails when it is not UTF-8 or holds a NUL. */
mn_status mn_entries_add(mn_entries *list, const char *name, size_t len, const mn_tensor *view,
                         const char *refused, const char *file);
mn_status mn_entries_sort(mn_entries *list); /* by name; a name that occurs twice fails */
void mn_entries_free(mn_entries *list);

bool mn_io_valid_name(const char *text, size_t len); /* and without a NUL */

/* A name from a file, made fit for a message: quoted, shortened, control characters replaced. */
typedef struct mn_shown {
    char text[168];
} mn_shown;
mn_shown mn_show(const char *name, size_t len);
mn_shown mn_show_shape(const int64_t *shape, int ndim);

/* Elements of a shape; false when a dimension is negative or the product passes 2^63. A dimension 0
 * does not excuse an overflow before it, so that later products in the same order are safe. */
bool mn_shape_count(int64_t *count, const int64_t *shape, int ndim);

/* The first key that occurs twice in a JSON object, or NULL, in *twice. */
mn_status mn_json_twice(const char **twice, const cJSON *object);

/* Fails when the file is the text that Git LFS leaves in the place of a file not fetched yet. */
mn_status mn_refuse_lfs_pointer(const void *data, size_t size, const char *file);

#endif

/* file.h - files as mneme uses them: mapped for reading, replaced atomically when written.
 *
 * A map is read-only and shared; its owner closes it after the last view of it is gone.
 * A writer writes to a temporary file beside `path`; commit flushes it to the disk and renames it,
 * so that `path` holds either the old contents or all of the new ones. Close without commit
 * removes the temporary file. */
#ifndef MNEME_FILE_H
#define MNEME_FILE_H

#include "mneme/buf.h"
#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mn_map {
    const unsigned char *data; /* NULL for an empty file */
    size_t size;
    char *path;
} mn_map;

mn_status mn_map_open(mn_map **out, const char *path);
void mn_map_close(mn_map **map);
/* Gives whole pages within back to the system: a map reads them again when they are used, other memory is
 * zero then. */
void mn_release_pages(const void *memory, size_t bytes);
double mn_memory_available(void); /* bytes without swapping; huge when nobody says */

typedef struct mn_writer mn_writer;
mn_status mn_writer_open(mn_writer **out, const char *path);
mn_status mn_writer_write(mn_writer *writer, const void *bytes, size_t len);
mn_status mn_writer_printf(mn_writer *writer, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
mn_status mn_writer_commit(mn_writer *writer); /* flush, sync, rename, sync the folder */
void mn_writer_close(mn_writer **writer);      /* safe twice and after commit */
/* Removes the temporary files that writers of `path` left when they were killed; for who is the only
 * one to write it. */
mn_status mn_writer_clean(const char *path);

mn_status mn_write_file(const char *path, const void *bytes, size_t len); /* atomic */
mn_status mn_read_file(mn_buf *out, const char *path, size_t max_bytes);  /* whole small file */
mn_status mn_make_dirs(const char *path);                                 /* like mkdir -p */
bool mn_file_exists(const char *path);
bool mn_dir_exists(const char *path);
mn_status mn_path_join(mn_buf *out, const char *dir, const char *name); /* clears `out` first */

/* SHA-256 of a whole file as 64 hexadecimal digits and a NUL. */
enum { MN_SHA256_HEX = 65 };
mn_status mn_sha256_file(char hex[MN_SHA256_HEX], const char *path);
/* The same for gigabytes: MN_STOPPED when a stop was requested (signals.h). */
mn_status mn_sha256_large(char hex[MN_SHA256_HEX], const char *path);

#endif

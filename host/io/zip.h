/* zip.h - the entries of a zip archive that lies in memory, as views of their stored bytes.
 *
 * Read here and not with a library because the views must point into the map. Only what a PyTorch
 * file is: one disk, nothing compressed or encrypted, ZIP64 allowed. Checksums are not computed. */
#ifndef MNEME_IO_ZIP_H
#define MNEME_IO_ZIP_H

#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mn_zip_entry {
    const char *name; /* in the archive, without a NUL */
    size_t name_len;
    size_t begin, size; /* the stored bytes */
    size_t start;       /* of the local header in front of them */
} mn_zip_entry;

typedef struct mn_zip {
    mn_zip_entry *entries; /* by name */
    size_t len;
} mn_zip;

bool mn_zip_signature(const unsigned char *data, size_t size); /* begins like an archive? */
/* Checks the whole directory; `file` is for messages. On failure *out is empty. */
mn_status mn_zip_read(mn_zip *out, const unsigned char *data, size_t size, const char *file);
const mn_zip_entry *mn_zip_find(const mn_zip *zip, const char *name, size_t len); /* or NULL */
void mn_zip_free(mn_zip *zip);

#endif

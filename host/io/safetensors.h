/* safetensors.h - one file of the safetensors format, read from memory. */
#ifndef MNEME_IO_SAFETENSORS_H
#define MNEME_IO_SAFETENSORS_H

#include "io/entries.h"
#include "mneme/json.h"

#define MN_SAFETENSORS_METADATA "__metadata__"
enum { MN_SAFETENSORS_MAX_HEADER = 100000000 }; /* the format's own limit */

/* Appends the tensors of the file to `list`. `file` must outlive the list. */
mn_status mn_safetensors_read(mn_entries *list, const unsigned char *data, size_t size,
                              const char *file);

/* An object of strings without a key twice. */
mn_status mn_safetensors_check_metadata(const mn_json *doc, const cJSON *node);

#endif

/* prepared.h - the parsers behind mn_fever_open, which also take memory. In this order: pages, then
 * rows, then demonstrations. `name` is the file's, for messages. */
#ifndef MNEME_HOST_FEVER_PREPARED_H
#define MNEME_HOST_FEVER_PREPARED_H

#include "mneme/fever.h"

mn_status mn_prepared_read_pages(mn_fever *fever, const void *data, size_t size, const char *name);
mn_status mn_prepared_read_rows(mn_fever *fever, bool train, const void *data, size_t size,
                                const char *name);
mn_status mn_prepared_read_demos(mn_fever *fever, const void *data, size_t size, const char *name);

#endif

/* adapters.h - the memories that a command line names, loaded beside one model. */
#ifndef MNEME_CLI_ADAPTERS_H
#define MNEME_CLI_ADAPTERS_H

#include "mneme/memory.h"

#include <stddef.h>

typedef struct mn_adapters {
    mn_memory **memories; /* [count] */
    char **names;         /* [count] all different */
    int64_t count;
} mn_adapters;

/* `list`: folders, separated by commas, where "\," is a comma of a folder's name; NULL or "": none. A
 * memory has the name that its adapter_config.json gives; where two have the same one, all are called as
 * their folders are. Close it before the model. */
mn_status mn_adapters_open(mn_adapters *out, const mn_model *model, const char *list);
/* The one of `dir`, whatever characters its name has; NULL or "": none. */
mn_status mn_adapters_open_one(mn_adapters *out, const mn_model *model, const char *dir);
void mn_adapters_close(mn_adapters *adapters); /* safe twice */

#endif

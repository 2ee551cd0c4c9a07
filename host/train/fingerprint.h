/* fingerprint.h (internal) - short identities of what a training depends on: FNV-1a, 64 bits. They tell
 * inputs apart that were changed by mistake, not by an attacker. */
#ifndef MNEME_TRAIN_FINGERPRINT_H
#define MNEME_TRAIN_FINGERPRINT_H

#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MN_FINGERPRINT_SEED UINT64_C(14695981039346656037)
uint64_t mn_fingerprint(uint64_t hash, const void *bytes, size_t len);

/* Of a model folder: config.json, and of each weights file the size and 1024 blocks of 16 KiB spread over
 * it (the whole file when it is small): reading 26 GB before every start would be too slow.
 * Without `weights`: of config.json alone. */
mn_status mn_fingerprint_model(uint64_t *out, const char *dir, bool weights);

#endif

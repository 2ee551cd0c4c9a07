/* titles.h - page titles as numbers: each distinct title, in Unicode NFC, has one index.
 *
 * FEVER's claims write some titles decomposed (NFD) and its wiki dump composed (NFC); every title
 * goes through here before it is compared. Adding is for one thread; once the table is complete,
 * any number of threads may look titles up. It also serves as a set of claim texts. */
#ifndef MNEME_HOST_FEVER_TITLES_H
#define MNEME_HOST_FEVER_TITLES_H

#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mn_titles mn_titles;

mn_status mn_titles_open(mn_titles **out);
void mn_titles_close(mn_titles **titles);

/* *index: of the NFC form of `text`. Text that is not UTF-8 fails with MN_ERR_DATA. */
mn_status mn_titles_add(int64_t *index, mn_titles *titles, const char *text, size_t len);
/* The same without adding: *index is -1 when the title is unknown. */
mn_status mn_titles_find(int64_t *index, const mn_titles *titles, const char *text, size_t len);

int64_t mn_titles_count(const mn_titles *titles);
const char *mn_titles_name(const mn_titles *titles, int64_t index); /* the NFC form */
uint64_t mn_titles_hash(const mn_titles *titles, int64_t index);    /* depends on the name only */

bool mn_is_utf8(const char *text, size_t len);

#endif

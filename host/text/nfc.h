/* nfc.h - Unicode normal form C in time linear in the text, whatever the text. */
#ifndef MNEME_TEXT_NFC_H
#define MNEME_TEXT_NFC_H

#include "mneme/buf.h"
#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>

/* Text below U+0300 is in NFC already: false means that there is nothing to do. */
bool mn_nfc_needed(const char *text, size_t len);

/* Appends the NFC of well-formed text. */
mn_status mn_nfc(mn_buf *out, const char *text, size_t len);

#endif

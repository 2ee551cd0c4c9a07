/* utf8.h - UTF-8 for the tokenizers: find and replace what is malformed, step over characters, and
 * the printable alphabet in which byte-level vocabularies write bytes. */
#ifndef MNEME_TEXT_UTF8_H
#define MNEME_TEXT_UTF8_H

#include "mneme/buf.h"
#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MN_REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */
#define MN_METASPACE "\xE2\x96\x81"   /* U+2581, how vocabularies write a space */

/* Length of the longest well-formed prefix. */
size_t mn_utf8_valid(const char *text, size_t len);

/* `text` starts with something malformed: how many bytes one U+FFFD stands for. That is the longest
 * start of a well-formed character, at least one byte (as WHATWG decoders and Python do). */
size_t mn_utf8_malformed(const char *text, size_t len);

/* Appends `text` with every malformed place replaced. */
mn_status mn_utf8_repair(mn_buf *out, const char *text, size_t len);

/* The character at the start of well-formed text, len > 0; returns its bytes. */
size_t mn_utf8_get(uint32_t *point, const char *text);

/* Bytes of the character that `lead` opens in well-formed text. */
static inline size_t mn_utf8_size(char lead) {
    const unsigned char c = (unsigned char)lead;
    return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4;
}

/* Byte-level vocabularies write each byte as one printable character: itself where it is printable
 * Latin-1, else one from U+0100 on. -1: no character of that alphabet. */
uint32_t mn_byte_to_char(unsigned char byte);
int mn_char_to_byte(uint32_t point);

/* Appends the bytes that `text`, well-formed, writes in that alphabet; *all is false and nothing is
 * appended when a character is not in it. */
mn_status mn_bytes_of_chars(mn_buf *out, const char *text, size_t len, bool *all);

/* The byte that a token written <0xNN> names, else -1. Its digits are capitals, or `any_case`. */
int mn_byte_token(const char *text, size_t len, bool any_case);

#endif

/* decode.h - tokens back to text: a list of steps over a list of strings. */
#ifndef MNEME_TEXT_DECODE_H
#define MNEME_TEXT_DECODE_H

#include "text/normalize.h"

#include "mneme/buf.h"
#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { MN_DECODE_STEPS = 16 };

typedef enum mn_dec_kind {
    MN_DEC_BYTES,     /* the printable alphabet back to bytes, all strings to one */
    MN_DEC_REPLACE,   /* every `from` becomes `to` */
    MN_DEC_FALLBACK,  /* runs of <0xNN> become characters; a run that is none becomes U+FFFD each */
    MN_DEC_PIECEWISE, /* the same, but good characters of such a run are kept (SentencePiece) */
    MN_DEC_FUSE,      /* all strings to one */
    MN_DEC_STRIP,     /* at most `start` and `stop` times `from` off the ends of every string */
    MN_DEC_DUMMY, /* one `from` off the front of the text; start: of each string until text is left */
    MN_DEC_METASPACE /* `from` becomes a space; start != 0: vanishes in the first string */
} mn_dec_kind;

typedef struct mn_dec_step {
    mn_dec_kind kind;
    char from[MN_REPLACE_LIMIT], to[MN_REPLACE_LIMIT];
    size_t from_len, to_len, start, stop;
} mn_dec_step;

typedef struct mn_decoder {
    mn_dec_step steps[MN_DECODE_STEPS];
    size_t count;
    bool spaced; /* no steps, but a space between the tokens */
} mn_decoder;

/* Strings one behind the other; zero it before, free it after. */
typedef struct mn_parts {
    mn_buf text;
    size_t *ends;
    size_t count, cap;
} mn_parts;

mn_status mn_parts_add(mn_parts *parts, const char *text, size_t len);
void mn_parts_free(mn_parts *parts);

/* Appends the text of the tokens in `parts`, which is used up. `raw`: a single token, whose bytes are
 * wanted as they stand inside a text, be they well-formed or not. */
mn_status mn_decode(const mn_decoder *decoder, mn_parts *parts, bool raw, mn_buf *out);

#endif

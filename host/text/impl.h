/* impl.h - what a tokenizer consists of, and the functions that fill one from a file. */
#ifndef MNEME_TEXT_IMPL_H
#define MNEME_TEXT_IMPL_H

#include "text/bpe.h"
#include "text/decode.h"
#include "text/matcher.h"
#include "text/normalize.h"
#include "text/pretokenize.h"
#include "text/vocab.h"

#include "mneme/json.h"
#include "mneme/tokenizer.h"

#include <stdbool.h>
#include <stdint.h>

struct mn_tokenizer {
    char *name; /* of the file, for errors */
    const char *kind;
    mn_vocab vocab;              /* all tokens, the added ones included */
    bool *special;               /* by id: control tokens, which are no text */
    mn_matcher added_raw;        /* added tokens that are looked for in the text as it is */
    mn_matcher added_normalized; /* ... and in the normalized text */
    mn_normalizer normalizer;
    mn_pretokenizer pre;
    mn_bpe bpe;
    mn_decoder decoder;
    mn_ids prefix, suffix; /* what MN_TOKENIZE_SPECIAL puts around a text */
    int32_t bos, eos;      /* -1: none */
};

/* Both own nothing but fill *t, which the caller closes. */
mn_status mn_tokenizer_read_json(mn_tokenizer *t, const char *text, size_t len);
mn_status mn_tokenizer_read_model(mn_tokenizer *t, const void *data, size_t len);

/* The parts of tokenizer.json, in this order. */
mn_status mn_json_pipeline(mn_tokenizer *t, const mn_json *doc); /* normalizer, cutting, decoder */
mn_status mn_json_bpe(mn_tokenizer *t, const mn_json *doc);
mn_status mn_json_added(mn_tokenizer *t, const mn_json *doc);
mn_status mn_json_template(mn_tokenizer *t, const mn_json *doc);

/* Like mn_json_fail, but "<what> is not supported" and the node's value: the file is sound. */
mn_status mn_json_unsupported(const mn_json *doc, const cJSON *node, const char *what);
/* The string `key` of `obj`, with its length; well-formed UTF-8 of at most `limit` bytes. */
mn_status mn_json_text(const char **out, size_t *len, const mn_json *doc, const cJSON *obj,
                       const char *key, size_t limit);

/* bos and eos where the tokenizer's own file leaves them open: from tokenizer_config.json, then
 * config.json in `folder` (may be NULL), then by their usual names. A SentencePiece model also takes
 * add_bos_token and add_eos_token from there. */
mn_status mn_tokenizer_find_ends(mn_tokenizer *t, const char *folder, bool sentencepiece);

#endif

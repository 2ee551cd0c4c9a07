/* tokenizer.h - text to token ids and back, for the tokenizers that Pythia and Llama-2 publish.
 *
 * Three file formats: tokenizer.json with byte-level BPE (GPT-NeoX: NFC, added tokens cut out first,
 * the GPT-2 split pattern), tokenizer.json with metaspace BPE and byte fallback (Llama), and
 * SentencePiece's tokenizer.model (BPE). A tokenizer is read-only after opening: any number of
 * threads may use it at once. */
#ifndef MNEME_TOKENIZER_H
#define MNEME_TOKENIZER_H

#include "mneme/buf.h"
#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mn_tokenizer mn_tokenizer;

/* `path`: a file, or a folder with tokenizer.json (preferred) or tokenizer.model. Special ids that
 * tokenizer.json leaves open (bos, eos) come from tokenizer_config.json / config.json beside it, then
 * from the usual names ("<s>", "</s>", "<|endoftext|>" ...). What a file asks for and mneme does not
 * do is MN_ERR_UNSUPPORTED and named, never left out. */
mn_status mn_tokenizer_open(mn_tokenizer **out, const char *path);
void mn_tokenizer_close(mn_tokenizer **tokenizer);

/* The same from memory, with nothing beside it; `name` stands in errors. */
mn_status mn_tokenizer_from_json(mn_tokenizer **out, const char *text, size_t len,
                                 const char *name);
mn_status mn_tokenizer_from_model(mn_tokenizer **out, const void *data, size_t len,
                                  const char *name);

enum {
    MN_TOKENIZE_SPECIAL = 1, /* encode: add BOS where this tokenizer's template does (Llama: yes) */
    MN_TOKENIZE_CONTINUE = 2 /* encode: the text continues a line: no metaspace is put in front */
};

/* Appends the ids of `text` to `out`, which is as before when the call fails. Malformed UTF-8 counts
 * as U+FFFD. Special tokens written out in the text ("</s>", "<|endoftext|>") become their ids, as
 * Hugging Face tokenizers do: where tokenizer.json marks them "normalized" (older Llama files) only at
 * the start of the text and behind a space. */
mn_status mn_tokenizer_encode(const mn_tokenizer *tokenizer, const char *text, size_t len,
                              unsigned flags, mn_ids *out);

/* Appends the text of `ids` to `out`: always valid UTF-8, malformed byte runs become U+FFFD. Special
 * tokens are left out when `skip_special`. An id outside the vocabulary is an error. Decoding an
 * encoded text gives its NFC (NeoX) or the text itself (Llama), but U+2581 comes back as a space. */
mn_status mn_tokenizer_decode(const mn_tokenizer *tokenizer, const int32_t *ids, size_t count,
                              bool skip_special, mn_buf *out);

/* The raw bytes of one token as it stands inside a text (metaspace as a space); malformed pieces of
 * UTF-8 stay as they are. For decoding one token after the other. */
mn_status mn_tokenizer_piece(const mn_tokenizer *tokenizer, int32_t id, mn_buf *out);

int32_t mn_tokenizer_size(const mn_tokenizer *tokenizer);     /* highest id + 1 */
int32_t mn_tokenizer_bos(const mn_tokenizer *tokenizer);      /* -1: none */
int32_t mn_tokenizer_eos(const mn_tokenizer *tokenizer);      /* -1: none */
const char *mn_tokenizer_kind(const mn_tokenizer *tokenizer); /* "byte-level BPE" ... */

#endif

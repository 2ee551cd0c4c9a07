/* sentencepiece_proto.h - the parts of SentencePiece's tokenizer.model that encoding needs. */
#ifndef MNEME_TEXT_SENTENCEPIECE_PROTO_H
#define MNEME_TEXT_SENTENCEPIECE_PROTO_H

#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum mn_piece_type {
    MN_PIECE_NORMAL = 1,
    MN_PIECE_UNKNOWN = 2,
    MN_PIECE_CONTROL = 3,
    MN_PIECE_USER = 4,
    MN_PIECE_UNUSED = 5,
    MN_PIECE_BYTE = 6
} mn_piece_type;

typedef struct mn_piece {
    const char *text; /* inside the file's data */
    size_t len;
    float score;
    mn_piece_type type;
} mn_piece;

typedef struct mn_sp_model {
    mn_piece *pieces;
    size_t count, cap;
    uint64_t model_type; /* 2: BPE */
    bool byte_fallback, space_as_suffix;
    bool dummy_prefix, squeeze, escape; /* add_dummy_prefix, remove_extra_whitespaces, ... */
    bool charsmap;                      /* some characters are rewritten before or after */
    const char *bos, *eos;              /* names of the pieces */
    size_t bos_len, eos_len;
} mn_sp_model;

/* `name` is the file's, for errors. The model points into `data`. Free it in any case. */
mn_status mn_sp_parse(mn_sp_model *model, const void *data, size_t len, const char *name);
void mn_sp_free(mn_sp_model *model);

#endif

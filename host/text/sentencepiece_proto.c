/* sentencepiece_proto.c - ModelProto of SentencePiece: field numbers and defaults. */
#include "text/sentencepiece_proto.h"

#include "text/protobuf.h"
#include "text/utf8.h"
#include "text/vocab.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MODEL_PIECE = 1, MODEL_TRAINER = 2, MODEL_NORMALIZER = 3, MODEL_DENORMALIZER = 5 };
enum { PIECE_TEXT = 1, PIECE_SCORE = 2, PIECE_TYPE = 3 };
enum {
    TRAINER_TYPE = 3,
    TRAINER_SUFFIX = 24,
    TRAINER_FALLBACK = 35,
    TRAINER_BOS = 46,
    TRAINER_EOS = 47
};
enum { NORM_CHARSMAP = 2, NORM_PREFIX = 3, NORM_SQUEEZE = 4, NORM_ESCAPE = 5 };

static mn_status broken(const char *name, const char *what) {
    return mn_fail(MN_ERR_DATA, "%s: no SentencePiece model: %s is broken", name, what);
}

/* A field that must have this wire type. */
#define WANT(field, kind, name, what)                                                              \
    do {                                                                                           \
        if ((field).wire != (kind)) return broken(name, what);                                     \
    } while (0)

static mn_status parse_piece(mn_sp_model *m, const mn_proto_field *message, const char *name) {
    mn_proto proto = mn_proto_over(message->data, message->len);
    mn_proto_field f;
    mn_piece piece = {.type = MN_PIECE_NORMAL};
    while (mn_proto_next(&proto, &f)) {
        if (f.number == PIECE_TEXT) {
            WANT(f, MN_WIRE_BYTES, name, "the text of a piece");
            piece.text = (const char *)f.data;
            piece.len = f.len;
        } else if (f.number == PIECE_SCORE) {
            WANT(f, MN_WIRE_32, name, "the score of a piece");
            const uint32_t bits = (uint32_t)f.value;
            memcpy(&piece.score, &bits, sizeof bits);
        } else if (f.number == PIECE_TYPE) {
            WANT(f, MN_WIRE_VARINT, name, "the type of a piece");
            MN_CHECK(f.value >= MN_PIECE_NORMAL && f.value <= MN_PIECE_BYTE, MN_ERR_UNSUPPORTED,
                     "%s: piece %zu has the unknown type %llu", name, m->count,
                     (unsigned long long)f.value);
            piece.type = (mn_piece_type)f.value;
        }
    }
    if (proto.broken) return broken(name, "a piece");
    MN_CHECK(piece.len > 0, MN_ERR_DATA, "%s: piece %zu is empty", name, m->count);
    MN_CHECK(mn_utf8_valid(piece.text, piece.len) == piece.len, MN_ERR_DATA,
             "%s: piece %zu is malformed UTF-8", name, m->count);
    MN_CHECK(!isnan(piece.score), MN_ERR_DATA, "%s: the score of piece %zu is not a number", name,
             m->count);
    MN_CHECK(m->count < MN_VOCAB_LIMIT, MN_ERR_UNSUPPORTED,
             "%s: more than %d pieces are not supported", name, (int)MN_VOCAB_LIMIT);
    MN_TRY(mn_grow(&m->pieces, &m->cap, m->count + 1, sizeof *m->pieces));
    m->pieces[m->count++] = piece;
    return MN_OK;
}

static mn_status parse_trainer(mn_sp_model *m, const mn_proto_field *message, const char *name) {
    mn_proto proto = mn_proto_over(message->data, message->len);
    mn_proto_field f;
    while (mn_proto_next(&proto, &f)) {
        switch (f.number) {
        case TRAINER_TYPE:
            WANT(f, MN_WIRE_VARINT, name, "model_type");
            m->model_type = f.value;
            break;
        case TRAINER_SUFFIX:
            WANT(f, MN_WIRE_VARINT, name, "treat_whitespace_as_suffix");
            m->space_as_suffix = f.value != 0;
            break;
        case TRAINER_FALLBACK:
            WANT(f, MN_WIRE_VARINT, name, "byte_fallback");
            m->byte_fallback = f.value != 0;
            break;
        case TRAINER_BOS:
            WANT(f, MN_WIRE_BYTES, name, "bos_piece");
            m->bos = (const char *)f.data;
            m->bos_len = f.len;
            break;
        case TRAINER_EOS:
            WANT(f, MN_WIRE_BYTES, name, "eos_piece");
            m->eos = (const char *)f.data;
            m->eos_len = f.len;
            break;
        default: break;
        }
    }
    return proto.broken ? broken(name, "trainer_spec") : MN_OK;
}

static mn_status parse_normalizer(mn_sp_model *m, const mn_proto_field *message, const char *name) {
    mn_proto proto = mn_proto_over(message->data, message->len);
    mn_proto_field f;
    while (mn_proto_next(&proto, &f)) {
        if (f.number == NORM_CHARSMAP) {
            WANT(f, MN_WIRE_BYTES, name, "precompiled_charsmap");
            m->charsmap = m->charsmap || f.len > 0;
            continue;
        }
        bool *flag = f.number == NORM_PREFIX    ? &m->dummy_prefix
                     : f.number == NORM_SQUEEZE ? &m->squeeze
                     : f.number == NORM_ESCAPE  ? &m->escape
                                                : NULL;
        if (!flag) continue;
        WANT(f, MN_WIRE_VARINT, name, "normalizer_spec");
        *flag = f.value != 0;
    }
    return proto.broken ? broken(name, "normalizer_spec") : MN_OK;
}

/* The way back only matters for its map of characters. */
static mn_status parse_denormalizer(mn_sp_model *m, const mn_proto_field *message,
                                    const char *name) {
    mn_proto proto = mn_proto_over(message->data, message->len);
    mn_proto_field f;
    while (mn_proto_next(&proto, &f))
        if (f.number == NORM_CHARSMAP) m->charsmap = m->charsmap || f.len > 0;
    return proto.broken ? broken(name, "denormalizer_spec") : MN_OK;
}

mn_status mn_sp_parse(mn_sp_model *m, const void *data, size_t len, const char *name) {
    mn_proto proto = mn_proto_over(data, len);
    mn_proto_field f;
    *m = (mn_sp_model){.model_type = 1,
                       .dummy_prefix = true,
                       .squeeze = true,
                       .escape = true,
                       .bos = "<s>",
                       .bos_len = 3,
                       .eos = "</s>",
                       .eos_len = 4};
    while (mn_proto_next(&proto, &f)) {
        if (f.number > MODEL_DENORMALIZER) continue;
        WANT(f, MN_WIRE_BYTES, name, "a field");
        if (f.number == MODEL_PIECE) MN_TRY(parse_piece(m, &f, name));
        else if (f.number == MODEL_TRAINER) MN_TRY(parse_trainer(m, &f, name));
        else if (f.number == MODEL_NORMALIZER) MN_TRY(parse_normalizer(m, &f, name));
        else if (f.number == MODEL_DENORMALIZER) MN_TRY(parse_denormalizer(m, &f, name));
    }
    if (proto.broken) return broken(name, "a field");
    MN_CHECK(m->count > 0, MN_ERR_DATA, "%s: no SentencePiece model: it has no pieces", name);
    return MN_OK;
}

void mn_sp_free(mn_sp_model *m) {
    free(m->pieces);
    *m = (mn_sp_model){0};
}

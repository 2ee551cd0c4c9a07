/* sentencepiece.c - a SentencePiece BPE model as a tokenizer. SentencePiece merges the pair of
 * neighbours whose joined text is the piece of highest score; here every way to split a piece into
 * two symbols becomes a merge, ranked by that score, so one merging routine serves all formats. */
#include "text/impl.h"

#include "text/sentencepiece_proto.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

enum { TYPE_BPE = 2 };

typedef struct ranked {
    float score;
    uint32_t piece;
} ranked;

static int by_score(const void *a, const void *b) {
    const ranked *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    return x->piece < y->piece ? -1 : x->piece > y->piece;
}

static mn_status check(const mn_sp_model *m, const char *name) {
    static const char *const types[] = {"0", "unigram", "BPE", "word", "char"};
    MN_CHECK(m->model_type == TYPE_BPE, MN_ERR_UNSUPPORTED,
             "%s: trainer_spec.model_type %s is not supported, only BPE", name,
             m->model_type < 5 ? types[m->model_type] : "?");
    MN_CHECK(!m->charsmap, MN_ERR_UNSUPPORTED,
             "%s: a precompiled_charsmap (normalization other than identity) is not supported",
             name);
    MN_CHECK(!m->space_as_suffix, MN_ERR_UNSUPPORTED,
             "%s: trainer_spec.treat_whitespace_as_suffix is not supported", name);
    return MN_OK;
}

static mn_status check_piece(const mn_sp_model *m, const mn_piece *p, size_t id, const char *name) {
    const int len = (int)(p->len < 100 ? p->len : 100);
    MN_CHECK(p->len <= MN_MATCH_LIMIT, MN_ERR_UNSUPPORTED,
             "%s: piece %zu has %zu bytes, more than %d are not supported", name, id, p->len,
             (int)MN_MATCH_LIMIT);
    MN_CHECK(p->type != MN_PIECE_UNUSED, MN_ERR_UNSUPPORTED,
             "%s: the piece '%.*s' is of type UNUSED, which is not supported", name, len, p->text);
    if (p->type == MN_PIECE_BYTE) {
        MN_CHECK(m->byte_fallback, MN_ERR_DATA,
                 "%s: the byte piece '%.*s' in a model without byte_fallback", name, len, p->text);
        MN_CHECK(mn_byte_token(p->text, p->len, false) >= 0, MN_ERR_DATA,
                 "%s: the byte piece '%.*s' names no byte", name, len, p->text);
    }
    MN_CHECK(p->type != MN_PIECE_USER || !memchr(p->text, ' ', p->len), MN_ERR_UNSUPPORTED,
             "%s: the user-defined piece '%.*s' contains a space, which is not supported", name,
             len, p->text);
    return MN_OK;
}

/* Every piece into the vocabulary; `model` gets those that take part in merging. */
static mn_status read_pieces(mn_tokenizer *t, const mn_sp_model *m, mn_vocab *model) {
    size_t bytes = 0;
    t->special = calloc(m->count, sizeof *t->special);
    MN_CHECK(t->special, MN_ERR_MEMORY, "%s: no memory", t->name);
    t->bpe.unknown = -1;
    for (size_t i = 0; i < m->count; i++) {
        const mn_piece *p = &m->pieces[i];
        const int32_t id = (int32_t)i;
        MN_TRY(check_piece(m, p, i, t->name));
        const int32_t other = mn_vocab_find(&t->vocab, p->text, p->len);
        MN_CHECK(other < 0, MN_ERR_DATA, "%s: pieces %d and %d are both '%.*s'", t->name,
                 (int)other, (int)id, (int)(p->len < 100 ? p->len : 100), p->text);
        MN_TRY(mn_vocab_add(&t->vocab, p->text, p->len, id));
        bytes += p->type == MN_PIECE_BYTE;
        t->special[i] = p->type == MN_PIECE_CONTROL || p->type == MN_PIECE_UNKNOWN;
        if (t->special[i]) MN_TRY(mn_matcher_add(&t->added_raw, p->text, p->len, id, 0));
        else if (p->type == MN_PIECE_USER)
            MN_TRY(mn_matcher_add(&t->bpe.frozen, p->text, p->len, id, 0));
        else MN_TRY(mn_vocab_add(model, p->text, p->len, id));
        if (p->type != MN_PIECE_UNKNOWN) continue;
        MN_CHECK(t->bpe.unknown < 0, MN_ERR_DATA, "%s: pieces %d and %d are both of type UNKNOWN",
                 t->name, (int)t->bpe.unknown, (int)id);
        t->bpe.unknown = id;
    }
    MN_CHECK(t->bpe.unknown >= 0, MN_ERR_DATA, "%s: no piece is of type UNKNOWN", t->name);
    MN_CHECK(!m->byte_fallback || bytes == 256, MN_ERR_DATA,
             "%s: byte_fallback with %zu of 256 byte pieces", t->name, bytes);
    return MN_OK;
}

/* The symbol of a character, a new one where the vocabulary has none: pieces may hold it all the
 * same. */
static mn_status symbol_of(mn_bpe *b, const char *text, int32_t *next, int32_t *symbol) {
    uint32_t point;
    mn_utf8_get(&point, text);
    const mn_pair *found = point < 0x80 ? NULL : mn_pairs_get(&b->of_char, point);
    *symbol = found ? found->id : point < 0x80 ? b->of_byte[point] : -1;
    if (*symbol >= 0) return MN_OK;
    *symbol = (*next)++;
    if (point >= 0x80) return mn_pairs_put(&b->of_char, point, 0, *symbol);
    b->of_byte[point] = *symbol;
    return MN_OK;
}

/* A part of a piece as a symbol, -1 when it is none. */
static mn_status part_symbol(mn_bpe *b, const mn_sp_model *m, const mn_vocab *model,
                             const char *text, size_t len, int32_t *next, int32_t *symbol) {
    if (mn_utf8_size(text[0]) == len) return symbol_of(b, text, next, symbol);
    *symbol = mn_vocab_find(model, text, len);
    if (*symbol >= 0 && m->pieces[*symbol].type != MN_PIECE_NORMAL) *symbol = -1;
    return MN_OK;
}

static mn_status split_piece(mn_bpe *b, const mn_sp_model *m, const mn_vocab *model, int32_t id,
                             uint32_t rank, int32_t *next) {
    const char *text = m->pieces[id].text;
    const size_t len = m->pieces[id].len;
    for (size_t at = mn_utf8_size(text[0]); at < len; at += mn_utf8_size(text[at])) {
        int32_t left, right;
        MN_TRY(part_symbol(b, m, model, text, at, next, &left));
        MN_TRY(part_symbol(b, m, model, text + at, len - at, next, &right));
        if (left >= 0 && right >= 0)
            MN_TRY(mn_bpe_add_merge(b, left, right, rank, id, text, at, len));
    }
    return MN_OK;
}

static mn_status read_merges(mn_tokenizer *t, const mn_sp_model *m, const mn_vocab *model) {
    mn_status st = MN_OK;
    int32_t next = t->vocab.size;
    ranked *order = malloc(m->count * sizeof *order);
    MN_CHECK(order, MN_ERR_MEMORY, "%s: no memory", t->name);
    for (size_t i = 0; i < m->count; i++)
        order[i] = (ranked){.score = m->pieces[i].score, .piece = (uint32_t)i};
    qsort(order, m->count, sizeof *order, by_score);
    uint32_t rank = 0; /* pieces of one score have one rank: the leftmost merges first */
    for (size_t i = 0; i < m->count; i++) {
        if (i > 0 && order[i].score < order[i - 1].score) rank++;
        if (m->pieces[order[i].piece].type == MN_PIECE_NORMAL)
            MN_GOTO(split_piece(&t->bpe, m, model, (int32_t)order[i].piece, rank, &next));
    }
done:
    free(order);
    return st;
}

/* A user-defined piece may span what would else be the border of two words. */
static void check_cut(mn_bpe *b, const mn_sp_model *m) {
    for (size_t i = 0; i < m->count; i++) {
        const mn_piece *p = &m->pieces[i];
        for (size_t at = 1; p->type == MN_PIECE_USER && at < p->len; at++)
            if (mn_bpe_joins_space(p->text, at, p->len)) b->cut_spaces = false;
    }
}

static mn_status build_bpe(mn_tokenizer *t, const mn_sp_model *m) {
    mn_status st = MN_OK;
    mn_vocab model = {0};
    mn_bpe *b = &t->bpe;
    b->fallback = m->byte_fallback;
    b->fallback_late = b->fuse_unknown = true;
    MN_GOTO(read_pieces(t, m, &model));
    MN_GOTO(mn_bpe_symbols(b, &model));
    b->symbols = t->vocab.size;
    check_cut(b, m);
    MN_GOTO(read_merges(t, m, &model));
    MN_GOTO(mn_bpe_words(b, &model));
done:
    mn_vocab_free(&model);
    return st;
}

static void add_step(mn_decoder *d, mn_dec_kind kind, const char *from, const char *to,
                     size_t start) {
    mn_dec_step *s = &d->steps[d->count++];
    *s = (mn_dec_step){.kind = kind, .start = start};
    s->from_len = strlen(from);
    s->to_len = strlen(to);
    memcpy(s->from, from, s->from_len);
    memcpy(s->to, to, s->to_len);
}

static mn_status build_pipeline(mn_tokenizer *t, const mn_sp_model *m) {
    const char *mark = m->escape ? MN_METASPACE : " ";
    mn_normalizer *n = &t->normalizer;
    if (m->squeeze) MN_TRY(mn_normalizer_add(n, MN_NORM_SPACES, NULL, 0, mark, strlen(mark)));
    if (m->dummy_prefix) MN_TRY(mn_normalizer_add(n, MN_NORM_PREPEND, NULL, 0, mark, strlen(mark)));
    if (m->escape) MN_TRY(mn_normalizer_add(n, MN_NORM_REPLACE, " ", 1, mark, strlen(mark)));
    add_step(&t->decoder, MN_DEC_REPLACE, MN_METASPACE, " ", 0);
    if (m->dummy_prefix || m->squeeze)
        add_step(&t->decoder, MN_DEC_DUMMY, " ", "", m->squeeze ? 1 : 0);
    if (m->byte_fallback) add_step(&t->decoder, MN_DEC_PIECEWISE, "", "", 0);
    return MN_OK;
}

static int32_t control_id(const mn_tokenizer *t, const mn_sp_model *m, const char *text,
                          size_t len) {
    const int32_t id = mn_vocab_find(&t->vocab, text, len);
    return id >= 0 && m->pieces[id].type == MN_PIECE_CONTROL ? id : -1;
}

mn_status mn_tokenizer_read_model(mn_tokenizer *t, const void *data, size_t len) {
    mn_status st = MN_OK;
    mn_sp_model model;
    MN_GOTO(mn_sp_parse(&model, data, len, t->name));
    MN_GOTO(check(&model, t->name));
    MN_GOTO(build_bpe(t, &model));
    MN_GOTO(build_pipeline(t, &model));
    t->bos = control_id(t, &model, model.bos, model.bos_len);
    t->eos = control_id(t, &model, model.eos, model.eos_len);
    if (t->bos >= 0) MN_GOTO(mn_ids_push(&t->prefix, t->bos));
    t->kind = "SentencePiece BPE";
done:
    mn_sp_free(&model);
    return st;
}

/* pretokenize.c - the stages: a pattern, bytes with the GPT-2 pattern, metaspaces. */
#include "text/pretokenize.h"

#include "text/normalize.h"
#include "text/utf8.h"

#include <string.h>

typedef struct run {
    const mn_pretokenizer *p;
    mn_pre_work *work;
    bool bare;
    mn_word_fn fn;
    void *user;
} run;

static mn_status run_stage(const run *r, size_t stage, const char *text, size_t len, bool first);

/* Hands on the matches of a pattern and what lies between them. */
static mn_status cut_by_regex(const run *r, size_t stage, const char *text, size_t len,
                              bool first) {
    const mn_regex *regex = r->p->stages[stage].regex;
    size_t done = 0, from = 0;
    bool any = false;
    if (!r->work->regex) MN_TRY(mn_regex_work_new(&r->work->regex));
    while (from <= len) {
        bool found;
        size_t start = 0, end = 0;
        MN_TRY(mn_regex_next(regex, r->work->regex, text, len, from, &found, &start, &end));
        if (!found) break;
        MN_CHECK(start >= from && end >= start, MN_ERR_UNSUPPORTED,
                 "a pattern that matches backwards is not supported");
        /* An empty match cuts too, unless it touches the match before it. */
        if (end > start || !any || start != done) {
            if (start > done)
                MN_TRY(run_stage(r, stage + 1, text + done, start - done, first && done == 0));
            if (end > start)
                MN_TRY(run_stage(r, stage + 1, text + start, end - start, first && start == 0));
            done = end;
            any = true;
        }
        from = end;
        if (end == start) from += end < len ? mn_utf8_size(text[end]) : 1;
    }
    if (done < len) MN_TRY(run_stage(r, stage + 1, text + done, len - done, first && done == 0));
    return MN_OK;
}

static mn_status cut_at_marks(const run *r, size_t stage, const char *text, size_t len,
                              bool first) {
    const mn_pre_stage *s = &r->p->stages[stage];
    if (!s->cut) return run_stage(r, stage + 1, text, len, first);
    for (size_t i = 0; i < len;) {
        size_t end = i + mn_utf8_size(text[i]);
        if (end < len) {
            const char *next = memmem(text + end, len - end, s->mark, s->mark_len);
            end = next ? (size_t)(next - text) : len;
        }
        MN_TRY(run_stage(r, stage + 1, text + i, end - i, first && i == 0));
        i = end;
    }
    return MN_OK;
}

static bool wants_mark(const run *r, const mn_pre_stage *s, const char *text, size_t len,
                       bool first) {
    if (s->prepend == MN_PREPEND_NEVER || (s->prepend == MN_PREPEND_FIRST && !first)) return false;
    if (r->bare && first) return false;
    return len < s->mark_len || memcmp(text, s->mark, s->mark_len) != 0;
}

static mn_status run_stage(const run *r, size_t stage, const char *text, size_t len, bool first) {
    if (len == 0) return MN_OK;
    if (stage == r->p->count) return r->fn(r->user, text, len);
    const mn_pre_stage *s = &r->p->stages[stage];
    mn_buf *own = &r->work->text[stage];
    if (s->kind == MN_PRE_METASPACE) {
        mn_buf_clear(own);
        if (text[0] != ' ' && wants_mark(r, s, text, len, first))
            MN_TRY(mn_buf_append(own, s->mark, s->mark_len));
        MN_TRY(mn_replace(own, text, len, " ", 1, s->mark, s->mark_len));
        return cut_at_marks(r, stage, own->data, own->len, first);
    }
    if (s->kind == MN_PRE_BYTES && wants_mark(r, s, text, len, first)) {
        mn_buf_clear(own);
        MN_TRY(mn_buf_append(own, s->mark, s->mark_len));
        MN_TRY(mn_buf_append(own, text, len));
        text = own->data;
        len = own->len;
    }
    return s->regex ? cut_by_regex(r, stage, text, len, first)
                    : run_stage(r, stage + 1, text, len, first);
}

mn_status mn_pretokenize(const mn_pretokenizer *p, mn_pre_work *work, const char *text, size_t len,
                         bool first, bool bare, mn_word_fn fn, void *user) {
    const run r = {.p = p, .work = work, .bare = bare, .fn = fn, .user = user};
    return run_stage(&r, 0, text, len, first);
}

void mn_pretokenizer_free(mn_pretokenizer *p) {
    for (size_t i = 0; i < p->count; i++) mn_regex_free(&p->stages[i].regex);
    *p = (mn_pretokenizer){0};
}

void mn_pre_work_free(mn_pre_work *work) {
    mn_regex_work_free(&work->regex);
    for (size_t i = 0; i < MN_PRE_STAGES; i++) mn_buf_free(&work->text[i]);
}

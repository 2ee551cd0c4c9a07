/* wiki.c - reads one page of the wiki dump: sentences, text, tolerance for broken `lines`. */
#include "fever/wiki.h"

#include "mneme/json.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

static void trim(const char **text, size_t *len) {
    while (*len > 0 && is_space((*text)[0])) {
        (*text)++;
        (*len)--;
    }
    while (*len > 0 && is_space((*text)[*len - 1])) (*len)--;
}

/* ---- Penn Treebank tokens ------------------------------------------------------------------ */

typedef struct token {
    const char *from, *to;
} token;

static const token tokens[] = {
    {"-LRB-", "("}, {"-RRB-", ")"},   {"-LSB-", "["}, {"-RSB-", "]"}, {"-LCB-", "{"},
    {"-RCB-", "}"}, {"-COLON-", ":"}, {"``", "\""},   {"''", "\""},
};

/* Replacements are never longer than what they replace: in place. */
static void make_plain(char *text) {
    char *put = text;
    while (*text) {
        const token *hit = NULL;
        for (size_t i = 0; i < sizeof tokens / sizeof *tokens && !hit; i++) {
            if (strncmp(text, tokens[i].from, strlen(tokens[i].from)) == 0) hit = &tokens[i];
        }
        *put++ = hit ? hit->to[0] : *text;
        text += hit ? strlen(hit->from) : 1;
    }
    *put = '\0';
}

/* ---- The `lines` field --------------------------------------------------------------------- */

enum { MAX_DIGITS = 9, LOOK_AHEAD = 1 << 16 };

/* The number in front of a record: digits, then a TAB or the end; -1 when it has none. */
static int64_t leading_number(const char *record, size_t len) {
    int64_t number = 0;
    size_t i = 0;
    while (i < len && i < MAX_DIGITS && isdigit((unsigned char)record[i])) {
        number = number * 10 + (record[i++] - '0');
    }
    return i > 0 && (i == len || record[i] == '\t') ? number : -1;
}

/* Whether the record that says it is `number` is the sentence after `last`, not text that
 * happens to start like one ("1995 TAB ..."): the next number always is; a higher one is when it
 * has a TAB and the next number does not follow later (parts of the dump have gaps). */
static bool starts_sentence(int64_t number, int64_t last, const char *record, size_t len) {
    if (number <= last) return false;
    if (number == last + 1) return true;
    if (!memchr(record, '\t', len)) return false;
    char next[32];
    const int next_len = snprintf(next, sizeof next, "\n%lld\t", (long long)last + 1);
    const size_t rest = strnlen(record + len, LOOK_AHEAD);
    return memmem(record + len, rest, next, (size_t)next_len) == NULL;
}

static size_t column_end(const char *text, size_t len) {
    const char *tab = memchr(text, '\t', len);
    return tab ? (size_t)(tab - text) : len;
}

static mn_status add_sentence(mn_wiki_page *page, int64_t number, const mn_buf *text,
                              mn_page_text page_text) {
    const char *from = text->data;
    size_t len = text->len;
    if (len > 0) trim(&from, &len);
    if (len == 0) return MN_OK;
    MN_TRY(mn_grow(&page->sentences, &page->sentence_cap, page->sentence_count + 1,
                   sizeof *page->sentences));
    char *copy = mn_strdup_n(from, len);
    MN_CHECK(copy, MN_ERR_MEMORY, "no memory for a sentence");
    if (page_text == MN_TEXT_PLAIN) make_plain(copy);
    page->sentences[page->sentence_count++] = (mn_sentence){
        .number = number < 0 ? 0 : number, /* text in front of the first number */
        .text = copy};
    return MN_OK;
}

/* Some sentences and anchors of the dump have newlines in them. A record that starts no sentence
 * is the rest of the one before: of its sentence while no TAB has ended that, of its anchors
 * afterwards. */
mn_status mn_wiki_split(mn_wiki_page *page, const char *lines, mn_page_text page_text) {
    mn_status st = MN_OK;
    mn_buf sentence = {0};
    int64_t number = -1;
    bool open = true; /* the sentence may go on in the next record */
    while (*lines) {
        const char *record = lines;
        size_t len = strcspn(lines, "\n");
        lines += len + (lines[len] == '\n');
        const int64_t next = leading_number(record, len);
        if (starts_sentence(next, number, record, len)) {
            MN_GOTO(add_sentence(page, number, &sentence, page_text));
            mn_buf_clear(&sentence);
            number = next;
            const size_t digits = column_end(record, len);
            record += digits;
            len -= digits;
            open = true;
            if (len > 0) { /* the TAB */
                record++;
                len--;
            }
        } else if (open && len > 0 && sentence.len > 0) {
            MN_GOTO(mn_buf_append(&sentence, " ", 1));
        }
        if (!open) continue;
        const size_t end = column_end(record, len);
        MN_GOTO(mn_buf_append(&sentence, record, end));
        open = end == len;
    }
    MN_GOTO(add_sentence(page, number, &sentence, page_text));
done:
    mn_buf_free(&sentence);
    return st;
}

/* ---- A page -------------------------------------------------------------------------------- */

static mn_status join(mn_wiki_page *page) {
    for (size_t i = 0; i < page->sentence_count; i++) {
        if (i > 0) MN_TRY(mn_buf_append(&page->text, " ", 1));
        MN_TRY(mn_buf_puts(&page->text, page->sentences[i].text));
    }
    return MN_OK;
}

/* `text` of the dump as one sentence, for pages whose `lines` hold none. */
static mn_status use_text(mn_wiki_page *page, const char *text, mn_page_text page_text) {
    const mn_buf whole = {.data = (char *)(uintptr_t)text, .len = strlen(text)};
    return add_sentence(page, 0, &whole, page_text);
}

/* A string field that may be missing or null: *out is "" then. */
static mn_status string_field(const char **out, const cJSON *root, const char *key) {
    const cJSON *node = cJSON_GetObjectItemCaseSensitive(root, key);
    *out = "";
    if (!node || cJSON_IsNull(node)) return MN_OK;
    MN_CHECK(cJSON_IsString(node), MN_ERR_DATA, "\"%s\" of the page is not a string", key);
    MN_CHECK(mn_is_utf8(node->valuestring, strlen(node->valuestring)), MN_ERR_DATA,
             "\"%s\" of the page is not valid UTF-8", key);
    *out = node->valuestring;
    return MN_OK;
}

static mn_status read_page(mn_wiki_page **out, int64_t title, const cJSON *root,
                           mn_page_text page_text) {
    mn_status st = MN_OK;
    const char *lines, *text;
    mn_wiki_page *page = calloc(1, sizeof *page);
    MN_CHECK_GOTO(page, MN_ERR_MEMORY, "no memory for a page");
    page->title = title;
    MN_GOTO(string_field(&lines, root, "lines"));
    MN_GOTO(string_field(&text, root, "text"));
    MN_GOTO(mn_wiki_split(page, lines, page_text));
    if (page->sentence_count == 0) MN_GOTO(use_text(page, text, page_text));
    MN_GOTO(join(page));
    *out = page;
    page = NULL;
done:
    mn_wiki_page_close(&page);
    return st;
}

static mn_status find_wanted(int64_t *title, const mn_wiki_query *query, const char *id,
                             size_t len) {
    MN_TRY(mn_fail_in(mn_titles_find(title, query->titles, id, len), "the page's \"id\""));
    if (*title >= 0 && !query->wanted[*title]) *title = -1;
    return MN_OK;
}

mn_status mn_wiki_read_line(mn_wiki_page **out, const mn_wiki_query *query, const char *line,
                            size_t len) {
    mn_status st = MN_OK;
    const char *id, *end = line;
    size_t id_len;
    int64_t title;
    cJSON *root = NULL;
    *out = NULL;
    if (mn_wiki_skim(&id, &id_len, line, len)) {
        MN_TRY(find_wanted(&title, query, id, id_len));
        if (title < 0) return MN_OK;
    }
    root = cJSON_ParseWithLengthOpts(line, len, &end, 0);
    while (root && end < line + len && is_space(*end)) end++;
    if (!root || end < line + len) {
        const size_t column = end >= line && end <= line + len ? (size_t)(end - line) + 1 : 1;
        st = mn_fail(MN_ERR_DATA, "broken JSON at column %zu%s", column,
                     column > len ? " (it ends too early)" : "");
        goto done;
    }
    const cJSON *node = cJSON_GetObjectItemCaseSensitive(root, "id");
    MN_CHECK_GOTO(cJSON_IsObject(root) && cJSON_IsString(node), MN_ERR_DATA,
                  "not a page of FEVER's wiki dump, which has an \"id\", \"text\" and \"lines\"");
    MN_GOTO(find_wanted(&title, query, node->valuestring, strlen(node->valuestring)));
    if (title >= 0) MN_GOTO(read_page(out, title, root, query->page_text));
done:
    cJSON_Delete(root);
    return st;
}

void mn_wiki_page_close(mn_wiki_page **page) {
    mn_wiki_page *p = *page;
    if (!p) return;
    for (size_t i = 0; i < p->sentence_count; i++) free(p->sentences[i].text);
    free(p->sentences);
    mn_buf_free(&p->text);
    free(p);
    *page = NULL;
}

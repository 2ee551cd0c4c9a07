/* fuzz_jsonl.c - any bytes as claims, as lines of the wiki dump, as a prepared folder's files
 * and as an answer. Besides faults it looks for disagreement between the fast way past a wiki
 * line and the JSON library. */
#include "fever/claims.h"
#include "fever/prepared.h"
#include "fever/wiki.h"
#include "mneme/json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_claims(const uint8_t *data, size_t size, bool skip_bad) {
    mn_titles *titles = NULL;
    mn_claims *claims = NULL;
    if (mn_titles_open(&titles) != MN_OK) return;
    if (mn_claims_parse(&claims, titles, data, size, "fuzz", skip_bad) == MN_OK) {
        for (int64_t i = 0; i < claims->count; i++) {
            const mn_claim *claim = &claims->items[i];
            if (!*claim->text || (unsigned)claim->label >= MN_LABELS ||
                claim->page_begin > claim->page_end || claim->page_end > claims->page_count) {
                abort();
            }
        }
    }
    mn_claims_close(&claims);
    mn_titles_close(&titles);
}

/* The fast way may say yes only where the library does, and with the same id. */
static void compare(const char *line, size_t len) {
    const char *id, *end = line;
    size_t id_len;
    if (!mn_wiki_skim(&id, &id_len, line, len)) return;
    cJSON *root = cJSON_ParseWithLengthOpts(line, len, &end, 0);
    const cJSON *node = cJSON_GetObjectItemCaseSensitive(root, "id");
    if (!root || !cJSON_IsString(node) || strlen(node->valuestring) != id_len ||
        memcmp(node->valuestring, id, id_len) != 0) {
        abort();
    }
    while (end < line + len && strchr(" \t\r", *end)) end++;
    if (end != line + len) abort();
    cJSON_Delete(root);
}

/* Every page is wanted: all titles that the input could name are added first. */
static void as_wiki(const uint8_t *data, size_t size, mn_page_text page_text) {
    static const char *const names[] = {"Gamma", "Beyonc\xC3\xA9", "A", ""};
    const bool wanted[] = {true, true, true, true};
    mn_titles *titles = NULL;
    mn_lines lines = mn_lines_over(data, size);
    const char *line;
    size_t len;
    if (mn_titles_open(&titles) != MN_OK) return;
    for (int i = 0; i < 4; i++) {
        int64_t index;
        if (mn_titles_add(&index, titles, names[i], strlen(names[i])) != MN_OK) abort();
    }
    const mn_wiki_query query = {.titles = titles, .wanted = wanted, .page_text = page_text};
    while (mn_lines_next(&lines, &line, &len)) {
        mn_wiki_page *page = NULL;
        compare(line, len);
        if (mn_wiki_read_line(&page, &query, line, len) != MN_OK && page) abort();
        for (size_t i = 0; page && i < page->sentence_count; i++) {
            if (!*page->sentences[i].text || page->sentences[i].number < 0) abort();
        }
        mn_wiki_page_close(&page);
    }
    mn_titles_close(&titles);
}

/* One input as all the files: only the first of them can come far, but they are alike. */
static void as_prepared(const uint8_t *data, size_t size) {
    static const char page[] = "{\"page\": \"A\", \"text\": \"t\", \"lines\": []}\n";
    mn_fever *fever = calloc(1, sizeof *fever);
    if (!fever) return;
    if (mn_prepared_read_pages(fever, data, size, "fuzz") != MN_OK) {
        mn_fever_close(&fever);
        fever = calloc(1, sizeof *fever);
        if (!fever || mn_prepared_read_pages(fever, page, sizeof page - 1, "page") != MN_OK)
            abort();
    }
    (void)mn_prepared_read_rows(fever, false, data, size, "fuzz");
    (void)mn_prepared_read_rows(fever, true, data, size, "fuzz");
    (void)mn_prepared_read_demos(fever, data, size, "fuzz");
    mn_fever_close(&fever);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    as_claims(data, size, false);
    as_claims(data, size, true);
    as_wiki(data, size, MN_TEXT_UNCHANGED);
    as_wiki(data, size, MN_TEXT_PLAIN);
    as_prepared(data, size);
    const int answer = mn_fever_parse_answer((const char *)data, size);
    if (answer < -1 || answer >= MN_LABELS) abort();
    return 0;
}

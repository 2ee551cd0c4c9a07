/* claims.c - reads FEVER's claims files. */
#include "fever/claims.h"

#include "mneme/json.h"
#include "mneme/signals.h"

#include <stdlib.h>
#include <string.h>

static const char *const names[MN_LABELS] = {"SUPPORTS", "REFUTES", "NOT ENOUGH INFO"};

const char *mn_label_name(mn_label label) {
    return (unsigned)label < MN_LABELS ? names[label] : "?";
}

mn_status mn_label_read(mn_label *out, const char *name) {
    for (int i = 0; i < MN_LABELS; i++) {
        if (strcmp(name, names[i]) == 0) {
            *out = (mn_label)i;
            return MN_OK;
        }
    }
    return mn_fail(MN_ERR_DATA, "unknown label \"%.40s\"; FEVER's are %s, %s and %s", name,
                   names[0], names[1], names[2]);
}

static mn_status read_label(mn_label *out, const mn_json *doc) {
    const char *name;
    if (!mn_json_has(doc->root, "label")) {
        return mn_fail(MN_ERR_DATA,
                       "%s: the claim has no \"label\". FEVER's test files come without labels and "
                       "cannot be evaluated: use paper_dev, shared_task_dev or train",
                       doc->name);
    }
    MN_TRY(mn_json_string(&name, doc, doc->root, "label"));
    return mn_fail_in(mn_label_read(out, name), "%s", doc->name);
}

static mn_status read_text(char **out, const mn_json *doc) {
    const char *text;
    MN_TRY(mn_json_string(&text, doc, doc->root, "claim"));
    size_t len = strlen(text);
    while (len > 0 && (unsigned char)text[0] <= ' ') {
        text++;
        len--;
    }
    while (len > 0 && (unsigned char)text[len - 1] <= ' ') len--;
    MN_CHECK(len > 0, MN_ERR_DATA, "%s: the claim is empty", doc->name);
    MN_CHECK(mn_is_utf8(text, len), MN_ERR_DATA, "%s: the claim is not valid UTF-8", doc->name);
    *out = mn_strdup_n(text, len);
    MN_CHECK(*out, MN_ERR_MEMORY, "%s: no memory", doc->name);
    for (char *c = *out; *c; c++) {
        if ((unsigned char)*c < ' ') *c = ' ';
    }
    return MN_OK;
}

static mn_status add_page(mn_claims *claims, mn_claim *claim, mn_titles *titles, const mn_json *doc,
                          const char *page) {
    int64_t title;
    MN_TRY(mn_fail_in(mn_titles_add(&title, titles, page, strlen(page)),
                      "%s: a page of the evidence", doc->name));
    for (int64_t i = claim->page_begin; i < claims->page_count; i++) {
        if (claims->pages[i].title == title) {
            claims->pages[i].entries++;
            return MN_OK;
        }
    }
    MN_TRY(mn_grow(&claims->pages, &claims->page_cap, (size_t)claims->page_count + 1,
                   sizeof *claims->pages));
    claims->pages[claims->page_count++] = (mn_claim_page){.title = title, .entries = 1};
    claim->page_end = claims->page_count;
    return MN_OK;
}

/* [annotation id, evidence id, page or null, sentence or null] */
static mn_status read_entry(mn_claims *claims, mn_claim *claim, mn_titles *titles,
                            const mn_json *doc, const cJSON *entry) {
    const cJSON *page = NULL;
    int n = 0;
    const cJSON *part;
    cJSON_ArrayForEach(part, entry) {
        if (n == 2) page = part;
        n++;
    }
    if (!cJSON_IsArray(entry) || n != 4) {
        return mn_json_fail(doc, entry,
                            "expected an evidence entry [annotation, evidence, page, sentence]");
    }
    claim->entries++;
    if (cJSON_IsNull(page)) return MN_OK;
    const char *title;
    MN_TRY(mn_json_as_string(&title, doc, page));
    if (!*title) return mn_json_fail(doc, page, "the page has no name");
    return add_page(claims, claim, titles, doc, title);
}

/* [[entry, ..], ..]; a claim with nothing to name may leave it empty, null or out. */
static mn_status read_evidence(mn_claims *claims, mn_claim *claim, mn_titles *titles,
                               const mn_json *doc) {
    if (!mn_json_has(doc->root, "evidence")) {
        if (claim->label == MN_NEI) return MN_OK;
        return mn_fail(
            MN_ERR_DATA,
            "%s: a %s claim without \"evidence\": this is not one of FEVER's own jsonl "
            "files, whose evidence is [[[annotation, evidence, page, sentence], ..], ..]",
            doc->name, mn_label_name(claim->label));
    }
    const cJSON *sets;
    const cJSON *set;
    MN_TRY(mn_json_array(&sets, doc, doc->root, "evidence"));
    cJSON_ArrayForEach(set, sets) {
        if (!cJSON_IsArray(set))
            return mn_json_fail(doc, set, "expected a set of evidence, a list");
        const cJSON *entry;
        cJSON_ArrayForEach(entry, set) { MN_TRY(read_entry(claims, claim, titles, doc, entry)); }
    }
    return MN_OK;
}

static mn_status read_claim(mn_claims *claims, mn_titles *titles, const mn_json *doc) {
    const int64_t max_id = INT64_C(1) << 53;
    MN_TRY(mn_grow(&claims->items, &claims->item_cap, (size_t)claims->count + 1,
                   sizeof *claims->items));
    mn_claim *claim = &claims->items[claims->count];
    *claim = (mn_claim){.page_begin = claims->page_count, .page_end = claims->page_count};
    MN_TRY(mn_json_i64(&claim->id, doc, doc->root, "id", 0, max_id));
    MN_TRY(read_label(&claim->label, doc));
    MN_TRY(read_evidence(claims, claim, titles, doc));
    MN_TRY(read_text(&claim->text, doc));
    claims->count++;
    claims->entries += claim->entries;
    return MN_OK;
}

static mn_status read_line(mn_claims *claims, mn_titles *titles, const char *line, size_t len,
                           const char *place, bool skip_bad) {
    mn_json *doc = NULL;
    mn_status st = mn_json_parse(&doc, line, len, place);
    if (st == MN_ERR_DATA && skip_bad) return mn_bad_note(&claims->bad, mn_error());
    if (st == MN_OK) st = read_claim(claims, titles, doc);
    mn_json_close(&doc);
    return st;
}

mn_status mn_claims_parse(mn_claims **out, mn_titles *titles, const void *data, size_t size,
                          const char *name, bool skip_bad) {
    mn_status st = MN_OK;
    mn_buf place = {0};
    *out = NULL;
    mn_claims *claims = calloc(1, sizeof *claims);
    MN_CHECK_GOTO(claims, MN_ERR_MEMORY, "%s: no memory", name);
    mn_lines lines = mn_lines_over(data, size);
    const char *line;
    size_t len;
    while (mn_lines_next(&lines, &line, &len)) {
        MN_CHECK_GOTO(!mn_stop_requested(), MN_STOPPED, "stopped on request");
        mn_buf_clear(&place);
        MN_GOTO(mn_buf_printf(&place, "%s:%lld", name, (long long)lines.number));
        MN_GOTO(read_line(claims, titles, line, len, place.data, skip_bad));
    }
    MN_CHECK_GOTO(claims->count > 0, MN_ERR_DATA, "%s: there is no claim in it", name);
    *out = claims;
    claims = NULL;
done:
    mn_claims_close(&claims);
    mn_buf_free(&place);
    return st;
}

mn_status mn_claims_load(mn_claims **out, mn_titles *titles, const char *path, bool skip_bad) {
    mn_map *map = NULL;
    *out = NULL;
    MN_TRY(mn_map_open(&map, path));
    const mn_status st = mn_claims_parse(out, titles, map->data, map->size, path, skip_bad);
    mn_map_close(&map);
    return st;
}

void mn_claims_close(mn_claims **claims) {
    mn_claims *c = *claims;
    if (!c) return;
    for (int64_t i = 0; i < c->count; i++) free(c->items[i].text);
    free(c->items);
    free(c->pages);
    mn_bad_free(&c->bad);
    free(c);
    *claims = NULL;
}

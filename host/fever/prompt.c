/* prompt.c - the few-shot template, and how an answer is read from what a model wrote. */
#include "mneme/fever.h"

#include <string.h>

static const char header[] = "Determine the factuality of the following claims \n"
                             "Answer candidates: (a) supports, (b) refutes, (c) not enough info\n";

const char *const mn_fever_candidates[MN_LABELS] = {" (a)", " (b)", " (c)"};

static mn_status put_demo(mn_buf *out, const mn_demo *demo) {
    return mn_buf_printf(out, "Claim: %s\nA:%s\n", demo->claim, mn_fever_candidates[demo->label]);
}

static mn_status check_shots(const mn_fever_page *page, int shots) {
    MN_CHECK(shots >= 0 && shots <= page->demo_count, MN_ERR_USAGE,
             "%d shots asked for, page %s has %d demonstrations", shots, page->title,
             page->demo_count);
    return MN_OK;
}

mn_status mn_fever_prefix(mn_buf *out, const mn_fever_page *page, int shots) {
    MN_TRY(check_shots(page, shots));
    MN_TRY(mn_buf_puts(out, header));
    for (int i = 0; i < shots; i++) MN_TRY(put_demo(out, &page->demos[i]));
    return MN_OK;
}

mn_status mn_fever_prompt(mn_buf *out, const mn_fever_page *page, int shots, const char *claim) {
    MN_TRY(check_shots(page, shots));
    MN_TRY(mn_buf_puts(out, header));
    for (int i = 0, shown = 0; i < page->demo_count && shown < shots; i++) {
        if (strcmp(page->demos[i].claim, claim) == 0) continue; /* it would give its answer away */
        MN_TRY(put_demo(out, &page->demos[i]));
        shown++;
    }
    return mn_buf_printf(out, "Claim: %s\nA:", claim);
}

/* ---- Answers --------------------------------------------------------------------------------- */

static bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

static int letter_of(char c) {
    const char lower = (char)(c | 0x20);
    return lower >= 'a' && lower <= 'c' ? lower - 'a' : -1;
}

static bool ends_letter(const char *at, const char *end) {
    return at == end || memchr(").,:", *at, 4) != NULL;
}

int mn_fever_parse_answer(const char *text, size_t len) {
    if (len == 0) return -1;
    const char *newline = memchr(text, '\n', len);
    const char *end = newline ? newline : text + len;
    while (end > text && is_blank(end[-1])) end--;
    while (text < end && is_blank(*text)) text++;
    const char *first = text < end && *text == '(' ? text + 1 : text;
    if (first < end && letter_of(*first) >= 0 && ends_letter(first + 1, end)) {
        return letter_of(*first);
    }
    for (const char *at = text; end - at >= 3; at++) {
        if (at[0] == '(' && at[2] == ')' && letter_of(at[1]) >= 0) return letter_of(at[1]);
    }
    return -1;
}

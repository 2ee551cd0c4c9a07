/* demos.c - chooses the demonstrations of every page; fever.h states the rule. */
#include "fever/demos.h"

#include "mneme/log.h"
#include "mneme/rng.h"

#include <stdlib.h>
#include <string.h>

/* The document's blocks are FEVER's SUPPORTS, NOT ENOUGH INFO, REFUTES; its template shows a
 * claim of the second one as "(b) refutes". */
#define SUPPORTED(text)                                                                            \
    { text, MN_SUPPORTS, MN_SUPPORTS }
#define UNCERTAIN(text)                                                                            \
    { text, MN_NEI, MN_REFUTES }
#define REFUTED(text)                                                                              \
    { text, MN_REFUTES, MN_NEI }

const mn_fixed_claim mn_fixed_claims[MN_FIXED_CLAIMS] = {
    SUPPORTED("Nikolaj Coster-Waldau worked with the Fox Broadcasting Company."),
    SUPPORTED("Roman Atwood is a content creator."),
    SUPPORTED("Tetris has sold millions of physical copies."),
    SUPPORTED("The Boston Celtics play their home games at TD Garden."),
    SUPPORTED("The Ten Commandments is an epic film."),
    UNCERTAIN("System of a Down briefly disbanded in limbo."),
    UNCERTAIN("Beautiful reached number two on the Billboard Hot 100 in 2003."),
    UNCERTAIN("Afghanistan is the source of the Kushan dynasty."),
    UNCERTAIN("Marilyn Monroe worked with Warner Brothers."),
    UNCERTAIN("United Nations was relocated to the United States in 1945."),
    UNCERTAIN("Keith Urban is a person who sings."),
    REFUTED("Adrienne Bailon is an accountant."),
    REFUTED("Stranger Things is set in Bloomington, Indiana."),
    REFUTED("Puerto Rico is not an unincorporated territory of the United States."),
    REFUTED("Peggy Sue Got Married is a Egyptian film released in 1986."),
    REFUTED("Andy Roddick lost 5 Master Series between 2002 and 2010."),
    REFUTED("Willie Nelson dropped out of college after three years."),
};

typedef struct drawn {
    double key;
    int64_t claim;
} drawn;

/* Everything about the page in hand. */
typedef struct page_state {
    mn_chosen_demos *chosen;
    mn_titles *taken;   /* texts that must not be shown (again): evaluation claims, chosen ones */
    int64_t eval_texts; /* the first so many of `taken` are the evaluation claims */
    int shown[MN_LABELS], first_label;
} page_state;

static int by_key(const void *a, const void *b) {
    const drawn *da = a, *db = b;
    if (da->key != db->key) return da->key < db->key ? -1 : 1;
    return (da->claim > db->claim) - (da->claim < db->claim);
}

/* The label shown least among those that `left` counts; ties go round from first_label. */
static int next_label(const page_state *page, const int64_t left[MN_LABELS]) {
    int best = -1;
    for (int i = 0; i < MN_LABELS; i++) {
        const int label = (page->first_label + i) % MN_LABELS;
        if (left[label] > 0 && (best < 0 || page->shown[label] < page->shown[best])) best = label;
    }
    return best;
}

/* Shows the text unless it is an evaluation claim of the page, or shown already. */
static mn_status show(mn_demo_set *set, page_state *page, const mn_chosen_demo *demo) {
    int64_t known;
    const size_t len = strlen(demo->text);
    MN_TRY(mn_titles_find(&known, page->taken, demo->text, len));
    if (known >= 0 && known < page->eval_texts) set->leaking++;
    if (known >= 0) return MN_OK;
    MN_TRY(mn_titles_add(&known, page->taken, demo->text, len));
    page->chosen->items[page->chosen->count++] = *demo;
    page->shown[demo->label]++;
    if (demo->fixed < 0) {
        set->from_train++;
        return MN_OK;
    }
    set->from_fixed++;
    if (demo->label != mn_fixed_claims[demo->fixed].gold) {
        set->worn[demo->fixed]++;
        set->mislabelled++;
    }
    return MN_OK;
}

/* Walks a list of `count` demonstrations (order: by label, then as given) until the page is
 * full. */
static mn_status take(mn_demo_set *set, page_state *page, const mn_chosen_demo *list,
                      int64_t count) {
    int64_t left[MN_LABELS] = {0}, at[MN_LABELS] = {0};
    for (int64_t i = 0; i < count; i++) left[list[i].label]++;
    while (page->chosen->count < MN_MAX_SHOTS) {
        const int label = next_label(page, left);
        if (label < 0) break;
        while ((int)list[at[label]].label != label) at[label]++;
        left[label]--;
        MN_TRY(show(set, page, &list[at[label]++]));
    }
    return MN_OK;
}

/* A page's training claims, each once, in the drawn order. */
static mn_status train_list(mn_chosen_demo **out, int64_t *out_count, const mn_claims *train,
                            const int64_t *rows, int64_t row_count, uint64_t seed) {
    int64_t count = 0;
    drawn *order = calloc((size_t)row_count + 1, sizeof *order);
    mn_chosen_demo *list = calloc((size_t)row_count + 1, sizeof *list);
    *out = list;
    if (!order || !list) {
        free(order);
        return mn_fail(MN_ERR_MEMORY, "no memory for the demonstrations");
    }
    for (int64_t i = 0; i < row_count; i++) {
        if (i > 0 && rows[i] == rows[i - 1]) continue; /* rows of one claim stand together */
        const uint64_t id = (uint64_t)train->items[rows[i]].id;
        order[count++] = (drawn){mn_rng_uniform(seed, MN_DRAW_DEMO, id), rows[i]};
    }
    qsort(order, (size_t)count, sizeof *order, by_key);
    for (int64_t i = 0; i < count; i++) {
        const mn_claim *claim = &train->items[order[i].claim];
        list[i] = (mn_chosen_demo){.text = claim->text, .label = claim->label, .fixed = -1};
    }
    *out_count = count;
    free(order);
    return MN_OK;
}

/* One of the labels that the page's training claims have. */
static int draw_first_label(const mn_chosen_demo *list, int64_t count, uint64_t title_hash,
                            uint64_t seed) {
    bool present[MN_LABELS] = {false};
    int labels[MN_LABELS] = {0}, n = 0;
    for (int64_t i = 0; i < count; i++) present[list[i].label] = true;
    for (int label = 0; label < MN_LABELS; label++) {
        if (present[label]) labels[n++] = label;
    }
    return n ? labels[mn_rng_below(seed, MN_DRAW_FIRST_LABEL, title_hash, n)] : 0;
}

static mn_status count_train_leaks(mn_demo_set *set, const page_state *page, const mn_claims *train,
                                   const int64_t *rows, int64_t row_count) {
    for (int64_t i = 0; i < row_count; i++) {
        const char *text = train->items[rows[i]].text;
        int64_t known;
        MN_TRY(mn_titles_find(&known, page->taken, text, strlen(text)));
        set->train_leaking += known >= 0;
    }
    return MN_OK;
}

typedef struct sources {
    const mn_claims *eval, *train;
    const mn_rows *eval_rows, *train_rows;
    mn_chosen_demo fixed[MN_FIXED_CLAIMS];
    uint64_t seed;
} sources;

static mn_status choose_page(mn_demo_set *set, const sources *from, int64_t index,
                             uint64_t title_hash) {
    mn_status st = MN_OK;
    mn_chosen_demo *list = NULL;
    int64_t count = 0;
    page_state page = {.chosen = &set->pages[index]};
    const int64_t *rows = from->train_rows->claim + from->train_rows->begin[index];
    const int64_t row_count = from->train_rows->begin[index + 1] - from->train_rows->begin[index];
    MN_GOTO(mn_titles_open(&page.taken));
    for (int64_t i = from->eval_rows->begin[index]; i < from->eval_rows->begin[index + 1]; i++) {
        const char *text = from->eval->items[from->eval_rows->claim[i]].text;
        int64_t known;
        MN_GOTO(mn_titles_add(&known, page.taken, text, strlen(text)));
    }
    page.eval_texts = mn_titles_count(page.taken);
    MN_GOTO(count_train_leaks(set, &page, from->train, rows, row_count));
    MN_GOTO(train_list(&list, &count, from->train, rows, row_count, from->seed));
    page.first_label = draw_first_label(list, count, title_hash, from->seed);
    MN_GOTO(take(set, &page, list, count));
    MN_GOTO(take(set, &page, from->fixed, MN_FIXED_CLAIMS));
done:
    free(list);
    mn_titles_close(&page.taken);
    return st;
}

mn_status mn_demos_choose(mn_demo_set *out, const mn_selection *selection, const mn_titles *titles,
                          const mn_claims *eval, const mn_rows *eval_rows, const mn_claims *train,
                          const mn_rows *train_rows, mn_demo_labels labels, uint64_t seed) {
    sources from = {eval, train, eval_rows, train_rows, .seed = seed};
    for (int i = 0; i < MN_FIXED_CLAIMS; i++) {
        const mn_fixed_claim *claim = &mn_fixed_claims[i];
        const mn_label label = labels == MN_DEMO_DOCUMENT ? claim->document : claim->gold;
        from.fixed[i] = (mn_chosen_demo){.text = claim->text, .label = label, .fixed = i};
    }
    *out = (mn_demo_set){.pages = calloc((size_t)selection->n_trunc, sizeof *out->pages)};
    MN_CHECK(out->pages, MN_ERR_MEMORY, "no memory for the demonstrations");
    for (int64_t i = 0; i < selection->n_trunc; i++) {
        const mn_status st = choose_page(out, &from, i,
                                         mn_titles_hash(titles, selection->titles[i]));
        if (st != MN_OK) {
            mn_demos_free(out);
            return st;
        }
    }
    return MN_OK;
}

void mn_demos_free(mn_demo_set *set) {
    free(set->pages);
    *set = (mn_demo_set){0};
}

void mn_demos_check_fixed(const mn_claims *train) {
    for (int f = 0; f < MN_FIXED_CLAIMS; f++) {
        const mn_fixed_claim *fixed = &mn_fixed_claims[f];
        const mn_claim *other = NULL;
        bool agrees = false;
        for (int64_t i = 0; i < train->count && !agrees; i++) {
            if (strcmp(train->items[i].text, fixed->text) != 0) continue;
            other = &train->items[i];
            agrees = other->label == fixed->gold;
        }
        if (agrees || !other) continue;
        mn_log(MN_LOG_WARN,
               "the fixed demonstration \"%s\" is %s by FEVER, but the training file has "
               "it as %s (claim %lld)",
               fixed->text, mn_label_name(fixed->gold), mn_label_name(other->label),
               (long long)other->id);
    }
}

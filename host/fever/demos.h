/* demos.h - the demonstrations of a page: its own training claims, then the document's list. */
#ifndef MNEME_HOST_FEVER_DEMOS_H
#define MNEME_HOST_FEVER_DEMOS_H

#include "fever/select.h"

enum { MN_FIXED_CLAIMS = 17 };

/* A row of the document's list. */
typedef struct mn_fixed_claim {
    const char *text;
    mn_label gold;     /* FEVER's label */
    mn_label document; /* the label that the document's template implies */
} mn_fixed_claim;

extern const mn_fixed_claim mn_fixed_claims[MN_FIXED_CLAIMS];

typedef struct mn_chosen_demo {
    const char *text; /* of the claims, or of mn_fixed_claims */
    mn_label label;
    int fixed; /* index into mn_fixed_claims, or -1: a training claim */
} mn_chosen_demo;

typedef struct mn_chosen_demos {
    mn_chosen_demo items[MN_MAX_SHOTS];
    int count;
} mn_chosen_demos;

typedef struct mn_demo_set {
    mn_chosen_demos *pages; /* n_trunc */
    int64_t from_train, from_fixed, leaking, mislabelled;
    int64_t worn[MN_FIXED_CLAIMS]; /* pages that show this claim with a label that is not FEVER's */
    int64_t train_leaking; /* training rows with the text of an evaluation row of their page */
} mn_demo_set;

mn_status mn_demos_choose(mn_demo_set *out, const mn_selection *selection, const mn_titles *titles,
                          const mn_claims *eval, const mn_rows *eval_rows, const mn_claims *train,
                          const mn_rows *train_rows, mn_demo_labels labels, uint64_t seed);
void mn_demos_free(mn_demo_set *set);

/* Warns when the training file has a claim of the document's list under another label than
 * `gold`. */
void mn_demos_check_fixed(const mn_claims *train);

#endif

/* feed.h (internal) - tracks: token sequences that grow in the cache, fed in packed passes.
 *
 * Trunks, prompts, candidate branches and decoding are all tracks; one loop feeds them, to one variant
 * of the session or to several at once. */
#ifndef MNEME_EVAL_FEED_H
#define MNEME_EVAL_FEED_H

#include "mneme/complete.h"
#include "mneme/vocab.h"

/* Behind own token `at` the model should say `id`: its log-probability is added to the candidate's,
 * whose `greedy` is cleared when it is not the likeliest token. */
typedef struct feed_target {
    int64_t at;
    int32_t id;
    int candidate;
} feed_target;

typedef struct track {
    mn_ids tokens;    /* own tokens, owned */
    int64_t fed;      /* how many of them are in the cache */
    int32_t own_row;  /* cache row of own token 0 */
    int32_t position; /* of own token 0 in its sequence */
    int32_t shared_begin[MN_SHARED_SPANS], shared_len[MN_SHARED_SPANS];
    int64_t want_from; /* outputs are wanted from this own token on */
    mn_ids best; /* [wanted][variants] the likeliest (or sampled) next token behind each, owned */
    mn_completion *answers; /* the first variant's; the others' lie feed.stride behind each other */
    feed_target *targets;   /* owned, by rising `at` */
    int64_t target_count, target_done;
    size_t target_cap;
    uint64_t stream; /* of the random numbers, when sampling */
    int64_t drawn;   /* how many were used before the first wanted token */
} track;

mn_status mn_track_target(track *t, int64_t at, int32_t id, int candidate);
void mn_track_free(track *t);

typedef struct feed {
    mn_session *session;
    int64_t variants, stride; /* of the session; of answers, from one variant to the next */
    bool *active;             /* [variants] which ones the passes are for */
    bool audit;               /* of the passes' outputs */
    int64_t base;             /* the variant that is the base, -1 */
    int32_t *ids, *positions, *rows, *outputs; /* [max_tokens] */
    mn_attn_seq *seqs;                         /* [max_seqs] */
    struct feed_output *wanted;                /* [max_tokens] */
    int32_t *target_row, *target_id, *sampled; /* [target_cap], ..., [max_logits] */
    int *target_candidate;
    mn_completion **target_answers;
    float *target_value, *uniform, *difference; /* [target_cap], [max_logits], ... */
    mn_row_stat *stats;                         /* [max_logits] */
    mn_vocab vocab;                             /* reads logits */
    mn_arena results;                           /* on the device: the same arrays */
    struct feed_device {
        int32_t *target_row, *target_id, *sampled;
        float *target_value, *uniform, *difference;
        mn_row_stat *stats;
    } device;
    int64_t target_cap;
    float temperature;
    uint64_t seed;
} feed;

/* Passes are for all variants, without an audit, until somebody sets `active` and `audit`. */
mn_status mn_feed_open(feed *out, mn_session *session, int64_t stride, float temperature,
                       uint64_t seed);
void mn_feed_close(feed *f);

/* Feeds every pending token of the tracks. */
mn_status mn_feed_run(feed *f, track *tracks, int64_t count);

#endif

/* train_data.h - training texts as token sequences, and the order in which a run sees them.
 *
 * Tokens lie in one array; a sample is a stretch of it, and samples may overlap. The model reads
 * tokens 0 .. len-2 of a sample and is asked for tokens loss_begin .. len-1: what stands before is
 * context. Nothing here sees a model or a device. */
#ifndef MNEME_TRAIN_DATA_H
#define MNEME_TRAIN_DATA_H

#include "mneme/fever.h"
#include "mneme/tokenizer.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct mn_train_sample {
    int64_t begin, len; /* its tokens in mn_samples.ids; len >= 2 */
    int64_t loss_begin; /* 1 .. len-1, from the sample's own start */
} mn_train_sample;

/* What a memory is trained on: the names are those of the published variants. */
typedef enum mn_train_method {
    MN_TRAIN_WIKIPAGE, /* "gpt_wikipage": the pages, as plain language modelling */
    MN_TRAIN_TEMPLATE, /* "gpt_template": their training claims in the few-shot template */
    MN_TRAIN_BOTH      /* "gpt_wikipage_and_template" */
} mn_train_method;
extern const char *const mn_train_methods[]; /* in that order, ended by NULL */

typedef enum mn_template_loss { MN_LOSS_ANSWER, MN_LOSS_ALL } mn_template_loss;
extern const char *const mn_template_losses[]; /* "answer", "all", NULL */

typedef struct mn_samples_options {
    mn_train_method method;
    int num_fewshot;                /* demonstrations of a template */
    mn_template_loss template_loss; /* on the answer alone, or on the whole template */
    int64_t chunk_length;           /* most tokens that the model reads of a page at a time */
    int64_t chunk_stride;           /* from one chunk to the next; 0: chunk_length, no overlap */
    bool append_eos;                /* a page or text ends with the tokenizer's end token */
    int64_t max_positions;          /* of the model: a longer sample is an error */
    double validation_fraction;     /* of the samples, held out; 0 <= x < 1 */
    uint64_t seed;                  /* chooses them */
} mn_samples_options;

typedef struct mn_samples {
    mn_ids ids;
    mn_train_sample *items; /* [count]: train_count to train on, then those held out */
    int64_t count, train_count;
    size_t cap;
    uint64_t fingerprint; /* of tokens and bounds: equal for equal training data */
} mn_samples;

/* The texts of a prepared folder.
 *   Pages: the page's text, with BOS where the tokenizer's template has one. A page of more tokens than
 * chunk_length + 1 becomes several samples; those after the first begin chunk_stride tokens
 * further on and repeat chunk_length - chunk_stride targets as context, so that every token but the
 * first of the page is asked for exactly once.
 *   Templates: mn_fever_prompt of the page's training rows, and the candidate of its label as evaluation
 * scores it (" (b)", encoded by itself). Demonstrations never contain the claim. */
mn_status mn_samples_fever(mn_samples **out, const mn_fever *fever, const mn_tokenizer *tokenizer,
                           const mn_samples_options *options);

/* A jsonl file: objects with "text" (chunked like a page), or with "prompt" and "completion" (one
 * sample; the loss is on the completion, or on all as `template_loss` says). */
mn_status mn_samples_texts(mn_samples **out, const char *path, const mn_tokenizer *tokenizer,
                           const mn_samples_options *options);

void mn_samples_close(mn_samples **samples);

/* Inputs and targets of one sample. */
int64_t mn_sample_inputs(const mn_train_sample *sample);
int64_t mn_sample_targets(const mn_train_sample *sample);

/* Place `index` of 0 .. n-1 in a random order of them: a permutation that is a pure function of (seed,
 * stream, n), by a Feistel network (Luby and Rackoff 1988) of Philox rounds over the next power of four,
 * walked until it falls below n (Black and Rogaway 2002). */
int64_t mn_train_shuffle(uint64_t seed, uint64_t stream, int64_t index, int64_t n);

#endif

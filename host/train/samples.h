/* samples.h (internal) - filling a set of samples: what texts.c and samples.c share. */
#ifndef MNEME_TRAIN_SAMPLES_H
#define MNEME_TRAIN_SAMPLES_H

#include "mneme/train_data.h"

mn_status mn_samples_new(mn_samples **out, const mn_samples_options *options);
/* `name` stands in errors. Tokens from `begin` on are one text: cut into chunks, or one whole sample. */
mn_status mn_samples_chunks(mn_samples *s, size_t begin, const mn_samples_options *options,
                            const char *name);
mn_status mn_samples_whole(mn_samples *s, size_t begin, int64_t loss_begin,
                           const mn_samples_options *options, const char *name);
/* Holds out the validation samples and takes the fingerprint. */
mn_status mn_samples_finish(mn_samples *s, const mn_samples_options *options, const char *source);

#endif

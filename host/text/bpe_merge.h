/* bpe_merge.h - the merging step of bpe.c. */
#ifndef MNEME_TEXT_BPE_MERGE_H
#define MNEME_TEXT_BPE_MERGE_H

#include "text/bpe.h"

/* Merges work->symbols until no pair merges; work->count becomes smaller. */
mn_status mn_bpe_merge(const mn_bpe *bpe, mn_bpe_work *work);

#endif

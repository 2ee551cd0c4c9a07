/* document.h - the figures of the experiment's document, to stand beside ours. */
#ifndef MNEME_REPORT_DOCUMENT_H
#define MNEME_REPORT_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>

enum { MN_DOCUMENT_MODELS = 12, MN_DOCUMENT_SHOTS = 6 };

/* Three decimals, as printed there; NaN: the document has no such figure. Its f1.micro is its
 * accuracy in every row. Arrays of three: Doc, Temp, DocTemp. */
typedef struct mn_document_model {
    const char *family, *size;                                       /* "llama2_chat", "7b" */
    double f1_micro[MN_DOCUMENT_SHOTS], f1_macro[MN_DOCUMENT_SHOTS]; /* pretrained, 0 to 5 shots */
    double memory[3];                                                /* 1 shot, weight decay 0.05 */
    double decayed[3];                                               /* 1 shot, weight decay 0.01 */
    double full[3];                                                  /* 1 shot, full update */
} mn_document_model;

extern const mn_document_model mn_document[MN_DOCUMENT_MODELS];

/* The model that a Hugging Face name or folder name stands for ("EleutherAI/pythia-410m-deduped",
 * "Llama-2-7b-chat-hf"); NULL when it is none of the twelve. */
const mn_document_model *mn_document_find(const char *name);

#endif

/* document.c - the document's twelve models. Source: its tables "Fever Pages F1 Score
 * (Pretrained)", "Fever 99 Pages F1 Score (template memo - 1 shot, weight decay 0.05)", "Weight
 * Decay 0.01", "Pythia Full weight update (no memory module)" and "Full Results", copied digit by
 * digit. */
#include "report/document.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* clang-format off */
const mn_document_model mn_document[MN_DOCUMENT_MODELS] = {
    {"llama2", "13b",
     {0.013, 0.460, 0.410, 0.417, 0.472, 0.476},
     {0.018, 0.319, 0.229, 0.238, 0.268, 0.272},
     {0.476, 0.465, 0.462}, {0.488, 0.483, 0.472}, {NAN, NAN, NAN}},
    {"llama2", "7b",
     {0.018, 0.435, 0.354, 0.368, 0.367, 0.364},
     {0.024, 0.241, 0.214, 0.220, 0.219, 0.220},
     {0.439, 0.445, 0.438}, {NAN, NAN, NAN}, {NAN, NAN, NAN}},
    {"llama2_chat", "13b",
     {0.010, 0.556, 0.389, 0.496, 0.552, 0.578},
     {0.012, 0.381, 0.209, 0.259, 0.284, 0.291},
     {0.561, 0.562, 0.558}, {0.557, 0.549, 0.561}, {NAN, NAN, NAN}},
    {"llama2_chat", "7b",
     {0.392, 0.636, 0.519, 0.463, 0.408, 0.393},
     {0.196, 0.457, 0.402, 0.373, 0.341, 0.337},
     {0.650, 0.647, 0.646}, {0.639, 0.650, 0.642}, {NAN, NAN, NAN}},
    {"pythia", "12b",
     {0.000, 0.366, 0.118, 0.119, 0.113, 0.083},
     {0.000, 0.197, 0.124, 0.117, 0.115, 0.093},
     {0.366, 0.366, 0.366}, {NAN, NAN, NAN}, {NAN, NAN, NAN}},
    {"pythia", "6.9b",
     {0.021, 0.163, 0.280, 0.175, 0.106, 0.206},
     {0.028, 0.118, 0.247, 0.164, 0.106, 0.167},
     {0.163, 0.163, 0.163}, {NAN, NAN, NAN}, {NAN, NAN, NAN}},
    {"pythia", "2.8b",
     {0.006, 0.026, 0.097, 0.056, 0.108, 0.132},
     {0.008, 0.025, 0.077, 0.066, 0.087, 0.102},
     {0.026, 0.026, 0.026}, {NAN, NAN, NAN}, {NAN, NAN, NAN}},
    {"pythia", "1.4b",
     {0.059, 0.009, 0.139, 0.177, 0.275, 0.176},
     {0.067, 0.008, 0.102, 0.133, 0.178, 0.176},
     {0.009, 0.009, 0.009}, {NAN, NAN, NAN}, {NAN, NAN, NAN}},
    {"pythia", "1b",
     {0.000, 0.000, 0.001, 0.002, 0.011, 0.013},
     {0.000, 0.000, 0.001, 0.002, 0.011, 0.014},
     {0.000, 0.000, 0.000}, {NAN, NAN, NAN}, {NAN, NAN, NAN}},
    {"pythia", "410m",
     {0.000, 0.010, 0.000, 0.000, 0.000, 0.000},
     {0.000, 0.009, 0.000, 0.000, 0.000, 0.000},
     {0.010, 0.010, 0.010}, {NAN, NAN, NAN}, {NAN, 0.000, 0.024}},
    {"pythia", "160m",
     {0.000, 0.000, 0.000, 0.000, 0.000, 0.000},
     {0.000, 0.000, 0.000, 0.000, 0.000, 0.000},
     {0.000, 0.000, 0.000}, {NAN, NAN, NAN}, {NAN, NAN, NAN}},
    {"pythia", "70m",
     {0.000, 0.000, 0.000, 0.000, 0.000, 0.000},
     {0.000, 0.000, 0.000, 0.000, 0.000, 0.000},
     {0.000, 0.000, 0.000}, {NAN, NAN, NAN}, {NAN, 0.000, 0.000}},
};
/* clang-format on */

/* `part` stands in `name` and no letter, digit or point continues it. */
static bool stands(const char *name, const char *part) {
    const size_t len = strlen(part);
    for (const char *at = strstr(name, part); at; at = strstr(at + 1, part))
        if (!isalnum((unsigned char)at[len]) && at[len] != '.') return true;
    return false;
}

const mn_document_model *mn_document_find(const char *name) {
    char lower[256];
    const char *slash = strrchr(name, '/');
    const char *base = slash && slash[1] ? slash + 1 : name;
    size_t len = 0;
    for (; base[len] && len + 1 < sizeof lower; len++)
        lower[len] = base[len] == '_' ? '-' : (char)tolower((unsigned char)base[len]);
    lower[len] = '\0';
    const bool chat = strstr(lower, "chat");
    for (size_t i = 0; i < MN_DOCUMENT_MODELS; i++) {
        const mn_document_model *m = &mn_document[i];
        char hyphen[64], plain[64];
        const bool llama = strncmp(m->family, "llama2", 6) == 0;
        if (llama && chat != (strcmp(m->family, "llama2_chat") == 0)) continue;
        snprintf(hyphen, sizeof hyphen, "%s-%s", llama ? "llama-2" : "pythia", m->size);
        snprintf(plain, sizeof plain, "%s-%s", llama ? "llama2" : "pythia", m->size);
        if (stands(lower, hyphen) || stands(lower, plain)) return m;
        snprintf(hyphen, sizeof hyphen, "llama-2-chat-%s", m->size);
        snprintf(plain, sizeof plain, "llama2-chat-%s", m->size);
        if (llama && chat && (stands(lower, hyphen) || stands(lower, plain))) return m;
    }
    return NULL;
}

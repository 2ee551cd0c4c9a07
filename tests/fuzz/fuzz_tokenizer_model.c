/* fuzz_tokenizer_model.c - any bytes as a SentencePiece model; what loads must encode and decode. */
#include "fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    mn_tokenizer *t = NULL;
    if (mn_tokenizer_from_model(&t, data, size, "fuzz") != MN_OK) {
        if (t || !*mn_error()) abort();
        return 0;
    }
    use_tokenizer(t, data, size);
    mn_tokenizer_close(&t);
    return 0;
}

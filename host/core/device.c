/* device.c - the registry: which device a name means. */
#include "mneme/device.h"

#include <string.h>

typedef enum kind { CPU, CUDA, AUTO } kind;

/* "cpu", "auto", "cuda" and "cuda:N". */
static mn_status parse(kind *out, int *index, const char *spec) {
    enum { DIGITS = 4 };
    *index = 0;
    *out = CPU;
    if (strcmp(spec, "cpu") == 0) return MN_OK;
    *out = AUTO;
    if (strcmp(spec, "auto") == 0) return MN_OK;
    *out = CUDA;
    if (strcmp(spec, "cuda") == 0) return MN_OK;
    if (strncmp(spec, "cuda:", 5) == 0) {
        const char *number = spec + 5;
        const size_t len = strlen(number);
        if (len > 0 && len <= DIGITS && strspn(number, "0123456789") == len) {
            for (; *number; number++) *index = *index * 10 + (*number - '0');
            return MN_OK;
        }
    }
    return mn_fail(MN_ERR_USAGE, "device '%s' is unknown; there are: auto, cpu, cuda, cuda:N",
                   spec);
}

mn_status mn_device_check(const char *spec) {
    kind which;
    int index;
    return parse(&which, &index, spec);
}

mn_status mn_device_open(mn_device **out, const char *spec, int threads) {
    kind which;
    int index;
    mn_cuda_state found;
    *out = NULL;
    MN_TRY(parse(&which, &index, spec));
    if (which == AUTO) which = mn_cuda_probe(&found) ? CUDA : CPU;
    return which == CUDA ? mn_cuda_open(out, index) : mn_cpu_open(out, threads);
}

void mn_device_close(mn_device **device) {
    if (!*device) return;
    mn_error_record before; /* the reason why it is closed, often */
    mn_error_save(&before);
    (*device)->close(*device);
    mn_error_restore(&before);
    *device = NULL;
}

/* runtime_check.cuh - checks of the programs that stand on the simulated libraries. */
#pragma once

#include "simgpu.h"
#include <cstdio>
#include <cstring>
#include <cuda_runtime.h>

static int checks, failures;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        checks++;                                                                                  \
        if (!(condition)) {                                                                        \
            failures++;                                                                            \
            printf("%s:%d: %s\n", __FILE__, __LINE__, #condition);                                 \
            for (int r_ = 0; r_ < sg_report_count(); r_++)                                         \
                printf("    %s\n", sg_report(r_, nullptr, nullptr));                               \
        }                                                                                          \
    } while (0)
#define CALL(call) CHECK((call) == 0)

/* Was something with this text reported, and nothing else? Forgets the reports. */
static bool take_report(const char *text) {
    const bool ok = sg_report_count() == 1 && strstr(sg_report(0, nullptr, nullptr), text);
    if (ok) sg_clear_reports();
    return ok;
}

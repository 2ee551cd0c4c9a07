/* report.h - options, and what is said to the user. */
#ifndef SIMGPU_REPORT_H
#define SIMGPU_REPORT_H

#include "simgpu.h"
#include "types.h"
#include <stdexcept>
#include <string>

namespace sg {

struct Options {
#define OPTION(name, value, meaning) long long name = value;
#include "options.def"
#undef OPTION
};
extern Options options;
extern sg_stats stats; /* of the launch that runs or ran last */

/* A program that cannot be run: unknown syntax or instruction. */
struct Error : std::runtime_error {
    using runtime_error::runtime_error;
};

std::string format(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Reports with equal keys are one report that occurred several times. */
void add_report(bool is_error, const std::string &key, const std::string &text);
/* Counts one more occurrence; false when there is no such report yet. */
bool repeat_report(const std::string &key);
u64 error_occurrences();

} // namespace sg
#endif

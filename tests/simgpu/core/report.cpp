/* report.cpp - options, and what is said to the user. */
#include "report.h"
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <vector>

namespace sg {

Options options;
sg_stats stats;

namespace {
struct Report {
    std::string text;
    bool is_error;
    u64 times;
};
std::vector<Report> reports;
std::map<std::string, size_t> by_key;
} // namespace

std::string format(const char *fmt, ...) {
    char text[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return text;
}

bool repeat_report(const std::string &key) {
    const auto found = by_key.find(key);
    if (found == by_key.end()) return false;
    reports[found->second].times++;
    return true;
}

void add_report(bool is_error, const std::string &key, const std::string &text) {
    if (repeat_report(key)) return;
    by_key[key] = reports.size();
    reports.push_back({text, is_error, 1});
    if (options.print && (long long)reports.size() <= options.max_reports)
        fprintf(stderr, "simgpu: %s: %s\n", is_error ? "ERROR" : "warning", text.c_str());
}

u64 error_occurrences() {
    u64 n = 0;
    for (const auto &r : reports)
        if (r.is_error) n += r.times;
    return n;
}

} // namespace sg

using namespace sg;

extern "C" {

int sg_option(const char *name, long long value) {
#define OPTION(row, value_, meaning)                                                               \
    if (!strcmp(name, #row)) {                                                                     \
        options.row = value;                                                                       \
        return 0;                                                                                  \
    }
#include "options.def"
#undef OPTION
    return -1;
}

void sg_options_from_environment(void) {
    static const char *const names[] = {
#define OPTION(name, value, meaning) #name,
#include "options.def"
#undef OPTION
    };
    for (const char *name : names) {
        std::string variable = "SIMGPU_";
        for (const char *c = name; *c; c++) variable += (char)toupper(*c);
        if (const char *value = getenv(variable.c_str())) sg_option(name, atoll(value));
    }
}

const sg_stats *sg_last_stats(void) { return &stats; }
int sg_report_count(void) { return (int)reports.size(); }

const char *sg_report(int i, int *is_error, uint64_t *times) {
    const Report &r = reports[(size_t)i];
    if (is_error) *is_error = r.is_error;
    if (times) *times = r.times;
    return r.text.c_str();
}

void sg_clear_reports(void) {
    reports.clear();
    by_key.clear();
}

void sg_add_report(int is_error, const char *key, const char *text) {
    add_report(is_error != 0, key, text);
}
}

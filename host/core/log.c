/* log.c - log lines and progress on standard error. One mutex guards the sink. */
#include "mneme/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t sink = PTHREAD_MUTEX_INITIALIZER;
static _Atomic mn_log_level threshold = MN_LOG_INFO;
static bool bar_shown; /* guarded by sink: a bar stands on the terminal's last line */
static char
    *rank_name; /* guarded by sink: "rank 2 (node3)", of whom only errors go to standard error */
static FILE *rank_file; /* guarded by sink: where its other lines go; NULL: nowhere */

struct mn_progress {
    char what[64], unit[24];
    int64_t total;
    _Atomic int64_t done;
    double begin, shown; /* seconds; shown is guarded by sink */
    bool terminal;
};

enum { BAR_WIDTH = 30 };
static const double first_after = 2.0, bar_every = 0.1, line_every = 10.0;

double mn_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void mn_log_set_level(mn_log_level level) { threshold = level; }

static void clear_bar(void) {
    if (bar_shown) fputs("\r\033[K", stderr);
    bar_shown = false;
}

mn_status mn_log_rank(const char *name, const char *path) {
    mn_status st = MN_OK;
    FILE *file = path ? fopen(path, "ae") : NULL;
    if (path && !file) return mn_fail_errno(path);
    char *copy = strdup(name);
    pthread_mutex_lock(&sink);
    free(rank_name);
    rank_name = copy;
    if (rank_file) fclose(rank_file);
    rank_file = file;
    if (!copy) st = mn_fail(MN_ERR_MEMORY, "no memory for the name of a rank");
    pthread_mutex_unlock(&sink);
    return st;
}

/* In one write, since several processes may have the same terminal or file; a line of unusual length in parts. */
static void put_line(FILE *to, const char *name, const char *before, const char *format,
                     va_list args) {
    char line[4096];
    va_list again;
    va_copy(again, args);
    const int head = snprintf(line, sizeof line, "%s%s%s", name, *name ? ": " : "", before);
    const int len = head + vsnprintf(line + head, sizeof line - (size_t)head, format, again);
    va_end(again);
    if (len >= head && len < (int)sizeof line) {
        line[len] = '\n';
        fwrite(line, 1, (size_t)len + 1, to);
    } else {
        fwrite(line, 1, (size_t)head, to);
        vfprintf(to, format, args);
        fputc('\n', to);
    }
    fflush(to);
}

void mn_log(mn_log_level level, const char *format, ...) {
    static const char *const prefix[] = {"error: ", "warning: ", "", "debug: "};
    if (level > threshold) return;
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    pthread_mutex_lock(&sink);
    clear_bar();
    if (!rank_name) {
        put_line(stderr, "", prefix[level], format, args);
    } else {
        if (rank_file) put_line(rank_file, "", prefix[level], format, again);
        if (level == MN_LOG_ERROR) put_line(stderr, rank_name, "", format, args);
    }
    pthread_mutex_unlock(&sink);
    va_end(again);
    va_end(args);
}

mn_progress *mn_progress_begin(const char *what, const char *unit, int64_t total) {
    mn_progress *p = calloc(1, sizeof *p);
    if (!p) return NULL; /* progress is a courtesy: the job goes on without it */
    snprintf(p->what, sizeof p->what, "%s", what);
    snprintf(p->unit, sizeof p->unit, "%s", unit);
    p->total = total;
    pthread_mutex_lock(&sink);
    p->terminal = !rank_name && isatty(STDERR_FILENO);
    pthread_mutex_unlock(&sink);
    p->begin = mn_now();
    p->shown = p->begin;
    return p;
}

static void format_seconds(char *text, size_t size, double seconds) {
    const long s = (long)(seconds + 0.5);
    if (s >= 3600) snprintf(text, size, "%ldh%02ldm", s / 3600, s / 60 % 60);
    else if (s >= 60) snprintf(text, size, "%ldm%02lds", s / 60, s % 60);
    else snprintf(text, size, "%lds", s);
}

/* Called with the sink locked. */
static void show(mn_progress *p, double now) {
    FILE *const to = rank_name ? rank_file : stderr;
    if (!to) return;
    const int64_t done = p->done;
    const double elapsed = now - p->begin;
    const double share = p->total > 0 ? (double)done / (double)p->total : 0;
    const double rate = elapsed > 0 ? (double)done / elapsed : 0;
    char left[32] = "?";
    if (rate > 0 && p->total >= done)
        format_seconds(left, sizeof left, (double)(p->total - done) / rate);
    if (p->terminal) {
        char bar[BAR_WIDTH + 1];
        for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < (int)(share * BAR_WIDTH) ? '#' : '.';
        bar[BAR_WIDTH] = '\0';
        fprintf(stderr, "\r\033[K%s [%s] %3.0f%% %.4g %s/s, %s left", p->what, bar, 100 * share,
                rate, p->unit, left);
        bar_shown = true;
    } else {
        fprintf(to, "%s: %lld of %lld %s (%.0f%%), %.4g %s/s, %s left\n", p->what, (long long)done,
                (long long)p->total, p->unit, 100 * share, rate, p->unit, left);
    }
    fflush(to);
}

void mn_progress_add(mn_progress *p, int64_t steps) {
    if (!p) return;
    p->done += steps;
    if (threshold < MN_LOG_INFO || pthread_mutex_trylock(&sink) != 0) return;
    const double now = mn_now(), every = p->terminal ? bar_every : line_every;
    if (now - p->begin >= first_after && now - p->shown >= every) {
        p->shown = now;
        show(p, now);
    }
    pthread_mutex_unlock(&sink);
}

void mn_progress_end(mn_progress **progress) {
    if (!*progress) return;
    pthread_mutex_lock(&sink);
    clear_bar();
    pthread_mutex_unlock(&sink);
    free(*progress);
    *progress = NULL;
}

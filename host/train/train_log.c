/* train_log.c - see train_log.h. */
#include "train/train_log.h"

#include "mneme/file.h"
#include "mneme/json.h"
#include "mneme/tensorboard.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct train_log {
    char *dir, *path;
    int fd;
    mn_events *events;
    mn_buf line; /* scratch */
};

static double wall_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

mn_status mn_train_log_open(train_log **out, const char *dir) {
    mn_status st = MN_OK;
    mn_buf path = {0};
    *out = NULL;
    train_log *l = calloc(1, sizeof *l);
    MN_CHECK(l, MN_ERR_MEMORY, "%s: no memory", dir);
    l->fd = -1;
    MN_GOTO(mn_make_dirs(dir));
    MN_GOTO(mn_path_join(&path, dir, "train_log.jsonl"));
    l->dir = strdup(dir);
    l->path = path.data;
    path = (mn_buf){0};
    MN_CHECK_GOTO(l->dir, MN_ERR_MEMORY, "%s: no memory", dir);
    l->fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (l->fd < 0) {
        st = mn_fail_errno(l->path);
        goto done;
    }
    if (flock(l->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        st = mn_fail(MN_ERR_IO, "%s: another mneme trains into this folder", dir);
        goto done;
    }
    MN_GOTO(mn_buf_reserve(&l->line, 1024)); /* more than any line: none allocates later */
    *out = l;
    l = NULL;
done:
    mn_train_log_close(&l);
    mn_buf_free(&path);
    return st;
}

/* ---- TensorBoard ---- */

static mn_status scalar(train_log *l, const char *tag, const train_line *line, double time,
                        double value) {
    return mn_events_scalar(l->events, tag, line->step, time, value);
}

static mn_status add_events(train_log *l, const train_line *line, double time) {
    if (line->validation) return scalar(l, "eval/loss", line, time, line->loss);
    MN_TRY(scalar(l, "train/loss", line, time, line->loss));
    MN_TRY(scalar(l, "train/grad_norm", line, time, line->grad_norm));
    MN_TRY(scalar(l, "train/learning_rate", line, time, line->learning_rate));
    MN_TRY(scalar(l, "train/epoch", line, time, line->epoch));
    return scalar(l, "train/tokens_per_second", line, time, line->tokens_per_second);
}

/* One file at a time: those of earlier runs go, their lines are written again. */
static mn_status open_events(train_log *l) {
    mn_status st = MN_OK;
    glob_t found = {0};
    mn_buf path = {0};
    MN_GOTO(mn_buf_printf(&path, "%s/events.out.tfevents.*", l->dir));
    if (glob(path.data, GLOB_NOSORT, NULL, &found) == 0)
        for (size_t i = 0; i < found.gl_pathc; i++) unlink(found.gl_pathv[i]);
    mn_buf_clear(&path);
    MN_GOTO(
        mn_buf_printf(&path, "%s/events.out.tfevents.%lld.mneme", l->dir, (long long)wall_clock()));
    st = mn_events_open(&l->events, path.data);
done:
    globfree(&found);
    mn_buf_free(&path);
    return st;
}

/* ---- lines of earlier runs ---- */

static mn_status read_line(train_line *line, double *time, const char *text, size_t len,
                           const char *name) {
    mn_json *doc = NULL;
    mn_status st = MN_OK;
    *line = (train_line){0};
    MN_GOTO(mn_json_parse(&doc, text, len, name));
    const cJSON *o = doc->root;
    line->validation = mn_json_has(o, "eval_loss");
    MN_GOTO(mn_json_i64(&line->step, doc, o, "step", 0, INT64_C(1) << 52));
    MN_GOTO(mn_json_f64(&line->epoch, doc, o, "epoch"));
    MN_GOTO(mn_json_f64(&line->loss, doc, o, line->validation ? "eval_loss" : "loss"));
    MN_GOTO(mn_json_f64_or(&line->grad_norm, doc, o, "grad_norm", 0));
    MN_GOTO(mn_json_f64_or(&line->learning_rate, doc, o, "learning_rate", 0));
    MN_GOTO(mn_json_f64_or(&line->tokens_per_second, doc, o, "tokens_per_second", 0));
    st = mn_json_f64_or(time, doc, o, "time", 0);
done:
    mn_json_close(&doc);
    return st;
}

/* *kept: the bytes of whole lines up to `step`. A line that a crash cut short ends the log. */
static mn_status replay(train_log *l, int64_t step, off_t *kept) {
    mn_status st = MN_OK;
    mn_map *map = NULL;
    *kept = 0;
    if (step == 0) return MN_OK;
    MN_TRY(mn_map_open(&map, l->path));
    const char *at = (const char *)map->data, *const end = at + map->size;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        train_line line;
        double time = 0;
        if (!newline || read_line(&line, &time, at, (size_t)(newline - at), l->path) != MN_OK ||
            line.step > step)
            break;
        MN_GOTO(add_events(l, &line, time));
        at = newline + 1;
        *kept = at - (const char *)map->data;
    }
done:
    mn_map_close(&map);
    return st;
}

mn_status mn_train_log_begin(train_log *l, int64_t step) {
    off_t kept = 0;
    MN_TRY(open_events(l));
    MN_TRY(replay(l, step, &kept));
    if (ftruncate(l->fd, kept) != 0 || lseek(l->fd, kept, SEEK_SET) < 0)
        return mn_fail_errno(l->path);
    return mn_events_flush(l->events);
}

/* ---- new lines ---- */

static mn_status add_number(mn_buf *out, const char *key, double value) {
    MN_TRY(mn_buf_printf(out, ", \"%s\": ", key));
    return mn_json_number(out, value);
}

static mn_status append(const train_log *l, const char *text, size_t len) {
    while (len > 0) {
        const ssize_t n = write(l->fd, text, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return mn_fail_errno(l->path);
        text += n;
        len -= (size_t)n;
    }
    return MN_OK;
}

mn_status mn_train_log_add(train_log *l, const train_line *line) {
    const double time = wall_clock();
    mn_buf *out = &l->line;
    mn_buf_clear(out);
    MN_TRY(mn_buf_printf(out, "{\"step\": %lld", (long long)line->step));
    MN_TRY(add_number(out, "epoch", line->epoch));
    MN_TRY(add_number(out, line->validation ? "eval_loss" : "loss", line->loss));
    if (!line->validation) {
        MN_TRY(add_number(out, "grad_norm", line->grad_norm));
        MN_TRY(add_number(out, "learning_rate", line->learning_rate));
        MN_TRY(mn_buf_printf(out, ", \"tokens\": %lld", (long long)line->tokens));
        MN_TRY(mn_buf_printf(out, ", \"tokens_per_second\": %.1f", line->tokens_per_second));
    }
    MN_TRY(mn_buf_printf(out, ", \"time\": %.3f}\n", time));
    MN_TRY(append(l, out->data, out->len));
    MN_TRY(add_events(l, line, time));
    return mn_events_flush(l->events);
}

mn_status mn_train_log_sync(train_log *l) {
    if (fsync(l->fd) != 0 && errno != EINVAL) return mn_fail_errno(l->path);
    return MN_OK;
}

void mn_train_log_close(train_log **log) {
    train_log *l = *log;
    if (!l) return;
    mn_events_close(&l->events);
    if (l->fd >= 0) close(l->fd);
    mn_buf_free(&l->line);
    free(l->dir);
    free(l->path);
    free(l);
    *log = NULL;
}

/* journal.c - answers on disk as they come, synced after every batch, and from rank to rank at the end.
 *
 * The file's name carries a hash of everything that the answers depend on, and its first line says
 * it in full; another evaluation has another journal. A line that a crash cut short is dropped. The
 * first line ends with the time of the first start: it names the files of the results, so that an
 * evaluation that is killed while it writes them writes the same ones again.
 *
 * Of several ranks, one of each replica keeps a journal: rank 0 journal_<hash>.jsonl, as if it were alone, replica R
 * journal_<hash>.rank-R.jsonl. Rank 0 reads all that earlier runs have left, takes the lines of the others over into its
 * own, and tells everybody; so the next run may have any number of ranks. */
#include "eval/journal.h"
#include "mneme/log.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

struct journal {
    char *path; /* NULL: another rank of the replica keeps it */
    int fd;
    mn_buf lines; /* scratch */
};

/* <folder of the results>/journal_<hash>, the folder made. */
static mn_status make_stem(mn_buf *path, const mn_evaluation *e, const mn_buf *header) {
    MN_TRY(mn_results_path(path, &e->results, e->options.output_path));
    char *slash = strrchr(path->data, '/');
    path->len = slash ? (size_t)(slash - path->data) : 0;
    path->data[path->len] = '\0';
    if (slash) MN_TRY(mn_make_dirs(path->data));
    return mn_buf_printf(
        path, "%sjournal_%016llx", slash ? "/" : "",
        (unsigned long long)mn_journal_hash(MN_JOURNAL_HASH, header->data, header->len));
}

/* Prompts to which every variant has answered. */
static int64_t count_known(const mn_evaluation *e) {
    int64_t known = 0;
    for (int64_t i = 0; i < e->count; i++) {
        bool all = true;
        for (int64_t v = e->first_variant; v < e->variant_count; v++)
            all &= mn_eval_answer(e, v, i)->known;
        known += all;
    }
    return known;
}

/* The date behind the header: ", "date": 1.5}" and the end of the line, *len bytes in all; 0 where
 * something else stands there. */
static double read_date(const char *text, size_t most, size_t *len) {
    char line[64] = "";
    int end = 0;
    double date = 0;
    memcpy(line, text, most < sizeof line - 1 ? most : sizeof line - 1);
    if (sscanf(line, ", \"date\": %lf}%n", &date, &end) != 1 || end == 0 || line[end] != '\n')
        return 0;
    *len = (size_t)end + 1;
    return date;
}

/* Takes over the complete lines of an earlier run and appends them to `lines`; *kept is their length in the file, the
 * first line's included. */
static mn_status read_journal(mn_evaluation *e, const char *path, const mn_buf *header,
                              mn_buf *lines, size_t *kept) {
    mn_status st = MN_OK;
    mn_map *map = NULL;
    *kept = 0;
    MN_TRY(mn_map_open(&map, path));
    const char *text = (const char *)map->data;
    size_t len = map->size, begin = header->len, date_len = 0;
    while (len > 0 && text[len - 1] != '\n') len--;
    if (len < begin || memcmp(text, header->data, begin) != 0) goto done;
    const double date = read_date(text + begin, len - begin, &date_len);
    if (!(date > 0 && date < 253402300800.0 /* year 10000 */)) goto done;
    begin += date_len;
    MN_GOTO(mn_journal_take(e, text + begin, len - begin, path));
    MN_GOTO(mn_buf_append(lines, text + begin, len - begin));
    *kept = len;
    if (!(e->results.first > 0)) e->results.first = date;
done:
    mn_map_close(&map);
    return st;
}

static mn_status append(const journal *j, const char *text, size_t len) {
    while (len > 0) {
        const ssize_t n = write(j->fd, text, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return mn_fail_errno(j->path);
        text += n;
        len -= (size_t)n;
    }
    if (fdatasync(j->fd) != 0 && errno != EINVAL) return mn_fail_errno(j->path);
    return MN_OK;
}

/* ---- the journals of other ranks ---- */

typedef mn_status visitor(mn_evaluation *e, const char *path, void *context);
static mn_status visit_others(mn_evaluation *e, visitor *visit, void *context) {
    const char *own = e->journal->path;
    mn_status st = MN_OK;
    mn_buf pattern = {0};
    glob_t found = {0};
    /* The hash stands before the last dot; folders may have what glob takes for a pattern. */
    for (const char *p = own; p < strrchr(own, '.'); p++)
        MN_GOTO(mn_buf_printf(&pattern, "%s%c", strchr("*?[]\\", *p) ? "\\" : "", *p));
    MN_GOTO(mn_buf_puts(&pattern, ".rank-*.jsonl"));
    if (glob(pattern.data, 0, NULL, &found) == 0)
        for (size_t i = 0; st == MN_OK && i < found.gl_pathc; i++)
            st = visit(e, found.gl_pathv[i], context);
done:
    globfree(&found);
    mn_buf_free(&pattern);
    return st;
}

typedef struct earlier {
    const mn_buf *header;
    mn_buf *lines;
} earlier;

static mn_status read_other(mn_evaluation *e, const char *path, void *context) {
    const earlier *into = context;
    size_t kept = 0;
    return read_journal(e, path, into->header, into->lines, &kept);
}

static mn_status remove_other(mn_evaluation *e, const char *path, void *context) {
    (void)e, (void)context;
    return unlink(path) == 0 || errno == ENOENT ? MN_OK : mn_fail_errno(path);
}

/* ---- opening ---- */

/* The first line of a new journal. */
static mn_status begin(journal *j, const mn_evaluation *e, const mn_buf *header) {
    mn_buf *line = &j->lines;
    mn_buf_clear(line);
    MN_TRY(mn_buf_append(line, header->data, header->len));
    MN_TRY(mn_buf_printf(line, ", \"date\": %.6f}\n",
                         e->results.first > 0 ? e->results.first : e->results.date));
    return append(j, line->data, line->len);
}

/* Rank 0: its own journal, with those of the others; `lines` gets all that is known. */
static mn_status open_first(mn_evaluation *e, const mn_buf *header, mn_buf *lines) {
    journal *j = e->journal;
    size_t kept = 0;
    j->fd = open(j->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (j->fd < 0) return mn_fail_errno(j->path);
    if (flock(j->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return mn_fail(MN_ERR_IO, "%s: another mneme is at this evaluation", j->path);
    MN_TRY(read_journal(e, j->path, header, lines, &kept));
    if (ftruncate(j->fd, (off_t)kept) != 0 || lseek(j->fd, 0, SEEK_END) < 0)
        return mn_fail_errno(j->path);
    const size_t own = lines->len;
    MN_TRY(visit_others(e, read_other, &(earlier){header, lines}));
    if (kept == 0) MN_TRY(begin(j, e, header));
    /* On the disk before the others go: a crash in between only repeats lines. */
    if (lines->len > own) MN_TRY(append(j, lines->data + own, lines->len - own));
    MN_TRY(visit_others(e, remove_other, NULL));
    const int64_t answers = count_known(e);
    if (answers)
        mn_log(MN_LOG_INFO, "going on: %lld of %lld prompts were answered before",
               (long long)answers, (long long)e->count);
    return MN_OK;
}

static mn_status lead(mn_evaluation *e, mn_buf *header, mn_buf *stem, mn_buf *lines) {
    MN_TRY(make_stem(stem, e, header));
    e->journal->path = malloc(stem->len + sizeof ".jsonl");
    MN_CHECK(e->journal->path, MN_ERR_MEMORY, "no memory for a journal");
    memcpy(e->journal->path, stem->data, stem->len);
    strcpy(e->journal->path + stem->len, ".jsonl");
    return open_first(e, header, lines);
}

/* The others take part with what rank 0 has read; the first rank of each replica keeps a journal. */
static mn_status follow(mn_evaluation *e, const mn_buf *header, mn_buf *stem, const mn_buf *lines) {
    journal *j = e->journal;
    MN_TRY(mn_journal_take(e, lines->data ? lines->data : "", lines->len, stem->data));
    if (mn_comm_rank(e->ranks.tp) > 0) return MN_OK;
    MN_TRY(mn_buf_printf(stem, ".rank-%d.jsonl", mn_comm_rank(e->ranks.dp)));
    j->path = stem->data;
    *stem = (mn_buf){0};
    j->fd = open(j->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    return j->fd < 0 ? mn_fail_errno(j->path) : begin(j, e, header);
}

/* What rank 0 has, to all. */
static mn_status hand_out(const mn_evaluation *e, mn_buf *text) {
    mn_comm *world = e->ranks.world;
    uint64_t len = text->len;
    MN_TRY(mn_comm_broadcast(world, &len, sizeof len, 0));
    if (!e->leads) {
        mn_buf_clear(text);
        MN_TRY(mn_buf_reserve(text, len));
        text->len = len;
        text->data[len] = '\0';
    }
    return len > 0 ? mn_comm_broadcast(world, text->data, len, 0) : MN_OK;
}

mn_status mn_journal_open(mn_evaluation *e) {
    const mn_ranks *ranks = &e->ranks;
    mn_status st = MN_OK;
    mn_buf header = {0}, stem = {0}, lines = {0};
    e->journal = calloc(1, sizeof *e->journal);
    if (!e->journal) st = mn_fail(MN_ERR_MEMORY, "no memory for a journal");
    else e->journal->fd = -1;
    /* Where ranks share a model, a memory's numbers are spread over them. */
    if (st == MN_OK && mn_comm_rank(ranks->dp) == 0) st = mn_journal_header(&header, e);
    if (st == MN_OK && e->leads) st = lead(e, &header, &stem, &lines);
    MN_GOTO(mn_ranks_agree(ranks, st));
    if (!ranks->world) goto done;
    MN_GOTO(mn_comm_broadcast(ranks->world, &e->results.date, sizeof e->results.date, 0));
    MN_GOTO(mn_comm_broadcast(ranks->world, &e->results.first, sizeof e->results.first, 0));
    MN_GOTO(hand_out(e, &header));
    MN_GOTO(hand_out(e, &stem));
    MN_GOTO(hand_out(e, &lines));
    st = mn_comm_agree(ranks->world, e->leads ? MN_OK : follow(e, &header, &stem, &lines));
done:
    mn_buf_free(&lines);
    mn_buf_free(&stem);
    mn_buf_free(&header);
    return st;
}

/* ---- from then on ---- */

mn_status mn_journal_add(mn_evaluation *e, const int64_t *prompts, int64_t count) {
    mn_buf *out = &e->journal->lines;
    if (!e->journal->path) return MN_OK;
    mn_buf_clear(out);
    for (int64_t i = 0; i < count; i++) MN_TRY(mn_journal_put(out, e, prompts[i]));
    return append(e->journal, out->data, out->len);
}

static mn_status put_own(mn_buf *out, const mn_evaluation *e) {
    for (int64_t i = 0; i < e->count; i++)
        if (mn_eval_answer(e, e->first_variant, i)->here) MN_TRY(mn_journal_put(out, e, i));
    return MN_OK;
}

static mn_status take_all(mn_evaluation *e, const mn_buf *lines) {
    MN_TRY(mn_journal_take(e, lines->data ? lines->data : "", lines->len, "answers of all ranks"));
    const int64_t known = count_known(e);
    MN_CHECK(known == e->count, MN_ERR_COMM,
             "%lld of %lld prompts have an answer: the ranks have not made the same plan",
             (long long)known, (long long)e->count);
    return MN_OK;
}

mn_status mn_journal_share(mn_evaluation *e) {
    const mn_ranks *ranks = &e->ranks;
    mn_status st = MN_OK;
    mn_buf own = {0}, all = {0};
    if (mn_comm_size(ranks->dp) == 1) return MN_OK;
    MN_GOTO(mn_comm_agree(ranks->world, put_own(&own, e)));
    MN_GOTO(mn_comm_gather(ranks->dp, &all, own.data, own.len, -1));
    st = mn_comm_agree(ranks->world, take_all(e, &all));
done:
    mn_buf_free(&all);
    mn_buf_free(&own);
    return st;
}

mn_status mn_journal_remove(mn_evaluation *e) {
    if (!e->leads) return MN_OK;
    MN_TRY(visit_others(e, remove_other, NULL));
    return remove_other(e, e->journal->path, NULL);
}

void mn_journal_close(journal **j) {
    if (!*j) return;
    if ((*j)->fd >= 0) close((*j)->fd);
    mn_buf_free(&(*j)->lines);
    free((*j)->path);
    free(*j);
    *j = NULL;
}

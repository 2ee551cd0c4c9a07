/* common.c - see common.h. The order is that of the header. */
#include "cli/common.h"

#include "cli/launch.h"
#include "mneme/log.h"
#include "mneme/mneme.h"
#include "mneme/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <oneapi/dnnl/dnnl.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utf8proc.h>
#include <zip.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* ---- commands ---- */

static const char *const log_levels[] = {"error", "warn", "info", "debug", NULL};

static const char *const attentions[] = {"own", "cudnn", NULL};

static const mn_option common_rows[] = {
    MN_OPT_STRING(mn_common_options, device, "NAME", "auto",
                  "where to compute: cpu, cuda (the first GPU), cuda:N, or auto: a GPU when "
                  "there is one"),
    MN_OPT_CHOICE(mn_common_options, attention, "own", attentions,
                  "who computes attention on a GPU: mneme's own kernels, or cuDNN where it can "
                  "(whole texts, no grouped heads)"),
    MN_OPT_I64(mn_common_options, threads, "0", 0, 1024, "threads to use; 0 takes all cores"),
    MN_OPT_CHOICE(mn_common_options, log_level, "info", log_levels,
                  "what to report on standard error"),
    MN_OPT_I64(mn_common_options, tp, "1", 1, 1024,
               "ranks that share one model; with mpirun or srun"),
    MN_OPT_I64(mn_common_options, dp, "0", 0, 65536,
               "groups of such ranks that share the work; 0: as many as were started"),
    MN_OPT_F64(mn_common_options, comm_timeout, "600", 1, 1e6,
               "seconds to wait for another rank before it counts as lost"),
};
enum { COMMON_ROWS = sizeof common_rows / sizeof *common_rows };
_Static_assert(MN_COMM_TIMEOUT == 600, "the default of comm_timeout");

mn_status mn_cli_device_open(mn_device **out, const mn_cli *cli) {
    const mn_common_options *common = &cli->common;
    mn_status st = MN_OK;
    mn_device *device = NULL;
    *out = NULL;
    MN_GOTO(mn_device_open(&device, common->device, (int)common->threads));
    if (common->attention) {
        MN_CHECK_GOTO(device->attention, MN_ERR_UNSUPPORTED, "%s has no --attention %s",
                      device->name, attentions[common->attention]);
        MN_GOTO(device->attention(device, true));
    }
done:
    if (cli->ranks) st = mn_ranks_agree(cli->ranks, st);
    if (st != MN_OK) mn_device_close(&device);
    *out = device;
    if (!device || !cli->ranks) return st;
    MN_TRY(mn_comm_distinct(cli->ranks->world, device));
    MN_TRY(mn_comm_attach(cli->ranks->tp, device));
    return mn_comm_attach(cli->ranks->dp, device);
}

/* What prints some rows: for the eye or as Markdown. */
typedef mn_status print_rows(mn_buf *out, const mn_option *rows, size_t count);

/* The rows of a part that are not hidden, behind its title. */
static mn_status add_part(mn_buf *out, const mn_command_part *part, const char *before,
                          const char *behind, print_rows *print) {
    size_t count = 0;
    mn_option *rows = calloc(part->count, sizeof *rows);
    MN_CHECK(rows, MN_ERR_MEMORY, "no memory for %zu options", part->count);
    for (size_t i = 0; i < part->count; i++) {
        const char *const *hidden = part->hidden;
        while (hidden && *hidden && strcmp(*hidden, part->rows[i].name) != 0) hidden++;
        if (!hidden || !*hidden) rows[count++] = part->rows[i];
    }
    mn_status st = mn_buf_printf(out, "%s%s%s", before, part->title, behind);
    if (st == MN_OK) st = print(out, rows, count);
    free(rows);
    return st;
}

static size_t count_parts(const mn_command *command) {
    size_t count = 0;
    while (count < MN_COMMAND_PARTS && command->parts[count].rows) count++;
    return count;
}

static mn_status help_text(mn_buf *out, const mn_command *command) {
    const char *operand = command->operand;
    mn_buf usage = {0};
    mn_status st = mn_buf_printf(&usage, "%s%s", operand ? operand : "", operand ? " " : "");
    if (st == MN_OK) st = mn_options_help_required(&usage, command->rows, command->row_count);
    if (st == MN_OK) st = mn_buf_puts(&usage, "[options]");
    if (st == MN_OK) st = mn_buf_printf(out, "Usage: mneme %s", command->name);
    if (st == MN_OK) st = mn_wrap(out, usage.data, out->len + 1, out->len);
    mn_buf_free(&usage);
    MN_TRY(st);
    MN_TRY(mn_buf_puts(out, "\n"));
    MN_TRY(mn_wrap(out, command->about, 0, 0));
    MN_TRY(mn_buf_puts(out, "\nOptions:\n"));
    MN_TRY(mn_options_help_rows(out, command->rows, command->row_count));
    for (size_t i = 0; i < count_parts(command); i++)
        MN_TRY(add_part(out, &command->parts[i], "\n", ":\n", mn_options_help_rows));
    MN_TRY(mn_buf_puts(out, "\nOptions of every command:\n"));
    MN_TRY(mn_options_help_rows(out, common_rows, COMMON_ROWS));
    MN_TRY(mn_options_help_rows(out, mn_builtin_options, MN_BUILTIN_OPTIONS));
    MN_TRY(mn_buf_puts(out,
                       "\nWrite --name value or --name=value; '-' and '_' in names are the same.\n"
                       "When an option is given twice, the last one counts.\n\nExamples:\n"));
    for (size_t i = 0; i < 3 && command->examples[i]; i++)
        MN_TRY(mn_buf_printf(out, "  %s\n", command->examples[i]));
    return MN_OK;
}

static mn_status help_markdown(mn_buf *out, const mn_command *command) {
    MN_TRY(mn_buf_printf(out, "## mneme %s\n\n%s\n\n", command->name, command->about));
    MN_TRY(mn_options_markdown(out, command->rows, command->row_count));
    for (size_t i = 0; i < count_parts(command); i++)
        MN_TRY(add_part(out, &command->parts[i], "\n### ", "\n\n", mn_options_markdown));
    return mn_buf_puts(out, "\n");
}

static mn_status print_help(const mn_command *command, mn_help form) {
    mn_buf text = {0};
    mn_status st = form == MN_HELP_TEXT ? help_text(&text, command) : help_markdown(&text, command);
    if (st == MN_OK) st = mn_print(&text);
    mn_buf_free(&text);
    return st;
}

mn_status mn_common_markdown(mn_buf *out) {
    MN_TRY(mn_buf_puts(out, "## Options of every command\n\n"));
    MN_TRY(mn_options_markdown(out, common_rows, COMMON_ROWS));
    return mn_buf_puts(out, "\nOn the command line also `--config FILE` (JSON with these keys), "
                            "`--set KEY=VALUE`, `--help` and `--version`.\n");
}

/* Reads the command line; a first argument that is no option becomes --config's. */
static mn_status parse(mn_options *options, const mn_command *command, int argc, char **argv) {
    if (!command->operand || argc < 2 || argv[1][0] == '-')
        return mn_options_parse(options, argc, argv);
    char config[] = "--config";
    char **line = calloc((size_t)argc + 2, sizeof *line);
    MN_CHECK(line, MN_ERR_MEMORY, "no memory for %d arguments", argc);
    line[0] = argv[0];
    line[1] = config;
    for (int i = 1; i < argc; i++) line[i + 1] = argv[i];
    const mn_status st = mn_options_parse(options, argc + 1, line);
    free(line);
    return st;
}

mn_status mn_command_main(const mn_command *command, void *options, int argc, char **argv) {
    mn_status st = MN_OK;
    mn_buf version = {0};
    mn_cli cli = {0};
    mn_options *parsed = NULL;
    mn_option_group groups[MN_COMMAND_PARTS + 2];
    size_t count = 0;
    groups[count++] = (mn_option_group){command->rows, command->row_count, options, NULL};
    for (size_t i = 0; i < count_parts(command); i++) {
        const mn_command_part *part = &command->parts[i];
        char *const values = (char *)options + part->offset;
        groups[count++] = (mn_option_group){part->rows, part->count, values, part->hidden};
    }
    groups[count++] = (mn_option_group){common_rows, COMMON_ROWS, &cli.common, NULL};
    MN_GOTO(mn_options_open(&parsed, groups, count));
    MN_GOTO(parse(parsed, command, argc, argv));
    if (mn_options_help(parsed) != MN_HELP_NONE) {
        const mn_help form = mn_options_help(parsed);
        st = form == MN_HELP_VERSION ? mn_version_text(&version) : print_help(command, form);
        if (st == MN_OK) st = mn_print(&version);
        goto done;
    }
    MN_GOTO(mn_device_check(cli.common.device)); /* also where none is opened */
    mn_log_set_level((mn_log_level)cli.common.log_level);
    cli.options = parsed;
    mn_cli used = cli; /* what a rank makes of the options is not what was given */
    MN_GOTO(mn_launch_begin(&used, command));
    st = command->run(&used, options);
done:
    mn_buf_free(&version);
    mn_options_close(&parsed);
    return st;
}

/* ---- standard output ---- */

void mn_std_guard(void) {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            /* The wrong way round on purpose: reading 0 or writing 1 still fails. */
            const int got = open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
            if (got > fd) close(got);
        }
}

mn_status mn_print(const mn_buf *text) {
    if (text->len == 0 || fwrite(text->data, 1, text->len, stdout) == text->len) return MN_OK;
    return mn_fail_errno("standard output");
}

mn_status mn_print_flush(void) {
    if (fflush(stdout) != 0) return mn_fail_errno("standard output");
    MN_CHECK(!ferror(stdout), MN_ERR_IO, "standard output: not everything could be written");
    return MN_OK;
}

mn_status mn_version_text(mn_buf *out) {
    char pcre2[64] = "?"; /* "10.42 2022-12-11" */
    if (pcre2_config(PCRE2_CONFIG_VERSION, NULL) < (int)sizeof pcre2)
        pcre2_config(PCRE2_CONFIG_VERSION, pcre2);
    pcre2[strcspn(pcre2, " ")] = '\0';
#ifdef __clang__
    MN_TRY(mn_buf_printf(out, "mneme %s\ncompiler: clang %s\n", MNEME_VERSION, __clang_version__));
#else
    MN_TRY(mn_buf_printf(out, "mneme %s\ncompiler: gcc %s\n", MNEME_VERSION, __VERSION__));
#endif
    const dnnl_version_t *dnnl = dnnl_version();
    const char *ssl = OpenSSL_version(OPENSSL_VERSION); /* "OpenSSL 3.0.15 3 Sep 2024" */
    size_t ssl_len = strcspn(ssl, " ");
    if (ssl[ssl_len]) ssl_len += 1 + strcspn(ssl + ssl_len + 1, " ");
    return mn_buf_printf(
        out, "libraries: cJSON %s, PCRE2 %s, utf8proc %s, libzip %s, oneDNN %d.%d.%d, %.*s\n",
        cJSON_Version(), pcre2, utf8proc_version(), zip_libzip_version(), dnnl->major, dnnl->minor,
        dnnl->patch, (int)ssl_len, ssl);
}

/* ---- jsonl in ---- */

enum { READ_SIZE = 1 << 16, MAX_LINE = 1 << 28 };

struct mn_input {
    int fd;
    char *name;
    bool regular, ended;
    bool shared;      /* with other ranks: none stops alone */
    mn_comm *readers; /* standard input of several ranks: rank 0 reads for them */
    mn_buf bytes;     /* read and not yet given out, from `at` */
    size_t at;
    const char *line; /* the current one, inside bytes */
    size_t len;
    int64_t number;
    mn_json *doc;
};

mn_status mn_input_open(mn_input **out, const char *path) {
    mn_status st = MN_OK;
    struct stat info;
    const bool standard = strcmp(path, "-") == 0;
    *out = NULL;
    mn_input *in = calloc(1, sizeof *in);
    MN_CHECK(in, MN_ERR_MEMORY, "%s: no memory", path);
    in->fd = standard ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (in->fd < 0 || fstat(in->fd, &info) != 0) {
        st = mn_fail_errno(standard ? "<stdin>" : path);
        goto done;
    }
    in->regular = S_ISREG(info.st_mode);
    in->name = strdup(standard ? "<stdin>" : path);
    MN_CHECK_GOTO(in->name, MN_ERR_MEMORY, "%s: no memory", path);
    *out = in;
    in = NULL;
done:
    mn_input_close(&in);
    return st;
}

void mn_input_close(mn_input **input) {
    mn_input *in = *input;
    if (!in) return;
    mn_json_close(&in->doc);
    mn_buf_free(&in->bytes);
    free(in->name);
    if (in->fd > STDIN_FILENO) close(in->fd);
    free(in);
    *input = NULL;
}

bool mn_input_live(const mn_input *in) { return !in->regular; }

void mn_input_share(mn_input *in, const mn_ranks *ranks) {
    in->shared = ranks != NULL;
    if (ranks && in->fd == STDIN_FILENO) in->readers = ranks->world;
}

/* What there is, up to `size` bytes; *got 0 at the end, -1 when nothing has come for half a second. */
static mn_status read_some(int64_t *got, const mn_input *in, char *to, size_t size) {
    struct pollfd waiting = {.fd = in->fd, .events = POLLIN};
    const int ready = in->regular ? 1 : poll(&waiting, 1, 500);
    *got = -1;
    if (ready == 0 || (ready < 0 && errno == EINTR)) return MN_OK;
    const ssize_t n = read(in->fd, to, size);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) return MN_OK;
    if (n < 0) return mn_fail_errno(in->name);
    *got = n;
    return MN_OK;
}

/* A stop request ends the wait for input, one of any rank that of all readers, who meet while none comes. */
static mn_status check_stop(const mn_input *in) {
    bool stop = false;
    if (in->shared && !in->readers) return MN_OK;
    MN_TRY(mn_comm_stop(in->readers, &stop));
    MN_CHECK(!stop, MN_STOPPED, "%s: stopped on request", in->name);
    return MN_OK;
}

static mn_status read_more(mn_input *in) {
    mn_status st = MN_OK;
    int64_t got = -1;
    if (in->at > 0) {
        memmove(in->bytes.data, in->bytes.data + in->at, in->bytes.len - in->at);
        in->bytes.len -= in->at;
        in->at = 0;
    }
    MN_CHECK(in->bytes.len < MAX_LINE, MN_ERR_DATA, "%s:%lld: the line is too long", in->name,
             (long long)in->number);
    MN_TRY(mn_buf_reserve(&in->bytes, READ_SIZE));
    char *const to = in->bytes.data + in->bytes.len;
    while (got < 0) {
        MN_TRY(check_stop(in));
        if (mn_comm_rank(in->readers) == 0) st = read_some(&got, in, to, READ_SIZE);
        MN_TRY(mn_comm_agree(in->readers, st));
        MN_TRY(mn_comm_broadcast(in->readers, &got, sizeof got, 0));
    }
    MN_TRY(mn_comm_broadcast(in->readers, to, (size_t)got, 0));
    in->ended = got == 0;
    in->bytes.len += (size_t)got;
    return MN_OK;
}

/* Finds the next line that is not blank; in->line is NULL at the end. */
static mn_status next_line(mn_input *in) {
    in->line = NULL;
    while (!in->line) {
        size_t searched = 0;
        const char *newline = NULL;
        in->number++;
        for (;;) {
            const size_t left = in->bytes.len - in->at;
            if (left > searched)
                newline = memchr(in->bytes.data + in->at + searched, '\n', left - searched);
            if (newline || in->ended) break;
            searched = left;
            MN_TRY(read_more(in));
        }
        if (in->at == in->bytes.len) return MN_OK;
        const char *line = in->bytes.data + in->at;
        size_t len = newline ? (size_t)(newline - line) : in->bytes.len - in->at;
        in->at += len + (newline != NULL);
        if (in->number == 1 && len >= 3 && memcmp(line, "\xEF\xBB\xBF", 3) == 0) {
            line += 3;
            len -= 3;
        }
        while (len > 0 && memchr(" \t\r", line[len - 1], 3)) len--;
        if (len > 0) in->line = line;
        in->len = len;
    }
    return MN_OK;
}

mn_status mn_input_next(mn_input *in, const mn_json **doc) {
    mn_status st = MN_OK;
    mn_buf name = {0};
    *doc = NULL;
    mn_json_close(&in->doc);
    MN_CHECK(in->shared || !mn_stop_requested(), MN_STOPPED, "%s: stopped on request", in->name);
    MN_TRY(next_line(in));
    if (!in->line) return MN_OK;
    MN_GOTO(mn_buf_printf(&name, "%s:%lld", in->name, (long long)in->number));
    MN_GOTO(mn_json_parse(&in->doc, in->line, in->len, name.data));
    MN_CHECK_GOTO(cJSON_IsObject(in->doc->root), MN_ERR_DATA, "%s: a JSON object is expected",
                  name.data);
    *doc = in->doc;
done:
    mn_buf_free(&name);
    return st;
}

/* ---- the members of an object as text, which has been parsed before: it is well-formed ---- */

/* The end of the member that begins at `at`: its comma, or the closing brace of the object. */
static const char *member_end(const char *at, const char *end) {
    int depth = 0;
    bool quoted = false;
    for (; at < end; at++) {
        if (quoted) {
            if (*at == '\\') at++;
            else if (*at == '"') quoted = false;
        } else if (*at == '"') {
            quoted = true;
        } else if (*at == '{' || *at == '[') {
            depth++;
        } else if (*at == '}' || *at == ']') {
            if (depth-- == 0) return at;
        } else if (*at == ',' && depth == 0) {
            return at;
        }
    }
    return end;
}

static const char *skip_blanks(const char *at, const char *end) {
    while (at < end && (unsigned char)*at <= ' ') at++;
    return at;
}

static bool has_nul(const char *at, const char *end) {
    for (; at < end; at++) {
        if (*at == '\0') return true;
        if (*at != '\\') continue;
        if (end - at >= 6 && memcmp(at + 1, "u0000", 5) == 0) return true;
        at++;
    }
    return false;
}

mn_status mn_input_string(const char **out, const mn_input *in, const char *key) {
    MN_TRY(mn_json_string(out, in->doc, in->doc->root, key));
    const char *const end = in->line + in->len;
    const char *at = memchr(in->line, '{', in->len);
    const cJSON *node;
    cJSON_ArrayForEach(node, in->doc->root) {
        const char *stop = member_end(++at, end);
        if (node->valuestring == *out && has_nul(at, stop)) {
            *out = NULL;
            return mn_json_fail(in->doc, node, "a string with U+0000 is not supported");
        }
        at = stop;
    }
    return MN_OK;
}

static bool listed(const char *const *names, const char *name) {
    for (; names && *names; names++)
        if (strcmp(*names, name) == 0) return true;
    return false;
}

mn_status mn_record_begin(mn_buf *out, const mn_input *in, const char *const *replaced) {
    const char *const end = in->line + in->len;
    const char *at = memchr(in->line, '{', in->len);
    const char *before = "{";
    const cJSON *node;
    cJSON_ArrayForEach(node, in->doc->root) {
        const char *begin = skip_blanks(at + 1, end), *stop = member_end(begin, end);
        at = stop;
        if (listed(replaced, node->string)) continue;
        while (stop > begin && (unsigned char)stop[-1] <= ' ') stop--;
        MN_TRY(mn_buf_puts(out, before));
        MN_TRY(mn_buf_append(out, begin, (size_t)(stop - begin)));
        before = ", ";
    }
    return *before == '{' ? mn_buf_puts(out, before) : MN_OK;
}

mn_status mn_record_key(mn_buf *out, const char *key) {
    if (out->len > 0 && out->data[out->len - 1] != '{') MN_TRY(mn_buf_puts(out, ", "));
    MN_TRY(mn_json_quote(out, key, strlen(key)));
    return mn_buf_puts(out, ": ");
}

/* Most of tokenize's output is ids: printf took half of its time. */
mn_status mn_record_ids(mn_buf *out, const char *key, const int32_t *ids, size_t count) {
    MN_TRY(mn_record_key(out, key));
    MN_TRY(mn_buf_puts(out, "["));
    for (size_t i = 0; i < count; i++) {
        char text[16], *at = text + sizeof text;
        uint32_t rest = ids[i] < 0 ? 0u - (uint32_t)ids[i] : (uint32_t)ids[i];
        do {
            *--at = (char)('0' + rest % 10);
            rest /= 10;
        } while (rest > 0);
        if (ids[i] < 0) *--at = '-';
        if (i > 0) {
            *--at = ' ';
            *--at = ',';
        }
        MN_TRY(mn_buf_append(out, at, (size_t)(text + sizeof text - at)));
    }
    return mn_buf_puts(out, "]");
}

mn_status mn_record_end(mn_buf *out) { return mn_buf_puts(out, "}\n"); }

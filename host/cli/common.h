/* common.h - what the sub-commands share: how one is described and started, the options that all of
 * them take, reading objects from jsonl, writing records to standard output.
 *
 *   static mn_status run(const mn_cli *cli, const void *options) { ... }
 *   static const mn_command command = {.name = "score", .about = "...", .rows = rows,
 *                                      .row_count = sizeof rows / sizeof *rows,
 *                                      .examples = {"mneme score ...", "..."}, .run = run};
 *   mn_status mn_cmd_score(int argc, char **argv) {
 *       score_options options;
 *       return mn_command_main(&command, &options, argc, argv);
 *   }
 *
 * Results go to standard output, everything else to standard error. Nothing here exits. */
#ifndef MNEME_CLI_COMMON_H
#define MNEME_CLI_COMMON_H

#include "cli/options.h"
#include "mneme/buf.h"
#include "mneme/comm.h"
#include "mneme/json.h"
#include "mneme/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- commands ---- */

typedef struct mn_common_options {
    const char *device; /* for mn_device_open, which also checks it */
    int attention;      /* who computes it: 0 the backend, 1 cuDNN */
    int64_t threads;    /* 0: all cores, as mn_device_open and mn_fever_prepare have it */
    int log_level;
    int64_t tp, dp;      /* how the ranks are laid out (comm.h) */
    double comm_timeout; /* seconds */
} mn_common_options;

typedef struct mn_cli {
    mn_common_options common;
    const mn_options *options; /* for mn_options_dump and mn_options_given */
    const mn_ranks *ranks;     /* who else works on this (launch.h); NULL: this process alone */
} mn_cli;

static inline mn_comm *mn_cli_world(const mn_cli *cli) {
    return cli->ranks ? cli->ranks->world : NULL;
}
static inline mn_comm *mn_cli_tp(const mn_cli *cli) { return cli->ranks ? cli->ranks->tp : NULL; }
/* Whether this process is alone or the rank that speaks for the others, and writes what one must write. */
static inline bool mn_cli_leads(const mn_cli *cli) {
    return !cli->ranks || mn_comm_rank(cli->ranks->world) == 0;
}

/* A table that commands share. Its struct lies at `offset` of the command's options; hidden rows
 * have their defaults and are no options of the command. */
typedef struct mn_command_part {
    const char *title; /* "Options of 'mneme eval'" */
    const mn_option *rows;
    size_t count, offset;
    const char *const *hidden; /* ended by NULL */
} mn_command_part;
enum { MN_COMMAND_PARTS = 3 };

typedef enum mn_command_ranks {
    MN_RANKS_NONE,
    MN_RANKS_PLANNED, /* one process: --tp and --dp are what it is asked about */
    MN_RANKS_MODEL,   /* they share a model, each does all of the work: tp alone */
    MN_RANKS_ALL
} mn_command_ranks;

typedef struct mn_command {
    const char *name;
    const char *operand; /* "CONFIG": the first argument may be a config file; or NULL */
    const char *about;   /* one paragraph, without newlines */
    const mn_option *rows;
    size_t row_count;
    mn_command_part parts[MN_COMMAND_PARTS]; /* up to the first without rows */
    const char *examples[3];                 /* whole command lines; NULL ends the list */
    mn_command_ranks ranks;                  /* whether several processes can do it together */
    mn_status (*run)(const mn_cli *cli, const void *options);
} mn_command;

/* Sets `options` (the struct of command->rows) from the command line, then runs the command or
 * prints its help or the version. The strings in `options` live until it returns. */
mn_status mn_command_main(const mn_command *command, void *options, int argc, char **argv);

/* ---- standard output ---- */

/* Opens the standard descriptors that are closed, so that no other file gets their numbers; using
 * one still fails. For the start of main. */
void mn_std_guard(void);
/* The device that the options name, with the attention that they name, for collectives of the ranks. */
struct mn_device;
mn_status mn_cli_device_open(struct mn_device **out, const mn_cli *cli);

mn_status mn_print(const mn_buf *text); /* fails when it cannot be written */
mn_status mn_print_flush(void);         /* also reports what failed before */
mn_status mn_version_text(mn_buf *out); /* "mneme X.Y.Z" and what it was built with */
mn_status mn_common_markdown(mn_buf *out);

/* ---- jsonl in ---- */

/* The objects of a jsonl file, one after the other. '-' is standard input, which is read as it
 * comes. Errors name "file:line". */
typedef struct mn_input mn_input;
mn_status mn_input_open(mn_input **out, const char *path);
/* Standard input is rank 0's: from here on it reads, and all get what it has read. All ranks call. */
void mn_input_share(mn_input *input, const mn_ranks *ranks);
void mn_input_close(mn_input **input);
/* The next object; *doc is NULL at the end and lives until the next call. MN_STOPPED when a stop
 * was requested. */
mn_status mn_input_next(mn_input *input, const mn_json **doc);
/* A string of the current object. Strings with U+0000 are refused: they would end there. */
mn_status mn_input_string(const char **out, const mn_input *input, const char *key);
bool mn_input_live(
    const mn_input *input); /* somebody may wait for the answer: flush every record */

/* ---- jsonl out ---- */

/* Appends the current object up to its closing brace: its members byte for byte as they were
 * written, in their order, but without the keys in `replaced` (ended by NULL; or NULL). */
mn_status mn_record_begin(mn_buf *out, const mn_input *input, const char *const *replaced);
/* Appends a comma where one is needed, the key and a colon; the value is the caller's. For a record
 * that does not come from an input, append "{" first. */
mn_status mn_record_key(mn_buf *out, const char *key);
mn_status mn_record_ids(mn_buf *out, const char *key, const int32_t *ids, size_t count);
mn_status mn_record_end(mn_buf *out); /* "}" and a newline */

#endif

/* cmd_report.c - mneme report: what run folders hold, as tables and plots. */
#include "cli/commands.h"
#include "cli/common.h"
#include "mneme/report.h"

#include <stdlib.h>
#include <string.h>

typedef struct report_options {
    const char *run, *out;
} report_options;

static const mn_option rows[] = {
    MN_OPT_PATH(report_options, run, "DIR,..", mn_required,
                "run folders, one per model, with eval/results_*.json and, if there are, "
                "train/*/train_log.jsonl and prepared/manifest.json"),
    MN_OPT_PATH(report_options, out, "DIR", NULL,
                "folder to write to; without it the folder report in the first run folder"),
};

/* Cuts `text` at its commas; the pieces point into it. Returns how many there are. */
static size_t split(const char **out, char *text) {
    size_t count = 0;
    for (char *at = text; at;) {
        char *comma = strchr(at, ',');
        if (comma) *comma = '\0';
        out[count] = at;
        count++;
        at = comma ? comma + 1 : NULL;
    }
    return count;
}

static mn_status run(const mn_cli *cli, const void *options) {
    const report_options *o = options;
    mn_buf page = {0};
    mn_status st = MN_OK;
    size_t commas = 0;
    (void)cli;
    for (const char *p = o->run; *p; p++) commas += *p == ',';
    char *text = mn_strdup_n(o->run, strlen(o->run));
    const char **runs = calloc(commas + 1, sizeof *runs);
    MN_CHECK_GOTO(text && runs, MN_ERR_MEMORY, "no memory for the names of %zu runs", commas + 1);
    const size_t count = split(runs, text);
    for (size_t i = 0; i < count; i++)
        MN_CHECK_GOTO(*runs[i], MN_ERR_USAGE, "--run '%s': a name between commas is empty", o->run);
    MN_GOTO(mn_report_write(&page, runs, count, o->out));
    MN_GOTO(mn_buf_puts(&page, "\n"));
    MN_GOTO(mn_print(&page));
done:
    free(runs);
    free(text);
    mn_buf_free(&page);
    return st;
}

static const mn_command command = {
    .name = "report",
    .about = "Writes the tables and plots of an experiment: report.html (one page with all of it), "
             "report.md, one CSV file per table and one SVG file per plot. Prints the page's name. "
             "Several run folders are several models, one group of rows each.",
    .rows = rows,
    .row_count = sizeof rows / sizeof *rows,
    .examples = {"mneme report --run runs/pythia-410m",
                 "mneme report --run runs/pythia-410m,runs/pythia-1b --out report"},
    .run = run,
};

mn_status mn_cmd_report(int argc, char **argv) {
    report_options options;
    return mn_command_main(&command, &options, argc, argv);
}

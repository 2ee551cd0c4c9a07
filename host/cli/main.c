/* main.c - the program: picks the sub-command. What becomes of it is the exit code: 0 done, 2 wrong usage, 75 stopped on
 * request (EX_TEMPFAIL: start it again), 1 anything else. */
#include "cli/commands.h"
#include "cli/launch.h"
#include "mneme/signals.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name, *summary;
    mn_status (*run)(int argc, char **argv);
} commands[] = {
    {"tokenize", "text to token ids and back", mn_cmd_tokenize},
    {"score", "log-likelihood of continuations", mn_cmd_score},
    {"generate", "text behind a prompt, greedy or sampled", mn_cmd_generate},
    {"prepare", "FEVER files to a prepared evaluation folder", mn_cmd_prepare},
    {"train", "train memories, or a whole model", mn_cmd_train},
    {"eval", "few-shot FEVER evaluation", mn_cmd_eval},
    {"run", "a whole experiment from one config file", mn_cmd_run},
    {"report", "tables and plots of run folders", mn_cmd_report},
    {"inspect", "what is in a model folder or a weight file", mn_cmd_inspect},
    {"plan", "memory and time of a model over GPUs, calculated", mn_cmd_plan},
    {"bench", "speed of this machine on a model's work", mn_cmd_bench},
    {"doctor", "what this machine offers to compute with", mn_cmd_doctor},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static mn_status add_overview(mn_buf *out) {
    MN_TRY(mn_buf_puts(out, "Usage: mneme COMMAND [options]\n\nCommands:\n"));
    for (int i = 0; i < COMMANDS; i++)
        MN_TRY(mn_buf_printf(out, "  %-10s %s\n", commands[i].name, commands[i].summary));
    return mn_buf_puts(out,
                       "\n'mneme COMMAND --help' or 'mneme help COMMAND' shows a command's options,"
                       "\n'mneme help --markdown' those of all commands, 'mneme --version' the"
                       " version.\n");
}

static mn_status run_command(const char *name, int argc, char **argv) {
    mn_near near_names = mn_near_to(name);
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0) return commands[i].run(argc, argv);
        mn_near_offer(&near_names, commands[i].name);
    }
    mn_near_offer(&near_names, "--version");
    const char *best = near_names.best;
    return mn_fail(MN_ERR_USAGE, "unknown command '%s'; %s%s%s", name,
                   best ? "did you mean '" : "mneme --help lists the commands", best ? best : "",
                   best ? "'?" : "");
}

/* Calls every command for its key list. */
static mn_status print_markdown(mn_buf *text) {
    char option[] = "--help=markdown";
    MN_TRY(mn_common_markdown(text));
    MN_TRY(mn_buf_puts(text, "\n"));
    MN_TRY(mn_print(text));
    for (int i = 0; i < COMMANDS; i++) {
        char name[16];
        snprintf(name, sizeof name, "%s", commands[i].name);
        MN_TRY(commands[i].run(2, (char *[]){name, option, NULL}));
    }
    return MN_OK;
}

static mn_status run(int argc, char **argv) {
    MN_CHECK(argc > 1, MN_ERR_USAGE, "a command is missing; mneme --help lists them");
    mn_buf text = {0};
    mn_status st = MN_OK;
    const char *name = argv[1];
    const bool help = strcmp(name, "help") == 0;
    if (strcmp(name, "--version") == 0) {
        MN_GOTO(mn_version_text(&text));
        st = mn_print(&text);
    } else if ((help && argc == 2) || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        MN_GOTO(add_overview(&text));
        st = mn_print(&text);
    } else if (help && strcmp(argv[2], "--markdown") == 0) {
        st = print_markdown(&text);
    } else if (help) {
        char option[] = "--help";
        st = run_command(argv[2], 2, (char *[]){argv[2], option, NULL});
    } else {
        st = run_command(name, argc - 1, argv + 1);
    }
done:
    mn_buf_free(&text);
    return st;
}

int main(int argc, char **argv) {
    mn_std_guard();
    mn_stop_install();
    const mn_status st = run(argc, argv);
    const char *name = NULL;
    for (int i = 0; argc > 1 && i < COMMANDS; i++)
        if (strcmp(commands[i].name, argv[1]) == 0) name = argv[1];
    return mn_launch_end(st, name);
}

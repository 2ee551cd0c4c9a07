/* cmd_prepare.c - mneme prepare: FEVER's files in, the folder that eval reads out, and a summary of
 * what was chosen and what was left out. */
#include "cli/commands.h"
#include "cli/keys.h"
#include "cli/launch.h"

/* In the order of the enums in fever.h. */
static const char *const rows_modes[] = {"claim-page", "evidence", NULL};
static const char *const nei_modes[] = {"drop", "random-page", NULL};
static const char *const demo_labels[] = {"gold", "document", NULL};
static const char *const page_texts[] = {"unchanged", "plain", NULL};

const mn_option mn_prepare_rows[MN_PREPARE_ROWS] = {
    MN_OPT_PATH(mn_prepare_keys, claims, "FILE", mn_required,
                "FEVER claims to evaluate on (paper_dev.jsonl)"),
    MN_OPT_PATH(mn_prepare_keys, train_claims, "FILE", mn_required,
                "FEVER training claims (train.jsonl), for demonstrations and training"),
    MN_OPT_PATH(
        mn_prepare_keys, wiki, "PATH", mn_required,
        "FEVER's Wikipedia pages: a folder of wiki-*.jsonl, a zip of them, or one jsonl file"),
    MN_OPT_PATH(mn_prepare_keys, out, "DIR", mn_required, "the folder to write"),
    MN_OPT_I64(mn_prepare_keys, top_pages, "100", 1, MN_OPTION_NO_MAX,
               "how many pages to take, those with the most claims first"),
    MN_OPT_CHOICE(mn_prepare_keys, rows, "claim-page", rows_modes,
                  "one row for every claim and page, or for every evidence entry as published"),
    MN_OPT_CHOICE(mn_prepare_keys, nei, "drop", nei_modes,
                  "NOT ENOUGH INFO claims name no page: drop them as published, or give each one a "
                  "page by --seed"),
    MN_OPT_CHOICE(
        mn_prepare_keys, fewshot_labels, "gold", demo_labels,
        "labels of the fixed demonstrations: FEVER's, or those of the experiment's document"),
    MN_OPT_CHOICE(mn_prepare_keys, page_text, "unchanged", page_texts,
                  "page text as FEVER has it, or with -LRB- and its like as plain characters"),
    MN_OPT_I64(mn_prepare_keys, seed, "0", 0, MN_OPTION_NO_MAX,
               "for the order of demonstrations and for --nei random-page"),
    MN_OPT_FLAG(mn_prepare_keys, skip_bad_lines, "false",
                "skip and count lines that cannot be read; otherwise the first one is an error"),
};

/* "12 SUPPORTS, 3 REFUTES, 0 NOT ENOUGH INFO" */
static mn_status add_labels(mn_buf *out, const int64_t counts[MN_LABELS]) {
    for (int i = 0; i < MN_LABELS; i++)
        MN_TRY(mn_buf_printf(out, "%s%lld %s", i > 0 ? ", " : "", (long long)counts[i],
                             mn_label_name((mn_label)i)));
    return mn_buf_puts(out, "\n");
}

/* What became of the NOT ENOUGH INFO claims of one file. */
static mn_status add_nei(mn_buf *out, const char *which, int64_t dropped, int64_t assigned) {
    return mn_buf_printf(out, "  %-10s %lld dropped, %lld given a page by the seed\n", which,
                         (long long)dropped, (long long)assigned);
}

static mn_status add_remarks(mn_buf *out, const mn_prepare_summary *s) {
    const struct {
        int64_t count;
        const char *text;
    } remarks[] = {
        {s->unplaced, "other claims without a page, dropped"},
        {s->demos_leaking,
         "training claims not shown: an evaluation claim of the page is the same"},
        {s->train_leaking, "training rows with the text of an evaluation row of their page"},
        {s->demos_mislabelled, "demonstrations with a label that is not FEVER's"},
        {s->wiki_repeated, "pages that came more than once"},
        {s->bad_lines, "lines that could not be read, skipped"},
    };
    for (size_t i = 0; i < sizeof remarks / sizeof *remarks; i++)
        if (remarks[i].count > 0)
            MN_TRY(mn_buf_printf(out, "note         %s: %lld\n", remarks[i].text,
                                 (long long)remarks[i].count));
    return MN_OK;
}

static mn_status add_summary(mn_buf *out, const mn_prepare_summary *s, const mn_prepare_keys *o) {
    MN_TRY(mn_buf_printf(out, "claims       %lld to evaluate on, %lld to train on\n",
                         (long long)s->claims, (long long)s->train_claims));
    MN_TRY(mn_buf_printf(out, "pages        N_full %lld, N_top %lld, N_trunc %lld\n",
                         (long long)s->n_full, (long long)s->n_top, (long long)s->n_trunc));
    MN_TRY(mn_buf_printf(out,
                         "  dropped    %lld not in the dump, %lld without text, "
                         "%lld without a training claim\n",
                         (long long)s->dropped_missing, (long long)s->dropped_empty,
                         (long long)s->dropped_untrained));
    MN_TRY(mn_buf_printf(out, "rows\n  evaluate   %lld: ", (long long)s->eval_rows));
    MN_TRY(add_labels(out, s->labels));
    MN_TRY(mn_buf_printf(out, "  train      %lld: ", (long long)s->train_rows));
    MN_TRY(add_labels(out, s->train_labels));
    MN_TRY(mn_buf_puts(out, "NOT ENOUGH INFO claims without a page\n"));
    MN_TRY(add_nei(out, "evaluate", s->nei_dropped, s->nei_assigned));
    MN_TRY(add_nei(out, "train", s->train_nei_dropped, s->train_nei_assigned));
    if (s->nei_dropped + s->train_nei_dropped > 0)
        MN_TRY(mn_buf_puts(out, "  dropped because they name no evidence page to be chosen by; "
                                "--nei random-page keeps them\n"));
    MN_TRY(mn_buf_printf(out, "shown        %lld training claims, %lld claims of the fixed list\n",
                         (long long)s->demos_train, (long long)s->demos_fixed));
    MN_TRY(add_remarks(out, s));
    return mn_buf_printf(out, "written to   %s\n", o->out);
}

static mn_status prepare_and_print(const mn_prepare_keys *o, const mn_cli *cli) {
    const mn_prepare_options wanted = {
        .claims = o->claims,
        .train_claims = o->train_claims,
        .wiki = o->wiki,
        .out = o->out,
        .top_pages = o->top_pages,
        .rows = (mn_rows_mode)o->rows,
        .nei = (mn_nei_mode)o->nei,
        .fewshot_labels = (mn_demo_labels)o->fewshot_labels,
        .page_text = (mn_page_text)o->page_text,
        .seed = (uint64_t)o->seed,
        .skip_bad_lines = o->skip_bad_lines,
        .threads = (int)cli->common.threads,
    };
    mn_prepare_summary summary = {0};
    mn_buf out = {0};
    mn_status st = MN_OK;
    MN_GOTO(mn_fever_prepare(&summary, &wanted));
    MN_GOTO(add_summary(&out, &summary, o));
    st = mn_print(&out);
done:
    mn_buf_free(&out);
    return st;
}

typedef struct preparing {
    const mn_prepare_keys *keys;
    const mn_cli *cli;
} preparing;

static mn_status prepare(void *context) {
    const preparing *p = context;
    return prepare_and_print(p->keys, p->cli);
}

mn_status mn_prepare_print(const mn_prepare_keys *keys, const mn_cli *cli) {
    return mn_launch_alone(cli, prepare, &(preparing){keys, cli});
}

static mn_status run(const mn_cli *cli, const void *options) {
    return mn_prepare_print(options, cli);
}

static const mn_command command = {
    .name = "prepare",
    .about =
        "Chooses the pages with the most claims, their evaluation and training rows and their "
        "demonstrations, and writes them to a folder for 'mneme eval'. The same files and options "
        "give the same folder, byte for byte.",
    .rows = mn_prepare_rows,
    .row_count = MN_PREPARE_ROWS,
    .examples = {"mneme prepare --claims paper_dev.jsonl --train_claims train.jsonl \\\n"
                 "      --wiki wiki-pages.zip --out fever100",
                 "mneme prepare --claims paper_dev.jsonl --train_claims train.jsonl \\\n"
                 "      --wiki wiki-pages --out fever20 --top_pages 20 --nei random-page --seed 1"},
    .ranks = MN_RANKS_ALL,
    .run = run,
};

mn_status mn_cmd_prepare(int argc, char **argv) {
    mn_prepare_keys options;
    return mn_command_main(&command, &options, argc, argv);
}

/* manifest.c - the prepared folder's manifest: what was counted, chosen, dropped and read. */
#include "fever/output.h"

#include "mneme/json.h"
#include "mneme/version.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

static mn_status quote(mn_buf *out, const char *text) {
    return mn_json_quote(out, text, strlen(text));
}

mn_status mn_manifest_file(mn_buf *out, const char *path, int64_t bytes, const char *sha256) {
    MN_TRY(mn_buf_puts(out, "{\"path\": "));
    MN_TRY(quote(out, path));
    return mn_buf_printf(out, ", \"bytes\": %" PRId64 ", \"sha256\": \"%s\"}", bytes, sha256);
}

static mn_status write_counts(mn_buf *out, const mn_prepare_summary *s) {
    const struct {
        const char *key;
        int64_t value;
    } counts[] = {
        {"claims", s->claims},
        {"evidence_pages", s->evidence_pages},
        {"rows_per_evidence", s->rows_per_evidence},
        {"train_claims", s->train_claims},
        {"N_full", s->n_full},
        {"N_top", s->n_top},
        {"N_trunc", s->n_trunc},
        {"eval_rows", s->eval_rows},
        {"train_rows", s->train_rows},
        {"nei_dropped", s->nei_dropped},
        {"nei_assigned", s->nei_assigned},
        {"train_nei_dropped", s->train_nei_dropped},
        {"train_nei_assigned", s->train_nei_assigned},
        {"unplaced", s->unplaced},
        {"demos_train", s->demos_train},
        {"demos_fixed", s->demos_fixed},
        {"demos_leaking", s->demos_leaking},
        {"demos_mislabelled", s->demos_mislabelled},
        {"train_leaking", s->train_leaking},
        {"wiki_lines", s->wiki_lines},
        {"wiki_repeated", s->wiki_repeated},
        {"bad_lines", s->bad_lines},
    };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        MN_TRY(mn_buf_printf(out, "  \"%s\": %" PRId64 ",\n", counts[i].key, counts[i].value));
    }
    return MN_OK;
}

static mn_status write_labels(mn_buf *out, const char *key, const int64_t labels[MN_LABELS]) {
    MN_TRY(mn_buf_printf(out, "  \"%s\": {", key));
    for (int i = 0; i < MN_LABELS; i++) {
        MN_TRY(mn_buf_printf(out, "%s\"%s\": %" PRId64, i ? ", " : "", mn_label_name((mn_label)i),
                             labels[i]));
    }
    return mn_buf_puts(out, "},\n");
}

static mn_status write_dropped(mn_buf *out, const mn_prepared *p) {
    static const char *const keys[] = {NULL, "not_in_dump", "empty_text", "no_training_claim"};
    const int64_t counts[] = {0, p->summary.dropped_missing, p->summary.dropped_empty,
                              p->summary.dropped_untrained};
    MN_TRY(mn_buf_puts(out, "  \"dropped\": {"));
    for (int reason = MN_DROPPED_MISSING; reason <= MN_DROPPED_UNTRAINED; reason++) {
        MN_TRY(mn_buf_printf(out, "%s\n    \"%s\": {\"count\": %" PRId64 ", \"titles\": [",
                             reason > MN_DROPPED_MISSING ? "," : "", keys[reason], counts[reason]));
        bool first = true;
        for (int64_t i = 0; i < p->selection->n_top; i++) {
            const mn_candidate *page = &p->selection->top[i];
            if ((int)page->drop != reason) continue;
            if (!first) MN_TRY(mn_buf_puts(out, ", "));
            MN_TRY(quote(out, mn_titles_name(p->titles, page->title)));
            first = false;
        }
        MN_TRY(mn_buf_puts(out, "]}"));
    }
    return mn_buf_puts(out, "\n  },\n");
}

/* Demonstrations with a label that is not FEVER's. */
static mn_status write_lint(mn_buf *out, const mn_prepared *p) {
    bool any = false;
    MN_TRY(mn_buf_puts(out, "  \"lint\": ["));
    for (int i = 0; i < MN_FIXED_CLAIMS; i++) {
        const mn_fixed_claim *claim = &mn_fixed_claims[i];
        if (p->demos.worn[i] == 0) continue;
        MN_TRY(mn_buf_printf(out, "%s\n    {\"claim\": ", any ? "," : ""));
        MN_TRY(quote(out, claim->text));
        MN_TRY(mn_buf_printf(out, ", \"shown\": \"%s\", \"fever\": \"%s\", \"pages\": %" PRId64 "}",
                             mn_label_name(claim->document), mn_label_name(claim->gold),
                             p->demos.worn[i]));
        any = true;
    }
    return mn_buf_puts(out, any ? "\n  ],\n" : "],\n");
}

static mn_status write_switches(mn_buf *out, const mn_prepare_options *o) {
    return mn_buf_printf(
        out,
        "  \"switches\": {\"top_pages\": %" PRId64 ", \"rows\": \"%s\", \"nei\": \"%s\", "
        "\"fewshot_labels\": \"%s\", \"page_text\": \"%s\", \"skip_bad_lines\": %s},\n"
        "  \"seed\": %" PRIu64 ",\n",
        o->top_pages, o->rows == MN_ROWS_EVIDENCE ? "evidence" : "claim-page",
        o->nei == MN_NEI_RANDOM_PAGE ? "random-page" : "drop",
        o->fewshot_labels == MN_DEMO_DOCUMENT ? "document" : "gold",
        o->page_text == MN_TEXT_PLAIN ? "plain" : "unchanged", o->skip_bad_lines ? "true" : "false",
        o->seed);
}

static mn_status claims_input(mn_buf *out, const char *path) {
    struct stat info;
    char sha256[MN_SHA256_HEX];
    MN_TRY(mn_sha256_file(sha256, path));
    if (stat(path, &info) != 0) return mn_fail_errno(path);
    MN_TRY(mn_buf_puts(out, "\n    "));
    MN_TRY(mn_manifest_file(out, path, (int64_t)info.st_size, sha256));
    return mn_buf_puts(out, ",");
}

static mn_status write_inputs(mn_buf *out, const mn_prepared *p) {
    MN_TRY(mn_buf_puts(out, "  \"inputs\": ["));
    MN_TRY(claims_input(out, p->options->claims));
    MN_TRY(claims_input(out, p->options->train_claims));
    for (int64_t i = 0; i < p->source->input_count; i++) {
        const mn_wiki_input *input = &p->source->inputs[i];
        MN_TRY(mn_buf_puts(out, i ? ",\n    " : "\n    "));
        MN_TRY(mn_manifest_file(out, input->path, input->bytes, input->sha256));
    }
    return mn_buf_puts(out, "\n  ],\n");
}

mn_status mn_prepared_manifest(mn_buf *out, const mn_prepared *p, const char *outputs) {
    MN_TRY(mn_buf_printf(out, "{\n  \"format\": %d,\n  \"mneme\": \"%s\",\n", MN_PREPARED_FORMAT,
                         MNEME_VERSION));
    MN_TRY(write_switches(out, p->options));
    MN_TRY(write_counts(out, &p->summary));
    MN_TRY(write_labels(out, "labels", p->summary.labels));
    MN_TRY(write_labels(out, "train_labels", p->summary.train_labels));
    MN_TRY(write_dropped(out, p));
    MN_TRY(write_lint(out, p));
    MN_TRY(write_inputs(out, p));
    return mn_buf_printf(out, "  \"outputs\": %s\n}\n", outputs);
}

/* cmd_train.c - mneme train: one memory, or one model, trained to its end. */
#include "cli/commands.h"
#include "cli/keys.h"
#include "cli/launch.h"
#include "mneme/log.h"

#include <string.h>

_Static_assert(offsetof(mn_train_keys, options) == 0, "rows count from the start of options");

#define MN_KEY_NO_MAX MN_OPTION_NO_MAX
#define MN_KEY_PATH(field, what, text, bearing, about)                                             \
    MN_OPT_PATH(mn_train_options, field, what, text, about),
#define MN_KEY_TEXT(field, text, bearing, about)                                                   \
    MN_OPT_STRING(mn_train_options, field, "NAME", text, about),
#define MN_KEY_I64(field, text, low, high, bearing, about)                                         \
    MN_OPT_I64(mn_train_options, field, text, low, high, about),
#define MN_KEY_F64(field, text, low, high, bearing, about)                                         \
    MN_OPT_F64(mn_train_options, field, text, low, high, about),
#define MN_KEY_FLAG(field, text, bearing, about) MN_OPT_FLAG(mn_train_options, field, text, about),
#define MN_KEY_CHOICE(field, text, names, bearing, about)                                          \
    MN_OPT_CHOICE(mn_train_options, field, text, names, about),

const mn_option mn_train_rows[MN_TRAIN_ROWS] = {
#include "mneme/train_keys.def"
    MN_OPT_F64_LIST(mn_train_keys, memory.location, "0.7,0.8", 0, 1,
                    "memories stand behind the blocks i of n with from <= i/n < to"),
    MN_OPT_I64_LIST(mn_train_keys, memory.blocks, NULL, 0, 1048576,
                    "behind these blocks instead, counted from 0"),
    MN_OPT_CHOICE_LIST(mn_train_keys, decay_groups, "weight", mn_param_groups,
                       "which parameters weight_decay is for"),
};

mn_status mn_train_library(mn_train_options *out, const mn_train_keys *v) {
    *out = v->options;
    out->on_step = NULL; /* no keys */
    out->context = NULL;
    out->backbone = NULL;
    out->ranks = NULL;
    MN_CHECK(v->memory.location.count == 2, MN_ERR_USAGE,
             "memory.location: expected 2 numbers, from and to, found %zu",
             v->memory.location.count);
    memcpy(out->memory.location, v->memory.location.items, sizeof out->memory.location);
    out->memory.block_count = (int64_t)v->memory.blocks.count;
    memcpy(out->memory.blocks, v->memory.blocks.items, sizeof out->memory.blocks);
    out->decay_groups = 0;
    for (size_t i = 0; i < v->decay_groups.count; i++)
        out->decay_groups |= 1u << v->decay_groups.items[i];
    return MN_OK;
}

static mn_status tell(const mn_train_options *o, const mn_train_summary *s) {
    mn_buf text = {0};
    mn_status st = MN_OK;
    MN_GOTO(mn_buf_puts(&text, "{\"output_dir\": "));
    MN_GOTO(mn_json_quote(&text, o->output_dir, strlen(o->output_dir)));
    MN_GOTO(mn_buf_printf(&text, ", \"steps\": %lld, \"train_loss\": ", (long long)s->steps));
    MN_GOTO(mn_json_number(&text, s->loss));
    MN_GOTO(mn_buf_puts(&text, ", \"epoch_loss\": "));
    MN_GOTO(mn_json_number(&text, s->epoch_loss));
    MN_GOTO(mn_buf_puts(&text, ", \"eval_loss\": "));
    MN_GOTO(mn_json_number(&text, s->eval_loss));
    MN_GOTO(mn_buf_printf(&text, ", \"train_tokens\": %lld, \"train_runtime\": %.3f}\n",
                          (long long)s->tokens, s->seconds));
    st = mn_print(&text);
done:
    mn_buf_free(&text);
    return st;
}

static mn_status run(const mn_cli *cli, const void *values) {
    mn_status st = MN_OK;
    mn_device *device = NULL;
    mn_train_options options;
    mn_train_summary summary;
    MN_TRY(mn_train_library(&options, values));
    MN_TRY(mn_launch_log(cli, options.output_dir));
    options.ranks = cli->ranks;
    MN_GOTO(mn_cli_device_open(&device, cli));
    MN_GOTO(mn_train(&summary, device, &options));
    mn_log(MN_LOG_INFO, "%s: %s", options.output_dir,
           summary.finished_before ? "was finished before" : "written");
    st = tell(&options, &summary);
done:
    mn_launch_tell(cli, st);
    mn_device_close(&device);
    return st;
}

mn_status mn_cmd_train(int argc, char **argv) {
    const mn_command command = {
        .name = "train",
        .about =
            "Trains memories behind blocks of a frozen model, or the whole model, on the pages of "
            "a "
            "prepared FEVER folder, on their training claims, or on both. Leaves an adapter (or "
            "a model folder), logs and checkpoints in output_dir. Interrupted, the same command "
            "goes on where it stopped and ends with the same weights, bit for bit.",
        .rows = mn_train_rows,
        .row_count = MN_TRAIN_ROWS,
        .examples = {"mneme train --model pythia-410m --data prepared --output_dir doc",
                     "mneme train --model pythia-410m --data prepared --output_dir temp --method "
                     "gpt_template",
                     "mneme train --model shape --texts texts.jsonl --output_dir new --update full "
                     "--init random"},
        .ranks = MN_RANKS_ALL,
        .run = run,
    };
    mn_train_keys values;
    return mn_command_main(&command, &values, argc, argv);
}

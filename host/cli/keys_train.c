/* keys_train.c - the keys of a training as option tables: train_keys.def, and those that are lists. */
#include "cli/keys.h"

#include <string.h>

#define MN_KEY_NO_MAX MN_OPTION_NO_MAX
#define T mn_train_options
#define MN_KEY_PATH(field, what, text, bearing, about) MN_OPT_PATH(T, field, what, text, about),
#define MN_KEY_TEXT(field, text, bearing, about) MN_OPT_STRING(T, field, "TEXT", text, about),
#define MN_KEY_I64(field, text, low, high, bearing, about)                                         \
    MN_OPT_I64(T, field, text, low, high, about),
#define MN_KEY_F64(field, text, low, high, bearing, about)                                         \
    MN_OPT_F64(T, field, text, low, high, about),
#define MN_KEY_FLAG(field, text, bearing, about) MN_OPT_FLAG(T, field, text, about),
#define MN_KEY_CHOICE(field, text, names, bearing, about)                                          \
    MN_OPT_CHOICE(T, field, text, names, about),
const mn_option mn_train_rows[MN_TRAIN_ROWS] = {
#include "mneme/train_keys.def"
};
#undef T

const mn_option mn_train_list_rows[MN_TRAIN_LIST_ROWS] = {
    MN_OPT_F64_LIST(
        mn_train_lists, memory.location, "0.7,0.8", 0, 1,
        "memories stand behind the blocks i of n with from <= i / n < to; at least one"),
    MN_OPT_I64_LIST(mn_train_lists, memory.blocks, NULL, 0, 4095,
                    "memories stand behind these blocks instead, counted from 0"),
    MN_OPT_CHOICE_LIST(mn_train_lists, decay_groups, "weight", mn_param_groups,
                       "what weight_decay decays: matrices, their biases, norms, gates"),
};

mn_status mn_train_resolve(mn_train_keys *keys) {
    mn_train_options *o = &keys->options;
    const mn_train_lists *lists = &keys->lists;
    const mn_option_reals *location = &lists->memory.location;
    MN_CHECK(location->count == 2 && location->items[0] <= location->items[1], MN_ERR_USAGE,
             "memory.location: two rising numbers expected, as 0.7,0.8");
    memcpy(o->memory.location, location->items, sizeof o->memory.location);
    o->memory.block_count = (int64_t)lists->memory.blocks.count;
    memcpy(o->memory.blocks, lists->memory.blocks.items, sizeof o->memory.blocks);
    o->decay_groups = 0;
    for (size_t i = 0; i < lists->decay_groups.count; i++)
        o->decay_groups |= 1u << lists->decay_groups.items[i];
    return MN_OK;
}

/* variants.c - who takes part in an evaluation, and under which name. */
#include "eval/evaluation.h"

#include <stdlib.h>
#include <string.h>

/* Names stand in file names, after a '@' in tasks, and in tables. */
static mn_status check_name(const mn_evaluation *e, int64_t variant) {
    const char *name = e->variants[variant].name;
    MN_CHECK(name && *name, MN_ERR_USAGE, "memory %lld has no name", (long long)variant - 1);
    for (const char *p = name; *p; p++)
        MN_CHECK((unsigned char)*p > ' ' && !strchr("/\\\"<>:|?*@", *p), MN_ERR_USAGE,
                 "the name '%s' of a memory has a character that file names cannot have", name);
    MN_CHECK(strcmp(name, MN_BASE_VARIANT) != 0, MN_ERR_USAGE,
             "a memory cannot be called %s: that is the base", name);
    for (int64_t v = 1; v < variant; v++)
        MN_CHECK(strcmp(name, e->variants[v].name) != 0, MN_ERR_USAGE, "two memories are called %s",
                 name);
    return MN_OK;
}

mn_status mn_eval_variants(mn_evaluation *e) {
    const mn_eval_options *o = &e->options;
    const size_t count = (size_t)o->memory_count + 1;
    MN_CHECK(o->memory_count > 0 || !o->no_base, MN_ERR_USAGE,
             "without the base an evaluation needs a memory");
    e->variants = calloc(count, sizeof *e->variants);
    e->memories = calloc(count, sizeof(const mn_memory *));
    MN_CHECK(e->variants && e->memories, MN_ERR_MEMORY, "no memory for an evaluation");
    e->variant_count = (int64_t)count;
    e->first_variant = o->no_base;
    for (int64_t v = 1; v < e->variant_count; v++) {
        const mn_memory *m = o->memories[v - 1];
        e->variants[v] = (eval_variant){m, o->names ? o->names[v - 1] : m->name};
        e->memories[v] = m;
        MN_TRY(check_name(e, v));
    }
    return MN_OK;
}

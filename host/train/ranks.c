/* ranks.c - what the ranks of one training settle with each other: whether all is well, what rank 0 has found,
 * that all have the same inputs. */
#include "train/trainer.h"

#include "train/fingerprint.h"
#include "train/folders.h"

#include <string.h>

mn_status mn_train_join(const trainer *t, mn_status mine, double *loss, bool *overflow) {
    double bad[] = {mine != MN_OK, *overflow};
    if (mine != MN_OK && mn_comm_size(t->ranks.tp) > 1) return mn_ranks_agree(&t->ranks, mine);
    MN_TRY(mn_comm_all_reduce(t->ranks.world, bad, 2, MN_COMM_F64, MN_COMM_MAX));
    if (bad[0] > 0) return mn_comm_agree(t->ranks.world, mine);
    *overflow = bad[1] > 0;
    return mn_comm_all_reduce(t->ranks.dp, loss, 1, MN_COMM_F64, MN_COMM_SUM);
}

/* Ranks may see different disks, and a binary may be given other keys on another node. */
mn_status mn_train_same_inputs(const trainer *t) {
    mn_status st = MN_OK;
    mn_buf text = {0};
    uint64_t mine[3], first[3];
    if (!t->ranks.world) return MN_OK;
    MN_GOTO(mn_train_options_json(&text, t->o));
    mine[0] = mn_fingerprint(MN_FINGERPRINT_SEED, text.data, text.len);
    mine[1] = t->identity.model;
    mine[2] = t->identity.samples;
    memcpy(first, mine, sizeof first);
    MN_GOTO(mn_comm_broadcast(t->ranks.world, first, sizeof first, 0));
    if (mine[0] != first[0])
        st = mn_fail(MN_ERR_USAGE, "the keys of this training are not those of rank 0");
    else if (mine[1] != first[1])
        st = mn_fail(MN_ERR_DATA, "%s: not the model that rank 0 reads", t->o->model);
    else if (mine[2] != first[2])
        st = mn_fail(MN_ERR_DATA, "%s: not the training texts that rank 0 reads",
                     t->o->data ? t->o->data : t->o->texts);
    st = mn_comm_agree(t->ranks.world, st);
done:
    mn_buf_free(&text);
    return st;
}

/* ---- what rank 0 finds in output_dir ---- */

static mn_status look(trainer *t, mn_buf *from, bool *finished, mn_train_summary *summary) {
    const char *resume = t->o->resume_from_checkpoint;
    MN_TRY(mn_train_log_open(&t->log, t->o->output_dir));
    MN_TRY(mn_folder_clean(t->o->output_dir, !resume || strcmp(resume, "never") == 0));
    MN_TRY(mn_train_finished(finished, summary, t));
    return *finished ? MN_OK : mn_train_find(from, t->o);
}

mn_status mn_train_look(trainer *t, mn_buf *from, bool *finished, mn_train_summary *summary) {
    mn_comm *world = t->ranks.world;
    mn_status st = t->leads ? look(t, from, finished, summary) : MN_OK;
    MN_TRY(mn_comm_agree(t->ranks.world, st));
    MN_TRY(mn_comm_broadcast(world, finished, sizeof *finished, 0));
    MN_TRY(mn_comm_broadcast(world, summary, sizeof *summary, 0));
    MN_TRY(mn_comm_broadcast(world, &from->len, sizeof from->len, 0));
    if (from->len == 0) return MN_OK;
    if (!t->leads) MN_TRY(mn_buf_reserve(from, from->len));
    return mn_comm_broadcast(world, from->data, from->len + 1, 0); /* with its NUL */
}

/* evaluate.c - from a prepared folder to predictions: prompts, one pass, answers, results. */
#include "eval/journal.h"
#include "mneme/log.h"
#include "mneme/version.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static mn_status encode_candidates(mn_evaluation *e) {
    for (int c = 0; c < MN_LABELS; c++)
        MN_TRY(mn_tokenizer_encode(e->tokenizer, mn_fever_candidates[c],
                                   strlen(mn_fever_candidates[c]), MN_TOKENIZE_CONTINUE,
                                   &e->candidates[c]));
    return MN_OK;
}

/* Tokens that may follow a prompt: a generated answer or a candidate, never both. */
static int64_t longest_answer(const mn_evaluation *e) {
    int64_t longest = e->options.generate ? e->options.max_gen_toks : 0;
    for (int c = 0; c < MN_LABELS && e->options.choice; c++)
        if ((int64_t)e->candidates[c].len > longest) longest = (int64_t)e->candidates[c].len;
    return longest;
}

static mn_status add_prompt(mn_evaluation *e, int64_t row, int shots) {
    const mn_fever_row *r = &e->fever->eval[row];
    const mn_fever_page *page = &e->fever->pages[r->page];
    eval_prompt *p = &e->prompts[e->count++];
    *p = (eval_prompt){.row = row, .shots = shots, .begin = e->ids.len};
    mn_buf_clear(&e->text);
    MN_CHECK(shots <= page->demo_count, MN_ERR_DATA,
             "page %s has %d demonstrations, %d shots are wanted", page->title, page->demo_count,
             shots);
    MN_TRY(mn_fever_prompt(&e->text, page, shots, r->claim));
    MN_TRY(
        mn_tokenizer_encode(e->tokenizer, e->text.data, e->text.len, MN_TOKENIZE_SPECIAL, &e->ids));
    p->len = e->ids.len - p->begin;
    const int64_t most = e->model->config.max_positions - longest_answer(e);
    MN_CHECK((int64_t)p->len <= most, MN_ERR_DATA,
             "claim %lld on page %s with %d shots has %zu tokens; the model has room for %lld",
             (long long)r->id, page->title, shots, p->len, (long long)most);
    return MN_OK;
}

static mn_status make_prompts(mn_evaluation *e) {
    const mn_eval_options *o = &e->options;
    const size_t all = (size_t)(e->rows * o->shots_count);
    e->prompts = calloc(all + 1, sizeof *e->prompts);
    e->requests = calloc(all + 1, sizeof *e->requests);
    e->answers = calloc(all * (size_t)e->variant_count + 1, sizeof *e->answers);
    e->read = calloc(all * (size_t)e->variant_count + 1, sizeof *e->read);
    MN_CHECK(e->prompts && e->requests && e->answers && e->read, MN_ERR_MEMORY,
             "no memory for %zu prompts", all);
    MN_TRY(encode_candidates(e));
    for (int64_t page = 0; page < e->fever->page_count; page++)
        for (int s = 0; s < o->shots_count; s++)
            for (int64_t row = e->fever->pages[page].eval_begin;
                 row < e->fever->pages[page].eval_end && row < e->rows; row++)
                MN_TRY(add_prompt(e, row, o->shots[s]));
    for (int64_t i = 0; i < e->count; i++) /* the ids do not move any more */
        e->requests[i] = (mn_request){.ids = e->ids.data + e->prompts[i].begin,
                                      .len = (int64_t)e->prompts[i].len,
                                      .group = e->fever->eval[e->prompts[i].row].page,
                                      .candidates = e->candidates,
                                      .candidate_count = o->choice ? MN_LABELS : 0,
                                      .max_new_tokens = o->generate ? o->max_gen_toks : 0};
    return MN_OK;
}

mn_status mn_eval_text(const mn_evaluation *e, const mn_ids *ids, mn_buf *out) {
    mn_buf_clear(out);
    for (size_t i = 0; i < ids->len; i++)
        if (ids->data[i] < mn_tokenizer_size(e->tokenizer)) /* padding rows of the vocabulary */
            MN_TRY(mn_tokenizer_piece(e->tokenizer, ids->data[i], out));
    return MN_OK;
}

/* An answer is complete at its closing parenthesis or at the end of the line. */
static bool stop_answer(void *context, int64_t prompt, const mn_ids *generated) {
    mn_evaluation *e = context;
    (void)prompt;
    if (mn_eval_text(e, generated, &e->text) != MN_OK) return true;
    return e->text.len > 0 &&
           (memchr(e->text.data, '\n', e->text.len) || memchr(e->text.data, ')', e->text.len));
}

static bool skip_known(void *context, const int64_t *prompts, int64_t count) {
    mn_evaluation *e = context;
    for (int64_t v = e->first_variant; v < e->variant_count; v++)
        for (int64_t i = 0; i < count; i++)
            if (!mn_eval_answer(e, v, prompts[i])->known) return false;
    mn_progress_add(e->progress, count);
    return true;
}

static mn_status batch_done(void *context, const int64_t *prompts, int64_t count) {
    mn_evaluation *e = context;
    MN_TRY(mn_effect_check(e, prompts, count));
    MN_TRY(mn_journal_add(e, prompts, count));
    for (int64_t v = e->first_variant; v < e->variant_count; v++)
        for (int64_t i = 0; i < count; i++) mn_eval_answer(e, v, prompts[i])->here = true;
    mn_progress_add(e->progress, count * mn_comm_size(e->ranks.dp)); /* others are about as far */
    return MN_OK;
}

mn_status mn_eval_plan(mn_plan **plan, mn_session_options *room, const mn_evaluation *e) {
    const mn_plan_options options = {.batch_size = e->options.batch_size,
                                     .share_prefixes = e->options.share_prefixes,
                                     .variants = e->memories,
                                     .variant_count = e->variant_count};
    MN_TRY(mn_plan_make(plan, e->model, e->requests, e->count, &options));
    mn_plan_session(room, *plan);
    room->compute = e->options.compute;
    room->audit = e->variant_count > 1;
    return MN_OK;
}

static mn_status answer_prompts(mn_evaluation *e) {
    mn_status st = MN_OK;
    const mn_eval_options *o = &e->options;
    mn_plan *plan = NULL;
    mn_session *session = NULL;
    mn_session_options room;
    const mn_complete_hooks hooks = {.context = e,
                                     .stop = stop_answer,
                                     .skip = skip_known,
                                     .done = batch_done,
                                     .eos = e->model->config.eos,
                                     .seed = o->seed,
                                     .base_for_audit = o->no_base,
                                     .ranks = &e->ranks};
    st = mn_eval_plan(&plan, &room, e);
    if (st == MN_OK) st = mn_session_open(&session, e->model, &room);
    MN_GOTO(mn_ranks_agree(&e->ranks, st));
    mn_log(MN_LOG_INFO, "%lld prompts in %lld batches; %lld of %lld prompt tokens are computed",
           (long long)e->count, (long long)mn_plan_batches(plan), (long long)mn_plan_tokens(plan),
           (long long)mn_plan_prompt_tokens(plan));
    if (e->leads) e->progress = mn_progress_begin("evaluating", "prompts", e->count);
    st = mn_complete(session, plan, e->answers, &hooks);
    mn_progress_end(&e->progress);
    if (st == MN_STOPPED)
        st = mn_fail_in(st, "finished prompts are kept; the same command goes on");
done:
    mn_session_close(&session);
    mn_plan_close(&plan);
    return st;
}

static mn_status read_answers(mn_evaluation *e) {
    for (int64_t v = e->first_variant; v < e->variant_count; v++)
        for (int64_t i = 0; i < e->count; i++) {
            const mn_completion *said = mn_eval_completion(e, v, i);
            eval_answer *a = mn_eval_answer(e, v, i);
            MN_TRY(mn_eval_text(e, &said->generated, &e->text));
            a->generated = (int8_t)mn_fever_parse_answer(e->text.data ? e->text.data : "",
                                                         e->text.len);
            a->chosen = 0;
            for (int c = 1; c < MN_LABELS; c++)
                if (said->logprob[c] > said->logprob[a->chosen]) a->chosen = (int8_t)c;
        }
    return MN_OK;
}

/* The last part of the model's real path: "." has a name, too. The journal's folder carries it. */
static mn_status name_model(mn_evaluation *e) {
    char *path = realpath(e->options.model_path, NULL);
    if (!path) return mn_fail_errno(e->options.model_path);
    const char *slash = strrchr(path, '/');
    e->model_name = strdup(slash && slash[1] ? slash + 1 : path);
    free(path);
    MN_CHECK(e->model_name, MN_ERR_MEMORY, "no memory for an evaluation");
    e->results.model_name = e->model_name;
    return MN_OK;
}

static double wall_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The entry of one variant under one number of shots and one scoring. */
static void add_entry(mn_evaluation *e, mn_scoring scoring, int shots, int64_t variant) {
    mn_results *r = &e->results;
    int8_t *pred = e->pred + r->count * (size_t)e->rows;
    for (int64_t i = 0; i < e->count; i++) {
        const eval_answer *a = mn_eval_answer(e, variant, i);
        if (e->prompts[i].shots == shots)
            pred[e->prompts[i].row] = scoring == MN_SCORING_GENERATE ? a->generated : a->chosen;
    }
    r->entries[r->count++] = (mn_result_entry){.variant = e->variants[variant].name,
                                               .shots = shots,
                                               .scoring = scoring,
                                               .n = e->rows,
                                               .n_original = e->fever->eval_count,
                                               .gold = e->gold,
                                               .pred = pred,
                                               .cluster = e->cluster,
                                               .clusters = e->fever->page_count};
}

/* The results' inputs: one entry per scoring, shots and variant, in the order asked for. */
static mn_status make_entries(mn_evaluation *e) {
    const mn_eval_options *o = &e->options;
    const size_t entries = (size_t)o->shots_count * ((size_t)o->generate + (size_t)o->choice) *
                           (size_t)(e->variant_count - e->first_variant);
    const size_t rows = e->rows ? (size_t)e->rows : 1;
    mn_results *r = &e->results;
    r->entries = calloc(entries, sizeof *r->entries);
    e->gold = calloc(rows, sizeof *e->gold);
    e->pred = calloc(entries * rows, sizeof *e->pred);
    e->cluster = calloc(rows, sizeof *e->cluster);
    MN_CHECK(r->entries && e->gold && e->pred && e->cluster, MN_ERR_MEMORY,
             "no memory for results of %zu rows", rows);
    for (int64_t i = 0; i < e->rows; i++) {
        e->gold[i] = (int8_t)e->fever->eval[i].label;
        e->cluster[i] = e->fever->eval[i].page;
    }
    for (int scoring = 0; scoring < 2; scoring++)
        for (int s = 0; s < o->shots_count; s++)
            for (int64_t v = e->first_variant; v < e->variant_count; v++)
                if (scoring == MN_SCORING_GENERATE ? o->generate : o->choice)
                    add_entry(e, scoring ? MN_SCORING_CHOICE : MN_SCORING_GENERATE, o->shots[s], v);
    for (size_t i = 0; i < entries; i++)
        r->entries[i].seconds = (mn_now() - e->begin) / (double)entries;
    return MN_OK;
}

static mn_status make_results(mn_evaluation *e) {
    const mn_eval_options *o = &e->options;
    const mn_model_config *c = &e->model->config;
    mn_results *r = &e->results;
    MN_TRY(make_entries(e));
    MN_TRY(mn_effect_audit(e));
    snprintf(e->architecture, sizeof e->architecture, "%s, %lld layers, width %lld",
             mn_arch_name(c->arch), (long long)c->layers, (long long)c->dim);
    r->model_name = e->model_name;
    r->model_path = o->model_path;
    r->architecture = e->architecture;
    r->parameters = mn_model_parameters(c);
    r->device = e->model->device->description;
    r->compute = o->compute == MN_COMPUTE_BF16 ? "bf16" : "fp32";
    r->data_path = o->data_path;
    r->data_sha256 = e->fever->sha256;
    r->version = MNEME_VERSION;
    r->seed = o->seed;
    r->bootstrap_iters = o->bootstrap_iters;
    r->unparsed = o->unparsed;
    r->batch_size = o->batch_size;
    r->max_gen_toks = o->max_gen_toks;
    r->limit = o->limit;
    r->seconds = mn_now() - e->begin;
    return mn_results_compute(r, NULL);
}

static mn_status check_options(const mn_eval_options *o) {
    MN_CHECK(o->shots_count > 0 && (o->generate || o->choice), MN_ERR_USAGE,
             "an evaluation needs a number of shots and a scoring");
    for (int i = 0; i < o->shots_count; i++)
        MN_CHECK(o->shots[i] >= 0 && o->shots[i] <= MN_MAX_SHOTS, MN_ERR_USAGE,
                 "%d shots are not between 0 and %d", o->shots[i], MN_MAX_SHOTS);
    MN_CHECK(o->max_gen_toks > 0, MN_ERR_USAGE, "an answer needs at least one token");
    return MN_OK;
}

mn_status mn_eval_begin(mn_evaluation **out, mn_model *model, const mn_tokenizer *tokenizer,
                        const mn_fever *fever, const mn_eval_options *options) {
    mn_status st = MN_OK;
    *out = NULL;
    MN_TRY(check_options(options));
    MN_TRY(mn_model_fits_tokens(&model->config, mn_tokenizer_size(tokenizer), model->path));
    mn_evaluation *e = calloc(1, sizeof *e);
    MN_CHECK(e, MN_ERR_MEMORY, "no memory for an evaluation");
    *e = (mn_evaluation){.model = model,
                         .tokenizer = tokenizer,
                         .fever = fever,
                         .options = *options,
                         .begin = mn_now()};
    if (options->ranks) e->ranks = *options->ranks;
    e->leads = mn_comm_rank(e->ranks.world) == 0;
    e->rows = options->limit > 0 && options->limit < fever->eval_count ? options->limit
                                                                       : fever->eval_count;
    e->results.date = wall_clock();
    MN_GOTO(name_model(e));
    MN_GOTO(mn_eval_variants(e));
    MN_GOTO(make_prompts(e));
    *out = e;
    e = NULL;
done:
    mn_evaluation_close(&e);
    return st;
}

/* Ranks may see different disks: answers are told by the numbers of the prompts. */
static mn_status same_prompts(const mn_evaluation *e) {
    const uint64_t counts[] = {(uint64_t)e->count, (uint64_t)e->variant_count, e->ids.len};
    uint64_t mine, first;
    mine = mn_journal_hash(MN_JOURNAL_HASH, counts, sizeof counts);
    mine = mn_journal_hash(mine, e->ids.data, e->ids.len * sizeof *e->ids.data);
    first = mine;
    MN_TRY(mn_comm_broadcast(e->ranks.world, &first, sizeof first, 0));
    mn_status st = MN_OK;
    if (first != mine)
        st = mn_fail(MN_ERR_DATA, "%s with %s: not the prompts that rank 0 has",
                     e->options.data_path, e->options.model_path);
    return mn_comm_agree(e->ranks.world, st);
}

static mn_status conclude(mn_evaluation *e) {
    MN_TRY(read_answers(e));
    return make_results(e);
}

mn_status mn_evaluation_run(mn_evaluation **out, mn_model *model, const mn_tokenizer *tokenizer,
                            const mn_fever *fever, const mn_eval_options *options) {
    mn_status st = MN_OK;
    mn_evaluation *e = NULL;
    *out = NULL;
    st = mn_eval_begin(&e, model, tokenizer, fever, options);
    MN_GOTO(mn_comm_agree(options->ranks ? options->ranks->world : NULL, st));
    MN_GOTO(same_prompts(e));
    MN_GOTO(mn_journal_open(e));
    MN_GOTO(answer_prompts(e));
    MN_GOTO(mn_journal_share(e));
    MN_GOTO(mn_comm_agree(e->ranks.world, conclude(e)));
    *out = e;
    e = NULL;
done:
    mn_evaluation_close(&e);
    return st;
}

const mn_results *mn_evaluation_results(const mn_evaluation *e) { return &e->results; }

static mn_status write_all(mn_evaluation *e) {
    /* The results come last: where they are, everything is. */
    mn_status st = e->options.log_samples ? mn_samples_write(e) : MN_OK;
    if (st == MN_OK) st = mn_results_write(NULL, &e->results, e->options.output_path);
    if (st == MN_OK) return mn_journal_remove(e);
    if (e->options.log_samples) mn_samples_remove(e);
    return st;
}

mn_status mn_evaluation_write(mn_evaluation *e, mn_buf *path) {
    if (path) MN_TRY(mn_results_path(path, &e->results, e->options.output_path));
    return mn_comm_agree(e->ranks.world, e->leads ? write_all(e) : MN_OK);
}

void mn_evaluation_close(mn_evaluation **evaluation) {
    mn_evaluation *e = *evaluation;
    if (!e) return;
    mn_journal_close(&e->journal);
    mn_completions_free(e->answers, e->count * e->variant_count);
    free(e->answers);
    free(e->read);
    free(e->variants);
    free(e->memories);
    free(e->effects);
    free(e->effect_memories);
    free(e->requests);
    free(e->prompts);
    mn_ids_free(&e->ids);
    for (int c = 0; c < MN_LABELS; c++) mn_ids_free(&e->candidates[c]);
    mn_buf_free(&e->text);
    free(e->model_name);
    free(e->results.entries);
    free(e->gold);
    free(e->pred);
    free(e->cluster);
    free(e);
    *evaluation = NULL;
}

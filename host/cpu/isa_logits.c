/* isa_logits.c - what is read off rows of logits: log-sum-exp, arg-max, one candidate, a sample. */
#include "cpu/isa.h"
#include "cpu/vec.h"

#include <math.h>

/* The first index of the largest value; NaN anywhere gives NaN as the value. */
static mn_row_stat row_stat(const float *x, int64_t n) {
    const float max = v_row_max(x, n);
    mn_row_stat stat = {.lse = NAN, .best = NAN, .best_id = 0};
    if (isnan(max)) return stat;
    double sum = 0; /* the vocabulary is long: keep the many small terms */
    vf part = v_set(0);
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        part += v_exp(v_load(x + i) - max);
        if (i % (VL * 64) == 0) {
            sum += (double)v_sum(part);
            part = v_set(0);
        }
    }
    sum += (double)v_sum(part);
    for (; i < n; i++) sum += exp((double)(x[i] - max));
    while (x[stat.best_id] != max) stat.best_id++;
    stat.best = max;
    stat.lse = (float)((double)max + log(sum));
    return stat;
}

mn_status MN_CPU(row_stats)(mn_stream *s, mn_row_stat *stats, const float *logits, int64_t begin,
                            int64_t rows, int64_t vocab) {
#pragma omp parallel for num_threads(s->threads) schedule(dynamic) if (rows > 1)
    for (int64_t r = 0; r < rows; r++) {
        stats[r] = row_stat(logits + r * vocab, vocab);
        if (!isnan(stats[r].lse)) stats[r].best_id += (int32_t)begin;
    }
    return MN_OK;
}

/* Slices come by rising ids: of equal values the first one stays. */
mn_status MN_CPU(row_stats_merge)(mn_stream *s, mn_row_stat *stats, const mn_row_stat *parts,
                                  int64_t slices, int64_t rows) {
    (void)s;
    for (int64_t r = 0; r < rows; r++) {
        mn_row_stat all = parts[r];
        bool broken = isnan(all.lse);
        for (int64_t i = 1; i < slices; i++) {
            const mn_row_stat *p = &parts[i * rows + r];
            broken = broken || isnan(p->lse);
            if (p->best > all.best) all = *p;
        }
        double sum = 0;
        for (int64_t i = 0; i < slices; i++)
            sum += exp((double)parts[i * rows + r].lse - (double)all.best);
        all.lse = (float)((double)all.best + log(sum));
        stats[r] = broken ? (mn_row_stat){.lse = NAN, .best = NAN, .best_id = 0} : all;
    }
    return MN_OK;
}

mn_status MN_CPU(logprob_gather)(mn_stream *s, float *out, const float *logits,
                                 const mn_row_stat *stats, const int32_t *row, const int32_t *id,
                                 int64_t begin, int64_t count, int64_t vocab) {
    (void)s;
    for (int64_t i = 0; i < count; i++) {
        const int64_t at = id[i] - begin;
        const bool here = at >= 0 && at < vocab;
        out[i] = here ? logits[(int64_t)row[i] * vocab + at] - stats[row[i]].lse : 0;
    }
    return MN_OK;
}

mn_status MN_CPU(sample)(mn_stream *s, int32_t *id, const float *logits, const float *u,
                         float temperature, int64_t rows, int64_t vocab) {
#pragma omp parallel for num_threads(s->threads) schedule(dynamic) if (rows > 1)
    for (int64_t r = 0; r < rows; r++) {
        const float *x = logits + r * vocab;
        const double max = (double)row_stat(x, vocab).best, t = (double)temperature;
        double sum = 0, seen = 0;
        for (int64_t i = 0; i < vocab; i++) sum += exp(((double)x[i] - max) / t);
        int64_t pick = 0;
        for (; pick + 1 < vocab; pick++) {
            seen += exp(((double)x[pick] - max) / t);
            if (seen > (double)u[r] * sum) break;
        }
        id[r] = (int32_t)pick;
    }
    return MN_OK;
}

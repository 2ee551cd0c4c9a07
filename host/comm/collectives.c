/* collectives.c - what ranks do together in host memory, made of messages.
 *
 * Every rank sends straight to every other one and to itself never: no rank hands on what another one sent, so that
 * the one that is missing is the one that is waited for. */
#include "comm/group.h"
#include "mneme/signals.h"

#include <stdlib.h>
#include <string.h>

/* ---- Sums ---- */

/* All-reduce works on pieces of so many bytes, for the scratch. Up to WHOLE bytes from all ranks together every rank
 * gets all of them and adds them itself: one exchange where there are two otherwise. */
enum { PIECE = 4 << 20, WHOLE = 32 << 10 };

size_t mn_scratch_bytes(int size) { return PIECE + (size_t)size * sizeof(double); }

static size_t type_size(mn_comm_type type) { return type == MN_COMM_F32 ? 4 : 8; }

/* sum[i] += x[i], or the greater of the two; a NaN stays, and wins. */
#define DEFINE_COMBINE(name, number)                                                               \
    static void name(number *sum, const number *x, int64_t n, mn_comm_op op) {                     \
        if (op == MN_COMM_SUM)                                                                     \
            for (int64_t i = 0; i < n; i++) sum[i] += x[i];                                        \
        else                                                                                       \
            for (int64_t i = 0; i < n; i++)                                                        \
                sum[i] = sum[i] >= x[i] || sum[i] != sum[i] ? sum[i] : x[i];                       \
    }
DEFINE_COMBINE(combine_f32, float)
DEFINE_COMBINE(combine_f64, double)
DEFINE_COMBINE(combine_i64, int64_t)

static void combine(void *sum, const void *x, int64_t n, mn_comm_type type, mn_comm_op op) {
    switch (type) {
    case MN_COMM_F32: combine_f32(sum, x, n, op); break;
    case MN_COMM_F64: combine_f64(sum, x, n, op); break;
    case MN_COMM_I64: combine_i64(sum, x, n, op); break;
    }
}

/* mine = mine and what the others sent, which lies in the scratch in the order of the ranks, one behind the other.
 * The order of the sums is that of the ranks at all of them. */
static void combine_all(mn_comm *c, void *mine, int64_t n, mn_comm_type type, mn_comm_op op) {
    const size_t bytes = (size_t)n * type_size(type);
    char *sum = c->head.rank == 0 ? mine : c->scratch, *next = c->scratch;
    for (int r = 0; r < c->head.size; r++) {
        char *x = r == c->head.rank ? mine : next;
        if (x == next) next += bytes;
        if (r > 0) combine(sum, x, n, type, op);
    }
    if (sum != mine) memcpy(mine, sum, bytes);
}

static mn_status reduce_whole(mn_comm *c, char *data, int64_t count, mn_comm_type type,
                              mn_comm_op op) {
    const size_t bytes = (size_t)count * type_size(type);
    char *next = c->scratch;
    for (int r = 0; r < c->head.size; r++) {
        if (r == c->head.rank) continue;
        mn_send(c, r, data, bytes);
        mn_receive(c, r, next, bytes);
        next += bytes;
    }
    MN_TRY(mn_exchange(c));
    combine_all(c, data, count, type, op);
    return MN_OK;
}

/* Every rank adds one part of the piece, then sends it around: each byte leaves and enters a rank twice. */
static mn_status reduce_piece(mn_comm *c, char *data, int64_t count, mn_comm_type type,
                              mn_comm_op op) {
    const size_t size = type_size(type);
    const int rank = c->head.rank, ranks = c->head.size;
    const int64_t mine = mn_part_count(count, rank, ranks);
    char *const part = data + (size_t)mn_part_begin(count, rank, ranks) * size;
    char *next = c->scratch;
    for (int r = 0; r < ranks; r++) {
        if (r == rank) continue;
        mn_send(c, r, data + (size_t)mn_part_begin(count, r, ranks) * size,
                (size_t)mn_part_count(count, r, ranks) * size);
        mn_receive(c, r, next, (size_t)mine * size);
        next += (size_t)mine * size;
    }
    MN_TRY(mn_exchange(c));
    combine_all(c, part, mine, type, op);
    for (int r = 0; r < ranks; r++) {
        if (r == rank) continue;
        mn_send(c, r, part, (size_t)mine * size);
        mn_receive(c, r, data + (size_t)mn_part_begin(count, r, ranks) * size,
                   (size_t)mn_part_count(count, r, ranks) * size);
    }
    return mn_exchange(c);
}

static mn_status all_reduce(mn_comm *c, void *data, int64_t count, mn_comm_type type,
                            mn_comm_op op) {
    const size_t size = type_size(type), bytes = (size_t)count * size;
    if (bytes * (size_t)c->head.size <= WHOLE) return reduce_whole(c, data, count, type, op);
    const int64_t piece = (int64_t)(PIECE / size);
    for (int64_t at = 0; at < count; at += piece) {
        const int64_t n = count - at < piece ? count - at : piece;
        MN_TRY(reduce_piece(c, (char *)data + (size_t)at * size, n, type, op));
    }
    return MN_OK;
}

mn_status mn_comm_all_reduce(mn_comm *c, void *data, int64_t count, mn_comm_type type,
                             mn_comm_op op) {
    if (!c) return MN_OK;
    MN_TRY(mn_call_begin(c, "all_reduce", (size_t)count * type_size(type)));
    return all_reduce(c, data, count, type, op);
}

/* ---- Copies ---- */

/* Messages have a limit: longer ones go in rounds. The first round is there even without bytes: it is where ranks
 * meet. */
static size_t round_bytes(size_t bytes, size_t at) {
    return bytes - at < MN_MESSAGE_MAX ? bytes - at : MN_MESSAGE_MAX;
}

static mn_status all_gather(mn_comm *c, void *out, const void *mine, size_t bytes) {
    char *const all = out;
    size_t at = 0;
    do {
        const size_t n = round_bytes(bytes, at);
        for (int r = 0; r < c->head.size; r++) {
            if (r == c->head.rank) continue;
            mn_send(c, r, (const char *)mine + at, n);
            mn_receive(c, r, all + (size_t)r * bytes + at, n);
        }
        MN_TRY(mn_exchange(c));
        at += n;
    } while (at < bytes);
    char *const own = all + (size_t)c->head.rank * bytes;
    if (bytes > 0 && own != mine) memmove(own, mine, bytes);
    return MN_OK;
}

mn_status mn_comm_all_gather(mn_comm *c, void *out, const void *mine, size_t bytes) {
    if (!c) {
        if (bytes > 0 && out != mine) memmove(out, mine, bytes);
        return MN_OK;
    }
    MN_TRY(mn_call_begin(c, "all_gather", bytes));
    return all_gather(c, out, mine, bytes);
}

/* Sends `mine` to the root, or to all; what the others send goes to `all`, where rank r's begins at begins[r]. */
static mn_status gather(mn_comm *c, char *all, const size_t *begins, const void *mine, int root) {
    const int rank = c->head.rank;
    const size_t bytes = begins[rank + 1] - begins[rank];
    size_t longest = 0;
    for (int r = 0; r < c->head.size; r++)
        if (begins[r + 1] - begins[r] > longest) longest = begins[r + 1] - begins[r];
    for (size_t at = 0; at < longest; at += MN_MESSAGE_MAX) {
        for (int r = 0; r < c->head.size; r++) {
            const size_t theirs = begins[r + 1] - begins[r];
            if (r == rank) continue;
            if (at < bytes && (root < 0 || r == root))
                mn_send(c, r, (const char *)mine + at, round_bytes(bytes, at));
            if (at < theirs && (root < 0 || rank == root))
                mn_receive(c, r, all + begins[r] + at, round_bytes(theirs, at));
        }
        MN_TRY(mn_exchange(c));
    }
    if (bytes > 0 && (root < 0 || rank == root)) memcpy(all + begins[rank], mine, bytes);
    return MN_OK;
}

mn_status mn_comm_gather(mn_comm *c, mn_buf *out, const void *mine, size_t bytes, int root) {
    if (!c) return mn_buf_append(out, mine, bytes);
    mn_status st = MN_OK;
    const int size = c->head.size;
    const bool takes = root < 0 || c->head.rank == root;
    uint64_t *lengths = calloc((size_t)size, sizeof *lengths), own = bytes;
    size_t *begins = calloc((size_t)size + 1, sizeof *begins);
    MN_CHECK_GOTO(lengths && begins, MN_ERR_MEMORY, "no memory for the lengths of %d ranks", size);
    MN_GOTO(mn_call_begin(c, "gather", bytes));
    MN_GOTO(all_gather(c, lengths, &own, sizeof own));
    for (int r = 0; r < size; r++) begins[r + 1] = begins[r] + lengths[r];
    if (takes) MN_GOTO(mn_buf_reserve(out, begins[size]));
    MN_GOTO(gather(c, takes ? out->data + out->len : NULL, begins, mine, root));
    if (takes) {
        out->len += begins[size];
        out->data[out->len] = '\0';
    }
done:
    free(begins);
    free(lengths);
    return st;
}

static mn_status broadcast(mn_comm *c, void *data, size_t bytes, int root) {
    size_t at = 0;
    do {
        const size_t n = round_bytes(bytes, at);
        if (c->head.rank != root) mn_receive(c, root, (char *)data + at, n);
        for (int r = 0; r < c->head.size && c->head.rank == root; r++)
            if (r != root) mn_send(c, r, (const char *)data + at, n);
        MN_TRY(mn_exchange(c));
        at += n;
    } while (at < bytes);
    return MN_OK;
}

mn_status mn_comm_broadcast(mn_comm *c, void *data, size_t bytes, int root) {
    if (!c) return MN_OK;
    MN_TRY(mn_call_begin(c, "broadcast", bytes));
    return broadcast(c, data, bytes, root);
}

mn_status mn_comm_barrier(mn_comm *c) {
    if (!c) return MN_OK;
    MN_TRY(mn_call_begin(c, "barrier", 0));
    return all_gather(c, NULL, NULL, 0);
}

/* ---- Agreements ---- */

mn_status mn_comm_agree(mn_comm *c, mn_status mine) {
    if (!c) return mine;
    mn_error_record error = {0};
    if (mine != MN_OK) mn_error_save(&error);
    error.status = mine;
    const int size = c->head.size;
    int64_t worst = mine == MN_OK ? 0 : size - c->head.rank; /* the lowest rank has the greatest */
    MN_TRY(mn_call_begin(c, "agreement", sizeof worst));
    MN_TRY(all_reduce(c, &worst, 1, MN_COMM_I64, MN_COMM_MAX));
    if (worst == 0) return MN_OK;
    const int rank = size - (int)worst;
    MN_TRY(broadcast(c, &error, sizeof error, rank));
    /* Who gets here may leave at once, and that breaks the group: not before all others know why. If this fails they
     * do, since one of them has left already. */
    int64_t none = 0;
    (void)all_reduce(c, &none, 1, MN_COMM_I64, MN_COMM_MAX);
    return mn_fail(error.status, "rank %d (%s): %s", c->ranks[rank], mn_comm_host(c, rank),
                   error.text);
}

mn_status mn_comm_stop(mn_comm *c, bool *stop) {
    int64_t wanted = mn_stop_requested();
    *stop = wanted != 0;
    if (!c) return MN_OK;
    MN_TRY(mn_call_begin(c, "agreement to stop", sizeof wanted));
    MN_TRY(all_reduce(c, &wanted, 1, MN_COMM_I64, MN_COMM_MAX));
    *stop = wanted != 0;
    if (*stop) mn_stop_request(); /* also for who asks without the others */
    return MN_OK;
}

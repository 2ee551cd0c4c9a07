/* select_mma.cpp - ldmatrix, movmatrix and mma: matrices spread over the registers of a warp.
 *
 * A fragment register of 16-bit elements holds an 8 x 8 matrix row by row: lane l has columns
 * 2(l mod 4) and 2(l mod 4) + 1 of row l / 4. Products are exact in double; sums are made in double
 * and rounded once, where tensor cores truncate: results are the better of the two. */
#include "lanes.h"

namespace sg {

namespace {

struct Matrix8 {
    u16 at[8][8];
};

void from_register(const u32 *r, bool transposed, Matrix8 *m) {
    for (int l = 0; l < LANES; l++)
        for (int j = 0; j < 2; j++) {
            const u16 e = (u16)(r[l] >> (16 * j));
            const int row = l >> 2, column = (l & 3) * 2 + j;
            (transposed ? m->at[column][row] : m->at[row][column]) = e;
        }
}

void to_register(const Matrix8 &m, bool transposed, u32 *r) {
    for (int l = 0; l < LANES; l++) {
        const int row = l >> 2, column = (l & 3) * 2;
        const u16 low = transposed ? m.at[column][row] : m.at[row][column];
        const u16 high = transposed ? m.at[column + 1][row] : m.at[row][column + 1];
        r[l] = low | (u32)high << 16;
    }
}

/* Lanes 8k .. 8k + 7 give the addresses of the rows of matrix k. */
void ldmatrix(Machine &m, const Inst &i, u32) {
    u64 a[LANES];
    m.addresses(i.op[1], a);
    stats.ldmatrix++;
    const int count = i.sub;
    for (int k = 0; k < count; k++) m.count_shared(a, 0xffu << (8 * k), 16);
    for (int k = 0; k < count; k++) {
        Matrix8 matrix;
        u32 r[LANES];
        for (int row = 0; row < 8; row++) {
            const int l = 8 * k + row;
            memcpy(matrix.at[row], m.access(l, a[l], 16, i.space, AccessKind::READ), 16);
        }
        to_register(matrix, i.trans, r);
        m.store(m.part(i.op[0], k), r, ~0u);
    }
}

void movmatrix(Machine &m, const Inst &i, u32) {
    u32 scratch[LANES], r[LANES];
    Matrix8 matrix;
    from_register(m.source(i.op[1], scratch), false, &matrix);
    to_register(matrix, i.trans, r);
    m.store(i.op[0], r, ~0u);
}

/* The elements of a fragment as rows of doubles: per register 8 rows of 4 lanes, each lane with
 * `per` elements side by side. */
template <int PER> void unpack(Type t, const u32 *r, double rows[8][4 * PER]) {
    for (int l = 0; l < LANES; l++) {
        double *to = rows[l >> 2] + (l & 3) * PER;
        if constexpr (PER == 1) to[0] = bit_cast<float>(r[l] & 0xffffe000u); /* tf32 */
        else if (t == Type::BF16) {
            to[0] = bf16_to_float((u16)r[l]);
            to[1] = bf16_to_float((u16)(r[l] >> 16));
        } else {
            to[0] = half_to_float((u16)r[l]);
            to[1] = half_to_float((u16)(r[l] >> 16));
        }
    }
}

/* A (16 x K) of registers in the order rows 0-7, rows 8-15, then the next columns; B (K x 8) of
 * registers with the columns of B as rows. KR: registers along K. */
template <int PER, int KR> void products(Machine &m, const Inst &i, double sum[16][8]) {
    constexpr int step = 4 * PER, depth = step * KR;
    double a[16][depth], b[depth][8], block[8][step];
    u32 scratch[LANES];
    for (int r = 0; r < 2 * KR; r++) {
        unpack<PER>(i.type2, m.source(m.part(i.op[1], r), scratch), block);
        for (int row = 0; row < 8; row++)
            memcpy(&a[row + 8 * (r & 1)][step * (r >> 1)], block[row], sizeof block[row]);
    }
    for (int r = 0; r < KR; r++) {
        unpack<PER>(i.type3, m.source(m.part(i.op[2], r), scratch), block);
        for (int n = 0; n < 8; n++)
            for (int k = 0; k < step; k++) b[step * r + k][n] = block[n][k];
    }
    for (int row = 0; row < 16; row++) {
        double line[8] = {};
        for (int k = 0; k < depth; k++)
            for (int n = 0; n < 8; n++) line[n] = __builtin_fma(a[row][k], b[k][n], line[n]);
        memcpy(sum[row], line, sizeof line);
    }
}

void add_single(Machine &m, const Inst &i, const double sum[16][8]) {
    for (int r = 0; r < 4; r++) {
        u32 scratch[LANES], d[LANES];
        const u32 *c = m.source(m.part(i.op[3], r), scratch);
        for (int l = 0; l < LANES; l++) {
            const double s = sum[(l >> 2) + 8 * (r >> 1)][(l & 3) * 2 + (r & 1)];
            d[l] = bit_cast<u32>((float)(s + (double)bit_cast<float>(c[l])));
        }
        m.store(m.part(i.op[0], r), d, ~0u);
    }
}

void add_half(Machine &m, const Inst &i, const double sum[16][8]) {
    for (int r = 0; r < 2; r++) {
        u32 scratch[LANES], d[LANES];
        const u32 *c = m.source(m.part(i.op[3], r), scratch);
        for (int l = 0; l < LANES; l++) {
            const double *s = &sum[(l >> 2) + 8 * r][(l & 3) * 2];
            const u16 low = half_from_double(s[0] + half_to_float((u16)c[l]));
            const u16 high = half_from_double(s[1] + half_to_float((u16)(c[l] >> 16)));
            d[l] = low | (u32)high << 16;
        }
        m.store(m.part(i.op[0], r), d, ~0u);
    }
}

template <int PER, int KR> void mma(Machine &m, const Inst &i, u32) {
    double sum[16][8];
    products<PER, KR>(m, i, sum);
    stats.mma++;
    stats.mma_flops += 2ull * 16 * 8 * i.k;
    if (i.type4 == Type::F16) add_half(m, i, sum);
    else add_single(m, i, sum);
}

} // namespace

Handler select_ldmatrix(Inst &i, const Statement &s) {
    if (!s.has("m8n8") || !s.has("b16")) s.unsupported();
    i.sub = s.has("x4") ? 4 : s.has("x2") ? 2 : 1;
    return ldmatrix;
}

Handler select_movmatrix(Inst &, const Statement &s) {
    if (!s.has("m8n8") || !s.has("b16")) s.unsupported();
    return movmatrix;
}

Handler select_mma(Inst &i, const Statement &s) {
    const bool is_row_by_column = s.which({"row"}) == 0 && s.which({"col"}) == 0;
    const bool known_sum = i.type == i.type4 &&
                           (i.type4 == Type::F32 || (i.type4 == Type::F16 && i.type2 == Type::F16));
    if (s.types.size() != 4 || i.m != 16 || i.n != 8 || i.type2 != i.type3 || !is_row_by_column ||
        !known_sum)
        s.unsupported();
    if (i.type2 == Type::F16 || i.type2 == Type::BF16) {
        if (i.k == 16) return mma<2, 2>;
        if (i.k == 8) return mma<2, 1>;
    }
    if (i.type2 == Type::TF32) {
        if (i.k == 8) return mma<1, 2>;
        if (i.k == 4) return mma<1, 1>;
    }
    s.unsupported();
}

} // namespace sg

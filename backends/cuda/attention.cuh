/* SPDX-License-Identifier: Apache-2.0
 * Attention by tiles: of each query sum_j p_j v_j, p the softmax of its scores, and the gradient. Scores live in a
 * block's shared memory, a tile of rows and columns at a time, and are never stored; sums go on from tile to tile with
 * the greatest score so far. The gradient makes the scores again: once for what a query's softmax needs (m2s_softmax),
 * once for the queries, once for keys and values.
 *
 * A unit is what attends to itself alone: an image, or a window. A block works on 32 rows of a head of a unit and goes
 * over all columns; heads wider than D are cut into chunks of D channels: products run over all of them, results are
 * one chunk's.
 *
 * Places says where numbers are and what a score is:
 *     int queries, keys (of a unit), heads, width (channels of a head); bool vectors (four can be read at a time)
 *     place at(unit, head): handed back to all others
 *     const T *query(place, i), *key(place, j), *value(place, j), *diff(place, i): a head's first channel; NULL: zeros
 *     float score(place, i, j, dot)
 *     void put<EACH>(what, place, part, i, channel, values): values[e] for the head's channel `channel` + 16 e, where
 *     that is below width */
#ifndef M2S_BACKENDS_CUDA_ATTENTION_CUH
#define M2S_BACKENDS_CUDA_ATTENTION_CUH

#include "backends/cuda/pixels.cuh"

static constexpr int M2S_ATTENTION_THREADS = 128;
static constexpr int M2S_ATTENTION_ROWS = 32;
static constexpr int M2S_ATTENTION_COLUMNS = 64;   /* of a tile going forward; going back as many as rows */
static constexpr int M2S_ATTENTION_BLOCKS = 528;   /* four for each multiprocessor of the largest devices */
static constexpr int M2S_ATTENTION_PITCH = 32 + 4; /* from a channel to the next in a tile: different banks */
static constexpr int M2S_ATTENTION_WIDE_PITCH = 64 + 4;

enum m2s_attention_what { M2S_ATTENTION_RESULT, M2S_ATTENTION_QUERY, M2S_ATTENTION_KEY, M2S_ATTENTION_VALUE };

/* What the gradient needs of a query's softmax: p_j = exp(score_j - greatest) inverse, and sum_j p_j dp_j. */
struct alignas(16) m2s_softmax {
    float greatest, inverse, mean, unused;
};

/* ---- tiles ---- */

/* channels[begin .. begin + 3] below end, zeros beyond. */
template <class T>
M2S_HD inline void m2s_read_channels(const T *channels, int begin, int end, bool vectors, float (&x)[4])
{
    if (vectors && begin + 4 <= end) {
        m2s_load<4>(channels + begin, x);
        return;
    }
    for (int j = 0; j < 4; j++) {
        x[j] = begin + j < end ? m2s_to_float(channels[begin + j]) : 0.0f;
    }
}

/* ITEMS items from `first` on, D channels from `begin` on, as (channel, item). get(i): item i's first channel, or NULL
 * for zeros. Sixteen threads side by side write sixteen items' numbers, into as many banks. */
template <int D, int ITEMS, class Get>
M2S_HD inline void m2s_load_tile(const Get &get, int first, int count, int begin, int width, bool vectors,
                                 const m2s_thread &t, float *tile)
{
    const int pitch = ITEMS + 4;

    for (int e = t.thread; e < ITEMS * (D / 4); e += M2S_ATTENTION_THREADS) {
        const int item = (e & 15) + e / (4 * D) * 16, channel = (e >> 4) % (D / 4) * 4;
        float x[4] = {};
        const auto *from = first + item < count ? get(first + item) : nullptr;
        if (from != nullptr) {
            m2s_read_channels(from, begin + channel, width, vectors, x);
        }
        for (int j = 0; j < 4; j++) {
            tile[(channel + j) * pitch + item] = x[j];
        }
    }
}

/* sums[i][j] += row i times column j, over channels of two tiles. */
template <int ROWS, int ROW_PITCH, int COLUMN_PITCH>
M2S_HD inline void m2s_add_products(const float *rows, const float *columns, int channels, float (&sums)[ROWS][4])
{
    for (int c = 0; c < channels; c++) {
        float a[ROWS], b[4];
        m2s_load<ROWS>(rows + c * ROW_PITCH, a);
        m2s_load<4>(columns + c * COLUMN_PITCH, b);
        M2S_UNROLL
        for (int i = 0; i < ROWS; i++) {
            M2S_UNROLL
            for (int j = 0; j < 4; j++) {
                sums[i][j] = fmaf(a[i], b[j], sums[i][j]);
            }
        }
    }
}

/* sums[i][e] += over columns: weight of row i times the column's channel 16 e. Weights are (row, column), numbers
 * (channel, column), both of this pitch. */
template <int EACH, int PITCH>
M2S_HD inline void m2s_add_weighted(const float *weights, const float *numbers, int columns, float (&sums)[4][EACH])
{
    for (int k = 0; k < columns; k += 4) {
        float w[4][4];
        M2S_UNROLL
        for (int i = 0; i < 4; i++) {
            m2s_load<4>(weights + i * PITCH + k, w[i]);
        }
        M2S_UNROLL
        for (int e = 0; e < EACH; e++) {
            float x[4];
            m2s_load<4>(numbers + 16 * e * PITCH + k, x);
            M2S_UNROLL
            for (int i = 0; i < 4; i++) {
                M2S_UNROLL
                for (int j = 0; j < 4; j++) {
                    sums[i][e] = fmaf(w[i][j], x[j], sums[i][e]);
                }
            }
        }
    }
}

M2S_HD inline int m2s_at_most(int value, int most)
{
    return value < most ? value : most;
}

/* For put(): channel + 16 e of `to` below width. */
template <int EACH, class To>
M2S_HD inline void m2s_put_channels(To *to, int channel, int width, const float (&values)[EACH])
{
    M2S_UNROLL
    for (int e = 0; e < EACH; e++) {
        if (channel + 16 * e < width) {
            to[channel + 16 * e] = m2s_from_float<To>(values[e]);
        }
    }
}

/* How the rows of all units are cut into blocks along x, parts of a unit's columns one after the other; heads are along
 * y, chunks along z. */
struct m2s_attention_cut {
    m2s_divisor blocks, parts; /* of a unit's rows; of its columns */
    int chunks;
    int tiles; /* of a part's columns */
};

static inline m2s_attention_cut m2s_attention_cut_of(int rows, int columns, int tile, int parts, int width, int chunk)
{
    const int tiles = (columns + tile - 1) / tile, each = (tiles + parts - 1) / parts;

    return m2s_attention_cut{ m2s_divisor_of((rows + M2S_ATTENTION_ROWS - 1) / M2S_ATTENTION_ROWS),
                              m2s_divisor_of((tiles + each - 1) / each), (width + chunk - 1) / chunk, each };
}

static inline m2s_cuda_grid m2s_attention_grid(const m2s_attention_cut &cut, int64_t units, int heads)
{
    return m2s_cuda_grid{ static_cast<int>(units * cut.blocks.by * cut.parts.by), heads, cut.chunks };
}

/* Where a block and a round stand. */
struct m2s_attention_round {
    int64_t unit;
    int part;
    int row;          /* the block's first */
    int column;       /* the tile's first */
    int chunk;        /* whose channels are multiplied: the block's own comes last and stays where it was loaded */
    bool first, last; /* of the tile's chunks */
};

M2S_HD inline m2s_attention_round m2s_attention_round_at(const m2s_attention_cut &cut, const m2s_thread &t, int round,
                                                         int tile)
{
    const int64_t part = m2s_quotient(t.block, cut.blocks), unit = m2s_quotient(part, cut.parts);
    const int done = cut.chunks == 1 ? round : round / cut.chunks, step = round - done * cut.chunks;
    m2s_attention_round r;

    r.unit = unit;
    r.part = static_cast<int>(part - unit * cut.parts.by);
    r.row = static_cast<int>(t.block - part * cut.blocks.by) * M2S_ATTENTION_ROWS;
    r.column = (r.part * cut.tiles + done) * tile;
    r.chunk = cut.chunks == 1 ? 0 : (t.block_z + 1 + step) % cut.chunks;
    r.first = step == 0;
    r.last = step == cut.chunks - 1;
    return r;
}

/* ---- forward ---- */

/* Shared memory: the queries and the keys, then the values, as (channel, item); weights (query, key); and what threads
 * side by side know of a query. */
template <class Places, int D> struct m2s_attention_forward {
    static constexpr int phases = 5, threads = M2S_ATTENTION_THREADS, each = D / 16;
    static constexpr int query_floats = D * M2S_ATTENTION_PITCH, key_floats = D * M2S_ATTENTION_WIDE_PITCH;
    static constexpr int weight_floats = M2S_ATTENTION_ROWS * M2S_ATTENTION_WIDE_PITCH;
    static constexpr size_t shared_bytes =
        (query_floats + key_floats + weight_floats + 16 * M2S_ATTENTION_PITCH) * sizeof(float);

    Places of;
    m2s_attention_cut cut;

    struct own {
        float score[4][4];  /* of queries 4 y + i and keys 4 x + j */
        float sum[4][each]; /* for channels x + 16 e */
        float greatest[4], total[4];
    };

    M2S_HD int rounds() const
    {
        return cut.tiles * cut.chunks;
    }

    M2S_HD void run(int round, int phase, const m2s_thread &t, own &mine, char *shared) const
    {
        float *query = reinterpret_cast<float *>(shared), *key = query + query_floats, *weight = key + key_floats;
        float *part = weight + weight_floats;
        const m2s_attention_round r = m2s_attention_round_at(cut, t, round, M2S_ATTENTION_COLUMNS);
        const auto place = of.at(r.unit, t.block_y);
        const int x = t.thread & 15, y = t.thread >> 4, keys = m2s_at_most(of.keys - r.column, M2S_ATTENTION_COLUMNS);
        float *known = part + 4 * y; /* (x, query) */

        if (phase == 0) {
            if (round == 0 || cut.chunks > 1) {
                m2s_load_tile<D, M2S_ATTENTION_ROWS>([&](int i) { return of.query(place, i); }, r.row, of.queries,
                                                     r.chunk * D, of.width, of.vectors, t, query);
            }
            m2s_load_tile<D, M2S_ATTENTION_COLUMNS>([&](int j) { return of.key(place, j); }, r.column, of.keys,
                                                    r.chunk * D, of.width, of.vectors, t, key);
            M2S_UNROLL
            for (int i = 0; i < 4; i++) {
                mine.greatest[i] = round == 0 ? -INFINITY : mine.greatest[i];
                M2S_UNROLL
                for (int j = 0; j < 4; j++) {
                    mine.score[i][j] = r.first ? 0.0f : mine.score[i][j];
                }
            }
        } else if (phase == 1) {
            m2s_add_products<4, M2S_ATTENTION_PITCH, M2S_ATTENTION_WIDE_PITCH>(
                query + 4 * y, key + 4 * x, m2s_at_most(of.width - r.chunk * D, D), mine.score);
            if (r.last) {
                float greatest[4];
                M2S_UNROLL
                for (int i = 0; i < 4; i++) {
                    greatest[i] = -INFINITY;
                    M2S_UNROLL
                    for (int j = 0; j < 4; j++) {
                        if (r.row + 4 * y + i < of.queries && 4 * x + j < keys) {
                            mine.score[i][j] =
                                of.score(place, r.row + 4 * y + i, r.column + 4 * x + j, mine.score[i][j]);
                            greatest[i] = mine.score[i][j] > greatest[i] ? mine.score[i][j] : greatest[i];
                        }
                    }
                }
                m2s_store<4>(known + x * M2S_ATTENTION_PITCH, greatest);
            }
        } else if (phase == 2 && r.last) {
            float greatest[4];
            M2S_UNROLL
            for (int i = 0; i < 4; i++) {
                greatest[i] = mine.greatest[i];
            }
            for (int k = 0; k < 16; k++) {
                float other[4];
                m2s_load<4>(known + k * M2S_ATTENTION_PITCH, other);
                M2S_UNROLL
                for (int i = 0; i < 4; i++) {
                    greatest[i] = other[i] > greatest[i] ? other[i] : greatest[i];
                }
            }
            M2S_UNROLL
            for (int i = 0; i < 4; i++) {
                const float kept = round < cut.chunks ? 0.0f : expf(mine.greatest[i] - greatest[i]);
                float share[4];
                mine.greatest[i] = greatest[i];
                mine.total[i] *= kept;
                M2S_UNROLL
                for (int e = 0; e < each; e++) {
                    mine.sum[i][e] *= kept;
                }
                M2S_UNROLL
                for (int j = 0; j < 4; j++) {
                    share[j] = 4 * x + j < keys ? expf(mine.score[i][j] - greatest[i]) : 0.0f;
                    mine.total[i] += share[j];
                }
                m2s_store<4>(weight + (4 * y + i) * M2S_ATTENTION_WIDE_PITCH + 4 * x, share);
            }
            m2s_load_tile<D, M2S_ATTENTION_COLUMNS>([&](int j) { return of.value(place, j); }, r.column, of.keys,
                                                    r.chunk * D, of.width, of.vectors, t, key);
        } else if (phase == 3 && r.last) {
            m2s_add_weighted<each, M2S_ATTENTION_WIDE_PITCH>(weight + 4 * y * M2S_ATTENTION_WIDE_PITCH,
                                                             key + x * M2S_ATTENTION_WIDE_PITCH, keys, mine.sum);
            if (round == rounds() - 1) {
                m2s_store<4>(known + x * M2S_ATTENTION_PITCH, mine.total);
            }
        } else if (phase == 4 && round == rounds() - 1) {
            float total[4] = {};
            for (int k = 0; k < 16; k++) {
                float other[4];
                m2s_load<4>(known + k * M2S_ATTENTION_PITCH, other);
                M2S_UNROLL
                for (int i = 0; i < 4; i++) {
                    total[i] += other[i];
                }
            }
            M2S_UNROLL
            for (int i = 0; i < 4; i++) {
                M2S_UNROLL
                for (int e = 0; e < each; e++) {
                    mine.sum[i][e] /= total[i];
                }
                if (r.row + 4 * y + i < of.queries) {
                    of.template put<each>(M2S_ATTENTION_RESULT, place, 0, r.row + 4 * y + i, r.chunk * D + x,
                                          mine.sum[i]);
                }
            }
        }
    }
};

template <int D, class Places> int m2s_launch_attention(const m2s_cuda_call *call, const Places &of, int64_t units)
{
    const m2s_attention_cut cut = m2s_attention_cut_of(of.queries, of.keys, M2S_ATTENTION_COLUMNS, 1, of.width, D);
    const m2s_attention_forward<Places, D> body = { of, cut };

    return m2s_cuda_launch_rounds(call, body, m2s_attention_grid(cut, units, of.heads), body.shared_bytes);
}

#endif

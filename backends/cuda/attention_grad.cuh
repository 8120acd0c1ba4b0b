/* SPDX-License-Identifier: Apache-2.0
 * The gradient of attention by tiles (attention.cuh). With p the softmax, dp_j = diff v_j and m = sum_j p_j dp_j, a
 * score's gradient is p (dp - m). */
#ifndef M2S_BACKENDS_CUDA_ATTENTION_GRAD_CUH
#define M2S_BACKENDS_CUDA_ATTENTION_GRAD_CUH

#include "backends/cuda/attention.cuh"

/* Tiles are 32 x 32. Of both products of a tile, scores and dp, a thread makes 2 rows by 4 columns. Rows are queries,
 * or, with KEYS, keys. */
template <class Places, int D, bool KEYS> struct m2s_attention_pairs {
    static constexpr int tile_floats = D * M2S_ATTENTION_PITCH, floats = 4 * tile_floats;

    Places of;
    m2s_attention_cut cut;

    struct own {
        float score[2][4], back[2][4]; /* of rows 2 y + i and columns 4 x + j */
    };

    template <class Place>
    M2S_HD void load(const m2s_attention_round &r, const Place &place, bool rows, const m2s_thread &t,
                     float *tiles) const
    {
        const auto query = [&](int i) { return of.query(place, i); };
        const auto diff = [&](int i) { return of.diff(place, i); };
        const auto key = [&](int j) { return of.key(place, j); };
        const auto value = [&](int j) { return of.value(place, j); };
        const int query_at = KEYS ? r.column : r.row, key_at = KEYS ? r.row : r.column, begin = r.chunk * D;
        float *const of_rows = tiles, *const of_columns = tiles + 2 * tile_floats;
        float *const of_queries = KEYS ? of_columns : of_rows, *const of_keys = KEYS ? of_rows : of_columns;

        if (rows || KEYS) {
            m2s_load_tile<D, 32>(query, query_at, of.queries, begin, of.width, of.vectors, t, of_queries);
            m2s_load_tile<D, 32>(diff, query_at, of.queries, begin, of.width, of.vectors, t, of_queries + tile_floats);
        }
        if (rows || !KEYS) {
            m2s_load_tile<D, 32>(key, key_at, of.keys, begin, of.width, of.vectors, t, of_keys);
            m2s_load_tile<D, 32>(value, key_at, of.keys, begin, of.width, of.vectors, t, of_keys + tile_floats);
        }
    }

    M2S_HD void multiply(const m2s_attention_round &r, const m2s_thread &t, const float *tiles, own &mine) const
    {
        const float *rows = tiles + 2 * (t.thread >> 3), *columns = tiles + 2 * tile_floats + 4 * (t.thread & 7);
        const int channels = m2s_at_most(of.width - r.chunk * D, D);

        M2S_UNROLL
        for (int i = 0; i < 2; i++) {
            M2S_UNROLL
            for (int j = 0; j < 4; j++) {
                mine.score[i][j] = r.first ? 0.0f : mine.score[i][j];
                mine.back[i][j] = r.first ? 0.0f : mine.back[i][j];
            }
        }
        m2s_add_products<2, M2S_ATTENTION_PITCH, M2S_ATTENTION_PITCH>(rows, columns, channels, mine.score);
        m2s_add_products<2, M2S_ATTENTION_PITCH, M2S_ATTENTION_PITCH>(rows + tile_floats, columns + tile_floats,
                                                                      channels, mine.back);
    }

    /* False: the row or the column is beyond the end. Else the score is final. */
    template <class Place>
    M2S_HD bool finish(const m2s_attention_round &r, const Place &place, const m2s_thread &t, int i, int j,
                       float *score) const
    {
        const int row = r.row + 2 * (t.thread >> 3) + i, column = r.column + 4 * (t.thread & 7) + j;
        const int query = KEYS ? column : row, key = KEYS ? row : column;

        if (query >= of.queries || key >= of.keys) {
            return false;
        }
        *score = of.score(place, query, key, *score);
        return true;
    }
};

/* Where a head's softmax of query i is. */
template <class Places> M2S_HD inline int64_t m2s_softmax_at(const Places &of, int64_t unit, int head, int query)
{
    return (unit * of.heads + head) * of.queries + query;
}

static inline size_t m2s_softmax_bytes(int64_t units, int heads, int queries)
{
    return static_cast<size_t>(units * heads * queries) * sizeof(m2s_softmax);
}

/* ---- what is known of each query ---- */

/* Shared memory: the tiles; (x, row) three times: the greatest score, sums of exponentials, and of these times dp. */
template <class Places, int D> struct m2s_attention_statistics {
    using pairs = m2s_attention_pairs<Places, D, false>;
    static constexpr int phases = 4, threads = M2S_ATTENTION_THREADS, part_floats = 8 * M2S_ATTENTION_PITCH;
    static constexpr size_t shared_bytes = (pairs::floats + 3 * part_floats) * sizeof(float);

    pairs p;
    m2s_softmax *softmax;

    struct own {
        typename pairs::own pair;
        float greatest[2], total[2], mean[2];
    };

    M2S_HD int rounds() const
    {
        return p.cut.tiles * p.cut.chunks;
    }

    M2S_HD void run(int round, int phase, const m2s_thread &t, own &mine, char *shared) const
    {
        float *tiles = reinterpret_cast<float *>(shared), *part = tiles + pairs::floats;
        const m2s_attention_round r = m2s_attention_round_at(p.cut, t, round, M2S_ATTENTION_ROWS);
        const auto place = p.of.at(r.unit, t.block_y);
        const int x = t.thread & 7, y = t.thread >> 3, columns = p.of.keys - r.column;
        float *known = part + 2 * y;

        if (phase == 0) {
            p.load(r, place, round == 0 || p.cut.chunks > 1, t, tiles);
        } else if (phase == 1) {
            p.multiply(r, t, tiles, mine.pair);
            if (r.last) {
                float greatest[2];
                M2S_UNROLL
                for (int i = 0; i < 2; i++) {
                    greatest[i] = -INFINITY;
                    M2S_UNROLL
                    for (int j = 0; j < 4; j++) {
                        if (p.finish(r, place, t, i, j, &mine.pair.score[i][j])) {
                            const float score = mine.pair.score[i][j];
                            greatest[i] = score > greatest[i] ? score : greatest[i];
                        }
                    }
                }
                m2s_store<2>(known + x * M2S_ATTENTION_PITCH, greatest);
            }
        } else if (phase == 2 && r.last) {
            M2S_UNROLL
            for (int i = 0; i < 2; i++) {
                float greatest = round < p.cut.chunks ? -INFINITY : mine.greatest[i];
                for (int k = 0; k < 8; k++) {
                    const float other = known[k * M2S_ATTENTION_PITCH + i];
                    greatest = other > greatest ? other : greatest;
                }
                const float kept = round < p.cut.chunks ? 0.0f : expf(mine.greatest[i] - greatest);
                mine.greatest[i] = greatest;
                mine.total[i] *= kept;
                mine.mean[i] *= kept;
                M2S_UNROLL
                for (int j = 0; j < 4; j++) {
                    const float share = 4 * x + j < columns ? expf(mine.pair.score[i][j] - greatest) : 0.0f;
                    mine.total[i] += share;
                    mine.mean[i] = fmaf(share, mine.pair.back[i][j], mine.mean[i]);
                }
            }
            if (round == rounds() - 1) {
                m2s_store<2>(known + part_floats + x * M2S_ATTENTION_PITCH, mine.total);
                m2s_store<2>(known + 2 * part_floats + x * M2S_ATTENTION_PITCH, mine.mean);
            }
        } else if (phase == 3 && round == rounds() - 1 && x < 2 && r.row + 2 * y + x < p.of.queries) {
            float total = 0.0f, mean = 0.0f;
            for (int k = 0; k < 8; k++) {
                total += known[part_floats + k * M2S_ATTENTION_PITCH + x];
                mean += known[2 * part_floats + k * M2S_ATTENTION_PITCH + x];
            }
            softmax[m2s_softmax_at(p.of, r.unit, t.block_y, r.row + 2 * y + x)] =
                m2s_softmax{ x == 0 ? mine.greatest[0] : mine.greatest[1], 1.0f / total, mean / total, 0.0f };
        }
    }
};

/* ---- the gradients ---- */

/* Of queries, or with KEYS of keys and values. Shared memory: the tiles, the gradients of scores (row, column), with
 * KEYS also the weights. */
template <class Places, int D, bool KEYS> struct m2s_attention_back {
    using pairs = m2s_attention_pairs<Places, D, KEYS>;
    static constexpr int phases = 3, threads = M2S_ATTENTION_THREADS, each = D / 16, sums = KEYS ? 2 : 1;
    static constexpr int weight_floats = M2S_ATTENTION_ROWS * M2S_ATTENTION_PITCH;
    static constexpr size_t shared_bytes = (pairs::floats + sums * weight_floats) * sizeof(float);

    pairs p;
    const m2s_softmax *softmax;

    struct own {
        typename pairs::own pair;
        float sum[sums][4][each]; /* of rows 4 y + i, for channels x + 16 e */
    };

    M2S_HD int rounds() const
    {
        return p.cut.tiles * p.cut.chunks;
    }

    /* The weight of a pair, and its score's gradient. */
    template <class Place>
    M2S_HD void weigh(const m2s_attention_round &r, const Place &place, const m2s_thread &t, int i, int j, own &mine,
                      float *share, float *slope) const
    {
        const int query = KEYS ? r.column + 4 * (t.thread & 7) + j : r.row + 2 * (t.thread >> 3) + i;

        *share = *slope = 0.0f;
        if (p.finish(r, place, t, i, j, &mine.pair.score[i][j])) {
            const m2s_softmax known = softmax[m2s_softmax_at(p.of, r.unit, t.block_y, query)];
            *share = expf(mine.pair.score[i][j] - known.greatest) * known.inverse;
            *slope = p.of.alpha * *share * (mine.pair.back[i][j] - known.mean);
        }
    }

    template <class Place>
    M2S_HD void weigh_all(const m2s_attention_round &r, const Place &place, const m2s_thread &t, float *weights,
                          own &mine) const
    {
        M2S_UNROLL
        for (int i = 0; i < 2; i++) {
            float *to = weights + (2 * (t.thread >> 3) + i) * M2S_ATTENTION_PITCH + 4 * (t.thread & 7);
            float share[4], slope[4];
            M2S_UNROLL
            for (int j = 0; j < 4; j++) {
                weigh(r, place, t, i, j, mine, &share[j], &slope[j]);
            }
            m2s_store<4>(to, slope);
            if (KEYS) {
                m2s_store<4>(to + weight_floats, share);
            }
        }
    }

    M2S_HD void run(int round, int phase, const m2s_thread &t, own &mine, char *shared) const
    {
        float *tiles = reinterpret_cast<float *>(shared), *weights = tiles + pairs::floats;
        const m2s_attention_round r = m2s_attention_round_at(p.cut, t, round, M2S_ATTENTION_ROWS);
        const auto place = p.of.at(r.unit, t.block_y);

        if (phase == 0) {
            p.load(r, place, round == 0 || p.cut.chunks > 1, t, tiles);
        } else if (phase == 1) {
            p.multiply(r, t, tiles, mine.pair);
            if (r.last) {
                weigh_all(r, place, t, weights, mine);
            }
        } else if (r.last) {
            const int x = t.thread & 15, y = t.thread >> 4, rows = KEYS ? p.of.keys : p.of.queries;
            const float *columns = tiles + 2 * pairs::tile_floats + x * M2S_ATTENTION_PITCH;
            const float *weight = weights + 4 * y * M2S_ATTENTION_PITCH;
            M2S_UNROLL
            for (int s = 0; s < sums; s++) {
                m2s_add_weighted<each, M2S_ATTENTION_PITCH>(weight + s * weight_floats,
                                                            columns + s * pairs::tile_floats, 32, mine.sum[s]);
            }
            M2S_UNROLL
            for (int i = 0; i < 4; i++) {
                if (round == rounds() - 1 && r.row + 4 * y + i < rows) {
                    M2S_UNROLL
                    for (int s = 0; s < sums; s++) {
                        const m2s_attention_what what = s == 1 ? M2S_ATTENTION_VALUE
                                                        : KEYS ? M2S_ATTENTION_KEY
                                                               : M2S_ATTENTION_QUERY;
                        p.of.template put<each>(what, place, r.part, r.row + 4 * y + i, r.chunk * D + x,
                                                mine.sum[s][i]);
                    }
                }
            }
        }
    }
};

/* Softmaxes of all queries, into memory of m2s_softmax_bytes. */
template <int D, class Places>
int m2s_launch_attention_statistics(const m2s_cuda_call *call, const Places &of, int64_t units, m2s_softmax *softmax)
{
    const m2s_attention_cut cut = m2s_attention_cut_of(of.queries, of.keys, M2S_ATTENTION_ROWS, 1, of.width, D);
    const m2s_attention_statistics<Places, D> body = { { of, cut }, softmax };
    m2s_cuda_grid grid = m2s_attention_grid(cut, units, of.heads);

    grid.z = 1; /* no result has channels */
    return m2s_cuda_launch_rounds(call, body, grid, body.shared_bytes);
}

/* parts: of a unit's queries, for the gradients of keys and values. */
template <int D, class Places>
int m2s_launch_attention_back(const m2s_cuda_call *call, const Places &of, int64_t units, int parts,
                              const m2s_softmax *softmax)
{
    const m2s_attention_cut queries = m2s_attention_cut_of(of.queries, of.keys, M2S_ATTENTION_ROWS, 1, of.width, D);
    const m2s_attention_cut keys = m2s_attention_cut_of(of.keys, of.queries, M2S_ATTENTION_ROWS, parts, of.width, D);
    const m2s_attention_back<Places, D, false> of_queries = { { of, queries }, softmax };
    const m2s_attention_back<Places, D, true> of_keys = { { of, keys }, softmax };
    int error =
        m2s_cuda_launch_rounds(call, of_queries, m2s_attention_grid(queries, units, of.heads), of_queries.shared_bytes);

    return error != 0
               ? error
               : m2s_cuda_launch_rounds(call, of_keys, m2s_attention_grid(keys, units, of.heads), of_keys.shared_bytes);
}

#endif

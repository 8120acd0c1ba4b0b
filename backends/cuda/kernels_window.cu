/* SPDX-License-Identifier: Apache-2.0
 * Attention within windows, and its gradient. Padded, rolled and cut maps are never made: a window's pixels are looked
 * up where they are. */
#include "backends/cuda/attention_grad.cuh"
#include "backends/cuda/channel_totals.cuh"
#include "backends/cuda/each.cuh"
#include "backends/cuda/runtime.h"
#include "graph/windows.h"

namespace
{

constexpr int DEPTH = 32; /* channels of a tile: what heads of Swin have */

/* Windows are units, counted through all images; keys are queries. As graph/windows.h has it. */
template <class T> struct window_places {
    int queries, keys, heads, width;
    bool vectors;
    float alpha;
    int h, w, side, shift_y, shift_x;
    m2s_divisor by_side, columns, rows; /* of windows */
    const T *qkv, *pad, *diff_map;      /* pad may be NULL */
    const float *table;
    T *result; /* or the gradient of qkv */
    float
        *pad_pieces; /* gradients of keys and values of padding, (padding of an image by image, 2 channels); or NULL */

    struct place {
        int64_t image;
        int top, left; /* in the rolled map */
        int head;
        bool last_row, last_column; /* of windows, where rolling has brought pixels together */
    };

    M2S_HD int channels() const
    {
        return heads * width;
    }

    M2S_HD place at(int64_t unit, int head) const
    {
        const int64_t row = m2s_quotient(unit, columns), image = m2s_quotient(row, rows);
        const int y = static_cast<int>(row - image * rows.by), x = static_cast<int>(unit - row * columns.by);

        return place{ image,
                      y * side,
                      x * side,
                      head,
                      shift_y > 0 && y == static_cast<int>(rows.by) - 1,
                      shift_x > 0 && x == static_cast<int>(columns.by) - 1 };
    }

    M2S_HD int row_of(int i) const
    {
        return static_cast<int>(m2s_quotient(i, by_side));
    }

    /* Where pixel i of a window is in the padded map. */
    M2S_HD void find(const place &p, int i, int *y, int *x) const
    {
        const int down = row_of(i), padded_h = static_cast<int>(rows.by) * side;
        const int padded_w = static_cast<int>(columns.by) * side;

        *y = p.top + down + shift_y;
        *x = p.left + i - down * side + shift_x;
        *y -= *y < padded_h ? 0 : padded_h;
        *x -= *x < padded_w ? 0 : padded_w;
    }

    /* Pixel i of a window, counted through all images, or -1: it is padding. */
    M2S_HD int64_t pixel(const place &p, int i) const
    {
        int y, x;

        find(p, i, &y, &x);
        return y < h && x < w ? (p.image * h + y) * w + x : -1;
    }

    M2S_HD const T *third(const place &p, int i, int which) const
    {
        const int64_t at = pixel(p, i);
        const int channel = which * channels() + p.head * width;

        return at >= 0 ? qkv + at * 3 * channels() + channel : pad != nullptr ? pad + channel : nullptr;
    }

    M2S_HD const T *query(const place &p, int i) const
    {
        return third(p, i, 0);
    }

    M2S_HD const T *key(const place &p, int j) const
    {
        return third(p, j, 1);
    }

    M2S_HD const T *value(const place &p, int j) const
    {
        return third(p, j, 2);
    }

    /* Nothing comes back to what is cut away. */
    M2S_HD const T *diff(const place &p, int i) const
    {
        const int64_t at = pixel(p, i);

        return at >= 0 ? diff_map + at * channels() + p.head * width : nullptr;
    }

    /* Whether rolling has brought two pixels of a window together. */
    M2S_HD bool are_far(const place &p, int yi, int xi, int yj, int xj) const
    {
        return (p.last_row && (yi >= side - shift_y) != (yj >= side - shift_y)) ||
               (p.last_column && (xi >= side - shift_x) != (xj >= side - shift_x));
    }

    M2S_HD float score(const place &p, int i, int j, float dot) const
    {
        const int yi = row_of(i), yj = row_of(j), xi = i - yi * side, xj = j - yj * side;
        const int offset = (yi - yj + side - 1) * (2 * side - 1) + xi - xj + side - 1;

        return fmaf(alpha, dot, table[offset * heads + p.head]) +
               (are_far(p, yi, xi, yj, xj) ? static_cast<float>(M2S_WINDOW_FAR) : 0.0f);
    }

    /* Pixels of padding in an image: those below the map, then those beside it. */
    M2S_HD int64_t padding() const
    {
        return static_cast<int64_t>(rows.by) * side * columns.by * side - static_cast<int64_t>(h) * w;
    }

    M2S_HD int64_t padding_at(int y, int x) const
    {
        const int64_t padded_h = static_cast<int64_t>(rows.by) * side;
        const int64_t padded_w = static_cast<int64_t>(columns.by) * side;

        return y >= h ? (y - h) * padded_w + x : (padded_h - h) * padded_w + y * (padded_w - w) + x - w;
    }

    template <int EACH>
    M2S_HD void put(m2s_attention_what what, const place &p, int, int i, int channel, const float (&values)[EACH]) const
    {
        const int first = p.head * width;
        const int64_t to = pixel(p, i);

        if (what == M2S_ATTENTION_RESULT) {
            if (to >= 0) {
                m2s_put_channels<EACH>(result + to * channels() + first, channel, width, values);
            }
            return;
        }
        const int which = what == M2S_ATTENTION_VALUE ? 2 : what == M2S_ATTENTION_KEY ? 1 : 0;
        if (to >= 0) {
            m2s_put_channels<EACH>(result + (to * 3 + which) * channels() + first, channel, width, values);
        } else if (which > 0 && pad_pieces != nullptr) {
            int y, x;
            find(p, i, &y, &x);
            float *piece = pad_pieces + ((p.image * padding() + padding_at(y, x)) * 2 + which - 1) * channels();
            m2s_put_channels<EACH>(piece + first, channel, width, values);
        }
    }
};

/* args->in[first] is qkv, then table, [pad]. */
template <class T> window_places<T> places_of(const m2s_ref_args *args, int32_t first, void *result)
{
    const m2s_shape shape = args->in_shape[first];
    const m2s_window_map map = m2s_window_map_of(shape, args->attrs);
    const void *diff = first > 0 ? args->in[0] : nullptr;
    const void *pad = args->in_count > first + 2 ? args->in[first + 2] : nullptr;
    window_places<T> of = {};

    of.queries = of.keys = static_cast<int>(map.pixels);
    of.heads = args->attrs->groups;
    of.width = static_cast<int>(shape.c / 3) / of.heads;
    of.vectors = of.width % 4 == 0 && m2s_is_aligned(args->in[first], 4, sizeof(T)) &&
                 m2s_is_aligned(pad, 4, sizeof(T)) && m2s_is_aligned(diff, 4, sizeof(T));
    of.alpha = static_cast<float>(args->attrs->alpha);
    of.h = static_cast<int>(map.h);
    of.w = static_cast<int>(map.w);
    of.side = static_cast<int>(map.side);
    of.shift_y = static_cast<int>(map.shift_y);
    of.shift_x = static_cast<int>(map.shift_x);
    of.by_side = m2s_divisor_of(map.side);
    of.columns = m2s_divisor_of(map.columns);
    of.rows = m2s_divisor_of(map.rows);
    of.qkv = static_cast<const T *>(args->in[first]);
    of.pad = static_cast<const T *>(pad);
    of.diff_map = static_cast<const T *>(diff);
    of.table = static_cast<const float *>(args->in[first + 1]);
    of.result = static_cast<T *>(result);
    return of;
}

int64_t windows_of(m2s_shape shape, const m2s_attrs *attrs)
{
    const m2s_window_map map = m2s_window_map_of(shape, attrs);

    return shape.n * map.rows * map.columns;
}

int launch_window_attention(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;

    return m2s_with_storage(call, [&](auto zero) {
        const auto of = places_of<decltype(zero)>(args, 0, args->out[0]);
        return m2s_launch_attention<DEPTH>(call, of, windows_of(args->in_shape[0], args->attrs));
    });
}

/* ---- gradient of the position table: blocks of some windows each, a head at a time; then their sums. In shared
 * memory: the tiles, the gradients of scores (query, key), the sums, each of which is one thread's ---- */

template <class Places> struct table_body {
    using pairs = m2s_attention_pairs<Places, DEPTH, false>;
    static constexpr int phases = 3, threads = M2S_ATTENTION_THREADS;
    static constexpr int weight_floats = M2S_ATTENTION_ROWS * M2S_ATTENTION_PITCH;

    pairs p;
    const m2s_softmax *softmax;
    double *partial; /* (part, head, offset) */
    int64_t windows;
    int each;  /* windows of a block */
    int tiles; /* of a window's pixels */

    using own = typename pairs::own;

    M2S_HD int rounds() const
    {
        return each * tiles * tiles * p.cut.chunks;
    }

    M2S_HD int offsets() const
    {
        return (2 * p.of.side - 1) * (2 * p.of.side - 1);
    }

    /* The part of a tile's pairs that offset o is between. */
    M2S_HD double gather(const m2s_attention_round &r, const float *weights, int o) const
    {
        const int side = p.of.side, down = o / (2 * side - 1), right = o - down * (2 * side - 1);
        double sum = 0.0;

        for (int i = r.row; i < r.row + M2S_ATTENTION_ROWS && i < p.of.queries; i++) {
            const int yi = p.of.row_of(i), y = yi - down + side - 1, x = i - yi * side - right + side - 1;
            const int j = y * side + x - r.column;
            if (y >= 0 && y < side && x >= 0 && x < side && j >= 0 && j < M2S_ATTENTION_ROWS) {
                sum += static_cast<double>(weights[(i - r.row) * M2S_ATTENTION_PITCH + j]);
            }
        }
        return sum;
    }

    M2S_HD void run(int round, int phase, const m2s_thread &t, own &mine, char *shared) const
    {
        float *tile = reinterpret_cast<float *>(shared), *weights = tile + pairs::floats;
        double *sums = reinterpret_cast<double *>(weights + weight_floats);
        const int chunks = p.cut.chunks, at = round / chunks, step = round - at * chunks, window = at / (tiles * tiles);
        const int pair = at - window * tiles * tiles;
        m2s_attention_round r = {};

        r.unit = static_cast<int64_t>(t.block) * each + window;
        r.row = pair / tiles * M2S_ATTENTION_ROWS;
        r.column = pair % tiles * M2S_ATTENTION_ROWS;
        r.chunk = step;
        r.first = step == 0;
        r.last = step == chunks - 1;
        for (int o = t.thread; o < offsets() && phase == 0 && round == 0; o += threads) {
            sums[o] = 0.0;
        }
        if (r.unit < windows) {
            const auto place = p.of.at(r.unit, t.block_y);
            if (phase == 0) {
                p.load(r, place, true, t, tile);
            } else if (phase == 1) {
                p.multiply(r, t, tile, mine);
                M2S_UNROLL
                for (int i = 0; i < 2; i++) {
                    const int row = 2 * (t.thread >> 3) + i;
                    float slope[4] = {};
                    M2S_UNROLL
                    for (int j = 0; j < 4; j++) {
                        if (r.last && p.finish(r, place, t, i, j, &mine.score[i][j])) {
                            const m2s_softmax known = softmax[m2s_softmax_at(p.of, r.unit, t.block_y, r.row + row)];
                            slope[j] = expf(mine.score[i][j] - known.greatest) * known.inverse *
                                       (mine.back[i][j] - known.mean);
                        }
                    }
                    m2s_store<4>(weights + row * M2S_ATTENTION_PITCH + 4 * (t.thread & 7), slope); /* the last counts */
                }
            }
        }
        for (int o = t.thread; o < offsets() && phase == 2 && r.last; o += threads) {
            sums[o] += r.unit < windows ? gather(r, weights, o) : 0.0;
            if (round == rounds() - 1) {
                partial[(static_cast<int64_t>(t.block) * p.of.heads + t.block_y) * offsets() + o] = sums[o];
            }
        }
    }
};

struct table_rule {
    const double *partial;
    float *table;
    int parts, heads, offsets;

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        const int64_t offset = i / heads, head = i - offset * heads;
        double sum = 0.0;

        static_assert(WIDTH == 1, "numbers one by one");
        for (int part = 0; part < parts; part++) {
            sum += partial[(static_cast<int64_t>(part) * heads + head) * offsets + offset];
        }
        table[i] = static_cast<float>(sum);
    }
};

/* Windows of a block, and blocks. */
struct table_cut {
    int each, parts;
};

table_cut cut_table(m2s_shape shape, const m2s_attrs *attrs)
{
    const int64_t windows = windows_of(shape, attrs);
    const int64_t most = attrs->groups < M2S_ATTENTION_BLOCKS ? M2S_ATTENTION_BLOCKS / attrs->groups : 1;
    const int64_t each = (windows + most - 1) / most;

    return table_cut{ static_cast<int>(each), static_cast<int>((windows + each - 1) / each) };
}

template <class T>
int launch_table(const m2s_cuda_call *call, const window_places<T> &of, const m2s_softmax *softmax, double *partial)
{
    const m2s_ref_args *args = call->args;
    const table_cut cut = cut_table(args->in_shape[1], args->attrs);
    const int tiles = (of.queries + M2S_ATTENTION_ROWS - 1) / M2S_ATTENTION_ROWS;
    table_body<window_places<T>> body = { { of, {} }, softmax, partial, windows_of(args->in_shape[1], args->attrs),
                                          cut.each,   tiles };

    body.p.cut.chunks = (of.width + DEPTH - 1) / DEPTH;
    const int offsets = body.offsets();
    const size_t bytes =
        sizeof(float) * (body.p.floats + body.weight_floats) + sizeof(double) * static_cast<size_t>(offsets);
    int error = m2s_cuda_launch_rounds(call, body, m2s_cuda_grid{ cut.parts, of.heads, 1 }, bytes);
    const table_rule rule = { partial, static_cast<float *>(args->out[1]), cut.parts, of.heads, offsets };
    return error != 0 ? error : m2s_launch_each<1>(call, rule, static_cast<int64_t>(offsets) * of.heads);
}

/* ---- gradient of the padding: its keys' and values', pixel by pixel; its queries are not asked for ---- */

struct pad_sums {
    static constexpr int sums = 1, constants = 1;

    const float *pieces;

    M2S_HD void prepare(int, int, float *made) const
    {
        made[0] = 0.0f;
    }

    template <int WIDTH>
    M2S_HD void at(const float (&)[constants][WIDTH], int64_t offset, double (&sum)[sums][WIDTH]) const
    {
        float x[WIDTH];

        m2s_load<WIDTH>(pieces + offset, x);
        for (int i = 0; i < WIDTH; i++) {
            sum[0][i] += static_cast<double>(x[i]);
        }
    }
};

struct pad_finish {
    static constexpr int sums = 1;

    float *pad;
    int channels;

    M2S_HD void column(int, int channel, const double (&total)[sums]) const
    {
        pad[channels + channel] = static_cast<float>(total[0]);
    }
};

int launch_pad(const m2s_cuda_call *call, const float *pieces, int64_t pixels, double *partial)
{
    const m2s_ref_args *args = call->args;
    const int64_t channels = args->in_shape[1].c / 3;
    float *pad = static_cast<float *>(args->out[2]);
    const void *places[] = { pieces };
    const int error =
        m2s_cuda_fill(call->stream, pad, 0, static_cast<size_t>(pixels > 0 ? channels : 3 * channels) * sizeof(float));

    return error != 0 || pixels == 0 ? error
                                     : m2s_launch_channel_totals<float>(call, pad_sums{ pieces },
                                                                        pad_finish{ pad, static_cast<int>(channels) },
                                                                        pixels, 2 * channels, places, 1, partial);
}

/* ---- gradient ---- */

/* Parts of the scratch, in bytes from its beginning. */
struct grad_parts {
    size_t table, pieces, sums, end;
    int64_t padding; /* pixels in all images; 0: nobody asks */
};

grad_parts parts_of(const m2s_ref_args *args)
{
    const m2s_shape shape = args->in_shape[1];
    const m2s_window_map map = m2s_window_map_of(shape, args->attrs);
    const int64_t offsets = (2 * map.side - 1) * (2 * map.side - 1), heads = args->attrs->groups;
    const bool all = args->attrs->frozen == 0;
    grad_parts parts = {};

    parts.table =
        m2s_softmax_bytes(shape.n * map.rows * map.columns, static_cast<int>(heads), static_cast<int>(map.pixels));
    parts.pieces = parts.table;
    if (all) {
        const int64_t rows = cut_table(shape, args->attrs).parts * heads * offsets;
        parts.pieces += (static_cast<size_t>(rows) * sizeof(double) + 15) / 16 * 16;
    }
    if (all && args->out_count > 2) {
        parts.padding = shape.n * (map.rows * map.columns * map.pixels - map.h * map.w);
    }
    const int64_t numbers = parts.padding * 2 * (shape.c / 3);
    parts.sums = parts.pieces + (static_cast<size_t>(numbers) * sizeof(float) + 15) / 16 * 16;
    parts.end = parts.sums;
    if (parts.padding > 0) {
        parts.end += m2s_channel_partial_bytes(parts.padding, 2 * (shape.c / 3), 1);
    }
    return parts;
}

size_t window_attention_grad_bytes(const m2s_ref_args *args, m2snet_dtype storage)
{
    (void)storage;
    return parts_of(args).end;
}

int launch_window_attention_grad(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const int64_t windows = windows_of(args->in_shape[1], args->attrs);
    const grad_parts parts = parts_of(args);
    char *scratch = static_cast<char *>(args->scratch);
    m2s_softmax *softmax = reinterpret_cast<m2s_softmax *>(scratch);
    float *pieces = reinterpret_cast<float *>(scratch + parts.pieces);

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        window_places<T> of = places_of<T>(args, 1, args->out[0]);
        of.pad_pieces = parts.padding > 0 ? pieces : nullptr;
        int error = m2s_launch_attention_statistics<DEPTH>(call, of, windows, softmax);
        error = error != 0 ? error : m2s_launch_attention_back<DEPTH>(call, of, windows, 1, softmax);
        if (error == 0 && args->attrs->frozen == 0) {
            error = launch_table<T>(call, of, softmax, reinterpret_cast<double *>(scratch + parts.table));
        }
        if (error == 0 && args->attrs->frozen == 0 && args->out_count > 2) {
            error = launch_pad(call, pieces, parts.padding, reinterpret_cast<double *>(scratch + parts.sums));
        }
        return error;
    });
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_window_attention = { nullptr, launch_window_attention, true };
const m2s_cuda_kernel m2s_cuda_window_attention_grad = { window_attention_grad_bytes, launch_window_attention_grad,
                                                         true };
}

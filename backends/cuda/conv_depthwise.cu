/* SPDX-License-Identifier: Apache-2.0
 * Convolutions with one channel a group, and their gradients. They move numbers more than they multiply: neighbouring
 * threads have neighbouring channels, and a thread makes several pixels of a row, so that it reads a number once for
 * all of the row's places of the window. The gradient of the source, with stride 1, is such a convolution with the
 * window turned around. Windows 7 and 3 wide, those of ConvNeXt and PVTv2, are known to the compiler. */
#include "backends/cuda/columns.cuh"
#include "backends/cuda/conv.h"
#include "backends/cuda/pixels.cuh"

namespace
{

constexpr int THREADS = 256;
constexpr int LANES = 32;    /* vectors of channels that a block has side by side, at most */
constexpr int BLOCKS = 2112; /* sixteen for each multiprocessor of the largest devices */

/* ---- y, or the gradient of x ---- */

/* As a convolution of (h, w) into (oh, ow). */
struct window {
    int h, w, oh, ow, channels;
    int kh, kw, stride, pad, dilation;
    bool turned;
    int lanes;                /* of a block */
    m2s_divisor across, down; /* runs of pixels in a row, rows */
    int64_t runs;             /* in all */
};

/* SIDE 0: a window of any kind. Shared memory: the block's weights, (place of the window, channel). */
template <class T, int SIDE, int RUN, int WIDTH> struct map_body {
    static constexpr int phases = 2;

    window of;
    const T *src, *weights, *bias, *residual; /* the last two may be NULL */
    T *dst;
    bool relu;

    M2S_HD int pitch() const
    {
        return of.lanes * WIDTH + 4;
    }

    M2S_HD void load_weights(const m2s_thread &t, float *tap) const
    {
        const int taps = of.kh * of.kw, first = t.block_y * of.lanes * WIDTH;
        const int left = of.channels - first, count = left < of.lanes * WIDTH ? left : of.lanes * WIDTH;

        for (int i = t.thread; i < count * taps; i += t.threads) {
            const int c = i / taps, k = i - c * taps;
            tap[(of.turned ? taps - 1 - k : k) * pitch() + c] = m2s_to_float(weights[first * taps + i]);
        }
    }

    /* Adds a row of the window to RUN pixels. */
    M2S_HD void add_row(const T *row, const float *tap, int x0, float (&sum)[RUN][WIDTH]) const
    {
        float weight[SIDE][WIDTH];

        M2S_UNROLL
        for (int k = 0; k < SIDE; k++) {
            m2s_load<WIDTH>(tap + k * pitch(), weight[k]);
        }
        M2S_UNROLL
        for (int i = 0; i < RUN + SIDE - 1; i++) {
            const int x = x0 - of.pad + i;
            float value[WIDTH] = {};
            if (x >= 0 && x < of.w) {
                m2s_load<WIDTH>(row + static_cast<int64_t>(x) * of.channels, value);
            }
            M2S_UNROLL
            for (int k = 0; k < SIDE; k++) {
                if (i - k >= 0 && i - k < RUN) {
                    M2S_UNROLL
                    for (int j = 0; j < WIDTH; j++) {
                        sum[i - k][j] = fmaf(value[j], weight[k][j], sum[i - k][j]);
                    }
                }
            }
        }
    }

    M2S_HD void add_any_row(const T *row, const float *tap, int x0, float (&sum)[RUN][WIDTH]) const
    {
        for (int k = 0; k < of.kw; k++) {
            const int x = x0 * of.stride - of.pad + k * of.dilation;
            float value[WIDTH], weight[WIDTH];
            if (x >= 0 && x < of.w) {
                m2s_load<WIDTH>(row + static_cast<int64_t>(x) * of.channels, value);
                m2s_load<WIDTH>(tap + k * pitch(), weight);
                for (int j = 0; j < WIDTH; j++) {
                    sum[0][j] = fmaf(value[j], weight[j], sum[0][j]);
                }
            }
        }
    }

    M2S_HD void store(int64_t line, int x0, int channel, const float (&sum)[RUN][WIDTH]) const
    {
        M2S_UNROLL
        for (int p = 0; p < RUN; p++) {
            const int64_t at = (line * of.ow + x0 + p) * of.channels + channel;
            float value[WIDTH], more[WIDTH] = {}, rest[WIDTH] = {};
            if (x0 + p >= of.ow) {
                return;
            }
            if (bias != nullptr) {
                m2s_load<WIDTH>(bias + channel, more);
            }
            if (residual != nullptr) {
                m2s_load<WIDTH>(residual + at, rest);
            }
            M2S_UNROLL
            for (int j = 0; j < WIDTH; j++) {
                value[j] = sum[p][j] + more[j] + rest[j];
                value[j] = relu && value[j] < 0.0f ? 0.0f : value[j];
            }
            m2s_store<WIDTH>(dst + at, value);
        }
    }

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        float *tap = reinterpret_cast<float *>(shared);
        const int rows = t.threads / of.lanes, row = t.thread / of.lanes, lane = t.thread - row * of.lanes;
        const int channel = (t.block_y * of.lanes + lane) * WIDTH;

        if (phase == 0) {
            load_weights(t, tap);
            return;
        }
        if (row >= rows || channel >= of.channels) {
            return;
        }
        tap += lane * WIDTH;
        for (int64_t r = static_cast<int64_t>(t.block) * rows + row; r < of.runs;
             r += static_cast<int64_t>(t.blocks) * rows) {
            const int64_t line = m2s_quotient(r, of.across), image = m2s_quotient(line, of.down);
            const int x0 = static_cast<int>(r - line * of.across.by) * RUN;
            const int y0 = static_cast<int>(line - image * of.down.by) * of.stride - of.pad;
            float sum[RUN][WIDTH] = {};
            for (int k = 0; k < (SIDE == 0 ? of.kh : SIDE); k++) {
                const int y = y0 + k * (SIDE == 0 ? of.dilation : 1);
                if (y < 0 || y >= of.h) {
                    continue;
                }
                const T *from = src + (image * of.h + y) * of.w * of.channels + channel;
                if constexpr (SIDE == 0) {
                    add_any_row(from, tap + k * of.kw * pitch(), x0, sum);
                } else {
                    add_row(from, tap + k * SIDE * pitch(), x0, sum);
                }
            }
            store(line, x0, channel, sum);
        }
    }
};

/* What the problem is as a map: a gradient's source and result change places. */
window window_of(const m2s_conv_problem &p)
{
    const bool turned = p.kind == M2S_CONV_GRAD_X;
    window of = {};

    of.h = turned ? p.oh : p.h;
    of.w = turned ? p.ow : p.w;
    of.oh = turned ? p.h : p.oh;
    of.ow = turned ? p.w : p.ow;
    of.channels = p.c;
    of.kh = p.kh;
    of.kw = p.kw;
    of.stride = p.stride;
    of.pad = turned ? p.dilation * (p.kh - 1) - p.pad : p.pad;
    of.dilation = p.dilation;
    of.turned = turned;
    return of;
}

template <class T, int SIDE, int RUN, int WIDTH>
int launch_map(const m2s_cuda_call *call, const m2s_conv_problem &p, const m2s_conv_data *data)
{
    const bool turned = p.kind == M2S_CONV_GRAD_X;
    map_body<T, SIDE, RUN, WIDTH> body = { window_of(p),
                                           static_cast<const T *>(turned ? data->y : data->x),
                                           static_cast<const T *>(data->weights),
                                           static_cast<const T *>(p.bias ? data->bias : nullptr),
                                           static_cast<const T *>(p.residual ? data->residual : nullptr),
                                           static_cast<T *>(turned ? data->x : data->y),
                                           p.relu };
    window &of = body.of;
    const int vectors = p.c / WIDTH, blocks = (vectors + LANES - 1) / LANES;
    const int across = (of.ow + RUN - 1) / RUN;

    of.lanes = (vectors + blocks - 1) / blocks;
    of.across = m2s_divisor_of(across);
    of.down = m2s_divisor_of(of.oh);
    of.runs = static_cast<int64_t>(p.n) * of.oh * across;
    const int rows = THREADS / of.lanes, most = blocks < BLOCKS ? BLOCKS / blocks : 1;
    const int64_t wanted = (of.runs + rows - 1) / rows;
    const m2s_cuda_grid grid = { static_cast<int>(wanted < most ? wanted : most), blocks, 1 };
    return m2s_cuda_launch(call, body, grid, THREADS, sizeof(float) * static_cast<size_t>(p.kh * p.kw * body.pitch()));
}

/* Whether the window's side may be SIDE for the compiler. */
bool is_plain(const m2s_conv_problem &p, int side)
{
    return p.kh == side && p.kw == side && p.stride == 1 && p.dilation == 1;
}

template <class T> int launch_map_of(const m2s_cuda_call *call, const m2s_conv_problem &p, const m2s_conv_data *data)
{
    const void *places[] = { data->x, data->y, p.residual ? data->residual : nullptr, p.bias ? data->bias : nullptr };
    const int64_t channels = p.c;
    const bool fours = m2s_width_of(sizeof(T), &channels, 1, places, 4) >= 4;
    const int ow = p.kind == M2S_CONV_GRAD_X ? p.w : p.ow;

    if (is_plain(p, 7) && ow > 16) { /* in narrow maps, long runs end beyond the row */
        return fours ? launch_map<T, 7, 8, 4>(call, p, data) : launch_map<T, 7, 8, 1>(call, p, data);
    }
    if (is_plain(p, 7)) {
        return fours ? launch_map<T, 7, 4, 4>(call, p, data) : launch_map<T, 7, 4, 1>(call, p, data);
    }
    if (is_plain(p, 3)) {
        return fours ? launch_map<T, 3, 4, 4>(call, p, data) : launch_map<T, 3, 4, 1>(call, p, data);
    }
    return fours ? launch_map<T, 0, 1, 4>(call, p, data) : launch_map<T, 0, 1, 1>(call, p, data);
}

/* ---- the gradient of the weights: a block has LANES channels and some rows of y; a thread has one row of the window
 * of a channel, and goes along the rows ---- */

constexpr int GRAD_BLOCKS = 528; /* four for each multiprocessor of the largest devices */
constexpr int GRAD_RUN = 8;

struct row_cut {
    int blocks;       /* of channels */
    int chunks, each; /* of rows; rows of a chunk */
};

row_cut cut_rows(const m2s_conv_problem &p)
{
    row_cut cut;
    const int lines = p.n * p.oh;

    cut.blocks = (p.c + LANES - 1) / LANES;
    const int most = cut.blocks < GRAD_BLOCKS ? GRAD_BLOCKS / cut.blocks : 1;
    cut.chunks = lines < most ? lines : most;
    cut.each = (lines + cut.chunks - 1) / cut.chunks;
    cut.chunks = (lines + cut.each - 1) / cut.each;
    return cut;
}

template <class T, int SIDE> struct weights_body {
    static constexpr int phases = 1;

    m2s_conv_problem p;
    const T *x, *y;
    double *partial; /* (chunk, place of the window, channel) */
    m2s_divisor down;
    int each;

    /* Adds what a row of y times one of x gives each place of the window's row. */
    M2S_HD void add_row(const T *row, const T *diff, float (&sum)[SIDE]) const
    {
        for (int x0 = 0; x0 < p.ow; x0 += GRAD_RUN) {
            float g[GRAD_RUN];
            M2S_UNROLL
            for (int i = 0; i < GRAD_RUN; i++) {
                g[i] = x0 + i < p.ow ? m2s_to_float(diff[static_cast<int64_t>(x0 + i) * p.c]) : 0.0f;
            }
            M2S_UNROLL
            for (int i = 0; i < GRAD_RUN + SIDE - 1; i++) {
                const int at = x0 - p.pad + i;
                const float value = at >= 0 && at < p.w ? m2s_to_float(row[static_cast<int64_t>(at) * p.c]) : 0.0f;
                M2S_UNROLL
                for (int k = 0; k < SIDE; k++) {
                    if (i - k >= 0 && i - k < GRAD_RUN) {
                        sum[k] = fmaf(value, g[i - k], sum[k]);
                    }
                }
            }
        }
    }

    M2S_HD void run(int, const m2s_thread &t, char *) const
    {
        const int ky = t.thread / LANES, channel = t.block_y * LANES + t.thread % LANES;
        const int64_t begin = static_cast<int64_t>(t.block) * each, lines = static_cast<int64_t>(p.n) * p.oh;
        const int64_t end = begin + each < lines ? begin + each : lines;
        double sum[SIDE] = {};

        if (channel >= p.c) {
            return;
        }
        for (int64_t line = begin; line < end; line++) {
            const int64_t image = m2s_quotient(line, down);
            const int from = static_cast<int>(line - image * p.oh) - p.pad + ky;
            float part[SIDE] = {};
            if (from < 0 || from >= p.h) {
                continue;
            }
            add_row(x + (image * p.h + from) * p.w * p.c + channel, y + line * p.ow * p.c + channel, part);
            M2S_UNROLL
            for (int k = 0; k < SIDE; k++) {
                sum[k] += static_cast<double>(part[k]);
            }
        }
        double *to = partial + (static_cast<int64_t>(t.block) * SIDE + ky) * SIDE * p.c + channel;
        M2S_UNROLL
        for (int k = 0; k < SIDE; k++) {
            to[static_cast<int64_t>(k) * p.c] = sum[k];
        }
    }
};

/* Columns are places of the window by channels. */
template <class T> struct weights_finish {
    static constexpr int sums = 1;

    T *weights; /* (channel, place) */
    int taps, channels;

    M2S_HD void column(int, int i, const double (&total)[sums]) const
    {
        const int tap = i / channels, channel = i - tap * channels;

        weights[channel * taps + tap] = m2s_from_float<T>(static_cast<float>(total[0]));
    }
};

template <class T, int SIDE>
int launch_weights(const m2s_cuda_call *call, const m2s_conv_problem &p, const m2s_conv_data *data)
{
    const row_cut cut = cut_rows(p);
    double *partial = static_cast<double *>(data->workspace);
    const weights_body<T, SIDE> body = {
        p, static_cast<const T *>(data->x), static_cast<const T *>(data->y), partial, m2s_divisor_of(p.oh), cut.each
    };
    const weights_finish<T> finish = { static_cast<T *>(data->weights), SIDE * SIDE, p.c };
    m2s_columns columns = {};
    const int error = m2s_cuda_launch(call, body, m2s_cuda_grid{ cut.chunks, cut.blocks, 1 }, LANES * SIDE, 0);

    columns.images = 1;
    columns.channels = SIDE * SIDE * p.c;
    columns.chunks = cut.chunks;
    return error != 0 ? error : m2s_launch_column_totals(call, finish, columns, partial);
}

/* ---- the provider ---- */

template <class T> int launch_as(const m2s_cuda_call *call, const m2s_conv_problem &p, const m2s_conv_data *data)
{
    if (p.kind == M2S_CONV_GRAD_WEIGHTS) {
        return p.kh == 7 ? launch_weights<T, 7>(call, p, data) : launch_weights<T, 3>(call, p, data);
    }
    return launch_map_of<T>(call, p, data);
}

int launch(const m2s_prepared_conv *conv, const m2s_cuda_call *call, const m2s_conv_data *data)
{
    const m2s_conv_problem &p = conv->problem;

    return p.storage == M2SNET_DTYPE_F16    ? launch_as<m2s_f16>(call, p, data)
           : p.storage == M2SNET_DTYPE_BF16 ? launch_as<m2s_bf16>(call, p, data)
                                            : launch_as<float>(call, p, data);
}

void destroy(m2s_memory *memory, m2s_prepared_conv *conv)
{
    m2s_free(memory, conv);
}

bool is_ours(const m2s_conv_problem &p)
{
    if (p.groups < 2 || p.groups != p.c || p.oc != p.c) {
        return false;
    }
    switch (p.kind) {
    case M2S_CONV_FORWARD: /* the weights of a block must find room */
        return sizeof(float) * static_cast<size_t>(p.kh * p.kw) * (4 * LANES + 4) <= M2S_CUDA_MAX_SHARED;
    case M2S_CONV_GRAD_X:
        return p.stride == 1 && p.kh == p.kw && p.dilation * (p.kh - 1) >= p.pad &&
               sizeof(float) * static_cast<size_t>(p.kh * p.kw) * (4 * LANES + 4) <= M2S_CUDA_MAX_SHARED;
    default:
        return is_plain(p, 7) || is_plain(p, 3);
    }
}

} // namespace

extern "C" m2snet_status m2s_conv_depthwise_create(m2s_memory *memory, const m2s_conv_problem *problem,
                                                   m2s_prepared_conv **created, m2snet_error *error)
{
    *created = nullptr;
    if (!is_ours(*problem)) {
        return M2SNET_STATUS_OK;
    }
    m2s_prepared_conv *conv = static_cast<m2s_prepared_conv *>(m2s_alloc(memory, sizeof *conv));
    if (conv == nullptr) {
        return m2s_fail_memory(error, "a convolution", sizeof *conv);
    }
    size_t bytes = 0;
    if (problem->kind == M2S_CONV_GRAD_WEIGHTS) {
        const size_t numbers = static_cast<size_t>(problem->kh * problem->kw) * static_cast<size_t>(problem->c);
        bytes = (static_cast<size_t>(cut_rows(*problem).chunks) * numbers * sizeof(double) + 255) / 256 * 256;
    }
    *conv = m2s_prepared_conv{ *problem, "own depthwise", bytes, launch, destroy };
    *created = conv;
    return M2SNET_STATUS_OK;
}

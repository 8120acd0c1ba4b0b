/* SPDX-License-Identifier: Apache-2.0
 * Convolutions as they are defined: a thread sums up four channels of one pixel. Slow beside a library's, and right for
 * every shape. */
#include "backends/cuda/conv.h"
#include "backends/cuda/kernel.cuh"

#define THREADS 128
#define LANES   4 /* channels of a thread */

/* A pixel and the first of LANES channels within a group. */
struct place {
    int n, y, x, group, channel;
};

/* Channels count fastest, so that neighbours share a pixel. */
M2S_HD static inline place place_at(int64_t index, int h, int w, int groups, int channels)
{
    int parts = (channels + LANES - 1) / LANES;
    place p;

    p.channel = (int)(index % parts) * LANES;
    index /= parts;
    p.group = (int)(index % groups);
    index /= groups;
    p.x = (int)(index % w);
    index /= w;
    p.y = (int)(index % h);
    p.n = (int)(index / h);
    return p;
}

static int64_t places(int n, int h, int w, int groups, int channels)
{
    return (int64_t)n * h * w * groups * ((channels + LANES - 1) / LANES);
}

template <class T> struct forward_body {
    static constexpr int phases = 1;
    m2s_conv_problem p;
    const T *x, *weights, *residual, *bias;
    T *y;
    int64_t count;

    M2S_HD void run(int, const m2s_thread &t, char *) const
    {
        const int ic = p.c / p.groups, oc = p.oc / p.groups;
        const int64_t filter = (int64_t)p.kh * p.kw * ic; /* weights of one result channel */

        for (int64_t index = t.first(); index < count; index += t.stride()) {
            const place at = place_at(index, p.oh, p.ow, p.groups, oc);
            const int lanes = oc - at.channel < LANES ? oc - at.channel : LANES;
            float sum[LANES] = {};
            const T *filters[LANES];
            for (int j = 0; j < LANES; j++) {
                filters[j] = weights + (at.group * oc + at.channel + (j < lanes ? j : 0)) * filter;
            }
            for (int ky = 0; ky < p.kh; ky++) {
                const int sy = at.y * p.stride - p.pad + ky * p.dilation;
                for (int kx = 0; kx < p.kw && sy >= 0 && sy < p.h; kx++) {
                    const int sx = at.x * p.stride - p.pad + kx * p.dilation;
                    if (sx < 0 || sx >= p.w) {
                        continue;
                    }
                    const T *src = x + (((int64_t)at.n * p.h + sy) * p.w + sx) * p.c + at.group * ic;
                    const int offset = (ky * p.kw + kx) * ic;
                    for (int i = 0; i < ic; i++) {
                        const float value = m2s_to_float(src[i]);
                        for (int j = 0; j < LANES; j++) {
                            sum[j] += value * m2s_to_float(filters[j][offset + i]);
                        }
                    }
                }
            }
            const int channel = at.group * oc + at.channel;
            const int64_t first = (((int64_t)at.n * p.oh + at.y) * p.ow + at.x) * p.oc + channel;
            for (int j = 0; j < LANES; j++) {
                if (j < lanes) {
                    float value = sum[j];
                    value += p.bias ? m2s_to_float(bias[channel + j]) : 0.0f;
                    value += p.residual ? m2s_to_float(residual[first + j]) : 0.0f;
                    y[first + j] = m2s_from_float<T>(p.relu && value < 0.0f ? 0.0f : value);
                }
            }
        }
    }
};

template <class T> struct grad_x_body {
    static constexpr int phases = 1;
    m2s_conv_problem p;
    const T *y, *weights;
    T *x;
    int64_t count;

    M2S_HD void run(int, const m2s_thread &t, char *) const
    {
        const int ic = p.c / p.groups, oc = p.oc / p.groups;
        const int64_t filter = (int64_t)p.kh * p.kw * ic;

        for (int64_t index = t.first(); index < count; index += t.stride()) {
            const place at = place_at(index, p.h, p.w, p.groups, ic);
            const int lanes = ic - at.channel < LANES ? ic - at.channel : LANES;
            float sum[LANES] = {};
            for (int ky = 0; ky < p.kh; ky++) {
                const int sy = at.y + p.pad - ky * p.dilation, oy = sy / p.stride;
                for (int kx = 0; kx < p.kw && sy >= 0 && sy % p.stride == 0 && oy < p.oh; kx++) {
                    const int sx = at.x + p.pad - kx * p.dilation, ox = sx / p.stride;
                    if (sx < 0 || sx % p.stride != 0 || ox >= p.ow) {
                        continue;
                    }
                    const T *diff = y + (((int64_t)at.n * p.oh + oy) * p.ow + ox) * p.oc + at.group * oc;
                    const T *column = weights + (int64_t)at.group * oc * filter + (ky * p.kw + kx) * ic + at.channel;
                    for (int o = 0; o < oc; o++, column += filter) {
                        const float value = m2s_to_float(diff[o]);
                        for (int j = 0; j < LANES; j++) {
                            sum[j] += value * m2s_to_float(column[j < lanes ? j : 0]);
                        }
                    }
                }
            }
            const int64_t first = (((int64_t)at.n * p.h + at.y) * p.w + at.x) * p.c + at.group * ic + at.channel;
            for (int j = 0; j < lanes; j++) {
                x[first + j] = m2s_from_float<T>(sum[j]);
            }
        }
    }
};

/* A block for every weight's place in the window and every LANES input channels of one result channel: threads share
 * the pixels, then meet. Rows are summed in float, all else in double. */
template <class T> struct grad_weights_body {
    static constexpr int phases = 2;
    m2s_conv_problem p;
    const T *x, *y;
    T *weights;

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        const int ic = p.c / p.groups, oc = p.oc / p.groups, parts = (ic + LANES - 1) / LANES;
        const int channel = t.block % parts * LANES, kx = t.block / parts % p.kw, ky = t.block / parts / p.kw;
        const int o = t.block_y, group = o / oc, lanes = ic - channel < LANES ? ic - channel : LANES;
        double *sums = reinterpret_cast<double *>(shared);

        if (phase == 0) {
            double sum[LANES] = {};
            for (int row = t.thread; row < p.n * p.oh; row += t.threads) {
                const int sy = row % p.oh * p.stride - p.pad + ky * p.dilation;
                if (sy < 0 || sy >= p.h) {
                    continue;
                }
                const T *src = x + ((int64_t)(row / p.oh) * p.h + sy) * p.w * p.c + group * ic + channel;
                const T *diff = y + (int64_t)row * p.ow * p.oc + o;
                float part[LANES] = {};
                for (int ox = 0; ox < p.ow; ox++) {
                    const int sx = ox * p.stride - p.pad + kx * p.dilation;
                    if (sx < 0 || sx >= p.w) {
                        continue;
                    }
                    const float value = m2s_to_float(diff[(int64_t)ox * p.oc]);
                    for (int j = 0; j < LANES; j++) {
                        part[j] += value * m2s_to_float(src[(int64_t)sx * p.c + (j < lanes ? j : 0)]);
                    }
                }
                for (int j = 0; j < LANES; j++) {
                    sum[j] += (double)part[j];
                }
            }
            for (int j = 0; j < LANES; j++) {
                sums[t.thread * LANES + j] = sum[j];
            }
        } else if (t.thread < lanes) {
            double sum = 0.0;
            for (int i = 0; i < t.threads; i++) {
                sum += sums[i * LANES + t.thread];
            }
            weights[(((int64_t)o * p.kh + ky) * p.kw + kx) * ic + channel + t.thread] = m2s_from_float<T>((float)sum);
        }
    }
};

template <class T>
static int launch_stored(const m2s_prepared_conv *conv, const m2s_cuda_call *call, const m2s_conv_data *data)
{
    const m2s_conv_problem &p = conv->problem;

    if (p.kind == M2S_CONV_FORWARD) {
        forward_body<T> body = { p,
                                 static_cast<const T *>(data->x),
                                 static_cast<const T *>(data->weights),
                                 static_cast<const T *>(data->residual),
                                 static_cast<const T *>(data->bias),
                                 static_cast<T *>(data->y),
                                 places(p.n, p.oh, p.ow, p.groups, p.oc / p.groups) };
        return m2s_cuda_launch(call, body, m2s_cuda_blocks(call, body.count, THREADS), THREADS, 0);
    }
    if (p.kind == M2S_CONV_GRAD_WEIGHTS) {
        const int parts = (p.c / p.groups + LANES - 1) / LANES;
        const grad_weights_body<T> body = { p, static_cast<const T *>(data->x), static_cast<const T *>(data->y),
                                            static_cast<T *>(data->weights) };
        const int rows = p.n * p.oh, threads = rows < LANES ? LANES : rows < 32 ? rows : 32;
        return m2s_cuda_launch(call, body, m2s_cuda_grid{ parts * p.kh * p.kw, p.oc, 1 }, threads,
                               (size_t)threads * LANES * sizeof(double));
    }
    grad_x_body<T> body = { p, static_cast<const T *>(data->y), static_cast<const T *>(data->weights),
                            static_cast<T *>(data->x), places(p.n, p.h, p.w, p.groups, p.c / p.groups) };
    return m2s_cuda_launch(call, body, m2s_cuda_blocks(call, body.count, THREADS), THREADS, 0);
}

static int launch(const m2s_prepared_conv *conv, const m2s_cuda_call *call, const m2s_conv_data *data)
{
    const m2s_conv_problem &p = conv->problem;

    switch (p.storage) {
    case M2SNET_DTYPE_F16:
        return launch_stored<m2s_f16>(conv, call, data);
    case M2SNET_DTYPE_BF16:
        return launch_stored<m2s_bf16>(conv, call, data);
    default:
        return launch_stored<float>(conv, call, data);
    }
}

/* ---- what a library leaves undone ---- */

template <class T> struct epilogue_body {
    static constexpr int phases = 1;
    m2s_conv_epilogue e;
    bool bias, residual;

    M2S_HD void run(int, const m2s_thread &t, char *) const
    {
        T *y = static_cast<T *>(e.y);
        const T *biases = static_cast<const T *>(e.bias), *residuals = static_cast<const T *>(e.residual);

        for (int64_t i = t.first(); i < e.pixels * e.channels; i += t.stride()) {
            float value = m2s_to_float(y[i]);
            value += bias ? m2s_to_float(biases[i % e.channels]) : 0.0f;
            value += residual ? m2s_to_float(residuals[i]) : 0.0f;
            y[i] = m2s_from_float<T>(e.relu && value < 0.0f ? 0.0f : value);
        }
    }
};

template <class T> static int launch_epilogue(const m2s_cuda_call *call, const m2s_conv_epilogue &e)
{
    epilogue_body<T> body = { e, e.bias != nullptr, e.residual != nullptr };

    return m2s_cuda_launch(call, body, m2s_cuda_blocks(call, e.pixels * e.channels, THREADS), THREADS, 0);
}

extern "C" int m2s_cuda_conv_epilogue(const m2s_cuda_call *call, const m2s_conv_epilogue *epilogue)
{
    switch (call->storage) {
    case M2SNET_DTYPE_F16:
        return launch_epilogue<m2s_f16>(call, *epilogue);
    case M2SNET_DTYPE_BF16:
        return launch_epilogue<m2s_bf16>(call, *epilogue);
    default:
        return launch_epilogue<float>(call, *epilogue);
    }
}

static void destroy(m2s_memory *memory, m2s_prepared_conv *conv)
{
    m2s_free(memory, conv);
}

extern "C" m2snet_status m2s_conv_direct_create(m2s_memory *memory, const m2s_conv_problem *problem,
                                                m2s_prepared_conv **created, m2snet_error *error)
{
    m2s_prepared_conv *conv = static_cast<m2s_prepared_conv *>(m2s_alloc(memory, sizeof *conv));

    *created = conv;
    if (conv == nullptr) {
        return m2s_fail_memory(error, "a convolution", sizeof *conv);
    }
    *conv = m2s_prepared_conv{ *problem, "own direct", 0, launch, destroy };
    return M2SNET_STATUS_OK;
}

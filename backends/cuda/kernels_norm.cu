/* SPDX-License-Identifier: Apache-2.0
 * Batch norm by given or by the batch's own statistics, its gradient, and sums over pixels.
 *
 * All normalise by the same float statistics in the same way (normalise), so that batch_norm of the statistics of
 * batch_norm_train repeats its result bit for bit, and a gradient cuts where the result was cut. */
#include "backends/cuda/pixels.cuh"
#include "backends/cuda/spread.cuh"

namespace
{

int64_t pixels_of(m2s_shape shape)
{
    return shape.n * shape.h * shape.w;
}

M2S_HD inline double deviation_of(float var, double epsilon)
{
    return sqrt(static_cast<double>(var) + epsilon);
}

M2S_HD inline float normalise(float src, float mean, float scale, float beta)
{
    return fmaf(src - mean, scale, beta);
}

/* The most channels at a time, of numbers of `size` bytes in all of these places. */
int width_of(int64_t channels, const void *const *places, int count, size_t size)
{
    for (int width = 4; width > 1; width /= 2) {
        bool fits = channels % width == 0;
        for (int i = 0; i < count; i++) {
            fits = fits && m2s_is_aligned(places[i], width, size);
        }
        if (fits) {
            return width;
        }
    }
    return 1;
}

/* ---- normalising by given statistics ---- */

template <class T> struct norm_map {
    static constexpr int constants = 3; /* mean, scale, beta */

    const T *src;
    T *dst;
    const float *gamma, *beta, *mean, *var;
    double epsilon;
    bool relu;

    M2S_HD void prepare(int, int channel, float *made) const
    {
        made[0] = mean[channel];
        made[1] = static_cast<float>(static_cast<double>(gamma[channel]) / deviation_of(var[channel], epsilon));
        made[2] = beta[channel];
    }

    template <int WIDTH> M2S_HD void at(const float (&of)[constants][WIDTH], int64_t offset) const
    {
        float x[WIDTH];

        m2s_load<WIDTH>(src + offset, x);
        for (int i = 0; i < WIDTH; i++) {
            x[i] = normalise(x[i], of[0][i], of[1][i], of[2][i]);
            x[i] = relu && x[i] < 0.0f ? 0.0f : x[i]; /* a NaN stays one */
        }
        m2s_store<WIDTH>(dst + offset, x);
    }
};

template <class T> int launch_norm_as(const m2s_cuda_call *call, const float *mean, const float *var)
{
    const m2s_ref_args *args = call->args;
    m2s_shape shape = args->in_shape[0];
    const void *places[] = { args->in[0], args->out[0] };
    norm_map<T> map = { static_cast<const T *>(args->in[0]),
                        static_cast<T *>(args->out[0]),
                        static_cast<const float *>(args->in[1]),
                        static_cast<const float *>(args->in[2]),
                        mean,
                        var,
                        args->attrs->epsilon,
                        args->attrs->relu != 0 };

    switch (width_of(shape.c, places, 2, sizeof(T))) {
    case 4:
        return m2s_launch_column_map<4>(call, map, 1, pixels_of(shape), shape.c);
    case 2:
        return m2s_launch_column_map<2>(call, map, 1, pixels_of(shape), shape.c);
    default:
        return m2s_launch_column_map<1>(call, map, 1, pixels_of(shape), shape.c);
    }
}

int launch_batch_norm(const m2s_cuda_call *call)
{
    const float *mean = static_cast<const float *>(call->args->in[3]);
    const float *var = static_cast<const float *>(call->args->in[4]);

    return m2s_with_storage(call, [&](auto zero) { return launch_norm_as<decltype(zero)>(call, mean, var); });
}

/* ---- statistics of the batch ---- */

template <class T> struct spread_finish {
    static constexpr int sums = 2;

    const T *src;
    float *mean, *var;
    double pixels;

    M2S_HD void column(int, int channel, const double (&total)[sums]) const
    {
        m2s_spread_of(total, m2s_to_float(src[channel]), pixels, mean + channel, var + channel);
    }
};

/* How sums over all pixels of a (n, h, w, c) are cut. */
m2s_columns cut_sums(m2s_shape shape, int width)
{
    return m2s_columns_cut(1, pixels_of(shape), shape.c, width, M2S_COLUMN_SUM_BLOCKS);
}

/* Room for the sums however wide the vectors turn out to be. */
size_t partial_bytes(m2s_shape shape, int sums)
{
    size_t most = 0;

    for (int width = 1; width <= 4; width *= 2) {
        size_t bytes = shape.c % width == 0 ? m2s_column_partial_bytes(cut_sums(shape, width), sums) : 0;
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* The totals of all channels, through the partial sums in scratch. */
template <class Rule, class Finish>
int launch_totals(const m2s_cuda_call *call, const Rule &rule, const Finish &finish, int width)
{
    m2s_columns cut = cut_sums(call->args->in_shape[0], width);
    double *partial = static_cast<double *>(call->args->scratch);
    int error = width == 4   ? m2s_launch_column_sums<4>(call, rule, cut, partial)
                : width == 2 ? m2s_launch_column_sums<2>(call, rule, cut, partial)
                             : m2s_launch_column_sums<1>(call, rule, cut, partial);

    return error != 0 ? error : m2s_launch_column_totals(call, finish, cut, partial);
}

size_t two_sums_bytes(const m2s_ref_args *args, m2snet_dtype storage)
{
    (void)storage;
    return partial_bytes(args->in_shape[0], 2);
}

int launch_batch_norm_train(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    m2s_shape shape = args->in_shape[0];
    float *mean = static_cast<float *>(args->out[1]), *var = static_cast<float *>(args->out[2]);

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const T *src = static_cast<const T *>(args->in[0]);
        const spread_finish<T> finish = { src, mean, var, static_cast<double>(pixels_of(shape)) };
        const int width = width_of(shape.c, &args->in[0], 1, sizeof(T));
        const int error = launch_totals(call, m2s_spread_sums<T>{ src }, finish, width);
        return error != 0 ? error : launch_norm_as<T>(call, mean, var);
    });
}

/* ---- gradient ---- */

/* What the sums and the map share. */
template <class T> struct norm_grad {
    const T *diff, *src;
    const float *gamma, *beta, *mean, *var;
    double epsilon;
    bool relu;

    M2S_HD double inverse_deviation(int channel) const
    {
        return 1.0 / deviation_of(var[channel], epsilon);
    }

    /* mean, scale, beta: as norm_map has them */
    M2S_HD void affine(int channel, float *made) const
    {
        made[0] = mean[channel];
        made[1] = static_cast<float>(static_cast<double>(gamma[channel]) / deviation_of(var[channel], epsilon));
        made[2] = beta[channel];
    }

    /* The gradient that a following ReLU lets through. */
    M2S_HD float through(float x, float g, float of_mean, float scale, float of_beta) const
    {
        return relu && normalise(x, of_mean, scale, of_beta) <= 0.0f ? 0.0f : g;
    }
};

template <class T> struct norm_grad_sums {
    static constexpr int sums = 2, constants = 3;

    norm_grad<T> of;

    M2S_HD void prepare(int, int channel, float *made) const
    {
        of.affine(channel, made);
    }

    template <int WIDTH>
    M2S_HD void at(const float (&c)[constants][WIDTH], int64_t offset, double (&sum)[sums][WIDTH]) const
    {
        float x[WIDTH], g[WIDTH];

        m2s_load<WIDTH>(of.src + offset, x);
        m2s_load<WIDTH>(of.diff + offset, g);
        for (int i = 0; i < WIDTH; i++) {
            double passed = static_cast<double>(of.through(x[i], g[i], c[0][i], c[1][i], c[2][i]));
            sum[0][i] += passed;
            sum[1][i] += passed * static_cast<double>(x[i] - c[0][i]);
        }
    }
};

template <class T> struct norm_grad_finish {
    static constexpr int sums = 2;

    norm_grad<T> of;
    float *diff_gamma, *diff_beta;

    M2S_HD void column(int, int channel, const double (&total)[sums]) const
    {
        diff_beta[channel] = static_cast<float>(total[0]);
        diff_gamma[channel] = static_cast<float>(total[1] * of.inverse_deviation(channel));
    }
};

template <class T> struct norm_grad_map {
    static constexpr int constants = 5; /* mean, scale, beta, mean gradient, slope */

    norm_grad<T> of;
    const float *diff_gamma, *diff_beta;
    T *diff_src;
    double pixels;
    bool frozen;

    M2S_HD void prepare(int, int channel, float *made) const
    {
        of.affine(channel, made);
        made[3] = made[4] = 0.0f;
        if (!frozen) {
            double slope = static_cast<double>(diff_gamma[channel]) * of.inverse_deviation(channel);
            made[3] = static_cast<float>(static_cast<double>(diff_beta[channel]) / pixels);
            made[4] = static_cast<float>(slope / pixels);
        }
    }

    template <int WIDTH> M2S_HD void at(const float (&c)[constants][WIDTH], int64_t offset) const
    {
        float x[WIDTH], g[WIDTH];

        m2s_load<WIDTH>(of.src + offset, x);
        m2s_load<WIDTH>(of.diff + offset, g);
        for (int i = 0; i < WIDTH; i++) {
            float passed = of.through(x[i], g[i], c[0][i], c[1][i], c[2][i]);
            x[i] = c[1][i] * (passed - (c[3][i] + (x[i] - c[0][i]) * c[4][i]));
        }
        m2s_store<WIDTH>(diff_src + offset, x);
    }
};

template <class T> int launch_norm_grad_as(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    m2s_shape shape = args->in_shape[0];
    const void *places[] = { args->in[0], args->in[1], args->out[0] };
    int width = width_of(shape.c, places, 3, sizeof(T));
    norm_grad<T> of = { static_cast<const T *>(args->in[0]),
                        static_cast<const T *>(args->in[1]),
                        static_cast<const float *>(args->in[2]),
                        static_cast<const float *>(args->in[3]),
                        static_cast<const float *>(args->in[4]),
                        static_cast<const float *>(args->in[5]),
                        args->attrs->epsilon,
                        args->attrs->relu != 0 };
    float *diff_gamma = static_cast<float *>(args->out[1]), *diff_beta = static_cast<float *>(args->out[2]);
    int error = launch_totals(call, norm_grad_sums<T>{ of }, norm_grad_finish<T>{ of, diff_gamma, diff_beta }, width);
    norm_grad_map<T> map = { of,
                             diff_gamma,
                             diff_beta,
                             static_cast<T *>(args->out[0]),
                             static_cast<double>(pixels_of(shape)),
                             args->attrs->frozen != 0 };

    if (error != 0) {
        return error;
    }
    switch (width) {
    case 4:
        return m2s_launch_column_map<4>(call, map, 1, pixels_of(shape), shape.c);
    case 2:
        return m2s_launch_column_map<2>(call, map, 1, pixels_of(shape), shape.c);
    default:
        return m2s_launch_column_map<1>(call, map, 1, pixels_of(shape), shape.c);
    }
}

int launch_batch_norm_grad(const m2s_cuda_call *call)
{
    return m2s_with_storage(call, [&](auto zero) { return launch_norm_grad_as<decltype(zero)>(call); });
}

/* ---- sum_pixels ---- */

template <class T> struct plain_sums {
    static constexpr int sums = 1, constants = 1;

    const T *src;

    M2S_HD void prepare(int, int, float *made) const
    {
        made[0] = 0.0f;
    }

    template <int WIDTH>
    M2S_HD void at(const float (&)[constants][WIDTH], int64_t offset, double (&sum)[sums][WIDTH]) const
    {
        float x[WIDTH];

        m2s_load<WIDTH>(src + offset, x);
        for (int i = 0; i < WIDTH; i++) {
            sum[0][i] += static_cast<double>(x[i]);
        }
    }
};

struct plain_finish {
    static constexpr int sums = 1;

    float *dst;

    M2S_HD void column(int, int channel, const double (&total)[sums]) const
    {
        dst[channel] = static_cast<float>(total[0]);
    }
};

size_t one_sum_bytes(const m2s_ref_args *args, m2snet_dtype storage)
{
    (void)storage;
    return partial_bytes(args->in_shape[0], 1);
}

int launch_sum_pixels(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const plain_finish finish = { static_cast<float *>(args->out[0]) };

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const plain_sums<T> rule = { static_cast<const T *>(args->in[0]) };
        return launch_totals(call, rule, finish, width_of(args->in_shape[0].c, &args->in[0], 1, sizeof(T)));
    });
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_batch_norm = { nullptr, launch_batch_norm, true };
const m2s_cuda_kernel m2s_cuda_batch_norm_train = { two_sums_bytes, launch_batch_norm_train, true };
const m2s_cuda_kernel m2s_cuda_batch_norm_grad = { two_sums_bytes, launch_batch_norm_grad, true };
const m2s_cuda_kernel m2s_cuda_sum_pixels = { one_sum_bytes, launch_sum_pixels, true };
}

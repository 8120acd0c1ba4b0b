/* SPDX-License-Identifier: Apache-2.0
 * Layer norm over the channels of each pixel, and its gradient. Lanes share a pixel (lanes.cuh). Numbers are taken from
 * the pixel's first one, which is near all of them where they are far from 0: neither the mean nor what is left of a
 * number without it then loses digits. */
#include "backends/cuda/channel_totals.cuh"
#include "backends/cuda/lanes.cuh"

namespace
{

constexpr int THREADS = 128;
constexpr int MOST_LANE_SHIFT = 5;

int64_t pixels_of(m2s_shape shape)
{
    return shape.n * shape.h * shape.w;
}

/* A block's pixels and lanes, and what both directions know of a pixel. */
template <class T, int WIDTH> struct layer {
    const T *src;
    float epsilon;
    int64_t pixels;
    int channels, lane_shift, pitch;

    M2S_HD int lanes() const
    {
        return 1 << lane_shift;
    }

    M2S_HD int lane(const m2s_thread &t) const
    {
        return t.thread & (lanes() - 1);
    }

    M2S_HD int pixel(const m2s_thread &t) const
    {
        return t.thread >> lane_shift;
    }

    M2S_HD int64_t at(const m2s_thread &t) const
    {
        return static_cast<int64_t>(t.block) * (THREADS >> lane_shift) + pixel(t);
    }

    /* (lane, pixel), of sum number k. */
    M2S_HD float *part(float *shared, int k) const
    {
        return shared + k * lanes() * pitch;
    }

    M2S_HD void give(const m2s_thread &t, float *part, float value) const
    {
        part[lane(t) * pitch + pixel(t)] = value;
    }

    M2S_HD float mean_of(const m2s_thread &t, const float *part) const
    {
        return m2s_lane_total(part, pixel(t), pitch, lanes()) / static_cast<float>(channels);
    }

    M2S_HD float inverse_of(float variance) const
    {
        return 1.0f / sqrtf(variance + epsilon);
    }

    /* visit(channel, the WIDTH numbers there less the first one) for this lane's channels. */
    template <class Visit> M2S_HD void each(const m2s_thread &t, const Visit &visit) const
    {
        const T *x = src + at(t) * channels;
        const float first = m2s_to_float(x[0]);

        for (int c = lane(t) * WIDTH; c < channels; c += WIDTH << lane_shift) {
            float values[WIDTH];
            m2s_load<WIDTH>(x + c, values);
            for (int j = 0; j < WIDTH; j++) {
                values[j] -= first;
            }
            visit(c, values);
        }
    }

    M2S_HD float sum(const m2s_thread &t) const
    {
        float sums[WIDTH] = {}, all = 0.0f;

        each(t, [&](int, const float(&x)[WIDTH]) {
            for (int j = 0; j < WIDTH; j++) {
                sums[j] += x[j];
            }
        });
        for (int j = 0; j < WIDTH; j++) {
            all += sums[j];
        }
        return all;
    }

    M2S_HD float spread(const m2s_thread &t, float mean) const
    {
        float sums[WIDTH] = {}, all = 0.0f;

        each(t, [&](int, const float(&x)[WIDTH]) {
            for (int j = 0; j < WIDTH; j++) {
                const float off = x[j] - mean;
                sums[j] = fmaf(off, off, sums[j]);
            }
        });
        for (int j = 0; j < WIDTH; j++) {
            all += sums[j];
        }
        return all;
    }
};

template <class T, int WIDTH> layer<T, WIDTH> layer_of(const void *src, m2s_shape shape, const m2s_attrs *attrs)
{
    /* At least four vectors for a lane, where there are as many. */
    const int shift = m2s_lane_shift((shape.c + 3) / 4, WIDTH, MOST_LANE_SHIFT);

    return layer<T, WIDTH>{ static_cast<const T *>(src),
                            static_cast<float>(attrs->epsilon),
                            pixels_of(shape),
                            static_cast<int>(shape.c),
                            shift,
                            m2s_lane_pitch(THREADS >> shift, shift) };
}

template <class Body, class Layer> int launch_layer(const m2s_cuda_call *call, const Body &body, const Layer &of)
{
    const int64_t each = THREADS >> of.lane_shift;
    const m2s_cuda_grid grid = { static_cast<int>((of.pixels + each - 1) / each), 1, 1 };

    return m2s_cuda_launch(call, body, grid, THREADS,
                           sizeof(float) * static_cast<size_t>((Body::sums << of.lane_shift) * of.pitch));
}

/* ---- layer_norm ---- */

template <class T, int WIDTH> struct forward_body {
    static constexpr int phases = 3, sums = 2;

    layer<T, WIDTH> of;
    const float *gamma, *beta;
    T *dst;

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        float *sum = of.part(reinterpret_cast<float *>(shared), 0);
        float *spread = of.part(reinterpret_cast<float *>(shared), 1);

        if (of.at(t) >= of.pixels) {
            return;
        }
        if (phase == 0) {
            of.give(t, sum, of.sum(t));
            return;
        }
        const float mean = of.mean_of(t, sum);
        if (phase == 1) {
            of.give(t, spread, of.spread(t, mean));
            return;
        }
        const float inverse = of.inverse_of(of.mean_of(t, spread));
        T *to = dst + of.at(t) * of.channels;
        of.each(t, [&](int c, const float(&x)[WIDTH]) {
            float y[WIDTH];
            for (int j = 0; j < WIDTH; j++) {
                y[j] = fmaf((x[j] - mean) * inverse, gamma[c + j], beta[c + j]);
            }
            m2s_store<WIDTH>(to + c, y);
        });
    }
};

int launch_layer_norm(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const m2s_shape shape = args->in_shape[0];
    const void *places[] = { args->in[0], args->out[0] };

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        return m2s_with_width<T>(m2s_width_of(sizeof(T), &shape.c, 1, places, 2), [&](auto width) {
            constexpr int WIDTH = decltype(width)::value;
            const forward_body<T, WIDTH> body = { layer_of<T, WIDTH>(args->in[0], shape, args->attrs),
                                                  static_cast<const float *>(args->in[1]),
                                                  static_cast<const float *>(args->in[2]),
                                                  static_cast<T *>(args->out[0]) };
            return launch_layer(call, body, body.of);
        });
    });
}

/* ---- layer_norm_grad: the gradient of src leaves each pixel's mean and deviation in scratch, for the sums over pixels
 * that the others are ---- */

struct alignas(8) statistics {
    float mean, inverse; /* mean: less the pixel's first number */
};

template <class T, int WIDTH> struct backward_body {
    static constexpr int phases = 4, sums = 4;

    layer<T, WIDTH> of;
    const T *diff;
    const float *gamma;
    T *diff_src;
    statistics *known;

    /* Sums of g = gamma diff and of g x, x normalised. */
    M2S_HD void add_lane(const m2s_thread &t, float mean, float inverse, float *sum, float *product) const
    {
        const T *from = diff + of.at(t) * of.channels;
        float all = 0.0f, products = 0.0f;

        of.each(t, [&](int c, const float(&x)[WIDTH]) {
            float g[WIDTH];
            m2s_load<WIDTH>(from + c, g);
            for (int j = 0; j < WIDTH; j++) {
                const float back = gamma[c + j] * g[j];
                all += back;
                products = fmaf(back, (x[j] - mean) * inverse, products);
            }
        });
        *sum = all;
        *product = products;
    }

    M2S_HD void run(int phase, const m2s_thread &t, char *shared) const
    {
        float *part = reinterpret_cast<float *>(shared);
        const int64_t at = of.at(t);

        if (at >= of.pixels) {
            return;
        }
        if (phase == 0) {
            of.give(t, of.part(part, 0), of.sum(t));
            return;
        }
        const float mean = of.mean_of(t, of.part(part, 0));
        if (phase == 1) {
            of.give(t, of.part(part, 1), of.spread(t, mean));
            return;
        }
        const float inverse = of.inverse_of(of.mean_of(t, of.part(part, 1)));
        if (phase == 2) {
            float sum, product;
            add_lane(t, mean, inverse, &sum, &product);
            of.give(t, of.part(part, 2), sum);
            of.give(t, of.part(part, 3), product);
            if (of.lane(t) == 0) {
                known[at] = statistics{ mean, inverse };
            }
            return;
        }
        const float mean_back = of.mean_of(t, of.part(part, 2)), slope = of.mean_of(t, of.part(part, 3));
        const T *from = diff + at * of.channels;
        T *to = diff_src + at * of.channels;
        of.each(t, [&](int c, const float(&x)[WIDTH]) {
            float g[WIDTH];
            m2s_load<WIDTH>(from + c, g);
            for (int j = 0; j < WIDTH; j++) {
                const float normal = (x[j] - mean) * inverse;
                g[j] = (gamma[c + j] * g[j] - mean_back - normal * slope) * inverse;
            }
            m2s_store<WIDTH>(to + c, g);
        });
    }
};

template <class T> struct affine_sums {
    static constexpr int sums = 2, constants = 1;

    const T *diff, *src;
    const statistics *known;
    m2s_divisor channels;

    M2S_HD void prepare(int, int, float *made) const
    {
        made[0] = 0.0f;
    }

    template <int WIDTH>
    M2S_HD void at(const float (&)[constants][WIDTH], int64_t offset, double (&sum)[sums][WIDTH]) const
    {
        const int64_t pixel = m2s_quotient(offset, channels);
        const statistics of = known[pixel];
        const float first = m2s_to_float(src[pixel * channels.by]);
        float x[WIDTH], g[WIDTH];

        m2s_load<WIDTH>(src + offset, x);
        m2s_load<WIDTH>(diff + offset, g);
        for (int j = 0; j < WIDTH; j++) {
            sum[0][j] += static_cast<double>(g[j]) * static_cast<double>((x[j] - first - of.mean) * of.inverse);
            sum[1][j] += static_cast<double>(g[j]);
        }
    }
};

struct affine_finish {
    static constexpr int sums = 2;

    float *diff_gamma, *diff_beta;

    M2S_HD void column(int, int channel, const double (&total)[sums]) const
    {
        diff_gamma[channel] = static_cast<float>(total[0]);
        diff_beta[channel] = static_cast<float>(total[1]);
    }
};

/* Of the scratch, before the partial sums. */
size_t statistics_bytes(m2s_shape shape)
{
    return static_cast<size_t>(pixels_of(shape)) * sizeof(statistics);
}

size_t layer_norm_grad_bytes(const m2s_ref_args *args, m2snet_dtype storage)
{
    const m2s_shape shape = args->in_shape[1];

    (void)storage;
    return statistics_bytes(shape) + m2s_channel_partial_bytes(pixels_of(shape), shape.c, 2);
}

int launch_layer_norm_grad(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const m2s_shape shape = args->in_shape[1];
    const void *places[] = { args->in[0], args->in[1], args->out[0] };
    char *scratch = static_cast<char *>(args->scratch);
    statistics *known = reinterpret_cast<statistics *>(scratch);
    const affine_finish finish = { static_cast<float *>(args->out[1]), static_cast<float *>(args->out[2]) };

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const T *diff = static_cast<const T *>(args->in[0]), *src = static_cast<const T *>(args->in[1]);
        const int error = m2s_with_width<T>(m2s_width_of(sizeof(T), &shape.c, 1, places, 3), [&](auto width) {
            constexpr int WIDTH = decltype(width)::value;
            const backward_body<T, WIDTH> body = { layer_of<T, WIDTH>(src, shape, args->attrs), diff,
                                                   static_cast<const float *>(args->in[2]),
                                                   static_cast<T *>(args->out[0]), known };
            return launch_layer(call, body, body.of);
        });
        return error != 0
                   ? error
                   : m2s_launch_channel_totals<T>(call, affine_sums<T>{ diff, src, known, m2s_divisor_of(shape.c) },
                                                  finish, pixels_of(shape), shape.c, places, 2,
                                                  reinterpret_cast<double *>(scratch + statistics_bytes(shape)));
    });
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_layer_norm = { nullptr, launch_layer_norm, true };
const m2s_cuda_kernel m2s_cuda_layer_norm_grad = { layer_norm_grad_bytes, launch_layer_norm_grad, true };
}

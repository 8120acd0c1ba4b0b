/* SPDX-License-Identifier: Apache-2.0
 * Elementwise operations (op_pointwise.c) and channels moved about. */
#include "backends/cuda/each.cuh"
#include "backends/cuda/pixels.cuh"

namespace
{

/* A NaN stays a NaN. */
M2S_HD inline float positive_part(float value)
{
    return value < 0.0f ? 0.0f : value;
}

/* rule.at<WIDTH>(i) for all numbers of the result, 16 bytes at a time where these places allow it. */
template <class T, class Rule>
int launch_each(const m2s_cuda_call *call, const Rule &rule, const void *const *places, int place_count)
{
    return m2s_with_width<T>(m2s_width_of(sizeof(T), nullptr, 0, places, place_count), [&](auto width) {
        return m2s_launch_each<decltype(width)::value>(call, rule, m2s_shape_elements(call->args->out_shape[0]));
    });
}

/* The node's inputs and results. */
template <class T> struct places {
    const T *in[8];
    T *out[2];
    const void *all[10];
    int count;

    explicit places(const m2s_ref_args *args) : in(), out(), all(), count(0)
    {
        for (int i = 0; i < args->in_count; i++) {
            in[i] = static_cast<const T *>(args->in[i]);
            all[count++] = args->in[i];
        }
        for (int i = 0; i < args->out_count; i++) {
            out[i] = static_cast<T *>(args->out[i]);
            all[count++] = args->out[i];
        }
    }
};

/* ---- relu, add ---- */

template <class T> struct sum_rule {
    const T *in[8];
    T *dst;
    int terms;
    bool relu;

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        float sum[WIDTH], term[WIDTH];

        m2s_load<WIDTH>(in[0] + i, sum);
        for (int k = 1; k < terms; k++) {
            m2s_load<WIDTH>(in[k] + i, term);
            for (int j = 0; j < WIDTH; j++) {
                sum[j] += term[j];
            }
        }
        for (int j = 0; j < WIDTH; j++) {
            sum[j] = relu ? positive_part(sum[j]) : sum[j];
        }
        m2s_store<WIDTH>(dst + i, sum);
    }
};

int launch_sum(const m2s_cuda_call *call, bool relu)
{
    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const places<T> p(call->args);
        sum_rule<T> rule = { {}, p.out[0], call->args->in_count, relu };
        for (int k = 0; k < rule.terms; k++) {
            rule.in[k] = p.in[k];
        }
        return launch_each<T>(call, rule, p.all, p.count);
    });
}

int launch_relu(const m2s_cuda_call *call)
{
    return launch_sum(call, true);
}

int launch_add(const m2s_cuda_call *call)
{
    return launch_sum(call, call->args->attrs->relu != 0);
}

/* ---- functions of one or two numbers ---- */

struct abs_diff_function {
    M2S_HD float operator()(float a, float b) const
    {
        return fabsf(a - b);
    }
};

struct multiply_function {
    M2S_HD float operator()(float a, float b) const
    {
        return a * b;
    }
};

/* What a ReLU whose result was dst lets through of diff; a NaN lets it through. */
struct relu_grad_function {
    M2S_HD float operator()(float diff, float dst) const
    {
        return dst <= 0.0f ? 0.0f : diff;
    }
};

template <class T, class Function> struct binary_rule {
    const T *a, *b;
    T *dst;
    Function function;

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        float x[WIDTH], y[WIDTH];

        m2s_load<WIDTH>(a + i, x);
        m2s_load<WIDTH>(b + i, y);
        for (int j = 0; j < WIDTH; j++) {
            x[j] = function(x[j], y[j]);
        }
        m2s_store<WIDTH>(dst + i, x);
    }
};

template <class Function> int launch_binary(const m2s_cuda_call *call)
{
    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const places<T> p(call->args);
        return launch_each<T>(call, binary_rule<T, Function>{ p.in[0], p.in[1], p.out[0], {} }, p.all, p.count);
    });
}

template <class T> struct scale_rule {
    const T *src;
    T *dst;
    float alpha;

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        float x[WIDTH];

        m2s_load<WIDTH>(src + i, x);
        for (int j = 0; j < WIDTH; j++) {
            x[j] *= alpha;
        }
        m2s_store<WIDTH>(dst + i, x);
    }
};

int launch_scale(const m2s_cuda_call *call)
{
    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const places<T> p(call->args);
        const float alpha = static_cast<float>(call->args->attrs->alpha);
        return launch_each<T>(call, scale_rule<T>{ p.in[0], p.out[0], alpha }, p.all, p.count);
    });
}

template <class T> struct abs_diff_grad_rule {
    const T *diff, *a, *b;
    T *diff_a, *diff_b;

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        float g[WIDTH], x[WIDTH], y[WIDTH];

        m2s_load<WIDTH>(diff + i, g);
        m2s_load<WIDTH>(a + i, x);
        m2s_load<WIDTH>(b + i, y);
        for (int j = 0; j < WIDTH; j++) {
            const float beyond = x[j] - y[j];
            g[j] *= beyond > 0.0f ? 1.0f : beyond < 0.0f ? -1.0f : beyond;
            x[j] = -g[j];
        }
        m2s_store<WIDTH>(diff_a + i, g);
        m2s_store<WIDTH>(diff_b + i, x);
    }
};

int launch_abs_diff_grad(const m2s_cuda_call *call)
{
    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const places<T> p(call->args);
        return launch_each<T>(call, abs_diff_grad_rule<T>{ p.in[0], p.in[1], p.in[2], p.out[0], p.out[1] }, p.all,
                              p.count);
    });
}

/* ---- channels moved about ---- */

/* Inputs side by side from channel `begin` of the result on, and zeros before and after them. */
template <class T> struct join_rule {
    const T *in[8];
    int channels[8];
    T *dst;
    int count, begin;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        m2s_numbers<T, WIDTH> moved = {};
        int channel = p.channel - begin, k = 0;

        while (k < count && channel >= channels[k]) {
            channel -= channels[k++];
        }
        if (channel >= 0 && k < count) {
            moved = *reinterpret_cast<const m2s_numbers<T, WIDTH> *>(in[k] + p.pixel * channels[k] + channel);
        }
        *reinterpret_cast<m2s_numbers<T, WIDTH> *>(dst + p.at) = moved;
    }
};

int launch_join(const m2s_cuda_call *call, int begin)
{
    const m2s_ref_args *args = call->args;

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const places<T> p(args);
        join_rule<T> rule = { {}, {}, p.out[0], args->in_count, begin };
        int64_t counts[10] = { args->out_shape[0].c, begin };
        for (int k = 0; k < args->in_count; k++) {
            rule.in[k] = p.in[k];
            rule.channels[k] = static_cast<int>(args->in_shape[k].c);
            counts[2 + k] = args->in_shape[k].c;
        }
        int width = m2s_width_of(sizeof(T), counts, 2 + args->in_count, p.all, p.count);
        return m2s_with_width<T>(
            width, [&](auto w) { return m2s_launch_pixels<decltype(w)::value>(call, rule, args->out_shape[0]); });
    });
}

int launch_concat_c(const m2s_cuda_call *call)
{
    return launch_join(call, 0);
}

int launch_pad_c(const m2s_cuda_call *call)
{
    return launch_join(call, call->args->attrs->begin);
}

template <class T> struct slice_rule {
    const T *src;
    T *dst;
    int channels, begin;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        *reinterpret_cast<m2s_numbers<T, WIDTH> *>(dst + p.at) =
            *reinterpret_cast<const m2s_numbers<T, WIDTH> *>(src + p.pixel * channels + begin + p.channel);
    }
};

int launch_slice_c(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const places<T> p(args);
        const int64_t counts[] = { args->out_shape[0].c, args->in_shape[0].c, args->attrs->begin };
        const slice_rule<T> rule = { p.in[0], p.out[0], static_cast<int>(args->in_shape[0].c), args->attrs->begin };
        return m2s_with_width<T>(m2s_width_of(sizeof(T), counts, 3, p.all, p.count), [&](auto w) {
            return m2s_launch_pixels<decltype(w)::value>(call, rule, args->out_shape[0]);
        });
    });
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_relu = { nullptr, launch_relu, true };
const m2s_cuda_kernel m2s_cuda_add = { nullptr, launch_add, true };
const m2s_cuda_kernel m2s_cuda_abs_diff = { nullptr, launch_binary<abs_diff_function>, true };
const m2s_cuda_kernel m2s_cuda_multiply = { nullptr, launch_binary<multiply_function>, true };
const m2s_cuda_kernel m2s_cuda_scale = { nullptr, launch_scale, true };
const m2s_cuda_kernel m2s_cuda_relu_grad = { nullptr, launch_binary<relu_grad_function>, true };
const m2s_cuda_kernel m2s_cuda_abs_diff_grad = { nullptr, launch_abs_diff_grad, true };
const m2s_cuda_kernel m2s_cuda_slice_c = { nullptr, launch_slice_c, true };
const m2s_cuda_kernel m2s_cuda_concat_c = { nullptr, launch_concat_c, true };
const m2s_cuda_kernel m2s_cuda_pad_c = { nullptr, launch_pad_c, true };
}

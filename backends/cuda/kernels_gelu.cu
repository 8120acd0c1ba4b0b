/* SPDX-License-Identifier: Apache-2.0
 * GELU by the normal distribution, and its derivative. */
#include "backends/cuda/each.cuh"
#include "backends/cuda/pixels.cuh"

namespace
{

/* By erfc, so that what is left of large negative numbers keeps its digits. */
M2S_HD inline float normal_distribution(float x)
{
    return 0.5f * erfcf(x * -0.70710678f);
}

template <class T> struct gelu_rule {
    const T *src;
    T *dst;

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        float x[WIDTH];

        m2s_load<WIDTH>(src + i, x);
        for (int j = 0; j < WIDTH; j++) {
            x[j] *= normal_distribution(x[j]);
        }
        m2s_store<WIDTH>(dst + i, x);
    }
};

template <class T> struct gelu_grad_rule {
    const T *diff, *src;
    T *diff_src;

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        float x[WIDTH], g[WIDTH];

        m2s_load<WIDTH>(src + i, x);
        m2s_load<WIDTH>(diff + i, g);
        for (int j = 0; j < WIDTH; j++) {
            const float density = 0.39894228f * expf(-0.5f * x[j] * x[j]);
            g[j] *= fmaf(x[j], density, normal_distribution(x[j]));
        }
        m2s_store<WIDTH>(diff_src + i, g);
    }
};

template <class T, class Rule>
int launch_each(const m2s_cuda_call *call, const Rule &rule, const void *const *places, int place_count)
{
    return m2s_with_width<T>(m2s_width_of(sizeof(T), nullptr, 0, places, place_count), [&](auto width) {
        return m2s_launch_each<decltype(width)::value>(call, rule, m2s_shape_elements(call->args->out_shape[0]));
    });
}

int launch_gelu(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const void *places[] = { args->in[0], args->out[0] };

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const gelu_rule<T> rule = { static_cast<const T *>(args->in[0]), static_cast<T *>(args->out[0]) };
        return launch_each<T>(call, rule, places, 2);
    });
}

int launch_gelu_grad(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const void *places[] = { args->in[0], args->in[1], args->out[0] };

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const gelu_grad_rule<T> rule = { static_cast<const T *>(args->in[0]), static_cast<const T *>(args->in[1]),
                                         static_cast<T *>(args->out[0]) };
        return launch_each<T>(call, rule, places, 3);
    });
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_gelu = { nullptr, launch_gelu, true };
const m2s_cuda_kernel m2s_cuda_gelu_grad = { nullptr, launch_gelu_grad, true };
}

/* SPDX-License-Identifier: Apache-2.0
 * Sigmoid and softmax with their gradients, and the normalised picture that a loss network sees: all of objectives, and
 * in F32 whatever the network is stored in. */
#include "backends/cuda/each.cuh"

namespace
{

int64_t numbers_of(m2s_shape shape)
{
    return shape.n * shape.h * shape.w * shape.c;
}

/* ---- sigmoid ---- */

struct sigmoid_rule {
    const float *src;
    float *dst;

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        float x[WIDTH];

        m2s_load<WIDTH>(src + i, x);
        for (int k = 0; k < WIDTH; k++) {
            x[k] = 1.0f / (1.0f + expf(-x[k]));
        }
        m2s_store<WIDTH>(dst + i, x);
    }
};

int launch_sigmoid(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const void *places[] = { args->in[0], args->out[0] };
    sigmoid_rule rule = { static_cast<const float *>(args->in[0]), static_cast<float *>(args->out[0]) };

    return m2s_launch_each_of(call, rule, numbers_of(args->out_shape[0]), places, 2, sizeof(float));
}

struct sigmoid_grad_rule {
    const float *diff, *dst;
    float *diff_src;

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        float g[WIDTH], y[WIDTH];

        m2s_load<WIDTH>(diff + i, g);
        m2s_load<WIDTH>(dst + i, y);
        for (int k = 0; k < WIDTH; k++) {
            g[k] *= y[k] * (1.0f - y[k]);
        }
        m2s_store<WIDTH>(diff_src + i, g);
    }
};

int launch_sigmoid_grad(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const void *places[] = { args->in[0], args->in[1], args->out[0] };
    sigmoid_grad_rule rule = { static_cast<const float *>(args->in[0]), static_cast<const float *>(args->in[1]),
                               static_cast<float *>(args->out[0]) };

    return m2s_launch_each_of(call, rule, numbers_of(args->out_shape[0]), places, 3, sizeof(float));
}

/* ---- softmax_c: a thread a pixel, whose few channels stay in the nearest cache ---- */

struct softmax_rule {
    const float *src;
    float *dst;
    int channels;

    template <int WIDTH> M2S_HD void at(int64_t pixel) const
    {
        const float *from = src + pixel * channels;
        float *to = dst + pixel * channels;
        float greatest = from[0], sum = 0.0f;

        static_assert(WIDTH == 1, "pixels one by one");
        for (int c = 1; c < channels; c++) {
            greatest = from[c] > greatest ? from[c] : greatest;
        }
        for (int c = 0; c < channels; c++) {
            sum += expf(from[c] - greatest);
        }
        for (int c = 0; c < channels; c++) {
            to[c] = expf(from[c] - greatest) / sum;
        }
    }
};

int64_t pixels_of(m2s_shape shape)
{
    return shape.n * shape.h * shape.w;
}

int launch_softmax(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    m2s_shape shape = args->out_shape[0];
    softmax_rule rule = { static_cast<const float *>(args->in[0]), static_cast<float *>(args->out[0]),
                          static_cast<int>(shape.c) };

    return m2s_launch_each<1>(call, rule, pixels_of(shape));
}

struct softmax_grad_rule {
    const float *diff, *dst;
    float *diff_src;
    int channels;

    template <int WIDTH> M2S_HD void at(int64_t pixel) const
    {
        int64_t first = pixel * channels;
        float dot = 0.0f;

        static_assert(WIDTH == 1, "pixels one by one");
        for (int c = 0; c < channels; c++) {
            dot = fmaf(diff[first + c], dst[first + c], dot);
        }
        for (int c = 0; c < channels; c++) {
            diff_src[first + c] = dst[first + c] * (diff[first + c] - dot);
        }
    }
};

int launch_softmax_grad(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    m2s_shape shape = args->out_shape[0];
    softmax_grad_rule rule = { static_cast<const float *>(args->in[0]), static_cast<const float *>(args->in[1]),
                               static_cast<float *>(args->out[0]), static_cast<int>(shape.c) };

    return m2s_launch_each<1>(call, rule, pixels_of(shape));
}

/* ---- normalise_rgb ---- */

struct rgb_affine {
    float mean[3], inverse[3];
};

rgb_affine affine_of(const m2s_attrs *attrs)
{
    rgb_affine affine;

    for (int c = 0; c < 3; c++) {
        affine.mean[c] = static_cast<float>(attrs->mean[c]);
        affine.inverse[c] = static_cast<float>(1.0 / attrs->std[c]);
    }
    return affine;
}

struct normalise_rule {
    const float *src;
    float *dst;
    rgb_affine affine;
    int channels; /* of src */

    template <int WIDTH> M2S_HD void at(int64_t pixel) const
    {
        static_assert(WIDTH == 1, "pixels one by one");
        for (int c = 0; c < 3; c++) {
            float x = src[pixel * channels + (channels == 3 ? c : 0)];
            dst[pixel * 3 + c] = (x - affine.mean[c]) * affine.inverse[c];
        }
    }
};

int launch_normalise(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    normalise_rule rule = { static_cast<const float *>(args->in[0]), static_cast<float *>(args->out[0]),
                            affine_of(args->attrs), static_cast<int>(args->in_shape[0].c) };

    return m2s_launch_each<1>(call, rule, pixels_of(args->out_shape[0]));
}

struct normalise_grad_rule {
    const float *diff;
    float *diff_src;
    rgb_affine affine;
    int channels; /* of diff_src */

    template <int WIDTH> M2S_HD void at(int64_t pixel) const
    {
        float each[3];

        static_assert(WIDTH == 1, "pixels one by one");
        for (int c = 0; c < 3; c++) {
            each[c] = diff[pixel * 3 + c] * affine.inverse[c];
        }
        if (channels == 1) {
            diff_src[pixel] = each[0] + each[1] + each[2];
            return;
        }
        for (int c = 0; c < 3; c++) {
            diff_src[pixel * 3 + c] = each[c];
        }
    }
};

int launch_normalise_grad(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    normalise_grad_rule rule = { static_cast<const float *>(args->in[0]), static_cast<float *>(args->out[0]),
                                 affine_of(args->attrs), static_cast<int>(args->out_shape[0].c) };

    return m2s_launch_each<1>(call, rule, pixels_of(args->out_shape[0]));
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_sigmoid = { nullptr, launch_sigmoid, false };
const m2s_cuda_kernel m2s_cuda_sigmoid_grad = { nullptr, launch_sigmoid_grad, false };
const m2s_cuda_kernel m2s_cuda_softmax_c = { nullptr, launch_softmax, false };
const m2s_cuda_kernel m2s_cuda_softmax_c_grad = { nullptr, launch_softmax_grad, false };
const m2s_cuda_kernel m2s_cuda_normalise_rgb = { nullptr, launch_normalise, false };
const m2s_cuda_kernel m2s_cuda_normalise_rgb_grad = { nullptr, launch_normalise_grad, false };
}

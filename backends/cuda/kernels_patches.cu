/* SPDX-License-Identifier: Apache-2.0
 * Each 2 x 2 pixels joined as one, and back. */
#include "backends/cuda/pixels.cuh"

namespace
{

/* Channels of a merged pixel: pixel (2 y + part % 2, 2 x + part / 2) is its part 0 to 3. */
template <class T> struct merge_rule {
    const T *src;
    T *dst;
    int h, w; /* of src */
    m2s_divisor channels;

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        const int part = static_cast<int>(m2s_quotient(p.channel, channels)), c = static_cast<int>(channels.by);
        const int y = 2 * p.y + (part & 1), x = 2 * p.x + (part >> 1);
        m2s_numbers<T, WIDTH> moved = {};

        if (y < h && x < w) {
            moved = *reinterpret_cast<const m2s_numbers<T, WIDTH> *>(src + ((p.image * h + y) * w + x) * c + p.channel -
                                                                     part * c);
        }
        *reinterpret_cast<m2s_numbers<T, WIDTH> *>(dst + p.at) = moved;
    }
};

template <class T> struct split_rule {
    const T *diff;
    T *diff_src;
    int h, w, c; /* h, w: of diff */

    template <int WIDTH> M2S_HD void at(const m2s_pixel &p) const
    {
        const int64_t pixel = (p.image * h + p.y / 2) * w + p.x / 2;
        const int part = (p.y & 1) + 2 * (p.x & 1);

        *reinterpret_cast<m2s_numbers<T, WIDTH> *>(diff_src + p.at) =
            *reinterpret_cast<const m2s_numbers<T, WIDTH> *>(diff + (pixel * 4 + part) * c + p.channel);
    }
};

/* For maps whose vectors must not cross from one part to the next: `channels` are those of the map that is not merged.
 */
template <class T, class Rule> int launch_map(const m2s_cuda_call *call, const Rule &rule, int64_t channels)
{
    const m2s_ref_args *args = call->args;
    const void *places[] = { args->in[0], args->out[0] };

    return m2s_with_width<T>(m2s_width_of(sizeof(T), &channels, 1, places, 2), [&](auto width) {
        return m2s_launch_pixels<decltype(width)::value>(call, rule, args->out_shape[0]);
    });
}

int launch_merge_patches(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const m2s_shape shape = args->in_shape[0];

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const merge_rule<T> rule = { static_cast<const T *>(args->in[0]), static_cast<T *>(args->out[0]),
                                     static_cast<int>(shape.h), static_cast<int>(shape.w), m2s_divisor_of(shape.c) };
        return launch_map<T>(call, rule, shape.c);
    });
}

int launch_merge_patches_grad(const m2s_cuda_call *call)
{
    const m2s_ref_args *args = call->args;
    const m2s_shape diff = args->in_shape[0], shape = args->out_shape[0];

    return m2s_with_storage(call, [&](auto zero) {
        using T = decltype(zero);
        const split_rule<T> rule = { static_cast<const T *>(args->in[0]), static_cast<T *>(args->out[0]),
                                     static_cast<int>(diff.h), static_cast<int>(diff.w), static_cast<int>(shape.c) };
        return launch_map<T>(call, rule, shape.c);
    });
}

} // namespace

extern "C" {
const m2s_cuda_kernel m2s_cuda_merge_patches = { nullptr, launch_merge_patches, true };
const m2s_cuda_kernel m2s_cuda_merge_patches_grad = { nullptr, launch_merge_patches_grad, true };
}

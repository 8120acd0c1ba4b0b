/* SPDX-License-Identifier: Apache-2.0
 * Pillow's bilinear resize of bytes, and the network's normalisation. Three launches: the weights of both axes, in the
 * doubles and the order of image/resample.c, so that they come out the same; rows; columns, into every input. */
#include "backends/cuda/each.cuh"
#include "backends/cuda/pictures.h"
#include "backends/cuda/runtime.h"

namespace
{

constexpr int WEIGHT_BITS = 22;

/* One axis: output o is the sum of weight[o taps + i] src[first[o] + i] over i < count[o]. */
struct axis {
    int in, out, taps;
    double scale, support;
    int32_t *first, *count, *weight;
};

struct axis_rule {
    axis axes[2];

    M2S_HD static void weigh(const axis &a, int o)
    {
        double centre = (o + 0.5) * a.scale, inverse = 1.0 / a.support, sum = 0.0;
        int low = static_cast<int>(centre - a.support + 0.5), high = static_cast<int>(centre + a.support + 0.5);
        int32_t *weight = a.weight + static_cast<int64_t>(o) * a.taps;

        low = low < 0 ? 0 : low;
        high = high > a.in ? a.in : high;
        for (int x = low; x < high; x++) {
            sum += distance_weight(x, centre, inverse);
        }
        for (int x = low; x < high; x++) {
            double share = distance_weight(x, centre, inverse);
            weight[x - low] = static_cast<int32_t>(0.5 + (sum != 0.0 ? share / sum : share) * (1 << WEIGHT_BITS));
        }
        a.first[o] = low;
        a.count[o] = high - low;
    }

    M2S_HD static double distance_weight(int x, double centre, double inverse)
    {
        double distance = fabs((x - centre + 0.5) * inverse);

        return distance < 1.0 ? 1.0 - distance : 0.0;
    }

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        static_assert(WIDTH == 1, "outputs one by one");
        if (i < axes[0].out) {
            weigh(axes[0], static_cast<int>(i));
        } else {
            weigh(axes[1], static_cast<int>(i - axes[0].out));
        }
    }
};

/* Weights are not negative: only the upper end needs clipping. */
M2S_HD inline int weighted_byte(int32_t sum)
{
    int value = sum >> WEIGHT_BITS;

    return value > 255 ? 255 : value;
}

/* Bytes of `between`, (src height, dst width, channels). */
struct across_rule {
    axis a;
    const uint8_t *src;
    ptrdiff_t stride;
    int channels;
    uint8_t *between;

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        int64_t y = i / (a.out * channels);
        int rest = static_cast<int>(i % (a.out * channels)), o = rest / channels, c = rest % channels;
        const uint8_t *pixel = src + y * stride + static_cast<ptrdiff_t>(a.first[o]) * channels + c;
        const int32_t *weight = a.weight + static_cast<int64_t>(o) * a.taps;
        int32_t sum = 1 << (WEIGHT_BITS - 1);

        static_assert(WIDTH == 1, "bytes one by one");
        for (int k = 0; k < a.count[o]; k++) {
            sum += weight[k] * pixel[static_cast<ptrdiff_t>(k) * channels];
        }
        between[i] = static_cast<uint8_t>(weighted_byte(sum));
    }
};

/* Pixels of the result. */
template <class T> struct down_rule {
    axis a;
    const uint8_t *between;
    int width, channels;
    float mean[3], std[3];
    int left, top, input_width, input_height, ways;
    int way[M2S_MAX_WAYS];
    T *dst;

    M2S_HD int byte_at(int64_t offset, const int32_t *weight, int count) const
    {
        int32_t sum = 1 << (WEIGHT_BITS - 1);

        for (int k = 0; k < count; k++) {
            sum += weight[k] * between[offset + static_cast<int64_t>(k) * width * channels];
        }
        return weighted_byte(sum);
    }

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        int o = static_cast<int>(i / width), x = static_cast<int>(i % width);
        const int32_t *weight = a.weight + static_cast<int64_t>(o) * a.taps;
        int64_t from = (static_cast<int64_t>(a.first[o]) * width + x) * channels;
        int byte = 0;
        T pixel[3];

        static_assert(WIDTH == 1, "pixels one by one");
        for (int c = 0; c < 3; c++) {
            byte = c < channels ? byte_at(from + c, weight, a.count[o]) : byte;
            pixel[c] = m2s_from_float<T>((static_cast<float>(byte) / 255.0f - mean[c]) / std[c]);
        }
        for (int k = 0; k < ways; k++) {
            int column = (way[k] & M2SNET_MIRROR_HORIZONTAL) != 0 ? input_width - 1 - left - x : left + x;
            int row = (way[k] & M2SNET_MIRROR_VERTICAL) != 0 ? input_height - 1 - top - o : top + o;
            T *to = dst + 3 * ((static_cast<int64_t>(k) * input_height + row) * input_width + column);
            for (int c = 0; c < 3; c++) {
                to[c] = pixel[c];
            }
        }
    }
};

int taps_of(int32_t in, int32_t out)
{
    double scale = static_cast<double>(in) / out;

    return 2 * static_cast<int>(ceil(scale < 1.0 ? 1.0 : scale)) + 1;
}

/* What an axis has in scratch: first, count, weights. */
size_t axis_numbers(int32_t in, int32_t out)
{
    return static_cast<size_t>(out) * static_cast<size_t>(2 + taps_of(in, out));
}

axis axis_of(int32_t in, int32_t out, int32_t *at)
{
    axis a = {};

    a.in = in;
    a.out = out;
    a.scale = static_cast<double>(in) / out;
    a.support = a.scale < 1.0 ? 1.0 : a.scale;
    a.taps = taps_of(in, out);
    a.first = at;
    a.count = a.first + out;
    a.weight = a.count + out;
    return a;
}

template <class T>
int launch_down(const m2s_cuda_call *call, const m2s_prepare_job *job, const axis &down, const uint8_t *between)
{
    down_rule<T> rule = {};

    rule.a = down;
    rule.between = between;
    rule.width = job->dst_width;
    rule.channels = job->channels;
    for (int c = 0; c < 3; c++) {
        rule.mean[c] = job->mean[c];
        rule.std[c] = job->std[c];
    }
    rule.left = job->x;
    rule.top = job->y;
    rule.input_width = job->input_width;
    rule.input_height = job->input_height;
    rule.ways = job->ways;
    for (int k = 0; k < job->ways; k++) {
        rule.way[k] = job->way[k];
    }
    rule.dst = static_cast<T *>(job->dst);
    if (job->dst_width != job->input_width || job->dst_height != job->input_height) {
        const int64_t numbers = 3 * static_cast<int64_t>(job->ways) * job->input_height * job->input_width;
        int error = m2s_cuda_fill(call->stream, job->dst, 0, static_cast<size_t>(numbers) * sizeof(T));
        if (error != 0) {
            return error;
        }
    }
    return m2s_launch_each<1>(call, rule, static_cast<int64_t>(job->dst_height) * job->dst_width);
}

} // namespace

extern "C" {
size_t m2s_cuda_prepare_scratch_bytes(const m2s_prepare_job *job)
{
    size_t numbers = axis_numbers(job->width, job->dst_width) + axis_numbers(job->height, job->dst_height);

    return numbers * sizeof(int32_t) +
           static_cast<size_t>(job->height) * static_cast<size_t>(job->dst_width) * static_cast<size_t>(job->channels);
}

int m2s_cuda_prepare(const m2s_cuda_call *call, const m2s_prepare_job *job, void *scratch)
{
    int32_t *numbers = static_cast<int32_t *>(scratch);
    int32_t *more = numbers + axis_numbers(job->width, job->dst_width);
    const axis across = axis_of(job->width, job->dst_width, numbers),
               down = axis_of(job->height, job->dst_height, more);
    uint8_t *between = reinterpret_cast<uint8_t *>(more + axis_numbers(job->height, job->dst_height));
    across_rule rows = { across, job->pixels, job->row_stride_bytes, job->channels, between };
    int error = m2s_launch_each<1>(call, axis_rule{ { across, down } }, job->dst_width + job->dst_height);

    if (error == 0) {
        error = m2s_launch_each<1>(call, rows, static_cast<int64_t>(job->height) * job->dst_width * job->channels);
    }
    if (error == 0) {
        error = call->storage == M2SNET_DTYPE_F16    ? launch_down<m2s_f16>(call, job, down, between)
                : call->storage == M2SNET_DTYPE_BF16 ? launch_down<m2s_bf16>(call, job, down, between)
                                                     : launch_down<float>(call, job, down, between);
    }
    return error;
}
}

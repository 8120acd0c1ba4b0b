/* SPDX-License-Identifier: Apache-2.0
 * Changing pictures at random while training: sampling, colour, masks of labels, blur and noise, a thread a pixel, in
 * the order of lib/train/augment_apply.c. */
#include "backends/cuda/each.cuh"
#include "backends/cuda/pictures.h"
#include "backends/cuda/rng.cuh"

namespace
{

/* R, G, B and the mask. */
struct quad {
    float v[4];
};

M2S_HD inline int clamped(int i, int count)
{
    return i < 0 ? 0 : i >= count ? count - 1 : i;
}

M2S_HD inline quad mix(const quad &a, const quad &b, float share)
{
    quad made;

    for (int i = 0; i < 4; i++) {
        made.v[i] = a.v[i] + share * (b.v[i] - a.v[i]);
    }
    return made;
}

struct finish {
    bool has_colour;
    float matrix[3][3], offset[3], mean[3], std[3];

    M2S_HD quad operator()(const quad &bytes) const
    {
        float unit[3];
        quad made;

        for (int c = 0; c < 3; c++) {
            unit[c] = bytes.v[c] / 255.0f;
        }
        for (int c = 0; c < 3; c++) {
            float v = unit[c];
            if (has_colour) {
                v = matrix[c][0] * unit[0] + matrix[c][1] * unit[1] + matrix[c][2] * unit[2] + offset[c];
                v = v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
            }
            made.v[c] = (v - mean[c]) / std[c];
        }
        made.v[3] = bytes.v[3] / 255.0f;
        return made;
    }
};

/* One step: from bytes (finished here) or quads, to quads or to the result. */
struct sample_rule {
    const uint8_t *bytes;
    const quad *quads; /* when bytes is NULL */
    int src_width, src_height, width;
    m2s_picture_map map;
    int border;
    finish done;
    quad *packed;
    float *image, *mask; /* when packed is NULL; mask may be NULL */
    bool binarize;

    M2S_HD quad load(int64_t i) const
    {
        quad q;

        if (bytes == nullptr) {
            return quads[i];
        }
        for (int c = 0; c < 4; c++) {
            q.v[c] = static_cast<float>(bytes[4 * i + c]);
        }
        return q;
    }

    M2S_HD quad load_or_zero(int x, int y) const
    {
        bool inside = x >= 0 && y >= 0 && x < src_width && y < src_height;

        return inside ? load(static_cast<int64_t>(y) * src_width + x) : quad{};
    }

    M2S_HD quad sample_zero(double x, double y) const
    {
        if (!(x > -1.0 && y > -1.0 && x < src_width && y < src_height)) {
            return quad{};
        }
        int x0 = static_cast<int>(floor(x)), y0 = static_cast<int>(floor(y));
        float fx = static_cast<float>(x - x0), fy = static_cast<float>(y - y0);

        return mix(mix(load_or_zero(x0, y0), load_or_zero(x0 + 1, y0), fx),
                   mix(load_or_zero(x0, y0 + 1), load_or_zero(x0 + 1, y0 + 1), fx), fy);
    }

    M2S_HD quad sample_inside(double x, double y) const
    {
        double cx = x < 0.0 ? 0.0 : x > src_width - 1 ? src_width - 1 : x;
        double cy = y < 0.0 ? 0.0 : y > src_height - 1 ? src_height - 1 : y;
        int x0 = static_cast<int>(cx), y0 = static_cast<int>(cy);
        int64_t right = x0 + 1 < src_width, below = y0 + 1 < src_height ? src_width : 0;
        int64_t from = static_cast<int64_t>(y0) * src_width + x0;
        float fx = static_cast<float>(cx - x0), fy = static_cast<float>(cy - y0);

        return mix(mix(load(from), load(from + right), fx), mix(load(from + below), load(from + below + right), fx),
                   fy);
    }

    M2S_HD quad sample(double x, double y) const
    {
        if (border == M2S_PICTURE_ZERO) {
            return sample_zero(x, y);
        }
        bool inside = x >= -0.5 && y >= -0.5 && x <= src_width - 0.5 && y <= src_height - 0.5;
        if (border == M2S_PICTURE_AREA && !inside) {
            return quad{};
        }
        quad q = sample_inside(x, y);
        return bytes != nullptr ? done(q) : q;
    }

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        int row = static_cast<int>(i / width), column = static_cast<int>(i % width);
        quad q = sample(map.xx * column + (map.xy * row + map.x0), map.yx * column + (map.yy * row + map.y0));

        static_assert(WIDTH == 1, "pixels one by one");
        if (packed != nullptr) {
            packed[i] = q;
            return;
        }
        for (int c = 0; c < 3; c++) {
            image[3 * i + c] = q.v[c];
        }
        if (mask != nullptr) {
            mask[i] = !binarize ? q.v[3] : q.v[3] >= 0.5f ? 1.0f : 0.0f;
        }
    }
};

/* A mask of labels: byte 3 of a pixel is 0 for the background, i + 1 for label i. */
struct label_rule {
    const uint8_t *bytes;
    int src_width, src_height, width, labels;
    m2s_picture_map map;
    bool one_hot, binarize;
    float *mask;

    M2S_HD int label(int x, int y) const
    {
        return bytes[4 * (static_cast<int64_t>(y) * src_width + x) + 3];
    }

    M2S_HD void nearest(double x, double y, float *dst) const
    {
        double near_x = floor(x + 0.5), near_y = floor(y + 0.5);
        bool inside = near_x >= 0.0 && near_y >= 0.0 && near_x < src_width && near_y < src_height;

        dst[inside ? label(static_cast<int>(near_x), static_cast<int>(near_y)) : 0] = 1.0f;
    }

    M2S_HD void add(float *dst, int of, float weight) const
    {
        if (of > 0) {
            dst[of - 1] += weight;
        }
    }

    M2S_HD void soft(double x, double y, float *dst) const
    {
        if (!(x >= -0.5 && y >= -0.5 && x <= src_width - 0.5 && y <= src_height - 0.5)) {
            return;
        }
        int low_x = static_cast<int>(floor(x)), low_y = static_cast<int>(floor(y));
        float fx = static_cast<float>(x - low_x), fy = static_cast<float>(y - low_y);
        int x0 = clamped(low_x, src_width), x1 = clamped(low_x + 1, src_width);
        int y0 = clamped(low_y, src_height), y1 = clamped(low_y + 1, src_height);

        add(dst, label(x0, y0), (1.0f - fx) * (1.0f - fy));
        add(dst, label(x1, y0), fx * (1.0f - fy));
        add(dst, label(x0, y1), (1.0f - fx) * fy);
        add(dst, label(x1, y1), fx * fy);
        for (int c = 0; binarize && c < labels; c++) {
            dst[c] = dst[c] >= 0.5f ? 1.0f : 0.0f;
        }
    }

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        int row = static_cast<int>(i / width), column = static_cast<int>(i % width);
        double x = map.xx * column + map.xy * row + map.x0, y = map.yx * column + map.yy * row + map.y0;
        float *dst = mask + i * labels;

        static_assert(WIDTH == 1, "pixels one by one");
        for (int c = 0; c < labels; c++) {
            dst[c] = 0.0f;
        }
        if (one_hot) {
            nearest(x, y, dst);
        } else {
            soft(x, y, dst);
        }
    }
};

/* ---- blur: along rows, then along columns; beyond an edge come the pixels before it, mirrored ---- */

constexpr int MOST_RADIUS = 3 * M2S_PICTURE_MAX_SIGMA;

struct blur_rule {
    const float *src;
    float *dst;
    int width, height, radius;
    bool down;
    float weight[2 * MOST_RADIUS + 1];

    M2S_HD static int mirrored(int i, int n)
    {
        while (i < 0 || i >= n) {
            i = i < 0 ? -1 - i : 2 * n - 1 - i;
        }
        return i;
    }

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        int64_t pixel = i / 3;
        int c = static_cast<int>(i % 3), x = static_cast<int>(pixel % width), y = static_cast<int>(pixel / width);
        float sum = 0.0f;

        static_assert(WIDTH == 1, "numbers one by one");
        for (int k = -radius; k <= radius; k++) {
            int from_x = down ? x : mirrored(x + k, width), from_y = down ? mirrored(y + k, height) : y;
            sum += weight[k + radius] * src[(static_cast<int64_t>(from_y) * width + from_x) * 3 + c];
        }
        dst[i] = sum;
    }
};

/* ---- noise: core/rng.h's bits, four uniform numbers of 16 bits each ---- */

struct noise_rule {
    float *image;
    float std[3];
    uint64_t stream;

    template <int WIDTH> M2S_HD void at(int64_t i) const
    {
        uint64_t bits = m2s_device_rng_bits(stream, static_cast<uint64_t>(i));
        uint32_t sum = 0;

        static_assert(WIDTH == 1, "numbers one by one");
        for (int k = 0; k < 4; k++) {
            sum += static_cast<uint32_t>(bits >> (16 * k) & 0xffff);
        }
        image[i] += std[i % 3] * ((static_cast<float>(sum) - 2.0f * 65535.0f) * 2.6428998e-5f);
    }
};

/* ---- the steps of a job ---- */

const m2s_picture_step &last_step(const m2s_augment_job *job)
{
    return job->step[job->steps - 1];
}

int64_t step_pixels(const m2s_picture_step &step)
{
    return static_cast<int64_t>(step.width) * step.height;
}

/* Every step but the last leaves its quads in scratch; a blur its rows, where quads have been. */
size_t scratch_bytes(const m2s_augment_job *job)
{
    size_t quads = 0, blurred = static_cast<size_t>(step_pixels(last_step(job))) * 3 * sizeof(float);

    for (int32_t s = 0; s + 1 < job->steps; s++) {
        quads += static_cast<size_t>(step_pixels(job->step[s])) * sizeof(quad);
    }
    return job->blur_sigma_px > 0.0 && blurred > quads ? blurred : quads;
}

finish finish_of(const m2s_augment_job *job)
{
    finish f;

    f.has_colour = job->has_colour;
    for (int c = 0; c < 3; c++) {
        for (int k = 0; k < 3; k++) {
            f.matrix[c][k] = job->matrix[c][k];
        }
        f.offset[c] = job->offset[c];
        f.mean[c] = job->mean[c];
        f.std[c] = job->std[c];
    }
    return f;
}

int launch_steps(const m2s_cuda_call *call, const m2s_augment_job *job, void *scratch)
{
    quad *plane = static_cast<quad *>(scratch);
    sample_rule rule = {};
    int error = 0;

    rule.bytes = job->rgbm;
    rule.src_width = job->width;
    rule.src_height = job->height;
    rule.done = finish_of(job);
    for (int32_t s = 0; s < job->steps && error == 0; s++) {
        const m2s_picture_step &step = job->step[s];
        bool last = s + 1 == job->steps;
        rule.width = step.width;
        rule.map = step.map;
        rule.border = step.border;
        rule.packed = last ? nullptr : plane;
        rule.image = job->image;
        rule.mask = job->labels == 0 ? job->mask : nullptr;
        rule.binarize = job->binarize;
        error = m2s_launch_each<1>(call, rule, step_pixels(step));
        rule.bytes = nullptr;
        rule.quads = plane;
        rule.src_width = step.width;
        rule.src_height = step.height;
        plane += last ? 0 : step_pixels(step);
    }
    return error;
}

int launch_labels(const m2s_cuda_call *call, const m2s_augment_job *job)
{
    const m2s_picture_step &step = last_step(job);
    label_rule rule = { job->rgbm,  job->width,   job->height,   step.width, job->labels,
                        job->whole, job->one_hot, job->binarize, job->mask };

    return m2s_launch_each<1>(call, rule, step_pixels(step));
}

int launch_blur(const m2s_cuda_call *call, const m2s_augment_job *job, float *rows)
{
    const m2s_picture_step &step = last_step(job);
    double sigma = job->blur_sigma_px, sum = 0.0;
    blur_rule rule = {};

    rule.radius = static_cast<int>(ceil(3.0 * sigma));
    if (rule.radius > MOST_RADIUS) {
        return M2S_CUDA_ERROR_CONFIGURATION;
    }
    for (int k = -rule.radius; k <= rule.radius; k++) {
        sum += exp(-0.5 * (k / sigma) * (k / sigma));
    }
    for (int k = -rule.radius; k <= rule.radius; k++) {
        rule.weight[k + rule.radius] = static_cast<float>(exp(-0.5 * (k / sigma) * (k / sigma)) / sum);
    }
    rule.width = step.width;
    rule.height = step.height;
    rule.src = job->image;
    rule.dst = rows;
    int error = m2s_launch_each<1>(call, rule, 3 * step_pixels(step));
    rule.src = rows;
    rule.dst = job->image;
    rule.down = true;
    return error != 0 ? error : m2s_launch_each<1>(call, rule, 3 * step_pixels(step));
}

} // namespace

extern "C" {
size_t m2s_cuda_augment_scratch_bytes(const m2s_augment_job *job)
{
    return scratch_bytes(job);
}

int m2s_cuda_augment(const m2s_cuda_call *call, const m2s_augment_job *job, void *scratch)
{
    int error = launch_steps(call, job, scratch);

    if (error == 0 && job->labels > 0) {
        error = launch_labels(call, job);
    }
    if (error == 0 && job->blur_sigma_px > 0.0) {
        error = launch_blur(call, job, static_cast<float *>(scratch));
    }
    if (error == 0 && (job->noise_std[0] > 0.0f || job->noise_std[1] > 0.0f || job->noise_std[2] > 0.0f)) {
        noise_rule rule = { job->image,
                            { job->noise_std[0], job->noise_std[1], job->noise_std[2] },
                            job->noise_stream };
        error = m2s_launch_each<1>(call, rule, 3 * step_pixels(last_step(job)));
    }
    return error;
}
}

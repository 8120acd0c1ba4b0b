/* SPDX-License-Identifier: Apache-2.0
 * Maps over the pixels of a (n, h, w, c), some neighbouring channels at a time, whose results depend on numbers at
 * other places than their own. */
#ifndef M2S_BACKENDS_CUDA_PIXELS_CUH
#define M2S_BACKENDS_CUDA_PIXELS_CUH

#include "backends/cuda/pack.cuh"

/* ---- division by a number that stays the same: a multiplication and a shift ---- */

struct m2s_divisor {
    uint32_t by, multiplier, shift;
};

/* by is 1..2^31 - 1. */
static inline m2s_divisor m2s_divisor_of(int64_t by)
{
    m2s_divisor d = { static_cast<uint32_t>(by), 0, 0 };

    while ((int64_t{ 1 } << d.shift) < by) {
        d.shift++;
    }
    d.multiplier = static_cast<uint32_t>(((int64_t{ 1 } << 32) * ((int64_t{ 1 } << d.shift) - by)) / by + 1);
    return d;
}

/* number / d, rounded down; number is not negative. */
M2S_HD inline int64_t m2s_quotient(int64_t number, const m2s_divisor &d)
{
    if (number > INT32_MAX) {
        return number / d.by;
    }
    const uint32_t n = static_cast<uint32_t>(number);

    return (static_cast<uint32_t>(static_cast<uint64_t>(n) * d.multiplier >> 32) + n) >> d.shift;
}

/* ---- places ---- */

/* Some channels of a pixel. */
struct m2s_pixel {
    int channel, x, y;
    int64_t image;
    int64_t pixel; /* counted through all images */
    int64_t at;    /* offset of the first of these channels */
};

struct m2s_pixels {
    m2s_divisor vectors, columns, rows;
    int width;     /* channels at a time */
    int64_t count; /* of vectors, in all */
};

static inline m2s_pixels m2s_pixels_of(m2s_shape shape, int width)
{
    const int64_t vectors = shape.c / width;

    return m2s_pixels{ m2s_divisor_of(vectors), m2s_divisor_of(shape.w), m2s_divisor_of(shape.h), width,
                       shape.n * shape.h * shape.w * vectors };
}

M2S_HD inline m2s_pixel m2s_pixel_at(const m2s_pixels &pixels, int64_t i)
{
    const int64_t pixel = m2s_quotient(i, pixels.vectors), row = m2s_quotient(pixel, pixels.columns);
    m2s_pixel p;

    p.channel = static_cast<int>(i - pixel * pixels.vectors.by) * pixels.width;
    p.x = static_cast<int>(pixel - row * pixels.columns.by);
    p.image = m2s_quotient(row, pixels.rows);
    p.y = static_cast<int>(row - p.image * pixels.rows.by);
    p.pixel = pixel;
    p.at = i * pixels.width;
    return p;
}

/* ---- the map: rule.at<WIDTH>(pixel) makes WIDTH numbers of the result ---- */

template <class Rule, int WIDTH> struct m2s_pixel_map {
    static constexpr int phases = 1;

    Rule rule;
    m2s_pixels pixels;

    M2S_HD void run(int, const m2s_thread &t, char *) const
    {
        for (int64_t i = t.first(); i < pixels.count; i += t.stride()) {
            rule.template at<WIDTH>(m2s_pixel_at(pixels, i));
        }
    }
};

/* Threads of a block, fewer where there is little to do: small maps should still reach every multiprocessor. */
static inline int m2s_map_threads(int64_t count)
{
    return count >= 65536 ? 256 : count >= 32768 ? 128 : 64;
}

static inline m2s_cuda_grid m2s_map_grid(int64_t count, int threads)
{
    const int64_t blocks = (count + threads - 1) / threads, most = 16896; /* 128 for each of 132 multiprocessors */

    return m2s_cuda_grid{ static_cast<int>(blocks < most ? blocks : most), 1, 1 };
}

template <int WIDTH, class Rule> int m2s_launch_pixels(const m2s_cuda_call *call, const Rule &rule, m2s_shape shape)
{
    const m2s_pixel_map<Rule, WIDTH> body = { rule, m2s_pixels_of(shape, WIDTH) };
    const int threads = m2s_map_threads(body.pixels.count);

    return m2s_cuda_launch(call, body, m2s_map_grid(body.pixels.count, threads), threads, 0);
}

/* The most numbers of `size` bytes, up to 16 bytes, that all these counts are multiples of and that can be moved at a
 * time from and to all these places. */
static inline int m2s_width_of(size_t size, const int64_t *counts, int count_count, const void *const *places,
                               int place_count)
{
    for (int width = static_cast<int>(16 / size); width > 1; width /= 2) {
        bool fits = true;
        for (int i = 0; i < count_count; i++) {
            fits = fits && counts[i] % width == 0;
        }
        for (int i = 0; i < place_count; i++) {
            fits = fits && m2s_is_aligned(places[i], width, size);
        }
        if (fits) {
            return width;
        }
    }
    return 1;
}

/* launch(an m2s_width<W>) with W the width, which is at most 16 bytes of T. */
template <int W> struct m2s_width {
    static constexpr int value = W;
};

template <class T, class Launch> int m2s_with_width(int width, const Launch &launch)
{
    if constexpr (sizeof(T) == 2) {
        if (width == 8) {
            return launch(m2s_width<8>{});
        }
    }
    return width == 4 ? launch(m2s_width<4>{}) : width == 2 ? launch(m2s_width<2>{}) : launch(m2s_width<1>{});
}

/* launch(a number of the call's storage type) */
template <class Launch> int m2s_with_storage(const m2s_cuda_call *call, const Launch &launch)
{
    return call->storage == M2SNET_DTYPE_F16    ? launch(m2s_f16{})
           : call->storage == M2SNET_DTYPE_BF16 ? launch(m2s_bf16{})
                                                : launch(0.0f);
}

/* A map over `shape` by the widest vectors that its channels and these places allow. */
template <class T, class Rule>
int m2s_launch_pixels_of(const m2s_cuda_call *call, const Rule &rule, m2s_shape shape, const void *const *places,
                         int place_count)
{
    return m2s_with_width<T>(m2s_width_of(sizeof(T), &shape.c, 1, places, place_count),
                             [&](auto width) { return m2s_launch_pixels<decltype(width)::value>(call, rule, shape); });
}

#endif

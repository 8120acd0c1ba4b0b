/* SPDX-License-Identifier: Apache-2.0
 * The inner loops of resample.c, for one row each. Portable ones are inline, so that a file for an instruction set can
 * compile them again; integers and uncontracted doubles give the same results in any width. */
#ifndef M2S_IMAGE_RESAMPLE_KERNELS_H
#define M2S_IMAGE_RESAMPLE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define M2S_WEIGHT_BITS       22 /* with 8 bits of pixel and 1 of carry the sums fit 31 bits */
#define M2S_WEIGHT_ROUND      ((int32_t)1 << (M2S_WEIGHT_BITS - 1))
#define M2S_WEIGHT_SPLIT_BITS 11 /* of the lower part of a split weight; the upper part is at most 2^11 */
#define M2S_SPLIT_TAPS        4  /* split weights come in fours, the last filled up with zeros */
#define M2S_COLUMNS           64 /* that the vertical kernels keep in registers or the first cache */

/* The filter along one axis: output o is the sum over i < count[o] of weight[o * taps + i] * input[first[o] + i]. */
typedef struct m2s_filter_axis {
    int32_t out;
    int32_t taps; /* a multiple of M2S_SPLIT_TAPS */
    int32_t *first;
    int32_t *count;
    double *real;   /* for floats, or */
    int32_t *fixed; /* for bytes: weights of M2S_WEIGHT_BITS */
    int16_t *split; /* the same; for each four of them their four lower parts, then their four upper parts */
} m2s_filter_axis;

typedef struct m2s_resample_kernels {
    void (*horizontal_u8x1)(const m2s_filter_axis *a, const uint8_t *src, int32_t src_width, uint8_t *dst);
    void (*horizontal_u8x3)(const m2s_filter_axis *a, const uint8_t *src, int32_t src_width, uint8_t *dst);
    /* One output row from count rows, stride bytes (for floats: floats) apart. */
    void (*vertical_u8)(const uint8_t *src, ptrdiff_t stride, const int32_t *weight, int32_t count, uint8_t *dst,
                        ptrdiff_t bytes);
    void (*vertical_f32)(const float *src, ptrdiff_t stride, const double *weight, int32_t count, float *dst,
                         ptrdiff_t width);
} m2s_resample_kernels;

#if defined(__x86_64__)
extern const m2s_resample_kernels m2s_resample_kernels_avx2;
#endif

#define M2S_INLINE static inline __attribute__((always_inline))

/* Weights are not negative, so only the upper end needs clipping: rounded weights may add up to more than one. */
M2S_INLINE uint8_t m2s_weighted_byte(int32_t sum)
{
    int32_t value = sum >> M2S_WEIGHT_BITS;

    return (uint8_t)(value > 255 ? 255 : value);
}

M2S_INLINE void m2s_filter_gray_pixel(const m2s_filter_axis *a, int32_t o, const uint8_t *src, uint8_t *dst)
{
    const uint8_t *pixel = src + a->first[o];
    const int32_t *weight = a->fixed + (ptrdiff_t)o * a->taps;
    int32_t sum = M2S_WEIGHT_ROUND;

    for (int32_t i = 0; i < a->count[o]; i++) {
        sum += weight[i] * pixel[i];
    }
    dst[o] = m2s_weighted_byte(sum);
}

M2S_INLINE void m2s_filter_rgb_pixel(const m2s_filter_axis *a, int32_t o, const uint8_t *src, uint8_t *dst)
{
    const uint8_t *pixel = src + 3 * (ptrdiff_t)a->first[o];
    const int32_t *weight = a->fixed + (ptrdiff_t)o * a->taps;
    int32_t red = M2S_WEIGHT_ROUND;
    int32_t green = M2S_WEIGHT_ROUND;
    int32_t blue = M2S_WEIGHT_ROUND;

    for (int32_t i = 0; i < a->count[o]; i++, pixel += 3) {
        red += weight[i] * pixel[0];
        green += weight[i] * pixel[1];
        blue += weight[i] * pixel[2];
    }
    dst[3 * (ptrdiff_t)o] = m2s_weighted_byte(red);
    dst[3 * (ptrdiff_t)o + 1] = m2s_weighted_byte(green);
    dst[3 * (ptrdiff_t)o + 2] = m2s_weighted_byte(blue);
}

M2S_INLINE void m2s_vertical_u8(const uint8_t *src, ptrdiff_t stride, const int32_t *weight, int32_t count,
                                uint8_t *dst, ptrdiff_t bytes)
{
    ptrdiff_t x = 0;

    for (; x + M2S_COLUMNS <= bytes; x += M2S_COLUMNS) {
        int32_t sum[M2S_COLUMNS];
        for (int j = 0; j < M2S_COLUMNS; j++) {
            sum[j] = M2S_WEIGHT_ROUND;
        }
        for (int32_t i = 0; i < count; i++) {
            const uint8_t *row = src + i * stride + x;
            for (int j = 0; j < M2S_COLUMNS; j++) {
                sum[j] += weight[i] * row[j];
            }
        }
        for (int j = 0; j < M2S_COLUMNS; j++) {
            dst[x + j] = m2s_weighted_byte(sum[j]);
        }
    }
    for (; x < bytes; x++) {
        int32_t sum = M2S_WEIGHT_ROUND;
        for (int32_t i = 0; i < count; i++) {
            sum += weight[i] * src[i * stride + x];
        }
        dst[x] = m2s_weighted_byte(sum);
    }
}

M2S_INLINE void m2s_vertical_f32(const float *src, ptrdiff_t stride, const double *weight, int32_t count, float *dst,
                                 ptrdiff_t width)
{
    ptrdiff_t x = 0;

    for (; x + M2S_COLUMNS <= width; x += M2S_COLUMNS) {
        double sum[M2S_COLUMNS] = { 0 };
        for (int32_t i = 0; i < count; i++) {
            const float *row = src + i * stride + x;
            for (int j = 0; j < M2S_COLUMNS; j++) {
                sum[j] += (double)row[j] * weight[i];
            }
        }
        for (int j = 0; j < M2S_COLUMNS; j++) {
            dst[x + j] = (float)sum[j];
        }
    }
    for (; x < width; x++) {
        double sum = 0.0;
        for (int32_t i = 0; i < count; i++) {
            sum += (double)src[i * stride + x] * weight[i];
        }
        dst[x] = (float)sum;
    }
}

#endif

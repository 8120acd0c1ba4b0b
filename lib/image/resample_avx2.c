/* SPDX-License-Identifier: Apache-2.0
 * Inner loops of resample.c for AVX2. */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "image/resample_kernels.h"

/* Four taps at a time. A weight of 22 bits does not fit the 16-bit multiply-add, but its halves do, and
 * sum(w p) = sum(upper p) 2^11 + sum(lower p) without rounding. */
static void horizontal_u8x3(const m2s_filter_axis *a, const uint8_t *src, int32_t src_width, uint8_t *dst)
{
    /* Pixels 0 and 1 go to the lower half as R0 R1 G0 G1 B0 B1 0 0, pixels 2 and 3 to the upper half. */
    const __m256i spread = _mm256_setr_epi8(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, /* upper half: */
                                            6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1);
    const __m256i low_pairs = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    const __m256i high_pairs = _mm256_setr_epi32(2, 2, 2, 2, 3, 3, 3, 3);
    const ptrdiff_t row_bytes = 3 * (ptrdiff_t)src_width;

    for (int32_t o = 0; o < a->out; o++) {
        int32_t count = a->count[o];
        ptrdiff_t at = 3 * (ptrdiff_t)a->first[o];
        /* The last load of 16 bytes begins 12 bytes a step after the first; near the row's end there is no room. */
        if (at + (count + M2S_SPLIT_TAPS - 1) / M2S_SPLIT_TAPS * 12 + 4 > row_bytes) {
            m2s_filter_rgb_pixel(a, o, src, dst);
            continue;
        }
        const uint8_t *pixel = src + at;
        const int16_t *weight = a->split + 2 * (ptrdiff_t)o * a->taps;
        __m256i lower = _mm256_setzero_si256();
        __m256i upper = _mm256_setzero_si256();
        for (int32_t i = 0; i < count; i += M2S_SPLIT_TAPS, pixel += 12, weight += 2 * M2S_SPLIT_TAPS) {
            __m256i bytes = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)pixel));
            __m256i words = _mm256_shuffle_epi8(bytes, spread);
            __m256i weights = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)weight));
            __m256i low = _mm256_permutevar8x32_epi32(weights, low_pairs);
            __m256i high = _mm256_permutevar8x32_epi32(weights, high_pairs);
            lower = _mm256_add_epi32(lower, _mm256_madd_epi16(words, low));
            upper = _mm256_add_epi32(upper, _mm256_madd_epi16(words, high));
        }
        __m256i both = _mm256_add_epi32(lower, _mm256_slli_epi32(upper, M2S_WEIGHT_SPLIT_BITS));
        __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
        sum = _mm_srli_epi32(_mm_add_epi32(sum, _mm_set1_epi32(M2S_WEIGHT_ROUND)), M2S_WEIGHT_BITS);
        sum = _mm_packus_epi16(_mm_packus_epi32(sum, sum), sum);
        uint32_t rgb = (uint32_t)_mm_cvtsi128_si32(sum);
        memcpy(dst + 3 * (ptrdiff_t)o, &rgb, 3);
    }
}

/* Four taps at a time, as above: lower and upper parts lie side by side. */
static void horizontal_u8x1(const m2s_filter_axis *a, const uint8_t *src, int32_t src_width, uint8_t *dst)
{
    for (int32_t o = 0; o < a->out; o++) {
        int32_t count = a->count[o];
        ptrdiff_t at = a->first[o];
        if (count < M2S_SPLIT_TAPS || at + (count + M2S_SPLIT_TAPS - 1) / M2S_SPLIT_TAPS * 4 > src_width) {
            m2s_filter_gray_pixel(a, o, src, dst);
            continue;
        }
        const int16_t *weight = a->split + 2 * (ptrdiff_t)o * a->taps;
        __m128i sums = _mm_setzero_si128(); /* lower parts in the first two numbers, upper parts in the others */
        for (int32_t i = 0; i < count; i += M2S_SPLIT_TAPS, weight += 2 * M2S_SPLIT_TAPS) {
            int32_t bytes;
            memcpy(&bytes, src + at + i, sizeof bytes);
            __m128i words = _mm_cvtepu8_epi16(_mm_set1_epi32(bytes));
            sums = _mm_add_epi32(sums, _mm_madd_epi16(words, _mm_loadu_si128((const __m128i *)(const void *)weight)));
        }
        __m128i pairs = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, 0xb1));
        int32_t lower = _mm_cvtsi128_si32(pairs);
        int32_t upper = _mm_extract_epi32(pairs, 2);
        dst[o] = m2s_weighted_byte(M2S_WEIGHT_ROUND + lower + upper * (1 << M2S_WEIGHT_SPLIT_BITS));
    }
}

static void vertical_u8(const uint8_t *src, ptrdiff_t stride, const int32_t *weight, int32_t count, uint8_t *dst,
                        ptrdiff_t bytes)
{
    m2s_vertical_u8(src, stride, weight, count, dst, bytes);
}

static void vertical_f32(const float *src, ptrdiff_t stride, const double *weight, int32_t count, float *dst,
                         ptrdiff_t width)
{
    m2s_vertical_f32(src, stride, weight, count, dst, width);
}

const m2s_resample_kernels m2s_resample_kernels_avx2 = { horizontal_u8x1, horizontal_u8x3, vertical_u8, vertical_f32 };
#endif

/* SPDX-License-Identifier: Apache-2.0
 * One vector of floats for the instruction set that this file is compiled for. Included by the kernels_*.c alone.
 * Loads and stores take any address; the _n forms touch n numbers and no more. vecd holds DL = VL / 2 doubles: its
 * arithmetic is written with the compilers' operators. */
#ifndef M2S_BACKENDS_CPU_VEC_H
#define M2S_BACKENDS_CPU_VEC_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline, unused))

#if defined(__AVX512F__)

#include <immintrin.h>
#define VL 16
typedef __m512 vec;

INLINE vec v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
INLINE void v_store(float *p, vec x)
{
    _mm512_storeu_ps(p, x);
}
INLINE __mmask16 v_mask(int64_t n)
{
    return (__mmask16)((1u << n) - 1u);
}
INLINE vec v_load_n(const float *p, int64_t n)
{
    return _mm512_maskz_loadu_ps(v_mask(n), p);
}
INLINE void v_store_n(float *p, vec x, int64_t n)
{
    _mm512_mask_storeu_ps(p, v_mask(n), x);
}
INLINE vec v_set1(float x)
{
    return _mm512_set1_ps(x);
}
INLINE vec v_add(vec a, vec b)
{
    return _mm512_add_ps(a, b);
}
INLINE vec v_sub(vec a, vec b)
{
    return _mm512_sub_ps(a, b);
}
INLINE vec v_mul(vec a, vec b)
{
    return _mm512_mul_ps(a, b);
}
INLINE vec v_fma(vec a, vec b, vec c) /* a b + c */
{
    return _mm512_fmadd_ps(a, b, c);
}
INLINE vec v_fms(vec a, vec b, vec c) /* c - a b */
{
    return _mm512_fnmadd_ps(a, b, c);
}
INLINE vec v_max(vec a, vec b) /* b where a number is missing */
{
    return _mm512_max_ps(a, b);
}
INLINE vec v_abs(vec a)
{
    return _mm512_abs_ps(a);
}
INLINE float v_sum(vec a)
{
    return _mm512_reduce_add_ps(a);
}
INLINE vec v_div(vec a, vec b)
{
    return _mm512_div_ps(a, b);
}
INLINE vec v_sqrt(vec a)
{
    return _mm512_sqrt_ps(a);
}
INLINE vec v_if_greater(vec a, vec b, vec x, vec y) /* x where a > b, else y */
{
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), y, x);
}
INLINE vec v_keep_greater(vec a, vec b, vec x) /* x where a > b, else 0 */
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), x);
}
INLINE vec v_keep_positive(vec a, vec x) /* 0 where a <= 0, else x: a NaN does not hide */
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_NLE_UQ), x);
}

typedef __m512d vecd;

INLINE vecd d_load(const double *p)
{
    return _mm512_loadu_pd(p);
}
INLINE void d_store(double *p, vecd x)
{
    _mm512_storeu_pd(p, x);
}
INLINE vecd d_set1(double x)
{
    return _mm512_set1_pd(x);
}
INLINE vecd d_low(vec x)
{
    return _mm512_cvtps_pd(_mm512_castps512_ps256(x));
}
INLINE vecd d_high(vec x)
{
    return _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
}

#elif defined(__AVX2__)

#include <immintrin.h>
#define VL 8
typedef __m256 vec;

INLINE vec v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
INLINE void v_store(float *p, vec x)
{
    _mm256_storeu_ps(p, x);
}
INLINE __m256i v_mask(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE vec v_load_n(const float *p, int64_t n)
{
    return _mm256_maskload_ps(p, v_mask(n));
}
INLINE void v_store_n(float *p, vec x, int64_t n)
{
    _mm256_maskstore_ps(p, v_mask(n), x);
}
INLINE vec v_set1(float x)
{
    return _mm256_set1_ps(x);
}
INLINE vec v_add(vec a, vec b)
{
    return _mm256_add_ps(a, b);
}
INLINE vec v_sub(vec a, vec b)
{
    return _mm256_sub_ps(a, b);
}
INLINE vec v_mul(vec a, vec b)
{
    return _mm256_mul_ps(a, b);
}
INLINE vec v_fma(vec a, vec b, vec c)
{
    return _mm256_fmadd_ps(a, b, c);
}
INLINE vec v_fms(vec a, vec b, vec c)
{
    return _mm256_fnmadd_ps(a, b, c);
}
INLINE vec v_max(vec a, vec b)
{
    return _mm256_max_ps(a, b);
}
INLINE vec v_abs(vec a)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
INLINE float v_sum(vec a)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
INLINE vec v_div(vec a, vec b)
{
    return _mm256_div_ps(a, b);
}
INLINE vec v_sqrt(vec a)
{
    return _mm256_sqrt_ps(a);
}
INLINE vec v_if_greater(vec a, vec b, vec x, vec y)
{
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}
INLINE vec v_keep_greater(vec a, vec b, vec x)
{
    return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_GT_OQ), x);
}
INLINE vec v_keep_positive(vec a, vec x)
{
    return _mm256_and_ps(_mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_NLE_UQ), x);
}

typedef __m256d vecd;

INLINE vecd d_load(const double *p)
{
    return _mm256_loadu_pd(p);
}
INLINE void d_store(double *p, vecd x)
{
    _mm256_storeu_pd(p, x);
}
INLINE vecd d_set1(double x)
{
    return _mm256_set1_pd(x);
}
INLINE vecd d_low(vec x)
{
    return _mm256_cvtps_pd(_mm256_castps256_ps128(x));
}
INLINE vecd d_high(vec x)
{
    return _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
}

#else

#define VL 4

typedef int32_t vec_bits __attribute__((vector_size(16)));

#if defined(__SSE2__)

#include <emmintrin.h>
typedef __m128 vec;

INLINE vec v_load(const float *p)
{
    return _mm_loadu_ps(p);
}
INLINE void v_store(float *p, vec x)
{
    _mm_storeu_ps(p, x);
}
INLINE vec v_set1(float x)
{
    return _mm_set1_ps(x);
}
INLINE vec v_add(vec a, vec b)
{
    return _mm_add_ps(a, b);
}
INLINE vec v_sub(vec a, vec b)
{
    return _mm_sub_ps(a, b);
}
INLINE vec v_mul(vec a, vec b)
{
    return _mm_mul_ps(a, b);
}
INLINE vec v_fma(vec a, vec b, vec c)
{
    return _mm_add_ps(_mm_mul_ps(a, b), c);
}
INLINE vec v_fms(vec a, vec b, vec c)
{
    return _mm_sub_ps(c, _mm_mul_ps(a, b));
}
INLINE vec v_max(vec a, vec b)
{
    return _mm_max_ps(a, b);
}
INLINE vec v_abs(vec a)
{
    return _mm_andnot_ps(_mm_set1_ps(-0.0f), a);
}
INLINE float v_sum(vec a)
{
    __m128 x = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_shuffle_ps(x, x, 1)));
}
INLINE vec v_sqrt(vec a)
{
    return _mm_sqrt_ps(a);
}

typedef __m128d vecd;

INLINE vecd d_load(const double *p)
{
    return _mm_loadu_pd(p);
}
INLINE void d_store(double *p, vecd x)
{
    _mm_storeu_pd(p, x);
}
INLINE vecd d_set1(double x)
{
    return _mm_set1_pd(x);
}
INLINE vecd d_low(vec x)
{
    return _mm_cvtps_pd(x);
}
INLINE vecd d_high(vec x)
{
    return _mm_cvtps_pd(_mm_movehl_ps(x, x));
}

#elif defined(__aarch64__)

#include <arm_neon.h>
typedef float32x4_t vec;

INLINE vec v_load(const float *p)
{
    return vld1q_f32(p);
}
INLINE void v_store(float *p, vec x)
{
    vst1q_f32(p, x);
}
INLINE vec v_set1(float x)
{
    return vdupq_n_f32(x);
}
INLINE vec v_add(vec a, vec b)
{
    return vaddq_f32(a, b);
}
INLINE vec v_sub(vec a, vec b)
{
    return vsubq_f32(a, b);
}
INLINE vec v_mul(vec a, vec b)
{
    return vmulq_f32(a, b);
}
INLINE vec v_fma(vec a, vec b, vec c)
{
    return vfmaq_f32(c, a, b);
}
INLINE vec v_fms(vec a, vec b, vec c)
{
    return vfmsq_f32(c, a, b);
}
INLINE vec v_max(vec a, vec b)
{
    return vmaxq_f32(a, b);
}
INLINE vec v_abs(vec a)
{
    return vabsq_f32(a);
}
INLINE float v_sum(vec a)
{
    return vaddvq_f32(a);
}
INLINE vec v_sqrt(vec a)
{
    return vsqrtq_f32(a);
}

typedef float64x2_t vecd;

INLINE vecd d_load(const double *p)
{
    return vld1q_f64(p);
}
INLINE void d_store(double *p, vecd x)
{
    vst1q_f64(p, x);
}
INLINE vecd d_set1(double x)
{
    return vdupq_n_f64(x);
}
INLINE vecd d_low(vec x)
{
    return vcvt_f64_f32(vget_low_f32(x));
}
INLINE vecd d_high(vec x)
{
    return vcvt_high_f64_f32(x);
}

#else

typedef float vec __attribute__((vector_size(16)));

INLINE vec v_load(const float *p)
{
    vec x;
    memcpy(&x, p, sizeof x);
    return x;
}
INLINE void v_store(float *p, vec x)
{
    memcpy(p, &x, sizeof x);
}
INLINE vec v_set1(float x)
{
    return (vec){ x, x, x, x };
}
INLINE vec v_add(vec a, vec b)
{
    return a + b;
}
INLINE vec v_sub(vec a, vec b)
{
    return a - b;
}
INLINE vec v_mul(vec a, vec b)
{
    return a * b;
}
INLINE vec v_fma(vec a, vec b, vec c)
{
    return a * b + c;
}
INLINE vec v_fms(vec a, vec b, vec c)
{
    return c - a * b;
}
INLINE vec v_max(vec a, vec b)
{
    vec_bits greater = (vec_bits)(a > b);
    return (vec)((greater & (vec_bits)a) | (~greater & (vec_bits)b));
}
INLINE vec v_abs(vec a)
{
    return (vec)((vec_bits)a & (vec_bits){ INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX });
}
INLINE float v_sum(vec a)
{
    return (a[0] + a[2]) + (a[1] + a[3]);
}
INLINE vec v_sqrt(vec a)
{
    return (vec){ sqrtf(a[0]), sqrtf(a[1]), sqrtf(a[2]), sqrtf(a[3]) };
}

typedef double vecd __attribute__((vector_size(16)));

INLINE vecd d_load(const double *p)
{
    vecd x;
    memcpy(&x, p, sizeof x);
    return x;
}
INLINE void d_store(double *p, vecd x)
{
    memcpy(p, &x, sizeof x);
}
INLINE vecd d_set1(double x)
{
    return (vecd){ x, x };
}
INLINE vecd d_low(vec x)
{
    return (vecd){ (double)x[0], (double)x[1] };
}
INLINE vecd d_high(vec x)
{
    return (vecd){ (double)x[2], (double)x[3] };
}

#endif

INLINE vec v_div(vec a, vec b)
{
    return a / b;
}
INLINE vec v_if_greater(vec a, vec b, vec x, vec y)
{
    vec_bits greater = (vec_bits)(a > b);
    return (vec)((greater & (vec_bits)x) | (~greater & (vec_bits)y));
}
INLINE vec v_keep_greater(vec a, vec b, vec x)
{
    return (vec)((vec_bits)(a > b) & (vec_bits)x);
}
INLINE vec v_keep_positive(vec a, vec x)
{
    return (vec)(~(vec_bits)(a <= v_set1(0.0f)) & (vec_bits)x);
}

INLINE vec v_load_n(const float *p, int64_t n)
{
    float part[VL] = { 0.0f };
    for (int64_t i = 0; i < n; i++) {
        part[i] = p[i];
    }
    return v_load(part);
}
INLINE void v_store_n(float *p, vec x, int64_t n)
{
    float part[VL];
    v_store(part, x);
    for (int64_t i = 0; i < n; i++) {
        p[i] = part[i];
    }
}

#endif

#define DL (VL / 2)

INLINE double d_sum(vecd a)
{
    double part[DL], sum = 0.0;
    d_store(part, a);
    for (int i = 0; i < DL; i++) {
        sum += part[i];
    }
    return sum;
}
INLINE vec v_zero(void)
{
    return v_set1(0.0f);
}
/* max(0, x); a NaN stays one. */
INLINE vec v_relu(vec x)
{
    return v_max(v_zero(), x);
}
INLINE vec v_abs_diff(vec a, vec b)
{
    return v_abs(v_sub(a, b));
}
/* g where x > 0, -g where x < 0, 0 where x is 0. */
INLINE vec v_signed(vec x, vec g)
{
    return v_sub(v_keep_positive(x, g), v_keep_greater(v_zero(), x, g));
}
/* The first n of VL numbers at p; n may exceed VL. */
INLINE vec v_load_part(const float *p, int64_t n)
{
    return n >= VL ? v_load(p) : v_load_n(p, n);
}
INLINE void v_store_part(float *p, vec x, int64_t n)
{
    if (n >= VL) {
        v_store(p, x);
    } else {
        v_store_n(p, x, n);
    }
}

#endif

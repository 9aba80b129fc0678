/* What all kernels in C share: numbers in fp32, one alone or sixteen in a vector, and how they come from memory and
   go back.

   In memory a number is a T: bf16 (as its 16 bits) if the kernel is built with BF16, else fp32. */

#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX2__
#include <immintrin.h>
#endif

/* Whether the CPU multiplies pairs of bf16. */
#if BF16 && defined(__AVX512BF16__)
#define PAIRS 1
#else
#define PAIRS 0
#endif

/* Whether our products are at least as fast as PyTorch's: with AMX, its products are several times as fast. */
#if PAIRS && !defined(__AMX_BF16__)
#define HAS_PAIRS 1
#else
#define HAS_PAIRS 0
#endif

#define LANES 16
#define UNROLLED _Pragma("GCC unroll 16") /* so that sums stay in registers */
#define PARALLEL _Pragma("omp parallel for num_threads(threads) if (threads > 1)")

typedef float vec __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t uvec __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t hvec __attribute__((vector_size(32), aligned(2), may_alias));
typedef int32_t pair __attribute__((aligned(2), may_alias)); /* two bf16 */

#if BF16
typedef uint16_t T;

static inline float number(T t) {
    uint32_t bits = (uint32_t)t << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static inline T stored(float x) { /* to the nearest bf16, halves to even */
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

static inline vec load(const T *p) { return (vec)(__builtin_convertvector(*(const hvec *)p, uvec) << 16); }

static inline void store(T *p, vec v) { /* to the nearest bf16, halves to even */
#ifdef __AVX512BF16__
    *(hvec *)p = (hvec)_mm512_cvtneps_pbh((__m512)v);
#else
    uvec bits = (uvec)v;
    *(hvec *)p = __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, hvec);
#endif
}
#else
typedef float T;

static inline float number(T t) { return t; }
static inline T stored(float x) { return x; }
static inline vec load(const T *p) { return *(const vec *)p; }
static inline void store(T *p, vec v) { *(vec *)p = v; }
#endif

/* The first `count` numbers, and `rest` behind them. */
static inline vec load_some(const T *p, int64_t count, float rest) {
    T some[LANES] = {0};
    memcpy(some, p, count * sizeof(T));
    vec v = load(some);
    for (int64_t l = count; l < LANES; l++) v[l] = rest;
    return v;
}

static inline void store_some(T *p, vec v, int64_t count) {
    T some[LANES];
    store(some, v);
    memcpy(p, some, count * sizeof(T));
}

/* x itself. No compiler takes a product that was rounded so and a sum behind it as one operation. */
static inline float rounded(float x) {
#if defined(__x86_64__)
    __asm__("" : "+x"(x));
#else
    __asm__("" : "+m"(x));
#endif
    return x;
}

static inline vec all(float x) { return (vec){0} + x; }

static inline vec chosen(ivec where, vec a, vec b) { return (vec)((where & (ivec)a) | (~where & (ivec)b)); }

/* The larger and the smaller numbers of a and b. Where one of the two is NaN, that of b. */
#ifdef __AVX512F__
static inline vec larger(vec a, vec b) { return (vec)_mm512_max_ps((__m512)a, (__m512)b); }
static inline vec smaller(vec a, vec b) { return (vec)_mm512_min_ps((__m512)a, (__m512)b); }
#else
static inline vec larger(vec a, vec b) { return chosen(a > b, a, b); }
static inline vec smaller(vec a, vec b) { return chosen(a < b, a, b); }
#endif

#ifdef __AVX512F__
static inline float sum(vec v) { return _mm512_reduce_add_ps((__m512)v); }
static inline float largest(vec v) { return _mm512_reduce_max_ps((__m512)v); }
#else
static inline float sum(vec v) {
    float part[LANES];
    memcpy(part, &v, sizeof(part));
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) part[i] += part[i + half];
    return part[0];
}

static inline float largest(vec v) {
    float top = v[0];
    for (int l = 1; l < LANES; l++) top = v[l] > top ? v[l] : top;
    return top;
}
#endif

/* e^(x - n ln 2), where n is a whole number next to x / ln 2, with an error of some units in the last place. */
static inline vec exponential_of_rest(vec x, vec n) {
    vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    return p * r * r + r + 1.0f;
}

/* e^x; x lies between -87 and 88, or is a NaN as arithmetic makes it. */
static inline vec exponential(vec x) {
    const float shift = 12582912.0f; /* 1.5 · 2^23: a sum with it is rounded to a whole number */
    vec shifted = x * 1.44269504f + shift;
    return (vec)((ivec)exponential_of_rest(x, shifted - shift) + ((ivec)shifted << 23));
}

/* e^x of any x: below -87 it is e^-87, above 88 it is e^88. It is slower than `exponential`. */
static inline vec exponential_of_any(vec x) {
    x = larger(all(-87.0f), smaller(all(88.0f), x));
    vec t = x * 1.44269504f;
    ivec n = __builtin_convertvector(t + chosen(t < 0, all(-0.5f), all(0.5f)), ivec);
    return exponential_of_rest(x, __builtin_convertvector(n, vec)) * (vec)((n + 127) << 23);
}

static inline vec sigmoid(vec x) { /* of NaN it is NaN */
    return 1.0f / (1.0f + exponential(larger(all(-87.0f), smaller(all(87.0f), -x))));
}

/* Products of vectors and matrices, as `step.c` needs them.

   T (`numbers.h`) is the type of weights, keys and values. X is the type of a product's inputs: bf16 where the CPU
   multiplies pairs of bf16 (AVX512-BF16), else float. Sums are in fp32. */

#pragma once

#include <stdlib.h>

#include "native/numbers.h"

#define TILE 256 /* columns of a product that are summed at once */
#define ROWS 16  /* tokens of a product that are summed at once */
#define FOUR 4   /* products that are summed at once */

typedef float (*sums)[TILE];

/* The numbers of a dot product that are summed at once, and the rows of x: as many as there are registers for. */
#ifdef __AVX512F__
#define ROWS_OF_DOTS FOUR
typedef vec lanes;
static inline lanes load_numbers(const T *p) { return load(p); }

/* The sums of four vectors, each added up as `sum` adds it up. */
static inline void sums_of(const lanes v[FOUR], float out[FOUR]) {
    __m512 half[2], c;
    for (int i = 0; i < 2; i++) {
        __m512 a = (__m512)v[2 * i], b = (__m512)v[2 * i + 1];
        half[i] = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    }
    c = _mm512_add_ps(_mm512_shuffle_f32x4(half[0], half[1], 0x88), _mm512_shuffle_f32x4(half[0], half[1], 0xdd));
    c = _mm512_add_ps(c, _mm512_permute_ps(c, 0x4e));
    c = _mm512_add_ps(c, _mm512_permute_ps(c, 0xb1));
    _mm_storeu_ps(out, _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, c)));
}
#else
#define ROWS_OF_DOTS 2
typedef float lanes __attribute__((vector_size(32), aligned(4), may_alias));

static inline lanes load_numbers(const T *p) {
    lanes v;
#if BF16
    for (int l = 0; l < LANES / 2; l++) v[l] = number(p[l]);
#else
    memcpy(&v, p, sizeof(v));
#endif
    return v;
}

/* They are written as one vector, because it is read as one. */
static inline void sums_of(const lanes v[FOUR], float out[FOUR]) {
#ifdef __AVX2__
    __m128 h[FOUR];
    for (int i = 0; i < FOUR; i++)
        h[i] = _mm_add_ps(_mm256_castps256_ps128((__m256)v[i]), _mm256_extractf128_ps((__m256)v[i], 1));
    _mm_storeu_ps(out, _mm_hadd_ps(_mm_hadd_ps(h[0], h[1]), _mm_hadd_ps(h[2], h[3])));
#else
    for (int i = 0; i < FOUR; i++)
        out[i] = ((v[i][0] + v[i][1]) + (v[i][2] + v[i][3])) + ((v[i][4] + v[i][5]) + (v[i][6] + v[i][7]));
#endif
}
#endif

#if PAIRS
typedef uint16_t X;
#define GIVEN(x) stored(x)
#else
typedef float X;
#define GIVEN(x) (x)
#endif

static int64_t fewer(int64_t a, int64_t b) { return a < b ? a : b; }

#if PAIRS
/* The sums of four vectors. */
static inline __m128 four_sums(const __m512 v[4]) {
    __m512 a = _mm512_add_ps(_mm512_shuffle_f32x4(v[0], v[1], 0x88), _mm512_shuffle_f32x4(v[0], v[1], 0xdd));
    __m512 b = _mm512_add_ps(_mm512_shuffle_f32x4(v[2], v[3], 0x88), _mm512_shuffle_f32x4(v[2], v[3], 0xdd));
    __m512 c = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    c = _mm512_add_ps(c, _mm512_permute_ps(c, 0xb1)); /* each sum lies in four lanes now */
    c = _mm512_add_ps(c, _mm512_permute_ps(c, 0x4e));
    return _mm512_castps512_ps128(_mm512_maskz_compress_ps(0x1111, c));
}
#endif

/* out[j][i] = w[i] · x[j], for FOUR rows of w that begin `w_step` apart, and `rows` of x, at most FOUR. */
static inline __attribute__((always_inline)) void dots_of(const T *w, int64_t w_step, const X *x,
                                                          int64_t x_step, int rows, int64_t K,
                                                          float out[FOUR][FOUR]) {
#if PAIRS
    __m512 a[FOUR][FOUR];
    UNROLLED for (int j = 0; j < rows; j++)
        UNROLLED for (int i = 0; i < FOUR; i++) a[j][i] = _mm512_setzero_ps();
    for (int64_t k = 0; k < K; k += 32) {
        __mmask32 left = K - k >= 32 ? ~0u : (1u << (K - k)) - 1;
        __m512bh from[FOUR];
        UNROLLED for (int i = 0; i < FOUR; i++)
            from[i] = (__m512bh)_mm512_maskz_loadu_epi16(left, w + i * w_step + k);
        UNROLLED for (int j = 0; j < rows; j++) {
            __m512bh with = (__m512bh)_mm512_maskz_loadu_epi16(left, x + j * x_step + k);
            UNROLLED for (int i = 0; i < FOUR; i++) a[j][i] = _mm512_dpbf16_ps(a[j][i], from[i], with);
        }
    }
    UNROLLED for (int j = 0; j < rows; j++) _mm_storeu_ps(out[j], four_sums(a[j]));
#else
    lanes a[FOUR][FOUR] = {{{0}}};
    for (int64_t k = 0; k < K; k += sizeof(lanes) / sizeof(float)) {
        lanes with[FOUR];
        UNROLLED for (int j = 0; j < rows; j++) with[j] = *(const lanes *)(x + j * x_step + k);
        UNROLLED for (int i = 0; i < FOUR; i++) {
            lanes from = load_numbers(w + i * w_step + k);
            UNROLLED for (int j = 0; j < rows; j++) a[j][i] += from * with[j];
        }
    }
    UNROLLED for (int j = 0; j < rows; j++) sums_of(a[j], out[j]);
#endif
}

/* The same for fewer rows of w too. */
static void dots(const T *w, int64_t w_step, int64_t words, const X *x, int64_t x_step, int64_t rows,
                 int64_t K, float out[FOUR][FOUR]) {
    if (words < FOUR)
        for (int64_t i = 0; i < words; i++)
            for (int64_t j = 0; j < rows; j++) {
                float one[FOUR][FOUR];
                dots_of(w + i * w_step, 0, x + j * x_step, 0, 1, K, one);
                out[j][i] = one[0][0];
            }
    else {
        int64_t j = 0;
        for (; j + ROWS_OF_DOTS <= rows; j += ROWS_OF_DOTS)
            dots_of(w, w_step, x + j * x_step, x_step, ROWS_OF_DOTS, K, out + j);
        for (; j < rows; j++) dots_of(w, w_step, x + j * x_step, 0, 1, K, out + j);
    }
}

static void clear(sums acc, int64_t rows, int64_t width) {
    for (int64_t t = 0; t < rows; t++) memset(acc[t], 0, width * sizeof(float));
}

/* acc[t] += the columns `first` to `first + width` of x[t] W, for `rows` tokens that lie `x_step` apart.
   K is any number: behind it, x may have any finite numbers up to the next multiple of 16. */
static void add_product(const T *W, int64_t N, const X *x, int64_t x_step, int64_t K, int64_t rows,
                        int64_t first, int64_t width, sums acc) {
#if PAIRS
    /* Rows k and k + 1 of W become one row of pairs, for 32 columns: the first 16, and the others. */
    static const int16_t order[64] = {0,  32, 1,  33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                      8,  40, 9,  41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47,
                                      16, 48, 17, 49, 18, 50, 19, 51, 20, 52, 21, 53, 22, 54, 23, 55,
                                      24, 56, 25, 57, 26, 58, 27, 59, 28, 60, 29, 61, 30, 62, 31, 63};
    __m512i low = _mm512_loadu_si512(order), high = _mm512_loadu_si512(order + 32);
    for (int64_t k = 0; k < K; k += 16)
        for (int64_t c = 0; c < width; c += 2 * LANES) {
            __mmask32 columns = c + LANES < width ? ~0u : 0xffff; /* 32, or the last 16 */
            __m512bh w[8], v[8];
            const T *from = W + k * N + first + c;
            for (int i = 0; i < 8; i++, from += 2 * N) {
                __m512i even = _mm512_maskz_loadu_epi16(k + 2 * i < K ? columns : 0, from);
                __m512i odd = _mm512_maskz_loadu_epi16(k + 2 * i + 1 < K ? columns : 0, from + N);
                /* The next rows, as the CPU does not foresee them; the first cache has no room beside acc */
                __builtin_prefetch(from + 16 * N, 0, 2);
                __builtin_prefetch(from + 17 * N, 0, 2);
                w[i] = (__m512bh)_mm512_permutex2var_epi16(even, low, odd);
                v[i] = (__m512bh)_mm512_permutex2var_epi16(even, high, odd);
            }
            for (int64_t t = 0; t < rows; t++) {
                const pair *pairs = (const pair *)(x + t * x_step + k);
                __m512 a = _mm512_loadu_ps(acc[t] + c), b = _mm512_loadu_ps(acc[t] + c + LANES);
                for (int i = 0; i < 8; i++) {
                    __m512bh both = (__m512bh)_mm512_set1_epi32(pairs[i]);
                    a = _mm512_dpbf16_ps(a, both, w[i]);
                    b = _mm512_dpbf16_ps(b, both, v[i]);
                }
                _mm512_storeu_ps(acc[t] + c, a);
                if (columns == ~0u) _mm512_storeu_ps(acc[t] + c + LANES, b);
            }
        }
#else
    for (int64_t k = 0; k < K; k += 8)
        for (int64_t c = 0; c < width; c += LANES) {
            vec w[8] = {{0}};
            for (int i = 0; i < 8; i++)
                if (k + i < K) {
                    w[i] = load(W + (k + i) * N + first + c);
                    __builtin_prefetch(W + (k + i + 8) * N + first + c, 0, 2); /* as above */
                }
            for (int64_t t = 0; t < rows; t++) {
                vec a = *(vec *)(acc[t] + c);
                for (int i = 0; i < 8; i++) a += x[t * x_step + k + i] * w[i];
                *(vec *)(acc[t] + c) = a;
            }
        }
#endif
}

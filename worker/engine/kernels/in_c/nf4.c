/* Weights in nf4, as bitsandbytes holds them: blocks of numbers with a scale each, and two numbers in a byte, of which
   the first one has the upper four bits. A number is a place in a table of sixteen values between -1 and 1. */

#include "native/numbers.h"

#define LEVELS 16

#if BF16
typedef uint16_t bits;
#define MAGNITUDE 0x7fff
#else
typedef uint32_t bits;
#define MAGNITUDE 0x7fffffff
#endif

/* sixteen values of a table */
static inline vec values_at(const uint8_t *packed, const float *table) {
#ifdef __AVX512F__
    __m128i both = _mm_loadl_epi64((const __m128i *)packed), low = _mm_set1_epi8(15);
    __m128i first = _mm_and_si128(_mm_srli_epi16(both, 4), low), second = _mm_and_si128(both, low);
    __m512i places = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(first, second));
    return (vec)_mm512_permutexvar_ps(places, _mm512_loadu_ps(table));
#elif defined(__AVX2__)
    __m128i both = _mm_loadl_epi64((const __m128i *)packed), low = _mm_set1_epi8(15);
    __m128i places = _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(both, 4), low), _mm_and_si128(both, low));
    __m256 lower = _mm256_loadu_ps(table), upper = _mm256_loadu_ps(table + 8), half[2];
    for (int64_t i = 0; i < 2; i++, places = _mm_srli_si128(places, 8)) {
        __m256i place = _mm256_cvtepu8_epi32(places); /* its three lower bits choose in a half of the table */
        __m256 is_upper = _mm256_castsi256_ps(_mm256_slli_epi32(place, 28));
        half[i] = _mm256_blendv_ps(_mm256_permutevar8x32_ps(lower, place), _mm256_permutevar8x32_ps(upper, place), is_upper);
    }
    return (vec)__builtin_shufflevector(half[0], half[1], 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#else
    vec v;
    for (int64_t i = 0; i < LANES / 2; i++) v[2 * i] = table[packed[i] >> 4], v[2 * i + 1] = table[packed[i] & 15];
    return v;
#endif
}

/* The largest magnitude: that of finite numbers grows with their bits. */
static inline float largest_of(const T *x, int64_t size) {
    bits top = 0;
    for (int64_t i = 0; i < size; i++) {
        bits b;
        memcpy(&b, x + i, sizeof(T));
        b &= MAGNITUDE;
        top = b > top ? b : top;
    }
    T found;
    memcpy(&found, &top, sizeof(T));
    return number(found);
}

/* Integers in the order of the numbers, so that no compiler rounds a product and a comparison with it as one. */
static inline ivec in_order(vec v) { return (ivec)v ^ (((ivec)v >> 31) & 0x7fffffff); }

/* numbers [blocks, size] = the table's values times the scale of each block */
void dequantise(const uint8_t *packed, const float *scales, const float *table, T *numbers, int64_t blocks, int64_t size,
                int64_t threads) {
    PARALLEL for (int64_t block = 0; block < blocks; block++) {
        vec scale = all(scales[block]);
        for (int64_t i = block * size; i < (block + 1) * size; i += LANES)
            store(numbers + i, values_at(packed + i / 2, table) * scale);
    }
}

/* packed and scales [blocks] of numbers [blocks, size]. `bounds` are the fifteen limits between the levels. */
void quantise(const T *numbers, const float *bounds, uint8_t *packed, float *scales, int64_t blocks, int64_t size,
              int64_t threads) {
    ivec limits[LEVELS - 1];
    for (int64_t bound = 0; bound < LEVELS - 1; bound++) limits[bound] = in_order(all(bounds[bound]));
    PARALLEL for (int64_t block = 0; block < blocks; block++) {
        const T *x = numbers + block * size;
        scales[block] = largest_of(x, size);
        vec to_one = all(1.0f / (scales[block] > 1e-38f ? scales[block] : 1e-38f));
        for (int64_t i = 0; i < size; i += LANES) {
            ivec place = in_order(load(x + i) * to_one), level = {0};
            UNROLLED for (int64_t bound = 0; bound < LEVELS - 1; bound++)
                level -= (limits[bound] - place) >> 31; /* one more where the difference is negative */
            int32_t levels[LANES];
            memcpy(levels, &level, sizeof(levels));
            for (int64_t l = 0; l < LANES; l += 2)
                packed[(block * size + i + l) / 2] = (uint8_t)(levels[l] << 4 | levels[l + 1]);
        }
    }
}

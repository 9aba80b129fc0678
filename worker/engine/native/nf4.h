/* Numbers in nf4, as bitsandbytes packs them: two in a byte, of which the first one has the upper four bits. A number
   is a place in a table of sixteen values between -1 and 1. */

#pragma once

#include "native/numbers.h"
#if defined(__AVX2__) && !defined(__AVX512F__)
#include <immintrin.h>
#endif

#ifdef __AVX2__
/* The places of sixteen numbers, in their order. */
static inline __m128i places_at(const uint8_t *packed) {
    __m128i both = _mm_loadl_epi64((const __m128i *)packed), low = _mm_set1_epi8(15);
    return _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(both, 4), low), _mm_and_si128(both, low));
}
#endif

/* sixteen values of a table */
static inline vec values_at(const uint8_t *packed, const float *table) {
#if defined(__AVX512F__)
    return (vec)_mm512_permutexvar_ps(_mm512_cvtepu8_epi32(places_at(packed)), _mm512_loadu_ps(table));
#elif defined(__AVX2__)
    __m128i places = places_at(packed);
    __m256 first = _mm256_loadu_ps(table), second = _mm256_loadu_ps(table + 8), found[2];
    for (int half = 0; half < 2; half++, places = _mm_unpackhi_epi64(places, places)) {
        __m256i eight = _mm256_cvtepu8_epi32(places); /* a permutation reads the lowest three bits of each */
        found[half] = _mm256_blendv_ps(_mm256_permutevar8x32_ps(first, eight), _mm256_permutevar8x32_ps(second, eight),
                                       _mm256_castsi256_ps(_mm256_slli_epi32(eight, 28)));
    }
    vec v;
    memcpy(&v, found, sizeof(v));
    return v;
#else
    vec v;
    for (int64_t i = 0; i < LANES / 2; i++) v[2 * i] = table[packed[i] >> 4], v[2 * i + 1] = table[packed[i] & 15];
    return v;
#endif
}

/* Numbers in nf4, as bitsandbytes packs them: two in a byte, of which the first one has the upper four bits. A number
   is a place in a table of sixteen values between -1 and 1, which are multiplied by a scale. */

#pragma once

#include "native/numbers.h"

#define LEVELS 16

/* A number that a T can have, as a T. */
static inline T exactly(float x) {
#if BF16
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits >> 16;
#else
    return x;
#endif
}

/* Sixteen values, as the CPU looks them up: whole, or each of their four bytes in a table of its own. */
typedef struct {
    float value[LEVELS];
#if defined(__AVX2__) && !defined(__AVX512F__)
    __m256i bytes[4];
#endif
} Levels;

static inline Levels levels_of(const float *values) {
    Levels levels;
    memcpy(levels.value, values, sizeof(levels.value));
#if defined(__AVX2__) && !defined(__AVX512F__)
    uint8_t whole[LEVELS * 4], parts[4][LEVELS];
    memcpy(whole, values, sizeof(whole));
    for (int i = 0; i < LEVELS; i++)
        for (int part = 0; part < 4; part++) parts[part][i] = whole[4 * i + part];
    for (int i = 0; i < 4; i++)
        levels.bytes[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)parts[i]));
#endif
    return levels;
}

#if defined(__AVX2__) && !defined(__AVX512F__)
/* out [32] = the numbers of sixteen bytes. */
static inline void look_up(const uint8_t *packed, const Levels *restrict levels, float scale, T *restrict out) {
    /* The bytes of numbers 0 to 3, 8 to 11, 16 to 19 and 24 to 27, each twice, and of the others */
    const __m256i order = _mm256_setr_epi8(0, 0, 1, 1, 4, 4, 5, 5, 8, 8, 9, 9, 12, 12, 13, 13, /* */
                                           2, 2, 3, 3, 6, 6, 7, 7, 10, 10, 11, 11, 14, 14, 15, 15);
    __m256i both = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)packed));
    __m256i twice = _mm256_shuffle_epi8(both, order);
    __m256i first = _mm256_and_si256(_mm256_srli_epi16(twice, 4), _mm256_set1_epi16(0x000f));
    __m256i places = _mm256_or_si256(first, _mm256_and_si256(twice, _mm256_set1_epi16(0x0f00)));
    __m256i bytes[4], pairs[2][2], found[4];
    UNROLLED for (int i = 0; i < 4; i++) bytes[i] = _mm256_shuffle_epi8(levels->bytes[i], places);
    UNROLLED for (int i = 0; i < 2; i++) {
        pairs[0][i] = _mm256_unpacklo_epi8(bytes[2 * i], bytes[2 * i + 1]);
        pairs[1][i] = _mm256_unpackhi_epi8(bytes[2 * i], bytes[2 * i + 1]);
    }
    UNROLLED for (int i = 0; i < 2; i++) {
        found[2 * i] = _mm256_unpacklo_epi16(pairs[i][0], pairs[i][1]);
        found[2 * i + 1] = _mm256_unpackhi_epi16(pairs[i][0], pairs[i][1]);
    }
    UNROLLED for (int i = 0; i < 4; i++) {
        __m256 eight = _mm256_castsi256_ps(found[i]) * scale;
        for (int l = 0; l < 8; l++) out[8 * i + l] = stored(eight[l]);
    }
}
#endif

/* out [count] = the numbers, which have one scale. `count` is a multiple of 16. */
static inline void decode_nf4(const uint8_t *restrict packed, const Levels *restrict levels, float scale, int64_t count,
                              T *restrict out) {
    int64_t i = 0;
#if defined(__AVX512F__)
    __m512 values = _mm512_loadu_ps(levels->value) * scale;
    __m128i low = _mm_set1_epi8(15);
    for (; i < count; i += LANES) {
        __m128i both = _mm_loadl_epi64((const __m128i *)(packed + i / 2));
        __m128i first = _mm_and_si128(_mm_srli_epi16(both, 4), low), second = _mm_and_si128(both, low);
        __m512i places = _mm512_cvtepu8_epi32(_mm_unpacklo_epi8(first, second));
        store(out + i, (vec)_mm512_permutexvar_ps(places, values));
    }
#elif defined(__AVX2__)
    for (; i + 32 <= count; i += 32) look_up(packed + i / 2, levels, scale, out + i);
#endif
    for (; i < count; i += 2) {
        out[i] = stored(levels->value[packed[i / 2] >> 4] * scale);
        out[i + 1] = stored(levels->value[packed[i / 2] & 15] * scale);
    }
}

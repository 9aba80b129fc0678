/* Weights in nf4, as bitsandbytes holds them: blocks of numbers with a scale each. */

#include "native/nf4.h"

#if BF16
typedef uint16_t bits;
#define MAGNITUDE 0x7fff
#else
typedef uint32_t bits;
#define MAGNITUDE 0x7fffffff
#endif

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
    Levels levels = levels_of(table);
    PARALLEL for (int64_t block = 0; block < blocks; block++) {
        int64_t first = block * size;
        decode_nf4(packed + first / 2, &levels, scales[block], size, numbers + first);
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

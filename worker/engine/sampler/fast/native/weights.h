/* Products with weights whose rows, [N, K], lie in memory as T or in fewer bits.

   Numbers in fewer bits become T for FOUR rows at a time, in the first cache, and are multiplied by all tokens there.
   So memory gives each number once, in the bits that hold it. */

#pragma once

#include "native/nf4.h"
#include "native/products.h"

#define DECODED 1024     /* numbers of a row that are multiplied at once; a multiple of NF4_BLOCK */
#define NF4_BLOCK 64     /* numbers in nf4 with one scale */
#define SCALES_BLOCK 256 /* scales with one scale of their own */
#define LARGEST 127.0f   /* what the largest number of a row is in 8 bits */

typedef float four __attribute__((vector_size(16), aligned(4), may_alias));
typedef enum { AS_T, INT8, NF4 } Form;

typedef struct {
    int64_t last; /* the column behind its own, in a group */
    int64_t form;
    const void *numbers;
    const float *largest; /* INT8: the largest magnitude of each row */
    /* NF4: sixteen values; the place of each block's scale in a table, whose values are multiplied by a scale for
       SCALES_BLOCK blocks and added to an offset. */
    const float *values;
    const uint8_t *scale_places;
    const float *scale_table, *scale_scales, *scale_offset;
} Rows;

/* `count` numbers of one row, from `first` on, as T. In INT8 they lack the row's scale. */
static void decode(const Rows *w, const Levels *levels, int64_t first, int64_t count, T *restrict out) {
    if (w->form == INT8) {
        const int8_t *numbers = (const int8_t *)w->numbers + first;
        for (int64_t i = 0; i < count; i++) out[i] = exactly(numbers[i]);
        return;
    }
    for (int64_t i = 0, of_block; i < count; i += of_block) {
        int64_t at = first + i, block = at / NF4_BLOCK;
        float of_scales = w->scale_scales[block / SCALES_BLOCK];
        float scale = w->scale_table[w->scale_places[block]] * of_scales + *w->scale_offset;
        of_block = fewer((block + 1) * NF4_BLOCK - at, count - i);
        decode_nf4((const uint8_t *)w->numbers + at / 2, levels, scale, of_block, out + i);
    }
}

static float scale_of(const Rows *w, int64_t row) {
    return w->form == INT8 ? w->largest[row] * (1.0f / LARGEST) : 1.0f;
}

/* Fetches `count` numbers of each of some rows early, as the CPU does not foresee them. */
static void fetch(const T *from, int64_t rows, int64_t K, int64_t count) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t d = 0; d < count; d += 64 / (int64_t)sizeof(T)) __builtin_prefetch(from + i * K + d);
}

/* acc[t][n] += x[t] · w[first + n] for `count` rows of w and `tokens` of x. */
static void add_dots(const Rows *w, const X *x, int64_t K, int64_t tokens, int64_t first, int64_t count, sums acc) {
    T room[FOUR][DECODED];
    Levels levels = {{0}};
    if (w->form == NF4) levels = levels_of(w->values);
    for (int64_t k = 0; k < K; k += DECODED)
        for (int64_t n = 0; n < count; n += FOUR) {
            int64_t rows = fewer(count - n, FOUR), numbers = fewer(K - k, DECODED), at = (first + n) * K + k;
            const T *from = w->form == AS_T ? (const T *)w->numbers + at : room[0];
            int64_t step = w->form == AS_T ? K : DECODED;
            if (w->form == AS_T)
                fetch(from + 2 * FOUR * K, rows, K, numbers); /* the rows after the next */
            else
                for (int64_t i = 0; i < rows; i++) decode(w, &levels, at + i * K, numbers, room[i]);
            four scale = {0};
            for (int64_t i = 0; i < rows; i++) scale[i] = scale_of(w, first + n + i);
            for (int64_t t = 0; t < tokens; t += FOUR) {
                float found[FOUR][FOUR] = {{0}}; /* behind the last row it stays 0 */
                int64_t some = fewer(tokens - t, FOUR);
                dots(from, step, rows, x + t * K + k, K, some, numbers, found);
                for (int64_t j = 0; j < some; j++) *(four *)(acc[t + j] + n) += *(four *)found[j] * scale;
            }
        }
}

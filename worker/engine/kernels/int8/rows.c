/* Rounds the rows of a matrix to 8 bits, and turns the products of such rows back into numbers.

   A row x of K numbers becomes q of K bytes with signs, with x ≈ scale q + offset. NaN and infinity in a row
   become a scale of NaN, so that every product of the row is NaN. */

#include "native/numbers.h"

static void quantise_row(const T *x, const float *weight, int64_t columns, float *wide, int8_t *q,
                         float *scale, float *offset) {
    float lowest[LANES], highest[LANES], probe[LANES]; /* the probe is NaN if a number is not finite */
    for (int l = 0; l < LANES; l++) lowest[l] = INFINITY, highest[l] = -INFINITY, probe[l] = 0;
    int64_t whole = columns - columns % LANES;
    for (int64_t k = 0; k < columns; k++) wide[k] = number(x[k]);
    if (weight)
        for (int64_t k = 0; k < columns; k++) wide[k] *= weight[k];
    for (int64_t k = 0; k < whole; k += LANES)
        for (int l = 0; l < LANES; l++) {
            float v = wide[k + l];
            lowest[l] = v < lowest[l] ? v : lowest[l];
            highest[l] = v > highest[l] ? v : highest[l];
            probe[l] += v - v;
        }
    for (int64_t k = whole; k < columns; k++) {
        float v = wide[k];
        lowest[0] = v < lowest[0] ? v : lowest[0];
        highest[0] = v > highest[0] ? v : highest[0];
        probe[0] += v - v;
    }
    float low = INFINITY, high = -INFINITY, odd = 0;
    for (int l = 0; l < LANES; l++) {
        low = lowest[l] < low ? lowest[l] : low;
        high = highest[l] > high ? highest[l] : high;
        odd += probe[l];
    }
    float step = (high - low) / 255, per_step = step > 0 ? 1 / step : 0;
    *scale = step + odd;
    *offset = low + 128 * step + odd;
    for (int64_t k = 0; k < columns; k++) {
        int32_t nearest = (int32_t)((wide[k] - low) * per_step + 0.5f);
        q[k] = (nearest > 255 ? 255 : nearest) - 128;
    }
}

/* x [rows, columns], whose rows are `stride` numbers apart, times `weight` [columns] if there is one, becomes
   q [rows, columns], scale [rows] and offset [rows]. */
void quantise_rows(const T *x, const float *weight, int64_t rows, int64_t columns, int64_t stride,
                   int8_t *q, float *scale, float *offset, int64_t threads) {
    PARALLEL for (int64_t t = 0; t < rows; t++) {
        float wide[columns];
        quantise_row(x + t * stride, weight, columns, wide, q + t * columns, scale + t, offset + t);
    }
}

/* y [rows, columns] = scale product outputs + offset sums + bias, where `sums` [columns] are the products of a
   row of ones. `outputs` [columns], the scales of the other factor, and `bias` [columns] may be missing. */
void rescale_rows(const int32_t *product, const float *scale, const float *offset, const float *outputs,
                  const float *sums, const float *bias, int64_t rows, int64_t columns, T *y,
                  int64_t threads) {
    PARALLEL for (int64_t t = 0; t < rows; t++) {
        const int32_t *from = product + t * columns;
        const float s = scale[t], b = offset[t];
        T *to = y + t * columns;
        for (int64_t n = 0; n < columns; n++) { /* the compiler takes the conditions out of the loop */
            float value = s * from[n];
            if (outputs) value *= outputs[n];
            value += b * sums[n];
            if (bias) value += bias[n];
            to[n] = stored(value);
        }
    }
}

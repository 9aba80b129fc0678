/* Norm and gate, forward and backward. */

#include "native/numbers.h"

static inline vec gated(vec gate, vec up) { return gate * sigmoid(gate) * up; }

/* y [rows, inner] = silu(gate) up, with gate and up side by side in gate_up [rows, 2 inner]. */
void swiglu_values(const T *gate_up, int64_t rows, int64_t inner, T *y, int64_t threads) {
    PARALLEL for (int64_t t = 0; t < rows; t++) {
        const T *gate = gate_up + t * 2 * inner, *up = gate + inner;
        T *to = y + t * inner;
        int64_t i = 0;
        for (; i + LANES <= inner; i += LANES) store(to + i, gated(load(gate + i), load(up + i)));
        if (i < inner)
            store_some(to + i, gated(load_some(gate + i, inner - i, 0), load_some(up + i, inner - i, 0)),
                       inner - i);
    }
}

typedef struct { vec y, dgate, dup; } Gate;
static inline Gate gate_again(vec dy, vec gate, vec up) {
    vec s = sigmoid(gate), activated = gate * s;
    return (Gate){activated * up, dy * up * (s + activated * (1.0f - s)), dy * activated};
}

/* The values once more, y [rows, inner], and dx [rows, 2 inner], the gradients of gate and up side by side. */
void swiglu_again(const T *dy, const T *gate_up, int64_t rows, int64_t inner, T *y, T *dx, int64_t threads) {
    PARALLEL for (int64_t t = 0; t < rows; t++) {
        const T *from = dy + t * inner, *gate = gate_up + t * 2 * inner, *up = gate + inner;
        T *to = y + t * inner, *dgate = dx + t * 2 * inner, *dup = dgate + inner;
        int64_t i = 0;
        for (; i + LANES <= inner; i += LANES) {
            Gate g = gate_again(load(from + i), load(gate + i), load(up + i));
            store(to + i, g.y), store(dgate + i, g.dgate), store(dup + i, g.dup);
        }
        if (i < inner) {
            int64_t n = inner - i;
            Gate g = gate_again(load_some(from + i, n, 0), load_some(gate + i, n, 0), load_some(up + i, n, 0));
            store_some(to + i, g.y, n), store_some(dgate + i, g.dgate, n), store_some(dup + i, g.dup, n);
        }
    }
}

/* y [rows, width] = x rstd weight, with rstd [rows] = 1 / sqrt(mean(x²) + eps); the weight is in fp32. */
void rms_norm_values(const T *x, const float *weight, float eps, int64_t rows, int64_t width, T *y, float *rstd,
                     int64_t threads) {
    int64_t whole = width - width % LANES, rest = width % LANES;
    PARALLEL for (int64_t t = 0; t < rows; t++) {
        const T *from = x + t * width;
        T *to = y + t * width;
        vec squares = {0};
        for (int64_t d = 0; d < whole; d += LANES) squares += load(from + d) * load(from + d);
        if (rest) {
            vec last = load_some(from + whole, rest, 0);
            squares += last * last;
        }
        float scale = rstd[t] = 1.0f / sqrtf(sum(squares) / width + eps);
        for (int64_t d = 0; d < whole; d += LANES)
            store(to + d, load(from + d) * scale * *(const vec *)(weight + d));
        if (rest) {
            vec last = {0};
            memcpy(&last, weight + whole, rest * sizeof(float));
            store_some(to + whole, load_some(from + whole, rest, 0) * scale * last, rest);
        }
    }
}

/* dx [rows, width] = rstd g - x rstd³ mean(g x), with g = dy weight. */
void rms_norm_gradient(const T *dy, const T *x, const float *weight, const float *rstd, int64_t rows,
                       int64_t width, T *dx, int64_t threads) {
    int64_t whole = width - width % LANES, rest = width % LANES;
    vec last_weight = {0};
    memcpy(&last_weight, weight + whole, rest * sizeof(float));
    PARALLEL for (int64_t t = 0; t < rows; t++) {
        const T *from = x + t * width, *by = dy + t * width;
        T *to = dx + t * width;
        vec products = {0}, last_x = {0}, last_g = {0};
        for (int64_t d = 0; d < whole; d += LANES)
            products += load(by + d) * *(const vec *)(weight + d) * load(from + d);
        if (rest) {
            last_x = load_some(from + whole, rest, 0);
            last_g = load_some(by + whole, rest, 0) * last_weight;
            products += last_g * last_x;
        }
        float scale = rstd[t], mean = sum(products) / width * scale * scale * scale;
        for (int64_t d = 0; d < whole; d += LANES)
            store(to + d, load(by + d) * *(const vec *)(weight + d) * scale - load(from + d) * mean);
        if (rest) store_some(to + whole, last_g * scale - last_x * mean, rest);
    }
}

/* y [rows, width] = x rstd weight silu(gate), with the width in whole vectors; rstd as above. */
void gated_norm_values(const T *x, const T *gate, const float *weight, float eps, int64_t rows, int64_t width, T *y,
                       float *rstd, int64_t threads) {
    PARALLEL for (int64_t t = 0; t < rows; t++) {
        int64_t at = t * width;
        vec squares = {0};
        for (int64_t d = 0; d < width; d += LANES) squares += load(x + at + d) * load(x + at + d);
        float scale = rstd[t] = 1.0f / sqrtf(sum(squares) / width + eps);
        for (int64_t d = 0; d < width; d += LANES)
            store(y + at + d, gated(load(gate + at + d), load(x + at + d) * scale * *(const vec *)(weight + d)));
    }
}

/* The gradients of x and of the gate, [rows, width]. */
void gated_norm_gradient(const T *dy, const T *x, const T *gate, const float *weight, const float *rstd, int64_t rows,
                         int64_t width, T *dx, T *dgate, int64_t threads) {
    PARALLEL for (int64_t t = 0; t < rows; t++) {
        int64_t at = t * width;
        vec products = {0};
        for (int64_t d = 0; d < width; d += LANES) {
            vec up = load(x + at + d) * rstd[t] * *(const vec *)(weight + d);
            Gate g = gate_again(load(dy + at + d), load(gate + at + d), up);
            store(dgate + at + d, g.dgate);
            products += g.dup * *(const vec *)(weight + d) * load(x + at + d);
        }
        float scale = rstd[t], mean = sum(products) / width * scale * scale * scale;
        for (int64_t d = 0; d < width; d += LANES) {
            vec g = load(gate + at + d), dn = load(dy + at + d) * g * sigmoid(g) * *(const vec *)(weight + d);
            store(dx + at + d, dn * scale - load(x + at + d) * mean);
        }
    }
}

/* Attention's probabilities and the gradient of its scores, with the products around them: in bf16 on CPUs that multiply
   pairs of bf16 and have no AMX, in fp32 the probabilities alone. Sums are in fp32. Keys that a query does not see cost
   nothing. In bf16, heads have whole FOURs of vectors.

   Row r of batch b sees the keys from first[i] to end[i], with i = (b mod pieces) rows + r. It sees at least one. */

#include <omp.h>

#include "native/products.h"
#include "native/softmax.h"

int has_pairs(void) {
    return HAS_PAIRS;
}

typedef struct { int64_t batch, row; } Steps;                /* from one batch to the next, from one row to the next */
typedef struct { int64_t batches, pieces, rows, keys, size; } Shape;
typedef struct { const T *x; Steps steps; } Rows; /* of heads, [batches, rows or keys, size] */

#if HAS_PAIRS
#define SOME 12 /* rows of a product that are summed at once */
#define WIDE 2  /* vectors of keys that are summed at once */
#define SIX 6   /* rows of the second product that are summed at once, with FOUR vectors of its columns */
#define KEYS (WIDE * LANES)

/* packed [keys / KEYS][size / 2][KEYS], the pairs of KEYS keys side by side, with zeros behind the last key. */
static void pack(const T *x, int64_t step, int64_t keys, int64_t size, int32_t *packed) {
    for (int64_t k0 = 0; k0 < keys; k0 += KEYS, packed += size / 2 * KEYS)
        for (int64_t k = 0; k < KEYS; k++)
            for (int64_t e = 0; e < size / 2; e++)
                packed[e * KEYS + k] = k0 + k < keys ? ((const pair *)(x + (k0 + k) * step))[e] : 0;
}

/* out [SOME, keys] = scale x yᵀ for `rows` rows of x and the packed keys from `from`, a multiple of KEYS, to `to`. */
static void products(const T *x, int64_t step, int64_t rows, const int32_t *packed, int64_t from, int64_t to,
                     int64_t size, float scale, float *out, int64_t out_step) {
    const pair *row[SOME];
    for (int r = 0; r < SOME; r++) row[r] = (const pair *)(x + (r < rows ? r : rows - 1) * step);
    for (int64_t k = from; k < to; k += KEYS) {
        const int32_t *y = packed + k * (size / 2);
        __m512 a[SOME][WIDE];
        UNROLLED for (int r = 0; r < SOME; r++)
            UNROLLED for (int w = 0; w < WIDE; w++) a[r][w] = _mm512_setzero_ps();
        for (int64_t e = 0; e < size / 2; e++) {
            __m512bh some[WIDE];
            UNROLLED for (int w = 0; w < WIDE; w++)
                some[w] = (__m512bh)_mm512_loadu_si512(y + e * KEYS + w * LANES);
            UNROLLED for (int r = 0; r < SOME; r++) {
                __m512bh both = (__m512bh)_mm512_set1_epi32(row[r][e]);
                UNROLLED for (int w = 0; w < WIDE; w++) a[r][w] = _mm512_dpbf16_ps(a[r][w], both, some[w]);
            }
        }
        UNROLLED for (int r = 0; r < SOME; r++)
            UNROLLED for (int w = 0; w < WIDE; w++)
                _mm512_storeu_ps(out + r * out_step + k + w * LANES, a[r][w] * scale);
    }
}

static void softmax_row(float *scores, int64_t keys, T *p) { /* there is room for a whole vector at the end */
    for (int64_t k = keys; k % LANES; k++) scores[k] = -INFINITY;
    vec tops = all(-INFINITY), sums = {0};
    for (int64_t k = 0; k < keys; k += LANES) tops = larger(*(vec *)(scores + k), tops);
    float top = largest(tops);
    for (int64_t k = 0; k < keys; k += LANES) {
        vec e = exponential(larger(all(-87.0f), *(vec *)(scores + k) - top));
        *(vec *)(scores + k) = e;
        sums += e;
    }
    for (int64_t k = keys; k % LANES; k++) sums[k % LANES] -= scores[k];
    float scale = 1.0f / sum(sums);
    int64_t whole = keys - keys % LANES;
    for (int64_t k = 0; k < whole; k += LANES) store(p + k, *(vec *)(scores + k) * scale);
    if (whole < keys) store_some(p + whole, *(vec *)(scores + whole) * scale, keys - whole);
}

static void gradient_row(const float *dp, int64_t keys, const T *p, T *ds) {
    vec sums = {0}, last_d = {0}, last_p = {0};
    int64_t whole = keys - keys % LANES, rest = keys % LANES;
    for (int64_t k = 0; k < whole; k += LANES) sums += *(const vec *)(dp + k) * load(p + k);
    if (rest) {
        last_d = *(const vec *)(dp + whole), last_p = load_some(p + whole, rest, 0);
        for (int64_t l = rest; l < LANES; l++) last_d[l] = 0; /* nobody has written there */
        sums += last_d * last_p;
    }
    float total = sum(sums);
    for (int64_t k = 0; k < whole; k += LANES) store(ds + k, load(p + k) * (*(const vec *)(dp + k) - total));
    if (rest) store_some(ds + whole, last_p * (last_d - total), rest);
}

/* packed [keys / 2][size], pairs of neighbouring keys side by side, with zeros behind the last key. */
static void pack_across(const T *x, int64_t step, int64_t keys, int64_t size, int32_t *packed) {
    for (int64_t k = 0; k < keys; k += 2)
        for (int64_t e = 0; e < size; e++) {
            uint32_t low = x[k * step + e], high = k + 1 < keys ? x[(k + 1) * step + e] : 0;
            packed[k / 2 * size + e] = low | high << 16;
        }
}

/* out [rows, size] = p z, for keys from `from` to `to`; behind the last key p has zeros. */
static void weighted(const T *p, int64_t step, int64_t rows, const int32_t *packed, int64_t from, int64_t to,
                     int64_t size, T *out) {
    for (int64_t r0 = 0; r0 < rows; r0 += SIX)
        for (int64_t e = 0; e < size; e += FOUR * LANES) {
            const pair *row[SIX];
            for (int r = 0; r < SIX; r++) row[r] = (const pair *)(p + (r0 + r < rows ? r0 + r : rows - 1) * step);
            __m512 a[SIX][FOUR];
            UNROLLED for (int r = 0; r < SIX; r++)
                UNROLLED for (int w = 0; w < FOUR; w++) a[r][w] = _mm512_setzero_ps();
            for (int64_t k = from / 2; k < (to + 1) / 2; k++) {
                __m512bh some[FOUR];
                UNROLLED for (int w = 0; w < FOUR; w++)
                    some[w] = (__m512bh)_mm512_loadu_si512(packed + k * size + e + w * LANES);
                UNROLLED for (int r = 0; r < SIX; r++) {
                    __m512bh both = (__m512bh)_mm512_set1_epi32(row[r][k]);
                    UNROLLED for (int w = 0; w < FOUR; w++) a[r][w] = _mm512_dpbf16_ps(a[r][w], both, some[w]);
                }
            }
            UNROLLED for (int r = 0; r < SIX; r++)
                if (r0 + r < rows)
                    UNROLLED for (int w = 0; w < FOUR; w++)
                        store(out + (r0 + r) * size + e + w * LANES, (vec)a[r][w]);
        }
}

/* Numbers of 4 bytes: the keys of a row with whole blocks and a vector behind, and the room of one thread. */
static int64_t padded(const Shape *s) { return (s->keys + KEYS - 1) / KEYS * KEYS + LANES; }
int64_t room(const Shape *s) { return padded(s) * (s->size + 2 * SOME); }

/* Some rows of a batch: out and, if `o` is there, o = out z. Without p, out is softmax(scale x yᵀ). With p, it is
   the gradient of the scores, p (dp - Σ dp p) with dp = scale x yᵀ. */
static void some_rows(const T *x, int64_t x_step, int64_t rows, const Shape *s, const int32_t *first,
                      const int32_t *end, float scale, const T *p, T *out, T *o, const int32_t *y, const int32_t *z,
                      float *scores, T *wide) {
    int64_t from = s->keys, to = 0, step = padded(s);
    for (int64_t r = 0; r < rows; r++) {
        from = first[r] < from ? first[r] : from;
        to = end[r] > to ? end[r] : to;
    }
    products(x, x_step, rows, y, from - from % KEYS, to, s->size, scale, scores, step);
    for (int64_t r = 0; r < rows; r++) {
        float *score = scores + r * step + first[r];
        T *row = wide + r * step;
        int64_t seen = end[r] - first[r];
        memset(row, 0, step * sizeof(T));
        if (p)
            gradient_row(score, seen, p + r * s->keys + first[r], row + first[r]);
        else
            softmax_row(score, seen, row + first[r]);
        memcpy(out + r * s->keys, row, s->keys * sizeof(T));
    }
    if (o) weighted(wide, step, rows, z, from, to, s->size, o);
}

/* For all rows of all batches. Each thread has its own `room`. */
static void all_rows(Rows x, Rows y, Rows z, const Shape *s, const int32_t *first, const int32_t *end, float scale,
                     const T *p, T *out, T *o, int32_t *rooms, int64_t threads) {
    PARALLEL for (int64_t b = 0; b < s->batches; b++) {
        int32_t *packed = rooms + omp_get_thread_num() * room(s), *across = packed + padded(s) * (s->size / 2);
        float *scores = (float *)(packed + padded(s) * s->size);
        T *wide = (T *)(scores + padded(s) * SOME);
        pack(y.x + b * y.steps.batch, y.steps.row, s->keys, s->size, packed);
        if (o) pack_across(z.x + b * z.steps.batch, z.steps.row, s->keys, s->size, across);
        for (int64_t r = 0; r < s->rows; r += SOME) {
            int64_t seen = b % s->pieces * s->rows + r, at = b * s->rows + r;
            int64_t rows = s->rows - r < SOME ? s->rows - r : SOME;
            some_rows(x.x + b * x.steps.batch + r * x.steps.row, x.steps.row, rows, s, first + seen, end + seen,
                      scale, p ? p + at * s->keys : 0, out + at * s->keys, o ? o + at * s->size : 0, packed, across,
                      scores, wide);
        }
    }
}

/* p [batches, rows, keys] = softmax(scale q kᵀ) and, unless `o` is null, the attended values o = p v. */
void attended(const Rows *q, const Rows *k, const Rows *v, const Shape *s, const int32_t *first, const int32_t *end,
              float scale, T *p, T *o, int32_t *rooms, int64_t threads) {
    all_rows(*q, *k, *v, s, first, end, scale, 0, p, o, rooms, threads);
}

/* ds, the gradient of the scores times the scale, and that of the queries, dq = ds k, from that of o. */
void gradients(const Rows *dout, const Rows *v, const Rows *k, const Shape *s, const int32_t *first,
               const int32_t *end, float scale, const T *p, T *ds, T *dq, int32_t *rooms, int64_t threads) {
    all_rows(*dout, *v, *k, s, first, end, scale, p, ds, dq, rooms, threads);
}
#elif !BF16

/* Numbers of the room of one thread: the scores of FOUR rows, with whole vectors and one behind. */
static int64_t padded(const Shape *s) { return (s->keys + 2 * LANES) / LANES * LANES; }
int64_t room(const Shape *s) { return padded(s) * FOUR; }

/* o [rows, size] = scores y / total, one key after the other, as the sampler sums them. */
static void weighted(const float *scores, int64_t step, const float *total, int64_t rows, const T *y, int64_t y_step,
                     int64_t from, int64_t to, int64_t size, T *o) {
    for (int64_t e = 0; e < size; e += FOUR * LANES) {
        int64_t vectors = fewer((size - e) / LANES, FOUR);
        vec a[FOUR][FOUR] = {{{0}}};
        for (int64_t k = from; k < to; k++) {
            vec some[FOUR] = {{0}};
            for (int w = 0; w < vectors; w++) some[w] = load(y + k * y_step + e + w * LANES);
            UNROLLED for (int r = 0; r < FOUR; r++)
                UNROLLED for (int w = 0; w < FOUR; w++) a[r][w] += scores[r * step + k] * some[w];
        }
        for (int64_t r = 0; r < rows; r++)
            for (int w = 0; w < vectors; w++) store(o + r * size + e + w * LANES, a[r][w] / total[r]);
    }
}

/* At most FOUR rows of a batch. */
static void some_rows(const T *x, int64_t x_step, int64_t rows, const Shape *s, const int32_t *first,
                      const int32_t *end, float scale, const T *y, int64_t y_step, const T *z, int64_t z_step, T *p,
                      T *o, float *scores) {
    int64_t from = s->keys, to = 0, step = padded(s);
    float total[FOUR], found[FOUR][FOUR];
    for (int64_t r = 0; r < rows; r++) {
        from = fewer(first[r], from);
        to = end[r] > to ? end[r] : to;
    }
    for (int64_t k = from; k < to; k += FOUR) {
        int64_t keys = fewer(to - k, FOUR);
        dots(y + k * y_step, y_step, keys, x, x_step, rows, s->size, found);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < keys; i++) scores[r * step + k + i] = found[r][i] * scale;
    }
    for (int64_t r = 0; r < FOUR; r++) {
        float *row = scores + r * step;
        if (r >= rows) { /* a row that nobody reads */
            memset(row, 0, step * sizeof(float));
            continue;
        }
        total[r] = exponentials(row + first[r], end[r] - first[r]);
        memset(row, 0, first[r] * sizeof(float));
        memset(row + end[r], 0, (step - end[r]) * sizeof(float));
        for (int64_t k = 0; k < s->keys; k++) p[r * s->keys + k] = row[k] / total[r];
    }
    weighted(scores, step, total, rows, z, z_step, from, to, s->size, o);
}

/* p [batches, rows, keys] = softmax(scale q kᵀ), and the attended values o = p v. Each number is computed as the
   sampler's step computes it, whatever rows and keys are beside. */
void attended(const Rows *q, const Rows *k, const Rows *v, const Shape *s, const int32_t *first, const int32_t *end,
              float scale, T *p, T *o, float *rooms, int64_t threads) {
    PARALLEL for (int64_t b = 0; b < s->batches; b++)
        for (int64_t r = 0; r < s->rows; r += FOUR) {
            int64_t seen = b % s->pieces * s->rows + r, at = b * s->rows + r;
            some_rows(q->x + b * q->steps.batch + r * q->steps.row, q->steps.row, fewer(s->rows - r, FOUR), s,
                      first + seen, end + seen, scale, k->x + b * k->steps.batch, k->steps.row,
                      v->x + b * v->steps.batch, v->steps.row, p + at * s->keys, o + at * s->size,
                      rooms + omp_get_thread_num() * room(s));
        }
}
#endif

/* One step of the sampler on a CPU: a forward pass over the tokens of all requests, with their adapters.

   It computes the same as `ragged.py`, its plain twin, for few tokens many times as fast: PyTorch's products
   do not reach the memory's speed there, and its calls cost more than what they compute. Sums are in fp32.

   T is the type of weights, keys and values: bf16 (as its 16 bits) or float. X is the type of a product's
   inputs: bf16 where the CPU multiplies pairs of bf16 (AVX512-BF16), else float. A matrix W of a group of
   projections lies in memory as [K, N]; the head, and an adapter's A, as [N, K]; s B as [R, N].

   All threads run the same stages. A stage is cut into pieces, and each thread takes the next piece until none
   is left. The next stage begins when all pieces are done, not when all threads have come: beside other
   processes, a thread that got no time holds up nobody. */

#include <math.h>
#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if BF16 && defined(__AVX512BF16__)
#include <immintrin.h>
#define PAIRS 1
#else
#define PAIRS 0
#endif

#define LANES 16
#define TILE 256 /* columns of a product that are summed at once */
#define ROWS 16  /* tokens of a product that are summed at once */
#define PARTS 3  /* the most projections of a group */
#define PIECES 8 /* of a stage, at most */
#define HEAD_PIECES 64
#define STAGES 11 /* of a layer, at most */
#define PATIENCE 4096 /* looks at a counter before a waiting thread gives way */

typedef float vec __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t uvec __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint16_t hvec __attribute__((vector_size(32), aligned(2), may_alias));
typedef int32_t pair __attribute__((aligned(2), may_alias)); /* two bf16 */
typedef float (*sums)[TILE];

static inline vec widened(const uint16_t *p) {
    return (vec)(__builtin_convertvector(*(const hvec *)p, uvec) << 16);
}
static inline uint16_t rounded(float x) { /* to the nearest bf16, halves to even */
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

#if BF16
typedef uint16_t T;
#define LOAD(p) widened(p)
#define STORED(x) rounded(x)
static inline float number(T t) {
    uint32_t bits = (uint32_t)t << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
#else
typedef float T;
#define LOAD(p) (*(const vec *)(p))
#define STORED(x) (x)
static inline float number(T t) { return t; }
#endif

#if PAIRS
typedef uint16_t X;
#define GIVEN(x) rounded(x)
#else
typedef float X;
#define GIVEN(x) (x)
#endif

typedef struct { /* of one adapter in one group of projections; the fields are those of `native/step.py` */
    const T *A;
    int64_t ranks, parts;
    struct { int64_t first, last, rank, last_rank; const T *B; } part[PARTS];
    const T *e;
} Factors;

typedef struct {
    const T *input_norm, *mlp_norm, *qkv, *out, *gate_up, *down;
    T *keys, *values; /* [slots, J·E] */
} Layer;

typedef struct {
    int64_t layers, hidden, inner, heads, key_heads, size, words, block;
    const T *embedding, *head, *final_norm;
    const Layer *layer;
    float eps;
} Model;

typedef struct { /* tokens of one adapter */
    int64_t first, last;
    const Factors *factors; /* four for each layer */
} Run;

typedef struct {
    int64_t tokens, runs, wanted, threads, most_ranks, longest;
    const int64_t *token, *slot, *seen, *blocks_at; /* [T]; a token sees the first `seen` of its request */
    const int32_t *blocks;
    const float *cos, *sin; /* [T, E] */
    const Run *run;
    const int64_t *row; /* [S], the tokens whose logits are wanted */
    float *logits;      /* [S, V] */
} Step;

static float sum(vec v) {
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) v[i] += v[i + half];
    return v[0];
}

static vec chosen(ivec where, vec a, vec b) { return (vec)((where & (ivec)a) | (~where & (ivec)b)); }

static vec exponential(vec x) { /* e^x, with an error of some units in the last place */
    vec zero = {0};
    x = chosen(x < zero - 87.0f, zero - 87.0f, x);
    x = chosen(x > zero + 88.0f, zero + 88.0f, x);
    vec t = x * 1.44269504f;
    ivec n = __builtin_convertvector(t + chosen(t < zero, zero - 0.5f, zero + 0.5f), ivec);
    vec f = __builtin_convertvector(n, vec);
    vec r = x - f * 0.693359375f + f * 2.12194440e-4f;
    vec p = 1.9875691500e-4f * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * (vec)((n + 127) << 23);
}

typedef struct { /* the pieces of a stage that are taken, and those that are done */
    _Alignas(64) atomic_int_fast64_t taken;
    atomic_int_fast64_t done;
} Counter;

static void wait_for(Counter *counter, int64_t pieces) {
    for (int64_t looks = 0; atomic_load_explicit(&counter->done, memory_order_acquire) < pieces; looks++)
        if (looks >= PATIENCE) sched_yield();
}

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/* A piece of `count` things: from first to last. */
typedef struct { int64_t first, last; } Share;
static Share share(int64_t count, int64_t pieces, int64_t piece) {
    return (Share){count * piece / pieces, count * (piece + 1) / pieces};
}

static float dot(const T *w, const X *x, int64_t K) {
#if PAIRS
    __m512 a = _mm512_setzero_ps(), b = a;
    int64_t k = 0;
    for (; k + 64 <= K; k += 64) {
        a = _mm512_dpbf16_ps(a, (__m512bh)_mm512_loadu_si512(w + k), (__m512bh)_mm512_loadu_si512(x + k));
        b = _mm512_dpbf16_ps(b, (__m512bh)_mm512_loadu_si512(w + k + 32),
                             (__m512bh)_mm512_loadu_si512(x + k + 32));
    }
    for (; k < K; k += 32) {
        __mmask32 left = K - k >= 32 ? ~0u : (1u << (K - k)) - 1;
        a = _mm512_dpbf16_ps(a, (__m512bh)_mm512_maskz_loadu_epi16(left, w + k),
                             (__m512bh)_mm512_maskz_loadu_epi16(left, x + k));
    }
    return _mm512_reduce_add_ps(_mm512_add_ps(a, b));
#else
    vec a = {0};
    for (int64_t k = 0; k < K; k += LANES) a += LOAD(w + k) * *(const vec *)(x + k);
    return sum(a);
#endif
}

/* acc[t] = the columns `first` to `first + width` of x[t] W, for `rows` tokens. */
static void product(const T *W, int64_t N, const X *x, int64_t K, int64_t rows, int64_t first, int64_t width,
                    sums acc) {
    memset(acc, 0, rows * sizeof *acc);
#if PAIRS
    uint16_t order[64]; /* lays the columns of two rows of W side by side */
    for (int i = 0; i < 32; i++) order[2 * i] = i, order[2 * i + 1] = i + 32;
    __m512i low = _mm512_loadu_si512(order), high = _mm512_loadu_si512(order + 32);
    for (int64_t k = 0; k < K; k += 16)
        for (int64_t c = 0; c < width; c += 2 * LANES) {
            int wide = c + LANES < width; /* whether there are 32 columns, or the last 16 */
            __m512bh w[8], v[8];
            const T *from = W + k * N + first + c;
            for (int i = 0; i < 8; i++, from += 2 * N) {
                __m512i even = _mm512_maskz_loadu_epi16(wide ? ~0u : 0xffff, from);
                __m512i odd = _mm512_maskz_loadu_epi16(wide ? ~0u : 0xffff, from + N);
                __builtin_prefetch(from + 16 * N); /* the next rows, as the CPU does not foresee them */
                __builtin_prefetch(from + 17 * N);
                w[i] = (__m512bh)_mm512_permutex2var_epi16(even, low, odd);
                v[i] = (__m512bh)_mm512_permutex2var_epi16(even, high, odd);
            }
            for (int64_t t = 0; t < rows; t++) {
                const pair *pairs = (const pair *)(x + t * K + k);
                __m512 a = _mm512_loadu_ps(acc[t] + c), b = _mm512_loadu_ps(acc[t] + c + LANES);
                for (int i = 0; i < 8; i++) {
                    __m512bh both = (__m512bh)_mm512_set1_epi32(pairs[i]);
                    a = _mm512_dpbf16_ps(a, both, w[i]);
                    b = _mm512_dpbf16_ps(b, both, v[i]);
                }
                _mm512_storeu_ps(acc[t] + c, a);
                _mm512_storeu_ps(acc[t] + c + LANES, b);
            }
        }
#else
    for (int64_t k = 0; k < K; k += 8)
        for (int64_t c = 0; c < width; c += LANES) {
            vec w[8];
            for (int i = 0; i < 8; i++) w[i] = LOAD(W + (k + i) * N + first + c);
            for (int64_t t = 0; t < rows; t++) {
                vec a = *(vec *)(acc[t] + c);
                for (int i = 0; i < 8; i++) a += x[t * K + k + i] * w[i];
                *(vec *)(acc[t] + c) = a;
            }
        }
#endif
}

static int64_t all_ranks(const Step *s, int group) {
    int64_t total = 0;
    for (int64_t r = 0; r < s->runs; r++) total += s->run[r].factors[group].ranks;
    return total;
}

/* z = x Aᵀ for the adapters' own tokens, [T, most_ranks], for some of the ranks of all runs. */
static void reduce(const Step *s, int group, const X *x, int64_t K, float *z, Share some) {
    int64_t before = 0;
    for (int64_t r = 0; r < s->runs; r++) {
        const Run *run = &s->run[r];
        const Factors *f = &run->factors[group];
        int64_t from = some.first > before ? some.first - before : 0;
        int64_t to = smaller(some.last - before, f->ranks);
        for (int64_t i = from; i < to; i++)
            for (int64_t t = run->first; t < run->last; t++)
                z[t * s->most_ranks + i] = dot(f->A + i * K, x + t * K, K);
        before += f->ranks;
    }
}

/* Adds z s B to the columns of the tokens from `token` on, and applies the gains. */
static void expand(const Step *s, int group, const float *z, int64_t token, int64_t rows, int64_t first,
                   int64_t width, sums acc) {
    for (int64_t r = 0; r < s->runs; r++) {
        const Run *run = &s->run[r];
        const Factors *f = &run->factors[group];
        int64_t t0 = run->first > token ? run->first : token;
        int64_t t1 = run->last < token + rows ? run->last : token + rows;
        if (t0 >= t1) continue;
        for (int64_t p = 0; p < f->parts; p++) {
            int64_t c0 = f->part[p].first > first ? f->part[p].first : first;
            int64_t c1 = f->part[p].last < first + width ? f->part[p].last : first + width;
            int64_t N = f->part[p].last - f->part[p].first, ranks = f->part[p].last_rank - f->part[p].rank;
            const T *B = f->part[p].B - f->part[p].first;
            for (int64_t c = c0; c < c1; c += LANES)
                for (int64_t i = 0; i < ranks; i += 8) {
                    int64_t some = smaller(ranks - i, 8);
                    vec b[8];
                    for (int64_t j = 0; j < some; j++) b[j] = LOAD(B + (i + j) * N + c);
                    for (int64_t t = t0; t < t1; t++) {
                        const float *own = z + t * s->most_ranks + f->part[p].rank + i;
                        vec a = *(vec *)(acc[t - token] + c - first);
                        for (int64_t j = 0; j < some; j++) a += own[j] * b[j];
                        *(vec *)(acc[t - token] + c - first) = a;
                    }
                }
        }
        if (f->e)
            for (int64_t t = t0; t < t1; t++)
                for (int64_t c = 0; c < width; c += LANES)
                    *(vec *)(acc[t - token] + c) *= 1.0f + LOAD(f->e + first + c);
    }
}

static void norm(const Model *m, const float *x, const T *weight, X *out) {
    vec squares = {0};
    for (int64_t d = 0; d < m->hidden; d += LANES) squares += *(const vec *)(x + d) * *(const vec *)(x + d);
    float scale = 1.0f / sqrtf(sum(squares) / m->hidden + m->eps);
    for (int64_t d = 0; d < m->hidden; d++) out[d] = GIVEN(x[d] * scale * number(weight[d]));
}

static void rotate(const float *in, const float *cos, const float *sin, int64_t size, float *out) {
    int64_t half = size / 2;
    for (int64_t i = 0; i < half; i++) {
        out[i] = in[i] * cos[i] - in[i + half] * sin[i];
        out[i + half] = in[i + half] * cos[i + half] + in[i] * sin[i + half];
    }
}

/* Queries, keys and values by heads: queries are kept, keys and values go to their slots. */
static void project_heads(const Model *m, const Layer *l, const Step *s, int group, const X *x, const float *z,
                          X *queries, Share own, sums acc) {
    int64_t E = m->size, H = m->heads, J = m->key_heads, N = (H + 2 * J) * E;
    int64_t at_once = TILE / E;
    for (int64_t h0 = own.first; h0 < own.last; h0 += at_once)
        for (int64_t t0 = 0; t0 < s->tokens; t0 += ROWS) {
            int64_t rows = smaller(s->tokens - t0, ROWS), some = smaller(own.last - h0, at_once);
            product(l->qkv, N, x + t0 * m->hidden, m->hidden, rows, h0 * E, some * E, acc);
            expand(s, group, z, t0, rows, h0 * E, some * E, acc);
            for (int64_t t = t0; t < t0 + rows; t++)
                for (int64_t h = h0; h < h0 + some; h++) {
                    const float *in = acc[t - t0] + (h - h0) * E;
                    float turned[TILE];
                    if (h < H + J)
                        rotate(in, s->cos + t * E, s->sin + t * E, E, turned);
                    else
                        memcpy(turned, in, E * sizeof(float));
                    if (h < H) {
                        for (int64_t i = 0; i < E; i++) queries[(t * H + h) * E + i] = GIVEN(turned[i]);
                    } else {
                        T *to = h < H + J ? l->keys + (s->slot[t] * J + h - H) * E
                                          : l->values + (s->slot[t] * J + h - H - J) * E;
                        for (int64_t i = 0; i < E; i++) to[i] = STORED(turned[i]);
                    }
                }
        }
}

static int64_t slot_of(const Model *m, const int32_t *blocks, int64_t place) {
    return blocks[place / m->block] * m->block + place % m->block;
}

/* Softmax attention of one query over the first `seen` tokens of its request. */
static void attend(const Model *m, const Layer *l, const X *q, const int32_t *blocks, int64_t seen,
                   int64_t key_head, float *scores, X *out) {
    int64_t E = m->size, J = m->key_heads;
    float scale = 1.0f / sqrtf((float)E), highest = -INFINITY, total;
    for (int64_t i = 0; i < seen; i++) {
        const T *k = l->keys + (slot_of(m, blocks, i) * J + key_head) * E;
        scores[i] = dot(k, q, E) * scale;
        if (scores[i] > highest) highest = scores[i];
    }
    for (int64_t i = seen; i % LANES; i++) scores[i] = -INFINITY;
    vec sums = {0};
    for (int64_t i = 0; i < seen; i += LANES) {
        vec p = exponential(*(vec *)(scores + i) - highest);
        for (int j = 0; j < LANES; j++) if (i + j >= seen) p[j] = 0;
        *(vec *)(scores + i) = p;
        sums += p;
    }
    total = sum(sums);
    vec a[TILE / LANES] = {{0}};
    for (int64_t i = 0; i < seen; i++) {
        const T *v = l->values + (slot_of(m, blocks, i) * J + key_head) * E;
        for (int64_t e = 0; e < E; e += LANES) a[e / LANES] += scores[i] * LOAD(v + e);
    }
    for (int64_t e = 0; e < E; e++) out[e] = GIVEN(a[e / LANES][e % LANES] / total);
}

static void attend_all(const Model *m, const Layer *l, const Step *s, const X *queries, X *out, Share own,
                       float *scores) {
    int64_t H = m->heads, group = H / m->key_heads;
    for (int64_t i = own.first; i < own.last; i++)
        attend(m, l, queries + i * m->size, s->blocks + s->blocks_at[i / H], s->seen[i / H], i % H / group,
               scores, out + i * m->size);
}

/* x += in W with the adapters' updates. */
static void project_back(const Model *m, const T *W, const Step *s, int group, const X *in, int64_t K,
                         const float *z, float *x, Share own, sums acc) {
    int64_t N = m->hidden;
    for (int64_t c = own.first * LANES; c < own.last * LANES; c += TILE)
        for (int64_t t0 = 0; t0 < s->tokens; t0 += ROWS) {
            int64_t rows = smaller(s->tokens - t0, ROWS), width = smaller(own.last * LANES - c, TILE);
            product(W, N, in + t0 * K, K, rows, c, width, acc);
            expand(s, group, z, t0, rows, c, width, acc);
            for (int64_t t = 0; t < rows; t++)
                for (int64_t i = 0; i < width; i++) x[(t0 + t) * N + c + i] += acc[t][i];
        }
}

/* silu(gate) · up */
static void project_gated(const Model *m, const Layer *l, const Step *s, int group, const X *x, const float *z,
                          X *out, Share own, sums gate, sums up) {
    int64_t I = m->inner;
    for (int64_t c = own.first * LANES; c < own.last * LANES; c += TILE)
        for (int64_t t0 = 0; t0 < s->tokens; t0 += ROWS) {
            int64_t rows = smaller(s->tokens - t0, ROWS), width = smaller(own.last * LANES - c, TILE);
            const X *from = x + t0 * m->hidden;
            product(l->gate_up, 2 * I, from, m->hidden, rows, c, width, gate);
            product(l->gate_up, 2 * I, from, m->hidden, rows, I + c, width, up);
            expand(s, group, z, t0, rows, c, width, gate);
            expand(s, group, z, t0, rows, I + c, width, up);
            for (int64_t t = 0; t < rows; t++)
                for (int64_t i = 0; i < width; i += LANES) {
                    vec g = *(vec *)(gate[t] + i);
                    vec y = g / (1.0f + exponential(-g)) * *(vec *)(up[t] + i);
                    for (int j = 0; j < LANES; j++) out[(t0 + t) * I + c + i + j] = GIVEN(y[j]);
                }
        }
}

/* Runs `code` for every piece of a stage, with the piece's share of `count` things as `own`. */
#define STAGE(count, most, code)                                                                      \
    {                                                                                                 \
        Counter *counter = &counters[stage++];                                                        \
        int64_t pieces = smaller(count, most), piece;                                                 \
        while ((piece = atomic_fetch_add_explicit(&counter->taken, 1, memory_order_relaxed)) < pieces) { \
            Share own = share(count, pieces, piece);                                                  \
            code;                                                                                     \
            atomic_fetch_add_explicit(&counter->done, 1, memory_order_release);                       \
        }                                                                                             \
        wait_for(counter, pieces);                                                                    \
    }
#define NORM(weight)                                                                                  \
    STAGE(M, PIECES,                                                                                  \
          for (int64_t t = own.first; t < own.last; t++) norm(m, x + t * D, weight, given + t * D))
#define REDUCE(group, in, K)                                                                          \
    if (s->runs) STAGE(all_ranks(s, group), 2 * PIECES, reduce(s, group, in, K, z, own))

static void *space(int64_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64 + 64); }

/* Computes the logits of the wanted tokens. Returns 0, or 1 if there is too little memory. */
int compute_step(const Model *m, const Step *s) {
    int64_t D = m->hidden, I = m->inner, M = s->tokens, H = m->heads, Q = H * m->size;
    int64_t widest = I > Q ? I : Q, most_scores = (s->longest + 2 * LANES) / LANES * LANES;
    int64_t sums_of_thread = 2 * ROWS * TILE, floats_of_thread = sums_of_thread + most_scores;
    int64_t counters_size = (STAGES * m->layers + 3) * sizeof(Counter);
    float *x = space(M * D * sizeof(float));
    float *z = space(M * s->most_ranks * sizeof(float));
    float *scratch = space(s->threads * floats_of_thread * sizeof(float));
    X *given = space(M * D * sizeof(X)), *wide = space(M * widest * sizeof(X));
    X *queries = space(M * Q * sizeof(X));
    Counter *counters = space(counters_size);
    int failed = !x || !queries || !z || !scratch || !given || !wide || !counters;
    if (!failed) {
        memset(counters, 0, counters_size);
#pragma omp parallel num_threads(s->threads)
        {
            sums gate = (sums)(scratch + omp_get_thread_num() * floats_of_thread), up = gate + ROWS;
            float *scores = scratch + omp_get_thread_num() * floats_of_thread + sums_of_thread;
            int64_t stage = 0;
            STAGE(M, PIECES, for (int64_t i = own.first * D; i < own.last * D; i++) x[i] =
                                 number(m->embedding[s->token[i / D] * D + i % D]))
            for (int64_t i = 0; i < m->layers; i++) {
                const Layer *l = &m->layer[i];
                int group = 4 * i;
                NORM(l->input_norm)
                REDUCE(group, given, D)
                STAGE(H + 2 * m->key_heads, PIECES, project_heads(m, l, s, group, given, z, queries, own, gate))
                STAGE(M * H, 2 * PIECES, attend_all(m, l, s, queries, wide, own, scores))
                REDUCE(group + 1, wide, Q)
                STAGE(D / LANES, PIECES, project_back(m, l->out, s, group + 1, wide, Q, z, x, own, gate))
                NORM(l->mlp_norm)
                REDUCE(group + 2, given, D)
                STAGE(I / LANES, PIECES, project_gated(m, l, s, group + 2, given, z, wide, own, gate, up))
                REDUCE(group + 3, wide, I)
                STAGE(D / LANES, PIECES, project_back(m, l->down, s, group + 3, wide, I, z, x, own, gate))
            }
            STAGE(s->wanted, PIECES, for (int64_t i = own.first; i < own.last; i++)
                                         norm(m, x + s->row[i] * D, m->final_norm, given + i * D))
            STAGE(m->words, HEAD_PIECES, for (int64_t v = own.first; v < own.last; v++)
                                             for (int64_t i = 0; i < s->wanted; i++) s->logits
                      [i * m->words + v] = dot(m->head + v * D, given + i * D, D))
        }
    }
    free(x), free(queries), free(z), free(scratch), free(given), free(wide), free(counters);
    return failed;
}

/* One step of the sampler on a CPU: a forward pass over the tokens of all requests, with their adapters.

   It computes the same as `ragged.py`, its plain twin, for few tokens many times as fast: PyTorch's products
   do not reach the memory's speed there, and its calls cost more than what they compute. Sums are in fp32.

   In fp32 each number is computed in the order in which the trainer's kernels compute it (`kernels/in_c`), so that both
   have the same bits, whatever is computed beside.

   A matrix W of a group of projections lies in memory as [K, N], or in fewer bits as [N, K]; the head, and an adapter's
   A, as [N, K]; s B as [R, N].

   All threads run the same stages. A stage is cut into pieces, and each thread takes the next piece until none
   is left. The next stage begins when all pieces are done, not when all threads have come: beside other
   processes, a thread that got no time holds up nobody. */

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>

#include "attention.h"

#define PIECES 8 /* of a stage, at most */
#define HEAD_PIECES 64
#define STAGES 13 /* of a layer, at most */
#define PATIENCE 4096 /* looks at a counter before a waiting thread gives way */

typedef struct { /* the pieces of a stage that are taken, and those that are done */
    _Alignas(64) atomic_int_fast64_t taken;
    atomic_int_fast64_t done;
} Counter;

static void wait_for(Counter *counter, int64_t pieces) {
    for (int64_t looks = 0; atomic_load_explicit(&counter->done, memory_order_acquire) < pieces; looks++)
        if (looks >= PATIENCE) sched_yield();
}

static Share share(int64_t count, int64_t pieces, int64_t piece) {
    return (Share){count * piece / pieces, count * (piece + 1) / pieces};
}

/* The distance of two tokens in z: behind the ranks there are zeros, as `add_product` asks for. */
static int64_t ranks_step(const Step *s) { return (s->most_ranks + 2 * LANES) / LANES * LANES; }

static int64_t all_ranks(const Step *s, int group) {
    int64_t total = 0;
    for (int64_t r = 0; r < s->spans; r++) total += s->span[r].factors[group].ranks;
    return total;
}

/* z = x Aᵀ for the adapters' own tokens, [T, ranks_step], for some of the ranks of all spans. */
static void reduce(const Step *s, int group, const X *x, int64_t K, X *z, Share some) {
    int64_t before = 0, step = ranks_step(s);
    for (int64_t r = 0; r < s->spans; r++) {
        const Span *span = &s->span[r];
        const Factors *f = &span->factors[group];
        int64_t from = some.first > before ? some.first - before : 0;
        int64_t to = fewer(some.last - before, f->ranks);
        for (int64_t i = from; i < to; i += FOUR)
            for (int64_t t = span->first; t < span->last; t += FOUR) {
                int64_t ranks = fewer(to - i, FOUR), rows = fewer(span->last - t, FOUR);
                float found[FOUR][FOUR];
                dots(f->A + i * K, K, ranks, x + t * K, K, rows, K, found);
                for (int64_t j = 0; j < rows; j++)
                    for (int64_t k = 0; k < ranks; k++) z[(t + j) * step + i + k] = GIVEN(found[j][k]);
            }
        before += f->ranks;
    }
}

/* Adds z s B to the columns of the tokens from `token` on, and applies the gains. */
static void expand(const Step *s, int group, const X *z, int64_t token, int64_t rows, int64_t first,
                   int64_t width, const T *bias, sums acc) {
    int64_t step = ranks_step(s);
    for (int64_t r = 0; r < s->spans; r++) {
        const Span *span = &s->span[r];
        const Factors *f = &span->factors[group];
        int64_t t0 = span->first > token ? span->first : token;
        int64_t t1 = span->last < token + rows ? span->last : token + rows;
        if (t0 >= t1) continue;
        for (int64_t p = 0; p < f->projections; p++) {
            int64_t c0 = f->projection[p].first > first ? f->projection[p].first : first;
            int64_t c1 = f->projection[p].last < first + width ? f->projection[p].last : first + width;
            int64_t N = f->projection[p].last - f->projection[p].first;
            int64_t rank = f->projection[p].rank, ranks = f->projection[p].last_rank - rank;
            if (c0 < c1)
                add_product(f->projection[p].B, N, z + t0 * step + rank, step, ranks, t1 - t0,
                            c0 - f->projection[p].first, c1 - c0, (sums)(acc[t0 - token] + c0 - first));
        }
        if (f->e) /* a gain does not apply to the bias */
            for (int64_t t = t0; t < t1; t++)
                for (int64_t c = 0; c < width; c += LANES) {
                    vec b = bias ? load(bias + first + c) : all(0);
                    *(vec *)(acc[t - token] + c) += (*(vec *)(acc[t - token] + c) - b) * load(f->e + first + c);
                }
    }
}

/* acc[t] = the columns `first` to `first + width` of x[t] W, in whatever form W is. */
static void product(const Weight *w, int64_t N, const X *x, int64_t K, int64_t rows, int64_t first, int64_t width,
                    sums acc) {
    clear(acc, rows, width);
    if (w->W) add_product(w->W, N, x, K, K, rows, first, width, acc);
    else
        for (int64_t p = 0, before = 0; p < PROJECTIONS && before < first + width; before = w->rows[p++].last) {
            int64_t c0 = before > first ? before : first, c1 = fewer(w->rows[p].last, first + width);
            if (c0 < c1) add_dots(&w->rows[p], x, K, rows, c0 - before, c1 - c0, (sums)(acc[0] + c0 - first));
        }
}

/* Columns of x W + b with the adapters' updates, for `rows` tokens from `token` on. */
static void project(const Weight *w, int64_t N, const Step *s, int group, const X *x, int64_t K, const X *z,
                    int64_t token, int64_t rows, int64_t first, int64_t width, sums acc) {
    product(w, N, x + token * K, K, rows, first, width, acc);
    if (w->bias)
        for (int64_t t = 0; t < rows; t++)
            for (int64_t c = 0; c < width; c += LANES) *(vec *)(acc[t] + c) += load(w->bias + first + c);
    expand(s, group, z, token, rows, first, width, w->bias, acc);
}

/* 1 / sqrt(mean(x²) + eps) */
static float norm_scale(const float *x, int64_t size, float eps) {
    vec squares = {0};
    for (int64_t d = 0; d < size; d += LANES) squares += *(const vec *)(x + d) * *(const vec *)(x + d);
    return 1.0f / sqrtf(sum(squares) / size + eps);
}

/* x with a norm, or x itself without a weight. */
static void norm(const Model *m, const float *x, const float *weight, X *out) {
    float scale = weight ? norm_scale(x, m->hidden, m->eps) : 1.0f;
    for (int64_t d = 0; d < m->hidden; d++) out[d] = GIVEN(x[d] * scale * (weight ? weight[d] : 1.0f));
}

/* x += the norm of y, which becomes 0 for the next sums. */
static void add_norm(const Model *m, float *y, const float *weight, float *x) {
    float scale = norm_scale(y, m->hidden, m->eps) * m->added_times;
    for (int64_t d = 0; d < m->hidden; d++) x[d] += y[d] * scale * weight[d], y[d] = 0;
}

/* x cos + pair sin. The first product is rounded, as in PyTorch's `addcmul`, and where CPUs can, the second is not. */
static float rotated(float x, float cos, float pair, float sin) { return rounded(x * cos) + pair * sin; }

static void rotate(const Model *m, const float *in, const float *cos, const float *sin, float *out) {
    int64_t half = m->rotated / 2, apart = m->interleaved ? 1 : half, step = m->interleaved ? 2 : 1;
    for (int64_t i = 0; i < half; i++) {
        int64_t a = i * step, b = a + apart;
        out[a] = rotated(in[a], cos[a], -in[b], sin[a]);
        out[b] = rotated(in[b], cos[b], in[a], sin[b]);
    }
    for (int64_t i = m->rotated; i < m->size; i++) out[i] = in[i];
}

/* Queries, keys and values by heads: queries are kept, keys and values go to their slots. */
static void project_heads(const Model *m, const Layer *l, const Step *s, int group, const X *x, const X *z,
                          X *queries, Share own, sums acc) {
    int64_t E = m->size, H = m->heads, J = m->key_heads, N = (H + 2 * J) * E;
    int64_t at_once = TILE / E;
    for (int64_t h0 = own.first; h0 < own.last; h0 += at_once)
        for (int64_t t0 = 0; t0 < s->tokens; t0 += ROWS) {
            int64_t rows = fewer(s->tokens - t0, ROWS), some = fewer(own.last - h0, at_once);
            project(&l->qkv, N, s, group, x, m->hidden, z, t0, rows, h0 * E, some * E, acc);
            for (int64_t t = t0; t < t0 + rows; t++)
                for (int64_t h = h0; h < h0 + some; h++) {
                    float *in = acc[t - t0] + (h - h0) * E, rotated[TILE];
                    int64_t at = (l->rotation * s->tokens + t) * E;
                    if (h < H + J && l->of_heads) {
                        float scale = norm_scale(in, E, m->eps);
                        for (int64_t i = 0; i < E; i++) in[i] *= scale * l->of_heads[h * E + i];
                    }
                    if (h < H + J)
                        rotate(m, in, s->cos + at, s->sin + at, rotated);
                    else
                        memcpy(rotated, in, E * sizeof(float));
                    if (h < H) {
                        float scale = s->query_scale ? s->query_scale[t] : 1.0f;
                        for (int64_t i = 0; i < E; i++) queries[(t * H + h) * E + i] = GIVEN(rotated[i] * scale);
                    } else {
                        T *to = h < H + J ? l->keys + (s->slot[t] * J + h - H) * E
                                          : l->values + (s->slot[t] * J + h - H - J) * E;
                        for (int64_t i = 0; i < E; i++) to[i] = stored(rotated[i]);
                    }
                }
        }
}

/* x += times (in W + b with the adapters' updates). */
static void project_back(const Model *m, const Weight *w, const Step *s, int group, const X *in, int64_t K,
                         const X *z, float times, float *x, Share own, sums acc) {
    int64_t N = m->hidden;
    for (int64_t c = own.first * LANES; c < own.last * LANES; c += TILE)
        for (int64_t t0 = 0; t0 < s->tokens; t0 += ROWS) {
            int64_t rows = fewer(s->tokens - t0, ROWS), width = fewer(own.last * LANES - c, TILE);
            project(w, N, s, group, in, K, z, t0, rows, c, width, acc);
            for (int64_t t = 0; t < rows; t++)
                for (int64_t i = 0; i < width; i++) x[(t0 + t) * N + c + i] += times * acc[t][i];
        }
}

/* silu(g) = g sigmoid(g). gelu(g), as tanh approximates it, is the same with another power: 2 sqrt(2 / π) (g +
   0.044715 g³). There is no branch, because GCC 12 computes wrong numbers with one (-O3). */
static vec activated(const Model *m, vec g) {
    float first = m->gelu ? 1.59576912f : 1.0f, third = m->gelu ? 0.07135481f : 0.0f;
    return g * sigmoid(g * (first + third * g * g));
}

/* activated(gate) · up */
static void project_gated(const Model *m, const Layer *l, const Step *s, int group, const X *x, const X *z,
                          X *out, Share own, sums gate, sums up) {
    int64_t I = m->inner;
    for (int64_t c = own.first * LANES; c < own.last * LANES; c += TILE)
        for (int64_t t0 = 0; t0 < s->tokens; t0 += ROWS) {
            int64_t rows = fewer(s->tokens - t0, ROWS), width = fewer(own.last * LANES - c, TILE);
            project(&l->gate_up, 2 * I, s, group, x, m->hidden, z, t0, rows, c, width, gate);
            project(&l->gate_up, 2 * I, s, group, x, m->hidden, z, t0, rows, I + c, width, up);
            for (int64_t t = 0; t < rows; t++)
                for (int64_t i = 0; i < width; i += LANES) {
                    vec y = activated(m, *(vec *)(gate[t] + i)) * *(vec *)(up[t] + i);
                    for (int j = 0; j < LANES; j++) out[(t0 + t) * I + c + i + j] = GIVEN(y[j]);
                }
        }
}

/* The first layer's input of some tokens. */
static void embed(const Model *m, const Step *s, float *x, Share own) {
    const Rows *w = m->embedding;
    for (int64_t t = own.first; t < own.last; t++) {
        int64_t at = s->token[t] * m->hidden;
        float scale = scale_of(w, s->token[t]);
        for (int64_t d = 0; d < m->hidden; d++) {
            T value = w->form == AS_T ? ((const T *)w->numbers)[at + d]
                                      : stored(((const int8_t *)w->numbers)[at + d] * scale);
            x[t * m->hidden + d] = number(value) * m->embedding_scale;
        }
    }
}

/* The logits of the wanted tokens, for some of the fours of words. */
static void rate_words(const Model *m, const Step *s, const X *x, Share own, sums acc) {
    int64_t end = fewer(own.last * FOUR, m->words);
    for (int64_t v = own.first * FOUR; v < end; v += TILE)
        for (int64_t t0 = 0; t0 < s->wanted; t0 += ROWS) {
            int64_t words = fewer(end - v, TILE), rows = fewer(s->wanted - t0, ROWS);
            clear(acc, rows, words);
            add_dots(m->head, x + t0 * m->hidden, m->hidden, rows, v, words, acc);
            for (int64_t t = 0; t < rows; t++)
                memcpy(s->logits + (t0 + t) * m->words + v, acc[t], words * sizeof(float));
        }
}

/* Runs `code` for every piece of a stage, with the piece's share of `count` things as `own`. */
#define STAGE(count, most, code)                                                                      \
    {                                                                                                 \
        Counter *counter = &counters[stage++];                                                        \
        int64_t pieces = fewer(count, most), piece;                                                 \
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
#define ADD_NORM(weight) /* of what project_back has left in `added` */                               \
    if (weight) STAGE(M, PIECES, for (int64_t t = own.first; t < own.last; t++)                       \
                                     add_norm(m, added + t * D, weight, x + t * D))
#define REDUCE(group, in, K)                                                                          \
    if (s->spans) STAGE(all_ranks(s, group), 2 * PIECES, reduce(s, group, in, K, z, own))

int has_pairs(void) { return HAS_PAIRS; }

static void *space(int64_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64 + 64); }

/* Computes the logits of the wanted tokens. Returns 0, or 1 if there is too little memory. */
int compute_step(const Model *m, const Step *s) {
    int64_t D = m->hidden, I = m->inner, M = s->tokens, H = m->heads, Q = H * m->size;
    int64_t widest = I > Q ? I : Q;
    int64_t sums_of_thread = 2 * ROWS * TILE, floats_of_thread = sums_of_thread + FOUR * scores_of(s);
    int64_t counters_size = (STAGES * m->layers + 3) * sizeof(Counter);
    float *x = space(M * D * sizeof(float)), *added = space(M * D * sizeof(float));
    float *scratch = space(s->threads * floats_of_thread * sizeof(float));
    X *given = space(M * D * sizeof(X)), *wide = space(M * widest * sizeof(X));
    X *queries = space(M * Q * sizeof(X)), *z = space(M * ranks_step(s) * sizeof(X));
    Counter *counters = space(counters_size);
    int failed = !x || !added || !queries || !z || !scratch || !given || !wide || !counters;
    if (!failed) {
        memset(counters, 0, counters_size);
        memset(z, 0, M * ranks_step(s) * sizeof(X));
        memset(added, 0, M * D * sizeof(float));
#pragma omp parallel num_threads(s->threads)
        {
            sums gate = (sums)(scratch + omp_get_thread_num() * floats_of_thread), up = gate + ROWS;
            float *scores = scratch + omp_get_thread_num() * floats_of_thread + sums_of_thread;
            int64_t stage = 0;
            STAGE(M, PIECES, embed(m, s, x, own))
            for (int64_t i = 0; i < m->layers; i++) {
                const Layer *l = &m->layer[i];
                int group = 4 * i;
                /* A norm behind adds to x itself, and multiplies what it adds. */
                float *attended_to = l->after_attention ? added : x, *mlp_to = l->after_mlp ? added : x;
                float attended_times = l->after_attention ? 1.0f : m->added_times;
                float mlp_times = l->after_mlp ? 1.0f : m->added_times;
                NORM(l->before_attention)
                REDUCE(group, given, D)
                STAGE(H + 2 * m->key_heads, PIECES,
                      project_heads(m, l, s, group, given, z, queries, own, gate))
                STAGE(M * m->key_heads, 2 * PIECES, attend_all(m, l, s, queries, wide, own, scores))
                REDUCE(group + 1, wide, Q)
                STAGE(D / LANES, PIECES,
                      project_back(m, &l->out, s, group + 1, wide, Q, z, attended_times, attended_to, own, gate))
                ADD_NORM(l->after_attention)
                NORM(l->before_mlp)
                REDUCE(group + 2, given, D)
                STAGE(I / LANES, PIECES, project_gated(m, l, s, group + 2, given, z, wide, own, gate, up))
                REDUCE(group + 3, wide, I)
                STAGE(D / LANES, PIECES,
                      project_back(m, &l->down, s, group + 3, wide, I, z, mlp_times, mlp_to, own, gate))
                ADD_NORM(l->after_mlp)
            }
            STAGE(s->wanted, PIECES, for (int64_t i = own.first; i < own.last; i++)
                                         norm(m, x + s->row[i] * D, m->final_norm, given + i * D))
            STAGE((m->words + FOUR - 1) / FOUR, HEAD_PIECES, rate_words(m, s, given, own, gate))
        }
    }
    free(x), free(added), free(queries), free(z), free(scratch), free(given), free(wide), free(counters);
    return failed;
}

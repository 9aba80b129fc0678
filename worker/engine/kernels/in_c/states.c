/* The gated delta rule and Mamba2's recurrence over a forest of segments (`kernels/states/scan.py`), in fp32.

   Each head goes through the chunks of a tree. With S [E, U] the state before a chunk, b the sum of g from the
   chunk's start, γ = exp(b), and n the chunk's last token:

       y_i = v_i - γ_i Sᵀk_i - Σ_j<i N_ij u_j,  u = β y        N_ij = exp(b_i - b_j) k_i·k_j
       o_i = γ_i Sᵀq_i + Σ_j≤i P_ij u_j                        P_ij = exp(b_i - b_j) q_i·k_j
       S  <- γ_n S + Σ_j exp(b_n - b_j) k_j u_jᵀ

   Without the delta, y = v. The backward pass finds y and the states once more, then it goes back through the
   chunks. dx is the gradient of x. A chunk's matrices of tokens by tokens have rows of `chunk` numbers. */

#include <omp.h>

#include "native/numbers.h"

#if defined(__AVX512F__)
#define WIDTH LANES
#elif defined(__AVX__)
#define WIDTH 8
#else
#define WIDTH 4
#endif
#define PARTS (LANES / WIDTH)
#define ROWS (12 / PARTS) /* of a product that are summed at once: as many as the registers hold */
#define BLOCK 16          /* rows of a triangular system that are solved one after the other */
#define LEAST -60.0f      /* a decay by less than e^-60 is none: it would only make numbers too small to be fast */
#define AHEAD 4            /* rows that are fetched before they are read: they lie far apart */
#define NORM_EPS 1e-6f

typedef float part __attribute__((vector_size(4 * WIDTH), aligned(4), may_alias));

typedef struct { const float *x; int64_t token, head; } Heads;   /* steps from one token and head to the next */
typedef struct { Heads q, k, v, g, beta; } Inputs;
typedef struct { float *q, *k, *v, *g, *beta; } Gradients;       /* by token and head of values, without gaps */
typedef struct { int64_t start, end, before, continued; } Chunk; /* `before` is the chunk before it, or -1 */
typedef struct {
    int64_t keys, values;           /* E and U, in whole vectors */
    int64_t heads, shared;          /* heads of values, of which so many share one of keys */
    int64_t chunk, trees, longest;  /* the most tokens of a chunk; trees, and the most chunks of one */
    int64_t delta, normed;
    float scale;
} Shape;

static inline int64_t fewer(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t whole(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

static inline vec decay(vec x) { /* e^x of x ≤ 0 */
    return chosen(x < LEAST, (vec){0}, exponential(larger(all(LEAST), x)));
}

/* What a thread holds of one chunk; and of each chunk of a tree. */
typedef struct {
    float *q, *k, *q_length, *k_length;   /* as they are multiplied, and the factors that made them so long */
    float *beta, *b, *gamma, *to_end;
    float *decays, *P, *minus_N, *dP, *dN; /* zero above the diagonal */
    float *across, *S_across, *u, *wide;
    float *dO, *dX, *w, *dq, *dk, *dk_before; /* dk: of k as the earlier and as the later token of a pair */
    float *states, *y, *dstates;              /* behind the chunk; y of its tokens; the gradients of the states */
} Room;

static int64_t carve(const Shape *s, int backward, float *from, Room *m) {
    int64_t C = s->chunk, E = s->keys, U = s->values, most = E > U ? E : U, tree = s->longest;
    struct { float **part; int64_t size; } parts[] = {
        {&m->q, C * E}, {&m->k, C * E}, {&m->q_length, C}, {&m->k_length, C}, {&m->beta, C}, {&m->b, C},
        {&m->gamma, C}, {&m->to_end, C}, {&m->decays, C * C}, {&m->P, C * C}, {&m->minus_N, C * C},
        {&m->across, most * C}, {&m->u, C * U}, {&m->wide, C * most}, {&m->states, tree * E * U},
        {&m->y, (backward ? tree : 1) * C * U},
        /* for the backward pass alone */
        {&m->dP, C * C}, {&m->dN, C * C}, {&m->S_across, E * U}, {&m->dO, C * U}, {&m->dX, C * U}, {&m->w, C * U},
        {&m->dq, C * E}, {&m->dk, C * E}, {&m->dk_before, C * E}, {&m->dstates, tree * E * U}};
    int64_t used = 0;
    for (int i = 0; i < (backward ? 26 : 16); used += whole(parts[i++].size))
        if (from) *parts[i].part = from + used;
    return used;
}

int64_t room(const Shape *s, int backward) { /* in numbers, of each thread */
    Room unused;
    return carve(s, backward, 0, &unused);
}

typedef struct { const float *x; int64_t row, column; } Matrix;      /* steps from one row and column to the next */
enum Form { WHOLE, LOWER, UPPER, RESULT_LOWER }; /* which triangle of the left matrix, or of the result, counts */

/* out [M, N] += a [M, K] b [K, N], with N in whole vectors. */
static void add_product(int64_t M, int64_t N, int64_t K, Matrix a, const float *b, int64_t b_row, float *out,
                        int64_t out_row, enum Form form) {
    for (int64_t i = 0; i < M; i += ROWS) {
        int64_t rows = fewer(ROWS, M - i), from = form == UPPER ? i : 0;
        int64_t to = form == LOWER ? fewer(K, i + ROWS) : K;
        int64_t width = form == RESULT_LOWER ? fewer(N, whole(i + ROWS)) : N;
        const float *row[ROWS];
        UNROLLED for (int r = 0; r < ROWS; r++) row[r] = a.x + (i + fewer(r, rows - 1)) * a.row;
        for (int64_t n = 0; n < width; n += LANES) {
            part sums[ROWS][PARTS];
            UNROLLED for (int r = 0; r < ROWS; r++)
                UNROLLED for (int p = 0; p < PARTS; p++) sums[r][p] = (part){0};
            for (int64_t k = from; k < to; k++) {
                part with[PARTS];
                UNROLLED for (int p = 0; p < PARTS; p++) with[p] = *(const part *)(b + k * b_row + n + p * WIDTH);
                UNROLLED for (int r = 0; r < ROWS; r++)
                    UNROLLED for (int p = 0; p < PARTS; p++) sums[r][p] += row[r][k * a.column] * with[p];
            }
            UNROLLED for (int r = 0; r < ROWS; r++)
                if (r < rows)
                    UNROLLED for (int p = 0; p < PARTS; p++)
                        *(part *)(out + (i + r) * out_row + n + p * WIDTH) += sums[r][p];
        }
    }
}

static void clear(float *x, int64_t count) { memset(x, 0, count * sizeof(float)); }

static float dot(const float *x, const float *y, int64_t size) {
    vec sums = {0};
    for (int64_t e = 0; e < size; e += LANES) sums += *(const vec *)(x + e) * *(const vec *)(y + e);
    return sum(sums);
}

static void write_times(float *out, float factor, const float *x, int64_t size) {
    for (int64_t e = 0; e < size; e += LANES) *(vec *)(out + e) = factor * *(const vec *)(x + e);
}

static void add_times(float *out, float factor, const float *x, int64_t size) {
    for (int64_t e = 0; e < size; e += LANES) *(vec *)(out + e) += factor * *(const vec *)(x + e);
}

static void scale_rows(float *out, const float *factors, float sign, const float *x, int64_t rows, int64_t size) {
    for (int64_t i = 0; i < rows; i++) write_times(out + i * size, sign * factors[i], x + i * size, size);
}

/* out [columns, out_row], with zeros up to a whole vector. The columns are whole vectors. */
static void transpose(const float *x, int64_t rows, int64_t columns, float *out, int64_t out_row) {
    for (int64_t r0 = 0; r0 < rows; r0 += LANES)
        for (int64_t c0 = 0; c0 < columns; c0 += LANES) {
            float tile[LANES][LANES] = {{0}};
            for (int64_t r = 0; r < fewer(LANES, rows - r0); r++)
                memcpy(tile[r], x + (r0 + r) * columns + c0, sizeof(tile[r]));
            for (int64_t c = 0; c < LANES; c++)
                for (int64_t r = 0; r < LANES; r++) out[(c0 + c) * out_row + r0 + r] = tile[r][c];
        }
}

/* out [n, size]: the rows of a head, with the length `scale` if they are normed. */
static void load_rows(Heads from, int64_t head, const Chunk *c, int64_t size, int normed, float scale, float *out,
                      float *lengths) {
    for (int64_t t = c->start; t < c->end; t++, out += size) {
        const float *x = from.x + t * from.token + head * from.head;
        for (int64_t e = 0; e < size; e += LANES) __builtin_prefetch(x + AHEAD * from.token + e);
        float length = normed ? 1.0f / sqrtf(dot(x, x, size) + NORM_EPS) : 1.0f;
        if (lengths) *lengths++ = length;
        write_times(out, length * scale, x, size);
    }
}

static void find_decays(const Room *m, const Shape *s, const Inputs *in, int64_t head, const Chunk *c) {
    int64_t n = c->end - c->start;
    float b = 0;
    for (int64_t i = 0; i < n; i++) {
        m->b[i] = b += in->g.x[(c->start + i) * in->g.token + head * in->g.head];
        m->beta[i] = in->beta.x[(c->start + i) * in->beta.token + head * in->beta.head];
    }
    for (int64_t i = n; i < whole(n); i++) m->b[i] = b;
    for (int64_t i = 0; i < n; i += LANES) {
        vec here = *(const vec *)(m->b + i);
        *(vec *)(m->gamma + i) = decay(here);
        *(vec *)(m->to_end + i) = decay(b - here);
    }
    for (int64_t i = 0; i < n; i++) {
        float *row = m->decays + i * s->chunk;
        for (int64_t j = 0; j <= i; j += LANES)
            *(vec *)(row + j) = decay(smaller(all(0), m->b[i] - *(const vec *)(m->b + j)));
        for (int64_t j = i + 1; j < whole(i + 1); j++) row[j] = 0;
    }
}

/* out [n, n] = x yᵀ times the decays, where `across` holds yᵀ. */
static void decayed_products(const Room *m, const Shape *s, int64_t n, const float *x, int64_t size, float sign,
                             float *out) {
    int64_t C = s->chunk;
    clear(out, n * C);
    add_product(n, whole(n), size, (Matrix){x, size, 1}, m->across, C, out, C, RESULT_LOWER);
    for (int64_t i = 0; i < n; i++) {
        float *row = out + i * C;
        const float *decays = m->decays + i * C;
        for (int64_t j = 0; j <= i; j += LANES) *(vec *)(row + j) *= sign * *(const vec *)(decays + j);
        clear(row + i + 1, C - i - 1);
    }
}

static void without_diagonal(float *x, int64_t n, int64_t row) {
    for (int64_t i = 0; i < n; i++) x[i * row + i] = 0;
}

/* All of a chunk that follows from its own inputs. */
static void load_chunk(const Room *m, const Shape *s, const Inputs *in, int64_t head, const Chunk *c,
                       int with_queries) {
    int64_t n = c->end - c->start, E = s->keys, of_keys = head / s->shared;
    find_decays(m, s, in, head, c);
    load_rows(in->k, of_keys, c, E, s->normed, 1.0f, m->k, m->k_length);
    transpose(m->k, n, E, m->across, s->chunk);
    if (with_queries) {
        load_rows(in->q, of_keys, c, E, s->normed, s->scale, m->q, m->q_length);
        decayed_products(m, s, n, m->q, E, 1.0f, m->P);
    }
    if (s->delta) {
        decayed_products(m, s, n, m->k, E, -1.0f, m->minus_N);
        without_diagonal(m->minus_N, n, s->chunk);
    }
}

/* y, and u = β y. */
static void find_updates(const Room *m, const Shape *s, const Inputs *in, int64_t head, const Chunk *c,
                         const float *S, float *y) {
    int64_t n = c->end - c->start, C = s->chunk, E = s->keys, U = s->values;
    load_rows(in->v, head, c, U, 0, 1.0f, y, 0);
    if (S && s->delta) {
        scale_rows(m->wide, m->gamma, -1.0f, m->k, n, E);
        add_product(n, U, E, (Matrix){m->wide, E, 1}, S, U, y, U, WHOLE);
    }
    for (int64_t first = 0; first < n; first += BLOCK) {
        int64_t end = fewer(n, first + BLOCK);
        Matrix of_earlier = {m->minus_N + first * C, C, 1};
        if (s->delta) add_product(end - first, U, first, of_earlier, m->u, U, y + first * U, U, WHOLE);
        for (int64_t i = first; i < end; i++) {
            for (int64_t j = first; s->delta && j < i; j++)
                add_times(y + i * U, m->minus_N[i * C + j], m->u + j * U, U);
            write_times(m->u + i * U, m->beta[i], y + i * U, U);
        }
    }
}

/* The gradients of y, w, and of v, dX = β w, where w holds the gradients of u that do not come from other u. */
static void find_updates_gradients(const Room *m, const Shape *s, int64_t n) {
    int64_t C = s->chunk, U = s->values;
    for (int64_t first = (n - 1) / BLOCK * BLOCK; first >= 0; first -= BLOCK) {
        int64_t end = fewer(n, first + BLOCK);
        Matrix of_later = {m->minus_N + end * C + first, 1, C};
        if (s->delta)
            add_product(end - first, U, n - end, of_later, m->dX + end * U, U, m->w + first * U, U, WHOLE);
        for (int64_t i = end - 1; i >= first; i--) {
            for (int64_t j = i + 1; s->delta && j < end; j++)
                add_times(m->w + i * U, m->minus_N[j * C + i], m->dX + j * U, U);
            write_times(m->dX + i * U, m->beta[i], m->w + i * U, U);
        }
    }
}

static void find_state(const Room *m, const Shape *s, int64_t n, const float *S, float *after) {
    int64_t E = s->keys, U = s->values;
    if (S)
        write_times(after, m->gamma[n - 1], S, E * U);
    else
        clear(after, E * U);
    scale_rows(m->wide, m->to_end, 1.0f, m->k, n, E);
    add_product(E, U, n, (Matrix){m->wide, 1, E}, m->u, U, after, U, WHOLE);
}

static void write_outputs(const Room *m, const Shape *s, int64_t head, const Chunk *c, const float *S, float *out) {
    int64_t n = c->end - c->start, C = s->chunk, E = s->keys, U = s->values, row = s->heads * U;
    float *o = out + c->start * row + head * U;
    for (int64_t i = 0; i < n; i++) clear(o + i * row, U);
    if (S) {
        scale_rows(m->wide, m->gamma, 1.0f, m->q, n, E);
        add_product(n, U, E, (Matrix){m->wide, E, 1}, S, U, o, row, WHOLE);
    }
    add_product(n, U, n, (Matrix){m->P, C, 1}, m->u, U, o, row, LOWER);
}

/* Through a tree: the outputs, or, if `out` is null, y and the states of all chunks. The state before the tree is
   `initial`, or zero if that is null; the one behind its last chunk becomes `final`, if that is not null. */
static void go_forward(const Room *m, const Shape *s, const Inputs *in, int64_t head, const Chunk *tree,
                       int64_t chunks, int64_t number, const float *initial, float *final, float *out) {
    int64_t state = s->keys * s->values;
    for (int64_t at = 0; at < chunks; at++) {
        const Chunk *c = tree + at;
        const float *S = c->before < 0 ? initial : m->states + (c->before - number) * state;
        load_chunk(m, s, in, head, c, out != 0);
        find_updates(m, s, in, head, c, S, out ? m->y : m->y + at * s->chunk * s->values);
        if (c->continued) find_state(m, s, c->end - c->start, S, m->states + at * state);
        if (final && at == chunks - 1) find_state(m, s, c->end - c->start, S, final);
        if (out) write_outputs(m, s, head, c, S, out);
    }
}

/* Add to the gradients of q, k and the state before that come through this state. */
static void through_state(const Room *m, const Shape *s, int64_t n, const float *S, const float *dafter, float *dS) {
    int64_t E = s->keys, U = s->values;
    if (dafter) add_times(dS, m->gamma[n - 1], dafter, E * U);
    transpose(S, E, U, m->S_across, E);
    scale_rows(m->dO, m->gamma, 1.0f, m->dO, n, U);
    add_product(n, E, U, (Matrix){m->dO, U, 1}, m->S_across, E, m->dq, E, WHOLE);
    add_product(E, U, n, (Matrix){m->q, 1, E}, m->dO, U, dS, U, WHOLE);
    if (!s->delta) return;
    scale_rows(m->wide, m->gamma, -1.0f, m->dX, n, U);
    add_product(n, E, U, (Matrix){m->wide, U, 1}, m->S_across, E, m->dk, E, WHOLE);
    add_product(E, U, n, (Matrix){m->k, 1, E}, m->wide, U, dS, U, WHOLE);
}

/* Add to the gradient of k that comes through the state behind the chunk. Return what b gets at the last token. */
static float through_next_state(const Room *m, const Shape *s, int64_t n, const float *dafter) {
    int64_t E = s->keys, U = s->values;
    float of_end = 0;
    transpose(dafter, E, U, m->S_across, E);
    clear(m->wide, n * E);
    add_product(n, E, U, (Matrix){m->u, U, 1}, m->S_across, E, m->wide, E, WHOLE);
    for (int64_t i = 0; i < n; i++) {
        of_end += m->to_end[i] * dot(m->wide + i * E, m->k + i * E, E);
        add_times(m->dk_before + i * E, m->to_end[i], m->wide + i * E, E);
    }
    return of_end;
}

/* out = the gradient of x by that of x' = x length scale, where the length may come from x itself. */
static void through_norm(const Shape *s, float *dx, const float *x, float length, float scale, float *out) {
    if (s->normed) add_times(dx, -dot(dx, x, s->keys) / (scale * scale), x, s->keys);
    write_times(out, length * scale, dx, s->keys);
}

static void write_gradients(const Room *m, const Shape *s, int64_t head, const Chunk *c, const float *y, float of_end,
                            const Gradients *to) {
    int64_t E = s->keys, U = s->values;
    for (int64_t t = c->end - 1; t >= c->start; t--) { /* g counts for all later tokens of its chunk */
        int64_t i = t - c->start, at = t * s->heads + head;
        float *dq = m->dq + i * E, *dk = m->dk + i * E, *dk_before = m->dk_before + i * E;
        const float *q = m->q + i * E, *k = m->k + i * E;
        of_end += dot(q, dq, E) + dot(k, dk, E) - dot(k, dk_before, E);
        to->g[at] = of_end;
        to->beta[at] = dot(y + i * U, m->w + i * U, U);
        write_times(to->v + at * U, 1.0f, m->dX + i * U, U);
        add_times(dk, 1.0f, dk_before, E);
        through_norm(s, dq, q, m->q_length[i], s->scale, to->q + at * E);
        through_norm(s, dk, k, m->k_length[i], 1.0f, to->k + at * E);
    }
}

static void chunk_back(const Room *m, const Shape *s, const Inputs *in, int64_t head, const Chunk *c, const float *S,
                       float *dS, const float *dafter, const float *y, Heads dout, const Gradients *to) {
    int64_t n = c->end - c->start, C = s->chunk, E = s->keys, U = s->values;
    load_chunk(m, s, in, head, c, 1);
    scale_rows(m->u, m->beta, 1.0f, y, n, U);
    load_rows(dout, head, c, U, 0, 1.0f, m->dO, 0);
    clear(m->w, n * U);
    add_product(n, U, n, (Matrix){m->P, 1, C}, m->dO, U, m->w, U, UPPER);
    if (dafter) {
        scale_rows(m->wide, m->to_end, 1.0f, m->k, n, E);
        add_product(n, U, E, (Matrix){m->wide, E, 1}, dafter, U, m->w, U, WHOLE);
    }
    find_updates_gradients(m, s, n);
    clear(m->dq, n * E), clear(m->dk, n * E), clear(m->dk_before, n * E);
    transpose(m->u, n, U, m->across, C);
    decayed_products(m, s, n, m->dO, U, 1.0f, m->dP);
    add_product(n, E, n, (Matrix){m->dP, C, 1}, m->k, E, m->dq, E, LOWER);
    add_product(n, E, n, (Matrix){m->dP, 1, C}, m->q, E, m->dk_before, E, UPPER);
    if (s->delta) {
        decayed_products(m, s, n, m->dX, U, -1.0f, m->dN);
        without_diagonal(m->dN, n, C);
        add_product(n, E, n, (Matrix){m->dN, C, 1}, m->k, E, m->dk, E, LOWER);
        add_product(n, E, n, (Matrix){m->dN, 1, C}, m->k, E, m->dk_before, E, UPPER);
    }
    float of_end = dafter && S ? m->gamma[n - 1] * dot(S, dafter, E * U) : 0;
    if (dafter) of_end += through_next_state(m, s, n, dafter);
    if (S) through_state(m, s, n, S, dafter, dS);
    write_gradients(m, s, head, c, y, of_end, to);
}

static void go_back(const Room *m, const Shape *s, const Inputs *in, int64_t head, const Chunk *tree, int64_t chunks,
                    int64_t number, Heads dout, const Gradients *to) {
    int64_t state = s->keys * s->values;
    clear(m->dstates, chunks * state);
    for (int64_t at = chunks - 1; at >= 0; at--) {
        const Chunk *c = tree + at;
        int64_t before = (c->before - number) * state;
        chunk_back(m, s, in, head, c, c->before < 0 ? 0 : m->states + before, m->dstates + before,
                   c->continued ? m->dstates + at * state : 0, m->y + at * s->chunk * s->values, dout, to);
    }
}

/* out [T, H, U]. Tree i has the chunks from trees[i] to trees[i + 1]. `initial` and `final` are null, or the states
   before and behind the trees, [trees, H, E, U]. */
void forward(const Inputs *in, const Shape *s, const Chunk *chunks, const int64_t *trees, const float *initial,
             float *final, float *out, float *rooms, int64_t threads) {
    PARALLEL for (int64_t task = 0; task < s->heads * s->trees; task++) {
        Room m;
        carve(s, 0, rooms + omp_get_thread_num() * room(s, 0), &m);
        int64_t head = task / s->trees, tree = task % s->trees, first = trees[tree];
        int64_t state = (tree * s->heads + head) * s->keys * s->values;
        go_forward(&m, s, in, head, chunks + first, trees[tree + 1] - first, first, initial ? initial + state : 0,
                   final ? final + state : 0, out);
    }
}

/* The gradients of all inputs from that of the outputs. */
void backward(const Inputs *in, const Shape *s, const Chunk *chunks, const int64_t *trees, const Heads *dout,
              const Gradients *to, float *rooms, int64_t threads) {
    PARALLEL for (int64_t task = 0; task < s->heads * s->trees; task++) {
        Room m;
        carve(s, 1, rooms + omp_get_thread_num() * room(s, 1), &m);
        int64_t head = task / s->trees, first = trees[task % s->trees], end = trees[task % s->trees + 1];
        go_forward(&m, s, in, head, chunks + first, end - first, first, 0, 0, 0);
        go_back(&m, s, in, head, chunks + first, end - first, first, *dout, to);
    }
}

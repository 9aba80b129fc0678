/* Softmax attention of a token over the keys and values of its request, which lie in blocks of the pool. */

#pragma once

#include "native/softmax.h"
#include "structures.h"

/* The room for the scores of one query. */
static int64_t scores_of(const Step *s) { return (s->longest + 2 * LANES) / LANES * LANES; }

static int64_t slot_of(const Model *m, const int32_t *blocks, int64_t place) {
    return blocks[place / m->block] * m->block + place % m->block;
}

/* softcap tanh(x / softcap), with tanh(x) = 1 - 2 / (e^2x + 1). Behind the last score there is room for a vector. */
static void cap(float *x, int64_t count, float softcap) {
    for (int64_t i = 0; i < count; i += LANES) {
        vec power = exponential_of_any(*(vec *)(x + i) * (2.0f / softcap));
        *(vec *)(x + i) = softcap - 2.0f * softcap / (power + 1.0f);
    }
}

/* Attention of some queries of a token, at most FOUR, over the places `first` to `last` of its request. */
static void attend(const Model *m, const Layer *l, const X *q, int64_t queries, const int32_t *blocks,
                   int64_t first, int64_t last, int64_t key_head, float *scores, int64_t scores_step,
                   X *out) {
    int64_t E = m->size, J = m->key_heads, seen = last - first;
    float total[FOUR], found[FOUR][FOUR];
    for (int64_t i = 0, keys; i < seen; i += keys) {
        int64_t place = first + i;
        const T *k = l->keys + (slot_of(m, blocks, place) * J + key_head) * E;
        keys = fewer(seen - i, FOUR - place % FOUR); /* a block has a multiple of FOUR slots */
        dots(k, J * E, keys, q, E, queries, E, found);
        for (int64_t h = 0; h < queries; h++)
            for (int64_t j = 0; j < keys; j++) scores[h * scores_step + i + j] = found[h][j] * m->score_scale;
    }
    for (int64_t h = 0; h < queries; h++) {
        float *p = scores + h * scores_step;
        if (m->softcap) cap(p, seen, m->softcap);
        total[h] = exponentials(p, seen);
    }
    vec a[FOUR][TILE / LANES];
    memset(a, 0, sizeof(a));
    for (int64_t i = 0; i < seen; i++) {
        const T *v = l->values + (slot_of(m, blocks, first + i) * J + key_head) * E;
        for (int64_t e = 0; e < E; e += LANES) {
            vec value = load(v + e);
            for (int64_t h = 0; h < queries; h++) a[h][e / LANES] += scores[h * scores_step + i] * value;
        }
    }
    for (int64_t h = 0; h < queries; h++)
        for (int64_t e = 0; e < E; e++) out[h * E + e] = GIVEN(a[h][e / LANES][e % LANES] / total[h]);
}

/* All queries of some pairs of a token and a head of keys. */
static void attend_all(const Model *m, const Layer *l, const Step *s, const X *queries, X *out, Share own,
                       float *scores) {
    int64_t J = m->key_heads, group = m->heads / J, E = m->size;
    for (int64_t i = own.first; i < own.last; i++)
        for (int64_t h = 0; h < group; h += FOUR) {
            int64_t at = (i * group + h) * E, last = s->seen[i / J];
            int64_t first = l->window && last > l->window ? last - l->window : 0;
            attend(m, l, queries + at, fewer(group - h, FOUR), s->blocks + s->blocks_at[i / J], first, last,
                   i % J, scores, scores_of(s), out + at);
        }
}

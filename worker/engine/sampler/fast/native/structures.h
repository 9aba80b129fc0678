/* The structures that `step.py` lays out for `step.c`. A pointer is 0 for what an architecture has not. */

#pragma once

#include "weights.h"

#define PROJECTIONS 3 /* the most projections of a group */

typedef struct { /* of one adapter in one group of projections */
    const T *A;
    int64_t ranks, projections;
    struct { int64_t first, last, rank, last_rank; const T *B; } projection[PROJECTIONS];
    const T *e;
} Factors;

typedef struct {           /* of a group of projections */
    const T *W, *bias;     /* [K, N], or 0; [N] */
    Rows rows[PROJECTIONS]; /* of its projections, where there is no W */
} Weight;

typedef struct {
    const float *before_attention, *before_mlp, *after_attention, *after_mlp; /* norms, [D]; 0 for none */
    const float *of_heads;                                                    /* norms, [H + J, E] */
    Weight qkv, out, gate_up, down;
    T *keys, *values; /* [slots, J·E] */
    int64_t window;   /* the most tokens that a token sees, itself included; 0 for all */
    int64_t rotation; /* its number among the rotations of a step */
} Layer;

typedef struct {
    int64_t layers, hidden, inner, heads, key_heads, size, words, block, gelu;
    int64_t rotated, interleaved; /* the first numbers of a head that are rotated; whether neighbours are */
    const Rows *embedding, *head;
    const float *final_norm;
    const Layer *layer;
    float eps, embedding_scale, score_scale;
    float softcap;     /* of scores; 0 for none */
    float added_times; /* what attention and MLP add is multiplied by it */
} Model;

typedef struct { /* tokens of one adapter */
    int64_t first, last;
    const Factors *factors; /* four for each layer */
} Span;

typedef struct {
    int64_t tokens, spans, wanted, threads, most_ranks, longest;
    const int64_t *token, *slot, *seen, *blocks_at; /* [T]; a token sees the first `seen` of its request */
    const int32_t *blocks;
    const float *cos, *sin;   /* [rotations, T, E] */
    const float *query_scale; /* [T], or 0 */
    const Span *span;
    const int64_t *row; /* [S], the tokens whose logits are wanted */
    float *logits;      /* [S, V] */
} Step;

/* A piece of `count` things: from first to last. */
typedef struct { int64_t first, last; } Share;

/* The softmax of the scores of one query, as the sampler and the trainer compute it in fp32. */

#pragma once

#include "native/numbers.h"

/* Turns each of the scores into e to the power of its distance from the highest. Returns their sum. Behind the last
   score there is room for a vector. */
static inline float exponentials(float *p, int64_t seen) {
    float highest = -INFINITY;
    for (int64_t i = 0; i < seen; i++) highest = p[i] > highest ? p[i] : highest;
    for (int64_t i = seen; i % LANES; i++) p[i] = -INFINITY;
    vec sums = {0};
    for (int64_t i = 0; i < seen; i += LANES) {
        vec one = exponential_of_any(*(vec *)(p + i) - highest);
        *(vec *)(p + i) = one;
        sums += one;
    }
    /* e to the power of -INFINITY is not quite 0 here */
    for (int64_t i = seen; i % LANES; i++) sums[i % LANES] -= p[i];
    return sum(sums);
}

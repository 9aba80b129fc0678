/* A causal convolution of each channel with the tokens before it in its row, forward and backward.

   z [t, c] = bias[c] + Σ_j weights[j, c] x[seen(t, j), c], where seen(t, 0) is t itself, and seen(t, j) the token
   j places before it in its row, or `inputs` if there is none. Then y = z, or y = silu(z). */

#include "native/numbers.h"

#define CHANNELS 256 /* that a thread takes through all tokens: so the tokens before stay in its cache */

typedef struct { int64_t tokens, inputs, channels, width, x_token, silu; } Shape; /* x_token: numbers from x to x */

static inline int64_t end_of(const Shape *s, int64_t block) {
    return (block + 1) * CHANNELS < s->channels ? (block + 1) * CHANNELS : s->channels;
}

static inline vec convolved(const Shape *s, const T *x, const int64_t *seen, const float *weights, const float *bias,
                            int64_t c) {
    vec z = bias ? *(const vec *)(bias + c) : (vec){0};
    for (int64_t j = 0; j < s->width; j++)
        if (seen[j] < s->inputs) z += *(const vec *)(weights + j * s->channels + c) * load(x + seen[j] * s->x_token + c);
    return z;
}

/* y [tokens, channels], with the channels in whole vectors. */
void values(const T *x, const Shape *s, const int64_t *seen, const float *weights, const float *bias, T *y,
            int64_t threads) {
    PARALLEL for (int64_t block = 0; block < (s->channels + CHANNELS - 1) / CHANNELS; block++)
        for (int64_t t = 0; t < s->tokens; t++)
            for (int64_t c = block * CHANNELS; c < end_of(s, block); c += LANES) {
                vec z = convolved(s, x, seen + t * s->width, weights, bias, c);
                if (s->silu) z *= sigmoid(z);
                store(y + t * s->channels + c, z);
            }
}

/* dx [tokens, channels] in fp32, where the tokens themselves are all inputs, and those before stand before. */
void gradient(const T *x, const Shape *s, const int64_t *seen, const float *weights, const float *bias, const T *dy,
              float *dx, int64_t threads) {
    int64_t step = s->channels;
    PARALLEL for (int64_t block = 0; block < (step + CHANNELS - 1) / CHANNELS; block++)
        for (int64_t t = 0; t < s->tokens; t++) {
            const int64_t *places = seen + t * s->width;
            for (int64_t c = block * CHANNELS; c < end_of(s, block); c += LANES) {
                vec dz = load(dy + t * step + c);
                if (s->silu) {
                    vec z = convolved(s, x, places, weights, bias, c), gate = sigmoid(z);
                    dz *= gate + z * gate * (1.0f - gate);
                }
                *(vec *)(dx + t * step + c) = *(const vec *)(weights + c) * dz;
                for (int64_t j = 1; j < s->width; j++)
                    if (places[j] < s->inputs)
                        *(vec *)(dx + places[j] * step + c) += *(const vec *)(weights + j * step + c) * dz;
            }
        }
}

/* The cross-entropy of tokens, from their logits. */

#include "native/numbers.h"

static inline vec power(vec logit, float top) { return exponential(larger(all(-87.0f), logit - top)); }

/* The loss of each token, in nats, without its weight; whether its label is the most likely word; and with
   `gradient` in the place of each logit its gradient times the weight. Logits are [tokens, words]. */
void cross_entropy(T *logits, const int64_t *label, const float *weight, int64_t tokens, int64_t words,
                   int64_t gradient, float *nll, uint8_t *correct, int64_t threads) {
    int64_t whole = words - words % LANES, rest = words % LANES;
    PARALLEL for (int64_t t = 0; t < tokens; t++) {
        T *row = logits + t * words;
        vec tops = all(-INFINITY), sums = {0}, last = {0};
        for (int64_t v = 0; v < whole; v += LANES) tops = larger(load(row + v), tops);
        if (rest) tops = larger(load_some(row + whole, rest, -INFINITY), tops);
        float top = largest(tops), own = number(row[label[t]]);
        for (int64_t v = 0; v < whole; v += LANES) sums += power(load(row + v), top);
        if (rest) {
            last = power(load_some(row + whole, rest, -INFINITY), top);
            for (int64_t l = rest; l < LANES; l++) last[l] = 0;
            sums += last;
        }
        float total = sum(sums), scale = weight[t] / total;
        nll[t] = logf(total) - (own - top);
        correct[t] = own == top;
        if (!gradient) continue;
        float p_label = power(all(own), top)[0] * scale;
        for (int64_t v = 0; v < whole; v += LANES) store(row + v, power(load(row + v), top) * scale);
        if (rest) store_some(row + whole, last * scale, rest);
        store_some(row + label[t], all(p_label - weight[t]), 1);
    }
}

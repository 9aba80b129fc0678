/* Products in fp32 whose numbers do not depend on how many rows are multiplied at once. Each is summed in the order in
   which the sampler's step sums it (`native/products.h`), so that a trainer and a sampler get the same bits. */

#include <omp.h>

#include "native/products.h"

/* As many sums as there are registers for: HIGH rows of x, and WIDE vectors of columns. */
#define HIGH 6
#ifdef __AVX512F__
#define WIDE 4
#else
#define WIDE 2
#endif
#define COLUMNS (int64_t)(sizeof(lanes) / sizeof(float)) /* of a vector */
#define PANEL (WIDE * COLUMNS)
#define WORDS 32 /* rows of w that stay in the cache while all rows of x pass */

/* panel [K, PANEL]: some columns of w, with zeros behind the last one. */
static void pack(const float *w, int64_t w_step, int64_t K, int64_t width, float *panel) {
    for (int64_t k = 0; k < K; k++, w += w_step, panel += PANEL) {
        memcpy(panel, w, width * sizeof(float));
        memset(panel + width, 0, (PANEL - width) * sizeof(float));
    }
}

/* y += x times the panel, for at most HIGH rows. Each sum begins with y and takes one k after the other. */
static void add_panel(const float *x, int64_t x_step, int64_t rows, const float *panel, int64_t K, int64_t width,
                      float *y, int64_t y_step) {
    const float *row[HIGH];
    float whole[HIGH][PANEL] = {{0}};
    lanes a[HIGH][WIDE];
    for (int r = 0; r < HIGH; r++) {
        int64_t from = r < rows ? r : rows - 1;
        row[r] = x + from * x_step;
        memcpy(whole[r], y + from * y_step, width * sizeof(float));
    }
    UNROLLED for (int r = 0; r < HIGH; r++)
        UNROLLED for (int w = 0; w < WIDE; w++) a[r][w] = *(const lanes *)(whole[r] + w * COLUMNS);
    for (int64_t k = 0; k < K; k++, panel += PANEL) {
        lanes some[WIDE];
        UNROLLED for (int w = 0; w < WIDE; w++) some[w] = *(const lanes *)(panel + w * COLUMNS);
        UNROLLED for (int r = 0; r < HIGH; r++)
            UNROLLED for (int w = 0; w < WIDE; w++) a[r][w] += row[r][k] * some[w];
    }
    UNROLLED for (int r = 0; r < HIGH; r++)
        UNROLLED for (int w = 0; w < WIDE; w++) *(lanes *)(whole[r] + w * COLUMNS) = a[r][w];
    for (int r = 0; r < rows; r++) memcpy(y + r * y_step, whole[r], width * sizeof(float));
}

typedef struct { int64_t rows, K, columns, x_step, w_step, y_step; } Sizes;

/* y [rows, columns] += x [rows, K] w [K, columns]. Each thread has room for a panel. */
void add_products(const float *x, const float *w, const Sizes *s, float *y, float *panels, int64_t threads) {
    int64_t count = (s->columns + PANEL - 1) / PANEL;
    PARALLEL for (int64_t p = 0; p < count; p++) {
        float *panel = panels + omp_get_thread_num() * s->K * PANEL;
        int64_t c = p * PANEL, width = fewer(s->columns - c, PANEL);
        pack(w + c, s->w_step, s->K, width, panel);
        for (int64_t t = 0; t < s->rows; t += HIGH)
            add_panel(x + t * s->x_step, s->x_step, fewer(s->rows - t, HIGH), panel, s->K, width,
                      y + t * s->y_step + c, s->y_step);
    }
}

int64_t panel_columns(void) { return PANEL; }

/* y [rows, columns] = x [rows, K] wᵀ, of w [columns, K]. Each sum is that of parts of at most `at_once` numbers. */
void dot_products(const float *x, const float *w, const Sizes *s, int64_t at_once, float *y, int64_t threads) {
    PARALLEL for (int64_t first = 0; first < s->columns; first += WORDS) {
        int64_t last = fewer(first + WORDS, s->columns);
        for (int64_t t = 0; t < s->rows; t += FOUR)
            for (int64_t n = first; n < last; n += FOUR) {
                int64_t rows = fewer(s->rows - t, FOUR), words = fewer(last - n, FOUR);
                for (int64_t k = 0; k < s->K; k += at_once) {
                    float found[FOUR][FOUR];
                    dots(w + n * s->w_step + k, s->w_step, words, x + t * s->x_step + k, s->x_step, rows,
                         fewer(s->K - k, at_once), found);
                    for (int64_t j = 0; j < rows; j++)
                        for (int64_t i = 0; i < words; i++) {
                            float *to = y + (t + j) * s->y_step + n + i;
                            *to = k ? *to + found[j][i] : found[j][i];
                        }
                }
            }
    }
}

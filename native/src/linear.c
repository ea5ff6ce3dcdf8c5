/* Linear layers: y [rows, outputs] = x [rows, inputs] W^T + bias. Four fifths of a step's time are spent here. */
#include "kernels.h"
#include "model.h"

/* FLOAT_CHAINS is the same for all numbers of rows: a stream in a batch gets the bits that it gets alone. */
enum { ROWS_AT_ONCE = 4, MOST_CHAINS = 4, FLOAT_CHAINS = WIDE / 8, LARGEST_ACTIVATION = 8191 };

/* Weights are read once, in order, and mostly from the third cache: the processor fetches ahead by itself, but stops at
 * every page's end. A page ahead it is told to go on; what lies behind a layer is the next one. */
enum { AHEAD = 4096 };
#define FETCH_AHEAD(P) __builtin_prefetch((const char *)(P) + AHEAD)

#define ADD_INPUT(LOAD_WEIGHTS, CHAIN, K)                                                                              \
  {                                                                                                                    \
    Wide weights[PANEL / WIDE];                                                                                        \
    FETCH_AHEAD(w + (size_t)(K) * PANEL);                                                                              \
    UNROLL for (int j = 0; j < parts; j++) weights[j] = LOAD_WEIGHTS(w + (size_t)(K) * PANEL + WIDE * j);              \
    UNROLL for (int r = 0; r < rows; r++)                                                                              \
      UNROLL for (int j = 0; j < parts; j++) sums[CHAIN][r][j] += weights[j] * x[(size_t)r * stride + (K)];            \
  }

/* One panel of float weights for ROWS rows; `parts` (of WIDE outputs, from the panel's `first` on) at a time, so that
 * the sums stay in registers. Inputs go to FLOAT_CHAINS sums of each in turn, which hides the latency of an addition.
 * `LOAD_WEIGHTS` makes a Wide of what lies at a pointer. */
#define FLOAT_PANEL(NAME, TYPE, LOAD_WEIGHTS)                                                                          \
  INLINE void NAME(const TYPE *w, int inputs, const float *x, int stride, float *y, int y_stride, const int rows,      \
                   const int parts) {                                                                                  \
    Wide sums[FLOAT_CHAINS][ROWS_AT_ONCE][PANEL / WIDE];                                                               \
    UNROLL for (int c = 0; c < FLOAT_CHAINS; c++)                                                                      \
      UNROLL for (int r = 0; r < rows; r++) UNROLL for (int j = 0; j < parts; j++) sums[c][r][j] = (Wide){0};          \
    int k = 0;                                                                                                         \
    for (; k + FLOAT_CHAINS <= inputs; k += FLOAT_CHAINS)                                                              \
      UNROLL for (int c = 0; c < FLOAT_CHAINS; c++) ADD_INPUT(LOAD_WEIGHTS, c, k + c)                                  \
    for (; k < inputs; k++) ADD_INPUT(LOAD_WEIGHTS, 0, k)                                                              \
    UNROLL for (int r = 0; r < rows; r++)                                                                              \
      UNROLL for (int j = 0; j < parts; j++) {                                                                         \
        UNROLL for (int c = 1; c < FLOAT_CHAINS; c++) sums[0][r][j] += sums[c][r][j];                                  \
        *(Wide *)(y + (size_t)r * y_stride + WIDE * j) = sums[0][r][j];                                                \
      }                                                                                                                \
  }

FLOAT_PANEL(panel_f32, float, load_wide)
#if LOADS_F16
FLOAT_PANEL(panel_f16, uint16_t, load_wide_f16)
#endif

/* One panel of int8 weights: sums of `parts` times SUMS outputs for `rows` rows. Inputs are a multiple of 8: where rows and
 * parts are few, `chains` sums of each hide the latency of the additions. */
INLINE void panel_int8(const int8_t *w, int inputs, const int16_t *x, int32_t *y, const int rows, const int parts,
                       const int chains) {
  Sums sums[MOST_CHAINS][ROWS_AT_ONCE][PANEL / SUMS];
  UNROLL for (int c = 0; c < chains; c++)
    UNROLL for (int r = 0; r < rows; r++) UNROLL for (int j = 0; j < parts; j++) sums[c][r][j] = no_sums();
  for (int k = 0; k < inputs; k += 2 * chains)
    UNROLL for (int c = 0; c < chains; c++) {
      Weights weights[PANEL / SUMS];
      const int at = k + 2 * c;
      FETCH_AHEAD(w + (size_t)at * PANEL);
      UNROLL for (int j = 0; j < parts; j++) weights[j] = load_weights(w + (size_t)at * PANEL + 2 * SUMS * j);
      UNROLL for (int r = 0; r < rows; r++) {
        Pair pair = load_pair(x + (size_t)r * inputs + at);
        UNROLL for (int j = 0; j < parts; j++) sums[c][r][j] = add_products(sums[c][r][j], weights[j], pair);
      }
    }
  UNROLL for (int r = 0; r < rows; r++)
    UNROLL for (int j = 0; j < parts; j++) {
      UNROLL for (int c = 1; c < chains; c++) sums[0][r][j] = add_sums(sums[0][r][j], sums[c][r][j]);
      store_sums(y + r * PANEL + SUMS * j, sums[0][r][j]);
    }
}

/* Sums [rows, 32] of one panel, in halves where the registers would not hold all of them. */
INLINE void rows_int8(const int8_t *w, int inputs, const int16_t *x, int32_t *y, const int rows) {
  enum { ALL = PANEL / SUMS, HALF = ALL > 1 ? ALL / 2 : 1 };
  if ((int)ALL == 2) { /* few wide sums, each with a long latency */
    panel_int8(w, inputs, x, y, rows, ALL, MOST_CHAINS / rows);
  } else if (rows * ALL <= 8 || (int)ALL == 1 || (int)ALL == (int)PANEL) {
    panel_int8(w, inputs, x, y, rows, ALL, 1);
  } else {
    panel_int8(w, inputs, x, y, rows, HALF, 1);
    panel_int8(w + 2 * SUMS * HALF, inputs, x, y + SUMS * HALF, rows, HALF, 1);
  }
}

static void product_int8(const int8_t *w, int inputs, const int16_t *x, int32_t *y, int rows) {
  if (rows == 4) rows_int8(w, inputs, x, y, 4);
  else if (rows == 2) rows_int8(w, inputs, x, y, 2);
  else rows_int8(w, inputs, x, y, 1);
}

/* How many of `left` rows the kernels take next. */
INLINE int rows_next(int left) { return left >= 4 ? 4 : left >= 2 ? 2 : 1; }

/* x [rows, inputs] -> integers of up to LARGEST_ACTIVATION, scaled row by row. */
static void quantise_rows(const float *x, int stride, int rows, int inputs, int16_t *q, float *scale) {
  typedef int16_t s8 __attribute__((vector_size(16), aligned(2), may_alias));
  for (int r = 0; r < rows; r++, x += stride, q += inputs) {
    v8 largest = splat(1e-9f);
    for (int k = 0; k < inputs; k += 8) largest = max8(largest, abs8(LOAD(x + k)));
    float most = max_of8(largest);
    scale[r] = most / LARGEST_ACTIVATION;
    v8 inverse = splat(LARGEST_ACTIVATION / most);
    for (int k = 0; k < inputs; k += 8)
      *(s8 *)(q + k) = __builtin_convertvector(__builtin_convertvector(round8(LOAD(x + k) * inverse), i8x), s8);
  }
}

static void linear_int8(const Linear *l, const float *x, int stride, float *y, int rows, Workspace *ws) {
  quantise_rows(x, stride, rows, l->inputs, ws->activations, ws->row_scale);
  for (int p = 0; p < l->outputs; p += PANEL) {
    const int8_t *w = (const int8_t *)l->weights + (size_t)p * l->inputs;
    for (int r = 0, some; r < rows; r += some) {
      int32_t sums[ROWS_AT_ONCE * PANEL];
      some = rows_next(rows - r);
      product_int8(w, l->inputs, ws->activations + (size_t)r * l->inputs, sums, some);
      for (int i = 0; i < some; i++)
        for (int j = 0; j < PANEL; j += 8) {
          v8 value = __builtin_convertvector(*(const i8x *)(sums + i * PANEL + j), v8);
          v8 scale = LOAD(l->scale + p + j) * splat(ws->row_scale[r + i]);
          STORE(y + (size_t)(r + i) * l->outputs + p + j, value * scale + LOAD(l->bias + p + j));
        }
    }
  }
}

#define FLOAT_ROWS(PANEL_FUNCTION, W)                                                                                  \
  for (int r = 0, some; r < rows; r += some) {                                                                         \
    const float *from = x + (size_t)r * stride;                                                                        \
    float *to = y + (size_t)r * l->outputs + p;                                                                        \
    some = rows_next(rows - r);                                                                                        \
    if (some == 4) {                                                                                                   \
      for (int j = 0; j < PANEL; j += 2 * WIDE)                                                                        \
        PANEL_FUNCTION(W + j, l->inputs, from, stride, to + j, l->outputs, 4, 2);                                      \
    } else if (some == 2) {                                                                                            \
      PANEL_FUNCTION(W, l->inputs, from, stride, to, l->outputs, 2, PANEL / WIDE);                                     \
    } else {                                                                                                           \
      PANEL_FUNCTION(W, l->inputs, from, stride, to, l->outputs, 1, PANEL / WIDE);                                     \
    }                                                                                                                  \
  }

/* x [rows, inputs], rows `stride` apart and readable to a multiple of 8 inputs -> y [rows, outputs]. */
static void linear(const Linear *l, const float *x, int stride, float *y, int rows, Workspace *ws) {
  if (l->type == WEIGHTS_INT8) {
    linear_int8(l, x, stride, y, rows, ws);
    return;
  }
  for (int p = 0; p < l->outputs; p += PANEL) {
    const size_t at = (size_t)p * l->inputs;
    if (l->type == WEIGHTS_F32) {
      const float *w = (const float *)l->weights + at;
      FLOAT_ROWS(panel_f32, w)
    }
#if LOADS_F16
    else {
      const uint16_t *w = (const uint16_t *)l->weights + at;
      FLOAT_ROWS(panel_f16, w)
    }
#endif
  }
  for (int r = 0; r < rows; r++)
    for (int p = 0; p < l->outputs; p += 8) {
      float *at = y + (size_t)r * l->outputs + p;
      STORE(at, LOAD(at) + LOAD(l->bias + p));
    }
}

/* For tests: the kernel alone, on weights that lie in panels. */
static void multiply_int8(const int8_t *panels, const int16_t *x, int rows, int inputs, int outputs, int32_t *y) {
  for (int p = 0; p < outputs; p += PANEL)
    for (int r = 0, some; r < rows; r += some) {
      int32_t sums[ROWS_AT_ONCE * PANEL];
      some = rows_next(rows - r);
      product_int8(panels + (size_t)p * inputs, inputs, x + (size_t)r * inputs, sums, some);
      for (int i = 0; i < some; i++) memcpy(y + (size_t)(r + i) * outputs + p, sums + i * PANEL, PANEL * sizeof *y);
    }
}

/* Sums [32] of one panel, from `count` pairs of one row's inputs: pair i stands at input at[i]. */
INLINE void sparse_panel_int8(const int8_t *w, const int32_t *at, const int16_t *pairs, int count, int32_t *y, const int chains) {
  enum { ALL = PANEL / SUMS };
  Sums sums[MOST_CHAINS][ALL];
  UNROLL for (int c = 0; c < chains; c++) UNROLL for (int j = 0; j < ALL; j++) sums[c][j] = no_sums();
  for (int i = 0; i < count; i += chains)
    UNROLL for (int c = 0; c < chains; c++) {
      const int8_t *from = w + (size_t)at[i + c] * PANEL;
      const Pair pair = load_pair(pairs + 2 * (i + c));
      FETCH_AHEAD(from);
      UNROLL for (int j = 0; j < ALL; j++) sums[c][j] = add_products(sums[c][j], load_weights(from + 2 * SUMS * j), pair);
    }
  UNROLL for (int j = 0; j < ALL; j++) {
    UNROLL for (int c = 1; c < chains; c++) sums[0][j] = add_sums(sums[0][j], sums[c][j]);
    store_sums(y + SUMS * j, sums[0][j]);
  }
}

/* x [inputs], of which many are zero -> y [outputs], as multiply_int8. Pairs of zeros are left out: the list of the others is
 * made once for all panels, so that no branch depends on it. */
static void multiply_sparse_int8(const int8_t *panels, const int16_t *x, int inputs, int outputs, int32_t *y) {
  int32_t at[MAX_DIM / 2 + MOST_CHAINS];
  int16_t pairs[MAX_DIM + 2 * MOST_CHAINS];
  int count = 0;
  for (int k = 0; k < inputs; k += 2) {
    at[count] = k, pairs[2 * count] = x[k], pairs[2 * count + 1] = x[k + 1];
    count += (x[k] | x[k + 1]) != 0;
  }
  for (int c = 0; c < MOST_CHAINS; c++) at[count + c] = 0, pairs[2 * (count + c)] = pairs[2 * (count + c) + 1] = 0;
  for (int p = 0; p < outputs; p += PANEL)
    sparse_panel_int8(panels + (size_t)p * inputs, at, pairs, count, y + p, (int)PANEL / (int)SUMS == 2 ? MOST_CHAINS : 1);
}

/* Rows of padded outputs [rows, padded] -> [rows, wanted], in place. */
static void compact(float *y, int rows, int padded, int wanted) {
  if (padded == wanted) return;
  for (int r = 1; r < rows; r++) memmove(y + (size_t)r * wanted, y + (size_t)r * padded, wanted * sizeof *y);
}

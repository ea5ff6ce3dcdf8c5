/* ConvNeXt blocks that look only at the past (streamcodec_models/blocks.py). */
#include "model.h"
#include "simd.h"

/* x [dim] -> zero mean, unit variance, then times a weight and plus a bias: norm [2, dim]. */
static void normalise(float *x, const float *norm, int dim) {
  v8 sum = splat(0), squares = splat(0);
  for (int i = 0; i < dim; i += 8) sum += LOAD(x + i);
  v8 mean = splat(sum8(sum) / dim);
  for (int i = 0; i < dim; i += 8) {
    v8 d = LOAD(x + i) - mean;
    squares += d * d;
    STORE(x + i, d);
  }
  v8 scale = splat(1 / sqrtf(sum8(squares) / dim + 1e-5f));
  for (int i = 0; i < dim; i += 8) STORE(x + i, LOAD(x + i) * scale * LOAD(norm + i) + LOAD(norm + dim + i));
}

/* x [frames, dim] and the past [kernel - 1, dim] -> y [frames, dim]: depthwise convolution, normalised; new past. */
static void convolve(const Block *block, int kernel, const float *x, float *past, int frames, float *y) {
  const int dim = block->dim, context = kernel - 1;
  for (int f = 0; f < frames; f++) {
    float *out = y + (size_t)f * dim;
    for (int c = 0; c < dim; c += 8) {
      v8 sum = splat(0);
      for (int i = 0; i < kernel; i++) {
        int at = f + i - context; /* of the frames in x, those below 0 in the past */
        const float *row = at < 0 ? past + (size_t)(context + at) * dim : x + (size_t)at * dim;
        sum += LOAD(row + c) * LOAD(block->taps + (size_t)i * dim + c);
      }
      STORE(out + c, sum);
    }
    normalise(out, block->norm, dim);
  }
  int kept = context > frames ? context - frames : 0;
  memmove(past, past + (size_t)(context - kept) * dim, (size_t)kept * dim * sizeof *past);
  memcpy(past + (size_t)kept * dim, x + (size_t)(frames - (context - kept)) * dim, (size_t)(context - kept) * dim * sizeof *past);
}

/* x [S * frames, dim] in place. `size`: of a state; `at`: where the past of this block lies in each. y and t: scratch of
 * [S * frames, dim] and [S * frames, expansion * dim]. */
static void causal_block(const ScModel *m, const Block *block, float *x, float *states, size_t size, int at, int streams,
                         int frames, float *y, float *t, Workspace *ws) {
  const int dim = block->dim, rows = streams * frames, wide = block->up.outputs;
  for (int s = 0; s < streams; s++) {
    size_t row = (size_t)s * frames * dim;
    convolve(block, m->shape.kernel, x + row, states + s * size + at, frames, y + row);
  }
  linear(&block->up, y, dim, t, rows, ws);
  const size_t count = (size_t)rows * wide;
  if (block->up.type == WEIGHTS_INT8)
    for (size_t i = 0; i < count; i += 8) STORE(t + i, quick_gelu8(LOAD(t + i)));
  else
    for (size_t i = 0; i < count; i += 8) STORE(t + i, gelu8(LOAD(t + i)));
  linear(&block->down, t, wide, y, rows, ws);
  const int stride = block->down.outputs;
  for (int r = 0; r < rows; r++)
    for (int i = 0; i < dim; i += 8) {
      float *out = x + (size_t)r * dim + i;
      STORE(out, LOAD(out) + LOAD(block->scale + i) * LOAD(y + (size_t)r * stride + i));
    }
}

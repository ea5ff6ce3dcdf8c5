/* Pitch comb, the decoder's last stage (streamcodec_models/comb.py): each block is drawn towards the sound one pitch
 * period before it. Periods are looked for at a low rate first, then around the best of them in full. */
#include "model.h"
#include "simd.h"

static const float LARGEST_SHARE = .6f, SHORT_PERIODS_FIRST = .1f, SILENCE = 1e-6f;
enum { REACH = COMB_TAPS / 2 + FRACTION_TAPS / 2, KERNEL = 2 * REACH + 1, LAGS_AT_ONCE = 4 };

/* Products of `now` [n] with what begins 0..lags - 1 samples into `from` -> out [lags], lags a multiple of 8. `from` is
 * readable to n + lags samples. */
static void correlate(const float *from, const float *now, int n, int lags, float *out) {
  for (int lag = 0; lag < lags; lag += 8 * LAGS_AT_ONCE) {
    v8 sums[LAGS_AT_ONCE] = {splat(0), splat(0), splat(0), splat(0)};
    if (lags - lag >= 8 * LAGS_AT_ONCE) {
      for (int t = 0; t < n; t++) {
        v8 value = splat(now[t]);
        for (int j = 0; j < LAGS_AT_ONCE; j++) sums[j] += LOAD(from + lag + t + 8 * j) * value;
      }
      for (int j = 0; j < LAGS_AT_ONCE; j++) STORE(out + lag + 8 * j, sums[j]);
      continue;
    }
    for (int j = 0; lag + 8 * j < lags; j++) {
      v8 sum = splat(0);
      for (int t = 0; t < n; t++) sum += LOAD(from + lag + t + 8 * j) * splat(now[t]);
      STORE(out + lag + 8 * j, sum);
    }
  }
}

/* A signal, where its window of `n` samples ends, and running sums of its squares before each sample. */
static double energy_of(const double *sums, int begin, int n) { return sums[begin + n] - sums[begin]; }

static void running_squares(const float *x, int n, double *sums) {
  sums[0] = 0;
  for (int i = 0; i < n; i++) sums[i + 1] = sums[i] + (double)x[i] * x[i];
}

/* Weights of the samples around a position between samples: cubic convolution (Keys 1981). */
static void between_samples(float offset, float *weights) {
  for (int i = 0; i < FRACTION_TAPS; i++) {
    float d = fabsf(offset - (float)i + FRACTION_TAPS / 2);
    weights[i] = d < 1 ? (1.5f * d - 2.5f) * d * d + 1 : d < 2 ? ((-.5f * d + 2.5f) * d - 4) * d + 2 : 0;
  }
}

typedef struct {
  float period, share, taps[COMB_TAPS];
} CombSettings;

/* -> the convolution of taps and interpolation, and how many whole samples ago its centre lies. */
static int comb_kernel(const CombSettings *c, float *kernel) {
  float fraction[FRACTION_TAPS], whole = rintf(c->period);
  between_samples(whole - c->period, fraction);
  memset(kernel, 0, KERNEL * sizeof *kernel);
  for (int i = 0; i < COMB_TAPS; i++)
    for (int j = 0; j < FRACTION_TAPS; j++) kernel[i + j] += c->taps[i] * fraction[j];
  return (int)whole;
}

typedef struct {
  float period, coarse, fine; /* samples; resemblance at the low rate and in full, -1..1 */
} Pitch;

/* The period of the block that ends at `end` in `buffer`, and in `low` at the rate divided by `decimation`. */
static Pitch find_pitch(const ScModel *m, const float *buffer, int end, const float *low, const double *low_squares,
                        int low_begin) {
  const Shape *s = &m->shape;
  const int step = s->decimation, shortest = s->shortest / step, longest = s->longest / step;
  const int window = s->comb_window / step, lags = longest - shortest + 1, fine_lags = 2 * step + 1;
  float alike[MAX_COMB / 4 + 8];
  correlate(low + low_begin, low + low_begin + longest, window, (lags + 7) / 8 * 8, alike);
  const double now = energy_of(low_squares, low_begin + longest, window) + SILENCE;
  int best = 0;
  float best_score = -1e9f;
  Pitch pitch = {0, 0, 0};
  for (int lag = 0; lag < lags; lag++) { /* longest period first */
    double energy = energy_of(low_squares, low_begin + lag, window) + SILENCE;
    float value = alike[lag] / sqrtf((float)energy * (float)now);
    float score = value * (1 - SHORT_PERIODS_FIRST * (float)(longest - lag) / (float)longest);
    if (score > best_score) best_score = score, best = lag, pitch.coarse = value;
  }
  const int rough = (longest - best) * step, n = s->comb_fine_window;
  const float *from = buffer + end - rough - n - step;
  float source[MAX_WINDOW + 64], fine[64];
  double squares[MAX_WINDOW + 64], now_squares[MAX_WINDOW + 1];
  memcpy(source, from, (n + fine_lags - 1) * sizeof(float));
  memset(source + n + fine_lags - 1, 0, 32 * sizeof(float)); /* read, and not used, beyond the last lag */
  correlate(source, buffer + end - n, n, (fine_lags + 7) / 8 * 8, fine);
  running_squares(source, n + fine_lags - 1, squares);
  running_squares(buffer + end - n, n, now_squares);
  const float present = (float)(now_squares[n] + SILENCE);
  for (int lag = 0; lag < fine_lags; lag++)
    fine[lag] /= sqrtf((float)(energy_of(squares, lag, n) + SILENCE) * present);
  int top = 1;
  for (int lag = 2; lag < fine_lags - 1; lag++)
    if (fine[lag] > fine[top]) top = lag;
  pitch.fine = fine[top];
  /* A parabola through the best and its neighbours has its top between samples. */
  float left = fine[top - 1], right = fine[top + 1];
  float bend = fminf(left - 2 * pitch.fine + right, -1e-6f);
  float between = clamp(.5f * (left - right) / bend, -.5f, .5f);
  pitch.period = clamp((float)(rough + step - top) - between, (float)s->shortest, (float)s->longest);
  return pitch;
}

/* x [packet] before the comb, hidden [frames, dim] -> out [packet]. The state: settings of the last block in `head`,
 * then histories of the sound and of its low-rate version. */
static void comb(const ScModel *m, DecoderHead *head, float *histories, const float *x, const float *hidden, float *out) {
  const Shape *s = &m->shape;
  const int block = s->comb_block, blocks = m->packet / block, a_frame = blocks / s->frames_per_packet;
  const int step = s->decimation, kept = m->low_history, fresh = m->packet / step, stride = s->decoder_dim + 8;
  float buffer[MAX_COMB + 64], low[MAX_COMB / 2];
  double squares[MAX_COMB / 2 + 1];
  float *history = histories, *low_history = histories + m->comb_history;
  memcpy(buffer, history, m->comb_history * sizeof(float));
  memcpy(buffer + m->comb_history, x, m->packet * sizeof(float));
  memset(buffer + m->comb_history + m->packet, 0, 64 * sizeof(float));
  memcpy(low, low_history, kept * sizeof(float));
  for (int i = kept; i < kept + fresh; i++) low[i] = dot(buffer + i * step, m->low_pass, (s->low_pass + 7) / 8 * 8);
  memset(low + kept + fresh, 0, 64 * sizeof(float));
  running_squares(low, kept + fresh, squares);
  CombSettings before = {head->period, head->share, {0}};
  memcpy(before.taps, head->taps, sizeof before.taps);
  float control[CONTROLS];
  for (int n = 0; n < blocks; n++) {
    if (n % a_frame == 0)
      for (int c = 0; c < CONTROLS; c++) {
        const float *row = m->control + (size_t)c * stride;
        control[c] = dot(hidden + (size_t)(n / a_frame) * s->decoder_dim, row, s->decoder_dim) + row[s->decoder_dim];
      }
    Pitch pitch = find_pitch(m, buffer, m->comb_history + block * (n + 1), low, squares, block / step * n);
    CombSettings after = {pitch.period, 0, {0}};
    after.share = LARGEST_SHARE * sigmoid(control[0] + control[1] * pitch.coarse + control[2] * pitch.fine);
    memcpy(after.taps, control + 3, sizeof after.taps);
    float old_kernel[KERNEL], new_kernel[KERNEL];
    const float *at = buffer + m->comb_history + block * n - REACH;
    const float *old_past = at - comb_kernel(&before, old_kernel), *new_past = at - comb_kernel(&after, new_kernel);
    const v8 ramp = {.5f, 1.5f, 2.5f, 3.5f, 4.5f, 5.5f, 6.5f, 7.5f};
    for (int i = 0; i < block; i += 8) {
      v8 now = LOAD(x + block * n + i), old_mean = splat(0), new_mean = splat(0);
      for (int j = 0; j < KERNEL; j++) {
        old_mean += LOAD(old_past + i + j) * splat(old_kernel[j]);
        new_mean += LOAD(new_past + i + j) * splat(new_kernel[j]);
      }
      v8 old_change = splat(before.share) * (old_mean - now), new_change = splat(after.share) * (new_mean - now);
      v8 fade = min8((ramp + splat((float)i)) * splat(1 / (float)(block / 2)), splat(1));
      STORE(out + block * n + i, now + old_change + (new_change - old_change) * fade);
    }
    before = after;
  }
  head->period = before.period;
  head->share = before.share;
  memcpy(head->taps, before.taps, sizeof before.taps);
  memcpy(history, buffer + m->packet, m->comb_history * sizeof(float));
  memcpy(low_history, low + fresh, kept * sizeof(float));
}

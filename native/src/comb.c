/* Pitch comb, the decoder's last stage (streamcodec_models/comb.py): each block is drawn towards the sound one pitch
 * period before it. Periods are looked for at a low rate first, then around the best of them in full. */
#include "model.h"
#include "simd.h"

static const float LARGEST_SHARE = .6f, SHORT_PERIODS_FIRST = .1f, SILENCE = 1e-6f;
enum { REACH = COMB_TAPS / 2 + FRACTION_TAPS / 2, KERNEL = 2 * REACH + 1, MAX_LAGS = MAX_DIM };

/* Products of `now` [n] with what begins 0..lags - 1 samples into `from` -> out [lags]; n a multiple of 4, lags one of 8, `from`
 * readable to n + lags samples. `AT_ONCE` vectors of lags share what is loaded of `now`, and `CHAINS` sums of each hide
 * the additions' latency. */
#define CORRELATE(NAME, AT_ONCE, CHAINS)                                                                     \
  INLINE void NAME(const float *from, const float *now, int n, float *out) {                                  \
    v8 sums[CHAINS][AT_ONCE];                                                                                 \
    UNROLL for (int c = 0; c < CHAINS; c++) UNROLL for (int j = 0; j < AT_ONCE; j++) sums[c][j] = splat(0);   \
    for (int t = 0; t < n; t += CHAINS)                                                                       \
      UNROLL for (int c = 0; c < CHAINS; c++) {                                                               \
        v8 value = splat(now[t + c]);                                                                         \
        UNROLL for (int j = 0; j < AT_ONCE; j++) sums[c][j] += LOAD(from + t + c + 8 * j) * value;            \
      }                                                                                                       \
    UNROLL for (int j = 0; j < AT_ONCE; j++) {                                                                \
      v8 sum = sums[0][j];                                                                                    \
      UNROLL for (int c = 1; c < CHAINS; c++) sum += sums[c][j];                                              \
      STORE(out + 8 * j, sum);                                                                                \
    }                                                                                                         \
  }

CORRELATE(correlate_72, 9, 1)
CORRELATE(correlate_32, 4, 2)
CORRELATE(correlate_16, 2, 4)
CORRELATE(correlate_8, 1, 4)

static void correlate(const float *from, const float *now, int n, int lags, float *out) {
  int lag = 0;
  for (; lags - lag >= 72; lag += 72) correlate_72(from + lag, now, n, out + lag);
  for (; lags - lag >= 32; lag += 32) correlate_32(from + lag, now, n, out + lag);
  for (; lags - lag >= 16; lag += 16) correlate_16(from + lag, now, n, out + lag);
  for (; lags - lag >= 8; lag += 8) correlate_8(from + lag, now, n, out + lag);
}

static float energy_of(const float *x, int n) {
  const int whole = n / 8 * 8;
  float sum = dot(x, x, whole);
  for (int i = whole; i < n; i++) sum += x[i] * x[i];
  return sum;
}

/* Energies of windows of `n` samples that begin 0..count - 1 samples into `x` -> out [count]. The first is summed, the
 * others follow from it, in double: what is added and taken away again leaves no trace. */
static void sliding_energy(const float *x, int n, int count, float *out) {
  double sum = energy_of(x, n);
  for (int i = 0; i < count; i++) {
    out[i] = (float)(sum > 0 ? sum : 0) + SILENCE;
    sum += (double)x[i + n] * x[i + n] - (double)x[i] * x[i];
  }
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

/* The period of the block that ends at `end` in `buffer`; `low` is where its longest period begins at the rate divided
 * by `decimation`. */
static Pitch find_pitch(const ScModel *m, const float *buffer, int end, const float *low) {
  const Shape *s = &m->shape;
  const int step = s->decimation, shortest = s->shortest / step, longest = s->longest / step;
  const int window = s->comb_window / step, lags = longest - shortest + 1, fine_lags = 2 * step + 1;
  float alike[MAX_LAGS + 8], energy[MAX_LAGS + 8];
  correlate(low, low + longest, window, (lags + 7) / 8 * 8, alike);
  sliding_energy(low, window, lags, energy);
  const v8 present = splat(energy_of(low + longest, window) + SILENCE);
  int best = 0;
  float best_score = -1e9f;
  Pitch pitch = {0, 0, 0};
  for (int lag = 0; lag < lags; lag += 8) STORE(alike + lag, LOAD(alike + lag) * rsqrt8(LOAD(energy + lag) * present));
  for (int lag = 0; lag < lags; lag++) { /* longest period first */
    float score = alike[lag] * (1 - SHORT_PERIODS_FIRST * (float)(longest - lag) / (float)longest);
    if (score > best_score) best_score = score, best = lag, pitch.coarse = alike[lag];
  }
  const int rough = (longest - best) * step, n = s->comb_fine_window;
  const float *now = buffer + end - n, *past = now - rough - step;
  float fine[64], fine_energy[64];
  correlate(past, now, n, (fine_lags + 7) / 8 * 8, fine);
  sliding_energy(past, n, fine_lags, fine_energy);
  const float now_energy = energy_of(now, n) + SILENCE;
  for (int lag = 0; lag < fine_lags; lag++) fine[lag] /= sqrtf(fine_energy[lag] * now_energy);
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
 * then histories of the sound and of its low-rate version. ahead [overlap], or NULL: samples that are expected behind x
 * become what the settings of the last block make of them; they are not remembered. */
static void comb(const ScModel *m, DecoderHead *head, float *histories, const float *x, const float *hidden, float *out,
                 float *ahead) {
  const Shape *s = &m->shape;
  const int block = s->comb_block, blocks = m->packet / block, a_frame = blocks / s->frames_per_packet;
  const int step = s->decimation, kept = m->low_history, fresh = m->packet / step, stride = s->decoder_dim + 8;
  float buffer[MAX_COMB + 64], low[MAX_COMB + 64];
  float *history = histories, *low_history = histories + m->comb_history;
  memcpy(buffer, history, m->comb_history * sizeof(float));
  memcpy(buffer + m->comb_history, x, m->packet * sizeof(float));
  memset(buffer + m->comb_history + m->packet, 0, 64 * sizeof(float));
  memcpy(low, low_history, kept * sizeof(float));
  for (int i = kept; i < kept + fresh; i++) low[i] = dot(buffer + i * step, m->low_pass, (s->low_pass + 7) / 8 * 8);
  memset(low + kept + fresh, 0, 64 * sizeof(float));
  CombSettings before = {head->period, head->share, {0}};
  memcpy(before.taps, head->taps, sizeof before.taps);
  float control[CONTROLS];
  for (int n = 0; n < blocks; n++) {
    if (n % a_frame == 0)
      for (int c = 0; c < CONTROLS; c++) {
        const float *row = m->control + (size_t)c * stride;
        control[c] = dot(hidden + (size_t)(n / a_frame) * s->decoder_dim, row, s->decoder_dim) + row[s->decoder_dim];
      }
    Pitch pitch = find_pitch(m, buffer, m->comb_history + block * (n + 1), low + block / step * n);
    CombSettings after = {pitch.period, 0, {0}};
    after.share = LARGEST_SHARE * sigmoid(control[0] + control[1] * pitch.coarse + control[2] * pitch.fine);
    memcpy(after.taps, control + 3, sizeof after.taps);
    float old_kernel[KERNEL], new_kernel[KERNEL];
    const float *at = buffer + m->comb_history + block * n - REACH;
    const float *old_past = at - comb_kernel(&before, old_kernel), *new_past = at - comb_kernel(&after, new_kernel);
    static const v8 ramp = {.5f, 1.5f, 2.5f, 3.5f, 4.5f, 5.5f, 6.5f, 7.5f};
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
  if (ahead) {
    float kernel[KERNEL];
    float *end = buffer + m->comb_history + m->packet;
    const float *past = end - REACH - comb_kernel(&before, kernel);
    memcpy(end, ahead, s->overlap * sizeof(float));
    for (int i = 0; i < s->overlap; i += 8) {
      v8 now = LOAD(ahead + i), mean = splat(0);
      for (int j = 0; j < KERNEL; j++) mean += LOAD(past + i + j) * splat(kernel[j]);
      STORE(ahead + i, now + splat(before.share) * (mean - now));
    }
  }
  head->period = before.period;
  head->share = before.share;
  memcpy(head->taps, before.taps, sizeof before.taps);
  memcpy(history, buffer + m->packet, m->comb_history * sizeof(float));
  memcpy(low_history, low + fresh, kept * sizeof(float));
}

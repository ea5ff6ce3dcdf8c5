/* Waveform layer (streamcodec_models/waveform.py): what packets say of single coefficients, mixed into the network's sound.
 *
 * Its frames are those that the network speaks in: F a packet of hop + overlap samples, `hop` apart. Of a packet's last
 * frame the network's sound is not complete: the next packet's overlaps it. That frame is transformed twice: with the
 * samples that the network expects, for what is heard at once; and a packet later with the real ones, for its tail.
 * Coefficients are at unit gain. K: waveform_bins; of these a packet codes the first `bins`. */
#include "model.h"
#include "simd.h"
#include "waveform_prior.h"

static const float UNCODED = 1e6f; /* a step so large that nothing is louder */

/* What one packet says of the layer. */
typedef struct {
  int bins;             /* 0: nothing */
  const int32_t *q;     /* [F, K] */
  const float *steps;   /* [K / STEP_BAND] */
  const float *ceiling; /* [K] in steps */
} Said;

/* The last frame of the packet before, whose tail is yet to be heard; at waveform_at of a decoder's state, where
 * coded_bins is not 0. */
typedef struct {
  float *body;  /* [hop] the network's sound in it */
  float *said;  /* [K] coefficients where integers are not zero */
  float *limit; /* [K] what is heard of the network where they are, beyond the prediction; below 0 where they are not */
} LastFrame;

static LastFrame last_frame(const ScModel *m, float *state) {
  float *body = state + m->waveform_at;
  return (LastFrame){body, body + m->shape.hop, body + m->shape.hop + m->shape.waveform_bins};
}

/* `waves` rows of the basis times `count` frames [n], `hop` apart -> out [count, stride]. */
INLINE void products(const float *basis, int n, const float *frames, int hop, const int waves, const int count, float scale,
                     float *out, int stride) {
  v8 sums[2][8];
  UNROLL for (int f = 0; f < count; f++) UNROLL for (int k = 0; k < waves; k++) sums[f][k] = splat(0);
  for (int i = 0; i < n; i += 8)
    UNROLL for (int f = 0; f < count; f++) {
      const v8 x = LOAD(frames + (size_t)f * hop + i);
      UNROLL for (int k = 0; k < waves; k++) sums[f][k] += x * LOAD(basis + (size_t)k * n + i);
    }
  UNROLL for (int f = 0; f < count; f++)
    UNROLL for (int k = 0; k < waves; k++) out[(size_t)f * stride + k] = scale * sum8(sums[f][k]);
}

/* sound [count * hop + overlap] -> the first `bins`, a multiple of 8, of its coefficients times `scale`: [count, K]. */
static void coefficients_of(const ScModel *m, const float *sound, int count, int bins, float scale, float *out) {
  const int hop = m->shape.hop, stride = m->shape.waveform_bins, n = m->frame;
  int f = 0;
  for (; f + 2 <= count; f += 2)
    for (int k = 0; k < bins; k += 4)
      products(m->waves + (size_t)k * n, n, sound + (size_t)f * hop, hop, 4, 2, scale, out + (size_t)f * stride + k, stride);
  for (; f < count; f++)
    for (int k = 0; k < bins; k += 8)
      products(m->waves + (size_t)k * n, n, sound + (size_t)f * hop, hop, 8, 1, scale, out + (size_t)f * stride + k, stride);
}

/* 8 * `vectors` samples, from `basis` on, of waves that are `n` apart, weighed by coefficients [bins]: added to out. */
INLINE void add_samples(const float *basis, int n, const float *coefficients, int bins, const int vectors, float scale,
                        float *out) {
  v8 sums[10];
  UNROLL for (int j = 0; j < vectors; j++) sums[j] = splat(0);
  for (int k = 0; k < bins; k++) {
    const v8 weight = splat(coefficients[k]);
    UNROLL for (int j = 0; j < vectors; j++) sums[j] += weight * LOAD(basis + (size_t)k * n + 8 * j);
  }
  UNROLL for (int j = 0; j < vectors; j++) STORE(out + 8 * j, LOAD(out + 8 * j) + splat(scale) * sums[j]);
}

/* Samples `from` to `to` of the frame that has these coefficients [bins], times `scale`: added to out [to - from]. */
static void add_waves(const ScModel *m, const float *coefficients, int bins, int from, int to, float scale, float *out) {
  const int n = m->frame;
  int i = from;
  for (; i + 80 <= to; i += 80) add_samples(m->waves + i, n, coefficients, bins, 10, scale, out + i - from);
  for (; i < to; i += 8) add_samples(m->waves + i, n, coefficients, bins, 1, scale, out + i - from);
}

/* What is added to the network's coefficients base [bins] of a frame, bins a multiple of 8. Where its integer is not zero a
 * coefficient becomes what was said; elsewhere what goes beyond the prediction is cut to `limit`. */
static void change_of(const float *prediction, const float *base, const float *said, const float *limit, int bins,
                      float *change) {
  for (int k = 0; k < bins; k += 8) {
    const v8 now = LOAD(base + k), most = LOAD(limit + k), more = now - LOAD(prediction + k) * now;
    const v8 quieter = max8(min8(more, most), -most) - more;
    STORE(change + k, choose(most < splat(0), LOAD(said + k) - now, quieter));
  }
}

/* coefficients [F, K] of the sound, and the network's sound [packet + overlap] -> out [F, K]: those less these, as far as
 * it is predicted from. */
static void unpredicted(const ScModel *m, const float *sound, float gain_index, const float *coefficients, float *out) {
  const int frames = m->shape.frames_per_packet, bins = m->shape.waveform_bins;
  float base[MAX_PACKET];
  coefficients_of(m, sound, frames, bins, exp2f(-gain_index / GAIN_STEPS), base);
  for (int i = 0; i < frames * bins; i += 8)
    STORE(out + i, LOAD(coefficients + i) - LOAD(m->prediction + i) * LOAD(base + i));
}

/* One frame of what a packet says: q [K], its steps [K], prediction and base -> said and limit, as in LastFrame. */
static void dequantise_frame(const Said *packet, const int32_t *q, const float *steps, const float *prediction,
                             const float *base, int bins, float *said, float *limit) {
  for (int k = 0; k < bins; k += 8) {
    const i8x integers = *(const i8x *)(q + k);
    const v8 step = LOAD(steps + k);
    const i8x is_said = (integers != 0) & (step < splat(UNCODED));
    const v8 value = __builtin_convertvector(integers, v8) * step;
    STORE(said + k, LOAD(prediction + k) * LOAD(base + k) + value);
    STORE(limit + k, choose(is_said, splat(-1), LOAD(packet->ceiling + k) * step));
  }
}

/* sound [packet + overlap]: the network's and what it expects behind it, which is not needed where the packet says nothing
 * -> with the layer, [packet]. before: gain index of the packet before. The state's last frame becomes this packet's. */
static void waveform_layer(const ScModel *m, float *state, float before, const Said *packet, float *sound) {
  const Shape *s = &m->shape;
  const int frames = s->frames_per_packet, stride = s->waveform_bins, overlap = s->overlap;
  const float *last_prediction = m->prediction + (size_t)(frames - 1) * stride;
  DecoderHead *head = (DecoderHead *)state;
  const LastFrame last = last_frame(m, state);
  float base[MAX_PACKET], change[MAX_PACKET], tail[MAX_PACKET];
  const int had = (head->coded_bins + 7) / 8 * 8, bins = packet->bins < stride ? packet->bins : stride, has = (bins + 7) / 8 * 8;
  if (had) {
    float whole[MAX_PACKET];
    memcpy(whole, last.body, s->hop * sizeof *whole);
    memcpy(whole + s->hop, sound, overlap * sizeof *whole);
    coefficients_of(m, whole, 1, had, exp2f(-before / GAIN_STEPS), base);
    change_of(last_prediction, base, last.said, last.limit, had, change);
    memset(tail, 0, overlap * sizeof *tail);
    add_waves(m, change, had, s->hop, m->frame, exp2f(before / GAIN_STEPS), tail);
  }
  head->coded_bins = bins;
  if (has) {
    const float gain = exp2f(head->gain_index / GAIN_STEPS);
    float steps[MAX_PACKET];
    for (int k = 0; k < has; k++) steps[k] = k < bins ? packet->steps[k / STEP_BAND] : UNCODED;
    coefficients_of(m, sound, frames, has, 1 / gain, base);
    memcpy(last.body, sound + m->packet - s->hop, s->hop * sizeof *sound);
    for (int f = 0; f < frames; f++) {
      const float *prediction = m->prediction + (size_t)f * stride, *now = base + (size_t)f * stride;
      dequantise_frame(packet, packet->q + (size_t)f * stride, steps, prediction, now, has, last.said, last.limit);
      change_of(prediction, now, last.said, last.limit, has, change);
      add_waves(m, change, has, 0, f < frames - 1 ? m->frame : s->hop, gain, sound + (size_t)f * s->hop);
    }
  }
  if (had)
    for (int i = 0; i < overlap; i += 8) STORE(sound + i, LOAD(sound + i) + LOAD(tail + i));
}

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
static const float LEAST_LOUD = 1e-4f, MOST_LOUD = 16; /* quantiser steps: what the refinement tells apart */
static const float MOST_OCTAVES = 2, OCTAVE = 0.69314718f; /* by which it makes a coefficient louder or softer; log 2 */

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
  float *factors;  /* [K] by which it is louder */
  float *features; /* what the refinement sees of it */
} LastFrame;

static LastFrame last_frame(const ScModel *m, float *state) {
  const int bins = m->shape.waveform_bins;
  float *body = state + m->waveform_at, *said = body + m->shape.hop;
  return (LastFrame){body, said, said + bins, said + 2 * bins, said + 3 * bins};
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

/* What is heard of a frame, before its refinement, where the network's coefficients are base [bins], bins a multiple of 8.
 * Where its integer is not zero a coefficient is what was said; elsewhere what goes beyond the prediction is cut to `limit`. */
static void mix(const float *prediction, const float *base, const float *said, const float *limit, int bins, float *mixed) {
  for (int k = 0; k < bins; k += 8) {
    const v8 now = LOAD(base + k), most = LOAD(limit + k), more = now - LOAD(prediction + k) * now;
    const v8 quieter = max8(min8(more, most), -most);
    STORE(mixed + k, choose(most < splat(0), LOAD(said + k), now + (quieter - more)));
  }
}

/* How loud coefficients [bins] are in quantiser steps, as the refinement sees it. */
static void louds_of(const float *coefficients, const float *steps, int bins, float *louds) {
  for (int k = 0; k < bins; k += 8) {
    const v8 step = LOAD(steps + k);
    const v8 loud = max8(min8(abs8(LOAD(coefficients + k)) / step, splat(MOST_LOUD)), splat(LEAST_LOUD));
    STORE(louds + k, choose(step < splat(UNCODED), loud * rsqrt8(loud), splat(0)));
  }
}

/* Of one frame -> [refined.inputs / 2], of which those that nothing is said of are zero. */
static void describe(const ScModel *m, const float *base, const float *mixed, const float *steps, int bins, float *features) {
  const int stride = m->shape.waveform_bins;
  memset(features, 0, (size_t)m->refinement[0].inputs / 2 * sizeof *features);
  louds_of(base, steps, bins, features);
  louds_of(mixed, steps, bins, features + stride);
  for (int k = 0; k < bins; k += STEP_BAND)
    if (steps[k] < UNCODED) features[2 * stride + k / STEP_BAND] = log2f(steps[k]);
}

/* features: of `frames` frames behind those of the frame before, each refinement[0].inputs / 2 -> factors [frames, outputs of
 * refinement[2]], of which the first `bins` are set. */
static void refine(const ScModel *m, const float *features, const float *steps, int frames, int bins, float *factors) {
  const Linear *layers = m->refinement;
  const int width = layers[0].outputs, stride = layers[2].outputs;
  float first[MAX_PACKET], second[MAX_PACKET];
  Workspace none = {0}; /* float weights need no memory */
  linear(&layers[0], features, layers[0].inputs / 2, first, frames, &none);
  for (int i = 0; i < frames * width; i += 8) STORE(first + i, max8(LOAD(first + i), splat(0)));
  linear(&layers[1], first, width, second, frames, &none);
  for (int i = 0; i < frames * width; i += 8) STORE(second + i, max8(LOAD(second + i), splat(0)));
  linear(&layers[2], second, width, factors, frames, &none);
  for (int f = 0; f < frames; f++)
    for (int k = 0; k < bins; k += 8) {
      float *at = factors + (size_t)f * stride + k;
      const v8 octaves = max8(min8(LOAD(at), splat(MOST_OCTAVES)), splat(-MOST_OCTAVES));
      STORE(at, choose(LOAD(steps + k) < splat(UNCODED), exp8(octaves * splat(OCTAVE)), splat(1)));
    }
}

/* mixed and its factors, less base: [bins]. */
static void change_of(const float *mixed, const float *factors, const float *base, int bins, float *change) {
  for (int k = 0; k < bins; k += 8) STORE(change + k, LOAD(factors + k) * LOAD(mixed + k) - LOAD(base + k));
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

/* The tail of the packet's last frame before, now that the samples [overlap] are known that the network says behind it:
 * what it adds to them. */
static void tail_of(const ScModel *m, const LastFrame *last, const float *sound, float before, int bins, float *tail) {
  const int hop = m->shape.hop, overlap = m->shape.overlap;
  const float *prediction = m->prediction + (size_t)(m->shape.frames_per_packet - 1) * m->shape.waveform_bins;
  float whole[MAX_PACKET], base[MAX_PACKET], change[MAX_PACKET];
  memcpy(whole, last->body, hop * sizeof *whole);
  memcpy(whole + hop, sound, overlap * sizeof *whole);
  coefficients_of(m, whole, 1, bins, exp2f(-before / GAIN_STEPS), base);
  mix(prediction, base, last->said, last->limit, bins, change);
  change_of(change, last->factors, base, bins, change);
  memset(tail, 0, overlap * sizeof *tail);
  add_waves(m, change, bins, hop, m->frame, exp2f(before / GAIN_STEPS), tail);
}

/* The packet's own frames, `bins` of each, added to its sound. had: whether the packet before had the layer. */
static void add_frames(const ScModel *m, const LastFrame *last, float gain, const Said *packet, int bins, int had, float *sound) {
  const Shape *s = &m->shape;
  const int frames = s->frames_per_packet, stride = s->waveform_bins, size = m->refinement[0].inputs / 2;
  float base[MAX_PACKET], mixed[MAX_PACKET], change[MAX_PACKET], steps[MAX_PACKET], factors[MAX_PACKET];
  float features[MAX_FEATURES];
  for (int k = 0; k < bins; k++) steps[k] = k < packet->bins ? packet->steps[k / STEP_BAND] : UNCODED;
  if (had) memcpy(features, last->features, size * sizeof *features);
  else memset(features, 0, size * sizeof *features);
  coefficients_of(m, sound, frames, bins, 1 / gain, base);
  for (int f = 0; f < frames; f++) {
    const float *prediction = m->prediction + (size_t)f * stride;
    float *now = base + (size_t)f * stride, *heard = mixed + (size_t)f * stride;
    dequantise_frame(packet, packet->q + (size_t)f * stride, steps, prediction, now, bins, last->said, last->limit);
    mix(prediction, now, last->said, last->limit, bins, heard);
    describe(m, now, heard, steps, bins, features + (size_t)(f + 1) * size);
  }
  refine(m, features, steps, frames, bins, factors);
  memcpy(last->body, sound + m->packet - s->hop, s->hop * sizeof *sound);
  for (int f = 0; f < frames; f++) {
    const float *louder = factors + (size_t)f * m->refinement[2].outputs;
    change_of(mixed + (size_t)f * stride, louder, base + (size_t)f * stride, bins, change);
    add_waves(m, change, bins, 0, f < frames - 1 ? m->frame : s->hop, gain, sound + (size_t)f * s->hop);
    if (f == frames - 1) memcpy(last->factors, louder, bins * sizeof *louder);
  }
  memcpy(last->features, features + (size_t)frames * size, size * sizeof *features);
}

/* sound [packet + overlap]: the network's and what it expects behind it, which is not needed where the packet says nothing
 * -> with the layer, [packet]. before: gain index of the packet before. The state's last frame becomes this packet's. */
static void waveform_layer(const ScModel *m, float *state, float before, const Said *packet, float *sound) {
  const int most = m->shape.waveform_bins, overlap = m->shape.overlap, bins = packet->bins < most ? packet->bins : most;
  DecoderHead *head = (DecoderHead *)state;
  const LastFrame last = last_frame(m, state);
  const int had = (head->coded_bins + 7) / 8 * 8, has = (bins + 7) / 8 * 8;
  float tail[MAX_PACKET];
  if (had) tail_of(m, &last, sound, before, had, tail);
  head->coded_bins = bins;
  if (has) add_frames(m, &last, exp2f(head->gain_index / GAIN_STEPS), packet, has, had > 0, sound);
  if (had)
    for (int i = 0; i < overlap; i += 8) STORE(sound + i, LOAD(sound + i) + LOAD(tail + i));
}

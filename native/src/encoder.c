/* One packet through the encoder (VoiceVae.encode in streamcodec_models/vae.py). */
#include "model.h"
#include "simd.h"

enum { MOST_CONDITIONS = 5 };

/* condition [inputs + 1, dim] -> h [dim] += its rows weighed by `values`, and its last. */
static void add_condition(const float *condition, const float *values, int inputs, float *h, int dim) {
  for (int i = 0; i < dim; i += 8) {
    v8 sum = LOAD(h + i) + LOAD(condition + (size_t)inputs * dim + i);
    for (int v = 0; v < inputs; v++) sum += LOAD(condition + (size_t)v * dim + i) * splat(values[v]);
    STORE(h + i, sum);
  }
}

/* What both networks are told beside their input: quality of the base, gain, and how it rose; a decoder whether its packet
 * is lost; last of all, how much the waveform layer will say. */
static int condition_values(const ScModel *m, int level, float gain, float before, const uint8_t *lost, float *values) {
  int count = 0;
  values[count++] = m->told_of_level[2 * level];
  values[count++] = gain * .0375f;
  values[count++] = clamp(gain - before, -16, 16) / 8;
  if (lost) values[count++] = *lost ? 1 : 0;
  values[count++] = m->told_of_level[2 * level + 1];
  return count;
}

/* x [n], n a multiple of 8 -> steps of its power. */
static float gain_of(const float *x, int n) {
  float steps = rintf(GAIN_STEPS / 2 * log2f(dot(x, x, n) / (float)n + 1e-12f));
  return clamp(steps, GAIN_LOW, GAIN_HIGH);
}

/* frame [window] -> features [3 * bins]: compressed spectrum, log power. */
static void features_of(const ScModel *m, const float *frame, float *features) {
  const int bins = m->shape.window / 2 + 1;
  float re[MAX_WINDOW / 2 + 16], im[MAX_WINDOW / 2 + 16];
  real_fft(frame, m->shape.window, m->twiddles, re, im);
  for (int k = bins; k < bins + 7; k++) re[k] = im[k] = 0;
  for (int k = 0; k < bins; k += 8) {
    v8 r = LOAD(re + k), i = LOAD(im + k);
    v8 energy = log8(r * r + i * i + splat(1e-6f));
    v8 shrink = exp8(energy * splat(-.35f)), level = energy * splat(.15f);
    float out[3][8];
    STORE(out[0], r * shrink);
    STORE(out[1], i * shrink);
    STORE(out[2], level);
    int some = bins - k < 8 ? bins - k : 8;
    for (int part = 0; part < 3; part++) memcpy(features + part * bins + k, out[part], some * sizeof(float));
  }
}

/* One stream's packet -> features [frames, stride] and its lapped packet [packet + overlap], both at unit power. */
static void analyse(const ScModel *m, float *state, const float *pcm, float *features, int stride, float *lapped) {
  const Shape *s = &m->shape;
  const int length = s->window - s->hop, spread = m->packet + s->overlap;
  float past[MAX_WINDOW + MAX_PACKET], frame[MAX_WINDOW];
  float *history = state + ENCODER_HEAD;
  memcpy(past, history, length * sizeof(float));
  memcpy(past + length, pcm, m->packet * sizeof(float));
  const float *start = past + length - s->overlap;
  float gain = gain_of(start, spread);
  v8 inverse = splat(exp2f(-gain / GAIN_STEPS));
  for (int i = 0; i < spread; i += 8) STORE(lapped + i, LOAD(start + i) * inverse);
  for (int f = 0; f < s->frames_per_packet; f++) {
    for (int i = 0; i < s->window; i += 8) STORE(frame + i, LOAD(past + f * s->hop + i) * LOAD(m->window + i) * inverse);
    features_of(m, frame, features + (size_t)f * stride);
  }
  memcpy(history, past + m->packet, length * sizeof(float));
  ((EncoderHead *)state)->gain_index = gain;
}

static void encode(const ScModel *m, int streams, float *states, const float *pcm, const int32_t *levels,
                   float *means, int32_t *gain_index, float *coefficients, void *memory) {
  const Shape *s = &m->shape;
  const int dim = s->encoder_dim, frames = s->frames_per_packet, spread = m->packet + s->overlap;
  const int stride = (3 * (s->window / 2 + 1) + 7) / 8 * 8;
  Workspace ws = sc_workspace(m, streams, memory);
  const size_t size = m->encoder_state; /* of a state, in floats */
  float *features = ws.a, *lapped = ws.b, *h = ws.c, *g = ws.d, *y = ws.e, *t = ws.f;
  for (int b = 0; b < streams; b++) {
    /* The gain of the packet before is needed below: it waits in gain_index until then. */
    gain_index[b] = (int32_t)((EncoderHead *)(states + b * size))->gain_index;
    analyse(m, (states + b * size), pcm + (size_t)b * m->packet, features + (size_t)b * frames * stride, stride,
            lapped + (size_t)b * spread);
    if (coefficients && levels[b] >= s->base_levels)
      coefficients_of(m, lapped + (size_t)b * spread, frames, s->waveform_bins, 1,
                      coefficients + (size_t)b * frames * s->waveform_bins);
  }
  linear(&m->encoder_in, features, stride, h, streams * frames, &ws);
  int width = m->encoder_in.outputs, at = m->encoder_blocks_at;
  compact(h, streams * frames, width, dim);
  for (int i = 0; i < s->encoder_frame_blocks; i++, at += (s->kernel - 1) * dim)
    causal_block(m, &m->encoder_frames[i], h, states, size, at, streams, frames, y, t, &ws);
  linear(&m->encoder_down, h, frames * dim, g, streams, &ws);
  compact(g, streams, m->encoder_down.outputs, dim);
  for (int b = 0; b < streams; b++) {
    float values[MOST_CONDITIONS], gain = ((EncoderHead *)(states + b * size))->gain_index;
    const int count = condition_values(m, levels[b], gain, (float)gain_index[b], NULL, values);
    add_condition(m->encoder_condition, values, count, g + (size_t)b * dim, dim);
    gain_index[b] = (int32_t)gain;
  }
  for (int i = 0; i < s->encoder_packet_blocks; i++, at += (s->kernel - 1) * dim)
    causal_block(m, &m->encoder_packets[i], g, states, size, at, streams, 1, y, t, &ws);
  for (int b = 0; b < streams; b++) normalise(g + (size_t)b * dim, m->encoder_norm, dim);
  linear(&m->to_latent, g, dim, y, streams, &ws);
  linear(&m->skip_in, lapped, spread, t, streams, &ws);
  for (int b = 0; b < streams; b++)
    for (int i = 0; i < s->latent; i += 8) {
      v8 z = LOAD(y + (size_t)b * m->to_latent.outputs + i) + LOAD(t + (size_t)b * m->skip_in.outputs + i);
      STORE(means + (size_t)b * s->latent + i, z * LOAD(m->precision + (size_t)levels[b] * s->latent + i));
    }
}

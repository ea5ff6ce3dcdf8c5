/* Hidden frames -> voice and noise (VoiceVae.synthesis_frames, _synthesise), and how the noise swells
 * (streamcodec_models/noise_envelope.py). */
#include "model.h"
#include "simd.h"

static const float LOG_MAGNITUDE_LIMIT = 5;
static const float LARGEST_DEPTH = 1.5f, FAINTEST = 1e-4f, LEAST_POWER = 1e-2f;

/* head [3 * bins]: log magnitude, phase, log magnitude of the noise; noise [2 * bins] -> spectra of voice and noise,
 * [2 * bins] each: real parts, then imaginary ones. */
static void spectra_of(const float *head, const float *noise, int bins, float *voice, float *breath) {
  const v8 limit = splat(LOG_MAGNITUDE_LIMIT);
  for (int k = 0; k < bins; k += 8) {
    float out[3][8];
    v8 sine, cosine, magnitude = exp8(min8(LOAD(head + k), limit));
    sine_cosine8(LOAD(head + bins + k), &sine, &cosine);
    STORE(out[0], magnitude * cosine);
    STORE(out[1], magnitude * sine);
    STORE(out[2], exp8(min8(LOAD(head + 2 * bins + k), limit)));
    for (int i = 0; i < 8 && k + i < bins; i++) {
      voice[k + i] = out[0][i];
      voice[bins + k + i] = out[1][i];
      breath[k + i] = noise[k + i] * out[2][i];
      breath[bins + k + i] = noise[bins + k + i] * out[2][i];
    }
  }
}

/* frames [count, stride] of hop + overlap samples, scaled -> out [count * hop]; tail [overlap] of the frame before, and
 * after it. */
static void overlap_add(const float *frames, int stride, int count, int hop, int overlap, float scale, float *tail,
                        float *out) {
  for (int f = 0; f < count; f++) {
    const float *frame = frames + (size_t)f * stride;
    for (int i = 0; i < hop; i += 8) {
      v8 sum = LOAD(frame + i) * splat(scale);
      if (i < overlap) sum += LOAD(tail + i);
      STORE(out + (size_t)f * hop + i, sum);
    }
    for (int i = 0; i < overlap; i += 8) STORE(tail + i, LOAD(frame + hop + i) * splat(scale));
  }
}

/* voice [packet] and the hidden frames [frames, dim] -> voice + swelling noise, into out [packet]. */
static void swell_noise(const ScModel *m, DecoderHead *state, const float *voice, const float *noise, const float *hidden,
                        float *out) {
  const Shape *s = &m->shape;
  const int size = s->envelope_block, count = m->packet / size, a_frame = count / s->frames_per_packet;
  enum { BEFORE = ENVELOPE_SMOOTHING - 1, MOST = MAX_PACKET / 8 };
  float levels[BEFORE + MOST], envelope[MOST], swell[MOST], mean = 0, power = 0;
  memcpy(levels, state->levels, sizeof state->levels);
  for (int n = 0; n < count; n++) {
    v8 sum = splat(0);
    for (int i = 0; i < size; i += 8) sum += abs8(LOAD(voice + n * size + i));
    levels[BEFORE + n] = sum8(sum) / (float)size;
  }
  for (int n = 0; n < count; n++) {
    float sum = 0;
    for (int i = 0; i < ENVELOPE_SMOOTHING; i++) sum += levels[n + i];
    envelope[n] = sum / ENVELOPE_SMOOTHING + FAINTEST;
    mean += envelope[n] / (float)count;
  }
  for (int f = 0; f < s->frames_per_packet; f++) {
    const float logit = dot(hidden + (size_t)f * s->decoder_dim, m->depth, s->decoder_dim) + m->depth[s->decoder_dim];
    const float depth = LARGEST_DEPTH * sigmoid(logit);
    for (int n = f * a_frame; n < (f + 1) * a_frame; n++) {
      swell[n] = fmaxf(0, 1 + depth * (envelope[n] / mean - 1));
      power += swell[n] * swell[n] / (float)count;
    }
  }
  const float unit = 1 / sqrtf(power + LEAST_POWER);
  float before = state->swell;
  for (int n = 0; n < count; n++) {
    const float after = swell[n] * unit;
    for (int i = 0; i < size; i++) {
      const int at = n * size + i;
      out[at] = voice[at] + noise[at] * (before + (after - before) * (float)(i + 1) / (float)size);
    }
    before = after;
  }
  state->swell = before;
  memcpy(state->levels, levels + count, sizeof state->levels);
}

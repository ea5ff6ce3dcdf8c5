/* One packet through the decoder (VoiceVae.decode in streamcodec_models/vae.py). */
#include "model.h"
#include "simd.h"

static const float HELD_GAIN_DECAY = 2; /* steps a missing packet: 3 dB */

/* One stream's gain and dequantised latents z [D]; `before` is the gain of the packet before. */
static void dequantise(const ScModel *m, DecoderHead *head, const int32_t *y, int gain_index, int level, int lost, float *z,
                       float *before) {
  const int latent = m->shape.latent;
  const float *inverse = m->inverse_precision + (size_t)level * latent;
  *before = head->gain_index;
  if (lost) {
    head->gain_index = fmaxf(head->gain_index - HELD_GAIN_DECAY, GAIN_LOW);
    memset(z, 0, latent * sizeof *z);
    return;
  }
  head->gain_index = clamp((float)gain_index, GAIN_LOW, GAIN_HIGH);
  for (int i = 0; i < latent; i += 8)
    STORE(z + i, __builtin_convertvector(*(const i8x *)(y + i), v8) * LOAD(inverse + i));
}

/* hidden [frames, dim], frames of voice and noise and the linear path -> sound [packet] and, where `with_ahead`, the
 * samples [overlap] that are expected behind it. */
static void join(const ScModel *m, float *state, const float *hidden, const float *voice_frames, const float *noise_frames,
                 int frame_stride, float *linear_frame, int with_ahead, float *sound) {
  const Shape *s = &m->shape;
  DecoderHead *head = (DecoderHead *)state;
  float *tails = state + m->decoder_tails_at;
  float voice[MAX_PACKET], noise[MAX_PACKET], linear_out[MAX_PACKET], x[MAX_PACKET];
  const float gain = exp2f(head->gain_index / GAIN_STEPS);
  overlap_add(voice_frames, frame_stride, s->frames_per_packet, s->hop, s->overlap, gain, tails, voice);
  overlap_add(noise_frames, frame_stride, s->frames_per_packet, s->hop, s->overlap, gain, tails + s->overlap, noise);
  for (int i = 0; i < m->packet + s->overlap; i += 8) STORE(linear_frame + i, LOAD(linear_frame + i) * LOAD(m->packet_slopes + i));
  overlap_add(linear_frame, 0, 1, m->packet, s->overlap, gain, tails + 2 * s->overlap, linear_out);
  for (int i = 0; i < m->packet; i += 8) STORE(voice + i, LOAD(voice + i) + LOAD(linear_out + i));
  swell_noise(m, head, voice, noise, hidden, x);
  float *ahead = with_ahead ? sound + m->packet : NULL;
  if (ahead) {
    /* The tails are what is expected, on its way down. */
    const v8 swell = splat(head->swell);
    for (int i = 0; i < s->overlap; i += 8) {
      v8 tail = LOAD(tails + i) + LOAD(tails + 2 * s->overlap + i) + swell * LOAD(tails + s->overlap + i);
      STORE(ahead + i, tail / LOAD(m->packet_slopes + m->packet + i));
    }
  }
  comb(m, head, state + m->comb_at, x, hidden, sound, ahead);
}

/* What the networks make of a packet, before anything is heard of it. In the workspace. */
typedef struct {
  float *hidden; /* [S, frames, dim] */
  float *frames; /* [S, 2, frames, `stride`]: of the voice, then of the noise */
  float *linear; /* [S, skip_out.outputs] */
  int stride;
} Parts;

/* lost: NULL where no packet is. */
static Parts network(const ScModel *m, int streams, float *states, const int32_t *y_in, const int32_t *gain_index,
                     const int32_t *levels, const uint8_t *lost, Workspace ws) {
  const Shape *s = &m->shape;
  const int dim = s->decoder_dim, frames = s->frames_per_packet, latent = s->latent, rows = streams * frames;
  const uint8_t never = 0;
  const size_t size = m->decoder_state; /* of a state, in floats */
  float *z = ws.a, *h = ws.b, *u = ws.c, *linear_frames = ws.d, *y = ws.e, *t = ws.f;
  for (int b = 0; b < streams; b++)
    dequantise(m, (DecoderHead *)(states + b * size), y_in + (size_t)b * latent, gain_index[b], levels[b], lost && lost[b], z + (size_t)b * latent,
               ws.gains + b);
  linear(&m->from_latent, z, latent, h, streams, &ws);
  linear(&m->skip_out, z, latent, linear_frames, streams, &ws);
  compact(h, streams, m->from_latent.outputs, dim);
  for (int b = 0; b < streams; b++) {
    float values[MOST_CONDITIONS], gain = ((DecoderHead *)(states + b * size))->gain_index;
    const int count = condition_values(m, levels[b], gain, ws.gains[b], lost ? lost + b : &never, values);
    add_condition(m->decoder_condition, values, count, h + (size_t)b * dim, dim);
  }
  int at = m->decoder_blocks_at;
  for (int i = 0; i < s->decoder_packet_blocks; i++, at += (s->kernel - 1) * dim)
    causal_block(m, &m->decoder_packets[i], h, states, size, at, streams, 1, y, t, &ws);
  linear(&m->decoder_up, h, dim, u, streams, &ws);
  compact(u, streams, m->decoder_up.outputs, frames * dim);
  for (int i = 0; i < s->decoder_frame_blocks; i++, at += (s->kernel - 1) * dim)
    causal_block(m, &m->decoder_frames[i], u, states, size, at, streams, frames, y, t, &ws);
  for (int r = 0; r < rows; r++) normalise(u + (size_t)r * dim, m->decoder_norm, dim);
  linear(&m->head, u, dim, t, rows, &ws);
  const int spectrum = (2 * m->bins + 7) / 8 * 8, out = m->inverse_dft.outputs;
  float *spectra = y, *sound = ws.a; /* latents are not needed any more */
  for (int b = 0; b < streams; b++)
    for (int f = 0; f < frames; f++) {
      const int row = (((DecoderHead *)(states + b * size))->noise_position + f) % s->noise_frames;
      float *voice = spectra + (size_t)(2 * b * frames + f) * spectrum;
      spectra_of(t + (size_t)(b * frames + f) * m->head.outputs, m->noise + (size_t)row * 2 * m->bins, m->bins, voice,
                 voice + (size_t)frames * spectrum);
    }
  linear(&m->inverse_dft, spectra, spectrum, sound, 2 * rows, &ws);
  return (Parts){u, sound, linear_frames, out};
}

/* One stream's sound, as `join`. */
static void sound_of(const ScModel *m, const Parts *parts, int b, float *state, int with_ahead, float *sound) {
  const int frames = m->shape.frames_per_packet;
  DecoderHead *head = (DecoderHead *)state;
  const float *voice = parts->frames + (size_t)2 * b * frames * parts->stride;
  join(m, state, parts->hidden + (size_t)b * frames * m->shape.decoder_dim, voice, voice + (size_t)frames * parts->stride,
       parts->stride, parts->linear + (size_t)b * m->skip_out.outputs, with_ahead, sound);
  head->noise_position = (head->noise_position + frames) % m->shape.noise_frames;
}

static void residual(const ScModel *m, int streams, float *states, const int32_t *y, const int32_t *gain_index,
                     const int32_t *levels, const float *coefficients, float *out, void *memory) {
  const int count = m->shape.frames_per_packet * m->shape.waveform_bins;
  const Parts parts = network(m, streams, states, y, gain_index, levels, NULL, sc_workspace(m, streams, memory));
  for (int b = 0; b < streams; b++) {
    float *state = states + (size_t)b * m->decoder_state, sound[MAX_PACKET];
    sound_of(m, &parts, b, state, coefficients != NULL, sound);
    if (!coefficients) continue;
    unpredicted(m, sound, ((DecoderHead *)state)->gain_index, coefficients + (size_t)b * count, out + (size_t)b * count);
  }
}

static void decode(const ScModel *m, int streams, float *states, const int32_t *y, const int32_t *gain_index,
                   const int32_t *levels, const uint8_t *lost, const int32_t *q, const float *steps, const int32_t *bins,
                   float *pcm, void *memory) {
  const Shape *s = &m->shape;
  Workspace ws = sc_workspace(m, streams, memory);
  const Parts parts = network(m, streams, states, y, gain_index, levels, lost, ws);
  for (int b = 0; b < streams; b++) {
    Said said = {0, NULL, NULL, NULL};
    if (bins && bins[b] > 0 && !lost[b])
      said = (Said){bins[b], q + (size_t)b * s->frames_per_packet * s->waveform_bins,
                    steps + (size_t)b * (s->waveform_bins / STEP_BAND), m->ceiling + (size_t)levels[b] * s->waveform_bins};
    float sound[MAX_PACKET];
    sound_of(m, &parts, b, states + (size_t)b * m->decoder_state, said.bins > 0, sound);
    waveform_layer(m, states + (size_t)b * m->decoder_state, ws.gains[b], &said, sound);
    memcpy(pcm + (size_t)b * m->packet, sound, m->packet * sizeof *pcm);
  }
}

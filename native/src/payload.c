/* A payload of one stream in one call: what sc_encode and sc_bitstream_encode do, and sc_bitstream_parse and sc_decode. */
#include <string.h>

#include "loudness.h"
#include "model.h"
#include "quantiser.h"

enum { MAX_CHANNELS = 2 };

/* The waveform layer of one payload. */
typedef struct {
  uint8_t coded[MAX_VECTORS];
  int32_t loudness[MAX_VECTORS], q[MAX_VECTORS * MAX_COEFFICIENTS];
  float steps[MAX_VECTORS * MAX_BANDS];
} Layer;

static ScWaveform layer_at(Layer *layer) { return (ScWaveform){layer->coded, layer->loudness, layer->q, layer->steps}; }

/* Whether the network and the bitstream go together, and the payload's shape is one that the arrays below can hold. */
static int fits(const ScModel *m, const ScBitstream *b, int packets, int channels) {
  const IntegerPrior *p = &b->waveform.prior;
  return b->latent == m->shape.latent && b->levels == m->shape.levels && p->frames == m->shape.frames_per_packet &&
         p->bins == m->shape.waveform_bins && channels >= 1 && channels <= MAX_CHANNELS &&
         packets >= 1 && packets * channels <= MAX_VECTORS;
}

/* pcm [C, P * T] -> means [P, C, D], gains [P, C], coefficients [P, C, F, K] or NULL; the states change. */
static void encode_packets(const ScModel *m, int packets, int channels, int level, void *states, const float *pcm, float *means,
                           int32_t *gains, float *coefficients, void *workspace) {
  float packet[MAX_CHANNELS * MAX_PACKET];
  const int32_t levels[MAX_CHANNELS] = {level, level};
  for (int p = 0; p < packets; p++) {
    for (int c = 0; c < channels; c++)
      memcpy(packet + c * m->packet, pcm + (c * packets + p) * m->packet, m->packet * sizeof *packet);
    const int at = p * channels;
    sc_encode(m, channels, states, packet, levels, means + at * m->shape.latent, gains + at,
              coefficients ? coefficients + at * sc_model_coefficients(m) : NULL, workspace);
  }
}

int sc_payload_encode(const ScModel *m, const ScBitstream *b, int packets, int channels, int base_level, int level,
                      const void *before, void *after, const float *pcm, uint8_t *payload, int capacity, void *workspace) {
  if (!fits(m, b, packets, channels) || level < 0 || level >= b->levels) return SC_OUT_OF_RANGE;
  float means[MAX_VECTORS * MAX_LATENT];
  int32_t gains[MAX_VECTORS], y[MAX_VECTORS * MAX_LATENT];
  memmove(after, before, channels * sc_encoder_state_bytes(m));
  encode_packets(m, packets, channels, level, after, pcm, means, gains, NULL, workspace);
  return sc_bitstream_encode(b, packets * channels, base_level, level, gains, means, y, payload, capacity);
}

int sc_payload_encode_followed(const ScModel *m, const ScBitstream *b, int packets, int channels, int base_level, int level,
                               const void *encoder_before, void *encoder_after, const void *decoder_before,
                               void *decoder_after, ScTalker *talkers, const float *pcm, uint8_t *payload, int capacity,
                               void *workspace) {
  if (!fits(m, b, packets, channels) || level < 0 || level >= b->levels) return SC_OUT_OF_RANGE;
  const int vectors = packets * channels, count = sc_model_coefficients(m), with_layer = has_waveform(b, level);
  float means[MAX_VECTORS * MAX_LATENT], coefficients[MAX_VECTORS * MAX_COEFFICIENTS];
  int32_t gains[MAX_VECTORS], y[MAX_VECTORS * MAX_LATENT], loudness[MAX_CHANNELS];
  const int32_t levels[MAX_CHANNELS] = {level, level};
  memset(coefficients, 0, vectors * count * sizeof *coefficients);
  memmove(encoder_after, encoder_before, channels * sc_encoder_state_bytes(m));
  memmove(decoder_after, decoder_before, channels * sc_decoder_state_bytes(m));
  encode_packets(m, packets, channels, level, encoder_after, pcm, means, gains, with_layer ? coefficients : NULL, workspace);
  for (int v = 0; v < vectors; v++) follow_loudness(&talkers[v % channels], gains[v], b->waveform.loudnesses);
  for (int c = 0; c < channels; c++) loudness[c] = talkers[c].named;
  const int size = with_layer ? sc_bitstream_quantise(b, vectors, level, gains, means, b->bit_worth, y)
                              : sc_bitstream_encode(b, vectors, base_level, level, gains, means, y, payload, capacity);
  if (size < 0) return size;
  for (int p = 0; p < packets; p++) {
    float *at = with_layer ? coefficients + p * channels * count : NULL;
    sc_residual(m, channels, decoder_after, y + p * channels * b->latent, gains + p * channels, levels, at, at, workspace);
  }
  if (!with_layer) return size;
  Layer layer;
  const ScWaveform said = layer_at(&layer);
  return sc_bitstream_encode_waveform(b, vectors, channels, base_level, level, gains, y, coefficients, loudness, &said,
                                      payload, capacity);
}

int sc_payload_decode(const ScModel *m, const ScBitstream *b, const uint8_t *payload, int size, int packets, int channels,
                      int base_level, int32_t *level, const void *before, void *after, float *pcm, int32_t *detail,
                      void *workspace) {
  if (!fits(m, b, packets, channels)) return SC_OUT_OF_RANGE;
  int32_t gains[MAX_VECTORS] = {0}, y[MAX_VECTORS * MAX_LATENT];
  float packet[MAX_CHANNELS * MAX_PACKET];
  Layer layer;
  if (payload) {
    const ScWaveform said = layer_at(&layer);
    const int status = sc_bitstream_parse(b, payload, size, packets * channels, base_level, level, gains, y, &said, detail);
    if (status != SC_OK) return status;
  }
  if (*level < 0 || *level >= b->levels) return SC_OUT_OF_RANGE;
  const int32_t levels[MAX_CHANNELS] = {*level, *level};
  const uint8_t lost[MAX_CHANNELS] = {!payload, !payload};
  const int with_layer = payload && has_waveform(b, *level);
  memmove(after, before, channels * sc_decoder_state_bytes(m));
  for (int p = 0; p < packets; p++) {
    const int at = p * channels;
    int32_t bins[MAX_CHANNELS] = {0};
    for (int c = 0; c < channels && with_layer; c++) bins[c] = layer.coded[at + c] ? b->waveform.prior.level_bins[*level] : 0;
    sc_decode(m, channels, after, y + at * b->latent, gains + at, levels, lost,
              layer.q + at * sc_model_coefficients(m), layer.steps + at * b->waveform.prior.bands, bins, packet, workspace);
    for (int c = 0; c < channels; c++)
      for (int i = 0; i < m->packet; i++) {
        const float x = packet[c * m->packet + i];
        pcm[(c * packets + p) * m->packet + i] = x < -1 ? -1 : x > 1 ? 1 : x;
      }
  }
  return SC_OK;
}

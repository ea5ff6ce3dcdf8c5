/* A payload of one stream in one call: what sc_encode and sc_bitstream_encode do, and sc_bitstream_parse and sc_decode. */
#include <string.h>

#include "model.h"
#include "quantiser.h"

enum { MAX_CHANNELS = 2 };

/* Whether the network and the bitstream go together, and the payload's shape is one that the arrays below can hold. */
static int fits(const ScModel *m, const ScBitstream *b, int packets, int channels) {
  return b->latent == m->shape.latent && b->levels == m->shape.levels && channels >= 1 && channels <= MAX_CHANNELS &&
         packets >= 1 && packets * channels <= MAX_VECTORS;
}

int sc_payload_encode(const ScModel *m, const ScBitstream *b, int packets, int channels, int base_level, int level,
                      const void *before, void *after, const float *pcm, uint8_t *payload, int capacity, void *workspace) {
  if (!fits(m, b, packets, channels) || level < 0 || level >= b->levels) return SC_OUT_OF_RANGE;
  float means[MAX_VECTORS * MAX_LATENT], packet[MAX_CHANNELS * MAX_PACKET];
  int32_t gains[MAX_VECTORS], y[MAX_VECTORS * MAX_LATENT];
  const int32_t levels[MAX_CHANNELS] = {level, level};
  memmove(after, before, channels * sc_encoder_state_bytes(m));
  for (int p = 0; p < packets; p++) {
    for (int c = 0; c < channels; c++)
      memcpy(packet + c * m->packet, pcm + (c * packets + p) * m->packet, m->packet * sizeof *packet);
    const int at = p * channels;
    sc_encode(m, channels, after, packet, levels, means + at * b->latent, gains + at, NULL, workspace);
  }
  return sc_bitstream_encode(b, packets * channels, base_level, level, gains, means, y, payload, capacity);
}

int sc_payload_decode(const ScModel *m, const ScBitstream *b, const uint8_t *payload, int size, int packets, int channels,
                      int base_level, int32_t *level, const void *before, void *after, float *pcm, int32_t *detail,
                      void *workspace) {
  if (!fits(m, b, packets, channels)) return SC_OUT_OF_RANGE;
  int32_t gains[MAX_VECTORS] = {0}, y[MAX_VECTORS * MAX_LATENT];
  float packet[MAX_CHANNELS * MAX_PACKET];
  if (payload) {
    const int status = sc_bitstream_parse(b, payload, size, packets * channels, base_level, level, gains, y, NULL, detail);
    if (status != SC_OK) return status;
  }
  if (*level < 0 || *level >= b->levels) return SC_OUT_OF_RANGE;
  const int32_t levels[MAX_CHANNELS] = {*level, *level};
  const uint8_t lost[MAX_CHANNELS] = {!payload, !payload};
  memmove(after, before, channels * sc_decoder_state_bytes(m));
  for (int p = 0; p < packets; p++) {
    const int at = p * channels;
    sc_decode(m, channels, after, y + at * b->latent, gains + at, levels, lost, NULL, NULL, NULL, packet, workspace);
    for (int c = 0; c < channels; c++)
      for (int i = 0; i < m->packet; i++) {
        const float x = packet[c * m->packet + i];
        pcm[(c * packets + p) * m->packet + i] = x < -1 ? -1 : x > 1 ? 1 : x;
      }
  }
  return SC_OK;
}

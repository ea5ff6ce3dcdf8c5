/* Speech and foreign payloads through the calls that do all for one stream, beside those for each part. */
#include "check.h"

#include <math.h>

/* One stream of C channels, twice: in one call, and part by part. */
typedef struct {
  Streams parts;
  int packets;
  void *encoder, *decoder, *spare;
  float *pcm, *heard;  /* [C, P * T] */
  float *means;        /* [P, C, D] */
  int32_t *gains, *y;  /* [P, C], [P, C, D] */
  /* At levels with the waveform layer. */
  Layer layer;
  const int32_t *level_bins;
  void *followed, *spare_followed; /* a decoder's states, as an encoder follows it */
  ScTalker talkers[2];
} Both;

static Both open_both(const ScModel *model, const ScTables *t, int packets, int channels) {
  Both b = {.parts = open_streams(model, channels), .packets = packets};
  const uint64_t encoder = channels * sc_encoder_state_bytes(model), vectors = (uint64_t)packets * channels;
  const uint64_t decoder = channels * sc_decoder_state_bytes(model), samples = vectors * b.parts.packet;
  b.encoder = exactly(encoder), b.spare = exactly(encoder), b.decoder = exactly(decoder);
  memcpy(b.encoder, b.parts.encoder, encoder), memcpy(b.decoder, b.parts.decoder, decoder);
  b.pcm = exactly(samples * sizeof *b.pcm), b.heard = exactly(samples * sizeof *b.heard);
  b.means = exactly(vectors * b.parts.latent * sizeof *b.means), b.gains = exactly(vectors * sizeof *b.gains);
  b.y = exactly(vectors * b.parts.latent * sizeof *b.y);
  b.layer = open_layer(t, (int)vectors), b.level_bins = t->waveform.level_bins;
  b.followed = exactly(decoder), b.spare_followed = exactly(decoder);
  memcpy(b.followed, b.parts.decoder, decoder);
  return b;
}

static void close_both(Both *b) {
  void *own[] = {b->encoder, b->decoder, b->spare, b->pcm, b->heard, b->means, b->gains, b->y, b->followed, b->spare_followed};
  for (unsigned i = 0; i < sizeof own / sizeof *own; i++) free(own[i]);
  close_streams(&b->parts), close_layer(&b->layer);
}

/* pcm -> a payload's length. Both ways must give the same bytes and states; with the waveform layer only states are compared,
 * as tests/test_native_waveform.py has the rest. */
static int encode_both(Both *b, const ScBitstream *bitstream, int base, int level, uint8_t *payload, int room) {
  static uint8_t other[1 << 16];
  Streams *s = &b->parts;
  const int with_layer = sc_bitstream_has_waveform(bitstream, level);
  const int size = with_layer ? sc_payload_encode_followed(s->model, bitstream, b->packets, s->streams, base, level, b->encoder,
                                                           b->spare, b->followed, b->spare_followed, b->talkers, b->pcm,
                                                           payload, room, s->workspace)
                              : sc_payload_encode(s->model, bitstream, b->packets, s->streams, base, level, b->encoder,
                                                  b->spare, b->pcm, payload, room, s->workspace);
  for (int p = 0; p < b->packets; p++) {
    for (int c = 0; c < s->streams; c++) {
      s->levels[c] = level;
      memcpy(s->pcm + (size_t)c * s->packet, b->pcm + (size_t)(c * b->packets + p) * s->packet, s->packet * sizeof *s->pcm);
    }
    encode_streams(s);
    memcpy(b->means + (size_t)p * s->streams * s->latent, s->means, (size_t)s->streams * s->latent * sizeof *s->means);
    memcpy(b->gains + (size_t)p * s->streams, s->gains, s->streams * sizeof *s->gains);
  }
  EXPECT(size > 0, "speech cannot be coded: %d", size);
  if (!with_layer) {
    const int wanted = sc_bitstream_encode(bitstream, b->packets * s->streams, base, level, b->gains, b->means, b->y, other,
                                           sizeof other);
    EXPECT(size == wanted && !memcmp(payload, other, (size_t)size), "another payload: %d, %d", size, wanted);
  } else {
    void *swap = b->followed;
    b->followed = b->spare_followed, b->spare_followed = swap;
  }
  void *swap = b->encoder;
  b->encoder = b->spare, b->spare = swap;
  EXPECT(!memcmp(b->encoder, s->encoder, s->streams * sc_encoder_state_bytes(s->model)), "another state of the encoder");
  return size;
}

/* A payload, or NULL -> its status. Both ways must give the same sound and states, or the same error. */
static int decode_both(Both *b, const ScBitstream *bitstream, const uint8_t *payload, int size, int base, int lost_level) {
  Streams *s = &b->parts;
  int32_t level = lost_level, wanted_level = lost_level, detail = -1, wanted_detail = -1;
  const int status = sc_payload_decode(s->model, bitstream, payload, size, b->packets, s->streams, base, &level, b->decoder,
                                       b->decoder, b->heard, &detail, s->workspace);
  const int wanted = payload ? sc_bitstream_parse(bitstream, payload, size, b->packets * s->streams, base, &wanted_level,
                                                  b->gains, b->y, &b->layer.said, &wanted_detail)
                             : SC_OK;
  EXPECT(status == wanted && detail == wanted_detail && level == wanted_level, "status %d and %d", status, wanted);
  for (int p = 0; p < b->packets && status == SC_OK; p++) {
    const int at = p * s->streams;
    int32_t bins[2] = {0, 0};
    for (int c = 0; c < s->streams; c++) {
      s->levels[c] = level, s->lost[c] = !payload;
      if (payload && b->layer.said.coded[at + c]) bins[c] = b->level_bins[level];
    }
    memcpy(s->y, b->y + (size_t)p * s->streams * s->latent, (size_t)s->streams * s->latent * sizeof *s->y);
    memcpy(s->gains, b->gains + (size_t)p * s->streams, s->streams * sizeof *s->gains);
    sc_decode(s->model, s->streams, s->decoder, s->y, s->gains, s->levels, s->lost,
              b->layer.said.q + at * b->layer.coefficients, b->layer.said.steps + at * b->layer.bands, bins, s->heard,
              s->workspace);
    for (int c = 0; c < s->streams; c++)
      for (int i = 0; i < s->packet; i++) {
        const float heard = b->heard[(size_t)(c * b->packets + p) * s->packet + i];
        EXPECT(heard == fmaxf(-1, fminf(1, s->heard[(size_t)c * s->packet + i])), "another sound");
      }
  }
  EXPECT(!memcmp(b->decoder, s->decoder, s->streams * sc_decoder_state_bytes(s->model)), "another state of the decoder");
  return status;
}

static void fuzz_coder(const char *tables, const char *packed, const char *speech, uint64_t count, uint64_t seed) {
  enum { SHAPES = 6, ROOM = 1 << 16 };
  static uint8_t payload[ROOM];
  void *data;
  uint64_t random = seed, packed_bytes, speech_bytes, read = 0;
  const ScTables t = read_tables(tables, &data);
  void *weights = read_file(packed, &packed_bytes);
  float *pcm = read_file(speech, &speech_bytes);
  ScBitstream *bitstream;
  ScModel *model;
  EXPECT(sc_bitstream_open(&t, NULL, &bitstream) == SC_OK, "cannot open %s", tables);
  EXPECT(sc_model_open(weights, packed_bytes, NULL, &model) == SC_OK, "cannot open %s", packed);
  Both streams[SHAPES];
  for (int i = 0; i < SHAPES; i++) streams[i] = open_both(model, &t, 1 + i % 3, 1 + i / 3);
  for (uint64_t n = 0; n < count; n++) {
    Both *b = &streams[random_in(&random, 0, SHAPES - 1)];
    const int samples = b->packets * b->parts.streams * b->parts.packet;
    const int base = random_in(&random, 0, t.levels - 1), level = random_in(&random, 0, t.levels - 1);
    const int from = random_in(&random, 0, (int)(speech_bytes / sizeof *pcm) - samples);
    memcpy(b->pcm, pcm + from, samples * sizeof *pcm);
    const int size = encode_both(b, bitstream, base, level, payload, ROOM);
    EXPECT(decode_both(b, bitstream, payload, size, base, 0) == SC_OK, "what was coded cannot be read");
    if (one_in(&random, 4)) EXPECT(decode_both(b, bitstream, NULL, 0, base, level) == SC_OK, "cannot conceal");
    const int kept = random_in(&random, 1, size);
    uint8_t *foreign = exactly((uint64_t)kept); /* nothing may be read beyond its end */
    memcpy(foreign, payload, (size_t)kept);
    flip_bits(foreign, kept, &random);
    read += decode_both(b, bitstream, foreign, kept, base, 0) == SC_OK;
    free(foreign);
  }
  const Streams *s = &streams[0].parts;
  EXPECT(sc_payload_encode(model, bitstream, 1, 3, 0, 0, NULL, NULL, NULL, NULL, 0, NULL) == SC_OUT_OF_RANGE &&
             sc_payload_encode(model, bitstream, 9, 2, 0, 0, NULL, NULL, NULL, NULL, 0, NULL) == SC_OUT_OF_RANGE &&
             sc_payload_encode(model, bitstream, 1, 1, 0, t.levels, NULL, NULL, NULL, NULL, 0, NULL) == SC_OUT_OF_RANGE,
         "shapes beyond the arrays were taken");
  int32_t level = t.levels;
  EXPECT(sc_payload_decode(model, bitstream, NULL, 0, 1, 1, 0, &level, s->decoder, s->decoder, s->heard, &level,
                           s->workspace) == SC_OUT_OF_RANGE, "a level beyond the last was taken");
  printf("%llu packets alike in one call and in parts; of as many foreign payloads %llu read", (unsigned long long)count,
         (unsigned long long)read);
  for (int i = 0; i < SHAPES; i++) close_both(&streams[i]);
  sc_model_close(model), sc_bitstream_close(bitstream);
  free(weights), free(pcm), free(data);
}

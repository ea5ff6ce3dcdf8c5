/* Extreme values, and batches of all sizes, through encoder and decoder. */
#include "check.h"

#include <math.h>

static Streams open_streams(const ScModel *model, int streams) {
  const uint64_t n = (uint64_t)streams;
  Streams s = {.model = model, .streams = streams};
  s.packet = sc_model_packet(model), s.latent = sc_model_latent(model);
  const uint64_t encoder = sc_encoder_state_bytes(model), decoder = sc_decoder_state_bytes(model);
  s.encoder = exactly(n * encoder), s.decoder = exactly(n * decoder);
  for (uint64_t i = 0; i < n; i++) {
    sc_encoder_state_init(model, (uint8_t *)s.encoder + i * encoder);
    sc_decoder_state_init(model, (uint8_t *)s.decoder + i * decoder);
  }
  s.workspace = exactly(sc_workspace_bytes(model, streams));
  s.pcm = exactly(n * s.packet * sizeof *s.pcm), s.heard = exactly(n * s.packet * sizeof *s.heard);
  s.means = exactly(n * s.latent * sizeof *s.means), s.y = exactly(n * s.latent * sizeof *s.y);
  s.gains = exactly(n * sizeof *s.gains), s.levels = exactly(n * sizeof *s.levels);
  s.lost = exactly(n);
  s.bins = sc_model_waveform_bins(model), s.coefficients = sc_model_coefficients(model), s.bands = (s.bins + 3) / 4;
  const uint64_t all = n * s.coefficients * sizeof(float);
  s.sound = exactly(all), s.q = exactly(all);
  s.steps = exactly(n * s.bands * sizeof *s.steps), s.coded = exactly(n * sizeof *s.coded);
  memset(s.sound, 0, all), memset(s.q, 0, all);
  memset(s.steps, 0, n * s.bands * sizeof *s.steps), memset(s.coded, 0, n * sizeof *s.coded);
  return s;
}

static void close_streams(Streams *s) {
  void *parts[] = {s->encoder, s->decoder, s->workspace, s->pcm,   s->heard,
                   s->means,   s->y,       s->gains,     s->levels, s->lost,
                   s->sound,   s->steps,   s->q,         s->coded};
  for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) free(parts[i]);
}

static void encode_streams(Streams *s) {
  sc_encode(s->model, s->streams, s->encoder, s->pcm, s->levels, s->means, s->gains, s->sound, s->workspace);
}

static void decode_streams(Streams *s) {
  sc_decode(s->model, s->streams, s->decoder, s->y, s->gains, s->levels, s->lost, s->q, s->steps, s->coded,
            s->heard, s->workspace);
}

static void follow_streams(Streams *s) {
  sc_residual(s->model, s->streams, s->decoder, s->y, s->gains, s->levels, s->sound, s->sound, s->workspace);
}

static void extreme_said(Streams *s, int b, int largest, uint64_t *random) {
  const int kind = random_in(random, 0, 2);
  s->coded[b] = one_in(random, 3) ? 0 : random_in(random, 1, s->bins);
  for (int i = 0; i < s->bands; i++) s->steps[b * s->bands + i] = exp2f((float)random_in(random, -16, 16));
  for (int i = 0; i < s->coefficients; i++)
    s->q[b * s->coefficients + i] = kind == 0   ? random_in(random, -1, 1)
                                    : kind == 1 ? random_in(random, -largest, largest)
                                                : largest * (one_in(random, 2) ? 1 : -1);
}

/* A latent vector that a payload can hold: all of the largest escapes, some, few, small or none. */
static void extreme_latents(int32_t *y, int latent, int largest, uint64_t *random) {
  const int kind = random_in(random, 0, 5), sign = one_in(random, 2) ? 1 : -1;
  for (int i = 0; i < latent; i++) {
    const int either = one_in(random, 2) ? largest : -largest;
    y[i] = kind == 0   ? sign * largest
           : kind == 1 ? either
           : kind == 2 ? random_in(random, -largest, largest)
           : kind == 3 ? (one_in(random, 20) ? either : 0)
           : kind == 4 ? random_in(random, -2, 2)
                       : 0;
  }
}

/* PCM that no microphone gives: full scale, noise, silence, and up to what floats can hold. */
static void extreme_pcm(float *pcm, int count, uint64_t *random) {
  static const float SIZES[] = {0, 1e-38f, 1e-20f, 1, 1, 1, 1e3f, 1e20f, 3e38f};
  const float size = SIZES[random_in(random, 0, 8)];
  const int kind = random_in(random, 0, 2);
  for (int i = 0; i < count; i++)
    pcm[i] = kind == 0 ? size : size * (float)(one_in(random, 2) ? 1 : kind == 1 ? -1 : 0);
}

static float largest_of(const float *x, size_t count, const char *what, uint64_t packet) {
  float largest = 0;
  for (size_t i = 0; i < count; i++) {
    EXPECT(isfinite(x[i]), "%s is not finite at packet %llu", what, (unsigned long long)packet);
    largest = fmaxf(largest, fabsf(x[i]));
  }
  return largest;
}

static void fuzz_extremes(const char *tables, const char *packed, uint64_t count, uint64_t seed) {
  enum { STREAMS = 3, ROOM = 1 << 16, CALM = 64 };
  static uint8_t payload[ROOM];
  void *data;
  uint64_t packed_bytes, random = seed;
  const ScTables t = read_tables(tables, &data);
  void *weights = read_file(packed, &packed_bytes);
  ScBitstream *bitstream;
  EXPECT(sc_bitstream_open(&t, NULL, &bitstream) == SC_OK, "cannot open %s", tables);
  const int largest = t.symbol_limit + (2 << t.escape_bits) - 1;
  float loudest = 0;
  int variants = 0;
  for (const char *name; (name = sc_variant(variants)); variants++) {
    ScModel *model;
    EXPECT(sc_model_open(weights, packed_bytes, name, &model) == SC_OK, "cannot open %s", packed);
    EXPECT(sc_model_latent(model) == t.latent && sc_model_levels(model) == t.levels,
           "tables and weights are of different models");
    Streams s = open_streams(model, STREAMS);
    Layer layer = open_layer(&t, STREAMS);
    const size_t latents = (size_t)STREAMS * s.latent, samples = (size_t)STREAMS * s.packet;
    for (uint64_t n = 0; n < count + CALM; n++) {
      const int level = random_in(&random, 0, t.levels - 1);
      int32_t told_level, detail;
      for (int b = 0; b < STREAMS; b++) {
        s.levels[b] = level, s.lost[b] = (uint8_t)one_in(&random, 5);
        s.gains[b] = random_in(&random, t.gain_min, t.gain_min + t.gains);
        extreme_latents(s.y + (size_t)b * s.latent, s.latent, largest, &random);
        extreme_said(&s, b, largest, &random);
      }
      extreme_layer(&layer, &t, &random);
      int size = sc_bitstream_serialize(bitstream, STREAMS, level, level, s.gains, s.y, &layer.said,
                                        payload, ROOM);
      EXPECT(size > 0, "latents cannot be written: %d", size);
      int status = sc_bitstream_parse(bitstream, payload, size, STREAMS, level, &told_level,
                                      s.gains, s.y, &layer.said, &detail);
      EXPECT(status == SC_OK, "latents cannot be read: %d", status);
      decode_streams(&s);
      loudest = fmaxf(loudest, largest_of(s.heard, samples, "decoded sound", n));
      /* Whatever was encoded, it can be sent, and is forgotten once calm packets have followed. */
      if (n < count) extreme_pcm(s.pcm, (int)samples, &random);
      else memset(s.pcm, 0, samples * sizeof *s.pcm);
      encode_streams(&s);
      size = encode_any(bitstream, &t, level, level, s.gains, s.means, s.y, &layer, 1, payload, ROOM,
                        &random);
      EXPECT(size > 0, "means cannot be written: %d", size);
      status = sc_bitstream_parse(bitstream, payload, size, STREAMS, level, &told_level, s.gains,
                                  s.y, &layer.said, &detail);
      EXPECT(status == SC_OK, "means cannot be read: %d", status);
      check_layer(&layer, &t, level);
    }
    largest_of(s.means, latents, "a mean after calm packets", count + CALM);
    close_layer(&layer);
    close_streams(&s);
    sc_model_close(model);
  }
  printf("%llu extreme packets of %d streams in %d variants: finite, up to %.3g",
         (unsigned long long)count, (int)STREAMS, variants, (double)loudest);
  sc_bitstream_close(bitstream);
  free(weights), free(data);
}

/* What stream `b` sends at packet `n`. */
static void fill_stream(Streams *s, int at, int b, int n, const float *speech, uint64_t packets,
                        int levels) {
  const uint64_t from = ((uint64_t)n + 29u * (uint64_t)b) % packets;
  memcpy(s->pcm + (size_t)at * s->packet, speech + from * (uint64_t)s->packet,
         (size_t)s->packet * sizeof *speech);
  s->levels[at] = (5 * b + n) % levels, s->lost[at] = (b + n) % 7 == 6;
  s->coded[at] = (b + n) % 3 ? 1 + (7 * b + n) % s->bins : 0;
  for (int i = 0; i < s->bands; i++) s->steps[at * s->bands + i] = .1f * (float)(1 + (i + b) % 9);
  for (int i = 0; i < s->coefficients; i++) s->q[at * s->coefficients + i] = (i * i + 3 * b + n) % 5 - 2;
  memset(s->sound + (size_t)at * s->coefficients, 0, (size_t)s->coefficients * sizeof *s->sound);
}

/* Packet `n` of all streams: every fourth is followed as by an encoder, and not heard. */
static void step(Streams *s, int n) {
  encode_streams(s);
  for (size_t i = 0; i < (size_t)s->streams * s->latent; i++) s->y[i] = (int32_t)rintf(s->means[i]);
  if (n % 4 == 3) follow_streams(s);
  else decode_streams(s);
}

/* Streams in batches of several sizes, in every variant: the same as each of them alone. */
static void check_batches(const char *packed, const char *speech, int packets) {
  enum { MOST = 33 };
  static const int SIZES[] = {2, 3, 4, 5, 7, MOST};
  uint64_t packed_bytes, speech_bytes;
  void *weights = read_file(packed, &packed_bytes);
  float *pcm = read_file(speech, &speech_bytes);
  int variants = 0;
  for (const char *name; (name = sc_variant(variants)); variants++) {
    ScModel *model;
    EXPECT(sc_model_open(weights, packed_bytes, name, &model) == SC_OK, "cannot open %s", packed);
    const int levels = sc_model_levels(model);
    const size_t packet = (size_t)sc_model_packet(model), latent = (size_t)sc_model_latent(model);
    const uint64_t whole = speech_bytes / sizeof *pcm / packet;
    const size_t count = (size_t)sc_model_coefficients(model), each = packet + latent + count;
    float *alone = exactly(MOST * (uint64_t)packets * each * sizeof *alone);
    for (int b = 0; b < MOST; b++) {
      Streams s = open_streams(model, 1);
      for (int n = 0; n < packets; n++) {
        float *kept = alone + ((size_t)b * packets + n) * each;
        fill_stream(&s, 0, b, n, pcm, whole, levels);
        step(&s, n);
        memcpy(kept, s.means, latent * sizeof *kept);
        memcpy(kept + latent + packet, s.sound, count * sizeof *kept);
        memcpy(kept + latent, s.heard, packet * sizeof *kept);
      }
      close_streams(&s);
    }
    for (unsigned k = 0; k < sizeof SIZES / sizeof *SIZES; k++) {
      Streams s = open_streams(model, SIZES[k]);
      for (int n = 0; n < packets; n++) {
        for (int b = 0; b < s.streams; b++) fill_stream(&s, b, b, n, pcm, whole, levels);
        step(&s, n);
        for (int b = 0; b < s.streams; b++) {
          const float *kept = alone + ((size_t)b * packets + n) * each;
          EXPECT(!memcmp(kept, s.means + b * latent, latent * sizeof *kept) &&
                     !memcmp(kept + latent, s.heard + b * packet, packet * sizeof *kept) &&
                     !memcmp(kept + latent + packet, s.sound + b * count, count * sizeof *kept),
                 "%s: stream %d of %d differs at packet %d", name, b, s.streams, n);
        }
      }
      close_streams(&s);
    }
    free(alone);
    sc_model_close(model);
  }
  printf("%d packets of up to %d streams at once in %d variants: as alone", packets, (int)MOST,
         variants);
  free(weights), free(pcm);
}

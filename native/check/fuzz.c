/* Foreign bytes and extreme values through the library, best with sanitizers (make fuzz-native):
 *
 *   fuzz payloads TABLES PACKED SPEECH COUNT SEED   damaged and random payloads through the parser
 *   fuzz joint TABLES JOINT PACKED SPEECH COUNT SEED the same in joint stereo
 *   fuzz extremes TABLES PACKED COUNT SEED          extreme latents and PCM through the network
 *   fuzz batches PACKED SPEECH PACKETS              batches equal single streams, all variants
 *   fuzz coder TABLES PACKED SPEECH COUNT SEED      one call for a stream is its parts, whatever comes
 *   fuzz headers PACKED COUNT SEED                  mutated heads of packed weights
 *   fuzz highband TABLES COUNT SEED                 extreme PCM and random descriptions through the high band
 *
 * The files come from tests/fuzz_inputs.py. SPEECH: float32 at the model's rate. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "check.h"

#include <time.h>

#include "fuzz_header.c"
#include "fuzz_high_band.c"
#include "fuzz_waveform.c"

#include "fuzz_network.c"

enum { CORPUS = 2000, LONGEST = 1200, MOST_VECTORS = 6 };
/* 1..3 packets of 1..2 channels. */
static const int VECTORS[] = {1, 2, 3, 2, 4, 6};

typedef struct {
  uint8_t bytes[LONGEST];
  int size, vectors, base;
} Payload;

/* What a payload says, in memory of exactly the size that the parser may write. */
typedef struct {
  int32_t level, detail, *gains, *y;
  Layer layer;
} Said;

static Said said_of(const ScTables *t, int vectors) {
  const uint64_t n = (uint64_t)vectors;
  return (Said){0, 0, exactly(n * 4), exactly(n * (uint64_t)t->latent * 4), open_layer(t, vectors)};
}

static void close_said(Said *said) {
  free(said->gains), free(said->y);
  close_layer(&said->layer);
}

static ScTables read_tables(const char *path, void **data) {
  uint64_t bytes;
  ScTables tables;
  *data = read_file(path, &bytes);
  EXPECT(sc_tables_read(*data, bytes, &tables) == SC_OK, "%s has another size than its tables", path);
  EXPECT(sc_tables_read(*data, bytes - 4, &tables) == SC_BAD_FORMAT, "%s is taken without its end", path);
  return tables;
}

/* Tables with one wrong number are refused: the coder would not end with them, or the prior's sums not fit. */
static void damage_tables(const ScTables *t, uint64_t *random) {
  static const int32_t WRONG[] = {0, -1, 1 << 16, INT32_MAX, INT32_MIN};
  const ScWaveformTables *w = &t->waveform;
  const size_t vectors = (size_t)t->levels * t->classes, width = (size_t)w->width;
  const struct {
    const int32_t *values;
    size_t count;
    int first; /* of WRONG */
  } arrays[] = {
      {t->rows, vectors * t->latent, 1},
      {t->level_frequencies, (size_t)t->levels * t->levels, 0},
      {t->frequencies, (size_t)t->scales * t->symbols, 0},
      {t->class_frequencies, vectors + t->levels, 0},
      {t->gain_frequencies, (size_t)t->classes * t->gains, 0},
      {w->first_weight, width * (t->latent + 2), 2},
      {w->second_weight, width * width, 2},
      {w->last_weight, (size_t)w->frames * w->bins * width, 2},
      {w->first_bias, width, 3},
      {w->second_bias, width, 3},
      {w->last_bias, (size_t)w->frames * w->bins, 3},
      {w->level_base, (size_t)t->levels, 2},
      {w->level_step, (size_t)t->levels, 3},
      {w->level_bins, (size_t)t->levels, 1},
      {w->frequencies, (size_t)w->scales * t->symbols, 0},
      {w->coded_frequencies, 2 * (size_t)t->levels, 0},
      {w->loudness_frequencies, (size_t)w->loudnesses, 0},
  };
  for (int n = 0; n < 1000; n++) {
    const int which = random_in(random, 0, sizeof arrays / sizeof *arrays - 1);
    const int what = random_in(random, arrays[which].first, 4);
    int32_t *value = (int32_t *)arrays[which].values +
                     random_bits(random) % arrays[which].count;
    const int32_t kept = *value;
    ScBitstream *opened;
    *value = WRONG[what];
    EXPECT(sc_bitstream_open(t, NULL, &opened) == SC_OUT_OF_RANGE && !opened, "%d in table %d was taken",
           *value, which);
    *value = kept;
  }
}

/* -> the bitstream for joint stereo. Damaged tables are refused, or do no harm; cut ones are refused. */
static ScBitstream *open_joint(const char *tables, const char *joint, uint64_t *random) {
  uint64_t bytes, joint_bytes;
  void *packed = read_file(tables, &bytes);
  uint8_t *whole = read_file(joint, &joint_bytes);
  ScBitstream *opened;
  for (int n = 0; n < 2000; n++) {
    const uint64_t end = one_in(random, 4) ? random_bits(random) % joint_bytes : joint_bytes;
    const uint64_t at = 4 * (one_in(random, 2) ? random_bits(random) % 12 : random_bits(random) % (joint_bytes / 4));
    int32_t kept, wrong = (int32_t)random_bits(random) >> random_in(random, 0, 31);
    memcpy(&kept, whole + at, 4), memcpy(whole + at, &wrong, 4);
    uint8_t *cut = exactly(end ? end : 1); /* nothing may be read beyond its end */
    memcpy(cut, whole, end);
    const int status = sc_bitstream_open_joint(packed, bytes, cut, end, NULL, &opened);
    EXPECT(status == SC_OK ? end == joint_bytes : !opened, "%llu of %llu bytes were taken", (unsigned long long)end,
           (unsigned long long)joint_bytes);
    if (status == SC_OK) sc_bitstream_close(opened);
    memcpy(whole + at, &kept, 4), free(cut);
  }
  EXPECT(sc_bitstream_open_joint(packed, bytes, whole, joint_bytes, NULL, &opened) == SC_OK, "cannot open %s", joint);
  free(packed), free(whole);
  return opened;
}

/* Speech at all levels in all shapes -> CORPUS payloads. */
static Payload *real_payloads(const ScBitstream *bitstream, const ScTables *t, const char *packed,
                              const char *speech, uint64_t *random) {
  uint64_t packed_bytes, speech_bytes;
  void *weights = read_file(packed, &packed_bytes);
  float *pcm = read_file(speech, &speech_bytes);
  ScModel *model;
  EXPECT(sc_model_open(weights, packed_bytes, NULL, &model) == SC_OK, "cannot open %s", packed);
  Streams s = open_streams(model, 1);
  EXPECT(s.latent == t->latent, "tables and weights are of different models");
  const uint64_t packets = speech_bytes / sizeof *pcm / (uint64_t)s.packet;
  Payload *corpus = exactly(CORPUS * sizeof *corpus);
  float *means = exactly((uint64_t)MOST_VECTORS * s.latent * sizeof *means);
  int32_t gains[MOST_VECTORS], *y = exactly((uint64_t)MOST_VECTORS * s.latent * sizeof *y);
  uint64_t n = 0;
  for (int i = 0; i < CORPUS; i++) {
    Payload *p = &corpus[i];
    const int level = i % t->levels;
    p->vectors = VECTORS[i / t->levels % 6], p->base = random_in(random, 0, t->levels - 1);
    for (int v = 0; v < p->vectors; v++, n++) {
      s.levels[0] = level;
      memcpy(s.pcm, pcm + n % packets * (uint64_t)s.packet, (size_t)s.packet * sizeof *pcm);
      encode_streams(&s);
      memcpy(means + (size_t)v * s.latent, s.means, (size_t)s.latent * sizeof *means);
      gains[v] = s.gains[0];
    }
    Layer layer = open_layer(t, p->vectors);
    p->size = encode_any(bitstream, t, p->base, level, gains, means, y, &layer, 0, p->bytes, LONGEST, random);
    close_layer(&layer);
    EXPECT(p->size > 0, "speech cannot be coded: %d", p->size);
  }
  close_streams(&s);
  sc_model_close(model);
  free(weights), free(pcm), free(means), free(y);
  return corpus;
}

static void flip_bits(uint8_t *bytes, int size, uint64_t *random) {
  for (int n = random_in(random, 1, 8); n > 0; n--)
    bytes[random_in(random, 0, size - 1)] ^= (uint8_t)(1 << random_in(random, 0, 7));
}

/* Random bytes, or what may become of real payloads: cut, bits flipped, two of them joined. */
static Payload damaged(const Payload *corpus, int levels, uint64_t *random) {
  const Payload *real = &corpus[random_in(random, 0, CORPUS - 1)];
  Payload p = *real;
  const int kind = random_in(random, 0, 7);
  if (kind <= 2) {
    p.size = random_in(random, 1, one_in(random, 16) ? LONGEST : 80);
    for (int i = 0; i < p.size; i++) p.bytes[i] = (uint8_t)random_bits(random);
    const size_t run = kind == 2 ? (size_t)random_in(random, 0, p.size) : 0;
    memset(p.bytes, one_in(random, 2) ? 0xff : 0, run);
  }
  if (kind == 3 || kind == 6) p.size = random_in(random, 1, p.size);
  if (kind >= 4 && kind <= 6) flip_bits(p.bytes, p.size, random);
  if (kind == 7) {
    const Payload *other = &corpus[random_in(random, 0, CORPUS - 1)];
    const int kept = random_in(random, 0, p.size), room = LONGEST - kept;
    const int more = other->size < room ? other->size : room;
    memcpy(p.bytes + kept, other->bytes, (size_t)more);
    p.size = kept + more > 0 ? kept + more : 1;
  }
  if (one_in(random, 4)) p.vectors = VECTORS[random_in(random, 0, 5)];
  if (one_in(random, 4)) p.base = random_in(random, 0, levels - 1);
  return p;
}

/* A payload that was read says what can be said, and says it again once it is written. */
static void check_again(const ScBitstream *b, const ScTables *t, const Payload *p, const Said *said,
                        Said *again) {
  static uint8_t written[1 << 16];
  const size_t count = (size_t)p->vectors * t->latent;
  const int largest = t->symbol_limit + (2 << t->escape_bits) - 1;
  EXPECT(said->level >= 0 && said->level < t->levels, "level %d", said->level);
  for (int v = 0; v < p->vectors; v++)
    EXPECT(said->gains[v] >= t->gain_min && said->gains[v] <= t->gain_min + t->gains, "gain %d",
           said->gains[v]);
  for (size_t i = 0; i < count; i++)
    EXPECT(said->y[i] <= largest && said->y[i] >= -largest, "latent %d", said->y[i]);
  check_layer(&said->layer, t, said->level);
  const int size = sc_bitstream_serialize(b, p->vectors, p->base, said->level, said->gains, said->y,
                                          &said->layer.said, written, sizeof written);
  EXPECT(size > 0, "what was read cannot be written: %d", size);
  const int status = sc_bitstream_parse(b, written, size, p->vectors, p->base, &again->level,
                                        again->gains, again->y, &again->layer.said, &again->detail);
  EXPECT(status == SC_OK, "what was written cannot be read: %d", status);
  EXPECT(again->level == said->level &&
             !memcmp(again->gains, said->gains, (size_t)p->vectors * sizeof *again->gains) &&
             !memcmp(again->y, said->y, count * sizeof *again->y) && layers_alike(&again->layer, &said->layer),
         "what was written reads otherwise");
}

/* joint: NULL for channels that are told on their own. */
static void fuzz_payloads(const char *tables, const char *joint, const char *packed, const char *speech,
                          uint64_t count, uint64_t seed) {
  void *data;
  const ScTables t = read_tables(tables, &data);
  ScBitstream *bitstream;
  uint64_t random = seed, layers = 0, statuses[-SC_NO_ROOM] = {0};
  if (joint) bitstream = open_joint(tables, joint, &random);
  else EXPECT(sc_bitstream_open(&t, NULL, &bitstream) == SC_OK, "cannot open %s", tables);
  damage_tables(&t, &random);
  Payload *corpus = real_payloads(bitstream, &t, packed, speech, &random);
  Said said[MOST_VECTORS + 1], again[MOST_VECTORS + 1];
  for (int v = 1; v <= MOST_VECTORS; v++) {
    said[v] = said_of(&t, v);
    again[v] = said_of(&t, v);
  }
  uint8_t *memory = exactly(LONGEST);
  for (uint64_t n = 0; n < count; n++) {
    const Payload p = damaged(corpus, t.levels, &random);
    uint8_t *bytes = memory + LONGEST - p.size; /* nothing may be read beyond its end */
    memcpy(bytes, p.bytes, (size_t)p.size);
    Said *got = &said[p.vectors];
    const int status = sc_bitstream_parse(bitstream, bytes, p.size, p.vectors, p.base, &got->level,
                                          got->gains, got->y, &got->layer.said, &got->detail);
    const int known = status == SC_OK || status == SC_NO_SYMBOL || status == SC_LONG_ESCAPE ||
                      status == SC_TRAILING_BYTES;
    EXPECT(known, "status %d", status);
    statuses[-status]++;
    Said *other = &again[p.vectors];
    EXPECT(sc_bitstream_parse(bitstream, bytes, p.size, p.vectors, p.base, &other->level, other->gains, other->y, NULL,
                              &other->detail) == status && other->detail == got->detail,
           "another status without the layer");
    if (status == SC_OK) check_again(bitstream, &t, &p, got, other);
    layers += status == SC_OK && sc_bitstream_has_waveform(bitstream, got->level);
    const int most = status == SC_LONG_ESCAPE ? 15 : p.size;
    EXPECT(got->detail >= 0 && got->detail <= most, "detail %d of %d", got->detail, status);
  }
  printf("%llu payloads: %llu read and written again, %llu without a symbol, %llu with a long "
         "escape, %llu with bytes behind; %llu read with the waveform layer",
         (unsigned long long)count, (unsigned long long)statuses[SC_OK],
         (unsigned long long)statuses[-SC_NO_SYMBOL], (unsigned long long)statuses[-SC_LONG_ESCAPE],
         (unsigned long long)statuses[-SC_TRAILING_BYTES], (unsigned long long)layers);
  for (int v = 1; v <= MOST_VECTORS; v++) {
    close_said(&said[v]);
    close_said(&again[v]);
  }
  sc_bitstream_close(bitstream);
  free(memory), free(corpus), free(data);
}

#include "fuzz_coder.c"

static uint64_t number(const char *text) { return strtoull(text, NULL, 10); }

int main(int argc, char **argv) {
  const clock_t begun = clock();
  const char *mode = argc > 1 ? argv[1] : "";
  if (!strcmp(mode, "payloads") && argc == 7)
    fuzz_payloads(argv[2], NULL, argv[3], argv[4], number(argv[5]), number(argv[6]));
  else if (!strcmp(mode, "joint") && argc == 8)
    fuzz_payloads(argv[2], argv[3], argv[4], argv[5], number(argv[6]), number(argv[7]));
  else if (!strcmp(mode, "extremes") && argc == 6)
    fuzz_extremes(argv[2], argv[3], number(argv[4]), number(argv[5]));
  else if (!strcmp(mode, "batches") && argc == 5)
    check_batches(argv[2], argv[3], atoi(argv[4]));
  else if (!strcmp(mode, "coder") && argc == 7)
    fuzz_coder(argv[2], argv[3], argv[4], number(argv[5]), number(argv[6]));
  else if (!strcmp(mode, "headers") && argc == 5)
    fuzz_headers(argv[2], number(argv[3]), number(argv[4]));
  else if (!strcmp(mode, "highband") && argc == 5)
    fuzz_high_band(argv[2], number(argv[3]), number(argv[4]));
  else
    return fprintf(stderr, "fuzz MODE FILES...: see fuzz.c\n"), 2;
  printf("; %.1f s of CPU\n", (double)(clock() - begun) / CLOCKS_PER_SEC);
  return 0;
}

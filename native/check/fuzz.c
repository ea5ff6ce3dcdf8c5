/* Foreign bytes and extreme values through the library, best with sanitizers (make fuzz-native):
 *
 *   fuzz payloads TABLES PACKED SPEECH COUNT SEED   damaged and random payloads through the parser
 *   fuzz extremes TABLES PACKED COUNT SEED          extreme latents and PCM through the network
 *   fuzz batches PACKED SPEECH PACKETS              batches equal single streams, all variants
 *   fuzz coder TABLES PACKED SPEECH COUNT SEED      one call for a stream is its parts, whatever comes
 *   fuzz headers PACKED COUNT SEED                  mutated heads of packed weights
 *
 * The files come from tests/fuzz_inputs.py. SPEECH: float32 at the model's rate. */
#define _GNU_SOURCE /* MAP_ANONYMOUS */
#include "check.h"

#include <time.h>

#include "fuzz_header.c"
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
} Said;

static Said said_of(int vectors, int latent) {
  return (Said){0, 0, exactly((uint64_t)vectors * 4), exactly((uint64_t)vectors * latent * 4)};
}

static ScTables read_tables(const char *path, void **data) {
  uint64_t bytes;
  const int32_t *head = *data = read_file(path, &bytes);
  EXPECT(bytes > 72, "%s is too short", path);
  ScTables t = {head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7], head[8],
                0,       {0},     NULL,    NULL,    NULL,    NULL,    NULL,    NULL,    NULL,
                NULL};
  const size_t scales = (size_t)t.scales * t.symbols, classes = (size_t)t.levels * t.classes;
  const size_t gains = (size_t)t.classes * t.gains;
  const double *reals = (const double *)(head + 10);
  t.bit_worth = reals[0];
  memcpy(t.roundings, reals + 1, sizeof t.roundings);
  t.costs = reals + 4, t.class_costs = t.costs + scales, t.gain_costs = t.class_costs + classes;
  t.rows = (const int32_t *)(t.gain_costs + gains);
  t.level_frequencies = t.rows + classes * t.latent;
  t.frequencies = t.level_frequencies + (size_t)t.levels * t.levels;
  t.class_frequencies = t.frequencies + scales;
  t.gain_frequencies = t.class_frequencies + classes + t.levels;
  EXPECT((const uint8_t *)(t.gain_frequencies + gains) == (const uint8_t *)head + bytes,
         "%s has another size than its tables", path);
  return t;
}

/* Tables with one wrong count or row are refused: the coder would not end with them. */
static void damage_tables(const ScTables *t, uint64_t *random) {
  const size_t vectors = (size_t)t->levels * t->classes;
  const struct {
    const int32_t *values;
    size_t count;
  } arrays[] = {
      {t->rows, vectors * t->latent},
      {t->level_frequencies, (size_t)t->levels * t->levels},
      {t->frequencies, (size_t)t->scales * t->symbols},
      {t->class_frequencies, vectors + t->levels},
      {t->gain_frequencies, (size_t)t->classes * t->gains},
  };
  static const int32_t WRONG[] = {0, -1, 1 << 16, INT32_MAX, INT32_MIN};
  for (int n = 0; n < 1000; n++) {
    const int which = random_in(random, 0, 4), what = random_in(random, which ? 0 : 1, 4);
    int32_t *value = (int32_t *)arrays[which].values +
                     random_bits(random) % arrays[which].count;
    const int32_t kept = *value;
    ScBitstream *opened;
    *value = WRONG[what];
    EXPECT(sc_bitstream_open(t, &opened) == SC_OUT_OF_RANGE && !opened, "%d in table %d was taken",
           *value, which);
    *value = kept;
  }
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
    p->size = sc_bitstream_encode(bitstream, p->vectors, p->base, level, gains, means, y, p->bytes,
                                  LONGEST);
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
  const int size = sc_bitstream_serialize(b, p->vectors, p->base, said->level, said->gains, said->y,
                                          written, sizeof written);
  EXPECT(size > 0, "what was read cannot be written: %d", size);
  const int status = sc_bitstream_parse(b, written, size, p->vectors, p->base, &again->level,
                                        again->gains, again->y, &again->detail);
  EXPECT(status == SC_OK, "what was written cannot be read: %d", status);
  EXPECT(again->level == said->level &&
             !memcmp(again->gains, said->gains, (size_t)p->vectors * sizeof *again->gains) &&
             !memcmp(again->y, said->y, count * sizeof *again->y),
         "what was written reads otherwise");
}

static void fuzz_payloads(const char *tables, const char *packed, const char *speech,
                          uint64_t count, uint64_t seed) {
  void *data;
  const ScTables t = read_tables(tables, &data);
  ScBitstream *bitstream;
  EXPECT(sc_bitstream_open(&t, &bitstream) == SC_OK, "cannot open %s", tables);
  uint64_t random = seed, statuses[-SC_NO_ROOM] = {0};
  damage_tables(&t, &random);
  Payload *corpus = real_payloads(bitstream, &t, packed, speech, &random);
  Said said[MOST_VECTORS + 1], again[MOST_VECTORS + 1];
  for (int v = 1; v <= MOST_VECTORS; v++) {
    said[v] = said_of(v, t.latent);
    again[v] = said_of(v, t.latent);
  }
  uint8_t *memory = exactly(LONGEST);
  for (uint64_t n = 0; n < count; n++) {
    const Payload p = damaged(corpus, t.levels, &random);
    uint8_t *bytes = memory + LONGEST - p.size; /* nothing may be read beyond its end */
    memcpy(bytes, p.bytes, (size_t)p.size);
    Said *got = &said[p.vectors];
    const int status = sc_bitstream_parse(bitstream, bytes, p.size, p.vectors, p.base, &got->level,
                                          got->gains, got->y, &got->detail);
    const int known = status == SC_OK || status == SC_NO_SYMBOL || status == SC_LONG_ESCAPE ||
                      status == SC_TRAILING_BYTES;
    EXPECT(known, "status %d", status);
    statuses[-status]++;
    if (status == SC_OK) check_again(bitstream, &t, &p, got, &again[p.vectors]);
    const int most = status == SC_LONG_ESCAPE ? 15 : p.size;
    EXPECT(got->detail >= 0 && got->detail <= most, "detail %d of %d", got->detail, status);
  }
  printf("%llu payloads: %llu read and written again, %llu without a symbol, %llu with a long "
         "escape, %llu with bytes behind",
         (unsigned long long)count, (unsigned long long)statuses[SC_OK],
         (unsigned long long)statuses[-SC_NO_SYMBOL], (unsigned long long)statuses[-SC_LONG_ESCAPE],
         (unsigned long long)statuses[-SC_TRAILING_BYTES]);
  for (int v = 1; v <= MOST_VECTORS; v++) {
    free(said[v].gains), free(said[v].y);
    free(again[v].gains), free(again[v].y);
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
    fuzz_payloads(argv[2], argv[3], argv[4], number(argv[5]), number(argv[6]));
  else if (!strcmp(mode, "extremes") && argc == 6)
    fuzz_extremes(argv[2], argv[3], number(argv[4]), number(argv[5]));
  else if (!strcmp(mode, "batches") && argc == 5)
    check_batches(argv[2], argv[3], atoi(argv[4]));
  else if (!strcmp(mode, "coder") && argc == 7)
    fuzz_coder(argv[2], argv[3], argv[4], number(argv[5]), number(argv[6]));
  else if (!strcmp(mode, "headers") && argc == 5)
    fuzz_headers(argv[2], number(argv[3]), number(argv[4]));
  else
    return fprintf(stderr, "fuzz MODE FILES...: see fuzz.c\n"), 2;
  printf("; %.1f s of CPU\n", (double)(clock() - begun) / CLOCKS_PER_SEC);
  return 0;
}

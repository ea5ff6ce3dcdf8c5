/* Mutated heads of packed weights: each is refused, or a model that encodes and decodes with all
 * memory of exactly the size that the library asks for. */
#include "check.h"

#include <math.h>
#include <sys/mman.h>
#include <unistd.h>

enum { HEAD = 192, SHAPE_AT = 32, FIELDS = 27, PRECISION_AT = 12, PRECISIONS = 3 };
enum { REGION = 64 << 20, USUAL = 4 << 20, RARE = 500 };
/* As `Shape` in ../src/model.h. */
enum {
  SAMPLE_RATE, HOP, OVERLAP, FRAMES, WINDOW, ENCODER_DIM, DECODER_DIM, LATENT, KERNEL, EXPANSION,
  BLOCKS, LAST_BLOCKS = BLOCKS + 3, LEVELS, BASE_LEVELS, BINS, NOISE_FRAMES, ENVELOPE_BLOCK, DECIMATION, COMB_BLOCK,
  COMB_WINDOW, COMB_FINE_WINDOW, SHORTEST_PERIOD, LONGEST_PERIOD, LOW_PASS
};

static int times(uint64_t *random, int step, int most) { return step * random_in(random, 1, most); }

/* A multiple of `step` that divides `of`, itself a multiple of `step`. */
static int divisor(uint64_t *random, int step, int of) {
  int found;
  do found = times(random, step, of / step);
  while (of % found);
  return found;
}

/* A shape that may well run: few weights, lengths up to the bounds and to each other's edges. */
static void plausible(int32_t *s, uint64_t *random) {
  static const int BOUNDS[] = {8, 16, 64, 256, 1024, 2048};
  const int bound = BOUNDS[random_in(random, 0, 5)], step = 1 << random_in(random, 0, 3);
  s[SAMPLE_RATE] = 16000;
  s[FRAMES] = one_in(random, 2) ? 1 : random_in(random, 1, 8);
  const int hop = bound / s[FRAMES] / 8;
  s[HOP] = times(random, 8, hop ? hop : 1), s[OVERLAP] = times(random, 8, s[HOP] / 8);
  s[WINDOW] = 64;
  const int window = s[HOP] + s[OVERLAP] * random_in(random, 0, 2);
  while (s[WINDOW] < 2048 && s[WINDOW] < window) s[WINDOW] *= 2;
  s[ENCODER_DIM] = times(random, 8, 6), s[DECODER_DIM] = times(random, 8, 6);
  s[LATENT] = times(random, 8, 6), s[KERNEL] = random_in(random, 2, one_in(random, 4) ? 16 : 4);
  s[EXPANSION] = random_in(random, 1, 8);
  for (int i = BLOCKS; i <= LAST_BLOCKS; i++) s[i] = random_in(random, 0, 2);
  if (one_in(random, 16)) s[random_in(random, BLOCKS, LAST_BLOCKS)] = 16;
  s[LEVELS] = random_in(random, 2, 16), s[BASE_LEVELS] = random_in(random, 1, s[LEVELS]);
  s[BINS] = times(random, 8, s[HOP] / 8), s[NOISE_FRAMES] = random_in(random, 1, 9);
  s[ENVELOPE_BLOCK] = divisor(random, 8, s[HOP]), s[COMB_BLOCK] = divisor(random, 8, s[HOP]);
  s[DECIMATION] = step;
  s[LOW_PASS] = random_in(random, step, one_in(random, 2) ? 512 : step + 32);
  s[SHORTEST_PERIOD] = 8 + times(random, 8, 8);
  s[LONGEST_PERIOD] = s[SHORTEST_PERIOD] + 8 * random_in(random, 0, one_in(random, 4) ? 240 : 20);
  /* The comb's windows, often at the edge of what its buffers hold. */
  const int windows = 4 * step * random_in(random, 0, 16);
  s[COMB_WINDOW] = 4 * step + (one_in(random, 2) ? s[COMB_BLOCK] / (4 * step) * 4 * step : 0);
  if (one_in(random, 2)) s[COMB_WINDOW] += windows;
  const int most = s[COMB_WINDOW] + s[LOW_PASS];
  s[COMB_FINE_WINDOW] = one_in(random, 2) ? times(random, 4, most / 4) : most / 4 * 4;
  if (one_in(random, 2)) s[COMB_FINE_WINDOW] -= 4 * random_in(random, 0, step);
}

/* One field becomes what it never is, what another one is, or a neighbour. */
static void mutate(int32_t *s, uint64_t *random) {
  static const int32_t ODD[] = {0, 1, -1, 7, 8, 16, 255, 256, 2047, 2048, 2049, 8192, 65536,
                                INT32_MAX, INT32_MIN, INT32_MAX - 7};
  const int i = random_in(random, 0, FIELDS - 1);
  const int kind = random_in(random, 0, 3), small = one_in(random, 2) ? 1 : 8;
  if (kind == 0) s[i] = ODD[random_in(random, 0, sizeof ODD / sizeof *ODD - 1)];
  if (kind == 1) s[i] = s[random_in(random, 0, FIELDS - 1)];
  if (kind == 2) s[i] = (int32_t)((uint32_t)s[i] + (uint32_t)(small * random_in(random, -8, 8)));
  if (kind == 3) s[i] ^= (int32_t)(1u << random_in(random, 0, 31));
}

/* Floats of any size, at times no numbers; PCM and latents that nobody checked. */
static void fill_input(Streams *s, int levels, uint64_t *random) {
  static const float SIZES[] = {0, 1e-30f, 1, 1e6f, 3e38f, INFINITY, NAN};
  const float size = SIZES[random_in(random, 0, one_in(random, 4) ? 6 : 2)];
  for (int i = 0; i < s->streams * s->packet; i++)
    s->pcm[i] = size * (float)random_in(random, -1000, 1000) / 1000;
  for (int i = 0; i < s->streams * s->latent; i++)
    s->y[i] = one_in(random, 8) ? (int32_t)random_bits(random) : random_in(random, -3, 3);
  for (int b = 0; b < s->streams; b++) {
    s->levels[b] = random_in(random, 0, levels - 1), s->lost[b] = (uint8_t)one_in(random, 3);
    s->gains[b] = one_in(random, 8) ? (int32_t)random_bits(random) : random_in(random, -52, 11);
    extreme_said(s, b, one_in(random, 8) ? INT32_MAX : 9, random);
    if (one_in(random, 8)) s->coded[b] = (int32_t)random_bits(random);
  }
}

static void run_model(const ScModel *model, uint64_t *random) {
  const int levels = sc_model_levels(model);
  Streams s = open_streams(model, random_in(random, 1, 3));
  for (int n = 0; n < 3; n++) {
    fill_input(&s, levels, random);
    encode_streams(&s);
    fill_input(&s, levels, random);
    decode_streams(&s);
    fill_input(&s, levels, random);
    follow_streams(&s);
  }
  close_streams(&s);
}

/* Memory whose end nobody may read beyond, filled with zeros, with floats of ordinary size in every
 * format of weights, or with any bits. */
static uint8_t *weights_ending(int filled, uint64_t *random) {
  const long page = sysconf(_SC_PAGESIZE);
  uint8_t *memory = mmap(NULL, REGION + (size_t)page, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  EXPECT(memory != MAP_FAILED && !mprotect(memory + REGION, (size_t)page, PROT_NONE), "no memory");
  uint64_t *words = (uint64_t *)memory;
  for (size_t i = 0; filled && i < REGION / sizeof *words; i++) {
    words[i] = random_bits(random);
    if (filled == 1) words[i] = (words[i] & 0x83ff83ff83ff83ffu) | 0x3800380038003800u;
  }
  return memory + REGION;
}

static void fuzz_headers(const char *packed, uint64_t count, uint64_t seed) {
  uint64_t packed_bytes, random = seed, refused = 0, opened = 0, large = 0;
  uint8_t *shipped = read_file(packed, &packed_bytes);
  EXPECT(packed_bytes > HEAD, "%s is too short", packed);
  uint8_t *ends[3];
  for (int i = 0; i < 3; i++) ends[i] = weights_ending(i, &random);
  int variants = 0;
  while (sc_variant(variants)) variants++;
  for (uint64_t n = 0; n < count; n++) {
    _Alignas(64) uint8_t head[HEAD];
    memcpy(head, shipped, HEAD);
    int32_t shape[FIELDS], precision = random_in(&random, 0, PRECISIONS - 1);
    memcpy(shape, head + SHAPE_AT, sizeof shape);
    if (!one_in(&random, 8)) plausible(shape, &random);
    for (int more = random_in(&random, 0, 2); more > 0; more--) mutate(shape, &random);
    memcpy(head + SHAPE_AT, shape, sizeof shape);
    if (one_in(&random, 50)) precision = (int32_t)random_bits(&random);
    memcpy(head + PRECISION_AT, &precision, sizeof precision);
    if (one_in(&random, 50))
      head[random_in(&random, 0, 11)] ^= (uint8_t)(1 << random_in(&random, 0, 7));
    const char *variant = sc_variant(random_in(&random, 0, variants - 1));
    const uint64_t bytes = sc_packed_bytes(head);
    ScModel *model;
    if (!bytes) {
      refused++;
      EXPECT(sc_model_open(head, HEAD, variant, &model) != SC_OK && !model, "it opened");
      continue;
    }
    if (bytes > (n % RARE ? USUAL : REGION)) {
      large++;
      continue;
    }
    uint8_t *begin = ends[random_in(&random, 0, 2)] - bytes, kept[HEAD];
    memcpy(kept, begin, HEAD);
    memcpy(begin, head, HEAD);
    for (uint64_t off = bytes - 64; off <= bytes; off += 64) {
      const int status = sc_model_open(begin, off, variant, &model);
      EXPECT((status == SC_OK) == (off == bytes), "status %d of %llu bytes", status,
             (unsigned long long)off);
    }
    opened++;
    run_model(model, &random);
    sc_model_close(model);
    memcpy(begin, kept, HEAD);
  }
  EXPECT(!count || (opened && refused), "%llu heads opened, %llu were refused",
         (unsigned long long)opened, (unsigned long long)refused);
  printf("%llu heads of packed weights: %llu refused, %llu too large to run here, %llu ran",
         (unsigned long long)count, (unsigned long long)refused, (unsigned long long)large,
         (unsigned long long)opened);
  free(shipped);
}

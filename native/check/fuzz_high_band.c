/* The high band with sound and descriptions that nobody checked, under its tables and damaged ones. */
#include "check.h"

#include <math.h>

enum { BAND_FIELDS = 15, BAND_LENGTHS = 6, BAND_RATES = 3, BAND_REFINED = 128, BAND_PACKETS = 6 };

/* Every buffer of exactly the size that the library is told. */
typedef struct {
  void *splitter, *joiner;
  float *pcm, *core;
  uint8_t *told; /* [2] */
  int size;
} BandChannel;

static BandChannel open_channel(const ScHighBand *band, int packet) {
  const uint64_t state = sc_high_band_state_bytes(band), samples = sizeof(float) * (uint64_t)packet;
  BandChannel c = {exactly(state), exactly(state), exactly(samples), exactly(samples / BAND_RATES), exactly(2), 0};
  memset(c.splitter, 0, state), memset(c.joiner, 0, state);
  return c;
}

static void close_channel(BandChannel *c) { free(c->splitter), free(c->joiner), free(c->pcm), free(c->core), free(c->told); }

/* -> whether all of them are numbers. */
static int fill_sound(float *x, int count, uint64_t *random) {
  static const float SIZES[] = {0, 1e-30f, 0.1f, 1, 1e6f, 3e38f, INFINITY, NAN};
  const float size = SIZES[random_in(random, 0, one_in(random, 4) ? 7 : 3)];
  for (int i = 0; i < count; i++) x[i] = size * (float)random_in(random, -1000, 1000) / 1000;
  return size <= 1;
}

/* Two channels, the second of joint stereo, by what is said of them or by any bytes. */
static void run_band(const ScHighBand *band, int packet, int intact, uint64_t *random) {
  BandChannel channels[2] = {open_channel(band, packet), open_channel(band, packet)};
  for (int n = 0, usual = 1; n < BAND_PACKETS; n++) {
    for (int i = 0; i < 2; i++) {
      BandChannel *c = channels + i;
      const uint8_t *first = i ? channels[0].told : NULL;
      fill_sound(c->pcm, packet, random);
      EXPECT(sc_high_band_split(band, c->splitter, c->pcm, first, c->core, NULL) == 0, "it tells what nobody wants");
      c->size = sc_high_band_split(band, c->splitter, c->pcm, first, c->core, c->told);
      EXPECT(c->size == 2 || (i && c->size == 1), "%d bytes", c->size);
      EXPECT(!i || (c->told[c->size - 1] >= BAND_REFINED) == (c->size == 2), "%d of %d bytes", c->told[c->size - 1], c->size);
      if (one_in(random, 2)) {
        c->told[0] = (uint8_t)random_bits(random), c->told[1] = (uint8_t)random_bits(random);
        c->size = i ? random_in(random, 1, 2) : 2;
      }
      usual &= fill_sound(c->core, packet / BAND_RATES, random);
      const int lost = one_in(random, 4);
      sc_high_band_join(band, c->joiner, c->core, lost || one_in(random, 8) ? NULL : c->told, c->size, first, lost, c->pcm);
      for (int t = 0; t < packet && usual && intact; t++) EXPECT(isfinite(c->pcm[t]), "packet %d is not finite", n);
    }
  }
  for (int i = 0; i < 2; i++) close_channel(channels + i);
}

static void fuzz_high_band(const char *path, uint64_t count, uint64_t seed) {
  static const int32_t ODD[] = {0, 1, -1, 8, 61, 1023, 2048, 2049, 1 << 24, INT32_MAX, INT32_MIN};
  uint64_t bytes, random = seed, refused = 0, opened = 0;
  uint8_t *packed = read_file(path, &bytes);
  int32_t shipped[BAND_FIELDS], *fields = (int32_t *)packed;
  EXPECT(bytes > sizeof shipped, "%s is too short", path);
  memcpy(shipped, fields, sizeof shipped);
  int variants = 0;
  while (sc_variant(variants)) variants++;
  for (uint64_t n = 0; n < count; n++) {
    const int intact = one_in(&random, 2), field = random_in(&random, 0, BAND_FIELDS - 1);
    memcpy(fields, shipped, sizeof shipped);
    if (!intact) fields[field] = one_in(&random, 2) ? ODD[random_in(&random, 0, 10)] : (int32_t)random_bits(&random);
    ScHighBand *band;
    const int status = sc_high_band_open(packed, bytes, sc_variant(random_in(&random, 0, variants - 1)), &band);
    EXPECT(status == SC_OK || !intact, "status %d of tables as they are", status);
    if (status != SC_OK) {
      refused++;
      continue;
    }
    opened++;
    run_band(band, fields[0], intact, &random);
    sc_high_band_close(band);
  }
  EXPECT(opened && refused, "%llu opened, %llu were refused", (unsigned long long)opened, (unsigned long long)refused);
  printf("%llu tables of the high band: %llu refused, %llu ran", (unsigned long long)count, (unsigned long long)refused,
         (unsigned long long)opened);
  free(packed);
}

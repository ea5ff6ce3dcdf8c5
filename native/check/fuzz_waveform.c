/* The waveform layer of the payloads that are fuzzed: foreign ones, real ones, and extreme values. */
#include "check.h"

#include <math.h>

enum { STEP_BAND = 4 };

/* Of some vectors, in memory of exactly the size that the library may read and write. */
typedef struct {
  int vectors, coefficients, bands; /* of a vector */
  ScWaveform said;
  float *residual;   /* [vectors, F, K] */
  int32_t *loudness; /* [channels]: at most as many as vectors */
} Layer;

static Layer open_layer(const ScTables *t, int vectors) {
  const ScWaveformTables *w = &t->waveform;
  Layer l = {vectors, w->frames * w->bins, (w->bins + STEP_BAND - 1) / STEP_BAND, {NULL, NULL, NULL, NULL}, NULL, NULL};
  const uint64_t n = (uint64_t)vectors, all = n * l.coefficients;
  l.said.coded = exactly(n), l.said.loudness = exactly(n * sizeof(int32_t)), l.said.q = exactly(all * sizeof(int32_t));
  l.said.steps = exactly(n * l.bands * sizeof(float));
  l.residual = exactly(all * sizeof(float)), l.loudness = exactly(n * sizeof(int32_t));
  return l;
}

static void close_layer(Layer *l) {
  free(l->said.coded), free(l->said.loudness), free(l->said.q), free(l->said.steps), free(l->residual), free(l->loudness);
}

static int layers_alike(const Layer *a, const Layer *b) {
  const size_t n = (size_t)a->vectors;
  return !memcmp(a->said.coded, b->said.coded, n) && !memcmp(a->said.loudness, b->said.loudness, n * sizeof(int32_t)) &&
         !memcmp(a->said.q, b->said.q, n * a->coefficients * sizeof(int32_t)) &&
         !memcmp(a->said.steps, b->said.steps, n * a->bands * sizeof(float));
}

/* What was read can be said: numbers within their bounds, and zeros where the layer is empty or does not reach. */
static void check_layer(const Layer *l, const ScTables *t, int level) {
  const ScWaveformTables *w = &t->waveform;
  const int largest = t->symbol_limit + (2 << t->escape_bits) - 1;
  for (int v = 0; v < l->vectors; v++) {
    const int coded = l->said.coded[v], loudness = l->said.loudness[v];
    EXPECT(coded == 0 || (coded == 1 && w->level_bins[level]), "coded %d at level %d", coded, level);
    EXPECT(loudness >= 0 && loudness < (coded ? w->loudnesses : 1), "loudness %d", loudness);
    for (int i = 0; i < l->coefficients; i++) {
      const int q = l->said.q[(size_t)v * l->coefficients + i];
      const int most = coded && i % w->bins < w->level_bins[level] ? largest : 0;
      EXPECT(q <= most && q >= -most, "coefficient %d", q);
    }
    for (int i = 0; i < l->bands; i++) {
      const float step = l->said.steps[(size_t)v * l->bands + i];
      EXPECT(coded ? step >= 0x1p-16f && step <= 0x1p16f : step == 0, "step %g", (double)step);
    }
  }
}

/* Residuals of one size, whose largest are far from the others; now and then of what floats can hold. */
static void random_residual(Layer *l, float size, int extreme, uint64_t *random) {
  static const float LARGEST[] = {INFINITY, -INFINITY, NAN, 3e38f, -3e38f, 1e-40f};
  for (int i = 0; i < l->vectors * l->coefficients; i++) {
    const float u = (float)random_in(random, 1, 1 << 20) * 0x1p-20f;
    l->residual[i] = size * logf(u) * (one_in(random, 2) ? 1 : -1);
    if (extreme && one_in(random, 4)) l->residual[i] = LARGEST[random_in(random, 0, 5)];
  }
}

/* Integers that a payload of this level can hold. */
static void extreme_layer(Layer *l, const ScTables *t, uint64_t *random) {
  const int largest = t->symbol_limit + (2 << t->escape_bits) - 1, kind = random_in(random, 0, 2);
  for (int v = 0; v < l->vectors; v++)
    l->said.coded[v] = !one_in(random, 4), l->said.loudness[v] = random_in(random, 0, t->waveform.loudnesses - 1);
  for (int i = 0; i < l->vectors * l->coefficients; i++)
    l->said.q[i] = kind == 0   ? largest * (one_in(random, 2) ? 1 : -1)
                   : kind == 1 ? random_in(random, -largest, largest)
                               : random_in(random, -1, 1);
}

/* means [vectors, D] -> y and a payload's length: with the layer of a residual, where the level has one. */
static int encode_any(const ScBitstream *b, const ScTables *t, int base, int level, const int32_t *gains, const float *means,
                      int32_t *y, Layer *l, int extreme, uint8_t *payload, int room, uint64_t *random) {
  if (!sc_bitstream_has_waveform(b, level))
    return sc_bitstream_encode(b, l->vectors, base, level, gains, means, y, payload, room);
  const int channels = l->vectors % 2 ? 1 : 2;
  int size = sc_bitstream_quantise(b, l->vectors, level, gains, means, t->bit_worth, y);
  EXPECT(size == SC_OK, "means cannot be rounded: %d", size);
  for (int c = 0; c < channels; c++) l->loudness[c] = random_in(random, 0, t->waveform.loudnesses - 1);
  float spread = (float)random_in(random, 0, 100) * 0.01f;
  do { /* where steps are fine, until it fits */
    random_residual(l, spread, extreme, random);
    size = sc_bitstream_encode_waveform(b, l->vectors, channels, base, level, gains, y, l->residual, l->loudness, &l->said,
                                        payload, room);
    spread /= 4;
  } while (size == SC_NO_ROOM && !extreme);
  return size;
}

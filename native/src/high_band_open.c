/* The high band's tables, opened from packed bytes. */
#include <stdlib.h>
#include <string.h>

#include "high_band.h"
#include "variants.h"

typedef struct {
  const uint8_t *at, *end;
  int failed;
} Reader;

static const void *take(Reader *r, size_t count) {
  const size_t bytes = 4 * count;
  if ((size_t)(r->end - r->at) < bytes) {
    r->failed = 1;
    return NULL;
  }
  const void *found = r->at;
  r->at += bytes;
  return found;
}

static int within(int32_t value, int32_t least, int32_t most) { return least <= value && value <= most; }

/* Each bounded by itself before it is compared with others: sums of what is far off would overflow. */
static int runnable(const HighShape *s) {
  return within(s->packet, 1, HIGH_MAX_PACKET) && within(s->lag, 0, HIGH_MAX_LAG) &&
         within(s->taps, 1, HIGH_FACTOR * HIGH_MAX_TAPS) && within(s->bands, 1, HIGH_MAX_BANDS) && within(s->noise, 1, 1 << 24) &&
         s->packet % (2 * HIGH_SEGMENTS * HIGH_FACTOR * 8) == 0 && s->packet / HIGH_SEGMENTS * 3 / 2 <= HIGH_FFT &&
         s->phase_taps == (s->taps + HIGH_FACTOR - 1) / HIGH_FACTOR && s->lag + 1 >= s->taps &&
         s->lag >= s->packet / HIGH_SEGMENTS / 2;
}

int sc_high_band_open(const void *packed, uint64_t bytes, const char *variant, ScHighBand **band) {
  Reader r = {packed, (const uint8_t *)packed + bytes, 0};
  const HighShape *shape = take(&r, sizeof *shape / 4);
  if (r.failed) return SC_BAD_FORMAT;
  if (!runnable(shape)) return SC_UNSUPPORTED;
  ScHighBand h = {.shape = *shape, .variant = sc_find_variant(variant)};
  if (!h.variant) return SC_NO_VARIANT;
  h.segment = shape->packet / HIGH_SEGMENTS, h.slope = h.segment / 2;
  h.edges = take(&r, shape->bands + 1);
  h.phases = take(&r, HIGH_FACTOR * shape->phase_taps);
  h.window = take(&r, h.segment + h.slope);
  h.rise = take(&r, h.slope);
  h.twiddles = take(&r, HIGH_FFT);
  h.mean = take(&r, shape->bands);
  h.codebooks = take(&r, (size_t)(HIGH_STAGES + 1) * HIGH_ENTRIES * HIGH_SEGMENTS * shape->bands);
  h.second_share = take(&r, HIGH_ENTRIES);
  h.noise = take(&r, (size_t)shape->bands * (shape->noise + h.segment));
  if (r.failed || r.at != r.end) return SC_BAD_FORMAT;
  for (int b = 0; b <= shape->bands; b++)
    if (h.edges[b] < 0 || h.edges[b] > HIGH_FFT / 2 || (b && h.edges[b] <= h.edges[b - 1])) return SC_BAD_FORMAT;
  ScHighBand *made = malloc(sizeof *made);
  if (!made) return SC_NO_MEMORY;
  *made = h;
  *band = made;
  return SC_OK;
}

void sc_high_band_close(ScHighBand *band) { free(band); }

uint64_t sc_high_band_state_bytes(const ScHighBand *h) {
  const uint64_t splitter = h->shape.lag + h->shape.bands, joiner = h->shape.phase_taps + 2 * h->shape.bands + 1;
  return 4 * (splitter > joiner ? splitter : joiner);
}

int sc_high_band_split(const ScHighBand *h, void *state, const float *pcm, const uint8_t *first, float *core, uint8_t *told) {
  return h->variant->split_bands(h, state, pcm, first, core, told);
}

void sc_high_band_join(const ScHighBand *h, void *state, const float *core, const uint8_t *told, int size,
                       const uint8_t *first, int lost, float *pcm) {
  h->variant->join_bands(h, state, core, told, size, first, lost, pcm);
}

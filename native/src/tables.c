/* Packed tables -> ScTables. Written by streamcodec/coding/packed_tables.py: sizes (int32), then all that is float64, then
 * all other integers (int32). What the numbers say is checked by sc_bitstream_open. */
#include <string.h>

#include "streamcodec.h"
#include "waveform_prior.h"

enum { SIZES = 14, REALS = 4, LARGEST_SIZE = 4096 };

/* A walk over the arrays; `at` in bytes. */
typedef struct {
  const uint8_t *packed;
  uint64_t at;
} Reader;

static const double *reals(Reader *r, uint64_t count) {
  const double *here = (const double *)(r->packed + r->at);
  r->at += count * sizeof *here;
  return here;
}

static const int32_t *integers(Reader *r, uint64_t count) {
  const int32_t *here = (const int32_t *)(r->packed + r->at);
  r->at += count * sizeof *here;
  return here;
}

int sc_tables_read(const void *packed, uint64_t bytes, ScTables *tables) {
  Reader r = {packed, 0};
  if (bytes < SIZES * sizeof(int32_t) + REALS * sizeof(double)) return SC_BAD_FORMAT;
  const int32_t *size = integers(&r, SIZES);
  for (int i = 0; i < SIZES; i++) /* 6 to 8 are limits, and may be below 0; products of the others stay within 64 bits */
    if ((size[i] < 1 && (i < 6 || i > 8)) || size[i] > LARGEST_SIZE) return SC_BAD_FORMAT;
  ScTables t = {.levels = size[0], .classes = size[1], .latent = size[2], .scales = size[3], .gains = size[4],
                .symbols = size[5], .gain_min = size[6], .symbol_limit = size[7], .escape_bits = size[8]};
  ScWaveformTables *w = &t.waveform;
  w->frames = size[9], w->bins = size[10], w->width = size[11], w->scales = size[12], w->loudnesses = size[13];
  const uint64_t levels = t.levels, classes = t.classes, latent = t.latent, width = w->width;
  const uint64_t outputs = (uint64_t)w->frames * w->bins + (w->bins + STEP_BAND - 1) / STEP_BAND;
  t.bit_worth = *reals(&r, 1);
  memcpy(t.roundings, reals(&r, 3), sizeof t.roundings);
  t.costs = reals(&r, (uint64_t)t.scales * t.symbols);
  t.class_costs = reals(&r, levels * classes);
  t.gain_costs = reals(&r, classes * t.gains);
  w->costs = reals(&r, (uint64_t)w->scales * t.symbols);
  w->eighths = reals(&r, 8);
  t.rows = integers(&r, levels * classes * latent);
  t.level_frequencies = integers(&r, levels * levels);
  t.frequencies = integers(&r, (uint64_t)t.scales * t.symbols);
  t.class_frequencies = integers(&r, levels * (classes + 1));
  t.gain_frequencies = integers(&r, classes * t.gains);
  w->first_weight = integers(&r, width * (latent + 2)), w->first_bias = integers(&r, width);
  w->second_weight = integers(&r, width * width), w->second_bias = integers(&r, width);
  w->last_weight = integers(&r, outputs * width), w->last_bias = integers(&r, outputs);
  w->level_base = integers(&r, levels), w->level_step = integers(&r, levels), w->level_bins = integers(&r, levels);
  w->frequencies = integers(&r, (uint64_t)w->scales * t.symbols);
  w->coded_frequencies = integers(&r, 2 * levels);
  w->loudness_frequencies = integers(&r, w->loudnesses);
  if (r.at != bytes) return SC_BAD_FORMAT;
  *tables = t;
  return SC_OK;
}

int sc_bitstream_open_packed(const void *packed, uint64_t bytes, const char *variant, ScBitstream **bitstream) {
  ScTables tables;
  *bitstream = NULL;
  const int status = sc_tables_read(packed, bytes, &tables);
  return status == SC_OK ? sc_bitstream_open(&tables, variant, bitstream) : status;
}

/* Payloads (streamcodec/coding/bitstream.py, which is the oracle that this is tested against). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quantiser.h"
#include "range_coder.h"
#include "symbols.h"
#include "variants.h"

int sc_bitstream_open(const ScTables *t, const char *variant, ScBitstream **bitstream) {
  *bitstream = NULL;
  if (!sc_find_variant(variant)) return SC_NO_VARIANT;
  if (t->latent < 1 || t->latent > MAX_LATENT || t->levels < 1 || t->levels > 256 || t->classes < 1 || t->classes > 256 ||
      t->scales < 1 || t->scales > 256 || t->gains < 1 || t->gains > MAX_SYMBOLS ||
      t->symbol_limit < 0 || t->symbol_limit >= MAX_SYMBOLS / 2 ||
      t->symbols != 2 * t->symbol_limit + 2 || t->escape_bits < 0 || t->escape_bits > 15)
    return SC_UNSUPPORTED;
  if (!are_frequencies(t->level_frequencies, t->levels, t->levels) ||
      !are_frequencies(t->frequencies, t->scales, t->symbols) ||
      !are_frequencies(t->class_frequencies, t->levels, t->classes + 1) ||
      !are_frequencies(t->gain_frequencies, t->classes, t->gains) ||
      t->gain_min < -MAX_SYMBOLS || t->gain_min > MAX_SYMBOLS)
    return SC_OUT_OF_RANGE;
  const size_t vectors = (size_t)t->levels * t->classes;
  for (size_t i = 0; i < vectors * t->latent; i++)
    if (t->rows[i] < 0 || t->rows[i] >= t->scales) return SC_OUT_OF_RANGE;
  ScBitstream *b = calloc(1, sizeof *b);
  if (!b) return SC_NO_MEMORY;
  b->variant = sc_find_variant(variant);
  b->levels = t->levels, b->classes = t->classes, b->latent = t->latent, b->scales = t->scales, b->gains = t->gains;
  b->symbols = t->symbols, b->gain_min = t->gain_min, b->limit = t->symbol_limit, b->escape = t->symbols - 1;
  b->escape_bits = t->escape_bits, b->bit_worth = t->bit_worth;
  b->largest = (float)(t->symbol_limit + (2 << t->escape_bits) - 1);
  memcpy(b->roundings, t->roundings, sizeof b->roundings);
  b->rows = malloc(vectors * t->latent);
  b->level_starts = cumulative(t->level_frequencies, t->levels, t->levels);
  b->starts = cumulative(t->frequencies, t->scales, t->symbols);
  b->class_starts = cumulative(t->class_frequencies, t->levels, t->classes + 1);
  b->gain_starts = cumulative(t->gain_frequencies, t->classes, t->gains);
  b->costs = copied(t->costs, (size_t)t->scales * t->symbols * sizeof *b->costs);
  b->class_costs = copied(t->class_costs, vectors * sizeof *b->class_costs);
  b->gain_costs = copied(t->gain_costs, (size_t)t->classes * t->gains * sizeof *b->gain_costs);
  b->zero_bits = malloc(vectors * sizeof *b->zero_bits);
  int status = sc_waveform_open(&b->waveform, t);
  if (!b->rows || !b->level_starts || !b->starts || !b->class_starts || !b->gain_starts || !b->costs || !b->class_costs ||
      !b->gain_costs || !b->zero_bits)
    status = SC_NO_MEMORY;
  if (status != SC_OK) {
    sc_bitstream_close(b);
    return status;
  }
  for (size_t i = 0; i < vectors * t->latent; i++) b->rows[i] = (uint8_t)t->rows[i];
  for (size_t v = 0; v < vectors; v++) {
    double bits = 0;
    for (int d = 0; d < t->latent; d++) bits += b->costs[(size_t)b->rows[v * t->latent + d] * t->symbols + t->symbol_limit];
    b->zero_bits[v] = bits;
  }
  *bitstream = b;
  return SC_OK;
}

void sc_bitstream_close(ScBitstream *b) {
  if (!b) return;
  void *parts[] = {b->rows, b->level_starts, b->starts, b->class_starts, b->gain_starts, b->costs, b->class_costs, b->gain_costs,
                   b->zero_bits};
  for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) free(parts[i]);
  sc_waveform_close(&b->waveform), sc_joint_close(&b->joint);
  free(b);
}

int sc_bitstream_has_waveform(const ScBitstream *b, int level) {
  return level >= 0 && level < b->levels && has_waveform(b, level);
}

int sc_bitstream_open_joint(const void *packed, uint64_t bytes, const void *joint, uint64_t joint_bytes, const char *variant,
                            ScBitstream **bitstream) {
  ScTables tables;
  *bitstream = NULL;
  ScBitstream *b;
  int status = sc_tables_read(packed, bytes, &tables);
  if (status == SC_OK) status = sc_bitstream_open(&tables, variant, &b);
  if (status != SC_OK) return status;
  status = sc_joint_open(&b->joint, joint, joint_bytes, &tables);
  if (status == SC_OK) *bitstream = b;
  else sc_bitstream_close(b);
  return status;
}

/* [levels + 1], of a stream with this base level. */
static const uint32_t *level_starts(const ScBitstream *b, int base_level) {
  const uint32_t *all = b->joint.latents.classes ? b->joint.level_starts : b->level_starts;
  return all + (size_t)base_level * (b->levels + 1);
}

/* Whether a vector is that of a second channel that its first may tell. */
static int is_second(const ScBitstream *b, int v) { return b->joint.latents.classes && v % 2; }

/* What the layer of vector `v` may be told by, of the layer of all; NULL where that is nothing. */
static const int32_t *layer_of_first(const ScBitstream *b, const uint8_t *coded, const int32_t *q, int v) {
  const IntegerPrior *p = &b->waveform.prior;
  return is_second(b, v) && coded[v - 1] ? q + (size_t)(v - 1) * p->frames * p->bins : NULL;
}

/* Bits of a packet that is told on its own, `gain` steps above silence, at least 1. */
static double own_bits(const ScBitstream *b, int level, int class_index, int gain, const int32_t *y) {
  const uint8_t *rows = rows_of(b, level, class_index);
  double bits = b->class_costs[(size_t)level * b->classes + class_index] + b->gain_costs[(size_t)class_index * b->gains + gain - 1];
  for (int d = 0; d < b->latent; d++) bits += b->costs[(size_t)rows[d] * b->symbols + symbol_of(b, y[d])];
  return bits;
}

/* means [vectors, D] -> y [tries, vectors, D]: as the variant's quantiser does it, and second channels by their first where
 * that is cheaper. worths [4]. */
static int quantise_all(const ScBitstream *b, int vectors, int level, const int32_t *gain_index, const float *means,
                        const double *worths, int tries, int32_t *y) {
  const int status = b->variant->quantise(b, vectors, level, gain_index, means, worths, tries, y);
  for (int v = 1; v < vectors && status == SC_OK && is_second(b, v); v += 2) {
    const int of_first = gain_above_silence(b, gain_index[v - 1]), gain = gain_above_silence(b, gain_index[v]);
    if (!of_first || !gain) continue;
    for (int t = 0; t < tries; t++) {
      int32_t *own = y + ((size_t)t * vectors + v) * b->latent, together[MAX_LATENT];
      const int32_t *y_first = own - b->latent;
      const uint8_t *rows = rows_of(b, level, b->variant->class_of(b, level, of_first, y_first));
      const FirstChannel first = {of_first, {y_first, rows, b->latent}};
      const float *mean = means + (size_t)v * b->latent;
      const int class_index = b->variant->class_of(b, level, gain, own);
      double loss = worths[t] * (own_bits(b, level, class_index, gain, own) + b->joint.latents.class_costs[ON_ITS_OWN]);
      for (int d = 0; d < b->latent; d++) {
        const double error = own[d] - (double)clipped(b, mean[d]);
        loss += error * error;
      }
      if (sc_joint_round(b, &first, gain, mean, worths[t], together) < loss) memcpy(own, together, b->latent * sizeof *own);
    }
  }
  return status;
}

/* The layer from vector `v` on. */
static ScWaveform layer_from(const ScBitstream *b, const ScWaveform *layer, int v) {
  const IntegerPrior *p = &b->waveform.prior;
  return (ScWaveform){layer->coded + v, layer->loudness + v, layer->q + (size_t)v * p->frames * p->bins,
                      layer->steps ? layer->steps + (size_t)v * p->bands : NULL};
}

/* As sc_bitstream_serialize. `prices` [vectors] may be NULL, and so may `classes` [vectors], which code y in the fewest bits. */
static int serialize(const ScBitstream *b, int vectors, int base_level, int level, const int32_t *gain_index, const int32_t *y,
                     const int *classes, const ScWaveform *layer, const CoefficientPrices *prices, uint8_t *payload, int capacity) {
  if (level < 0 || level >= b->levels || base_level < 0 || base_level >= b->levels || vectors < 1 || vectors > MAX_VECTORS)
    return SC_OUT_OF_RANGE;
  RangeEncoder e = range_encoder(payload, capacity);
  put_symbol(&e, level_starts(b, base_level), level);
  FirstChannel first = {0};
  for (int v = 0; v < vectors; v++, y += b->latent) {
    const uint32_t *class_starts = b->class_starts + (size_t)level * (b->classes + 2);
    const int gain = gain_above_silence(b, gain_index[v]), may_be_told = is_second(b, v) && first.gain;
    if (gain < 0) return SC_OUT_OF_RANGE;
    const int class_index = !gain ? b->classes : classes ? classes[v] : b->variant->class_of(b, level, gain, y);
    int symbol = ON_ITS_OWN, status = SC_OK;
    if (may_be_told && gain) symbol = sc_joint_class(b, &first, gain, y, own_bits(b, level, class_index, gain, y));
    if (may_be_told) status = sc_joint_put(b, &e, &first, symbol, gain, y);
    if (symbol == ON_ITS_OWN) put_symbol(&e, class_starts, class_index);
    first = (FirstChannel){gain, {y, gain ? rows_of(b, level, class_index) : NULL, b->latent}};
    if (gain && symbol == ON_ITS_OWN) {
      put_symbol(&e, b->gain_starts + (size_t)class_index * (b->gains + 1), gain - 1);
      status = put_integers(b, &e, b->starts, rows_of(b, level, class_index), b->latent, y);
    }
    if (gain && status == SC_OK && has_waveform(b, level)) {
      if (!layer) return SC_OUT_OF_RANGE;
      const ScWaveform own = layer_from(b, layer, v);
      const int32_t *of_first = layer_of_first(b, layer->coded, layer->q, v);
      status = sc_waveform_put(b, &e, level, gain, y, &own, of_first, prices ? &prices[v] : NULL);
    }
    if (status != SC_OK) return status;
  }
  const int size = range_finish(&e);
  return size < 0 ? SC_NO_ROOM : size;
}

int sc_bitstream_serialize(const ScBitstream *b, int vectors, int base_level, int level, const int32_t *gain_index,
                           const int32_t *y, const ScWaveform *layer, uint8_t *payload, int capacity) {
  return serialize(b, vectors, base_level, level, gain_index, y, NULL, layer, NULL, payload, capacity);
}

int sc_bitstream_quantise(const ScBitstream *b, int vectors, int level, const int32_t *gain_index, const float *means,
                          double bit_worth, int32_t *y) {
  return quantise_all(b, vectors, level, gain_index, means, (double[]){bit_worth, bit_worth, bit_worth, bit_worth}, 1, y);
}

int sc_bitstream_encode(const ScBitstream *b, int vectors, int base_level, int level, const int32_t *gain_index, const float *means,
                        int32_t *y, uint8_t *payload, int capacity) {
  if (vectors < 1 || vectors > MAX_VECTORS) return SC_OUT_OF_RANGE;
  const size_t count = (size_t)vectors * b->latent;
  int32_t tried[ROUNDINGS * MAX_VECTORS * MAX_LATENT];
  uint8_t bytes[MAX_ENCODED_BYTES];
  const double *r = b->roundings;
  const double w = b->bit_worth, worth[4] = {w * r[0], w * r[1], w * r[2], w * r[0]};
  const int status = quantise_all(b, vectors, level, gain_index, means, worth, ROUNDINGS, tried);
  if (status != SC_OK) return status;
  double lowest = INFINITY;
  int length = 0;
  for (int t = 0; t < ROUNDINGS; t++) {
    const int32_t *candidate = tried + t * count;
    if (t && !memcmp(candidate, candidate - count, count * sizeof *candidate)) continue;
    const int size = serialize(b, vectors, base_level, level, gain_index, candidate, NULL, NULL, NULL, bytes, MAX_ENCODED_BYTES);
    if (size < 0) return size;
    double loss = b->bit_worth * 8 * size;
    for (size_t i = 0; i < count; i++) {
      const double error = (double)candidate[i] - (double)clipped(b, means[i]);
      loss += error * error;
    }
    if (loss >= lowest) continue;
    if (size > capacity) return SC_NO_ROOM;
    lowest = loss, length = size;
    memcpy(payload, bytes, size);
    memcpy(y, candidate, count * sizeof *y);
  }
  return length;
}

int sc_bitstream_encode_waveform(const ScBitstream *b, int vectors, int channels, int base_level, int level,
                                 const int32_t *gain_index, const int32_t *y, const float *residual, const int32_t *loudness,
                                 const ScWaveform *layer, uint8_t *payload, int capacity) {
  const IntegerPrior *p = &b->waveform.prior;
  const int count = p->frames * p->bins;
  if (vectors < 1 || vectors > MAX_VECTORS || channels < 1 || !sc_bitstream_has_waveform(b, level)) return SC_OUT_OF_RANGE;
  CoefficientPrices prices[MAX_VECTORS];
  double z[MAX_VECTORS * MAX_COEFFICIENTS];
  int32_t q[MAX_VECTORS * MAX_COEFFICIENTS], named[MAX_VECTORS];
  int gains[MAX_VECTORS], classes[MAX_VECTORS];
  uint8_t coded[MAX_VECTORS], bytes[MAX_ENCODED_BYTES];
  for (int v = 0; v < vectors; v++) {
    const int32_t loud = loudness[v % channels];
    gains[v] = gain_above_silence(b, gain_index[v]);
    if (gains[v] < 0 || loud < 0 || loud >= b->waveform.loudnesses) return SC_OUT_OF_RANGE;
    if (!gains[v]) continue;
    classes[v] = b->variant->class_of(b, level, gains[v], y + v * b->latent);
    sc_waveform_prices(b, level, gains[v], loud, y + v * b->latent, &prices[v]);
    sc_waveform_scale(b, residual + v * count, &prices[v], z + v * count);
  }
  double lowest = INFINITY;
  int length = SC_OUT_OF_RANGE;
  for (int t = 0; t < ROUNDINGS; t++) {
    double loss = 0;
    memset(q, 0, (size_t)vectors * count * sizeof *q), memset(coded, 0, sizeof coded), memset(named, 0, sizeof named);
    for (int v = 0; v < vectors; v++) {
      if (!gains[v]) continue;
      int32_t *at = q + v * count;
      const int32_t *of_first = layer_of_first(b, coded, q, v);
      const double worth = b->roundings[t] * b->bit_worth;
      coded[v] = (uint8_t)(of_first ? sc_waveform_quantise_second(b, z + v * count, &prices[v], worth, of_first, at)
                                    : sc_waveform_quantise(b, z + v * count, &prices[v], worth, at));
      if (coded[v]) named[v] = loudness[v % channels];
      loss += sc_waveform_error(b, z + v * count, &prices[v], at);
    }
    const ScWaveform tried = {coded, named, q, NULL};
    const int size = serialize(b, vectors, base_level, level, gain_index, y, classes, &tried, prices, bytes, MAX_ENCODED_BYTES);
    if (size < 0) return size;
    loss += b->bit_worth * 8 * size;
    if (loss >= lowest) continue;
    if (size > capacity) return SC_NO_ROOM;
    lowest = loss, length = size;
    memcpy(payload, bytes, size);
    memcpy(layer->q, q, (size_t)vectors * count * sizeof *q);
    memcpy(layer->coded, coded, vectors), memcpy(layer->loudness, named, vectors * sizeof *named);
  }
  for (int v = 0; v < vectors; v++)
    for (int i = 0; i < p->bands; i++) layer->steps[v * p->bands + i] = layer->coded[v] ? (float)prices[v].steps[i] : 0;
  return length;
}

int sc_bitstream_parse(const ScBitstream *b, const uint8_t *payload, int size, int vectors, int base_level, int32_t *level,
                       int32_t *gain_index, int32_t *y, const ScWaveform *layer, int32_t *detail) {
  const IntegerPrior *p = &b->waveform.prior;
  if (base_level < 0 || base_level >= b->levels || vectors < 1 || size < 1)
    return SC_OUT_OF_RANGE;
  RangeDecoder d = range_decoder(payload, size);
  memset(y, 0, (size_t)vectors * b->latent * sizeof *y);
  if (layer) {
    memset(layer->coded, 0, vectors), memset(layer->loudness, 0, vectors * sizeof *layer->loudness);
    memset(layer->q, 0, (size_t)vectors * p->frames * p->bins * sizeof *layer->q);
    memset(layer->steps, 0, (size_t)vectors * p->bands * sizeof *layer->steps);
  }
  *level = range_get(&d, level_starts(b, base_level), b->levels);
  uint8_t coded[2] = {0};
  int32_t loudness[2], q[2 * MAX_COEFFICIENTS];
  float steps[2 * MAX_BANDS];
  const ScWaveform forgotten = {coded, loudness, q, steps};
  FirstChannel first = {0};
  for (int v = 0; v < vectors && !d.bad; v++, y += b->latent) {
    int gain = 0, status = SC_OK;
    coded[v % 2] = 0;
    gain_index[v] = b->gain_min;
    if (is_second(b, v) && first.gain) status = sc_joint_get(b, &d, &first, &gain, y, detail);
    if (status == SC_OK && !d.bad && !gain) {
      const int class_index = range_get(&d, b->class_starts + (size_t)*level * (b->classes + 2), b->classes + 1);
      first = (FirstChannel){0};
      if (d.bad || class_index == b->classes) continue;
      gain = 1 + range_get(&d, b->gain_starts + (size_t)class_index * (b->gains + 1), b->gains);
      first = (FirstChannel){gain, {y, rows_of(b, *level, class_index), b->latent}};
      status = get_integers(b, &d, b->starts, first.latents.rows, b->latent, y, detail);
    }
    gain_index[v] += gain;
    if (status == SC_OK && !d.bad && has_waveform(b, *level)) {
      const ScWaveform own = layer ? layer_from(b, layer, v) : layer_from(b, &forgotten, v % 2);
      const ScWaveform *all = layer ? layer : &forgotten;
      status = sc_waveform_get(b, &d, *level, gain, y, &own, layer_of_first(b, all->coded, all->q, layer ? v : v % 2), detail);
    }
    if (status != SC_OK) return status;
  }
  *detail = d.position < size ? d.position : size;
  if (d.bad) return SC_NO_SYMBOL;
  return size > d.position ? SC_TRAILING_BYTES : SC_OK;
}

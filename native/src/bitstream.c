/* Payloads (streamcodec/coding/bitstream.py, which is the oracle that this is tested against). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quantiser.h"
#include "range_coder.h"
#include "variants.h"

/* Whether each row holds counts of at least 1 that add up to 2^PRECISION: with others the coder
 * would not end. */
static int are_frequencies(const int32_t *counts, int rows, int columns) {
  for (int r = 0; r < rows; r++) {
    int64_t sum = 0;
    for (int c = 0; c < columns; c++, counts++) {
      if (*counts < 1) return 0;
      sum += *counts;
    }
    if (sum != 1 << PRECISION) return 0;
  }
  return 1;
}

static uint32_t *cumulative(const int32_t *frequencies, int rows, int columns) {
  uint32_t *starts = malloc((size_t)rows * (columns + 1) * sizeof *starts);
  if (!starts) return NULL;
  for (int r = 0; r < rows; r++) {
    uint32_t *row = starts + (size_t)r * (columns + 1);
    row[0] = 0;
    for (int c = 0; c < columns; c++) row[c + 1] = row[c] + (uint32_t)frequencies[(size_t)r * columns + c];
  }
  return starts;
}

static double *copied(const double *values, size_t count) {
  double *copy = malloc(count * sizeof *copy);
  if (copy) memcpy(copy, values, count * sizeof *copy);
  return copy;
}

int sc_bitstream_open(const ScTables *t, ScBitstream **bitstream) {
  *bitstream = NULL;
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
  b->variant = sc_find_variant(NULL);
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
  b->costs = copied(t->costs, (size_t)t->scales * t->symbols);
  b->class_costs = copied(t->class_costs, vectors);
  b->gain_costs = copied(t->gain_costs, (size_t)t->classes * t->gains);
  b->zero_bits = malloc(vectors * sizeof *b->zero_bits);
  if (!b->rows || !b->level_starts || !b->starts || !b->class_starts || !b->gain_starts || !b->costs || !b->class_costs ||
      !b->gain_costs || !b->zero_bits) {
    sc_bitstream_close(b);
    return SC_NO_MEMORY;
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
  free(b);
}

static void put_symbol(RangeEncoder *e, const uint32_t *starts, int symbol) {
  range_put(e, starts[symbol], starts[symbol + 1] - starts[symbol]);
}

/* Sign, then |y| - limit as Elias gamma. */
static void put_escape(const ScBitstream *b, RangeEncoder *e, int32_t y) {
  const uint32_t excess = (uint32_t)((y < 0 ? -y : y) - b->limit);
  const int bits = 31 - __builtin_clz(excess);
  range_put_bits(e, y < 0, 1);
  range_put_bits(e, (uint32_t)bits, 4);
  if (bits) range_put_bits(e, excess - (1u << bits), bits);
}

int sc_bitstream_serialize(const ScBitstream *b, int vectors, int base_level, int level, const int32_t *gain_index,
                           const int32_t *y, uint8_t *payload, int capacity) {
  if (level < 0 || level >= b->levels || base_level < 0 || base_level >= b->levels || vectors < 1 || vectors > MAX_VECTORS)
    return SC_OUT_OF_RANGE;
  RangeEncoder e = range_encoder(payload, capacity);
  put_symbol(&e, b->level_starts + (size_t)base_level * (b->levels + 1), level);
  for (int v = 0; v < vectors; v++, y += b->latent) {
    const uint32_t *class_starts = b->class_starts + (size_t)level * (b->classes + 2);
    const int gain = gain_above_silence(b, gain_index[v]);
    if (gain < 0) return SC_OUT_OF_RANGE;
    if (!gain) {
      put_symbol(&e, class_starts, b->classes);
      continue;
    }
    const int class_index = b->variant->class_of(b, level, gain, y);
    const uint8_t *rows = rows_of(b, level, class_index);
    put_symbol(&e, class_starts, class_index);
    put_symbol(&e, b->gain_starts + (size_t)class_index * (b->gains + 1), gain - 1);
    for (int d = 0; d < b->latent; d++) {
      if ((float)y[d] > b->largest || (float)y[d] < -b->largest) return SC_OUT_OF_RANGE;
      const int symbol = symbol_of(b, y[d]);
      put_symbol(&e, b->starts + (size_t)rows[d] * (b->symbols + 1), symbol);
      if (symbol == b->escape) put_escape(b, &e, y[d]);
    }
  }
  const int size = range_finish(&e);
  return size < 0 ? SC_NO_ROOM : size;
}

int sc_bitstream_quantise(const ScBitstream *b, int vectors, int level, const int32_t *gain_index, const float *means,
                          double bit_worth, int32_t *y) {
  return b->variant->quantise(b, vectors, level, gain_index, means, (double[]){bit_worth, bit_worth, bit_worth, bit_worth}, 1, y);
}

int sc_bitstream_encode(const ScBitstream *b, int vectors, int base_level, int level, const int32_t *gain_index, const float *means,
                        int32_t *y, uint8_t *payload, int capacity) {
  if (vectors < 1 || vectors > MAX_VECTORS) return SC_OUT_OF_RANGE;
  const size_t count = (size_t)vectors * b->latent;
  int32_t tried[ROUNDINGS * MAX_VECTORS * MAX_LATENT];
  uint8_t bytes[MAX_ENCODED_BYTES];
  const double *r = b->roundings;
  const double w = b->bit_worth, worth[4] = {w * r[0], w * r[1], w * r[2], w * r[0]};
  const int status = b->variant->quantise(b, vectors, level, gain_index, means, worth, ROUNDINGS, tried);
  if (status != SC_OK) return status;
  double lowest = INFINITY;
  int length = 0;
  for (int t = 0; t < ROUNDINGS; t++) {
    const int32_t *candidate = tried + t * count;
    if (t && !memcmp(candidate, candidate - count, count * sizeof *candidate)) continue;
    const int size = sc_bitstream_serialize(b, vectors, base_level, level, gain_index, candidate, bytes, MAX_ENCODED_BYTES);
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

/* A latent that was escaped; its bits, where they are too many, are told in `detail`. */
static int get_escape(const ScBitstream *b, RangeDecoder *d, int32_t *y, int32_t *detail) {
  const int negative = range_get_bits(d, 1), bits = range_get_bits(d, 4);
  if (!d->bad && bits > b->escape_bits) {
    *detail = bits;
    return SC_LONG_ESCAPE;
  }
  const int32_t magnitude = b->limit + (1 << bits) + (bits ? range_get_bits(d, bits) : 0);
  *y = negative ? -magnitude : magnitude;
  return SC_OK;
}

int sc_bitstream_parse(const ScBitstream *b, const uint8_t *payload, int size, int vectors, int base_level, int32_t *level,
                       int32_t *gain_index, int32_t *y, int32_t *detail) {
  if (base_level < 0 || base_level >= b->levels || vectors < 1 || size < 1)
    return SC_OUT_OF_RANGE;
  RangeDecoder d = range_decoder(payload, size);
  memset(y, 0, (size_t)vectors * b->latent * sizeof *y);
  *level = range_get(&d, b->level_starts + (size_t)base_level * (b->levels + 1), b->levels);
  for (int v = 0; v < vectors && !d.bad; v++, y += b->latent) {
    const int class_index = range_get(&d, b->class_starts + (size_t)*level * (b->classes + 2), b->classes + 1);
    gain_index[v] = b->gain_min;
    if (d.bad || class_index == b->classes) continue;
    gain_index[v] += 1 + range_get(&d, b->gain_starts + (size_t)class_index * (b->gains + 1), b->gains);
    const uint8_t *rows = rows_of(b, *level, class_index);
    for (int i = 0; i < b->latent && !d.bad; i++) {
      const int symbol = range_get_likely(&d, b->starts + (size_t)rows[i] * (b->symbols + 1), b->symbols, b->limit);
      y[i] = symbol - b->limit;
      if (symbol == b->escape && !d.bad) {
        const int status = get_escape(b, &d, &y[i], detail);
        if (status != SC_OK) return status;
      }
    }
  }
  *detail = d.position < size ? d.position : size;
  if (d.bad) return SC_NO_SYMBOL;
  return size > d.position ? SC_TRAILING_BYTES : SC_OK;
}

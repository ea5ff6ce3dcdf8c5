/* Integers as symbols of the range coder (streamcodec/coding/symbols.py): small ones by a table of frequencies, larger ones
 * behind an escape. And what becomes of tables when they are opened. */
#ifndef SC_SYMBOLS_H
#define SC_SYMBOLS_H

#include <stdlib.h>

#include "quantiser.h"
#include "range_coder.h"

/* Whether each row holds counts of at least 1 that add up to 2^PRECISION: with others the coder
 * would not end. */
static inline int are_frequencies(const int32_t *counts, int rows, int columns) {
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

/* frequencies [rows, columns] -> [rows, columns + 1]; NULL where there is no memory. */
static inline uint32_t *cumulative(const int32_t *frequencies, int rows, int columns) {
  uint32_t *starts = malloc((size_t)rows * (columns + 1) * sizeof *starts);
  if (!starts) return NULL;
  for (int r = 0; r < rows; r++) {
    uint32_t *row = starts + (size_t)r * (columns + 1);
    row[0] = 0;
    for (int c = 0; c < columns; c++) row[c + 1] = row[c] + (uint32_t)frequencies[(size_t)r * columns + c];
  }
  return starts;
}

static inline void *copied(const void *values, size_t bytes) {
  void *copy = malloc(bytes);
  if (copy) memcpy(copy, values, bytes);
  return copy;
}

static inline void put_symbol(RangeEncoder *e, const uint32_t *starts, int symbol) {
  range_put(e, starts[symbol], starts[symbol + 1] - starts[symbol]);
}

/* Sign, then |y| - limit as Elias gamma. */
static inline void put_escape(const ScBitstream *b, RangeEncoder *e, int32_t y) {
  const uint32_t excess = (uint32_t)((y < 0 ? -y : y) - b->limit);
  const int bits = 31 - __builtin_clz(excess);
  range_put_bits(e, y < 0, 1);
  range_put_bits(e, (uint32_t)bits, 4);
  if (bits) range_put_bits(e, excess - (1u << bits), bits);
}

/* A latent that was escaped; its bits, where they are too many, are told in `detail`. */
static inline int get_escape(const ScBitstream *b, RangeDecoder *d, int32_t *y, int32_t *detail) {
  const int negative = range_get_bits(d, 1), bits = range_get_bits(d, 4);
  if (!d->bad && bits > b->escape_bits) {
    *detail = bits;
    return SC_LONG_ESCAPE;
  }
  const int32_t magnitude = b->limit + (1 << bits) + (bits ? range_get_bits(d, bits) : 0);
  *y = negative ? -magnitude : magnitude;
  return SC_OK;
}

/* y [count], y[i] by row rows[i] of starts [scales, symbols + 1]. Integers that no payload can hold are SC_OUT_OF_RANGE. */
static inline int put_integers(const ScBitstream *b, RangeEncoder *e, const uint32_t *starts, const uint8_t *rows, int count,
                               const int32_t *y) {
  for (int i = 0; i < count; i++) {
    if (y[i] > b->largest || y[i] < -b->largest) return SC_OUT_OF_RANGE;
    const int symbol = symbol_of(b, y[i]);
    put_symbol(e, starts + (size_t)rows[i] * (b->symbols + 1), symbol);
    if (symbol == b->escape) put_escape(b, e, y[i]);
  }
  return SC_OK;
}

/* Their inverse; what could not be read (`d->bad`) ends it. */
static inline int get_integers(const ScBitstream *b, RangeDecoder *d, const uint32_t *starts, const uint8_t *rows, int count,
                               int32_t *y, int32_t *detail) {
  for (int i = 0; i < count && !d->bad; i++) {
    const int symbol = range_get_likely(d, starts + (size_t)rows[i] * (b->symbols + 1), b->symbols, b->limit);
    y[i] = symbol - b->limit;
    if (symbol == b->escape && !d->bad) {
      const int status = get_escape(b, d, &y[i], detail);
      if (status != SC_OK) return status;
    }
  }
  return SC_OK;
}

#endif

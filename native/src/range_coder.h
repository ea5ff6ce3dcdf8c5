/* Range coder for payloads of a few bytes (streamcodec/coding/range_coder.py): symbols are intervals of 2^16. */
#ifndef SC_RANGE_CODER_H
#define SC_RANGE_CODER_H

#include <stdint.h>
#include <string.h>

enum { PRECISION = 16, MAX_ENCODED_BYTES = 1 << 16 };

typedef struct {
  uint8_t *bytes;
  int size, capacity, overflow;
  uint64_t low;   /* the last 32 bits of the lower end; what is above them has been written */
  uint32_t range;
} RangeEncoder;

static inline RangeEncoder range_encoder(uint8_t *bytes, int capacity) {
  return (RangeEncoder){bytes, 0, capacity, 0, 0, 0xffffffffu};
}

static inline void range_push(RangeEncoder *e, uint8_t byte) {
  if (e->size < e->capacity) e->bytes[e->size++] = byte;
  else e->overflow = 1;
}

/* Adds one to what has been written; the coder never exceeds its first interval, so that there is room for the carry. */
static inline void range_carry(uint8_t *bytes, int size) {
  for (int i = size - 1; i >= 0 && ++bytes[i] == 0; i--) {
  }
}

static inline void range_put(RangeEncoder *e, uint32_t start, uint32_t frequency) {
  const uint32_t unit = e->range >> PRECISION;
  e->low += (uint64_t)unit * start;
  e->range = unit * frequency;
  if (e->low >> 32) {
    range_carry(e->bytes, e->size);
    e->low &= 0xffffffffu;
  }
  while (e->range < 1u << 24) {
    e->range <<= 8;
    range_push(e, (uint8_t)(e->low >> 24));
    e->low = (e->low << 8) & 0xffffffffu;
  }
}

static inline void range_put_bits(RangeEncoder *e, uint32_t value, int bits) {
  range_put(e, value << (PRECISION - bits), 1u << (PRECISION - bits));
}

/* The shortest bytes that lie in the final interval, where zeros follow them -> their number, at least 1; -1 where the
 * buffer was too small.
 *
 * A string cut after `length` bytes stands for the lower end rounded up to a multiple of what was cut off; it will do
 * where that is still below the upper end. What is cut off lies in the last 4 bytes, unless all before them are 0xff
 * (rounding up then carries through them) or all that is cut off is zero. */
static inline int range_finish(RangeEncoder *e) {
  for (int shift = 24; shift >= 0; shift -= 8) range_push(e, (uint8_t)(e->low >> shift));
  if (e->overflow) return -1;
  const int total = e->size;
  int nonzero = total;
  while (nonzero > 0 && !e->bytes[nonzero - 1]) nonzero--;
  int filled = total - 4; /* bytes filled.. up to the last 4 are 0xff */
  while (filled > 0 && e->bytes[filled - 1] == 0xff) filled--;
  for (int length = 1; length < total; length++) {
    if (length >= nonzero) return length;
    const int cut = total - length;
    if (cut > 4 && length < filled) continue;
    const int last = cut > 4 ? 4 : cut;
    uint64_t rest = 0;
    for (int i = total - last; i < total; i++) rest = rest << 8 | e->bytes[i];
    if ((1ull << (8 * last)) - rest < e->range) {
      range_carry(e->bytes, length);
      return length;
    }
  }
  return total;
}

typedef struct {
  const uint8_t *bytes;
  int size, position, bad;
  uint64_t code;
  uint32_t range;
} RangeDecoder;

static inline RangeDecoder range_decoder(const uint8_t *bytes, int size) {
  RangeDecoder d = {bytes, size, 4, 0, 0, 0xffffffffu};
  for (int i = 0; i < 4; i++) d.code = d.code << 8 | (i < size ? bytes[i] : 0);
  return d;
}

static inline void range_take(RangeDecoder *d, uint32_t unit, uint32_t start, uint32_t end) {
  d->code -= (uint64_t)unit * start;
  d->range = unit * (end - start);
  while (d->range < 1u << 24) {
    d->code = d->code << 8 | (d->position < d->size ? d->bytes[d->position] : 0);
    d->range <<= 8;
    d->position++;
  }
}

/* Index of the next of `count` symbols, given their starts and 2^16 behind them; 0, and `bad`, where there is none. `likely` is
 * tried first: two products instead of a division and a search. */
static inline int range_get_likely(RangeDecoder *d, const uint32_t *starts, int count, int likely) {
  const uint32_t unit = d->range >> PRECISION;
  if (d->code - (uint64_t)unit * starts[likely] < (uint64_t)unit * (starts[likely + 1] - starts[likely])) {
    range_take(d, unit, starts[likely], starts[likely + 1]);
    return likely;
  }
  const uint64_t target = d->code / unit;
  if (target >= 1u << PRECISION) {
    d->bad = 1;
    return 0;
  }
  int low = 0, high = count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (starts[middle] <= target) low = middle;
    else high = middle;
  }
  range_take(d, unit, starts[low], starts[low + 1]);
  return low;
}

static inline int range_get(RangeDecoder *d, const uint32_t *starts, int count) {
  return range_get_likely(d, starts, count, 0);
}

static inline int range_get_bits(RangeDecoder *d, int bits) {
  const uint32_t unit = d->range >> PRECISION;
  const uint64_t value = d->code / unit >> (PRECISION - bits);
  if (value >= 1u << bits) {
    d->bad = 1;
    return 0;
  }
  range_take(d, unit, (uint32_t)value << (PRECISION - bits), ((uint32_t)value + 1) << (PRECISION - bits));
  return (int)value;
}

#endif

/* Rounds, writes and reads second channels. What is rounded here is to round as NumPy does, so products and sums must not be
 * contracted: see build.py. */
#include "joint.h"

#include <math.h>
#include <stdlib.h>

#include "quantiser.h"
#include "symbols.h"

/* Written by streamcodec.coding.packed_tables, in this order: reals, then integers. */
typedef struct {
  int32_t scales, classes, buckets, magnitudes, gains, symbols;
} Sizes;

static int usable(const Sizes *s, const ScTables *t) {
  return s->scales == t->scales && s->symbols == t->symbols && s->gains == 2 * t->gains + 1 && s->classes > 0 && s->classes < 256 &&
         s->buckets > 0 && s->magnitudes > 0 && s->magnitudes < 256 && s->buckets <= JOINT_MAX_ROWS / s->magnitudes;
}

int sc_joint_open(JointCoder *j, const void *packed, uint64_t bytes, const ScTables *t) {
  const Sizes *s = packed;
  if (bytes < sizeof *s) return SC_BAD_FORMAT;
  if (!usable(s, t)) return SC_UNSUPPORTED;
  const uint64_t rows = (uint64_t)s->classes * s->buckets * s->magnitudes;
  const uint64_t of_classes = 1 + s->classes, of_gains = (uint64_t)s->classes * s->gains, all = rows * s->symbols;
  const uint64_t reals = of_classes + of_gains + all, integers = reals + s->scales + s->classes;
  if (bytes != sizeof *s + reals * sizeof(double) + integers * sizeof(int32_t)) return SC_BAD_FORMAT;
  const double *class_costs = (const double *)(s + 1), *gain_costs = class_costs + of_classes, *costs = gain_costs + of_gains;
  const int32_t *buckets = (const int32_t *)(costs + all), *follows = buckets + s->scales;
  const int32_t *of_class = follows + s->classes, *of_gain = of_class + of_classes, *frequencies = of_gain + of_gains;
  for (int i = 0; i < s->scales; i++)
    if (buckets[i] < 0 || buckets[i] >= s->buckets) return SC_OUT_OF_RANGE;
  for (int c = 0; c < s->classes; c++)
    if (follows[c] & ~1) return SC_OUT_OF_RANGE;
  if (!are_frequencies(of_class, 1, (int)of_classes) || !are_frequencies(of_gain, s->classes, s->gains) ||
      !are_frequencies(frequencies, (int)rows, s->symbols))
    return SC_OUT_OF_RANGE;
  j->classes = s->classes, j->buckets = s->buckets, j->magnitudes = s->magnitudes, j->gains = s->gains;
  j->bucket = malloc(s->scales), j->follows = malloc(s->classes);
  j->class_starts = cumulative(of_class, 1, (int)of_classes);
  j->gain_starts = cumulative(of_gain, s->classes, s->gains);
  j->starts = cumulative(frequencies, (int)rows, s->symbols);
  j->class_costs = copied(class_costs, of_classes * sizeof *class_costs);
  j->gain_costs = copied(gain_costs, of_gains * sizeof *gain_costs);
  j->costs = copied(costs, all * sizeof *costs);
  if (!j->bucket || !j->follows || !j->class_starts || !j->gain_starts || !j->starts || !j->class_costs || !j->gain_costs || !j->costs)
    return SC_NO_MEMORY;
  for (int i = 0; i < s->scales; i++) j->bucket[i] = (uint8_t)buckets[i];
  for (int c = 0; c < s->classes; c++) j->follows[c] = (uint8_t)follows[c];
  return SC_OK;
}

void sc_joint_close(JointCoder *j) {
  void *parts[] = {j->bucket, j->follows, j->class_starts, j->gain_starts, j->starts, j->class_costs, j->gain_costs, j->costs};
  for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) free(parts[i]);
}

/* [D] rows of a class's frequencies. */
static void find_rows(const ScBitstream *b, const FirstChannel *first, uint8_t *rows) {
  const JointCoder *j = &b->joint;
  for (int d = 0; d < b->latent; d++) {
    const int32_t size = first->y[d] < 0 ? -first->y[d] : first->y[d];
    const int magnitude = size < j->magnitudes ? (int)size : j->magnitudes - 1;
    rows[d] = (uint8_t)(j->bucket[first->rows[d]] * j->magnitudes + magnitude);
  }
}

/* How a class tells an integer where the first channel has `of_first`. */
static inline int32_t told(int follows, int32_t of_first, int32_t y) {
  const int32_t difference = follows ? y - of_first : y;
  return of_first < 0 ? -difference : difference;
}

static double bits_around(const JointCoder *j, const FirstChannel *first, int c, int gain) {
  return j->class_costs[1 + c] + j->gain_costs[c * j->gains + gain - first->gain + j->gains / 2];
}

static const double *costs_of(const ScBitstream *b, int c) {
  return b->joint.costs + (size_t)c * b->joint.buckets * b->joint.magnitudes * b->symbols;
}

int sc_joint_class(const ScBitstream *b, const FirstChannel *first, int gain, const int32_t *y, double own_bits) {
  const JointCoder *j = &b->joint;
  uint8_t rows[MAX_LATENT];
  double least = own_bits + j->class_costs[ON_ITS_OWN];
  int best = ON_ITS_OWN;
  find_rows(b, first, rows);
  for (int c = 0; c < j->classes; c++) {
    const double *costs = costs_of(b, c);
    double bits = bits_around(j, first, c, gain);
    int sayable = 1;
    for (int d = 0; d < b->latent; d++) {
      const int32_t value = told(j->follows[c], first->y[d], y[d]);
      sayable &= value <= b->largest && value >= -b->largest;
      bits += costs[(size_t)rows[d] * b->symbols + symbol_of(b, value)];
    }
    if (sayable && bits < least) least = bits, best = 1 + c;
  }
  return best;
}

double sc_joint_round(const ScBitstream *b, const FirstChannel *first, int gain, const float *mean, double bit_worth, int32_t *y) {
  const JointCoder *j = &b->joint;
  uint8_t rows[MAX_LATENT];
  int32_t tried[MAX_LATENT];
  double lowest = INFINITY;
  find_rows(b, first, rows);
  for (int c = 0; c < j->classes; c++) {
    const double *costs = costs_of(b, c);
    double loss = bit_worth * bits_around(j, first, c, gain);
    for (int d = 0; d < b->latent; d++) {
      const float m = clipped(b, mean[d]);
      const int32_t choices[] = {(int32_t)rintf(m), (int32_t)m, 0, first->y[d]};
      const double *row = costs + (size_t)rows[d] * b->symbols;
      double least = INFINITY;
      for (int i = 0; i < 4; i++) {
        const double error = choices[i] - (double)m;
        const double its = error * error + bit_worth * row[symbol_of(b, told(j->follows[c], first->y[d], choices[i]))];
        if (its < least) least = its, tried[d] = choices[i];
      }
      loss += least;
    }
    if (loss >= lowest) continue;
    lowest = loss;
    memcpy(y, tried, b->latent * sizeof *y);
  }
  return lowest;
}

int sc_joint_put(const ScBitstream *b, RangeEncoder *e, const FirstChannel *first, int symbol, int gain, const int32_t *y) {
  const JointCoder *j = &b->joint;
  put_symbol(e, j->class_starts, symbol);
  if (symbol == ON_ITS_OWN) return SC_OK;
  const int c = symbol - 1;
  put_symbol(e, j->gain_starts + c * (j->gains + 1), gain - first->gain + j->gains / 2);
  uint8_t rows[MAX_LATENT];
  int32_t values[MAX_LATENT];
  find_rows(b, first, rows);
  for (int d = 0; d < b->latent; d++) values[d] = told(j->follows[c], first->y[d], y[d]);
  const uint32_t *starts = j->starts + (size_t)c * j->buckets * j->magnitudes * (b->symbols + 1);
  return put_integers(b, e, starts, rows, b->latent, values);
}

int sc_joint_get(const ScBitstream *b, RangeDecoder *d, const FirstChannel *first, int *gain, int32_t *y, int32_t *detail) {
  const JointCoder *j = &b->joint;
  const int symbol = range_get(d, j->class_starts, 1 + j->classes);
  *gain = 0;
  if (d->bad || symbol == ON_ITS_OWN) return SC_OK;
  const int c = symbol - 1;
  *gain = range_get(d, j->gain_starts + c * (j->gains + 1), j->gains) - j->gains / 2 + first->gain;
  d->bad |= *gain < 1 || *gain > b->gains;
  if (d->bad) return SC_OK;
  uint8_t rows[MAX_LATENT];
  find_rows(b, first, rows);
  const uint32_t *starts = j->starts + (size_t)c * j->buckets * j->magnitudes * (b->symbols + 1);
  const int status = get_integers(b, d, starts, rows, b->latent, y, detail);
  if (status != SC_OK || d->bad) return status;
  for (int i = 0; i < b->latent; i++) {
    y[i] = (first->y[i] < 0 ? -y[i] : y[i]) + (j->follows[c] ? first->y[i] : 0);
    d->bad |= y[i] > b->largest || y[i] < -b->largest;
  }
  return SC_OK;
}

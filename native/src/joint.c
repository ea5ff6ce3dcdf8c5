/* Rounds, writes and reads second channels. What is rounded here is to round as NumPy does, so products and sums must not be
 * contracted: see build.py. */
#include "joint.h"

#include <math.h>
#include <stdlib.h>

#include "quantiser.h"
#include "symbols.h"

enum { MAX_ROWS = 256, MAX_COUNT = (int)MAX_LATENT > (int)MAX_COEFFICIENTS ? (int)MAX_LATENT : (int)MAX_COEFFICIENTS };

/* Written by streamcodec.coding.packed_tables, in this order; then reals, then integers. */
typedef struct {
  int32_t scales, classes, buckets, magnitudes;
} FollowSizes;

typedef struct {
  FollowSizes latents, waveform;
  int32_t symbols, gains, levels, unused;
} Sizes;

typedef struct {
  const double *class_costs, *costs;
  const int32_t *buckets, *follows, *of_class, *frequencies;
} FollowArrays;

static int usable(const FollowSizes *s, int scales) {
  return s->scales == scales && s->classes > 0 && s->classes < 256 && s->buckets > 0 && s->magnitudes > 0 &&
         s->magnitudes < 256 && s->buckets <= MAX_ROWS / s->magnitudes;
}

static uint64_t rows_of_all(const FollowSizes *s) { return (uint64_t)s->classes * s->buckets * s->magnitudes; }

static int open_follower(Follower *f, const FollowSizes *s, const FollowArrays *a, int symbols) {
  const uint64_t rows = rows_of_all(s), classes = 1 + s->classes;
  for (int i = 0; i < s->scales; i++)
    if (a->buckets[i] < 0 || a->buckets[i] >= s->buckets) return SC_OUT_OF_RANGE;
  for (int c = 0; c < s->classes; c++)
    if (a->follows[c] & ~1) return SC_OUT_OF_RANGE;
  if (!are_frequencies(a->of_class, 1, (int)classes) || !are_frequencies(a->frequencies, (int)rows, symbols)) return SC_OUT_OF_RANGE;
  f->classes = s->classes, f->buckets = s->buckets, f->magnitudes = s->magnitudes;
  f->bucket = malloc(s->scales), f->follows = malloc(s->classes);
  f->class_starts = cumulative(a->of_class, 1, (int)classes);
  f->starts = cumulative(a->frequencies, (int)rows, symbols);
  f->class_costs = copied(a->class_costs, classes * sizeof *f->class_costs);
  f->costs = copied(a->costs, rows * symbols * sizeof *f->costs);
  if (!f->bucket || !f->follows || !f->class_starts || !f->starts || !f->class_costs || !f->costs) return SC_NO_MEMORY;
  for (int i = 0; i < s->scales; i++) f->bucket[i] = (uint8_t)a->buckets[i];
  for (int c = 0; c < s->classes; c++) f->follows[c] = (uint8_t)a->follows[c];
  return SC_OK;
}

static void close_follower(Follower *f) {
  void *parts[] = {f->bucket, f->follows, f->class_starts, f->starts, f->class_costs, f->costs};
  for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) free(parts[i]);
}

int sc_joint_open(JointCoder *j, const void *packed, uint64_t bytes, const ScTables *t) {
  const Sizes *s = packed;
  if (bytes < sizeof *s) return SC_BAD_FORMAT;
  const FollowSizes *both[] = {&s->latents, &s->waveform};
  if (!usable(both[0], t->scales) || !usable(both[1], t->waveform.scales) || s->symbols != t->symbols || s->gains != 2 * t->gains + 1 ||
      s->levels != t->levels)
    return SC_UNSUPPORTED;
  FollowArrays arrays[2];
  const uint64_t of_gains = (uint64_t)s->latents.classes * s->gains;
  const double *real = (const double *)(s + 1);
  const uint64_t of_levels = (uint64_t)s->levels * s->levels;
  uint64_t reals = of_gains, integers = of_gains + of_levels;
  for (int i = 0; i < 2; i++) {
    const uint64_t all = rows_of_all(both[i]) * s->symbols, classes = 1 + both[i]->classes;
    arrays[i].class_costs = real, arrays[i].costs = real + classes;
    real += classes + all;
    reals += classes + all, integers += classes + all + both[i]->scales + both[i]->classes;
  }
  if (bytes != sizeof *s + reals * sizeof(double) + integers * sizeof(int32_t)) return SC_BAD_FORMAT;
  const int32_t *integer = (const int32_t *)(real + of_gains);
  for (int i = 0; i < 2; i++) {
    arrays[i].buckets = integer, arrays[i].follows = integer + both[i]->scales;
    integer += both[i]->scales + both[i]->classes;
  }
  for (int i = 0; i < 2; i++) {
    arrays[i].of_class = integer, arrays[i].frequencies = integer + 1 + both[i]->classes;
    integer += 1 + both[i]->classes + rows_of_all(both[i]) * s->symbols;
  }
  if (!are_frequencies(integer, s->latents.classes, s->gains) || !are_frequencies(integer + of_gains, s->levels, s->levels))
    return SC_OUT_OF_RANGE;
  j->gains = s->gains;
  j->gain_starts = cumulative(integer, s->latents.classes, s->gains);
  j->gain_costs = copied(real, of_gains * sizeof *real);
  j->level_starts = cumulative(integer + of_gains, s->levels, s->levels);
  if (!j->gain_starts || !j->gain_costs || !j->level_starts) return SC_NO_MEMORY;
  const int status = open_follower(&j->latents, both[0], &arrays[0], s->symbols);
  return status == SC_OK ? open_follower(&j->waveform, both[1], &arrays[1], s->symbols) : status;
}

void sc_joint_close(JointCoder *j) {
  close_follower(&j->latents), close_follower(&j->waveform);
  free(j->gain_starts), free(j->gain_costs), free(j->level_starts);
}

/* [count] rows of a class's frequencies. */
static void find_rows(const Follower *f, const Reference *r, uint8_t *rows) {
  for (int i = 0; i < r->count; i++) {
    const int32_t size = r->y[i] < 0 ? -r->y[i] : r->y[i];
    const int magnitude = size < f->magnitudes ? (int)size : f->magnitudes - 1;
    rows[i] = (uint8_t)(f->bucket[r->rows[i]] * f->magnitudes + magnitude);
  }
}

/* How a class tells an integer where the first channel has `of_first`. */
static inline int32_t told(int follows, int32_t of_first, int32_t y) {
  const int32_t difference = follows ? y - of_first : y;
  return of_first < 0 ? -difference : difference;
}

static const double *costs_of(const ScBitstream *b, const Follower *f, int c) {
  return f->costs + (size_t)c * f->buckets * f->magnitudes * b->symbols;
}

static const uint32_t *starts_of(const ScBitstream *b, const Follower *f, int c) {
  return f->starts + (size_t)c * f->buckets * f->magnitudes * (b->symbols + 1);
}

/* around [classes]: more bits that each takes; NULL: none. */
static int cheapest_class(const ScBitstream *b, const Follower *f, const Reference *r, const double *around, const int32_t *y,
                          double own_bits) {
  uint8_t rows[MAX_COUNT];
  double least = own_bits + f->class_costs[ON_ITS_OWN];
  int best = ON_ITS_OWN;
  find_rows(f, r, rows);
  for (int c = 0; c < f->classes; c++) {
    const double *costs = costs_of(b, f, c);
    double bits = f->class_costs[1 + c] + (around ? around[c] : 0);
    int sayable = 1;
    for (int i = 0; i < r->count; i++) {
      const int32_t value = told(f->follows[c], r->y[i], y[i]);
      sayable &= value <= b->largest && value >= -b->largest;
      bits += costs[(size_t)rows[i] * b->symbols + symbol_of(b, value)];
    }
    if (sayable && bits < least) least = bits, best = 1 + c;
  }
  return best;
}

static double rounded(const ScBitstream *b, const Follower *f, const Reference *r, const double *around, const double *exact,
                      double bit_worth, int32_t *y) {
  uint8_t rows[MAX_COUNT];
  int32_t tried[MAX_COUNT];
  double lowest = INFINITY;
  find_rows(f, r, rows);
  for (int c = 0; c < f->classes; c++) {
    const double *costs = costs_of(b, f, c);
    double loss = bit_worth * (f->class_costs[1 + c] + (around ? around[c] : 0));
    for (int i = 0; i < r->count; i++) {
      const int32_t choices[] = {(int32_t)rint(exact[i]), (int32_t)exact[i], 0, r->y[i]};
      const double *row = costs + (size_t)rows[i] * b->symbols;
      double least = INFINITY;
      for (int n = 0; n < 4; n++) {
        const double error = choices[n] - exact[i];
        const double its = error * error + bit_worth * row[symbol_of(b, told(f->follows[c], r->y[i], choices[n]))];
        if (its < least) least = its, tried[i] = choices[n];
      }
      loss += least;
    }
    if (loss >= lowest) continue;
    lowest = loss;
    memcpy(y, tried, r->count * sizeof *y);
  }
  return lowest;
}

static int put_told(const ScBitstream *b, RangeEncoder *e, const Follower *f, const Reference *r, int c, const int32_t *y) {
  uint8_t rows[MAX_COUNT];
  int32_t values[MAX_COUNT];
  find_rows(f, r, rows);
  for (int i = 0; i < r->count; i++) values[i] = told(f->follows[c], r->y[i], y[i]);
  return put_integers(b, e, starts_of(b, f, c), rows, r->count, values);
}

static int get_told(const ScBitstream *b, RangeDecoder *d, const Follower *f, const Reference *r, int c, int32_t *y,
                    int32_t *detail) {
  uint8_t rows[MAX_COUNT];
  find_rows(f, r, rows);
  const int status = get_integers(b, d, starts_of(b, f, c), rows, r->count, y, detail);
  if (status != SC_OK || d->bad) return status;
  for (int i = 0; i < r->count; i++) {
    y[i] = (r->y[i] < 0 ? -y[i] : y[i]) + (f->follows[c] ? r->y[i] : 0);
    d->bad |= y[i] > b->largest || y[i] < -b->largest;
  }
  return SC_OK;
}

int sc_follow_class(const ScBitstream *b, const Follower *f, const Reference *r, const int32_t *y, double own_bits) {
  return cheapest_class(b, f, r, NULL, y, own_bits);
}

double sc_follow_round(const ScBitstream *b, const Follower *f, const Reference *r, const double *exact, double bit_worth,
                       int32_t *y) {
  return rounded(b, f, r, NULL, exact, bit_worth, y);
}

int sc_follow_put(const ScBitstream *b, RangeEncoder *e, const Follower *f, const Reference *r, int symbol, const int32_t *y) {
  put_symbol(e, f->class_starts, symbol);
  return symbol == ON_ITS_OWN ? SC_OK : put_told(b, e, f, r, symbol - 1, y);
}

int sc_follow_get(const ScBitstream *b, RangeDecoder *d, const Follower *f, const Reference *r, int *is_told, int32_t *y,
                  int32_t *detail) {
  const int symbol = range_get(d, f->class_starts, 1 + f->classes);
  *is_told = symbol != ON_ITS_OWN;
  return d->bad || !*is_told ? SC_OK : get_told(b, d, f, r, symbol - 1, y, detail);
}

/* -> where the bits of a gain lie, [classes]: `around` of the functions above. */
static const double *bits_of_gain(const JointCoder *j, const FirstChannel *first, int gain, double *bits) {
  for (int c = 0; c < j->latents.classes; c++) bits[c] = j->gain_costs[c * j->gains + gain - first->gain + j->gains / 2];
  return bits;
}

int sc_joint_class(const ScBitstream *b, const FirstChannel *first, int gain, const int32_t *y, double own_bits) {
  double around[256];
  const JointCoder *j = &b->joint;
  return cheapest_class(b, &j->latents, &first->latents, bits_of_gain(j, first, gain, around), y, own_bits);
}

double sc_joint_round(const ScBitstream *b, const FirstChannel *first, int gain, const float *mean, double bit_worth, int32_t *y) {
  double around[256], exact[MAX_LATENT];
  const JointCoder *j = &b->joint;
  for (int d = 0; d < b->latent; d++) exact[d] = clipped(b, mean[d]);
  return rounded(b, &j->latents, &first->latents, bits_of_gain(j, first, gain, around), exact, bit_worth, y);
}

int sc_joint_put(const ScBitstream *b, RangeEncoder *e, const FirstChannel *first, int symbol, int gain, const int32_t *y) {
  const JointCoder *j = &b->joint;
  put_symbol(e, j->latents.class_starts, symbol);
  if (symbol == ON_ITS_OWN) return SC_OK;
  put_symbol(e, j->gain_starts + (symbol - 1) * (j->gains + 1), gain - first->gain + j->gains / 2);
  return put_told(b, e, &j->latents, &first->latents, symbol - 1, y);
}

int sc_joint_get(const ScBitstream *b, RangeDecoder *d, const FirstChannel *first, int *gain, int32_t *y, int32_t *detail) {
  const JointCoder *j = &b->joint;
  const int symbol = range_get(d, j->latents.class_starts, 1 + j->latents.classes);
  *gain = 0;
  if (d->bad || symbol == ON_ITS_OWN) return SC_OK;
  *gain = range_get(d, j->gain_starts + (symbol - 1) * (j->gains + 1), j->gains) - j->gains / 2 + first->gain;
  d->bad |= *gain < 1 || *gain > b->gains;
  return d->bad ? SC_OK : get_told(b, d, &j->latents, &first->latents, symbol - 1, y, detail);
}

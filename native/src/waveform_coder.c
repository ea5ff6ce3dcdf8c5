/* Rounds, writes and reads the waveform layer. What is rounded here is to round as NumPy does, so products and sums must not
 * be contracted: see build.py. */
#include "waveform_coder.h"

#include <stdlib.h>
#include <string.h>

#include "quantiser.h"
#include "symbols.h"

int sc_waveform_open(WaveformCoder *c, const ScTables *t) {
  const ScWaveformTables *w = &t->waveform;
  const int status = sc_prior_open(&c->prior, t);
  if (status != SC_OK) return status;
  if (w->loudnesses < 1 || w->loudnesses > 1 << 12) return SC_UNSUPPORTED;
  if (!are_frequencies(w->frequencies, w->scales, t->symbols) || !are_frequencies(w->coded_frequencies, t->levels, 2) ||
      !are_frequencies(w->loudness_frequencies, 1, w->loudnesses))
    return SC_OUT_OF_RANGE;
  c->loudnesses = w->loudnesses;
  c->costs = copied(w->costs, (size_t)w->scales * t->symbols * sizeof *c->costs);
  c->starts = cumulative(w->frequencies, w->scales, t->symbols);
  c->coded_starts = cumulative(w->coded_frequencies, t->levels, 2);
  c->loudness_starts = cumulative(w->loudness_frequencies, 1, w->loudnesses);
  return c->costs && c->starts && c->coded_starts && c->loudness_starts ? SC_OK : SC_NO_MEMORY;
}

void sc_waveform_close(WaveformCoder *c) {
  sc_prior_close(&c->prior);
  free(c->costs), free(c->starts), free(c->coded_starts), free(c->loudness_starts);
}

void sc_waveform_prices(const ScBitstream *b, int level, int gain, int loudness, const int32_t *y, CoefficientPrices *prices) {
  sc_prior_prices(&b->waveform.prior, b->variant, level, gain - LOUDNESS_STEP * loudness, y, prices);
}

void sc_waveform_scale(const ScBitstream *b, const float *residual, const CoefficientPrices *prices, double *z) {
  const double largest = b->largest;
  for (int f = 0; f < b->waveform.prior.frames; f++, residual += b->waveform.prior.bins)
    for (int k = 0; k < prices->bins; k++, z++) {
      const double scaled = residual[k] / prices->steps[k / STEP_BAND];
      /* What is no number becomes zero: it has no nearest integer. */
      *z = scaled != scaled ? 0 : scaled > largest ? largest : scaled < -largest ? -largest : scaled;
    }
}

/* Ties to even. Below 2^51 the sum has no room for a fraction; rint is a call where a build must run on any processor. */
static inline double nearest(double z) {
  const double to_integers = 6755399441055744.0; /* 3 * 2^51 */
  return (z + to_integers) - to_integers;
}

static inline double loss(const ScBitstream *b, const double *costs, int32_t choice, double z, double bit_worth) {
  const double error = choice - z;
  return error * error + bit_worth * costs[symbol_of(b, choice)];
}

int sc_waveform_quantise(const ScBitstream *b, const double *z, const CoefficientPrices *prices, double bit_worth, int32_t *q) {
  const uint8_t *rows = prices->rows;
  int any = 0;
  for (int f = 0; f < b->waveform.prior.frames; f++, q += b->waveform.prior.bins) {
    memset(q, 0, b->waveform.prior.bins * sizeof *q);
    for (int k = 0; k < prices->bins; k++, z++, rows++) {
      const int32_t near = (int32_t)nearest(*z), towards = (int32_t)*z;
      if (!near) continue; /* all choices are zero */
      const double *costs = b->waveform.costs + (size_t)*rows * b->symbols;
      double least = loss(b, costs, near, *z, bit_worth);
      q[k] = near;
      if (towards != near) {
        const double other = loss(b, costs, towards, *z, bit_worth);
        if (other < least) least = other, q[k] = towards;
      }
      if (loss(b, costs, 0, *z, bit_worth) < least) q[k] = 0;
      any |= q[k] != 0;
    }
  }
  return any;
}

/* q [F, K] -> [F, bins]. */
static void gather(const ScBitstream *b, int bins, const int32_t *q, int32_t *gathered) {
  for (int f = 0; f < b->waveform.prior.frames; f++)
    memcpy(gathered + f * bins, q + f * b->waveform.prior.bins, bins * sizeof *q);
}

static void scatter(const ScBitstream *b, int bins, const int32_t *gathered, int32_t *q) {
  for (int f = 0; f < b->waveform.prior.frames; f++)
    memcpy(q + f * b->waveform.prior.bins, gathered + f * bins, bins * sizeof *q);
}

static double bits_alone(const ScBitstream *b, const CoefficientPrices *prices, const int32_t *gathered) {
  double bits = 0;
  for (int i = 0; i < b->waveform.prior.frames * prices->bins; i++)
    bits += b->waveform.costs[(size_t)prices->rows[i] * b->symbols + symbol_of(b, gathered[i])];
  return bits;
}

/* `of_first` [F, K] gathered in `y`: what the layer of a second channel is told by. */
static Reference reference(const ScBitstream *b, const CoefficientPrices *prices, const int32_t *of_first, int32_t *y) {
  gather(b, prices->bins, of_first, y);
  return (Reference){y, prices->rows, b->waveform.prior.frames * prices->bins};
}

int sc_waveform_quantise_second(const ScBitstream *b, const double *z, const CoefficientPrices *prices, double bit_worth,
                                const int32_t *of_first, int32_t *q) {
  const Follower *follower = &b->joint.waveform;
  int32_t y[MAX_COEFFICIENTS], alone[MAX_COEFFICIENTS], together[MAX_COEFFICIENTS];
  const Reference r = reference(b, prices, of_first, y);
  int any = sc_waveform_quantise(b, z, prices, bit_worth, q);
  gather(b, prices->bins, q, alone);
  const double bits = bits_alone(b, prices, alone) + follower->class_costs[ON_ITS_OWN];
  if (sc_follow_round(b, follower, &r, z, bit_worth, together) >= sc_waveform_error(b, z, prices, q) + bit_worth * bits) return any;
  scatter(b, prices->bins, together, q);
  any = 0;
  for (int i = 0; i < r.count; i++) any |= together[i] != 0;
  return any;
}

double sc_waveform_error(const ScBitstream *b, const double *z, const CoefficientPrices *prices, const int32_t *q) {
  double sum = 0;
  for (int f = 0; f < b->waveform.prior.frames; f++, q += b->waveform.prior.bins)
    for (int k = 0; k < prices->bins; k++, z++) {
      const double error = q[k] - *z;
      sum += error * error;
    }
  return sum;
}

int sc_waveform_put(const ScBitstream *b, RangeEncoder *e, int level, int gain, const int32_t *y, const ScWaveform *layer,
                    const int32_t *of_first, const CoefficientPrices *prices) {
  const WaveformCoder *c = &b->waveform;
  CoefficientPrices own;
  const int coded = *layer->coded != 0, loudness = *layer->loudness;
  put_symbol(e, c->coded_starts + (size_t)level * 3, coded);
  if (!coded) return SC_OK;
  if (loudness < 0 || loudness >= c->loudnesses) return SC_OUT_OF_RANGE;
  put_symbol(e, c->loudness_starts, loudness);
  if (!prices) sc_waveform_prices(b, level, gain, loudness, y, &own), prices = &own;
  if (of_first) {
    const Follower *follower = &b->joint.waveform;
    int32_t by[MAX_COEFFICIENTS], q[MAX_COEFFICIENTS];
    const Reference r = reference(b, prices, of_first, by);
    gather(b, prices->bins, layer->q, q);
    const int symbol = sc_follow_class(b, follower, &r, q, bits_alone(b, prices, q));
    const int status = sc_follow_put(b, e, follower, &r, symbol, q);
    if (status != SC_OK || symbol != ON_ITS_OWN) return status;
  }
  for (int f = 0; f < c->prior.frames; f++) {
    const uint8_t *rows = prices->rows + f * prices->bins;
    const int status = put_integers(b, e, c->starts, rows, prices->bins, layer->q + f * c->prior.bins);
    if (status != SC_OK) return status;
  }
  return SC_OK;
}

int sc_waveform_get(const ScBitstream *b, RangeDecoder *d, int level, int gain, const int32_t *y, const ScWaveform *layer,
                    const int32_t *of_first, int32_t *detail) {
  const WaveformCoder *c = &b->waveform;
  CoefficientPrices prices;
  if (!range_get(d, c->coded_starts + (size_t)level * 3, 2) || d->bad) return SC_OK;
  *layer->loudness = range_get(d, c->loudness_starts, c->loudnesses);
  if (d->bad) return SC_OK;
  *layer->coded = 1;
  sc_waveform_prices(b, level, gain, *layer->loudness, y, &prices);
  for (int i = 0; i < c->prior.bands; i++) layer->steps[i] = (float)prices.steps[i];
  if (of_first) {
    int32_t by[MAX_COEFFICIENTS], q[MAX_COEFFICIENTS] = {0};
    const Reference r = reference(b, &prices, of_first, by);
    int told;
    const int status = sc_follow_get(b, d, &b->joint.waveform, &r, &told, q, detail);
    if (status != SC_OK || d->bad) return status;
    if (told) {
      scatter(b, prices.bins, q, layer->q);
      return SC_OK;
    }
  }
  for (int f = 0; f < c->prior.frames; f++) {
    const uint8_t *rows = prices.rows + f * prices.bins;
    const int status = get_integers(b, d, c->starts, rows, prices.bins, layer->q + f * c->prior.bins, detail);
    if (status != SC_OK) return status;
  }
  return SC_OK;
}

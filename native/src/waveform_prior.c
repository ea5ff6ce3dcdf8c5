/* The waveform layer's prior, in integers: every machine computes the same. Right shifts are arithmetic in all compilers that
 * build this: they round down, as Python's do. Half of what goes into its layers is zero: latents, and activations that are rectified. */
#include "waveform_prior.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "quantiser.h"

enum { SUM_BITS = PRIOR_WEIGHT_BITS + PRIOR_ACTIVATION_BITS, SCALE_STEPS = 1 << SCALE_STEP_BITS };
enum { MOST_INPUTS = MAX_LATENT + 8, MOST_OUTPUTS = MAX_COEFFICIENTS + MAX_BANDS + PANEL };

static int padded(int count, int multiple) { return (count + multiple - 1) / multiple * multiple; }

static int within(const int32_t *values, size_t count, int32_t limit) {
  for (size_t i = 0; i < count; i++)
    if (values[i] > limit || values[i] < -limit) return 0;
  return 1;
}

/* weight [outputs, inputs], bias [outputs] -> panels. */
static int open_layer(IntegerLayer *l, const int32_t *weight, const int32_t *bias, int outputs, int inputs) {
  if (!within(weight, (size_t)outputs * inputs, LARGEST_PRIOR_WEIGHT) || !within(bias, outputs, LARGEST_PRIOR_BIAS))
    return SC_OUT_OF_RANGE;
  l->inputs = padded(inputs, 8), l->outputs = padded(outputs, PANEL);
  l->panels = calloc((size_t)l->inputs * l->outputs, 1);
  l->bias = calloc(l->outputs, sizeof *l->bias);
  if (!l->panels || !l->bias) return SC_NO_MEMORY;
  memcpy(l->bias, bias, outputs * sizeof *bias);
  for (int o = 0; o < outputs; o++) {
    int8_t *panel = l->panels + (size_t)(o / PANEL) * PANEL * l->inputs + o % PANEL * 2;
    for (int i = 0; i < inputs; i++) panel[(size_t)(i / 2) * 2 * PANEL + i % 2] = (int8_t)weight[(size_t)o * inputs + i];
  }
  return SC_OK;
}

static int32_t *copied_levels(const int32_t *values, int levels) {
  int32_t *copy = malloc(levels * sizeof *copy);
  if (copy) memcpy(copy, values, levels * sizeof *copy);
  return copy;
}

int sc_prior_open(IntegerPrior *p, const ScTables *t) {
  const ScWaveformTables *w = &t->waveform;
  if (w->frames < 1 || w->frames > MAX_COEFFICIENTS || w->bins < 1 || w->bins > MAX_COEFFICIENTS / w->frames || w->width < 1 ||
      w->width > LARGEST_PRIOR_WIDTH || w->scales < 1 || w->scales > 256)
    return SC_UNSUPPORTED;
  if (!within(w->level_base, t->levels, LARGEST_PRIOR_ACTIVATION) || !within(w->level_step, t->levels, LARGEST_LEVEL_STEP))
    return SC_OUT_OF_RANGE;
  for (int i = 0; i < t->levels; i++)
    if (w->level_bins[i] < 0 || w->level_bins[i] > w->bins) return SC_OUT_OF_RANGE;
  p->frames = w->frames, p->bins = w->bins, p->bands = (w->bins + STEP_BAND - 1) / STEP_BAND;
  p->latent = t->latent, p->scales = w->scales;
  const int outputs = p->frames * p->bins + p->bands;
  int status = open_layer(&p->first, w->first_weight, w->first_bias, w->width, t->latent + 2);
  if (status == SC_OK) status = open_layer(&p->second, w->second_weight, w->second_bias, w->width, w->width);
  if (status == SC_OK) status = open_layer(&p->last, w->last_weight, w->last_bias, outputs, w->width);
  if (status != SC_OK) return status;
  p->level_base = copied_levels(w->level_base, t->levels), p->level_step = copied_levels(w->level_step, t->levels);
  p->level_bins = copied_levels(w->level_bins, t->levels);
  if (!p->level_base || !p->level_step || !p->level_bins) return SC_NO_MEMORY;
  for (int row = LOWEST_STEP_ROW; row <= HIGHEST_STEP_ROW; row++)
    p->sizes[row - LOWEST_STEP_ROW] = ldexp(w->eighths[row & (SCALE_STEPS - 1)], row >> SCALE_STEP_BITS);
  return SC_OK;
}

void sc_prior_close(IntegerPrior *p) {
  void *parts[] = {p->first.panels, p->first.bias,  p->second.panels, p->second.bias, p->last.panels,
                   p->last.bias,    p->level_base, p->level_step,    p->level_bins};
  for (unsigned i = 0; i < sizeof parts / sizeof *parts; i++) free(parts[i]);
}

static int32_t clip(int32_t x, int32_t low, int32_t high) { return x < low ? low : x > high ? high : x; }

/* x [inputs] -> rectified [outputs], shifted from the sums' fraction to that of activations. */
static void activations(const IntegerLayer *l, const Variant *variant, const int16_t *x, int shift, int16_t *y) {
  int32_t sums[LARGEST_PRIOR_WIDTH + PANEL];
  variant->multiply_sparse_int8(l->panels, x, l->inputs, l->outputs, sums);
  for (int o = 0; o < l->outputs; o++) y[o] = (int16_t)clip((sums[o] + l->bias[o]) >> shift, 0, LARGEST_PRIOR_ACTIVATION);
}

void sc_prior_prices(const IntegerPrior *p, const Variant *variant, int level, int rise, const int32_t *y,
                     CoefficientPrices *prices) {
  int16_t inputs[MOST_INPUTS] = {0}, hidden[LARGEST_PRIOR_WIDTH + PANEL], again[LARGEST_PRIOR_WIDTH + PANEL];
  for (int d = 0; d < p->latent; d++) inputs[d] = (int16_t)clip(y[d], -LARGEST_PRIOR_WEIGHT, LARGEST_PRIOR_WEIGHT);
  inputs[p->latent] = (int16_t)rise, inputs[p->latent + 1] = (int16_t)p->level_base[level];
  /* Outputs are padded to more than the next layer's inputs are: it reads the first of them, zeros at its end. */
  activations(&p->first, variant, inputs, PRIOR_WEIGHT_BITS - PRIOR_ACTIVATION_BITS, hidden);
  activations(&p->second, variant, hidden, SUM_BITS - PRIOR_ACTIVATION_BITS, again);
  int32_t out[MOST_OUTPUTS], steps[MAX_BANDS];
  variant->multiply_sparse_int8(p->last.panels, again, p->last.inputs, p->last.outputs, out);
  enum { SHIFT = SUM_BITS - SCALE_STEP_BITS };
  for (int o = 0; o < p->last.outputs; o++) out[o] = (out[o] + p->last.bias[o] + (1 << (SHIFT - 1))) >> SHIFT;
  for (int i = 0; i < p->bands; i++) {
    const int32_t row = out[p->frames * p->bins + i] + p->level_step[level] - (13 * rise >> 3);
    steps[i] = clip(row, LOWEST_STEP_ROW, HIGHEST_STEP_ROW);
    prices->steps[i] = p->sizes[steps[i] - LOWEST_STEP_ROW];
  }
  const int bins = prices->bins = p->level_bins[level];
  for (int f = 0; f < p->frames; f++)
    for (int k = 0; k < bins; k++) {
      const int32_t row = out[f * p->bins + k] - steps[k / STEP_BAND] - FIRST_SCALE_ROW;
      prices->rows[f * bins + k] = (uint8_t)clip(row, 0, p->scales - 1);
    }
}

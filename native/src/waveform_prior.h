/* The prior of the waveform layer in integers (streamcodec/coding/waveform_prior.py): a packet's latents -> which step and
 * which row of frequencies codes each coefficient. */
#ifndef SC_WAVEFORM_PRIOR_H
#define SC_WAVEFORM_PRIOR_H

#include "streamcodec.h"

struct Variant;

/* Numbers of streamcodec/tables.py and waveform_prior.py. */
enum {
  LARGEST_PRIOR_WEIGHT = 127,
  LARGEST_PRIOR_BIAS = 1 << 28, /* so that sums of LARGEST_PRIOR_WIDTH products and a bias fit into 32 bits */
  LARGEST_PRIOR_ACTIVATION = (1 << 15) - 1,
  LARGEST_PRIOR_WIDTH = 384,
  PRIOR_WEIGHT_BITS = 8,
  PRIOR_ACTIVATION_BITS = 6,
  STEP_BAND = 4,
  LOUDNESS_STEP = 2,
  SCALE_STEP_BITS = 3, /* 8 rows an octave */
  FIRST_SCALE_ROW = -48,
  LOWEST_STEP_ROW = -128,
  HIGHEST_STEP_ROW = 128,
};
/* Of this code: what the prices of some packets need fits on the stack. */
enum { MAX_COEFFICIENTS = 512, MAX_BANDS = MAX_COEFFICIENTS / STEP_BAND, LARGEST_LEVEL_STEP = 1 << 20 };

/* W x + bias in integers. Weights lie in panels, as `Linear` in model.h has them. */
typedef struct {
  int inputs, outputs; /* padded with zeros: to a multiple of 8, and to whole panels */
  int8_t *panels;
  int32_t *bias; /* [outputs] */
} IntegerLayer;

typedef struct {
  int frames, bins, bands, latent, scales; /* F, K, ..., D, ... */
  IntegerLayer first, second, last;
  int32_t *level_base, *level_step, *level_bins;        /* [levels] */
  double sizes[HIGHEST_STEP_ROW - LOWEST_STEP_ROW + 1]; /* of steps, by their row */
} IntegerPrior;

/* Of the coefficients that a level codes: a row of frequencies for each, and sizes of steps for bands of them. */
typedef struct {
  int bins;                       /* coded ones of a frame */
  uint8_t rows[MAX_COEFFICIENTS]; /* [F, bins] */
  double steps[MAX_BANDS];        /* [bands] */
} CoefficientPrices;

/* -> a status. `prior` holds zeros before, and what is to be closed after. */
int sc_prior_open(IntegerPrior *prior, const ScTables *tables);
void sc_prior_close(IntegerPrior *prior);

/* y [D], and gain steps `rise` of the packet above the talker's loudness. */
void sc_prior_prices(const IntegerPrior *prior, const struct Variant *variant, int level, int rise, const int32_t *y,
                     CoefficientPrices *prices);

#endif

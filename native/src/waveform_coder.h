/* The waveform layer of a payload (streamcodec/coding/waveform_coder.py): which integers it says, and their code words. */
#ifndef SC_WAVEFORM_CODER_H
#define SC_WAVEFORM_CODER_H

#include "range_coder.h"
#include "waveform_prior.h"

typedef struct {
  IntegerPrior prior;
  int loudnesses;
  double *costs;             /* [scales, symbols]: bits */
  uint32_t *starts;          /* [scales, symbols + 1]: cumulative frequencies */
  uint32_t *coded_starts;    /* [levels, 2 + 1] */
  uint32_t *loudness_starts; /* [loudnesses + 1] */
} WaveformCoder;

/* -> a status. `coder` holds zeros before, and what is to be closed after. */
int sc_waveform_open(WaveformCoder *coder, const ScTables *tables);
void sc_waveform_close(WaveformCoder *coder);

/* Prices of a packet that is not silent, `gain` steps above silence. loudness: 0..loudnesses - 1. */
void sc_waveform_prices(const ScBitstream *b, int level, int gain, int loudness, const int32_t *y, CoefficientPrices *prices);

/* One packet's residual [F, K] -> z [F, bins]: in steps, within what a payload can say. */
void sc_waveform_scale(const ScBitstream *b, const float *residual, const CoefficientPrices *prices, double *z);

/* z [F, bins] -> q [F, K], by error and bits -> whether any is other than zero. */
int sc_waveform_quantise(const ScBitstream *b, const double *z, const CoefficientPrices *prices, double bit_worth, int32_t *q);

/* The same for a second channel, whose first has of_first [F, K]: told by that where it is cheaper. */
int sc_waveform_quantise_second(const ScBitstream *b, const double *z, const CoefficientPrices *prices, double bit_worth,
                                const int32_t *of_first, int32_t *q);

/* Squared error of q [F, K], in steps. */
double sc_waveform_error(const ScBitstream *b, const double *z, const CoefficientPrices *prices, const int32_t *q);

/* Writes one packet's layer, of which `layer` is; prices may be NULL. of_first [F, K]: what a second channel may be told by, or
 * NULL. -> a status. */
int sc_waveform_put(const ScBitstream *b, RangeEncoder *e, int level, int gain, const int32_t *y, const ScWaveform *layer,
                    const int32_t *of_first, const CoefficientPrices *prices);

/* Reads it into `layer`, which holds zeros. -> a status. */
int sc_waveform_get(const ScBitstream *b, RangeDecoder *d, int level, int gain, const int32_t *y, const ScWaveform *layer,
                    const int32_t *of_first, int32_t *detail);

#endif

/* Tables of the high band as they lie in packed bytes (streamcodec/coding/native_high_band.py). */
#ifndef SC_HIGH_BAND_H
#define SC_HIGH_BAND_H

#include "model.h"

enum { HIGH_FACTOR = 3, HIGH_SEGMENTS = 2, HIGH_STAGES = 2, HIGH_ENTRIES = 256, HIGH_REFINED = 128, HIGH_FFT = 1024, HIGH_CANDIDATES = 4 };
/* Bounds of shapes, so that a packet fits on the stack. */
enum { HIGH_MAX_BANDS = 16, HIGH_MAX_LAG = 2048, HIGH_MAX_TAPS = 128, HIGH_MAX_PACKET = 2048 };

/* At the head of the packed bytes, in this order; lengths in samples at the full rate. taps: of the filter between the
 * rates; phase_taps: of every HIGH_FACTOR-th of them, with zeros behind. */
typedef struct {
  int32_t packet, lag, taps, phase_taps, bands, noise;
  float decay, faintest, largest_step, fade, loud, quiet, least_weight, second_byte, unit;
} HighShape;

struct ScHighBand {
  HighShape shape;
  const Variant *variant;
  int32_t segment, slope;
  const int32_t *edges;    /* [bands + 1] */
  const float *phases;     /* [HIGH_FACTOR, phase_taps] */
  const float *window;     /* [segment + slope] */
  const float *rise;       /* [slope]: share of the power of the segment that begins */
  const float *twiddles;   /* [HIGH_FFT / 2, 2]: exp(-2 pi i k / HIGH_FFT) */
  const float *mean;       /* [bands] */
  const float *codebooks;  /* [HIGH_STAGES + 1, HIGH_SEGMENTS * bands, HIGH_ENTRIES]: the last of second channels */
  const float *second_share; /* [HIGH_ENTRIES]: of what the first channel's entries add */
  const float *noise;      /* [bands, noise + segment]: its beginning once more behind its end */
};

#endif

/* What a bitstream keeps of its tables; shared by the payloads (bitstream.c, waveform_coder.c) and the
 * choices (quantiser.c). */
#ifndef SC_QUANTISER_H
#define SC_QUANTISER_H

#include <stddef.h>
#include <stdint.h>

#include "joint.h"
#include "streamcodec.h"
#include "waveform_coder.h"

enum { MAX_LATENT = 512, ROUNDINGS = 3, MAX_VECTORS = 16, MAX_SYMBOLS = 1 << 16 };

struct Variant;

struct ScBitstream {
  int levels, classes, latent, scales, gains, symbols, gain_min, limit, escape, escape_bits;
  double bit_worth, roundings[ROUNDINGS];
  float largest; /* latent that a payload can hold */
  uint8_t *rows;                /* [levels, classes, latent] */
  uint32_t *level_starts;       /* [levels, levels + 1]: cumulative frequencies */
  uint32_t *starts;             /* [scales, symbols + 1] */
  uint32_t *class_starts;       /* [levels, classes + 2] */
  uint32_t *gain_starts;        /* [classes, gains + 1] */
  double *costs;                /* [scales, symbols] */
  double *class_costs;          /* [levels, classes] */
  double *gain_costs;           /* [classes, gains] */
  const struct Variant *variant; /* whose quantiser is used */
  double *zero_bits;            /* [levels, classes]: of a packet whose latents are all zero */
  WaveformCoder waveform;
  JointCoder joint;
};

/* Whether payloads of a level have the waveform layer. */
static inline int has_waveform(const ScBitstream *b, int level) { return b->waveform.prior.level_bins[level] > 0; }

static inline const uint8_t *rows_of(const ScBitstream *b, int level, int class_index) {
  return b->rows + ((size_t)level * b->classes + class_index) * b->latent;
}

static inline int symbol_of(const ScBitstream *b, int32_t y) { return y > b->limit || y < -b->limit ? b->escape : y + b->limit; }

/* What is no number becomes zero: it has no nearest integer. */
static inline float clipped(const ScBitstream *b, float mean) {
  if (mean != mean) return 0;
  return mean > b->largest ? b->largest : mean < -b->largest ? -b->largest : mean;
}

/* Steps above silence, which is 0; -1 for a gain that a payload cannot hold. */
static inline int gain_above_silence(const ScBitstream *b, int32_t gain_index) {
  const int64_t above = (int64_t)gain_index - b->gain_min;
  return above < 0 || above > b->gains ? -1 : (int)above;
}

#endif

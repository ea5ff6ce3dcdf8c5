/* Joint stereo (streamcodec/coding/joint_stereo.py, which says how): a second channel told by the first. */
#ifndef SC_JOINT_H
#define SC_JOINT_H

#include "range_coder.h"
#include "streamcodec.h"

enum { JOINT_MAX_ROWS = 256, ON_ITS_OWN = 0 };

typedef struct {
  int classes; /* 0: no streams of a bitstream are joint */
  int buckets, magnitudes, gains;
  uint8_t *bucket, *follows; /* [scales], [classes] */
  uint32_t *class_starts;    /* [1 + classes + 1]: cumulative frequencies */
  uint32_t *gain_starts;     /* [classes, gains + 1] */
  uint32_t *starts;          /* [classes, buckets, magnitudes, symbols + 1] */
  double *class_costs;       /* [1 + classes]: bits */
  double *gain_costs;        /* [classes, gains] */
  double *costs;             /* [classes, buckets, magnitudes, symbols] */
} JointCoder;

/* What a second channel is told by: gain in steps above silence, y [D], and the rows [D] of its class. */
typedef struct {
  int gain;
  const int32_t *y;
  const uint8_t *rows;
} FirstChannel;

/* `packed` is not kept. -> a status. `coder` holds zeros before, and what is to be closed after. */
int sc_joint_open(JointCoder *coder, const void *packed, uint64_t bytes, const ScTables *tables);
void sc_joint_close(JointCoder *coder);

/* The symbol of the class that y [D], `gain` steps above silence, takes the fewest bits in; own_bits: on its own. */
int sc_joint_class(const ScBitstream *b, const FirstChannel *first, int gain, const int32_t *y, double own_bits);

/* mean [D] -> y [D], rounded by error and bits under the class that is cheapest -> the loss. */
double sc_joint_round(const ScBitstream *b, const FirstChannel *first, int gain, const float *mean, double bit_worth, int32_t *y);

/* Writes the symbol, and the channel where that is not ON_ITS_OWN -> a status. */
int sc_joint_put(const ScBitstream *b, RangeEncoder *e, const FirstChannel *first, int symbol, int gain, const int32_t *y);

/* -> a status; gain 0 where the channel follows on its own. What cannot be is `d->bad`. */
int sc_joint_get(const ScBitstream *b, RangeDecoder *d, const FirstChannel *first, int *gain, int32_t *y, int32_t *detail);

#endif

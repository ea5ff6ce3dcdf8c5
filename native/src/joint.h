/* Joint stereo (streamcodec/coding/joint_stereo.py, which says how): a second channel told by the first. */
#ifndef SC_JOINT_H
#define SC_JOINT_H

#include "range_coder.h"
#include "streamcodec.h"

enum { ON_ITS_OWN = 0 };

/* Tables by which integers of a second channel are told by those of the first. */
typedef struct {
  int classes; /* 0: none */
  int buckets, magnitudes;
  uint8_t *bucket, *follows; /* [scales], [classes] */
  uint32_t *class_starts;    /* [1 + classes + 1]: cumulative frequencies */
  uint32_t *starts;          /* [classes, buckets, magnitudes, symbols + 1] */
  double *class_costs;       /* [1 + classes]: bits */
  double *costs;             /* [classes, buckets, magnitudes, symbols] */
} Follower;

typedef struct {
  Follower latents, waveform; /* without classes: no streams of a bitstream are joint */
  int gains;
  uint32_t *gain_starts; /* [classes of latents, gains + 1] */
  double *gain_costs;    /* [classes of latents, gains] */
  uint32_t *level_starts; /* [levels, levels + 1], in place of ScBitstream's */
} JointCoder;

/* What integers are told by: those of the first channel [count], and rows [count] of the scales that they would have
 * without it. */
typedef struct {
  const int32_t *y;
  const uint8_t *rows;
  int count;
} Reference;

/* gain in steps above silence; 0: there is nothing to tell a second channel by. */
typedef struct {
  int gain;
  Reference latents;
} FirstChannel;

/* `packed` is not kept. -> a status. `coder` holds zeros before, and what is to be closed after. */
int sc_joint_open(JointCoder *coder, const void *packed, uint64_t bytes, const ScTables *tables);
void sc_joint_close(JointCoder *coder);

/* Latents: the symbol of the class that y [D], `gain` steps above silence, takes the fewest bits in; own_bits: on its own. */
int sc_joint_class(const ScBitstream *b, const FirstChannel *first, int gain, const int32_t *y, double own_bits);
/* mean [D] -> y [D], rounded by error and bits under the class that is cheapest -> the loss. */
double sc_joint_round(const ScBitstream *b, const FirstChannel *first, int gain, const float *mean, double bit_worth, int32_t *y);
/* Writes the symbol, and the channel where that is not ON_ITS_OWN -> a status. */
int sc_joint_put(const ScBitstream *b, RangeEncoder *e, const FirstChannel *first, int symbol, int gain, const int32_t *y);
/* -> a status; gain 0 where the channel follows on its own. What cannot be is `d->bad`. */
int sc_joint_get(const ScBitstream *b, RangeDecoder *d, const FirstChannel *first, int *gain, int32_t *y, int32_t *detail);

/* The same of any integers, without a gain. exact [count] -> y. */
int sc_follow_class(const ScBitstream *b, const Follower *f, const Reference *r, const int32_t *y, double own_bits);
double sc_follow_round(const ScBitstream *b, const Follower *f, const Reference *r, const double *exact, double bit_worth,
                       int32_t *y);
int sc_follow_put(const ScBitstream *b, RangeEncoder *e, const Follower *f, const Reference *r, int symbol, const int32_t *y);
/* `*told`: whether they were told; else they follow on their own. */
int sc_follow_get(const ScBitstream *b, RangeDecoder *d, const Follower *f, const Reference *r, int *told, int32_t *y,
                  int32_t *detail);

#endif

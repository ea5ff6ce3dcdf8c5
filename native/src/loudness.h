/* How loud a talker is, slowly followed (streamcodec/coding/loudness.py): what the waveform layer is coded against. */
#ifndef SC_LOUDNESS_H
#define SC_LOUDNESS_H

#include <math.h>

#include "model.h"
#include "waveform_prior.h"

/* As it is after a packet of this gain index. `loudnesses`: how many a packet can name. */
static inline void follow_loudness(ScTalker *talker, int gain_index, int loudnesses) {
  const double PEAK = 7, RISE = .25, FALL = .015, FIRST_FALL = .4, BEGINNING_PACKETS = 100, PAUSE = 24, HOLD = .75;
  const double beginning = fmax(0, 1 - talker->heard / BEGINNING_PACKETS);
  if (gain_index > talker->peak) talker->peak += RISE * (gain_index - talker->peak);
  else if (gain_index > talker->peak - PAUSE || (beginning > 0 && gain_index > GAIN_LOW))
    talker->peak -= fmax(FALL, FIRST_FALL * beginning);
  else return;
  talker->heard++;
  const double wanted = (talker->peak - PEAK - GAIN_LOW) / LOUDNESS_STEP;
  if (fabs(wanted - talker->named) > HOLD) talker->named = (int32_t)fmin(loudnesses - 1, fmax(0, rint(wanted)));
}

#endif

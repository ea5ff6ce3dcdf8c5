/* The high band: streamcodec/coding/high_band.py and band_levels.py, one packet of one channel. */
#include "high_band.h"
#include "simd.h"

/* What a splitter remembers: `lag` samples, then the offset, the mean of the levels told for the packet before. What a
 * joiner does: the core's last samples that the filter reaches back to, the offset, powers of the segment before, and the
 * position in the noise. */

/* x: samples with taps - 1 before them -> out [count] += their convolution with `filter`; count a multiple of 8. */
static void add_filtered(const float *filter, int taps, const float *x, int count, float *out) {
  for (int i = 0; i < count; i += 8) {
    v8 sum = LOAD(out + i);
    for (int k = 0; k < taps; k++) sum += splat(filter[k]) * LOAD(x + i + taps - 1 - k);
    STORE(out + i, sum);
  }
}

/* heard: a packet with the `lag` samples before it -> core [packet / HIGH_FACTOR]: the filter, at the last of every
 * HIGH_FACTOR samples. */
static void lower_rate(const ScHighBand *h, const float *heard, float *core) {
  const HighShape *s = &h->shape;
  const int count = s->packet / HIGH_FACTOR, taps = s->phase_taps, reach = count + taps - 1;
  float every[HIGH_MAX_TAPS + HIGH_MAX_PACKET / HIGH_FACTOR];
  memset(core, 0, count * sizeof *core);
  for (int r = 0; r < HIGH_FACTOR; r++) {
    /* Taps r, r + HIGH_FACTOR, ... see the samples that lie r before the last of each. Those that only zeros see may be
     * older than what was kept. */
    const int first = s->lag + HIGH_FACTOR - 1 - r - HIGH_FACTOR * (taps - 1);
    for (int i = 0; i < reach; i++) {
      const int at = first + HIGH_FACTOR * i;
      every[i] = at < 0 ? 0 : heard[at];
    }
    add_filtered(h->phases + r * taps, taps, every, count, core);
  }
}

/* x: the core's packet with phase_taps - 1 samples before it -> pcm [packet]. */
static void raise_rate(const ScHighBand *h, const float *x, float *pcm) {
  const int count = h->shape.packet / HIGH_FACTOR, taps = h->shape.phase_taps;
  float between[HIGH_MAX_PACKET / HIGH_FACTOR];
  for (int r = 0; r < HIGH_FACTOR; r++) {
    memset(between, 0, count * sizeof *between);
    add_filtered(h->phases + r * taps, taps, x, count, between);
    for (int i = 0; i < count; i++) pcm[HIGH_FACTOR * i + r] = HIGH_FACTOR * between[i];
  }
}

/* heard: a packet with the `lag` samples before it -> levels [HIGH_SEGMENTS, bands], dB above usual. */
static void band_levels(const ScHighBand *h, const float *heard, float *levels) {
  const HighShape *s = &h->shape;
  const int size = h->segment + h->slope;
  float frame[HIGH_FFT], re[HIGH_FFT / 2 + 16], im[HIGH_FFT / 2 + 16];
  for (int part = 0; part < HIGH_SEGMENTS; part++) {
    for (int i = 0; i < size; i++) frame[i] = heard[part * h->segment + i] * h->window[i];
    memset(frame + size, 0, (HIGH_FFT - size) * sizeof *frame);
    real_fft(frame, HIGH_FFT, h->twiddles, re, im);
    for (int b = 0; b < s->bands; b++) {
      float sum = 0;
      for (int k = h->edges[b]; k < h->edges[b + 1]; k++) sum += re[k] * re[k] + im[k] * im[k];
      levels[part * s->bands + b] = 10 * log10f(sum / s->unit + s->faintest) - h->mean[b];
    }
  }
}

/* Where entries lie [n, HIGH_ENTRIES], and what they add besides: a share of what the first channel's add, [HIGH_ENTRIES] of
 * `of_first` [n]; NULL where none. */
typedef struct {
  const float *entries, *share, *of_first;
} Codebook;

static Codebook codebook(const ScHighBand *h, int stage, const float *of_first) {
  const float *entries = h->codebooks + stage * HIGH_ENTRIES * HIGH_SEGMENTS * h->shape.bands;
  return (Codebook){entries, of_first ? h->second_share : NULL, of_first};
}

static float added(const Codebook *c, int i, int entry) {
  const float own = c->entries[i * HIGH_ENTRIES + entry];
  return c->share ? c->share[entry] * c->of_first[i] + own : own;
}

/* Weighted squared distances of all entries of a codebook, each less what is the same for all. */
static void entry_errors(const Codebook *c, const float *wanted, const float *weights, int n, float *errors) {
  for (int e = 0; e < HIGH_ENTRIES; e += 8) {
    v8 sum = splat(0);
    for (int i = 0; i < n; i++) {
      v8 entry = LOAD(c->entries + i * HIGH_ENTRIES + e);
      if (c->share) entry += LOAD(c->share + e) * splat(c->of_first[i]);
      sum += splat(weights[i]) * entry * (entry - splat(2 * wanted[i]));
    }
    STORE(errors + e, sum);
  }
}

/* Of the entries from `begin` on that have the least errors that which, with one of the second stage, is nearest to what is
 * wanted [n] -> both entries, and the error that is left: INFINITY where a sound is not finite. */
static float choose_refined(const ScHighBand *h, const Codebook *c, const float *errors, int begin, const float *wanted,
                            const float *weights, uint8_t *chosen) {
  const int n = HIGH_SEGMENTS * h->shape.bands;
  const Codebook second = codebook(h, 1, NULL);
  float left[HIGH_ENTRIES], nearest[HIGH_CANDIDATES], rest[HIGH_SEGMENTS * HIGH_MAX_BANDS], least = INFINITY;
  int near[HIGH_CANDIDATES], count = 0;
  for (int e = begin; e < HIGH_ENTRIES; e++) {
    if (count == HIGH_CANDIDATES && !(errors[e] < nearest[count - 1])) continue;
    int at = count < HIGH_CANDIDATES ? count++ : count - 1;
    for (; at > 0 && errors[e] < nearest[at - 1]; at--) nearest[at] = nearest[at - 1], near[at] = near[at - 1];
    nearest[at] = errors[e], near[at] = e;
  }
  for (int k = 0; k < count; k++) {
    float fixed = 0;
    for (int i = 0; i < n; i++) {
      rest[i] = wanted[i] - added(c, i, near[k]);
      fixed += weights[i] * rest[i] * rest[i];
    }
    entry_errors(&second, rest, weights, n, left);
    for (int e = 0; e < HIGH_ENTRIES; e++)
      if (fixed + left[e] < least) least = fixed + left[e], chosen[0] = (uint8_t)near[k], chosen[1] = (uint8_t)e;
  }
  return least;
}

/* Two entries -> what they add to the levels that are expected, [n]. */
static void added_levels(const ScHighBand *h, const uint8_t *told, float *levels) {
  const Codebook first = codebook(h, 0, NULL), second = codebook(h, 1, NULL);
  for (int i = 0; i < HIGH_SEGMENTS * h->shape.bands; i++) levels[i] = added(&first, i, told[0]) + added(&second, i, told[1]);
}

/* The same of a second channel, whose first is told by `first`: the last byte says whether another one refines it. */
static void added_to_second(const ScHighBand *h, const uint8_t *told, int size, const uint8_t *first, float *levels) {
  float of_first[HIGH_SEGMENTS * HIGH_MAX_BANDS];
  added_levels(h, first, of_first);
  const Codebook c = codebook(h, HIGH_STAGES, of_first), second = codebook(h, 1, NULL);
  for (int i = 0; i < HIGH_SEGMENTS * h->shape.bands; i++)
    levels[i] = added(&c, i, told[size - 1]) + (size > 1 ? added(&second, i, told[0]) : 0);
}

/* What is to be added to the levels that are expected [n] -> the bytes that say it best, and how many. */
static int choose_entries(const ScHighBand *h, const float *wanted, const float *weights, const uint8_t *first, uint8_t *told) {
  const int n = HIGH_SEGMENTS * h->shape.bands;
  float errors[HIGH_ENTRIES], of_first[HIGH_SEGMENTS * HIGH_MAX_BANDS], whole = 0;
  uint8_t refined[HIGH_STAGES] = {0};
  if (!first) {
    const Codebook c = codebook(h, 0, NULL);
    entry_errors(&c, wanted, weights, n, errors);
    choose_refined(h, &c, errors, 0, wanted, weights, refined);
    told[0] = refined[0], told[1] = refined[1];
    return 2;
  }
  added_levels(h, first, of_first);
  const Codebook c = codebook(h, HIGH_STAGES, of_first);
  entry_errors(&c, wanted, weights, n, errors);
  int alone = 0;
  for (int e = 1; e < HIGH_REFINED; e++)
    if (errors[e] < errors[alone]) alone = e;
  for (int i = 0; i < n; i++) whole += weights[i] * wanted[i] * wanted[i];
  const float left = choose_refined(h, &c, errors, HIGH_REFINED, wanted, weights, refined);
  if (left + h->shape.second_byte < whole + errors[alone]) {
    told[0] = refined[1], told[1] = refined[0];
    return 2;
  }
  told[0] = (uint8_t)alone;
  return 1;
}

/* What is told -> levels [HIGH_SEGMENTS, bands] above usual; `offset` [bands] becomes their mean. first: what is told of the
 * first channel, NULL where this is not the second one of joint stereo. */
static void told_levels(const ScHighBand *h, const uint8_t *told, int size, const uint8_t *first, float *offset, float *levels) {
  const int bands = h->shape.bands, n = HIGH_SEGMENTS * bands;
  if (first) added_to_second(h, told, size, first, levels);
  else added_levels(h, told, levels);
  for (int b = 0; b < bands; b++) {
    float sum = 0;
    for (int i = b; i < n; i += bands) sum += levels[i] += h->shape.decay * offset[b];
    offset[b] = sum / HIGH_SEGMENTS;
  }
}

static int split_bands(const ScHighBand *h, float *state, const float *pcm, const uint8_t *first, float *core, uint8_t *told) {
  const HighShape *s = &h->shape;
  const int n = HIGH_SEGMENTS * s->bands;
  float heard[HIGH_MAX_LAG + HIGH_MAX_PACKET], levels[HIGH_SEGMENTS * HIGH_MAX_BANDS];
  float wanted[HIGH_SEGMENTS * HIGH_MAX_BANDS], weights[HIGH_SEGMENTS * HIGH_MAX_BANDS], *offset = state + s->lag;
  memcpy(heard, state, s->lag * sizeof *heard);
  memcpy(heard + s->lag, pcm, s->packet * sizeof *heard);
  memcpy(state, heard + s->packet, s->lag * sizeof *state);
  lower_rate(h, heard, core);
  if (!told) return 0;
  band_levels(h, heard, levels);
  for (int i = 0; i < n; i++) {
    const float level = levels[i] + h->mean[i % s->bands];
    wanted[i] = clamp(levels[i] - s->decay * offset[i % s->bands], -s->largest_step, s->largest_step);
    weights[i] = clamp((level - s->quiet) / (s->loud - s->quiet), s->least_weight, 1);
  }
  const int size = choose_entries(h, wanted, weights, first, told);
  told_levels(h, told, size, first, offset, levels);
  return size;
}

/* out [segment] += noise of each band, whose powers go from `from` to `to` [bands]. */
static void add_noise(const ScHighBand *h, const float *from, const float *to, int position, float *out) {
  for (int b = 0; b < h->shape.bands; b++) {
    const float *noise = h->noise + (size_t)b * (h->shape.noise + h->segment) + position;
    const float level = sqrtf(to[b]);
    for (int i = 0; i < h->slope; i++) out[i] += sqrtf(from[b] + (to[b] - from[b]) * h->rise[i]) * noise[i];
    for (int i = h->slope; i < h->segment; i++) out[i] += level * noise[i];
  }
}

static void join_bands(const ScHighBand *h, float *state, const float *core, const uint8_t *told, int size,
                       const uint8_t *first, int lost, float *pcm) {
  const HighShape *s = &h->shape;
  const int count = s->packet / HIGH_FACTOR, reach = s->phase_taps - 1;
  float past[HIGH_MAX_TAPS + HIGH_MAX_PACKET / HIGH_FACTOR], powers[HIGH_SEGMENTS * HIGH_MAX_BANDS];
  float *offset = state + reach, *power = offset + s->bands, *place = power + s->bands;
  memcpy(past, state, reach * sizeof *past);
  memcpy(past + reach, core, count * sizeof *past);
  memcpy(state, past + count, reach * sizeof *state);
  raise_rate(h, past, pcm);
  if (told) told_levels(h, told, size, first, offset, powers);
  for (int part = 0; part < HIGH_SEGMENTS; part++)
    for (int b = 0; b < s->bands; b++) {
      float *to = powers + part * s->bands + b;
      const float faded = s->fade * (float)(part + 1) / HIGH_SEGMENTS;
      *to = told ? powf(10, (h->mean[b] + *to) / 10) : lost ? power[b] * powf(10, -faded / 10) : 0;
    }
  for (int b = 0; b < s->bands && lost && !told; b++) offset[b] -= s->fade;
  int position = (int)*place;
  for (int part = 0; part < HIGH_SEGMENTS; part++) {
    add_noise(h, part ? powers + (part - 1) * s->bands : power, powers + part * s->bands, position, pcm + part * h->segment);
    position = (position + h->segment) % s->noise;
  }
  memcpy(power, powers + (HIGH_SEGMENTS - 1) * s->bands, s->bands * sizeof *power);
  *place = (float)position;
}

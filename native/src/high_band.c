/* The high band: streamcodec/coding/high_band.py and band_levels.py, one packet of one channel. */
#include "high_band.h"
#include "simd.h"

/* What a splitter remembers: `lag` samples, then the offset. What a joiner does: phase_taps samples of the core, the offset,
 * powers of the segment before, and the position in the noise. */

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

/* Weighted squared distance of an entry, less what is the same for all. */
static float entry_error(const float *entry, const float *wanted, const float *weights, int n) {
  v8 sum = splat(0);
  for (int i = 0; i < n; i += 8) sum += LOAD(weights + i) * LOAD(entry + i) * (LOAD(entry + i) - 2 * LOAD(wanted + i));
  return sum8(sum);
}

/* What is to be added to the levels that are expected [n] -> the two entries that say it best. */
static void choose_entries(const ScHighBand *h, const float *wanted, const float *weights, uint8_t *told) {
  const int n = HIGH_SEGMENTS * h->shape.bands;
  const float *first = h->codebooks, *second = first + HIGH_ENTRIES * n;
  float errors[HIGH_CANDIDATES], rest[HIGH_SEGMENTS * HIGH_MAX_BANDS], least = 0;
  int near[HIGH_CANDIDATES], count = 0;
  for (int e = 0; e < HIGH_ENTRIES; e++) {
    const float error = entry_error(first + e * n, wanted, weights, n);
    if (count == HIGH_CANDIDATES && !(error < errors[count - 1])) continue;
    int at = count < HIGH_CANDIDATES ? count++ : count - 1;
    for (; at > 0 && error < errors[at - 1]; at--) errors[at] = errors[at - 1], near[at] = near[at - 1];
    errors[at] = error, near[at] = e;
  }
  for (int c = 0; c < count; c++) {
    float fixed = 0;
    for (int i = 0; i < n; i++) {
      rest[i] = wanted[i] - first[near[c] * n + i];
      fixed += weights[i] * rest[i] * rest[i];
    }
    for (int e = 0; e < HIGH_ENTRIES; e++) {
      const float error = fixed + entry_error(second + e * n, rest, weights, n);
      if ((c == 0 && e == 0) || error < least) least = error, told[0] = (uint8_t)near[c], told[1] = (uint8_t)e;
    }
  }
}

/* Two entries -> levels [HIGH_SEGMENTS, bands] above usual; `offset` [bands] becomes their mean. */
static void told_levels(const ScHighBand *h, const uint8_t *told, float *offset, float *levels) {
  const int bands = h->shape.bands, n = HIGH_SEGMENTS * bands;
  const float *first = h->codebooks + told[0] * n, *second = h->codebooks + (HIGH_ENTRIES + told[1]) * n;
  for (int b = 0; b < bands; b++) {
    float sum = 0;
    for (int i = b; i < n; i += bands) sum += levels[i] = h->shape.decay * offset[b] + first[i] + second[i];
    offset[b] = sum / HIGH_SEGMENTS;
  }
}

static void split_bands(const ScHighBand *h, const float *before, float *after, const float *pcm, float *core, uint8_t *told) {
  const HighShape *s = &h->shape;
  const int n = HIGH_SEGMENTS * s->bands;
  float heard[HIGH_MAX_LAG + HIGH_MAX_PACKET], levels[HIGH_SEGMENTS * HIGH_MAX_BANDS];
  float wanted[HIGH_SEGMENTS * HIGH_MAX_BANDS], weights[HIGH_SEGMENTS * HIGH_MAX_BANDS];
  memcpy(heard, before, s->lag * sizeof *heard);
  memcpy(heard + s->lag, pcm, s->packet * sizeof *heard);
  memmove(after + s->lag, before + s->lag, s->bands * sizeof *after);
  memcpy(after, heard + s->packet, s->lag * sizeof *after);
  for (int i = 0; i < s->packet / HIGH_FACTOR; i++)
    core[i] = dot(h->low_pass, heard + s->lag + HIGH_FACTOR * (i + 1) - s->taps, s->taps);
  float *offset = after + s->lag;
  band_levels(h, heard, levels);
  for (int i = 0; i < n; i++) {
    const float level = levels[i] + h->mean[i % s->bands];
    wanted[i] = clamp(levels[i] - s->decay * offset[i % s->bands], -s->largest_step, s->largest_step);
    weights[i] = clamp((level - s->quiet) / (s->loud - s->quiet), s->least_weight, 1);
  }
  choose_entries(h, wanted, weights, told);
  told_levels(h, told, offset, levels);
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

static void join_bands(const ScHighBand *h, const float *before, float *after, const float *core, const uint8_t *told, int lost,
                 float *pcm) {
  const HighShape *s = &h->shape;
  const int count = s->packet / HIGH_FACTOR, reach = s->phase_taps;
  float past[HIGH_MAX_TAPS + HIGH_MAX_PACKET], powers[HIGH_SEGMENTS * HIGH_MAX_BANDS];
  memmove(after, before, (reach + 2 * s->bands + 1) * sizeof *after);
  float *offset = after + reach, *power = offset + s->bands, *place = power + s->bands;
  memcpy(past, before, reach * sizeof *past);
  memcpy(past + reach, core, count * sizeof *past);
  memcpy(after, past + count, reach * sizeof *after);
  for (int i = 0; i < count; i++)
    for (int r = 0; r < HIGH_FACTOR; r++)
      pcm[HIGH_FACTOR * i + r] = dot(h->phases + r * reach, past + i + 1, reach);
  if (told) told_levels(h, told, offset, powers);
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

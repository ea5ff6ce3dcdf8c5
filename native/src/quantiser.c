/* Which integers a payload says, and under which class: by error and bits (streamcodec/coding/bitstream.py). Compiled once
 * for each instruction set, as it is a third of what an encoder costs. */
#include <math.h>
#include <string.h>

#include "quantiser.h"

/* Bits around the latents of a packet: its class and its gain (steps above silence, at least 1). */
static double bits_around(const ScBitstream *b, int level, int class_index, int gain) {
  return b->class_costs[(size_t)level * b->classes + class_index] + b->gain_costs[(size_t)class_index * b->gains + gain - 1];
}

/* A latent that may become other than zero: the nearest integer, the one towards zero, and what each changes of the
 * squared error against zero. */
typedef struct {
  int at, nearest_symbol, truncated_symbol;
  int32_t nearest, truncated;
  double nearest_error, truncated_error;
} Choices;

/* Four prices of a bit at once: those of ROUNDINGS, and one more. */
typedef double Worths __attribute__((vector_size(32)));

typedef int64_t Masks __attribute__((vector_size(32)));

static inline Worths least(Worths a, Worths b) {
  const Masks smaller = a < b;
  return (Worths)((smaller & (Masks)a) | (~smaller & (Masks)b));
}

/* mean [D] -> the choices for all latents that are not below 1/2: those are zero in all classes. */
static int list_choices(const ScBitstream *b, const float *mean, Choices *choices) {
  int count = 0;
  for (int d = 0; d < b->latent; d++) {
    const float m = clipped(b, mean[d]), nearest = rintf(m);
    if (nearest == 0) continue;
    Choices *c = &choices[count++];
    c->at = d, c->nearest = (int32_t)nearest, c->truncated = (int32_t)m;
    c->nearest_symbol = symbol_of(b, c->nearest), c->truncated_symbol = symbol_of(b, c->truncated);
    const double exact = m, near = c->nearest - exact, towards = c->truncated - exact;
    c->nearest_error = near * near - exact * exact, c->truncated_error = towards * towards - exact * exact;
  }
  return count;
}

/* The class under which the best choices cost least, for each price of a bit. */
static void best_classes(const ScBitstream *b, int level, int gain, const Choices *choices, int count, Worths worth, int *best) {
  Worths lowest = {INFINITY, INFINITY, INFINITY, INFINITY};
  for (int c = 0; c < b->classes; c++) {
    const uint8_t *rows = rows_of(b, level, c);
    Worths loss = worth * (b->zero_bits[(size_t)level * b->classes + c] + bits_around(b, level, c, gain));
    for (int i = 0; i < count; i++) {
      const Choices *o = &choices[i];
      const double *costs = b->costs + (size_t)rows[o->at] * b->symbols, zero = costs[b->limit];
      Worths change = o->nearest_error + worth * (costs[o->nearest_symbol] - zero);
      if (o->truncated != o->nearest) change = least(change, o->truncated_error + worth * (costs[o->truncated_symbol] - zero));
      loss += least(change, (Worths){0, 0, 0, 0});
    }
    for (int k = 0; k < 4; k++)
      if (loss[k] < lowest[k]) lowest[k] = loss[k], best[k] = c;
  }
}

/* choices -> y [D]: under one class, each latent as is cheapest; nearer integers first where two cost the same. */
static void choose_integers(const ScBitstream *b, int level, int class_index, const Choices *choices, int count, double worth, int32_t *y) {
  const uint8_t *rows = rows_of(b, level, class_index);
  memset(y, 0, b->latent * sizeof *y);
  for (int i = 0; i < count; i++) {
    const Choices *o = &choices[i];
    const double *costs = b->costs + (size_t)rows[o->at] * b->symbols, zero = costs[b->limit];
    const double nearest = o->nearest_error + worth * (costs[o->nearest_symbol] - zero);
    const double truncated = o->truncated_error + worth * (costs[o->truncated_symbol] - zero);
    y[o->at] = nearest <= truncated && nearest <= 0 ? o->nearest : truncated <= 0 ? o->truncated : 0;
  }
}

/* means [vectors, D] -> y [tries, vectors, D], rounded by error and bits at each of bit_worths [4]. */
static int quantise(const ScBitstream *b, int vectors, int level, const int32_t *gain_index, const float *means,
                    const double *bit_worths, int tries, int32_t *y) {
  const Worths worth = {bit_worths[0], bit_worths[1], bit_worths[2], bit_worths[3]};
  if (level < 0 || level >= b->levels) return SC_OUT_OF_RANGE;
  for (int v = 0; v < vectors; v++) {
    Choices choices[MAX_LATENT];
    int best[4] = {0, 0, 0, 0};
    const int gain = gain_above_silence(b, gain_index[v]);
    if (gain < 0) return SC_OUT_OF_RANGE;
    const int count = gain ? list_choices(b, means + (size_t)v * b->latent, choices) : 0;
    if (gain) best_classes(b, level, gain, choices, count, worth, best);
    for (int t = 0; t < tries; t++) choose_integers(b, level, best[t], choices, count, worth[t], y + ((size_t)t * vectors + v) * b->latent);
  }
  return SC_OK;
}

/* The class that codes a packet in the fewest bits. */
static int class_of(const ScBitstream *b, int level, int gain, const int32_t *y) {
  int at[MAX_LATENT], count = 0, best = 0;
  double least = INFINITY;
  for (int d = 0; d < b->latent; d++)
    if (y[d]) at[count++] = d;
  for (int c = 0; c < b->classes; c++) {
    const uint8_t *rows = rows_of(b, level, c);
    double bits = b->zero_bits[(size_t)level * b->classes + c] + bits_around(b, level, c, gain);
    for (int i = 0; i < count; i++) {
      const double *costs = b->costs + (size_t)rows[at[i]] * b->symbols;
      bits += costs[symbol_of(b, y[at[i]])] - costs[b->limit];
    }
    if (bits < least) least = bits, best = c;
  }
  return best;
}


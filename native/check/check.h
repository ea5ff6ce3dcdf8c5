/* What the parts of fuzz.c share: files, memory of exact size, random numbers, failing. */
#ifndef SC_CHECK_H
#define SC_CHECK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../src/streamcodec.h"

/* Ends the program, saying where and why. */
#define FAIL(...)                                   \
  do {                                              \
    fprintf(stderr, "%s:%d: ", __FILE__, __LINE__); \
    fprintf(stderr, __VA_ARGS__);                   \
    fputc('\n', stderr);                            \
    exit(1);                                        \
  } while (0)
#define EXPECT(condition, ...)            \
  do {                                    \
    if (!(condition)) FAIL(__VA_ARGS__);  \
  } while (0)

/* Exactly `bytes`, 64-byte aligned: the address sanitizer sees what is read or written beyond. */
static inline void *exactly(uint64_t bytes) {
  void *memory = NULL;
  EXPECT(!posix_memalign(&memory, 64, bytes ? bytes : 1), "no memory for %llu bytes",
         (unsigned long long)bytes);
  return memory;
}

static inline void *read_file(const char *path, uint64_t *bytes) {
  FILE *file = fopen(path, "rb");
  EXPECT(file && !fseek(file, 0, SEEK_END), "cannot read %s", path);
  *bytes = (uint64_t)ftell(file);
  rewind(file);
  void *data = exactly(*bytes);
  EXPECT(fread(data, 1, *bytes, file) == *bytes, "cannot read %s", path);
  fclose(file);
  return data;
}

/* splitmix64 (Steele, Lea and Flood 2014). */
static inline uint64_t random_bits(uint64_t *state) {
  uint64_t z = *state += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/* low..high */
static inline int random_in(uint64_t *state, int low, int high) {
  const uint64_t count = (uint64_t)((int64_t)high - low) + 1;
  return (int)(low + (int64_t)(random_bits(state) % count));
}

static inline int one_in(uint64_t *state, int n) { return random_in(state, 1, n) == 1; }

/* One model's streams: states, and the arrays of one step, each of exactly the size it needs. */
typedef struct {
  const ScModel *model;
  int streams, packet, latent, bins, coefficients, bands; /* of the waveform layer: K, F * K, (K + 3) / 4 */
  void *encoder, *decoder, *workspace;
  float *pcm, *means, *heard;            /* [S, T], [S, D], [S, T] */
  int32_t *y, *gains, *levels;           /* [S, D], [S], [S] */
  uint8_t *lost;                         /* [S] */
  float *sound, *steps;                  /* [S, F, K] coefficients, then residuals; [S, bands] */
  int32_t *q, *coded;                    /* [S, F, K], [S] bins: 0 at first, so that there is no layer */
} Streams;

static Streams open_streams(const ScModel *model, int streams);
static void close_streams(Streams *s);
static void encode_streams(Streams *s);
static void decode_streams(Streams *s);
/* As an encoder follows its decoder: residuals take the place of coefficients. */
static void follow_streams(Streams *s);
/* A layer that a payload can hold, for stream `b`: of any width, with integers of up to `largest`; now and then none. */
static void extreme_said(Streams *s, int b, int largest, uint64_t *random);

/* Tables as tests/fuzz_inputs.py writes them. They point into `data`. */
static ScTables read_tables(const char *path, void **data);

#endif

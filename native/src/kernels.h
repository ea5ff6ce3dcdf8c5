/* Products of int8 weights and int16 activations, a panel's outputs at a time, for each instruction set.
 *
 * The same four functions for all: `Sums` holds int32 sums of SUMS outputs, `Weights` two inputs' weights of as many
 * outputs, `Pair` two inputs. All are exact in integers: |w| <= 127 and |x| <= 8191, inputs <= 2048,
 * or |x| <= 32767, inputs <= 384.
 */
#ifndef SC_KERNELS_H
#define SC_KERNELS_H

#include "simd.h"

#if defined(SC_SCALAR)

enum { SUMS = 1 };
typedef int32_t Sums;
typedef struct { int32_t first, second; } Weights, Pair;
INLINE Sums no_sums(void) { return 0; }
INLINE Weights load_weights(const int8_t *w) { return (Weights){w[0], w[1]}; }
INLINE Pair load_pair(const int16_t *x) { return (Pair){x[0], x[1]}; }
INLINE Sums add_products(Sums s, Weights w, Pair x) { return s + w.first * x.first + w.second * x.second; }
INLINE Sums add_sums(Sums a, Sums b) { return a + b; }
INLINE void store_sums(int32_t *out, Sums s) { *out = s; }

#elif defined(__AVX512VNNI__) && defined(__AVX512BW__)

#include <immintrin.h>
enum { SUMS = 16 };
typedef __m512i Sums, Weights, Pair;
INLINE Sums no_sums(void) { return _mm512_setzero_si512(); }
INLINE Weights load_weights(const int8_t *w) { return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)w)); }
INLINE Pair load_pair(const int16_t *x) {
  int32_t pair;
  memcpy(&pair, x, 4);
  return _mm512_set1_epi32(pair);
}
INLINE Sums add_products(Sums s, Weights w, Pair x) { return _mm512_dpwssd_epi32(s, w, x); }
INLINE Sums add_sums(Sums a, Sums b) { return _mm512_add_epi32(a, b); }
INLINE void store_sums(int32_t *out, Sums s) { _mm512_storeu_si512(out, s); }

#elif defined(__AVX2__)

#include <immintrin.h>
enum { SUMS = 8 };
typedef __m256i Sums, Weights, Pair;
INLINE Sums no_sums(void) { return _mm256_setzero_si256(); }
INLINE Weights load_weights(const int8_t *w) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)w)); }
INLINE Pair load_pair(const int16_t *x) {
  int32_t pair;
  memcpy(&pair, x, 4);
  return _mm256_set1_epi32(pair);
}
INLINE Sums add_products(Sums s, Weights w, Pair x) { return _mm256_add_epi32(s, _mm256_madd_epi16(w, x)); }
INLINE Sums add_sums(Sums a, Sums b) { return _mm256_add_epi32(a, b); }
INLINE void store_sums(int32_t *out, Sums s) { _mm256_storeu_si256((__m256i *)out, s); }

#elif defined(__SSE4_1__)

#include <smmintrin.h>
enum { SUMS = 4 };
typedef __m128i Sums, Weights, Pair;
INLINE Sums no_sums(void) { return _mm_setzero_si128(); }
INLINE Weights load_weights(const int8_t *w) { return _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)w)); }
INLINE Pair load_pair(const int16_t *x) {
  int32_t pair;
  memcpy(&pair, x, 4);
  return _mm_set1_epi32(pair);
}
INLINE Sums add_products(Sums s, Weights w, Pair x) { return _mm_add_epi32(s, _mm_madd_epi16(w, x)); }
INLINE Sums add_sums(Sums a, Sums b) { return _mm_add_epi32(a, b); }
INLINE void store_sums(int32_t *out, Sums s) { _mm_storeu_si128((__m128i *)out, s); }

#elif defined(__wasm_simd128__)

#include <wasm_simd128.h>
enum { SUMS = 4 };
typedef v128_t Sums, Weights, Pair;
INLINE Sums no_sums(void) { return wasm_i32x4_splat(0); }
INLINE Weights load_weights(const int8_t *w) { return wasm_i16x8_load8x8(w); }
INLINE Pair load_pair(const int16_t *x) {
  int32_t pair;
  memcpy(&pair, x, 4);
  return wasm_i32x4_splat(pair);
}
INLINE Sums add_products(Sums s, Weights w, Pair x) { return wasm_i32x4_add(s, wasm_i32x4_dot_i16x8(w, x)); }
INLINE Sums add_sums(Sums a, Sums b) { return wasm_i32x4_add(a, b); }
INLINE void store_sums(int32_t *out, Sums s) { wasm_v128_store(out, s); }

#elif defined(__ARM_NEON)

#include <arm_neon.h>
enum { SUMS = 8 };
typedef struct { int32x4_t low, high; } Sums;
typedef struct { int16x8_t first, second; } Weights;
typedef struct { int16_t first, second; } Pair;
INLINE Sums no_sums(void) { return (Sums){vdupq_n_s32(0), vdupq_n_s32(0)}; }
INLINE Weights load_weights(const int8_t *w) {
  int8x8x2_t pairs = vld2_s8(w); /* first inputs apart from second ones */
  return (Weights){vmovl_s8(pairs.val[0]), vmovl_s8(pairs.val[1])};
}
INLINE Pair load_pair(const int16_t *x) { return (Pair){x[0], x[1]}; }
INLINE Sums add_products(Sums s, Weights w, Pair x) {
  s.low = vmlal_n_s16(vmlal_n_s16(s.low, vget_low_s16(w.first), x.first), vget_low_s16(w.second), x.second);
  s.high = vmlal_n_s16(vmlal_n_s16(s.high, vget_high_s16(w.first), x.first), vget_high_s16(w.second), x.second);
  return s;
}
INLINE Sums add_sums(Sums a, Sums b) { return (Sums){vaddq_s32(a.low, b.low), vaddq_s32(a.high, b.high)}; }
INLINE void store_sums(int32_t *out, Sums s) {
  vst1q_s32(out, s.low);
  vst1q_s32(out + 4, s.high);
}

#else
#error "no kernel for this instruction set: build it with SC_SCALAR"
#endif

/* Float weights, WIDE at a time: as many as a register holds, and at least eight. LOADS_F16: whether the processor
 * converts f16 weights. */
#if !defined(SC_SCALAR) && defined(__AVX512F__)
enum { WIDE = 16 };
typedef float Wide __attribute__((vector_size(64), aligned(4), may_alias));
#define LOADS_F16 1
INLINE Wide load_wide_f16(const uint16_t *p) { return (Wide)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p)); }
#else
enum { WIDE = 8 };
typedef v8 Wide;
#if defined(SC_SCALAR)
#define LOADS_F16 0
#elif defined(__F16C__)
#define LOADS_F16 1
INLINE Wide load_wide_f16(const uint16_t *p) { return (Wide)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p)); }
#elif defined(__ARM_NEON) && defined(__aarch64__)
#define LOADS_F16 1
INLINE Wide load_wide_f16(const uint16_t *p) {
  float16x8_t h = vreinterpretq_f16_u16(vld1q_u16(p));
  float out[8];
  vst1q_f32(out, vcvt_f32_f16(vget_low_f16(h)));
  vst1q_f32(out + 4, vcvt_high_f32_f16(h));
  return LOAD(out);
}
#else
#define LOADS_F16 0
#endif
#endif
INLINE Wide load_wide(const float *p) { return *(const Wide *)p; }

#endif

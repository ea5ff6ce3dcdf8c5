/* Eight floats at once, in the vector extensions of GCC and Clang, and the functions of them that a step needs.
 *
 * Each instruction set compiles these files anew (see variant.c), so that the compiler splits or fuses the
 * vectors as suits it. Loads and stores need no alignment.
 */
#ifndef SC_SIMD_H
#define SC_SIMD_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Loops whose bounds are constants once they are inlined, and whose arrays are meant for registers. */
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float v8 __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t i8x __attribute__((vector_size(32), aligned(4), may_alias));

#define LOAD(p) (*(const v8 *)(p))
#define STORE(p, v) (*(v8 *)(p) = (v))

INLINE v8 splat(float x) { return (v8){x, x, x, x, x, x, x, x}; }
INLINE v8 choose(i8x where, v8 a, v8 b) { return (v8)((where & (i8x)a) | (~where & (i8x)b)); }
INLINE v8 min8(v8 a, v8 b) { return choose(a < b, a, b); }
INLINE v8 max8(v8 a, v8 b) { return choose(a > b, a, b); }
INLINE v8 abs8(v8 a) { return (v8)((i8x)a & 0x7fffffff); }
INLINE float sum8(v8 a) { return ((a[0] + a[4]) + (a[1] + a[5])) + ((a[2] + a[6]) + (a[3] + a[7])); }
INLINE float max_of8(v8 a) {
  float m = a[0];
  for (int i = 1; i < 8; i++) m = a[i] > m ? a[i] : m;
  return m;
}

/* Nearest integer, ties to even, of |x| < 2^22. */
INLINE v8 round8(v8 x) {
  const v8 shift = splat(12582912.f);
  return (x + shift) - shift;
}

/* exp, log and sine by the polynomials of Cephes (Moshier 1989): errors of 2 units in the last place. */
INLINE v8 exp8(v8 x) {
  x = max8(min8(x, splat(88.f)), splat(-87.f));
  v8 n = round8(x * splat(1.44269504089f));
  v8 f = x - n * splat(0.693359375f) + n * splat(2.12194440e-4f);
  v8 p = splat(1.9875691500e-4f);
  p = p * f + splat(1.3981999507e-3f);
  p = p * f + splat(8.3334519073e-3f);
  p = p * f + splat(4.1665795894e-2f);
  p = p * f + splat(1.6666665459e-1f);
  p = p * f + splat(5.0000001201e-1f);
  p = p * (f * f) + f + splat(1.f);
  return p * (v8)((__builtin_convertvector(n, i8x) + 127) << 23);
}

/* x positive and normal. */
INLINE v8 log8(v8 x) {
  i8x bits = (i8x)x, exponent = (bits >> 23) - 126;
  v8 m = (v8)((bits & 0x007fffff) | 0x3f000000);
  i8x low = m < splat(0.707106781186547524f);
  exponent = exponent + low;
  m = m + choose(low, m, splat(0)) - splat(1.f);
  v8 z = m * m, p = splat(7.0376836292e-2f);
  p = p * m + splat(-1.1514610310e-1f);
  p = p * m + splat(1.1676998740e-1f);
  p = p * m + splat(-1.2420140846e-1f);
  p = p * m + splat(1.4249322787e-1f);
  p = p * m + splat(-1.6668057665e-1f);
  p = p * m + splat(2.0000714765e-1f);
  p = p * m + splat(-2.4999993993e-1f);
  p = p * m + splat(3.3333331174e-1f);
  v8 e = __builtin_convertvector(exponent, v8);
  v8 y = p * m * z + e * splat(-2.12194440e-4f) - z * splat(0.5f);
  return m + y + e * splat(0.693359375f);
}

INLINE void sine_cosine8(v8 x, v8 *sine, v8 *cosine) {
  v8 n = round8(x * splat(0.63661977236758f)); /* quarter turns */
  v8 r = x - n * splat(1.5707855224609375f);
  r = r - n * splat(1.0804273188e-5f);
  r = r - n * splat(6.0770999344e-11f);
  v8 z = r * r;
  v8 s = ((splat(-1.9515295891e-4f) * z + splat(8.3321608736e-3f)) * z + splat(-1.6666654611e-1f)) * z * r + r;
  v8 c = ((splat(2.443315711809948e-5f) * z + splat(-1.388731625493765e-3f)) * z + splat(4.166664568298827e-2f)) * z * z -
         z * splat(.5f) + splat(1.f);
  i8x quarter = __builtin_convertvector(n, i8x);
  i8x odd = (quarter & 1) != 0;
  *sine = (v8)((i8x)choose(odd, c, s) ^ ((quarter & 2) << 30));
  *cosine = (v8)((i8x)choose(odd, s, c) ^ (((quarter + 1) & 2) << 30));
}

/* x * Phi(x); erf by Abramowitz & Stegun 7.1.26, error 1.5e-7. */
INLINE v8 gelu8(v8 x) {
  v8 a = abs8(x * splat(0.70710678118f));
  v8 t = splat(1.f) / (a * splat(0.3275911f) + splat(1.f));
  v8 p = splat(1.061405429f);
  p = p * t + splat(-1.453152027f);
  p = p * t + splat(1.421413741f);
  p = p * t + splat(-0.284496736f);
  p = p * t + splat(0.254829592f);
  v8 tail = p * t * exp8(-a * a); /* 1 - erf(|a|) */
  v8 half = splat(.5f) * x, size = abs8(half);
  return half + size - size * tail;
}

/* The same within 4.2e-5 in a third of the time: Phi(x) - 1/2 = x P(x^2), fitted for the least largest error below 4.3
 * (scipy's erf, Lawson's weights), and x or 0 beyond. For layers whose weights are int8, which err by far more. */
INLINE v8 quick_gelu8(v8 x) {
  v8 u = x * x;
  v8 p = splat(4.197406057e-11f);
  p = p * u + splat(-4.248966766e-09f);
  p = p * u + splat(1.902229898e-07f);
  p = p * u + splat(-5.006151652e-06f);
  p = p * u + splat(8.711748644e-05f);
  p = p * u + splat(-1.071385304e-03f);
  p = p * u + splat(9.695144941e-03f);
  p = p * u + splat(-6.615558904e-02f);
  p = p * u + splat(3.988020762e-01f);
  return choose(u < splat(4.3f * 4.3f), x * (x * p + splat(.5f)), max8(x, splat(0)));
}

INLINE float sigmoid(float x) { return 1 / (1 + expf(-x)); }
INLINE float clamp(float x, float low, float high) {
  /* Written so that a NaN becomes `low`: what indexes memory must stay inside whatever a stream says. */
  return x > low ? (x < high ? x : high) : low;
}
INLINE v8 rsqrt8(v8 x) {
  v8 y;
  for (int i = 0; i < 8; i++) y[i] = 1 / sqrtf(x[i]);
  return y;
}
INLINE float dot(const float *a, const float *b, int n) { /* n a multiple of 8 */
  v8 sum = splat(0);
  for (int i = 0; i < n; i += 8) sum += LOAD(a + i) * LOAD(b + i);
  return sum8(sum);
}

#endif

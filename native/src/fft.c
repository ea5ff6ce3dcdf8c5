/* Real FFT of a power of two: a complex one of half the length (Stockham, radix 2 and 4), then its parts put together. */
#include "simd.h"

enum { LONGEST_FFT = 2048 };

/* re and im [n], n a power of two; `twiddles` are those of 2 n points. The result is in re and im. */
static void complex_fft(float *re, float *im, int n, const float *twiddles) {
  float other_re[LONGEST_FFT / 2], other_im[LONGEST_FFT / 2];
  float *a = re, *b = im, *c = other_re, *d = other_im;
  int left = n, stride = 1;
  for (; left >= 4; left /= 4, stride *= 4) {
    const int quarter = left / 4;
    for (int p = 0; p < quarter; p++) {
      const float *w = twiddles + 4 * (size_t)p * stride; /* 2 n points, 2 floats each */
      float w1r = w[0], w1i = w[1], w2r = w1r * w1r - w1i * w1i, w2i = 2 * w1r * w1i;
      float w3r = w1r * w2r - w1i * w2i, w3i = w1r * w2i + w1i * w2r;
      for (int q = 0; q < stride; q++) {
        int i0 = q + stride * p, i1 = i0 + stride * quarter, i2 = i1 + stride * quarter, i3 = i2 + stride * quarter;
        int o = q + 4 * stride * p;
        float ar = a[i0] + a[i2], ai = b[i0] + b[i2], br = a[i0] - a[i2], bi = b[i0] - b[i2];
        float cr = a[i1] + a[i3], ci = b[i1] + b[i3], dr = b[i1] - b[i3], di = a[i3] - a[i1];
        float er = br + dr, ei = bi + di, fr = ar - cr, fi = ai - ci, gr = br - dr, gi = bi - di;
        c[o] = ar + cr;
        d[o] = ai + ci;
        c[o + stride] = er * w1r - ei * w1i;
        d[o + stride] = er * w1i + ei * w1r;
        c[o + 2 * stride] = fr * w2r - fi * w2i;
        d[o + 2 * stride] = fr * w2i + fi * w2r;
        c[o + 3 * stride] = gr * w3r - gi * w3i;
        d[o + 3 * stride] = gr * w3i + gi * w3r;
      }
    }
    float *swap = a;
    a = c, c = swap, swap = b, b = d, d = swap;
  }
  if (left == 2) {
    for (int q = 0; q < stride; q++) {
      float ar = a[q], ai = b[q], br = a[q + stride], bi = b[q + stride];
      c[q] = ar + br, d[q] = ai + bi, c[q + stride] = ar - br, d[q + stride] = ai - bi;
    }
    a = c, b = d;
  }
  if (a != re) {
    memcpy(re, a, n * sizeof *re);
    memcpy(im, b, n * sizeof *im);
  }
}

/* x [n], n = 2^k <= LONGEST_FFT -> re and im [n / 2 + 1]. `twiddles` [n / 2, 2]: exp(-2 pi i k / n). */
static void real_fft(const float *x, int n, const float *twiddles, float *re, float *im) {
  const int half = n / 2;
  float a[LONGEST_FFT / 2], b[LONGEST_FFT / 2];
  for (int i = 0; i < half; i++) a[i] = x[2 * i], b[i] = x[2 * i + 1];
  complex_fft(a, b, half, twiddles);
  re[0] = a[0] + b[0], im[0] = 0, re[half] = a[0] - b[0], im[half] = 0;
  for (int k = 1; k < half; k++) {
    int j = half - k;
    float even_re = .5f * (a[k] + a[j]), even_im = .5f * (b[k] - b[j]);
    float odd_re = .5f * (b[k] + b[j]), odd_im = -.5f * (a[k] - a[j]);
    float wr = twiddles[2 * k], wi = twiddles[2 * k + 1];
    re[k] = even_re + odd_re * wr - odd_im * wi;
    im[k] = even_im + odd_re * wi + odd_im * wr;
  }
}

/* The choice of instruction set at run time. */
#include "variants.h"

#include <stdlib.h>
#include <string.h>

#if defined(SC_HAS_VNNI) || defined(SC_HAS_AVX2) || defined(SC_HAS_SSE4)
#include <cpuid.h>

/* XCR0: which registers the operating system keeps when it switches threads. */
static uint64_t kept_registers(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

static int has_bits(uint32_t value, uint32_t wanted) { return (value & wanted) == wanted; }

static int runs_sse4(void) {
  uint32_t a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && has_bits(c, bit_SSE4_1);
}

static int runs_avx2(void) {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !has_bits(c, bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C)) return 0;
  if (!has_bits((uint32_t)kept_registers(), 0x6)) return 0; /* SSE and AVX */
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && has_bits(b, bit_AVX2);
}

static int runs_vnni(void) {
  uint32_t a, b, c, d;
  if (!runs_avx2() || !has_bits((uint32_t)kept_registers(), 0xe6)) return 0; /* and AVX-512 */
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && has_bits(b, bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ) && has_bits(c, 1u << 11);
}
#endif

static int runs_always(void) { return 1; }

extern const Variant sc_variant_vnni, sc_variant_avx2, sc_variant_sse4, sc_variant_neon, sc_variant_simd128, sc_variant_scalar;

static const struct {
  const Variant *variant;
  int (*runs)(void);
} KNOWN[] = { /* best first */
#ifdef SC_HAS_VNNI
    {&sc_variant_vnni, runs_vnni},
#endif
#ifdef SC_HAS_AVX2
    {&sc_variant_avx2, runs_avx2},
#endif
#ifdef SC_HAS_SSE4
    {&sc_variant_sse4, runs_sse4},
#endif
#ifdef SC_HAS_NEON
    {&sc_variant_neon, runs_always},
#endif
#ifdef SC_HAS_SIMD128
    {&sc_variant_simd128, runs_always},
#endif
#ifdef SC_HAS_SCALAR
    {&sc_variant_scalar, runs_always},
#endif
};

enum { COUNT = sizeof KNOWN / sizeof *KNOWN };

const char *sc_variant(int index) {
  for (int i = 0; i < COUNT; i++)
    if (KNOWN[i].runs() && index-- == 0) return KNOWN[i].variant->name;
  return NULL;
}

const Variant *sc_find_variant(const char *name) {
  for (int i = 0; i < COUNT; i++)
    if (KNOWN[i].runs() && (!name || !strcmp(name, KNOWN[i].variant->name))) return KNOWN[i].variant;
  return NULL;
}

int sc_multiply_int8(const char *variant, const int8_t *w, const int16_t *x, int rows, int inputs, int outputs, int32_t *y) {
  const Variant *v = sc_find_variant(variant);
  if (!v) return SC_NO_VARIANT;
  if (inputs % 8 || outputs % PANEL) return SC_OUT_OF_RANGE;
  int8_t *panels = malloc((size_t)inputs * outputs);
  if (!panels) return SC_NO_MEMORY;
  for (int o = 0; o < outputs; o++)
    for (int i = 0; i < inputs; i++)
      panels[(size_t)(o / PANEL) * PANEL * inputs + (size_t)(i / 2) * 2 * PANEL + o % PANEL * 2 + i % 2] = w[(size_t)o * inputs + i];
  v->multiply_int8(panels, x, rows, inputs, outputs, y);
  free(panels);
  return SC_OK;
}

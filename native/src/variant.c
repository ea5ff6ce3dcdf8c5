/* All of a step, compiled once for each instruction set with -DSC_VARIANT=name: see build.py. */
#include "model.h"
#include "simd.h"

#include "linear.c"
#include "block.c"
#include "fft.c"
#include "waveform.c"
#include "encoder.c"
#include "synthesis.c"
#include "comb.c"
#include "decoder.c"
#include "quantiser.c"
#include "high_band.c"

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
#define JOINED(a, b) a##b
#define NAMED(name) JOINED(sc_variant_, name)

const Variant NAMED(SC_VARIANT) = {TEXT(SC_VARIANT), LOADS_F16, encode, residual, decode, quantise, class_of, multiply_int8, multiply_sparse_int8, split_bands, join_bands};

/* Networks as they lie in packed weights, and how states and workspaces are laid out. Shared by all variants. */
#ifndef SC_MODEL_H
#define SC_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "streamcodec.h"

enum { MAX_BLOCKS = 16, PANEL = 32, COMB_TAPS = 5, FRACTION_TAPS = 5, CONTROLS = 3 + COMB_TAPS };
enum { GAIN_LOW = -52, GAIN_HIGH = 11, GAIN_STEPS = 4 }; /* streamcodec.tables: GAIN_MIN, GAIN_COUNT, per octave */
/* Bounds of shapes, so that what one stream needs for a moment fits on the stack. In samples. */
enum { REACH_OF_COMB = 8, MAX_PACKET = 2048, MAX_WINDOW = 2048, MAX_COMB = 8192, MAX_DIM = 2048, MAX_FEATURES = 4096 };

typedef enum { WEIGHTS_F32 = 0, WEIGHTS_F16 = 1, WEIGHTS_INT8 = 2 } WeightType;

/* What decides every size; in this order at the head of packed weights. Lengths in samples. */
typedef struct {
  int32_t sample_rate, hop, overlap, frames_per_packet, window, encoder_dim, decoder_dim, latent, kernel, expansion;
  int32_t encoder_frame_blocks, encoder_packet_blocks, decoder_packet_blocks, decoder_frame_blocks;
  int32_t levels, base_levels, waveform_bins, refine_dim, noise_frames, envelope_block; /* base_levels: those without the waveform layer */
  int32_t decimation, comb_block, comb_window, comb_fine_window, shortest, longest, low_pass;
} Shape;

/* y = W x + bias. Weights lie in panels of 32 outputs: [outputs / 32, inputs, 32], int8 in pairs of inputs:
 * [outputs / 32, inputs / 2, 32, 2]. Outputs are padded with zeros to whole panels, `inputs` to an even number. */
typedef struct {
  int32_t inputs, outputs; /* padded */
  WeightType type;
  const float *bias;  /* [outputs] */
  const float *scale; /* [outputs], of int8 weights */
  const void *weights;
} Linear;

/* ConvNeXt block, causal. */
typedef struct {
  int32_t dim;
  const float *taps;  /* [kernel, dim] */
  const float *norm;  /* [2, dim]: weight, bias */
  const float *scale; /* [dim], of what the block adds */
  Linear up, down;
} Block;

typedef struct Variant Variant;

struct ScModel {
  Shape shape;
  const Variant *variant;
  ScModel *layered; /* the network of levels with the waveform layer; NULL: this one is theirs, too */
  int32_t packet, frame, bins, history, comb_history, low_history;
  Linear encoder_in, encoder_down, to_latent, skip_in, from_latent, decoder_up, head, skip_out, inverse_dft;
  Block encoder_frames[MAX_BLOCKS], encoder_packets[MAX_BLOCKS], decoder_packets[MAX_BLOCKS], decoder_frames[MAX_BLOCKS];
  const float *encoder_condition, *decoder_condition; /* [4 + 1, dim], [5 + 1, dim]: a row an input, then the bias */
  const float *told_of_level;                         /* [levels, 2]: quality of the base, how much the waveform layer says */
  const float *encoder_norm, *decoder_norm;           /* [2, dim]: weight, bias */
  const float *window;                                /* [window] */
  const float *twiddles;                              /* [window / 2, 2]: exp(-2 pi i k / window) */
  const float *packet_slopes;                         /* [packet + overlap] */
  const float *precision, *inverse_precision;         /* [levels, latent] */
  const float *noise;                                 /* [noise_frames, 2 * bins]: real parts, then imaginary ones */
  const float *depth;                                 /* [dim + 8]: weight, then the bias */
  const float *control;                               /* [CONTROLS, dim + 8]: weight, then the bias */
  const float *low_pass;                              /* [low_pass], padded with zeros to a multiple of 8 */
  const float *waves;                                 /* [waveform_bins, frame]: the MDCT's basis, with its slopes */
  const float *prediction;                            /* [frames_per_packet, waveform_bins] */
  const float *ceiling;                               /* [levels, waveform_bins], in quantiser steps */
  Linear refinement[3];                               /* of this frame and the one before -> octaves [waveform_bins] */
  /* Where each part of a state begins, in floats. */
  int32_t encoder_blocks_at, decoder_tails_at, decoder_blocks_at, comb_at, waveform_at;
  int32_t encoder_state, decoder_state; /* floats */
  void *widened;                        /* f16 weights as f32, where the variant cannot load f16 */
};

/* What encoder and decoder remember between packets lies in floats: first these, then blocks and histories. */
typedef struct {
  float gain_index; /* of the packet before */
} EncoderHead;

typedef struct {
  float gain_index; /* of the packet before, held and fading where it was missing */
  float swell;      /* of the noise envelope's last block */
  float period, share, taps[COMB_TAPS]; /* of the comb's last block */
  float levels[3];                      /* mean amplitudes of the noise envelope's last blocks */
  int32_t noise_position;               /* row of the noise table */
  int32_t coded_bins;                   /* of the waveform layer, in the packet before; 0: it had none */
} DecoderHead;

enum { ENCODER_HEAD = 8, DECODER_HEAD = 16, ENVELOPE_SMOOTHING = 4 };

/* Memory for one step. All of it is the caller's. */
typedef struct {
  int16_t *activations; /* [rows, widest inputs], quantised */
  float *row_scale;     /* [rows] */
  float *gains;         /* [streams], of the packet before */
  float *a, *b, *c, *d, *e, *f;
} Workspace;

/* One instruction set's functions. */
struct Variant {
  const char *name;
  int loads_f16;
  void (*encode)(const ScModel *, int, float *, const float *, const int32_t *, float *, int32_t *, float *, void *);
  void (*residual)(const ScModel *, int, float *, const int32_t *, const int32_t *, const int32_t *, const float *,
                   float *, void *);
  void (*decode)(const ScModel *, int, float *, const int32_t *, const int32_t *, const int32_t *, const uint8_t *,
                 const int32_t *, const float *, const int32_t *, float *, void *);
  int (*quantise)(const ScBitstream *, int, int, const int32_t *, const float *, const double *, int, int32_t *);
  int (*class_of)(const ScBitstream *, int, int, const int32_t *);
  void (*multiply_int8)(const int8_t *panels, const int16_t *x, int rows, int inputs, int outputs, int32_t *y);
  void (*multiply_sparse_int8)(const int8_t *panels, const int16_t *x, int inputs, int outputs, int32_t *y); /* one row */
  int (*split_bands)(const ScHighBand *, float *, const float *, const uint8_t *, float *, uint8_t *);
  void (*join_bands)(const ScHighBand *, float *, const float *, const uint8_t *, int, const uint8_t *, int, float *);
};

Workspace sc_workspace(const ScModel *m, int streams, void *memory);

#endif

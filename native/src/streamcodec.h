/* streamcodec's codec in C: one step of the network, the quantiser and the range coder.
 *
 * No globals, and no allocation in a step: models and bitstreams are immutable once they are open, states and
 * workspaces are plain memory of the caller's. Any number of streams may run on any threads over one model,
 * each thread with a workspace of its own. A state is copied by memcpy: that is a snapshot.
 *
 * Shapes: S streams, T samples of one packet, D latents, F frames of a packet, K coefficients of a frame in the waveform
 * layer.
 */
#ifndef STREAMCODEC_H
#define STREAMCODEC_H

#include <stdint.h>

#if defined(_WIN32)
#define SC_API __declspec(dllexport)
#elif defined(__wasm__)
#define SC_API __attribute__((visibility("default"), used))
#else
#define SC_API __attribute__((visibility("default")))
#endif

enum {
  SC_OK = 0,
  SC_BAD_FORMAT = -1,      /* packed weights that are damaged, or of another version */
  SC_UNSUPPORTED = -2,     /* a shape that this code cannot run: use another engine */
  SC_NO_MEMORY = -3,
  SC_NO_VARIANT = -4,      /* instructions that this processor, or this build, does not have */
  SC_OUT_OF_RANGE = -5,    /* a level, a gain or a latent that a payload cannot hold */
  SC_NO_SYMBOL = -6,       /* payload: no symbol at byte `detail` */
  SC_LONG_ESCAPE = -7,     /* payload: an escaped latent of `detail` bits */
  SC_TRAILING_BYTES = -8,  /* payload: goes on after its last symbol, at byte `detail` */
  SC_NO_ROOM = -9          /* payload: longer than the buffer for it */
};

typedef struct ScModel ScModel;
typedef struct ScBitstream ScBitstream;
typedef struct ScHighBand ScHighBand;

/* --- the network --- */

/* Names of the instruction sets that this build has and this processor runs, best first; NULL beyond the last. */
SC_API const char *sc_variant(int index);

/* `packed`: what streamcodec_models.pack writes; it must stay where it is, 64-byte aligned, while the model is
 * open. `variant`: a name from sc_variant, or NULL for the best. */
SC_API int sc_model_open(const void *packed, uint64_t bytes, const char *variant, ScModel **model);
SC_API void sc_model_close(ScModel *model);
/* Bytes of packed weights that begin with this header of 192 bytes; 0 where none can be opened. */
SC_API uint64_t sc_packed_bytes(const void *header);
SC_API int sc_model_packet(const ScModel *model);  /* samples, T */
SC_API int sc_model_latent(const ScModel *model);  /* D */
SC_API int sc_model_levels(const ScModel *model);
SC_API int sc_model_base_levels(const ScModel *model);   /* of these, the first, which are without the waveform layer */
SC_API int sc_model_waveform_bins(const ScModel *model); /* K */
SC_API int sc_model_coefficients(const ScModel *model);  /* F * K */
SC_API uint64_t sc_encoder_state_bytes(const ScModel *model);
SC_API uint64_t sc_decoder_state_bytes(const ScModel *model);
SC_API uint64_t sc_workspace_bytes(const ScModel *model, int streams); /* alignment: 64 */
SC_API void sc_encoder_state_init(const ScModel *model, void *state);
SC_API void sc_decoder_state_init(const ScModel *model, void *state);

/* States of all streams lie one behind the other. pcm [S, T] in -1..1, levels [S] -> means [S, D] of the posterior in
 * quantiser steps, gain_index [S], and coefficients [S, F, K] of the sound, at unit gain, of streams at levels with the
 * waveform layer. The others' are not written; NULL where none are wanted. */
SC_API void sc_encode(const ScModel *model, int streams, void *states, const float *pcm, const int32_t *levels, float *means,
                      int32_t *gain_index, float *coefficients, void *workspace);

/* What the waveform layer is to say: y [S, D], gain_index and levels [S], coefficients [S, F, K] of the sound -> residual
 * [S, F, K], these less what a decoder in such a state predicts, and that decoder's states behind the packet. Only the
 * states where `coefficients` is NULL. `residual` may be `coefficients`. */
SC_API void sc_residual(const ScModel *model, int streams, void *states, const int32_t *y, const int32_t *gain_index,
                        const int32_t *levels, const float *coefficients, float *residual, void *workspace);

/* y [S, D], gain_index, levels and lost [S] -> pcm [S, T]. Where lost, nothing else is read.
 * The waveform layer: q [S, F, K] integers, steps [S, (K + 3) / 4] of each four coefficients, and of each frame the first
 * bins [S] are coded. Where bins is 0 a packet has no layer, and q and steps are not read. All three are NULL where no
 * stream's packet has it. */
SC_API void sc_decode(const ScModel *model, int streams, void *states, const int32_t *y, const int32_t *gain_index,
                      const int32_t *levels, const uint8_t *lost, const int32_t *q, const float *steps, const int32_t *bins,
                      float *pcm, void *workspace);

/* For tests: w [outputs, inputs] int8 times x [rows, inputs] int16 -> y [rows, outputs], in one variant's kernel. */
SC_API int sc_multiply_int8(const char *variant, const int8_t *w, const int16_t *x, int rows, int inputs, int outputs,
                            int32_t *y);

/* --- the bitstream (docs/bitstream.md) --- */

/* What prices the waveform layer: frames F of a packet, bins K, bands of 4 bins, and a prior of width H whose weights are
 * integers within +-127 (WaveformTables of streamcodec/tables.py). */
typedef struct {
  int32_t frames, bins, width, scales, loudnesses; /* F, K, H, rows of `frequencies`, ... */
  const int32_t *first_weight, *first_bias;        /* [H, D + 2], [H] */
  const int32_t *second_weight, *second_bias;      /* [H, H], [H] */
  const int32_t *last_weight, *last_bias;          /* [F * K + bands, H], [F * K + bands] */
  const int32_t *level_base, *level_step;          /* [levels] */
  const int32_t *level_bins;                       /* [levels]: coded bins; 0 where a level has no layer */
  const int32_t *frequencies;                      /* [scales, symbols] */
  const int32_t *coded_frequencies;                /* [levels, 2] of layers that are empty, and that are not */
  const int32_t *loudness_frequencies;             /* [loudnesses] */
  const double *costs;                             /* [scales, symbols]: bits of `frequencies` */
  const double *eighths;                           /* [8]: 2^(i / 8) */
} ScWaveformTables;

typedef struct {
  int32_t levels, classes, latent, scales, gains, symbols;
  int32_t gain_min, symbol_limit, escape_bits;
  double bit_worth;                 /* squared quantiser steps that a bit is worth */
  double roundings[3];              /* shares of bit_worth that are tried */
  const int32_t *rows;              /* [levels, classes, latent] row of `frequencies` for each latent */
  const int32_t *level_frequencies; /* [levels, levels] */
  const int32_t *frequencies;       /* [scales, symbols]; the last symbol is the escape */
  const int32_t *class_frequencies; /* [levels, classes + 1]; the last class is silence */
  const int32_t *gain_frequencies;  /* [classes, gains] of the gains above gain_min */
  const double *costs, *class_costs, *gain_costs; /* bits of each of these (class_costs without silence) */
  ScWaveformTables waveform;
} ScTables;

/* The waveform layer of one payload; of a packet in which it is empty all are zeros. Of each frame only the bins that the
 * level codes can be other than zero. */
typedef struct {
  uint8_t *coded;    /* [vectors]: 1 where it is not empty */
  int32_t *loudness; /* [vectors]: of the talker, in steps of 2 gain steps above gain_min */
  int32_t *q;        /* [vectors, F, K] */
  float *steps;      /* [vectors, bands]: of the quantiser, at unit gain; what is written needs none */
} ScWaveform;

/* Copies the tables. `variant`: a name from sc_variant, or NULL for the best; all say the same. */
SC_API int sc_bitstream_open(const ScTables *tables, const char *variant, ScBitstream **bitstream);
SC_API void sc_bitstream_close(ScBitstream *bitstream);

/* For hosts without Python, the same from one piece of memory, 8-byte aligned, that streamcodec.coding.packed_tables has
 * written: `tables` point into it. SC_BAD_FORMAT where it is not as long as it says. */
SC_API int sc_tables_read(const void *packed, uint64_t bytes, ScTables *tables);
SC_API int sc_bitstream_open_packed(const void *packed, uint64_t bytes, const char *variant, ScBitstream **bitstream);

/* For streams of two channels whose second is told by the first (joint stereo), and no others: vectors are channels within
 * packets. `joint`: what streamcodec.coding.packed_tables has written of that, 8-byte aligned. */
SC_API int sc_bitstream_open_joint(const void *packed, uint64_t bytes, const void *joint, uint64_t joint_bytes,
                                   const char *variant, ScBitstream **bitstream);

/* Whether payloads of a level have the waveform layer; 0 for a level that is none. */
SC_API int sc_bitstream_has_waveform(const ScBitstream *b, int level);

/* means [vectors, D], gain_index [vectors] -> the payload's length or an error; y [vectors, D] is what it says. For levels
 * without the waveform layer. */
SC_API int sc_bitstream_encode(const ScBitstream *b, int vectors, int base_level, int level, const int32_t *gain_index,
                               const float *means, int32_t *y, uint8_t *payload, int capacity);

/* y [vectors, D] and, at unit gain, residual [vectors, F, K], loudness [channels] (vectors: channels within packets) -> the
 * payload's length or an error; `layer` is what it says beside y. For levels with the waveform layer. */
SC_API int sc_bitstream_encode_waveform(const ScBitstream *b, int vectors, int channels, int base_level, int level,
                                        const int32_t *gain_index, const int32_t *y, const float *residual,
                                        const int32_t *loudness, const ScWaveform *layer, uint8_t *payload, int capacity);

/* means [vectors, D] -> y [vectors, D], rounded by error and bits. */
SC_API int sc_bitstream_quantise(const ScBitstream *b, int vectors, int level, const int32_t *gain_index,
                                 const float *means, double bit_worth, int32_t *y);

/* y [vectors, D] -> the payload's length or an error. `layer` may be NULL where the level has none. */
SC_API int sc_bitstream_serialize(const ScBitstream *b, int vectors, int base_level, int level,
                                  const int32_t *gain_index, const int32_t *y, const ScWaveform *layer, uint8_t *payload,
                                  int capacity);

/* payload -> level, gain_index [vectors], y [vectors, D] and `layer`, all of it zeros where the level has none; where it is
 * NULL the layer is read and forgotten. `detail` says more of an error. */
SC_API int sc_bitstream_parse(const ScBitstream *b, const uint8_t *payload, int size, int vectors, int base_level,
                              int32_t *level, int32_t *gain_index, int32_t *y, const ScWaveform *layer, int32_t *detail);

/* --- both: a payload of one stream of 1 or 2 channels (C), P packets long, by a network and a bitstream that go together.
 * States [C]: `after` may be `before`. --- */

/* pcm [C, P * T] in -1..1 -> the payload's length or an error. */
SC_API int sc_payload_encode(const ScModel *model, const ScBitstream *b, int packets, int channels, int base_level,
                             int level, const void *before, void *after, const float *pcm, uint8_t *payload, int capacity,
                             void *workspace);

/* How loud a talker is (streamcodec/coding/loudness.py, which says how one begins). */
typedef struct {
  double peak; /* gain steps */
  int32_t heard, named;
} ScTalker;

/* As sc_payload_encode, at any level, for a stream whose packets may have the waveform layer: beside it the states of a
 * decoder that has had its payloads, and talkers [C], which are followed in place, whatever is returned. */
SC_API int sc_payload_encode_followed(const ScModel *model, const ScBitstream *b, int packets, int channels, int base_level,
                                      int level, const void *encoder_before, void *encoder_after,
                                      const void *decoder_before, void *decoder_after, ScTalker *talkers, const float *pcm,
                                      uint8_t *payload, int capacity, void *workspace);

/* payload -> level and pcm [C, P * T], cut to -1..1; after an error (`detail` says more of it) the state is not written.
 * Where `payload` is NULL it was lost, and is concealed at `level`. */
SC_API int sc_payload_decode(const ScModel *model, const ScBitstream *b, const uint8_t *payload, int size, int packets,
                             int channels, int base_level, int32_t *level, const void *before, void *after, float *pcm,
                             int32_t *detail, void *workspace);

/* --- the high band: what a full-band stream has above the core's band, at three times its rate --- */

/* `packed`: what streamcodec.coding.native_high_band writes; it must stay where it is, 4-byte aligned, while this is open.
 * SC_BAD_FORMAT where it is not as long as it says. */
SC_API int sc_high_band_open(const void *packed, uint64_t bytes, const char *variant, ScHighBand **band);
SC_API void sc_high_band_close(ScHighBand *band);
/* Of a state of one channel, of either way; zeros are one that has heard nothing. */
SC_API uint64_t sc_high_band_state_bytes(const ScHighBand *h);

/* pcm [3 T] -> core [T], told [2]: what describes the rest; NULL where nothing is to. first [2]: what describes the first
 * channel in joint stereo, of which this is the second; NULL for all other channels. -> how many bytes were told: 2, or 1
 * where that is enough for a second channel. */
SC_API int sc_high_band_split(const ScHighBand *h, void *state, const float *pcm, const uint8_t *first, float *core,
                              uint8_t *told);

/* core [T] as decoded -> pcm [3 T]. told [size] came with it, 2 bytes, or 1 or 2 of a second channel; where it is NULL the
 * high band goes on, fading, if the packet was lost, and else falls silent. first: as above. */
SC_API void sc_high_band_join(const ScHighBand *h, void *state, const float *core, const uint8_t *told, int size,
                              const uint8_t *first, int lost, float *pcm);

/* --- a relay's listeners --- */

enum { SC_HELD = -1 };

/* The sockets of a room's listeners that one packet goes to: places [first, beyond) of arrays that have one entry a
 * listener, without place `skip`. */
typedef struct {
  const int32_t *sockets; /* SC_HELD: nothing is to be written there past its connection; below: nobody is there */
  const int8_t *copies;   /* how far back a copy may lie that a listener takes */
  int64_t *had;           /* of this stream: twice the serial of its last packet, and 1 more if the one before it came */
  int32_t first, beyond, skip;
} ScListeners;

/* Frames of one packet, each with its length; the short one (0 bytes: none) is for whoever had both packets before it. */
typedef struct {
  int64_t serial;
  int32_t distance; /* how far back its copy lies; whoever takes none so far back gets `plain` */
  const char *plain, *plain_short, *copied, *copied_short;
  int32_t bytes[4]; /* in that order */
} ScFrames;

/* Writes to each socket, waiting for none -> how many listeners did not get the whole frame, SC_UNSUPPORTED where
 * this is not built (Windows, WebAssembly). held[i]: the place of each of them; taken[i]: how many bytes the kernel
 * took, and from bit 24 on which frame it was; who is SC_HELD is among them with 0. sent[4]: adds up how many of each
 * frame were written whole or in part. */
SC_API int sc_fan_out(const ScListeners *listeners, const ScFrames *frames, int32_t *held, int32_t *taken,
                      int32_t *sent);

#endif

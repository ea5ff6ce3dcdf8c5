/* Packed weights -> a model, and the sizes that follow from its shape. The packed form is written by
 * streamcodec_models/pack.py: a header of 192 bytes, then arrays that begin at multiples of 64; and the same again where
 * levels with the waveform layer have a network of their own. */
#include "model.h"

#include <stdlib.h>
#include <string.h>

#include "variants.h"
#include "waveform_prior.h"

enum { VERSION = 3, ALIGNMENT = 64, HASH = 16, HEADER = 192 };
typedef enum { PACKED_F32 = 0, PACKED_EXACT = 1, PACKED_MIXED = 2 } Precision;

typedef struct {
  char magic[8];
  int32_t version, precision;
  char hash[HASH];
  Shape shape;
  uint8_t unused[HEADER - 8 - 2 * sizeof(int32_t) - HASH - sizeof(Shape)];
} Header;

/* A walk over the arrays of packed weights; `packed` is NULL where only sizes are asked for. */
typedef struct {
  const uint8_t *packed;
  uint64_t at;
  Precision precision;
} Reader;

static const void *take(Reader *r, uint64_t bytes) {
  const void *here = r->packed ? r->packed + r->at : NULL;
  r->at += (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  return here;
}

static const float *floats(Reader *r, uint64_t count) { return take(r, count * sizeof(float)); }

static int32_t padded(int32_t n, int32_t multiple) { return (n + multiple - 1) / multiple * multiple; }

static Linear take_linear(Reader *r, int32_t inputs, int32_t outputs, WeightType type) {
  static const int bytes[] = {4, 2, 1};
  Linear l = {type == WEIGHTS_INT8 ? padded(inputs, 8) : inputs, padded(outputs, PANEL), type, NULL, NULL, NULL};
  l.bias = floats(r, l.outputs);
  if (type == WEIGHTS_INT8) l.scale = floats(r, l.outputs);
  l.weights = take(r, (uint64_t)l.inputs * l.outputs * bytes[type]);
  return l;
}

static void take_blocks(Reader *r, Block *blocks, int count, int32_t dim, const Shape *s) {
  const WeightType type = r->precision == PACKED_MIXED ? WEIGHTS_INT8 : (WeightType)r->precision;
  for (int i = 0; i < count; i++) {
    blocks[i].dim = dim;
    blocks[i].taps = floats(r, (uint64_t)s->kernel * dim);
    blocks[i].norm = floats(r, 2 * (uint64_t)dim);
    blocks[i].scale = floats(r, dim);
    blocks[i].up = take_linear(r, dim, s->expansion * dim, type);
    blocks[i].down = take_linear(r, blocks[i].up.outputs, dim, type);
  }
}

static int between(int32_t value, int32_t low, int32_t high) { return low <= value && value <= high; }

static int32_t most_of(int32_t a, int32_t b) { return a > b ? a : b; }

/* What the refinement of the waveform layer sees of a frame. */
static int32_t features_of(const Shape *s) { return 2 * s->waveform_bins + s->waveform_bins / STEP_BAND; }

/* Whether this code can run a network of such a shape: vectors of 8, and what fits on the stack. */
static int runs(const Shape *s) {
  const int32_t eights[] = {s->hop, s->overlap, s->encoder_dim, s->decoder_dim, s->latent, s->envelope_block, s->comb_block, s->waveform_bins, s->refine_dim};
  for (unsigned i = 0; i < sizeof eights / sizeof *eights; i++)
    if (!between(eights[i], 8, MAX_DIM) || eights[i] % 8) return 0;
  const int32_t blocks[] = {s->encoder_frame_blocks, s->encoder_packet_blocks, s->decoder_packet_blocks, s->decoder_frame_blocks};
  for (unsigned i = 0; i < sizeof blocks / sizeof *blocks; i++)
    if (!between(blocks[i], 0, MAX_BLOCKS)) return 0;
  if (!between(s->frames_per_packet, 1, 8) || !between(s->kernel, 2, 16) || !between(s->expansion, 1, 8)) return 0;
  const int32_t packet = s->hop * s->frames_per_packet;
  if (!between(s->window, 64, MAX_WINDOW) || s->window & (s->window - 1) || s->window < s->hop) return 0;
  if (!between(packet + s->overlap, 8, MAX_PACKET) || s->overlap > s->hop) return 0;
  if (s->hop + s->overlap > s->window) return 0; /* the lapped packet begins in what was kept */
  if (s->waveform_bins > s->hop || !between(s->base_levels, 1, s->levels)) return 0;
  if (s->frames_per_packet * padded(most_of(s->refine_dim, s->waveform_bins), PANEL) > MAX_PACKET) return 0;
  if ((s->frames_per_packet + 1) * features_of(s) > MAX_FEATURES - 8) return 0;
  if (!between(s->levels, 2, 256) || !between(s->noise_frames, 1, 1 << 16)) return 0;
  if (!between(s->decimation, 1, 16) || packet % s->comb_block || s->hop % s->comb_block || s->hop % s->envelope_block) return 0;
  if (!between(s->shortest, 2 * s->decimation, MAX_DIM) || !between(s->longest, s->shortest, MAX_DIM)) return 0;
  if (!between(s->comb_window, 8, MAX_DIM) || s->comb_window % (4 * s->decimation)) return 0;
  if (!between(s->comb_fine_window, 8, MAX_WINDOW) || s->comb_fine_window % 4) return 0;
  if (!between(s->low_pass, s->decimation, 512) || s->comb_block % s->decimation || s->comb_window % s->decimation) return 0;
  if (s->longest % s->decimation || s->shortest % s->decimation) return 0;
  if (s->shortest < REACH_OF_COMB) return 0;
  /* One longest period before the end of the first block lies `before` samples into the buffer:
   * the fine search's window and a step, and the block with the comb's taps, must fit there. */
  const int32_t before = s->comb_window + s->low_pass - s->decimation;
  if (s->comb_fine_window + s->decimation > before) return 0;
  if (s->comb_block + REACH_OF_COMB > before) return 0;
  if (s->comb_block > s->longest + s->comb_window) return 0;
  /* Sums of int8 weights times int16 activations stay below 2^31. */
  if (padded(s->expansion * s->encoder_dim, PANEL) > MAX_DIM) return 0;
  if (padded(s->expansion * s->decoder_dim, PANEL) > MAX_DIM) return 0;
  return s->longest + s->comb_window + s->low_pass + packet + s->overlap <= MAX_COMB - 64;
}

static void lay_out(ScModel *m) {
  const Shape *s = &m->shape;
  m->packet = s->hop * s->frames_per_packet;
  m->frame = s->hop + s->overlap;
  m->bins = m->frame / 2 + 1;
  m->history = s->window - s->hop;
  m->comb_history = s->longest + s->comb_window - s->comb_block + s->low_pass - s->decimation;
  m->low_history = (m->comb_history - s->low_pass) / s->decimation + 1;
  const int32_t past = s->kernel - 1;
  m->encoder_blocks_at = ENCODER_HEAD + padded(m->history, 8);
  m->encoder_state = m->encoder_blocks_at + (s->encoder_frame_blocks + s->encoder_packet_blocks) * past * s->encoder_dim;
  m->decoder_tails_at = DECODER_HEAD;
  m->decoder_blocks_at = m->decoder_tails_at + 3 * s->overlap;
  m->comb_at = m->decoder_blocks_at + (s->decoder_packet_blocks + s->decoder_frame_blocks) * past * s->decoder_dim;
  m->waveform_at = m->comb_at + padded(m->comb_history + m->low_history, 8);
  m->decoder_state = m->waveform_at + s->hop + 3 * s->waveform_bins + padded(features_of(s), 8);
}

static void take_arrays(ScModel *m, Reader *r) {
  const Shape *s = &m->shape;
  const WeightType type = r->precision == PACKED_F32 ? WEIGHTS_F32 : WEIGHTS_F16;
  const int32_t enc = s->encoder_dim, dec = s->decoder_dim, spread = m->packet + s->overlap;
  m->told_of_level = floats(r, 2 * (uint64_t)s->levels);
  m->window = floats(r, s->window);
  m->twiddles = floats(r, s->window);
  m->encoder_in = take_linear(r, 3 * (s->window / 2 + 1), enc, type);
  take_blocks(r, m->encoder_frames, s->encoder_frame_blocks, enc, s);
  m->encoder_down = take_linear(r, s->frames_per_packet * enc, enc, type);
  m->encoder_condition = floats(r, 5 * (uint64_t)enc);
  take_blocks(r, m->encoder_packets, s->encoder_packet_blocks, enc, s);
  m->encoder_norm = floats(r, 2 * (uint64_t)enc);
  m->to_latent = take_linear(r, enc, s->latent, type);
  m->skip_in = take_linear(r, spread, s->latent, type);
  m->precision = floats(r, (uint64_t)s->levels * s->latent);
  m->inverse_precision = floats(r, (uint64_t)s->levels * s->latent);
  m->from_latent = take_linear(r, s->latent, dec, type);
  m->decoder_condition = floats(r, 6 * (uint64_t)dec);
  take_blocks(r, m->decoder_packets, s->decoder_packet_blocks, dec, s);
  m->decoder_up = take_linear(r, dec, s->frames_per_packet * dec, type);
  take_blocks(r, m->decoder_frames, s->decoder_frame_blocks, dec, s);
  m->decoder_norm = floats(r, 2 * (uint64_t)dec);
  m->head = take_linear(r, dec, 3 * m->bins, type);
  m->skip_out = take_linear(r, s->latent, spread, type);
  m->inverse_dft = take_linear(r, 2 * m->bins, m->frame, r->precision == PACKED_MIXED ? WEIGHTS_F16 : WEIGHTS_F32);
  m->packet_slopes = floats(r, spread);
  m->noise = floats(r, (uint64_t)s->noise_frames * 2 * m->bins);
  m->depth = floats(r, dec + 8);
  m->control = floats(r, CONTROLS * (uint64_t)(dec + 8));
  m->low_pass = floats(r, padded(s->low_pass, 8));
  m->waves = floats(r, (uint64_t)s->waveform_bins * m->frame);
  m->prediction = floats(r, (uint64_t)s->frames_per_packet * s->waveform_bins);
  m->ceiling = floats(r, (uint64_t)s->levels * s->waveform_bins);
  m->refinement[0] = take_linear(r, 2 * features_of(s), s->refine_dim, type);
  m->refinement[1] = take_linear(r, m->refinement[0].outputs, s->refine_dim, type);
  m->refinement[2] = take_linear(r, m->refinement[1].outputs, s->waveform_bins, type);
}

static float widen(uint16_t half) {
  const uint32_t sign = (uint32_t)(half & 0x8000) << 16, rest = half & 0x7fff;
  union {
    uint32_t bits;
    float value;
  } f = {rest << 13};
  f.value *= 5.192296858534828e33f; /* 2^112: the difference of the exponents' offsets, right for subnormals too */
  f.bits |= sign;
  return f.value;
}

/* A variant that cannot load f16 reads floats that were widened once, here. */
static int widen_all(ScModel *m) {
  Linear *layers[MAX_BLOCKS * 8 + 12];
  int count = 0;
  Linear *single[] = {&m->encoder_in, &m->encoder_down, &m->to_latent, &m->skip_in,
                      &m->from_latent, &m->decoder_up, &m->head, &m->skip_out, &m->inverse_dft,
                      &m->refinement[0], &m->refinement[1], &m->refinement[2]};
  for (unsigned i = 0; i < sizeof single / sizeof *single; i++) layers[count++] = single[i];
  Block *stacks[] = {m->encoder_frames, m->encoder_packets, m->decoder_packets, m->decoder_frames};
  const int32_t sizes[] = {m->shape.encoder_frame_blocks, m->shape.encoder_packet_blocks, m->shape.decoder_packet_blocks,
                           m->shape.decoder_frame_blocks};
  for (int k = 0; k < 4; k++)
    for (int i = 0; i < sizes[k]; i++) layers[count++] = &stacks[k][i].up, layers[count++] = &stacks[k][i].down;
  uint64_t total = 0;
  for (int i = 0; i < count; i++)
    if (layers[i]->type == WEIGHTS_F16) total += (uint64_t)layers[i]->inputs * layers[i]->outputs;
  if (!total) return SC_OK;
  float *out = m->widened = malloc(total * sizeof(float));
  if (!out) return SC_NO_MEMORY;
  for (int i = 0; i < count; i++) {
    if (layers[i]->type != WEIGHTS_F16) continue;
    const uint64_t size = (uint64_t)layers[i]->inputs * layers[i]->outputs;
    const uint16_t *halves = layers[i]->weights;
    for (uint64_t k = 0; k < size; k++) out[k] = widen(halves[k]);
    layers[i]->weights = out;
    layers[i]->type = WEIGHTS_F32;
    out += size;
  }
  return SC_OK;
}

static int check_header(const Header *header) {
  if (memcmp(header->magic, "SCNATIVE", 8) || header->version != VERSION) return SC_BAD_FORMAT;
  if (!between(header->precision, PACKED_F32, PACKED_MIXED)) return SC_BAD_FORMAT;
  return runs(&header->shape) ? SC_OK : SC_UNSUPPORTED;
}

/* A header that was checked, with its arrays or without (`packed` is NULL) -> the bytes of both. */
static uint64_t read_packed(ScModel *m, const Header *header, const uint8_t *packed) {
  Reader reader = {packed, sizeof *header, (Precision)header->precision};
  m->shape = header->shape;
  lay_out(m);
  take_arrays(m, &reader);
  return reader.at;
}

uint64_t sc_packed_bytes(const void *header) {
  ScModel sizes;
  return check_header(header) == SC_OK ? read_packed(&sizes, header, NULL) : 0;
}

/* Whether `bytes` are one network, or two of one shape and precision. */
static int is_whole(const uint8_t *packed, uint64_t bytes) {
  const Header *first = (const Header *)packed;
  const uint64_t each = sc_packed_bytes(first);
  if (bytes == each) return 1;
  if (bytes != 2 * each) return 0;
  const Header *second = (const Header *)(packed + each);
  return check_header(second) == SC_OK && second->precision == first->precision &&
         !memcmp(&second->shape, &first->shape, sizeof first->shape);
}

static int open_network(const uint8_t *packed, const Variant *variant, ScModel **model) {
  ScModel *m = *model = calloc(1, sizeof *m);
  if (!m) return SC_NO_MEMORY;
  m->variant = variant;
  read_packed(m, (const Header *)packed, packed);
  return variant->loads_f16 ? SC_OK : widen_all(m);
}

int sc_model_open(const void *packed, uint64_t bytes, const char *variant, ScModel **model) {
  *model = NULL;
  if (bytes < sizeof(Header)) return SC_BAD_FORMAT;
  const int checked = check_header(packed);
  if (checked != SC_OK) return checked;
  if (!is_whole(packed, bytes)) return SC_BAD_FORMAT;
  const Variant *chosen = sc_find_variant(variant);
  if (!chosen) return SC_NO_VARIANT;
  const uint64_t each = sc_packed_bytes(packed);
  ScModel *m;
  int status = open_network(packed, chosen, &m);
  if (status == SC_OK && bytes > each) status = open_network((const uint8_t *)packed + each, chosen, &m->layered);
  if (status != SC_OK) {
    sc_model_close(m);
    return status;
  }
  *model = m;
  return SC_OK;
}

void sc_model_close(ScModel *model) {
  if (!model) return;
  sc_model_close(model->layered);
  free(model->widened);
  free(model);
}

int sc_model_packet(const ScModel *m) { return m->packet; }
int sc_model_latent(const ScModel *m) { return m->shape.latent; }
int sc_model_levels(const ScModel *m) { return m->shape.levels; }
int sc_model_base_levels(const ScModel *m) { return m->shape.base_levels; }
int sc_model_waveform_bins(const ScModel *m) { return m->shape.waveform_bins; }
int sc_model_coefficients(const ScModel *m) { return m->shape.frames_per_packet * m->shape.waveform_bins; }
uint64_t sc_encoder_state_bytes(const ScModel *m) { return (uint64_t)m->encoder_state * sizeof(float); }
uint64_t sc_decoder_state_bytes(const ScModel *m) { return (uint64_t)m->decoder_state * sizeof(float); }

void sc_encoder_state_init(const ScModel *m, void *state) {
  memset(state, 0, sc_encoder_state_bytes(m));
  ((EncoderHead *)state)->gain_index = GAIN_LOW;
}

void sc_decoder_state_init(const ScModel *m, void *state) {
  DecoderHead *head = state;
  memset(state, 0, sc_decoder_state_bytes(m));
  head->gain_index = GAIN_LOW;
  head->swell = 1;
  head->period = (float)m->shape.shortest;
}

static uint64_t most(uint64_t a, uint64_t b) { return a > b ? a : b; }

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
enum { GUARD = 1024 }; /* bytes behind each scratch array that nobody may touch */
#define FORBID(at) ASAN_POISON_MEMORY_REGION(at, GUARD)
#define ALLOW(at, bytes) ASAN_UNPOISON_MEMORY_REGION(at, bytes)
#else
enum { GUARD = 0 };
#define FORBID(at) (void)(at)
#define ALLOW(at, bytes) (void)(at)
#endif

/* The bytes of each scratch array, and the pointers to them where there is memory. */
static uint64_t carve(const ScModel *m, int streams, uint8_t *memory, Workspace *ws) {
  enum { SLACK = 64 }; /* vectors may read, and write, a little beyond a row */
  const Shape *s = &m->shape;
  const uint64_t n = streams, rows = n * s->frames_per_packet, spread = m->packet + s->overlap;
  const uint64_t stride = padded(3 * (s->window / 2 + 1), 8), spectrum = padded(2 * m->bins, 8);
  const uint64_t enc = padded(s->encoder_dim, PANEL), dec = padded(s->decoder_dim, PANEL), latent = padded(s->latent, PANEL);
  const uint64_t wide = padded(s->expansion * (s->encoder_dim > s->decoder_dim ? s->encoder_dim : s->decoder_dim), PANEL);
  const uint64_t lapped = padded((int32_t)spread, PANEL), sound = padded(m->frame, PANEL);
  const uint64_t sizes[] = {
      rows * wide * sizeof(int16_t),
      rows * sizeof(float),
      n * sizeof(float),
      most(rows * stride, most(n * latent, 2 * rows * sound)) * sizeof(float),
      most(n * lapped, n * dec) * sizeof(float),
      most(rows * enc, n * padded(s->frames_per_packet * s->decoder_dim, PANEL)) * sizeof(float),
      most(n * enc, n * lapped) * sizeof(float),
      most(rows * most(enc, dec), most(n * latent, 2 * rows * spectrum)) * sizeof(float),
      most(rows * most(wide, padded(3 * m->bins, PANEL)), n * latent) * sizeof(float),
  };
  void **arrays[] = {(void **)&ws->activations, (void **)&ws->row_scale, (void **)&ws->gains, (void **)&ws->a, (void **)&ws->b,
                     (void **)&ws->c, (void **)&ws->d, (void **)&ws->e, (void **)&ws->f};
  uint64_t total = 0;
  for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    const uint64_t size = (sizes[i] + SLACK * sizeof(float) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (memory) {
      *arrays[i] = memory + total;
      ALLOW(memory + total, size); /* fewer streams may have had a guard there */
      FORBID(memory + total + size);
    }
    total += size + GUARD;
  }
  return total;
}

uint64_t sc_workspace_bytes(const ScModel *m, int streams) {
  Workspace none;
  return carve(m, streams, NULL, &none);
}

Workspace sc_workspace(const ScModel *m, int streams, void *memory) {
  Workspace ws;
  carve(m, streams, memory, &ws);
  return ws;
}

static const ScModel *network_of(const ScModel *m, int level) {
  return m->layered && level >= m->shape.base_levels ? m->layered : m;
}

/* How many of the streams, from the first on, go through its network. */
static int run_of(const ScModel *m, int streams, const int32_t *levels) {
  int n = 1;
  while (n < streams && network_of(m, levels[n]) == network_of(m, levels[0])) n++;
  return n;
}

void sc_encode(const ScModel *m, int streams, void *states, const float *pcm, const int32_t *levels, float *means,
               int32_t *gain_index, float *coefficients, void *workspace) {
  for (int b = 0, n; b < streams; b += n) {
    const ScModel *network = network_of(m, levels[b]);
    n = run_of(m, streams - b, levels + b);
    m->variant->encode(network, n, (float *)states + (size_t)b * m->encoder_state, pcm + (size_t)b * m->packet, levels + b,
                       means + (size_t)b * m->shape.latent, gain_index + b,
                       coefficients ? coefficients + (size_t)b * sc_model_coefficients(m) : NULL, workspace);
  }
}

void sc_residual(const ScModel *m, int streams, void *states, const int32_t *y, const int32_t *gain_index,
                 const int32_t *levels, const float *coefficients, float *residual, void *workspace) {
  for (int b = 0, n; b < streams; b += n) {
    const ScModel *network = network_of(m, levels[b]);
    const size_t at = (size_t)b * sc_model_coefficients(m);
    n = run_of(m, streams - b, levels + b);
    m->variant->residual(network, n, (float *)states + (size_t)b * m->decoder_state, y + (size_t)b * m->shape.latent,
                         gain_index + b, levels + b, coefficients ? coefficients + at : NULL, residual ? residual + at : NULL,
                         workspace);
  }
}

void sc_decode(const ScModel *m, int streams, void *states, const int32_t *y, const int32_t *gain_index,
               const int32_t *levels, const uint8_t *lost, const int32_t *q, const float *steps, const int32_t *bins,
               float *pcm, void *workspace) {
  for (int b = 0, n; b < streams; b += n) {
    const ScModel *network = network_of(m, levels[b]);
    n = run_of(m, streams - b, levels + b);
    m->variant->decode(network, n, (float *)states + (size_t)b * m->decoder_state, y + (size_t)b * m->shape.latent,
                       gain_index + b, levels + b, lost + b, q ? q + (size_t)b * sc_model_coefficients(m) : NULL,
                       steps ? steps + (size_t)b * (m->shape.waveform_bins / STEP_BAND) : NULL, bins ? bins + b : NULL,
                       pcm + (size_t)b * m->packet, workspace);
  }
}

/* Packets through encoder and decoder, to compare machines: run PACKED PCM OUT LEVEL [ROUNDS [VARIANT]].
 *
 * PCM: float32 of whole packets. OUT: for each packet the means [D], then the gain as a float, then what the
 * decoder makes of the rounded means [T]; every seventh packet is lost to it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "../src/streamcodec.h"

static void *read_file(const char *path, long *size) {
  FILE *file = fopen(path, "rb");
  if (!file) return NULL;
  fseek(file, 0, SEEK_END);
  *size = ftell(file);
  rewind(file);
  void *data = aligned_alloc(64, ((size_t)*size + 63) / 64 * 64);
  if (data && fread(data, 1, (size_t)*size, file) != (size_t)*size) data = NULL;
  fclose(file);
  return data;
}

static void *memory(uint64_t bytes) { return aligned_alloc(64, (bytes + 63) / 64 * 64); }

int main(int argc, char **argv) {
  long packed_size, pcm_size;
  if (argc < 5) return fprintf(stderr, "run PACKED PCM OUT LEVEL [ROUNDS [VARIANT]]\n"), 2;
  void *packed = read_file(argv[1], &packed_size);
  float *pcm = read_file(argv[2], &pcm_size);
  ScModel *model;
  if (!packed || !pcm) return fprintf(stderr, "cannot read %s or %s\n", argv[1], argv[2]), 1;
  const char *variant = argc > 6 ? argv[6] : sc_variant(0);
  const int status = sc_model_open(packed, (uint64_t)packed_size, variant, &model);
  if (status != SC_OK) return fprintf(stderr, "cannot open the model: %d\n", status), 1;
  const int packet = sc_model_packet(model), latent = sc_model_latent(model), rounds = argc > 5 ? atoi(argv[5]) : 1;
  void *encoder = memory(sc_encoder_state_bytes(model)), *decoder = memory(sc_decoder_state_bytes(model));
  void *workspace = memory(sc_workspace_bytes(model, 1));
  float *means = memory(latent * sizeof *means), *heard = memory(packet * sizeof *heard);
  int32_t *y = memory(latent * sizeof *y);
  FILE *out = fopen(argv[3], "wb");
  if (!out) return fprintf(stderr, "cannot write %s\n", argv[3]), 1;
  for (int round = 0; round < rounds; round++) {
    sc_encoder_state_init(model, encoder);
    sc_decoder_state_init(model, decoder);
    for (long n = 0; (n + 1) * packet * (long)sizeof *pcm <= pcm_size; n++) {
      const int32_t level = atoi(argv[4]);
      const uint8_t lost = n % 7 == 6;
      int32_t gain;
      sc_encode(model, 1, encoder, pcm + n * packet, &level, means, &gain, NULL, workspace);
      for (int i = 0; i < latent; i++) y[i] = (int32_t)rintf(means[i]);
      sc_decode(model, 1, decoder, y, &gain, &level, &lost, NULL, NULL, NULL, heard, workspace);
      if (round) continue;
      const float told = (float)gain;
      fwrite(means, sizeof *means, (size_t)latent, out);
      fwrite(&told, sizeof told, 1, out);
      fwrite(heard, sizeof *heard, (size_t)packet, out);
    }
  }
  fclose(out);
  sc_model_close(model);
  fprintf(stderr, "%s\n", variant);
  return 0;
}

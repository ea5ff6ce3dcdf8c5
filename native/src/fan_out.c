/* One packet to many sockets: what a relay does most. In Python each listener costs 4 us beside the 6 of the kernel. */
#include "streamcodec.h"

#if defined(_WIN32) || defined(__wasm__)

int sc_fan_out(const ScListeners *listeners, const ScFrames *frames, int32_t *held, int32_t *taken, int32_t *sent) {
  (void)listeners, (void)frames, (void)held, (void)taken, (void)sent;
  return SC_UNSUPPORTED;
}

#else

#include <sys/socket.h>
#include <sys/types.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0 /* macOS; Python ignores SIGPIPE */
#endif

int sc_fan_out(const ScListeners *listeners, const ScFrames *frames, int32_t *held, int32_t *taken, int32_t *sent) {
  const char *const texts[4] = {frames->plain, frames->plain_short, frames->copied, frames->copied_short};
  int waiting = 0;
  for (int32_t place = listeners->first; place < listeners->beyond; place++) {
    if (place == listeners->skip || listeners->sockets[place] < SC_HELD) continue;
    ssize_t written = 0;
    int kind = 0;
    if (listeners->sockets[place] != SC_HELD) {
      const int64_t had = listeners->had[place];
      const int64_t follows = had >> 1 == frames->serial - 1;
      kind = listeners->copies[place] < frames->distance ? 0 : 2;
      if (follows && (had & 1) && frames->bytes[kind + 1] > 0) kind += 1;
      written = send(listeners->sockets[place], texts[kind], (size_t)frames->bytes[kind], MSG_DONTWAIT | MSG_NOSIGNAL);
      if (written > 0) {
        listeners->had[place] = frames->serial << 1 | follows;
        sent[kind] += 1;
        if (written == frames->bytes[kind]) continue;
      }
    }
    held[waiting] = place;
    taken[waiting] = written > 0 ? (int32_t)written | kind << 24 : 0;
    waiting += 1;
  }
  return waiting;
}

#endif

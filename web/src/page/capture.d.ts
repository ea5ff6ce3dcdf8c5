// What TypeScript's library lacks: https://w3c.github.io/mediacapture-transform/, with sound, as
// Chromium has it.
declare class MediaStreamTrackProcessor {
  constructor(init: { track: MediaStreamTrack });
  readonly readable: ReadableStream<AudioData>;
}

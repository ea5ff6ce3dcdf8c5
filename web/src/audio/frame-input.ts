// A microphone's sound where the browser gives it to workers (MediaStreamTrackProcessor): Chromium.

const US = 1e6; // in a second
const GAP_S = 0.005; // timestamps that are off by less say nothing

/** Reads until the stream ends or `close` is called. */
export class FrameInput {
  private readonly reader: ReadableStreamDefaultReader<AudioData>;
  private endUs: number | null = null; // of the frame before

  /** `heard` is given what was captured, how many samples before it were lost, and its rate in Hz. */
  constructor(
    frames: ReadableStream<AudioData>,
    private readonly heard: (pcm: Float32Array, lost: number, sampleRate: number) => void,
  ) {
    this.reader = frames.getReader();
    void this.read();
  }

  close(): void {
    void this.reader.cancel().catch(() => undefined); // ended already
  }

  private async read(): Promise<void> {
    for (;;) {
      const { value: frame } = await this.reader.read().catch(() => ({ value: undefined })); // closed
      if (frame === undefined) return;
      const { numberOfFrames, sampleRate, timestamp } = frame;
      const pcm = mean(frame);
      frame.close();
      const gapS = this.endUs === null ? 0 : (timestamp - this.endUs) / US;
      this.endUs = timestamp + (numberOfFrames * US) / sampleRate;
      this.heard(pcm, gapS > GAP_S ? Math.round(gapS * sampleRate) : 0, sampleRate);
    }
  }
}

/** Of its channels: a microphone may be on any of them. */
function mean(frame: AudioData): Float32Array {
  const { numberOfChannels, numberOfFrames } = frame;
  const sum = new Float32Array(numberOfFrames);
  const channel = new Float32Array(numberOfFrames);
  for (let planeIndex = 0; planeIndex < numberOfChannels; planeIndex++) {
    frame.copyTo(channel, { planeIndex, format: 'f32-planar' });
    for (let t = 0; t < numberOfFrames; t++) sum[t] += channel[t] / numberOfChannels;
  }
  return sum;
}

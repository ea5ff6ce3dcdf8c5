// A microphone's sound where the browser gives it to workers (MediaStreamTrackProcessor): Chromium.

const US = 1e6; // in a second
const GAP_S = 0.005; // timestamps that are off by less say nothing

/** Reads until the stream ends or `close` is called. */
export class FrameInput {
  private readonly reader: ReadableStreamDefaultReader<AudioData>;
  private endUs: number | null = null; // of the frame before
  private sum = new Float32Array(0);
  private channel = new Float32Array(0);

  /**
   * `heard` is given what was captured (until it returns), how many samples before it were lost, and
   * its rate in Hz.
   */
  constructor(
    frames: ReadableStream<AudioData>,
    private readonly heard: (pcm: Float32Array, lost: number, sampleRate: number) => void,
  ) {
    this.reader = frames.getReader();
    void this.read();
  }

  /** What has come is heard in its turn: nothing of it waits. */
  drain(): void {}

  close(): void {
    void this.reader.cancel().catch(() => undefined); // ended already
  }

  private async read(): Promise<void> {
    for (;;) {
      const { value: frame } = await this.reader.read().catch(() => ({ value: undefined })); // closed
      if (frame === undefined) return;
      const { numberOfFrames, sampleRate, timestamp } = frame;
      const pcm = this.mean(frame);
      frame.close();
      const gapS = this.endUs === null ? 0 : (timestamp - this.endUs) / US;
      this.endUs = timestamp + (numberOfFrames * US) / sampleRate;
      this.heard(pcm, gapS > GAP_S ? Math.round(gapS * sampleRate) : 0, sampleRate);
    }
  }

  /** Of its channels: a microphone may be on any of them. */
  private mean(frame: AudioData): Float32Array {
    const { numberOfChannels, numberOfFrames } = frame;
    if (this.sum.length !== numberOfFrames) {
      this.sum = new Float32Array(numberOfFrames);
      this.channel = new Float32Array(numberOfFrames);
    }
    const { sum, channel } = this;
    frame.copyTo(sum, { planeIndex: 0, format: 'f32-planar' });
    for (let planeIndex = 1; planeIndex < numberOfChannels; planeIndex++) {
      frame.copyTo(channel, { planeIndex, format: 'f32-planar' });
      for (let t = 0; t < numberOfFrames; t++) sum[t] += channel[t];
    }
    if (numberOfChannels > 1) {
      for (let t = 0; t < numberOfFrames; t++) sum[t] /= numberOfChannels;
    }
    return sum;
  }
}

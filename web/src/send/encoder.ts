// What sending asks of a codec.

/** What a model is, for one channel. */
export interface EncoderFacts {
  /** 16 hex digits: hash of the weights. */
  hash: string;
  /** Hz, of the PCM that it takes. */
  sampleRate: number;
  /** Samples in a packet, at that rate. */
  packetSamples: number;
  /** How many times the rate that streams have on the wire that is. */
  widening: number;
  /** 16 hex digits of the high band's tables, where payloads end with what describes it; else ''. */
  highBand: string;
  /** What speech costs at each level in the mean, bit/s, without that; ascends below baseLevels. */
  levelBitratesBps: number[];
  /** Levels from this one on have the waveform layer, and are not asked for. */
  baseLevels: number;
}

/** What an encoder must know of the stream that it encodes; see `streamSettings` in rate.ts. */
export interface StreamSettings {
  /** Payloads are written for a decoder that parses them with it. */
  baseLevel: number;
  /** Level of copies, at most the base level. */
  copyLevel: number;
  /** 16 hex digits of the tables, where payloads are to describe the high band; else ''. */
  highBand: string;
}

/** One talker's stream, for the settings that `streamSettings` gives for its bit rate. */
export interface Encoder {
  readonly facts: EncoderFacts;
  /** That of its settings. */
  readonly baseLevel: number;
  /** One packet, `packetSamples` of mono PCM, at a quality level -> its payload. */
  encode(pcm: Float32Array, level: number): Uint8Array;
  /** A coarser payload of the packet encoded last: at the copy level, from the state before it. */
  copy(): Uint8Array;
  /** Forgets all that was heard: the next packet has RESET. */
  reset(): void;
}

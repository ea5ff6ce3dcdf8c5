/** What a decoder must know about a stream. */
export interface StreamInfo {
  /** 16 hex digits. */
  model: string;
  /** Hz. */
  sampleRate: number;
  channels: number;
  /** Samples of each payload, at that rate. */
  packetSamples: number;
  /** Quality level that payloads are parsed with. */
  baseLevel: number;
  /** bit/s; 0 for constant quality. */
  bitrateBps: number;
  /** A packet may carry a copy of one that lies at most so many packets back. */
  redundancy: number;
  /** 16 hex digits where payloads are encrypted end to end, else empty. */
  keyId: string;
  /** Hex digits of the tables of the high band, at the end of each payload; '' where it has none. */
  highBand: string;
  /** The same of those that tell the second channel by the first; '' where each is on its own. */
  jointStereo: string;
}

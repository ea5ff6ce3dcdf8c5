// The codec's engine in C (native/), as WebAssembly. It has no imports; memory comes from its malloc.

/** What native/src/streamcodec.h declares, as far as a page calls it. Addresses are numbers. */
interface Exports {
  memory: WebAssembly.Memory;
  _initialize(): void;
  aligned_alloc(alignment: number, bytes: number): number;
  free(address: number): void;
  sc_model_open(packed: number, bytes: bigint, variant: number, model: number): number;
  sc_bitstream_open_packed(
    packed: number,
    bytes: bigint,
    variant: number,
    bitstream: number,
  ): number;
  sc_bitstream_open_joint(
    packed: number,
    bytes: bigint,
    joint: number,
    jointBytes: bigint,
    variant: number,
    bitstream: number,
  ): number;
  sc_encoder_state_bytes(model: number): bigint;
  sc_decoder_state_bytes(model: number): bigint;
  sc_workspace_bytes(model: number, streams: number): bigint;
  sc_encoder_state_init(model: number, state: number): void;
  sc_decoder_state_init(model: number, state: number): void;
  sc_payload_encode(...[model, bitstream, packets, channels, baseLevel, level]: number[]): number;
  sc_payload_decode(...[model, bitstream, payload, size, packets, channels]: number[]): number;
  sc_high_band_open(packed: number, bytes: bigint, variant: number, band: number): number;
  sc_high_band_state_bytes(band: number): bigint;
  sc_high_band_split(...[band, state, pcm, first, core, told]: number[]): number;
  sc_high_band_join(...[band, state, core, told, size, first, lost, pcm]: number[]): void;
}

const ALIGNMENT = 64;
const POINTER_BYTES = 4;

/** One instance of the module: memory, and calls into it. */
export class Engine {
  private constructor(readonly call: Exports) {}

  /** `module`: compiled from streamcodec.wasm. */
  static async start(module: WebAssembly.Module): Promise<Engine> {
    const instance = await WebAssembly.instantiate(module, {});
    const exports = instance.exports as unknown as Exports;
    exports._initialize();
    return new Engine(exports);
  }

  /** Memory of so many bytes, zeroed, until it is freed. Throws an Error where there is none. */
  allocate(bytes: number): number {
    const address = this.reserve(bytes);
    this.bytes(address, bytes).fill(0);
    return address;
  }

  /** The same, with anything in it. */
  reserve(bytes: number): number {
    const size = Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    const address = this.call.aligned_alloc(ALIGNMENT, size);
    if (address === 0) throw new Error('the page has no memory left');
    return address;
  }

  /** A copy of `data` there -> its address. */
  put(data: Uint8Array): number {
    const address = this.reserve(data.length);
    this.bytes(address, data.length).set(data);
    return address;
  }

  free(address: number): void {
    this.call.free(address);
  }

  /** What `open` has opened, which writes where it is and returns a status. Throws an Error. */
  opened(open: (handle: number) => number): number {
    const handle = this.allocate(POINTER_BYTES);
    const status = open(handle);
    const address = this.integer(handle);
    this.free(handle);
    if (status < 0) throw new Error(`the codec does not work here (${status})`);
    return address;
  }

  // Views end when the memory grows, so none may be kept over a call that allocates.

  bytes(address: number, count: number): Uint8Array {
    return new Uint8Array(this.call.memory.buffer, address, count);
  }

  floats(address: number, count: number): Float32Array {
    return new Float32Array(this.call.memory.buffer, address, count);
  }

  integer(address: number): number {
    return new DataView(this.call.memory.buffer).getInt32(address, true);
  }
}

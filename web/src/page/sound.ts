// Loudspeaker and microphone of a call, and the ways between the AudioWorklet and the worker.

import { ringMemory } from '../audio/ring.ts';
import type { Request, SoundLink } from '../messages.ts';
import { type Device, type Devices, listDevices, onDeviceChange } from './devices.ts';
import { Microphone, type MicrophoneChoice } from './microphone.ts';
import { choosesLoudspeaker } from './support.ts';

const WORKLET = '/page/worklet.js';
const PLAYER = 'streamcodec-player';
const CAPTURE = 'streamcodec-capture';
// Where a device has a single one, the browser plays the mean of both.
const PLAYED_CHANNELS = 2;
const CAPTURED_CHANNELS = 1;
/** How much sound the ring between worklet and worker holds, all channels together. */
const RING_S = 1;
/** A context that does not run by then waits for a gesture of the user. */
const START_MS = 500;

/** What befalls the devices. */
export interface SoundEvents {
  say: (text: string) => void;
  /** The browser has stopped all sound, until the user touches the page; false: it goes on. */
  stopped: (stopped: boolean) => void;
  /** Something was plugged in or out. */
  devices: (devices: Devices) => void;
}

/** Made in a click, so that the browser lets it sound. */
export class Sound {
  readonly #context: AudioContext;
  readonly #events: SoundEvents;
  readonly #over = new AbortController();
  #loudspeaker: Device | null;
  /** What the context plays to now; null: the default. */
  #playsTo: Device | null = null;
  #microphone: Microphone | null = null;
  #worklet: Promise<void> | null = null;
  #stopped = false;

  constructor(loudspeaker: Device | null, events: SoundEvents) {
    this.#loudspeaker = loudspeaker;
    this.#events = events;
    this.#context = new AudioContext({ latencyHint: 0 });
    this.#watch();
  }

  /** Whether the browser lets nothing sound until the user touches the page. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** Asks the user for the microphone. Throws what the browser throws. */
  async askMicrophone(choice: MicrophoneChoice): Promise<void> {
    this.#microphone = new Microphone(choice, this.#events.say);
    await this.#microphone.open();
  }

  /** The way to the loudspeaker. */
  async startOutput(): Promise<SoundLink> {
    await this.#load();
    if (this.#loudspeaker !== null) await this.#play(this.#loudspeaker);
    return this.#link(PLAYER, PLAYED_CHANNELS, { numberOfInputs: 0, numberOfOutputs: 1 }, node =>
      node.connect(this.#context.destination),
    );
  }

  /** How long the loudspeaker takes to play what it is given, as far as the browser knows. */
  get latencyMs(): number {
    return (this.#context.baseLatency + (this.#context.outputLatency || 0)) * 1000;
  }

  /** Lets the worker have the microphone's sound, which was asked for before. */
  async startInput(send: (request: Request, transferred: Transferable[]) => void): Promise<void> {
    if (typeof MediaStreamTrackProcessor !== 'undefined') {
      // 20 ms sooner than by an AudioContext, which has the loudspeaker's beat, and cheaper.
      this.#microphone?.connect(stream => {
        const [track] = stream.getAudioTracks();
        const frames = new MediaStreamTrackProcessor({ track }).readable;
        send({ type: 'frames', frames }, [frames]);
        return () => {};
      });
      return;
    }
    await this.#load();
    const ends = { numberOfInputs: 1, numberOfOutputs: 0 };
    const link = this.#link(CAPTURE, CAPTURED_CHANNELS, ends, node =>
      this.#microphone?.connect(stream => {
        const source = this.#context.createMediaStreamSource(stream);
        source.connect(node);
        return () => source.disconnect();
      }),
    );
    send({ type: 'input', link }, [link.port]);
  }

  changeMicrophone(choice: MicrophoneChoice): void {
    void this.#microphone?.change(choice);
  }

  changeLoudspeaker(device: Device | null): void {
    this.#loudspeaker = device;
    void this.#play(device);
  }

  close(): void {
    this.#over.abort();
    this.#microphone?.close();
    this.#context.close().catch(() => undefined); // closed already
  }

  #load(): Promise<void> {
    this.#worklet ??= this.#context.audioWorklet.addModule(WORKLET);
    return this.#worklet;
  }

  #link(
    processor: string,
    channels: number,
    ends: { numberOfInputs: number; numberOfOutputs: number },
    connect: (node: AudioNode) => void,
  ): SoundLink {
    const sampleRate = this.#context.sampleRate;
    const capacity = Math.ceil((RING_S * sampleRate) / channels);
    const memory = window.crossOriginIsolated ? ringMemory(capacity, channels) : null;
    const node = new AudioWorkletNode(this.#context, processor, {
      ...ends,
      ...(ends.numberOfOutputs > 0 ? { outputChannelCount: [channels] } : {}),
      // Chromium hands over a microphone in stereo, whatever was asked for.
      channelCount: channels,
      channelCountMode: 'explicit',
      processorOptions: { memory, channels },
    });
    node.addEventListener('processorerror', () =>
      this.#events.say('The browser has given up on the sound: leave, and come again.'),
    );
    const { port1, port2 } = new MessageChannel();
    node.port.postMessage({ port: port1 }, [port1]);
    connect(node);
    return { sampleRate, channels, port: port2, memory };
  }

  /** What goes wrong is said, and the default device plays. */
  async #play(device: Device | null): Promise<void> {
    if (!choosesLoudspeaker()) return;
    const context = this.#context as AudioContext & { setSinkId(id: string): Promise<void> };
    try {
      await context.setSinkId(device?.id ?? '');
      this.#playsTo = device;
    } catch {
      if (device === null) {
        this.#events.say('There is no loudspeaker that can be used.');
        return;
      }
      this.#events.say(`“${device.label}” is not there: the default loudspeaker is used.`);
      if (this.#playsTo !== null) await this.#play(null);
    }
  }

  #watch(): void {
    const signal = this.#over.signal;
    const context = this.#context;
    context.addEventListener('statechange', () => this.#checkRuns(), { signal });
    setTimeout(() => this.#checkRuns(), START_MS);
    const resume = () => {
      // It may never be answered where there is no device: nobody waits for it.
      if (!this.#runs()) void context.resume().catch(() => undefined);
    };
    resume();
    for (const gesture of ['pointerdown', 'pointerup', 'keydown']) {
      document.addEventListener(gesture, resume, { signal, capture: true });
    }
    document.addEventListener('visibilitychange', resume, { signal });
    onDeviceChange(() => void this.#devicesChanged(), signal);
  }

  #checkRuns(): void {
    const stopped = !this.#runs() && !this.#over.signal.aborted;
    if (stopped === this.#stopped) return;
    this.#stopped = stopped;
    this.#events.stopped(stopped);
  }

  #runs(): boolean {
    return this.#context.state === 'running';
  }

  async #devicesChanged(): Promise<void> {
    const devices = await listDevices();
    if (this.#over.signal.aborted) return;
    this.#events.devices(devices);
    this.#microphone?.devicesChanged(devices);
    const chosen = this.#loudspeaker;
    if (chosen === null) return;
    const isThere = devices.loudspeakers.some(device => device.id === chosen.id);
    if (isThere && this.#playsTo === null) {
      await this.#play(chosen);
      if (this.#playsTo !== null) this.#events.say(`“${chosen.label}” is back, and plays.`);
    } else if (!isThere && this.#playsTo !== null) {
      this.#events.say(`“${chosen.label}” is gone: the default loudspeaker is used.`);
      await this.#play(null);
    }
  }
}

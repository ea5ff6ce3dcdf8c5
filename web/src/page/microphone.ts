// The microphone: chosen, switched in a call, and replaced where it vanishes.

import type { Device, Devices } from './devices.ts';
import type { Settings } from './settings.ts';
import { microphoneTrouble } from './support.ts';

/** What of the settings concerns the microphone. */
export type MicrophoneChoice = Pick<
  Settings,
  'microphone' | 'echoCancellation' | 'noiseSuppression' | 'autoGainControl'
>;

/** Takes a microphone's sound somewhere -> what ends that. */
export type Target = (stream: MediaStream) => () => void;

/** Names of errors that concern one microphone: another may do. */
const UNUSABLE = ['OverconstrainedError', 'NotFoundError', 'NotReadableError', 'AbortError'];

/** Changes come one after the other: two at once would leave a microphone open that nobody hears. */
export class Microphone {
  readonly #say: (text: string) => void;
  #choice: MicrophoneChoice;
  #target: Target | null = null;
  #stream: MediaStream | null = null;
  #disconnect = () => {};
  /** Null: the default one is in use, or none. */
  #inUse: Device | null = null;
  #changes: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(choice: MicrophoneChoice, say: (text: string) => void) {
    this.#choice = { ...choice };
    this.#say = say;
  }

  /** Asks for it. Throws what the browser throws. */
  open(): Promise<void> {
    return this.#afterOthers(() => this.#openChosen());
  }

  /** Its sound goes there from now on. */
  connect(target: Target): void {
    this.#target = target;
    if (this.#stream !== null) this.#disconnect = target(this.#stream);
  }

  /** Another one, or another treatment of its sound. What goes wrong is said. */
  change(choice: MicrophoneChoice): Promise<void> {
    this.#choice = { ...choice };
    return this.#afterOthers(() => this.#openChosen()).catch(error =>
      this.#say(microphoneTrouble(error)),
    );
  }

  /** Something was plugged in or out. The chosen one is taken again when it is back. */
  devicesChanged(devices: Devices): void {
    void this.#afterOthers(async () => {
      const chosen = this.#choice.microphone;
      const isBack =
        chosen !== null &&
        chosen.id !== this.#inUse?.id &&
        devices.microphones.some(device => device.id === chosen.id);
      const isFirst = this.#stream === null && devices.microphones.length > 0;
      if (!isBack && !isFirst) return;
      await this.#openChosen();
      this.#say(`The microphone is back: “${this.#label()}”.`);
    }).catch(() => undefined); // not ready yet, and another event follows when it is
  }

  close(): void {
    this.#closed = true;
    this.#release();
  }

  #afterOthers(change: () => Promise<void>): Promise<void> {
    const done = this.#changes.then(change);
    this.#changes = done.catch(() => undefined);
    return done;
  }

  async #openChosen(): Promise<void> {
    const chosen = this.#choice.microphone;
    this.#release();
    if (chosen !== null) {
      try {
        await this.#take(chosen);
        return;
      } catch (error) {
        const name = error instanceof Error ? error.name : '';
        if (!UNUSABLE.includes(name)) throw error;
      }
    }
    await this.#take(null);
    if (chosen !== null) {
      this.#say(`“${chosen.label}” cannot be used: the default microphone is used instead.`);
    }
  }

  async #take(device: Device | null): Promise<void> {
    if (this.#closed) return;
    const { echoCancellation, noiseSuppression, autoGainControl } = this.#choice;
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: {
        echoCancellation,
        noiseSuppression,
        autoGainControl,
        channelCount: 1,
        ...(device === null ? {} : { deviceId: { exact: device.id } }),
      },
    });
    this.#stream = stream;
    this.#inUse = device;
    if (this.#closed) {
      this.#release(); // the call was left while the browser asked
      return;
    }
    if (this.#target !== null) this.#disconnect = this.#target(stream);
    // Stopping a track ourselves raises no `ended`.
    const [track] = stream.getAudioTracks();
    track?.addEventListener('ended', () => {
      if (this.#stream === stream) this.#lost(track.label);
    });
    track?.addEventListener('mute', () => {
      if (this.#stream === stream) this.#say(`The system has switched off “${track.label}”.`);
    });
  }

  #lost(label: string): void {
    this.#release();
    void this.#afterOthers(async () => {
      await this.#take(null);
      this.#say(`“${label}” is gone: the default microphone is used instead.`);
    }).catch(() => this.#say(`“${label}” is gone, and there is no other microphone.`));
  }

  #label(): string {
    return this.#stream?.getAudioTracks()[0]?.label ?? 'unnamed device';
  }

  #release(): void {
    this.#disconnect();
    this.#disconnect = () => {};
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    this.#inUse = null;
  }
}

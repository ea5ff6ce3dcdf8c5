// One call, in the worker: what comes from the relay goes through playout and decoders to the
// loudspeaker; what the microphone hears goes through the encoder to the relay.

import { FrameInput } from './audio/frame-input.ts';
import { Lead } from './audio/lead.ts';
import { LevelMeter, SILENCE } from './audio/level-meter.ts';
import { Input, Output } from './audio/link.ts';
import { type Part, Volumes, mixed } from './audio/mixer.ts';
import { type Pcm, silence } from './audio/pcm.ts';
import { Resampler } from './audio/resampler.ts';
import type { Codecs } from './codec/codecs.ts';
import type { CallSettings, CallState, Event, Person, SoundLink } from './messages.ts';
import { type ConnectionListener, RelayConnection, type Socket } from './net/relay-connection.ts';
import { Room } from './net/room.ts';
import { StreamPlayer, type StreamStatistics, type Talker as Heard } from './playout/player.ts';
import { Talkers } from './playout/talkers.ts';
import { streamSettings, targetFor } from './send/rate.ts';
import { type Outlet, Talker } from './send/talker.ts';
import type { Introduction, Message, Welcome } from './wire/messages.ts';
import { AUDIO, AUDIO_WITH_COPY, MalformedPacket, parse } from './wire/packet.ts';
import { separate } from './wire/redundancy.ts';

const BLOCK_MS = 5; // of sound, mixed at once
const LEAST_LEAD_MS = 12; // the loudspeaker says every 5 ms what it has played
const MOST_BLOCKS = 40; // at once, after the worker stood still
const LOOK_MS = 100; // whether the microphone still gives something
const LOOKS_PER_STATE = 2; // each state is drawn: 2 ms where there is no GPU
const REPORT_MS = 1000;
const PACKETS_MS = [20, 40, 60];
const FETCH_AGAIN_MS = 5000;
const STILL_MS = 500; // after which sound that does not move on is none
const FETCHING = 'the codec for such good quality is being fetched';

/** Begins with `begin`; ends with `leave`, or by itself, which `post` is told. */
export class Call implements ConnectionListener {
  private readonly room: Room;
  private readonly talkers: Talkers;
  private readonly connection: RelayConnection;
  private readonly talker: Talker | null = null;
  private readonly volumes = new Volumes();
  private lead = new Lead(LEAST_LEAD_MS);
  private readonly ownMeter: LevelMeter;
  private output: Output | null = null;
  private toDevice: Resampler | null = null;
  private latencyMs = 0;
  private pumpedMs = -Infinity; // when the loudspeaker last wanted something
  private saidMs = -Infinity; // when the microphone last gave something
  private input: Input | FrameInput | null = null;
  private fromDevice: { sampleRate: number; resampler: Resampler | null } | null = null;
  private number = 0; // of the connection in use
  private status: CallState['connection'] = 'connecting';
  private reason = '';
  private readonly timers: number[] = [];
  private readonly silence: Pcm; // as long as a block
  private looks = 0;

  constructor(
    private readonly settings: CallSettings,
    private readonly codecs: Codecs,
    private readonly post: (event: Event) => void,
  ) {
    const { facts, sound } = codecs.base;
    this.room = new Room(settings.name, settings.talks);
    this.ownMeter = new LevelMeter(sound.sampleRate);
    this.silence = silence(1, (sound.sampleRate * BLOCK_MS) / 1000);
    this.talkers = new Talkers(
      talker => this.admitted(talker),
      text => this.post({ type: 'notice', text }),
      {
        model: facts.hash,
        sampleRate: facts.sampleRate,
        packetSizes: PACKETS_MS.map(ms => (facts.sampleRate * ms) / 1000),
        jointStereo: codecs.base.jointStereo,
      },
    );
    if (settings.talks) {
      const outlet: Outlet = {
        send: datagram => this.connection.send(datagram),
        tell: message => this.connection.tell(message),
        relayOffsetMs: () => this.connection.sync.offsetMs,
        now,
      };
      const bitrateBps = targetFor(sound, settings.bitrateBps);
      const encoder = codecs.base.encoder(streamSettings(sound, bitrateBps));
      this.talker = new Talker(encoder, bitrateBps, outlet);
    }
    const { relayUrl: url, name, token } = settings;
    const streamInfo = this.talker?.info ?? null;
    this.connection = new RelayConnection(
      { url, room: settings.room, name, token, streamInfo },
      this,
      {
        open: (address, subprotocol) => new WebSocket(address, subprotocol) as Socket,
        now,
        after: (ms, run) => {
          const timer = setTimeout(run, ms);
          return () => clearTimeout(timer);
        },
        random: Math.random,
      },
    );
  }

  begin(): void {
    this.connection.begin();
    this.timers.push(setInterval(() => this.look(), LOOK_MS));
    this.timers.push(setInterval(() => this.report(), REPORT_MS));
  }

  leave(): void {
    this.connection.leave();
  }

  /** Sound goes to the loudspeaker through `link`. */
  play(link: SoundLink): void {
    this.output?.close();
    this.output = new Output(link, () => this.pump());
    this.lead = new Lead(LEAST_LEAD_MS);
    this.toDevice = converter(this.codecs.base.sound.sampleRate, link.sampleRate);
    this.pump();
  }

  /** What the loudspeaker is given is heard so much later. */
  takes(latencyMs: number): void {
    this.latencyMs = latencyMs;
  }

  /** What is said comes through `link`. */
  listen(link: SoundLink): void {
    this.input?.close();
    this.talker?.interrupted();
    this.input = new Input(link, (pcm, lost) => this.said(pcm, lost, link.sampleRate));
  }

  /** What is said comes in `frames`. */
  listenTo(frames: ReadableStream<AudioData>): void {
    this.input?.close();
    this.talker?.interrupted();
    this.input = new FrameInput(frames, (pcm, lost, rate) => this.said(pcm, lost, rate));
  }

  mute(muted: boolean): void {
    this.input?.drain(); // what was said before belongs before it
    this.talker?.mute(muted);
  }

  volume(stream: number | null, decibels: number): void {
    if (stream === null) this.volumes.overallDb = decibels;
    else this.volumes.set(stream, decibels);
  }

  hear(stream: number, heard: boolean): void {
    this.volumes.hear(stream, heard);
  }

  connected(welcome: Welcome, connection: number): void {
    this.number = connection;
    this.status = 'connected';
    this.reason = '';
    if (connection > 1) this.notice(['Connected again']);
    this.notice(this.room.connected(welcome));
    for (const start of welcome.streams) this.join(start);
    this.talker?.connected();
  }

  disconnected(reason: string): void {
    if (this.status === 'connected') this.talkers.leave(this.number, null);
    this.volumes.leave(null);
    this.status = this.number > 0 ? 'reconnecting' : 'connecting';
    this.reason = reason;
    this.talker?.disconnected();
  }

  media(datagram: Uint8Array, receivedMs: number): void {
    try {
      const packet = parse(datagram);
      const player = this.talkers.player({ connection: this.number, stream: packet.stream });
      if (player === null || ![AUDIO, AUDIO_WITH_COPY].includes(packet.type)) return;
      const [own, copy] = separate(packet, player.talker.info.packetSamples);
      player.receive(own, copy, receivedMs);
    } catch (error) {
      if (!(error instanceof MalformedPacket)) throw error;
    }
  }

  message(message: Message): void {
    this.notice(this.room.message(message));
    this.talker?.message(message);
    if (!('stream' in message) || message.stream === null) return;
    const key = { connection: this.number, stream: message.stream };
    if (message.type === 'stream_start') this.join(message);
    else if (message.type === 'stream_end') {
      this.talkers.leave(key.connection, key.stream);
      this.volumes.leave(key.stream);
    } else if (message.type === 'mute') this.talkers.mute(key, message.muted);
    else if (message.type === 'capture') this.talkers.player(key)?.captureClock(message);
  }

  ended(reason: string): void {
    for (const timer of this.timers) clearInterval(timer);
    this.output?.close();
    this.input?.close();
    this.post({ type: 'ended', reason });
  }

  /** pcm: from the microphone, at `sampleRate`; so many samples before it were lost. */
  private said(pcm: Float32Array, lost: number, sampleRate: number): void {
    const { talker } = this;
    if (talker === null) return;
    const rate = this.codecs.base.sound.sampleRate;
    if (this.fromDevice?.sampleRate !== sampleRate) {
      this.fromDevice = { sampleRate, resampler: converter(sampleRate, rate) };
    }
    const { resampler } = this.fromDevice;
    this.saidMs = now();
    const capturedMs = now() - (resampler?.delayS ?? 0) * 1000;
    if (lost > 0) talker.gap(Math.round((lost * rate) / sampleRate));
    const converted = resampler?.convert([pcm]) ?? [pcm];
    this.ownMeter.add(converted);
    talker.push(converted[0], capturedMs);
  }

  private join(start: Introduction): void {
    this.volumes.join(start.stream, start.name);
    this.talkers.join({ connection: this.number, stream: start.stream }, start);
  }

  private admitted(talker: Heard): StreamPlayer {
    const { facts } = this.codecs.base;
    const layered = talker.info.baseLevel >= facts.baseLevels;
    const codec = layered ? this.codecs.layered : this.codecs.base;
    if (codec === null) {
      const connection = this.number;
      void this.codecs.fetchLayered().then(
        () => this.number === connection && this.retry(talker.stream),
        (error: Error) => {
          this.notice([`${talker.name} cannot be heard yet: ${error.message}`]);
          setTimeout(() => this.number === connection && this.retry(talker.stream), FETCH_AGAIN_MS);
        },
      );
      throw new Error(FETCHING);
    }
    return new StreamPlayer(talker, codec.decoder(talker.info), codec.sound, now);
  }

  /** Somebody whose codec has come, if they are still there. */
  private retry(stream: number): void {
    const waiting = this.talkers.unheard.find(({ talker }) => talker.stream === stream);
    if (waiting !== undefined) {
      this.talkers.join({ connection: this.number, stream }, waiting.talker);
    }
  }

  /** Gives the loudspeaker what it needs next. */
  private pump(): void {
    const { output, toDevice } = this;
    if (output === null) return;
    const nowMs = now();
    this.pumpedMs = nowMs;
    this.lead.ranDry(output.dry, nowMs);
    const perMs = output.sampleRate / 1000;
    const samples = this.silence[0].length;
    const delayMs = (toDevice?.delayS ?? 0) * 1000;
    const offsetMs = this.connection.sync.offsetMs;
    for (let blocks = 0; blocks < MOST_BLOCKS; blocks++) {
      const waitingMs = output.waiting / perMs;
      if (waitingMs >= this.lead.ms(nowMs)) break;
      const parts: Part[] = [];
      const heardMs = now() + waitingMs + this.latencyMs + delayMs;
      for (const player of this.talkers.heard) {
        const pcm = player.pull(samples);
        player.meter.add(pcm ?? this.silence);
        if (pcm === null) continue;
        parts.push({ pcm, ...this.volumes.fade(player.talker.stream) });
        player.heard(heardMs, offsetMs);
      }
      const pcm = mixed(parts, samples);
      output.write(toDevice?.convert(pcm) ?? pcm);
    }
    this.talkers.removeFinished();
  }

  private notice(texts: string[]): void {
    for (const text of texts) this.post({ type: 'notice', text });
  }

  private look(): void {
    this.input?.drain();
    this.talker?.idle();
    if (++this.looks % LOOKS_PER_STATE === 0) this.show();
  }

  private show(): void {
    const { settings, room, talker } = this;
    const nowMs = now();
    const captures = nowMs - this.saidMs < STILL_MS;
    // A loudspeaker that stands still plays nobody out: who has left must not fill the room.
    if (nowMs - this.pumpedMs > STILL_MS) this.talkers.removeFinished(true);
    this.post({
      type: 'state',
      state: {
        connection: this.status,
        reason: this.reason,
        room: settings.room,
        me: {
          name: settings.name,
          talks: settings.talks,
          muted: talker?.muted ?? false,
          silenced: room.silenced,
          captures,
          level: captures ? this.ownMeter.level : SILENCE,
          bitrateBps: talker?.statistics().bitrateBps ?? 0,
        },
        people: room.talkers.map(({ stream, name, muted }) => this.person(stream, name, muted)),
        listeners: room.listeners,
        listenerNames: room.listenerNames,
        roundTripMs: this.connection.sync.roundTripMs,
        underruns: this.lead.lately(nowMs),
      },
    });
  }

  private person(stream: number, name: string, muted: boolean): Person {
    const player = this.talkers.player({ connection: this.number, stream });
    const call = player?.statistics();
    const unheard = this.talkers.unheard.find(({ talker }) => talker.stream === stream);
    return {
      stream,
      name,
      muted,
      level: (now() - this.pumpedMs < STILL_MS && player?.meter.level) || SILENCE,
      unheard: unheard?.reason ?? '',
      delayMs: call?.mouthToEarMs ?? null,
      concealedPercent: call?.concealedPercent ?? 0,
      mos: call?.mos ?? null,
      jitterMs: call?.jitterMs ?? 0,
      volumeDb: this.volumes.of(stream),
      heard: this.volumes.heard(stream),
    };
  }

  /** Tells each talker how its stream arrives here. */
  private report(): void {
    const roundTripMs = this.connection.sync.roundTripMs;
    for (const player of this.talkers.heard) {
      const statistics = numbers(player.statistics(), roundTripMs);
      const { stream } = player.talker;
      this.connection.tell({ type: 'report', stream, statistics, name: '', listener: 0 });
    }
  }
}

/** Between rates in Hz; null where nothing is to be converted. */
function converter(fromRate: number, toRate: number): Resampler | null {
  return fromRate === toRate ? null : new Resampler(fromRate, toRate);
}

/** By the names that the Python client gives them; what is not known is left out. */
function numbers(call: StreamStatistics, roundTripMs: number | null): Record<string, number> {
  const { playout } = call;
  const all = {
    received: playout.received,
    played: playout.played,
    lost: playout.lost,
    late: playout.late,
    duplicate: playout.duplicate,
    skipped: playout.skipped,
    concealed: playout.concealed,
    underruns: playout.underruns,
    recovered: playout.recovered,
    buffer_ms: playout.bufferMs,
    delay_ms: playout.delayMs,
    target_ms: playout.targetMs,
    jitter_ms: call.jitterMs,
    drift_ppm: call.driftPpm,
    mouth_to_ear_ms: call.mouthToEarMs,
    concealed_percent: call.concealedPercent,
    mos: call.mos,
    rtt_ms: roundTripMs,
  };
  const known = Object.entries(all).filter((entry): entry is [string, number] => entry[1] !== null);
  return Object.fromEntries(known);
}

function now(): number {
  return performance.now();
}

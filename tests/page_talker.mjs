// node page_talker.mjs CORE_JS: what the page sends, with an encoder that counts. Says as JSON what
// each check found: null where all is well.
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';
import { foundBy } from './page_checks.mjs';

const core = await import(pathToFileURL(process.argv[2]).href);
const RESET = 1;
const DTX = 4;
const DISCONTINUITY = 8;
const MODEL = '0123456789abcdef';

/** Encodes nothing: a payload says how many packets came since the reset, and the level. */
class Counting {
  facts = {
    hash: MODEL,
    sampleRate: 16000,
    packetSamples: 320,
    widening: 1,
    highBand: '',
    levelBitratesBps: [1000, 2000, 3000, 4000, 9000],
    baseLevels: 4,
  };
  baseLevel = 2;
  resets = 0;
  copies = 0;
  size = 8;
  copySize = 2;
  #since = 0;

  encode(pcm, level) {
    assert.equal(pcm.length, this.facts.packetSamples);
    this.first = pcm[0];
    this.#since += 1;
    return new Uint8Array(this.size).fill(level, 1).fill(this.#since, 0, 1);
  }

  copy() {
    this.copies += 1;
    return new Uint8Array(this.copySize).fill(this.#since);
  }

  reset() {
    this.resets += 1;
    this.#since = 0;
  }
}

/** A talker whose packets and messages are kept. */
class Stage {
  nowMs = 1000;
  offsetMs = null;
  takes = true;
  packets = [];
  told = []; // messages, and 'packet' for each packet

  constructor(bitrateBps = 3000, connected = true, facts = {}) {
    this.encoder = new Counting();
    Object.assign(this.encoder.facts, facts);
    const { baseLevel, highBand } = core.streamSettings(this.encoder.facts, bitrateBps);
    this.encoder.baseLevel = baseLevel;
    this.encoder.facts.highBand = highBand;
    this.talker = new core.Talker(this.encoder, bitrateBps, {
      send: datagram => {
        if (!this.takes) return 0;
        const [own, copy] = core.separate(core.parse(datagram), 320);
        this.packets.push({ ...own, copy });
        this.told.push('packet');
        return datagram.length;
      },
      tell: message => this.told.push(message),
      relayOffsetMs: () => this.offsetMs,
      now: () => this.nowMs,
    });
    if (connected) this.talker.connected();
  }

  /** Captures so many samples, in blocks of `block`. */
  speak(samples, block = 320) {
    for (let left = samples; left > 0; left -= block) {
      const size = Math.min(block, left);
      this.nowMs += (size * 1000) / this.encoder.facts.sampleRate;
      this.talker.push(new Float32Array(size).fill(0.5), this.nowMs);
    }
    return this;
  }

  /** A listener wants copies, and loses packets. */
  lose(copies = 4) {
    this.talker.message({ type: 'copies_wanted', copies });
    for (const lost of [0, 50]) {
      const statistics = { received: 100 + lost, lost };
      const report = { type: 'report', stream: 1, name: 'Lis', listener: 1, statistics };
      this.talker.message(report);
    }
    return this;
  }

  fields(name) {
    return this.packets.map(packet => packet[name]);
  }
}

const checks = {
  the_first_packet_has_reset_and_numbers_go_on() {
    const { packets, talker, encoder } = new Stage().speak(1700, 100);
    assert.deepEqual(
      packets.map(p => p.flags),
      [RESET, 0, 0, 0, 0],
    );
    assert.deepEqual(
      packets.map(p => p.sequence),
      [0, 1, 2, 3, 4],
    );
    assert.deepEqual(
      packets.map(p => p.captureTime),
      [0, 320, 640, 960, 1280],
    );
    assert.deepEqual(
      packets.map(p => p.payload[0]),
      [1, 2, 3, 4, 5],
    );
    assert.equal(encoder.resets, 1);
    assert.deepEqual(talker.info, {
      ...{ model: MODEL, sampleRate: 16000, channels: 1, packetSamples: 320 },
      ...{ baseLevel: 2, bitrateBps: 3000, redundancy: 4, keyId: '', highBand: '', jointStereo: '' },
    });
  },

  a_rate_beyond_the_levels_is_the_highest() {
    const { facts } = new Counting();
    assert.equal(core.streamSettings(facts, 12_000).baseLevel, 3);
    assert.equal(core.streamSettings(facts, 500).baseLevel, 0);
    const stage = new Stage(12_000);
    stage.encoder.size = 30;
    assert.equal(stage.talker.info.bitrateBps, 4000);
    assert.ok(stage.speak(16_000).packets.every(packet => packet.payload[1] < 4));
    assert.throws(() => new core.Talker(new Counting(), 12_000, {}), RangeError);
  },

  full_band_is_counted_in_samples_of_the_core_and_costs_800_bits_a_second() {
    const fullBand = { sampleRate: 48_000, packetSamples: 960, widening: 3, highBand: 'b'.repeat(16) };
    const stage = new Stage(4000, true, fullBand).lose(1).speak(960 * 3 + 100, 960);
    const { highBand, ...info } = stage.talker.info;
    assert.equal(highBand, fullBand.highBand);
    assert.deepEqual([info.sampleRate, info.packetSamples, info.bitrateBps], [16_000, 320, 4000]);
    assert.equal(info.baseLevel, 2); // at 16 kHz it is 3
    stage.talker.gap(1001);
    stage.nowMs += 1001 / 48;
    stage.speak(960 * 2, 960);
    const second = Math.floor((960 * 3 + 1001) / 3);
    assert.deepEqual(stage.fields('captureTime'), [0, 320, 640, second, second + 320]);
    assert.equal(stage.packets[4].copy.captureTime, second);
    stage.nowMs += 500;
    stage.talker.idle();
    const [first, last] = stage.packets.slice(-2);
    assert.equal(last.captureTime - first.captureTime, 320);
    // where that would be more than a fifth of the rate, it is left out
    const { baseLevel, bitrateBps, highBand: none } = new Stage(3000, true, fullBand).talker.info;
    assert.deepEqual([baseLevel, bitrateBps, none], [2, 3000, '']);
  },

  nothing_is_sent_while_muted_and_the_room_is_told() {
    const stage = new Stage().speak(700);
    stage.talker.mute(true);
    stage.talker.mute(true);
    stage.speak(3200);
    stage.talker.mute(false);
    stage.speak(700);
    const mute = muted => ({ type: 'mute', muted, stream: 0 });
    assert.deepEqual(stage.told, ['packet', 'packet', mute(true), mute(false), 'packet', 'packet']);
    assert.deepEqual(stage.fields('sequence'), [0, 1, 2, 3]);
    assert.deepEqual(stage.fields('captureTime'), [0, 320, 3900, 4220]);
    assert.deepEqual(stage.fields('flags'), [RESET, 0, RESET | DISCONTINUITY, 0]);
    assert.deepEqual([stage.encoder.resets, stage.packets[2].payload[0]], [2, 1]);
  },

  what_was_captured_without_a_connection_is_never_sent() {
    const stage = new Stage(3000, false).speak(1000);
    assert.equal(stage.packets.length, 0);
    stage.talker.connected();
    stage.speak(500);
    stage.talker.disconnected();
    stage.speak(1000);
    stage.talker.connected();
    stage.speak(700);
    assert.deepEqual(stage.fields('captureTime'), [1000, 2500, 2820]);
    const begin = RESET | DISCONTINUITY;
    assert.deepEqual(stage.fields('flags'), [begin, begin, 0]);
    assert.deepEqual(stage.fields('sequence'), [0, 1, 2]);
    assert.deepEqual(stage.told, ['packet', 'packet', 'packet']); // never muted: nothing to tell
    stage.talker.disconnected();
    stage.talker.mute(true);
    assert.equal(stage.told.length, 3);
    stage.talker.connected();
    assert.deepEqual(stage.told[3], { type: 'mute', muted: true, stream: 0 });
  },

  a_connection_whose_first_packet_was_not_taken_begins_anew() {
    const stage = new Stage();
    stage.takes = false;
    stage.speak(320);
    stage.takes = true;
    stage.speak(640, 640);
    assert.deepEqual(stage.fields('flags'), [RESET | DISCONTINUITY, 0]);
    assert.equal(stage.talker.statistics().dropped, 1);
  },

  a_gap_of_the_capture_is_told() {
    const stage = new Stage().speak(640 + 100);
    stage.talker.gap(1000);
    stage.nowMs += 1000 / 16;
    stage.speak(640);
    assert.deepEqual(stage.fields('captureTime'), [0, 320, 1640, 1960]);
    assert.deepEqual(stage.fields('flags'), [RESET, 0, DISCONTINUITY, 0]);
    assert.equal(stage.encoder.resets, 1);
  },

  a_microphone_that_stands_still_is_announced() {
    const stage = new Stage().speak(740);
    stage.nowMs += 190;
    stage.talker.idle();
    assert.equal(stage.packets.length, 2);
    stage.nowMs += 10;
    stage.talker.idle();
    stage.talker.idle();
    stage.nowMs += 800;
    stage.talker.gap(16_000); // the clock has said how long it was
    stage.speak(320);
    const pauseEnd = 740 + 3200;
    const captured = [0, 320, pauseEnd - 640, pauseEnd - 320, 740 + 16_000];
    assert.deepEqual(stage.fields('captureTime'), captured);
    const flags = [RESET, 0, DTX | DISCONTINUITY, DTX, RESET | DISCONTINUITY];
    assert.deepEqual(stage.fields('flags'), flags);
    assert.deepEqual(
      stage.packets.map(packet => packet.payload.length),
      [8, 8, 0, 0, 8],
    );
    assert.deepEqual(stage.fields('sequence'), [0, 1, 2, 3, 4]);
  },

  what_was_only_late_does_not_put_the_stream_ahead_for_good() {
    const stage = new Stage().speak(640);
    stage.nowMs += 200;
    stage.talker.idle();
    stage.talker.push(new Float32Array(3200), stage.nowMs);
    assert.equal(stage.packets.length, 2 + 2 + 10);
    stage.nowMs += 1000;
    stage.talker.idle();
    const { captureTime, flags } = stage.packets.at(-1);
    assert.deepEqual([captureTime, flags], [(stage.nowMs - 1000) * 16 - 320, DTX]);
  },

  copies_go_only_where_they_are_wanted() {
    const calm = new Stage().speak(3200);
    calm.talker.message({ type: 'copies_wanted', copies: 4 });
    calm.speak(3200);
    assert.ok(calm.packets.every(packet => packet.copy === null));
    assert.equal(calm.encoder.copies, 0);
    for (const wanted of [0, 1, 3, 4]) {
      const stage = new Stage().speak(3200).lose(wanted).speak(3200);
      const copied = stage.packets.filter(packet => packet.copy !== null);
      assert.equal(copied.length, wanted && 10 - wanted);
      for (const { sequence, captureTime, copy } of copied) {
        assert.deepEqual(
          [sequence - copy.sequence, captureTime - copy.captureTime],
          [wanted, 320 * wanted],
        );
        assert.equal(copy.payload[0], copy.sequence + 1);
      }
    }
    const stage = new Stage().lose(4).speak(3200);
    assert.notEqual(stage.packets.at(-1).copy, null);
    stage.talker.disconnected();
    stage.talker.connected();
    assert.ok(
      stage
        .speak(6400)
        .packets.slice(10)
        .every(packet => packet.copy === null),
    );
    stage.talker.message({ type: 'copies_wanted', copies: 4 }); // losses are remembered
    assert.notEqual(stage.speak(3200).packets.at(-1).copy, null);
  },

  a_payload_that_is_coarse_is_its_own_copy() {
    for (const size of [6, 9]) {
      const stage = new Stage().lose(4);
      stage.encoder.size = size;
      const finer = stage.speak(9600).packets.filter(packet => packet.payload[1] > 2);
      assert.equal(stage.encoder.copies, finer.length);
      assert.equal(finer.length > 10, size === 6);
    }
  },

  copies_beyond_what_is_free_are_saved() {
    const finer = [2, 60].map(copySize => {
      const stage = new Stage().lose(4);
      Object.assign(stage.encoder, { size: 7, copySize });
      return stage.speak(16_000).packets.filter(packet => packet.payload[1] > 2).length;
    });
    assert.ok(finer[1] < finer[0] / 2, String(finer));
  },

  no_copy_lies_before_a_reset_or_a_gap() {
    const interruptions = [
      stage => stage.talker.gap(160),
      stage => {
        stage.talker.mute(true);
        stage.speak(3200);
        stage.talker.mute(false);
      },
      stage => {
        stage.nowMs += 500;
        stage.talker.idle();
      },
    ];
    for (const flags of [RESET, DISCONTINUITY, 0]) {
      const history = new core.CopyHistory(1, 320);
      const packet = { type: 0, flags: 0, stream: 0, payload: Uint8Array.of(1) };
      history.add({ ...packet, sequence: 0, captureTime: 0 }, Uint8Array.of(2));
      const next = { ...packet, flags, sequence: 1, captureTime: 320 };
      assert.equal(history.add(next, Uint8Array.of(3)).type, flags === 0 ? 2 : 0);
    }
    for (const interrupt of interruptions) {
      const stage = new Stage().lose(2).speak(3200);
      interrupt(stage);
      stage.speak(3200);
      const begun = stage.packets.findLastIndex(packet => packet.flags & DISCONTINUITY);
      assert.ok(begun >= 10);
      const copies = stage.packets.slice(begun).map(packet => packet.copy !== null);
      assert.deepEqual(copies.slice(0, 4), [false, false, true, true]);
    }
  },

  a_payload_that_fits_no_packet_is_left_out() {
    const stage = new Stage().speak(320);
    stage.encoder.size = 1201;
    stage.speak(320);
    stage.encoder.size = 8;
    stage.speak(320);
    assert.deepEqual(stage.fields('sequence'), [0, 1]);
    assert.deepEqual(stage.fields('captureTime'), [0, 640]);
    assert.deepEqual(stage.fields('flags'), [RESET, RESET | DISCONTINUITY]);
  },

  a_faulty_driver_is_silent() {
    const stage = new Stage();
    stage.talker.push(new Float32Array(320).fill(NaN), 1020);
    assert.equal(stage.encoder.first, 0);
  },

  captures_are_told_by_the_clock_of_the_relay() {
    const stage = new Stage().speak(3200);
    const marks = () => stage.told.filter(told => told.type === 'capture');
    assert.equal(marks().length, 0);
    stage.offsetMs = 5000;
    stage.speak(16_000 * 2.5);
    assert.equal(marks().length, 3);
    for (const mark of marks()) assert.equal(mark.relayMs, 5000 + 1000 + mark.captureTime / 16);
    stage.talker.gap(400);
    stage.nowMs += 25;
    stage.speak(640);
    assert.equal(marks().length, 4);
    assert.equal(marks()[3].relayMs, 6000 + marks()[3].captureTime / 16);
  },

  the_bit_rate_is_that_of_the_last_seconds() {
    const stage = new Stage().speak(16_000 * 5);
    const { bitrateBps, packets, payloadBytes } = stage.talker.statistics();
    assert.ok(Math.abs(bitrateBps - 50 * 8 * 8) < 30);
    assert.deepEqual([packets, payloadBytes], [250, 2000]);
    stage.nowMs += 3_001;
    assert.equal(stage.talker.statistics().bitrateBps, 0);
  },
};

console.log(JSON.stringify(foundBy(checks)));

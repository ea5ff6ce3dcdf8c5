// node page_parts.mjs CORE_JS: small parts of the page that have no counterpart in Python. Prints what
// is wrong, as JSON.
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';
import { foundBy } from './page_checks.mjs';

const core = await import(pathToFileURL(process.argv[2]).href);
const { Backlog, CallQuality, Input, Lead, LossFade, Resampler, Ring, Volumes } = core;
const { StreamPlayer, Talkers, mixed, ringMemory, toHalf, undecodable } = core;
const OURS = { model: 'a'.repeat(16), sampleRate: 16_000, packetSizes: [320, 640], jointStereo: 'd'.repeat(16) };
const INFO = {
  ...{ model: OURS.model, sampleRate: 16_000, channels: 2, packetSamples: 320, baseLevel: 0 },
  ...{ bitrateBps: 0, redundancy: 0, keyId: '', highBand: '', jointStereo: OURS.jointStereo },
};

const parts = {
  'a ring gives what it was given, in order, where its counters wrap'() {
    const memory = ringMemory(100, 2);
    const counters = new Int32Array(memory, 0, 2);
    counters.fill(-50); // both: 50 before 2^32
    const [writer, reader] = [new Ring(memory, 2), new Ring(memory, 2)];
    let [next, expected] = [0, 0];
    for (let turn = 0; turn < 50; turn++) {
      const left = Float32Array.from({ length: 37 }, () => next++);
      const single = turn % 2 === 0; // it is on both sides then
      const pcm = single ? [left] : [left, left.map(sample => -sample)];
      assert.equal(writer.write(pcm), 37);
      assert.equal(reader.waiting, 37);
      const got = [new Float32Array(64), new Float32Array(64)];
      assert.equal(reader.read(got), 37);
      for (let t = 0; t < 37; t++, expected++) {
        assert.deepEqual([got[0][t], got[1][t]], [expected, single ? expected : -expected]);
      }
    }
  },
  'a full ring takes no more, and loses nothing of what it has'() {
    const ring = new Ring(ringMemory(64, 1), 1);
    assert.equal(ring.write([new Float32Array(100).fill(1)]), 64);
    assert.equal(ring.write([new Float32Array(1)]), 0);
    const got = new Float32Array(100);
    assert.equal(ring.read([got]), 64);
    assert.equal(got.filter(sample => sample === 1).length, 64);
  },
  'what a microphone gave is heard before its message comes, and once'() {
    const memory = ringMemory(100, 1);
    const port = { onmessage: null };
    const heard = [];
    const link = { memory, port, sampleRate: 48_000, channels: 1 };
    const input = new Input(link, (pcm, lost) => heard.push([...pcm, lost]));
    new Ring(memory, 1).write([Float32Array.of(1, 2)]);
    input.drain();
    input.drain();
    assert.deepEqual(heard, [[1, 2, 0]]);
    port.onmessage({ data: { pcm: null, lost: 3 } });
    assert.deepEqual(heard[1], [3]);
  },
  'a loudspeaker that ran dry is given more for a while'() {
    const lead = new Lead(12);
    lead.ranDry(0, -5000);
    lead.ranDry(2, -4000); // it has just begun
    assert.ok(lead.ms(-4000) > 16);
    lead.ranDry(2, 0);
    assert.equal(lead.ms(0), 12);
    assert.equal(lead.lately(0), 0);
    lead.ranDry(3, 1000);
    lead.ranDry(5, 1050); // the same stall
    assert.equal(lead.ms(1050).toFixed(2), '16.99');
    assert.equal(lead.lately(1050), 1);
    lead.ranDry(6, 3000);
    assert.ok(lead.ms(3000) > 20);
    assert.equal(lead.lately(10_999), 2);
    assert.equal(lead.lately(11_001), 1);
    assert.equal(lead.ms(200_000), 12);
  },
  'several talkers are added, each as loud as wanted, and never beyond full scale'() {
    const volumes = new Volumes();
    ['Ada', 'Bob', 'Eve'].forEach((name, n) => volumes.join(n + 1, name));
    volumes.set(1, -20);
    volumes.hear(2, false);
    const parts = [1, 2, 3].map(stream => ({
      pcm: [new Float32Array(4).fill(0.5)],
      ...volumes.fade(stream),
    }));
    const sums = mixed(parts, 4);
    assert.equal(sums.length, 1);
    assert.ok(sums[0].every(sample => Math.abs(sample - 0.55) < 1e-6));
    volumes.overallDb = 20;
    [1, 2, 3].forEach(stream => volumes.fade(stream));
    const loud = [1, 2, 3].map(s => ({ pcm: [new Float32Array(4).fill(-1)], ...volumes.fade(s) }));
    assert.ok(mixed(loud, 4)[0].every(sample => sample >= -1 && sample < -0.9));
  },
  'a volume changes within a block, without a step'() {
    const volumes = new Volumes();
    volumes.join(1, 'Ada');
    assert.deepEqual(volumes.fade(1), { from: 1, gain: 1 });
    volumes.hear(1, false);
    const pcm = [new Float32Array(4).fill(0.5)];
    const [sum] = mixed([{ pcm, ...volumes.fade(1) }], 4);
    assert.deepEqual([...sum], [0.375, 0.25, 0.125, 0]);
    assert.deepEqual(volumes.fade(1), { from: 0, gain: 0 });
  },
  'who comes back is as loud as before, whatever number the relay gives them'() {
    const volumes = new Volumes();
    ['Ada', 'Bob', 'Ada'].forEach((name, n) => volumes.join(n + 1, name));
    volumes.set(2, -21);
    volumes.hear(3, false); // the second Ada
    volumes.leave(null);
    ['Bob', 'Ada', 'Ada'].forEach((name, n) => volumes.join(n + 1, name));
    assert.deepEqual([1, 2, 3].map(stream => volumes.of(stream)), [-21, 0, 0]);
    assert.deepEqual([1, 2, 3].map(stream => volumes.heard(stream)), [true, true, false]);
    volumes.leave(3);
    volumes.join(3, 'Eve');
    assert.ok(volumes.heard(3));
    volumes.join(3, 'Eve'); // with another bit rate
    volumes.leave(1);
    volumes.join(4, 'Bob');
    assert.equal(volumes.of(4), -21);
  },
  'one channel is heard on both sides beside a talker of two, as loud as without'() {
    const part = (gain, ...levels) => {
      const pcm = levels.map(level => new Float32Array(4).fill(level));
      return { pcm, from: gain, gain };
    };
    const [left, right, ...more] = mixed([part(1, 0.25), part(0.5, 0.5, -0.25)], 4);
    assert.deepEqual([[...left], [...right]], [Array(4).fill(0.5), Array(4).fill(0.125)]);
    assert.equal(more.length, 0);
    assert.deepEqual(mixed([], 2), [new Float32Array(2)]);
    const [bent, kept] = mixed([part(1, 0.5), part(1, 0.9, 0)], 4);
    assert.ok(bent.every(sample => sample > 0.9 && sample <= 1));
    assert.ok(kept.every(sample => sample === 0.5));
  },
  'float16 is the nearest, and of two the even one'() {
    for (const [value, bits] of [
      [1, 0x3c00],
      [-2, 0xc000],
      [0, 0],
      [1 + 2 ** -11, 0x3c00],
      [1 + 3 * 2 ** -11, 0x3c02],
      [65504, 0x7bff],
      [2 ** -14, 0x0400],
      [2 ** -24, 0x0001],
      [2 ** -25, 0x0000],
      [3 * 2 ** -25, 0x0002],
      [-(2 ** -20), 0x8010],
      [2047.5 / 2048, 0x3c00],
    ]) {
      assert.equal(toHalf(value), bits, `${value}`);
    }
  },
  'a clock that cannot be right gives no delay'() {
    const quality = new CallQuality(16_000, 320, 0);
    for (const [relayMs, known] of [[0, true], [-1e18, false], [60_101, false], [0, true]]) {
      quality.captureClock({ captureTime: 0, relayMs });
      quality.begins(0, 0);
      quality.heard(100, 0);
      assert.equal(quality.rating().mouthToEarMs !== null, known);
    }
  },
  'joint stereo is decoded by the tables that it was made with, and by no others'() {
    assert.equal(undecodable(INFO, OURS), null);
    assert.equal(undecodable({ ...INFO, jointStereo: '' }, OURS), null);
    assert.match(undecodable({ ...INFO, channels: 1 }, OURS), /a single channel/);
    const foreign = undecodable({ ...INFO, jointStereo: 'e'.repeat(16) }, OURS);
    assert.match(foreign, /with tables e{16}, and this page has d{16}/);
    assert.match(undecodable(INFO, { ...OURS, jointStereo: '' }), /this page has none/);
    let admitted = 0;
    const player = talker => (admitted++, { talker, resume() {}, end() {} });
    const talkers = new Talkers(player, () => {}, OURS);
    const key = { connection: 1, stream: 2 };
    for (const jointStereo of ['', OURS.jointStereo, OURS.jointStereo]) {
      talkers.join(key, { stream: 2, name: 'Ada', info: { ...INFO, jointStereo } });
    }
    assert.equal(admitted, 2); // the stream without it is another
    for (const channels of [1, 1, 2]) {
      talkers.join(key, { stream: 2, name: 'Ada', info: { ...INFO, channels, jointStereo: '' } });
    }
    assert.equal(admitted, 4);
  },
  'a player at full band counts in its own samples, over the end of the times on the wire'() {
    let nowMs = 0;
    const resets = [];
    const decoder = {
      decode: payload => [new Float32Array(960).fill(payload === null ? 0 : 0.5)],
      reset: begins => resets.push(begins),
    };
    const talker = { stream: 1, name: 'Ada', info: { ...INFO, channels: 1 } };
    const player = new StreamPlayer(talker, decoder, { widening: 3, overlap: 480 }, () => nowMs);
    const wrapped = n => (2 ** 32 - 3200 + 320 * n) % 2 ** 32;
    player.captureClock({ captureTime: wrapped(0), relayMs: 0 });
    const delays = [];
    let heard = 0;
    for (let n = 0; n < 50; n++, nowMs += 20) {
      const flags = n === 0 ? 1 : 0;
      const packet = { sequence: n, captureTime: wrapped(n), flags, payload: Uint8Array.of(1) };
      const copy = n % 7 === 3 ? { ...packet, sequence: n - 1, captureTime: wrapped(n - 1) } : null;
      if (n % 7 !== 2) player.receive(packet, copy, nowMs);
      for (let block = 0; block < 4; block++) {
        const pcm = player.pull(240);
        if (pcm === null) continue;
        assert.deepEqual([pcm.length, pcm[0].length], [1, 240]);
        heard += pcm[0].length;
        player.heard(nowMs + 5 * block, 0);
      }
      delays.push(player.statistics().mouthToEarMs);
    }
    assert.ok(heard > 960 * 40);
    assert.deepEqual(resets.slice(0, 1), [true]);
    assert.ok(resets.slice(1).every(begins => !begins));
    const known = delays.filter(delay => delay !== null);
    assert.ok(known.length > 40);
    assert.ok(Math.min(...known) >= 10 && Math.max(...known) < 150, `${known}`);
  },
  'two channels of a talker stay together, at all speeds and behind losses'() {
    let nowMs = 0;
    let decoded = 0; // samples
    const left = n => Math.sin(n * 0.05) * (0.3 + 0.1 * Math.sin(n * 0.0007));
    const decoder = {
      decode() {
        const plane = Float32Array.from({ length: 320 }, (_, n) => left(decoded + n));
        decoded += 320;
        return [plane, plane.map(sample => -sample / 4)];
      },
      reset() {},
    };
    const talker = { stream: 1, name: 'Ada', info: INFO };
    const player = new StreamPlayer(talker, decoder, { widening: 1, overlap: 0 }, () => nowMs);
    const lateMs = n => (n < 100 ? 90 * (n % 2) : 0);
    const arrivals = Array.from({ length: 500 }, (_, n) => [20 * n + lateMs(n), n]);
    arrivals.sort(([one], [other]) => one - other);
    let least = 0;
    const delaysMs = [];
    for (; nowMs < 10_000; nowMs += 5) {
      while (arrivals.length > 0 && arrivals[0][0] <= nowMs) {
        const [, n] = arrivals.shift();
        // Marked as speech: no comfort noise, which each channel has of its own, is learnt.
        const packet = { sequence: n, captureTime: 320 * n, flags: n === 0 ? 3 : 2, payload: [1] };
        if (n % 50 !== 49) player.receive(packet, null, nowMs);
      }
      const pcm = player.pull(80);
      if (pcm === null) continue;
      assert.equal(pcm.length, 2);
      assert.deepEqual(pcm.map(plane => plane.length), [80, 80]);
      const wrong = pcm[0].map((sample, t) => Math.abs(sample / 4 + pcm[1][t]));
      assert.ok(Math.max(...wrong) < 1e-6);
      least = Math.min(least, ...pcm[0]);
      delaysMs.push(player.statistics().playout.delayMs);
    }
    assert.ok(least < -0.3);
    const { played, concealed, skipped } = player.statistics().playout;
    assert.ok(concealed > 5 && played > 400 && skipped === 0, `${[concealed, played, skipped]}`);
    // The delay changed more than resampling changes it: time was scaled, both ways.
    const [most, last] = [Math.max(...delaysMs), delaysMs.at(-1)];
    assert.ok(most - last > 40 && most - delaysMs[100] > 40, `${delaysMs}`);
  },
  'comfort noise of two channels is as loud as theirs was, and not the same'() {
    let state = 1;
    const random = () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
    const fade = new LossFade(16_000, 2, 320, random);
    const silent = [new Float32Array(320), new Float32Array(320)];
    for (let n = 0; n < 50; n++) {
      const plane = Float32Array.from({ length: 320 }, () => random() / 10 - 0.05);
      fade.packet([plane, plane.map(sample => sample / 10)], 0, false);
    }
    const powerOfNoise = (0.003 * (1 + 0.01)) / 2 / 1200; // below speech
    for (const next of [() => fade.concealed(silent), () => fade.background(320)]) {
      for (let n = 0; n < 8; n++) next();
      const blocks = Array.from({ length: 40 }, next);
      const [left, right] = [0, 1].map(c => blocks.flatMap(block => [...block[c]]));
      const product = (one, other) => one.reduce((sum, x, t) => sum + x * other[t], 0) / 12_800;
      const [ll, lr, rr] = [product(left, left), product(left, right), product(right, right)];
      assert.ok(Math.abs(10 * Math.log10((ll + rr) / 2 / powerOfNoise)) < 1, `${ll} and ${rr}`);
      assert.ok(Math.abs(10 * Math.log10(ll / rr) - 20) < 1, `${ll} and ${rr}`);
      assert.ok(Math.abs(lr) < 0.1 * Math.sqrt(ll * rr), `${lr}`);
    }
  },
  'what was written long ago is forgotten though nobody asks'() {
    const backlog = new Backlog();
    for (let n = 0; n < 1000; n++) backlog.wrote(10, n < 500 ? 0 : 30, n);
    assert.ok(backlog.length <= 5, `${backlog.length} are kept`);
    assert.equal(backlog.waitingMs(30, 1000), 3);
  },
  'a resampler keeps a tone, at all rates that devices have'() {
    for (const [from, to] of [[48_000, 16_000], [44_100, 16_000], [16_000, 44_100], [16_000, 48_000]]) {
      const resampler = new Resampler(from, to);
      const out = [];
      for (let block = 0, t = 0; block < 100; block++) {
        const pcm = Float32Array.from({ length: from / 100 }, () => Math.sin((t++ * 2e3 * Math.PI) / from));
        out.push(...resampler.convert([pcm])[0]);
      }
      assert.equal(out.length, to);
      const late = resampler.delayS * to;
      const wrong = out.map((sample, n) => Math.abs(sample - Math.sin(((n - late) * 2e3 * Math.PI) / to)));
      assert.ok(Math.max(...wrong.slice(to / 10)) < 1e-3, `${from} to ${to}`);
    }
  },
  'a resampler takes one channel and two in turn, without a step'() {
    const cases = [[48_000, 44_100, 1], [16_000, 16_000, 1.001], [16_000, 16_000, 1]];
    for (const [from, to, speed] of cases) {
      const [ofBoth, ofLeft] = [new Resampler(from, to), new Resampler(from, to)];
      for (let block = 0, t = 0; block < 60; block++) {
        const pcm = Float32Array.from({ length: from / 100 }, () => Math.sin(t++ / 9));
        const stereo = block % 20 < 10 ? [pcm] : [pcm, block % 20 < 15 ? pcm : pcm.map(s => -s)];
        const [left, right, ...more] = ofBoth.convert(stereo, speed);
        assert.equal(more.length, 0);
        assert.deepEqual(left, ofLeft.convert([pcm], speed)[0]);
        assert.equal(right !== undefined, block % 20 >= 10);
        if (block % 20 >= 10 && block % 20 < 15) assert.deepEqual(right, left);
        // The kernel is longer than what came before the signs changed.
        if (block % 20 > 15) assert.deepEqual(right, left.map(s => -s));
      }
    }
  },
};

console.log(JSON.stringify(foundBy(parts)));

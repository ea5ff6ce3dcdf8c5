// Replays tests/golden/playout.json (see playout_vectors.py, whose functions these are) against
// the page's playout: node playout_vectors.mjs CORE.js PLAYOUT.json. Prints a line for each
// mismatch and exits with 1 if there is any; else a JSON line of how many answers were compared.

import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [core, file] = process.argv.slice(2);
const page = await import(pathToFileURL(resolve(core)).href);
const vectors = JSON.parse(readFileSync(file, 'utf8'));

const RATE = 16_000;
const PACKET = 320;
const KEPT_SAMPLES = 16;
const NOISE_DB = 1; // comfort noise is random, and its generator another one

const playout = packetMs => new page.AdaptivePlayout(packetMs, RATE / 1000);

function answer(buffer, [name, now, ...rest]) {
  if (name === 'r') {
    const [sequence, captureTime, flags] = rest;
    const payload = Uint8Array.of(sequence & 255, 0);
    return buffer.receive(sequence, captureTime, payload, flags, now);
  }
  if (name === 'c') {
    const [sequence, captureTime] = rest;
    const payload = Uint8Array.of(sequence & 255, 1);
    return buffer.recover({ sequence, captureTime, payload }, now);
  }
  if (name === 'p') {
    const event = buffer.poll(now);
    if (event === null) return null;
    if (event.kind === 'conceal') return event.sequence;
    if (event.payload[0] !== (event.sequence & 255)) return 'the payload of another packet';
    const { sequence, waitedMs, speed, flags, follows, captureTime } = event;
    return [sequence, waitedMs, speed, flags, Number(follows), captureTime, event.payload[1]];
  }
  if (name === 's') {
    const s = buffer.statistics();
    const counts = [s.received, s.played, s.lost, s.late, s.duplicate, s.skipped, s.concealed];
    const more = [s.underruns, s.restarts, s.recovered, s.bufferMs, s.delayMs, s.targetMs];
    return [...counts, ...more, Number(buffer.drained)];
  }
  return buffer[name]() ?? null;
}

function ledger(calls) {
  const kept = new page.SequenceLedger(20);
  const answers = calls.map(([sequence, flags]) => {
    const entered = kept.enter(sequence, flags);
    return [...entered, kept.missing((sequence - 3 + 2 ** 32) % 2 ** 32)];
  });
  return [...answers, [kept.received, kept.lost, kept.duplicates, kept.restarts]];
}

function delayTarget(arrivals) {
  const target = new page.DelayTarget(20, 20, 360);
  return arrivals.map(([mediaMs, nowMs]) => {
    target.arrived(mediaMs, nowMs);
    return [target.ms, Number(target.outage), target.baselineMs];
  });
}

function speeds(waits) {
  const control = new page.SpeedControl();
  return waits.map(([errorMs, waitedMs]) => control.next(errorMs, waitedMs));
}

function ratings(pairs) {
  return pairs.map(([delayMs, share]) => {
    const rating = page.transmissionRating(delayMs, share);
    return [rating, page.meanOpinion(rating)];
  });
}

function arrivalStatistics(ppm) {
  const arrivals = new page.ArrivalStatistics();
  const answers = [];
  for (let n = 0; n < 3_000; n++) {
    arrivals.arrived(20 * n, 20 * n * (1 + ppm * 1e-6) + ((n * 7_919) % 13) * 0.5);
    if (n % 500 === 499) answers.push([arrivals.jitterMs, arrivals.driftPpm]);
  }
  return answers;
}

/** Of each channel [samples] from sample `begin` on, of [Hz, amplitude] each. */
function sines(channels, begin, samples) {
  return channels.map(parts =>
    Float32Array.from({ length: samples }, (_, n) =>
      parts.reduce(
        (sum, [hz, a]) => sum + a * Math.sin((2 * Math.PI * hz * (begin + n)) / RATE + hz),
        0,
      ),
    ),
  );
}

function written(pcm) {
  const kept = pcm.map(plane => [...plane.filter((_, n) => n % KEPT_SAMPLES === 0)]);
  return [pcm[0].length, ...kept.flat()];
}

function timeScaler(channels, itsSpeeds) {
  const scaler = new page.TimeScaler(RATE);
  return itsSpeeds.map((speed, n) =>
    written(scaler.scale(sines(channels, PACKET * n, PACKET), speed)),
  );
}

function lossFade(channels, calls) {
  const fade = new page.LossFade(RATE, channels.length, PACKET);
  return calls.map(([name, ...rest], n) => {
    const pcm = sines(channels, PACKET * n, PACKET);
    let out = null;
    if (name === 'packet') {
      const [flags, restarts, substitute] = rest;
      out = fade.packet(pcm, flags, Boolean(restarts), Boolean(substitute));
      fade.heard(out);
    } else if (name === 'concealed') {
      out = fade.concealed(pcm);
      fade.heard(out);
    } else if (name === 'end_pause') {
      fade.endPause();
    } else {
      out = fade[name](...rest);
    }
    const state = [fade.lostMs, Number(fade.continues), Number(fade.silent)];
    return [...state, ...(out ? written(out) : [])];
  });
}

/** Uniform in 0 <= x < 1, the same in every run (Park and Miller's generator). */
function seeded(state) {
  return () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647;
}

function noisePowers(channels, pause, begin) {
  const fade = new page.LossFade(RATE, channels.length, PACKET, seeded(1));
  for (let n = 0; n < 100; n++) {
    fade.packet(sines(channels, PACKET * n, PACKET), pause && n === 99 ? 4 : 0, false);
  }
  const parts = Array.from({ length: begin + 50 }, () => fade.background(PACKET)).slice(begin);
  return channels.flatMap((_, c) => {
    const pcm = parts.flatMap(part => [...part[c]]);
    const differences = pcm.slice(1).map((sample, n) => sample - pcm[n]);
    return [pcm, differences].map(
      values => 10 * Math.log10(values.reduce((sum, v) => sum + v * v, 0) / values.length),
    );
  });
}

function levels(blocks) {
  const meter = new page.LevelMeter(RATE);
  return blocks.map((block, n) => {
    meter.add(sines(block.map(part => [part]), 160 * n, 160));
    const { rmsDb, peakDb, clipping, silentS } = meter.level;
    return [rmsDb, peakDb, Number(clipping), silentS];
  });
}

// The function that answers each part, and by how much a number may differ: by nothing where
// decisions are made with it, and by the rounding of the file where they are not.
const PARTS = {
  timelines: [
    (packetMs, calls) => {
      const buffer = playout(packetMs);
      return calls.map(call => answer(buffer, call));
    },
    1e-6,
  ],
  ledger: [ledger, 0],
  delay_target: [delayTarget, 0],
  speeds: [speeds, 1e-9],
  ratings: [ratings, 1e-8],
  arrival_statistics: [arrivalStatistics, 1e-4],
  time_scaler: [timeScaler, 1e-4],
  loss_fade: [lossFade, 1e-4],
  noise_powers: [noisePowers, NOISE_DB],
  levels: [levels, 1e-3],
};

function same(one, other, tolerance) {
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((x, n) => same(x, other[n], tolerance));
  }
  if (typeof one === 'number' && typeof other === 'number') {
    const slack = Number.isInteger(one) && Number.isInteger(other) ? 0 : tolerance;
    return Math.abs(one - other) <= slack;
  }
  return one === other;
}

const counts = {};
let wrong = 0;
for (const [part, cases] of Object.entries(vectors)) {
  const [replay, tolerance] = PARTS[part];
  counts[part] = 0;
  for (const [name, { arguments: given, answers }] of Object.entries(cases)) {
    const got = replay(...given);
    for (let n = 0; n < Math.max(got.length, answers.length); n++) {
      counts[part] += 1;
      if (same(got[n], answers[n], tolerance)) continue;
      wrong += 1;
      const [is, wanted] = [got[n], answers[n]].map(value => JSON.stringify(value)?.slice(0, 200));
      console.log(`${part}, ${name}, ${n}: ${is} instead of ${wanted}`);
    }
  }
}
if (wrong) process.exit(1);
console.log(JSON.stringify(counts));

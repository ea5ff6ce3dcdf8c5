// node page_wire.mjs CORE_JS PROTOCOL_MD CASES_JSON: the page's wire formats and sums against the
// protocol document, and against what Python said of the same input (test_page_wire.py). Says as
// JSON what each check found: null where all is well.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { foundBy } from './page_checks.mjs';

const [corePath, protocolPath, casesPath] = process.argv.slice(2);
const core = await import(pathToFileURL(corePath).href);
const protocol = readFileSync(protocolPath, 'utf8');
const cases = JSON.parse(readFileSync(casesPath, 'utf8'));

const bytes = hex => new Uint8Array(Buffer.from(hex, 'hex'));
const hex = data => Buffer.from(data).toString('hex');

/** -> what `read` returns, or 'refused' where it throws such an error. */
function attempt(kind, read) {
  try {
    return read();
  } catch (error) {
    if (error instanceof kind) return 'refused';
    throw error;
  }
}

/** A packet as the cases have it. */
function said(datagram) {
  return attempt(core.MalformedPacket, () => {
    const { type, flags, stream, sequence, captureTime, payload } = core.parse(datagram);
    return [type, flags, stream, sequence, captureTime, hex(payload)];
  });
}

function separated(datagram, packetSamples) {
  return attempt(core.MalformedPacket, () => {
    const [own, copy] = core.separate(core.parse(datagram), packetSamples);
    const carried = copy && [copy.sequence, copy.captureTime, hex(copy.payload)];
    return [own.type, hex(own.payload), carried];
  });
}

const checks = {
  media_vectors_of_the_protocol() {
    const row = /^\| `([0-9a-f]+)` \| (\d+) \| (\d+) \| (\d+) \| (\d+) \| `([0-9a-f]*)` \|$/gm;
    const rows = [...protocol.matchAll(row)];
    assert.ok(rows.length >= 5);
    for (const [, datagram, flags, stream, sequence, captureTime, payload] of rows) {
      const numbers = [flags, stream, sequence, captureTime].map(Number);
      assert.deepEqual(said(bytes(datagram)), [0, ...numbers, payload]);
      assert.equal(hex(core.serialize(core.parse(bytes(datagram)))), datagram);
    }
  },

  short_headers_of_the_protocol() {
    const rows = [...protocol.matchAll(/^\| `(3[0-9a-f]+)` \| (\d+) \| (\d+) \|$/gm)];
    assert.ok(rows.length >= 4);
    const restorer = new core.Restorer();
    const shortener = new core.Shortener();
    for (const [, message, sequence, captureTime] of rows) {
      const whole = restorer.restore(bytes(message));
      const packet = core.parse(whole);
      assert.deepEqual(
        [packet.sequence, packet.captureTime],
        [Number(sequence), Number(captureTime)],
      );
      assert.equal(hex(shortener.shorten(whole)), message);
    }
  },

  messages_of_the_protocol() {
    const examples = /```json\n(.*?)```/s.exec(protocol)[1].trim().split('\n');
    assert.ok(examples.length >= 15);
    const unknown = [];
    for (const text of examples) {
      const message = core.parseMessage(text);
      if (message === null) unknown.push(JSON.parse(text).type);
      else assert.deepEqual(JSON.parse(core.writeMessage(message)), JSON.parse(text));
    }
    assert.deepEqual(unknown, ['who', 'members', 'silence', 'remove']);
  },

  packets_as_python_reads_them() {
    for (const { datagram, packet, parts } of cases.datagrams) {
      assert.deepEqual(said(bytes(datagram)), packet, datagram);
      assert.deepEqual(separated(bytes(datagram), cases.packet_samples), parts, datagram);
    }
  },

  packets_as_python_writes_them() {
    for (const { datagram, packet } of cases.datagrams) {
      if (packet === 'refused') continue;
      const [type, flags, stream, sequence, captureTime, payload] = packet;
      const fields = { type, flags, stream, sequence, captureTime, payload: bytes(payload) };
      const known = bytes(datagram);
      known[1] &= 15;
      assert.equal(hex(core.serialize(fields)), hex(known));
      for (const wrong of [{ stream: 65536 }, { sequence: -1 }, { captureTime: 2 ** 32 }]) {
        assert.throws(() => core.serialize({ ...fields, ...wrong }), core.MalformedPacket);
      }
    }
  },

  connections_as_python_restores_them() {
    for (const connection of cases.connections) {
      const restorer = new core.Restorer();
      const shorteners = new Map();
      for (const { frame, whole, shortened } of connection) {
        const restored = attempt(core.MalformedPacket, () => hex(restorer.restore(bytes(frame))));
        assert.equal(restored, whole, frame);
        if (whole === 'refused') continue;
        const { stream } = core.parse(bytes(whole));
        if (!shorteners.has(stream)) shorteners.set(stream, new core.Shortener());
        assert.equal(hex(shorteners.get(stream).shorten(bytes(whole))), shortened);
      }
    }
  },

  messages_as_python_reads_them() {
    let refused = 0;
    for (const { text, message } of cases.messages) {
      const got = attempt(core.MalformedMessage, () =>
        JSON.parse(core.writeMessage(core.parseMessage(text))),
      );
      assert.deepEqual(got, message, text);
      refused += got === 'refused' ? 1 : 0;
    }
    assert.ok(refused > 100 && refused < cases.messages.length - 100);
  },

  what_no_relay_takes_is_not_written() {
    const report = { type: 'report', stream: 1, name: '', listener: 0 };
    for (const value of [NaN, Infinity]) {
      const message = { ...report, statistics: { mos: value } };
      assert.throws(() => core.writeMessage(message), core.MalformedMessage);
    }
    const long = Object.fromEntries([...Array(200).keys()].map(n => ['n'.repeat(60) + n, n]));
    const message = { ...report, statistics: long };
    assert.throws(() => core.writeMessage(message), core.MalformedMessage);
  },

  copies_as_python_attaches_them() {
    const history = new core.CopyHistory(4, cases.packet_samples);
    let carried = 0;
    for (const { distance, packet, copy, sent } of cases.copies) {
      const [flags, sequence, captureTime, payload] = packet;
      history.distance = distance;
      const fields = { type: 0, flags, stream: 0, sequence, captureTime, payload: bytes(payload) };
      const made = history.add(fields, bytes(copy));
      carried += made.type === 2 ? 1 : 0;
      assert.equal(hex(core.serialize(made)), sent);
    }
    assert.ok(carried > 20 && carried < cases.copies.length - 20);
  },

  levels_as_python_chooses_them() {
    const { facts, runs } = cases.rates;
    for (const { bitrate_bps, base_level, sizes, levels } of runs) {
      const control = core.rateControl(facts, bitrate_bps);
      assert.equal(control.baseLevel, base_level);
      assert.deepEqual(
        sizes.map(size => {
          const level = control.nextLevel();
          control.spent(size);
          return level;
        }),
        levels,
      );
    }
  },

  copies_are_sent_when_python_sends_them() {
    const policy = new core.CopyPolicy();
    const distances = cases.policy.map(({ at_ms, taken, listener, received, lost }) => {
      const statistics = received === null ? {} : { received, lost };
      policy.take(taken);
      policy.add({ type: 'report', stream: 1, statistics, name: 'Lis', listener }, at_ms);
      return policy.distance;
    });
    assert.deepEqual(
      distances,
      cases.policy.map(({ distance }) => distance),
    );
    assert.deepEqual(new Set(distances), new Set([0, 2, 4]));
  },

  close_codes_of_the_protocol() {
    const table = protocol.slice(protocol.indexOf('\n## Close codes'));
    const rows = [...table.matchAll(/^\| ([\d, ]+) \| .* \| (yes|no) \|$/gm)];
    assert.ok(rows.length >= 10);
    for (const [, codes, final] of rows) {
      for (const code of codes.split(',').map(Number)) {
        assert.equal(core.isFinal(code), final === 'yes', String(code));
        assert.ok(/(^|\()why\)?$/.test(core.meaningOf(code, 'why')));
      }
    }
    for (const lost of [1005, 1006, 1015]) assert.equal(core.isFinal(lost), false);
  },
};

console.log(JSON.stringify(foundBy(checks)));

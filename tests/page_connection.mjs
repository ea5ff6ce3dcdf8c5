// node page_connection.mjs CORE_JS: the page's connection to a relay, on a simulated clock and over
// simulated sockets. Says as JSON what each check found: null where all is well.
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';
import { foundBy } from './page_checks.mjs';

const core = await import(pathToFileURL(process.argv[2]).href);
const WAY_MS = 20; // to the relay, and back
const INFO = {
  ...{ model: '0123456789abcdef', sampleRate: 16000, channels: 1, packetSamples: 320 },
  ...{ baseLevel: 2, bitrateBps: 3000, redundancy: 4, keyId: '', highBand: '', jointStereo: '' },
};

/** A clock, timers, and a relay behind a network that may be cut. */
class World {
  nowMs = 1000;
  relay = 'there'; // or 'refuses', 'hangs'
  openMs = 2 * WAY_MS; // what opening takes
  cut = false; // nothing goes through what is open
  welcomes = 0;
  sockets = [];
  events = []; // what the listener was told: [ms, kind, ...]
  #timers = new Set();

  constructor(seat = {}) {
    const tell =
      kind =>
      (...what) =>
        this.events.push([this.nowMs, kind, ...what]);
    const kinds = ['connected', 'disconnected', 'media', 'message', 'ended'];
    const listener = Object.fromEntries(kinds.map(kind => [kind, tell(kind)]));
    const whole = { url: 'wss://r', room: 'hall', name: 'Ada', token: 't', streamInfo: INFO };
    this.connection = new core.RelayConnection({ ...whole, ...seat }, listener, this);
  }

  now() {
    return this.nowMs;
  }

  random() {
    return 0.5;
  }

  after(ms, run) {
    const timer = { atMs: this.nowMs + ms, run };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  open(url, subprotocol) {
    if (!url.startsWith('ws')) throw new SyntaxError('no URL of a websocket');
    const socket = new Socket(this, subprotocol);
    this.sockets.push(socket);
    return socket;
  }

  run(ms) {
    const endMs = this.nowMs + ms;
    for (;;) {
      const next = [...this.#timers].reduce((a, b) => (b.atMs < a.atMs ? b : a), {
        atMs: Infinity,
      });
      if (next.atMs > endMs) break;
      this.#timers.delete(next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.run();
    }
    this.nowMs = endMs;
  }

  begun(ms = 200) {
    this.connection.begin();
    this.run(ms);
    return this;
  }

  told(kind) {
    return this.events.filter(event => event[1] === kind);
  }

  get last() {
    return this.sockets.at(-1);
  }
}

/** A websocket whose other end answers as a relay does. */
class Socket {
  binaryType = 'blob';
  bufferedAmount = 0;
  protocol = '';
  onopen = null;
  onclose = null;
  onmessage = null;
  sent = [];
  closedWith = null;
  deaf = false; // what is sent here does not arrive

  constructor(world, subprotocol) {
    this.world = world;
    this.beganMs = world.nowMs;
    if (world.relay === 'refuses') world.after(WAY_MS, () => this.onclose?.({ code: 1006 }));
    if (world.relay === 'there') {
      world.after(world.openMs, () => {
        this.protocol = world.speaks ?? subprotocol;
        this.onopen?.();
      });
    }
  }

  send(data) {
    assert.equal(this.binaryType, 'arraybuffer');
    this.sent.push(typeof data === 'string' ? JSON.parse(data) : data);
    const message = this.sent.at(-1);
    if (this.world.cut && this.beganMs < this.world.cutMs) return;
    if (this.deaf) return;
    if (message.type === 'hello') this.#answer(message);
    if (message.type === 'time') this.says({ ...message, relay_ms: this.world.nowMs + 5000 }, 40);
  }

  #answer(hello) {
    this.world.welcomes += 1;
    const session = `s${this.world.welcomes}`;
    const room = { room: hello.room, stream: 7, streams: [], talkers: 1, listeners: 1 };
    this.says({ type: 'welcome', session, ...room }, 40);
  }

  /** The relay's message arrives after so many ms, unless the network is cut then. */
  says(message, ms = WAY_MS) {
    const data = message instanceof Uint8Array ? message.slice().buffer : JSON.stringify(message);
    this.world.after(ms, () => {
      if (!(this.world.cut && this.beganMs < this.world.cutMs)) this.onmessage?.({ data });
    });
  }

  close(code) {
    this.closedWith ??= code ?? 1005;
  }
}

function cut(world) {
  Object.assign(world, { cut: true, cutMs: world.nowMs, relay: 'hangs' });
}

const checks = {
  a_session_begins_with_a_hello() {
    const world = new World().begun();
    const [hello, time] = world.last.sent;
    assert.deepEqual(
      [hello.type, hello.role, hello.room, hello.name],
      ['hello', 'both', 'hall', 'Ada'],
    );
    assert.deepEqual([hello.copies, hello.presence, hello.token, hello.resume], [4, true, 't', '']);
    assert.equal(hello.stream_info.packet_samples, 320);
    assert.equal(time.type, 'time');
    const [[, kind, welcome, number]] = world.events;
    assert.deepEqual([kind, welcome.session, number], ['connected', 's1', 1]);
    assert.equal(world.connection.sync.roundTripMs, 40);
    assert.equal(world.connection.sync.offsetMs, 5000 - 20);
    const listening = new World({ streamInfo: null }).begun();
    assert.deepEqual(
      [listening.last.sent[0].role, listening.last.sent[0].stream_info],
      ['listen', null],
    );
  },

  a_relay_that_refuses_is_given_up_after_ten_seconds() {
    for (const relay of ['refuses', 'hangs']) {
      const world = new World();
      world.relay = relay;
      world.begun(60_000);
      const [[endedMs, , reason]] = world.told('ended');
      assert.equal(endedMs, 11_000);
      assert.match(reason, /no connection to the relay/);
      assert.equal(world.told('disconnected').length, 1);
      assert.ok(world.sockets.length >= (relay === 'refuses' ? 10 : 2));
      assert.ok(world.sockets.every(socket => relay === 'refuses' || socket.closedWith === 1000));
    }
  },

  a_final_close_code_ends_it() {
    const world = new World().begun();
    world.last.says({ type: 'error', code: 4403, message: 'a moderator has removed Ada' });
    world.run(100);
    world.last.onclose({ code: 4403, reason: '' });
    world.run(60_000);
    const [[, , reason]] = world.told('ended');
    assert.match(reason, /^a moderator has removed Ada$/);
    assert.equal(world.sockets.length, 1);
    assert.equal(world.connection.send(new Uint8Array(13)), 0);
  },

  what_is_no_relay_and_what_is_no_url() {
    const world = new World();
    world.speaks = 'chat';
    world.begun(60_000);
    assert.match(world.told('ended')[0][2], /no relay of this version/);
    assert.ok(world.sockets.every(socket => socket.sent.length === 0));
    const nowhere = new World({ url: 'http://r' }).begun();
    assert.match(nowhere.told('ended')[0][2], /no URL of a websocket/);
  },

  a_session_is_resumed_after_a_restart() {
    const world = new World().begun(10_000);
    world.last.onclose({ code: 1012, reason: '' });
    assert.equal(world.connection.sync.offsetMs, null);
    world.run(400);
    assert.deepEqual([world.last.sent[0].type, world.last.sent[0].resume], ['hello', 's1']);
    assert.match(world.told('disconnected')[0][2], /restarting/);
    assert.equal(world.told('connected')[1][3], 2);
    world.run(2_000);
    const asked = world.last.sent.filter(message => message.type === 'time').length;
    assert.ok(asked >= 5 && asked <= 7);
  },

  a_session_is_looked_for_for_ever() {
    const world = new World().begun(10_000);
    world.relay = 'refuses';
    world.last.onclose({ code: 1006, reason: '' });
    world.run(600_000);
    const [before, last] = world.sockets.slice(-2);
    assert.ok(last.beganMs - before.beganMs > 2_500 && last.beganMs - before.beganMs < 5_100);
    assert.ok(world.sockets[3].beganMs - world.sockets[2].beganMs < 700);
    assert.equal(world.told('ended').length, 0);
    world.relay = 'there';
    world.run(5_000);
    assert.equal(world.told('connected').length, 2);
  },

  a_way_that_has_become_slow_is_found() {
    const world = new World().begun(10_000);
    world.openMs = 3_000;
    world.last.onclose({ code: 1006, reason: '' });
    world.run(12_000);
    assert.equal(world.told('connected').length, 2);
  },

  a_silent_connection_is_replaced() {
    const world = new World().begun(10_000);
    const [old] = world.sockets;
    cut(world);
    world.run(1_050); // it was heard up to 0.4 s before that
    assert.equal(world.sockets.length, 1);
    world.run(500);
    assert.equal(world.sockets.length, 2);
    assert.equal(old.closedWith, null);
    assert.equal(world.told('disconnected').length, 0);
    world.relay = 'there';
    world.run(1_500);
    assert.equal(old.closedWith, 1000);
    assert.deepEqual(world.last.sent[0].resume, 's1');
    const kinds = world.events.map(([, kind]) => kind);
    assert.deepEqual(kinds, ['connected', 'disconnected', 'connected']);
  },

  a_silent_connection_that_answers_is_kept() {
    for (const relay of ['hangs', 'refuses']) {
      const world = new World().begun(10_000);
      cut(world);
      world.relay = relay;
      world.run(1_700);
      world.cut = false;
      world.run(600);
      const begun = world.sockets.length;
      world.run(20_000);
      assert.equal(world.sockets.length, begun);
      assert.equal(world.last.closedWith, 1000);
      assert.equal(world.sockets[0].closedWith, null);
      assert.deepEqual(world.events.length, 1);
    }
  },

  a_connection_that_stays_silent_is_given_up() {
    const world = new World().begun(10_000);
    cut(world);
    world.run(4_050);
    assert.equal(world.told('disconnected').length, 0);
    world.run(500);
    assert.match(world.told('disconnected')[0][2], /broke/);
    assert.equal(world.sockets[0].closedWith, 1000);
  },

  a_talker_wants_to_know_that_it_is_heard() {
    for (const streamInfo of [INFO, null]) {
      const world = new World({ streamInfo }).begun(10_000);
      cut(world);
      world.run(1_700);
      world.cut = false;
      world.sockets[0].deaf = true;
      world.sockets[0].says({ type: 'listening', listeners: 0, names: [] });
      world.run(100);
      assert.equal(world.sockets[1].closedWith, streamInfo === null ? 1000 : null);
    }
  },

  the_shortest_round_trip_counts() {
    const sync = new core.ClockSync();
    assert.deepEqual([sync.roundTripMs, sync.offsetMs], [null, null]);
    const ask = (sentMs, roundTripMs, error) => {
      const relayMs = sentMs + roundTripMs / 2 + 700 + error;
      sync.answered({ type: 'time', sentMs, relayMs }, sentMs + roundTripMs);
    };
    ask(0, 60, 9);
    ask(100, 40, 0);
    ask(200, 80, -8);
    assert.deepEqual([sync.roundTripMs, sync.offsetMs], [80, 700]);
    for (let n = 0; n < 14; n++) ask(300 + n, 50, 1);
    assert.equal(sync.offsetMs, 700);
    ask(400, 50, 1); // the best one is forgotten
    assert.equal(sync.offsetMs, 701);
  },

  a_goodbye_is_the_end() {
    const world = new World().begun();
    world.connection.leave();
    assert.deepEqual(world.told('ended')[0].slice(2), ['']);
    assert.equal(world.last.closedWith, 1000);
    world.run(60_000);
    assert.equal(world.sockets.length, 1);
  },

  media_go_with_short_headers_and_do_not_wait() {
    const world = new World().begun();
    const { connection } = world;
    let n = 0;
    const speak = () => {
      const captureTime = 320 * n;
      const common = { type: 0, flags: 0, stream: 0, payload: Uint8Array.of(1, 2) };
      return connection.send(core.serialize({ ...common, sequence: n++, captureTime }));
    };
    assert.deepEqual([speak(), speak(), speak()], [14, 14, 6]);
    const first = world.last;
    world.last.onclose({ code: 1006, reason: '' });
    assert.equal(connection.send(new Uint8Array(13)), 0);
    world.run(500);
    assert.notEqual(world.last, first);
    assert.deepEqual([speak(), speak(), speak()], [14, 14, 6]);
    world.last.bufferedAmount = Infinity; // the last one waits, and all that follows
    world.run(390);
    assert.equal(speak(), 6);
    world.run(20);
    assert.equal(speak(), 0);
    world.last.bufferedAmount = 0;
    assert.equal(speak(), 14); // the one before is missing: its number must be said
    const restorer = new core.Restorer();
    const media = world.last.sent.filter(data => data instanceof Uint8Array);
    const numbers = media.map(data => core.parse(restorer.restore(data)).sequence);
    assert.deepEqual(numbers, [3, 4, 5, 6, 8]);
  },

  media_come_with_whole_headers() {
    const world = new World().begun();
    for (const hex of [
      '300100070000002a00003480a1',
      '39',
      '300200070000002b000035c0b2',
      '38020007c3',
    ]) {
      world.last.says(new Uint8Array(Buffer.from(hex, 'hex')));
    }
    world.last.says({ type: 'mute', muted: true, stream: 3 });
    world.last.says({ type: 'mute', muted: 'no' });
    world.last.says({ type: 'later' });
    world.run(100);
    const sequences = world.told('media').map(([, , datagram]) => core.parse(datagram).sequence);
    assert.deepEqual(sequences, [42, 43, 44]);
    assert.ok(world.told('media').every(([ms, , , receivedMs]) => ms === receivedMs));
    const messages = world.told('message').map(([, , message]) => message);
    assert.deepEqual(messages, [{ type: 'mute', muted: true, stream: 3 }]);
  },
};

console.log(JSON.stringify(foundBy(checks)));

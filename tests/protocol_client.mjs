// A client written from docs/protocol.md alone: one connection talks, another listens.
// node --experimental-websocket protocol_client.mjs URL TOKEN -> a JSON line of what was heard.
const [url, token] = process.argv.slice(2);
const info = {
  model: "0123456789abcdef", sample_rate: 16000, channels: 1, packet_samples: 320, base_level: 7,
  bitrate_bps: 6000, redundancy: 1,
};

function join(role, name, extra) {
  const socket = new WebSocket(url, "streamcodec.v3");
  socket.binaryType = "arraybuffer";
  const hello = { type: "hello", version: 3, role, room: "hall", name, token, ...extra };
  socket.onopen = () => socket.send(JSON.stringify(hello));
  return socket;
}

// Media packet: version and type, flags, stream, sequence, capture time, payload; big-endian.
function packet(type, flags, sequence, captureTime, payload) {
  const view = new DataView(new ArrayBuffer(12 + payload.length));
  view.setUint8(0, (3 << 4) | type);
  view.setUint8(1, flags);
  view.setUint32(4, sequence);
  view.setUint32(8, captureTime);
  new Uint8Array(view.buffer, 12).set(payload);
  return view.buffer;
}

// Short header: no counters. They are those that would follow the two packets before.
function shortPacket(type, flags, payload) {
  return new Uint8Array([(3 << 4) | 8 | type, flags, 0, 0, ...payload]);
}

const last = {}; // by stream: counters of the packet before, and the step of its capture time
function read(buffer) {
  const view = new DataView(buffer);
  const stream = view.getUint16(2), before = last[stream];
  const short = (view.getUint8(0) & 8) !== 0;
  const sequence = short ? (before.sequence + 1) >>> 0 : view.getUint32(4);
  const capture_time = short ? (before.capture_time + before.step) >>> 0 : view.getUint32(8);
  last[stream] = { sequence, capture_time, step: before && (capture_time - before.capture_time) >>> 0 };
  const parsed = {
    type: view.getUint8(0) & 7, flags: view.getUint8(1), stream, sequence, capture_time, short,
  };
  let payload = [...new Uint8Array(buffer, short ? 4 : 12)];
  if (parsed.type === 2) {
    let [head, ...rest] = payload;
    let length = head & 63;
    if (length === 63) length += rest.shift();
    parsed.copy = { back: (head >> 6) + 1, payload: rest.slice(0, length) };
    payload = rest.slice(length);
  }
  return { ...parsed, payload };
}

const heard = { messages: [], packets: [] };
const listener = join("listen", "Lis", { copies: 4 });
listener.onmessage = ({ data }) => {
  if (typeof data !== "string") {
    heard.packets.push(read(data));
    if (heard.packets.length === 5) talker.send(JSON.stringify({ type: "mute", muted: true }));
    return;
  }
  const message = JSON.parse(data);
  heard.messages.push(message);
  if (message.type === "welcome") begin();
  if (message.type === "stream_end") {
    console.log(JSON.stringify(heard));
    listener.close(1000);
  }
};
listener.onclose = ({ code, reason }) => {
  if (code !== 1000) console.log(JSON.stringify({ code, reason }));
};

let talker;
function begin() {
  talker = join("talk", "Ada", { stream_info: info });
  talker.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type !== "copies_wanted") return;
    heard.copies_wanted = message.copies;
    talker.send(packet(0, 1, 0, 0, [1, 2, 3])); // RESET
    const copy = [0 << 6 | 2, 8, 9]; // of the packet before, two bytes
    talker.send(packet(2, 0, 1, 320, [...copy, 4, 5]));
    talker.send(shortPacket(0, 2, [6])); // VOICE
    talker.send(shortPacket(0, 2, [7]));
    talker.send(packet(0, 4, 4, 1280, [])); // DTX: silence, with counters that it need not have
    setTimeout(() => talker.close(1000), 200);
  };
}

// A client written from docs/protocol.md alone: one connection talks, another listens.
// node --experimental-websocket protocol_client.mjs URL TOKEN -> a JSON line of what was heard.
const [url, token] = process.argv.slice(2);
const info = {
  model: "0123456789abcdef", sample_rate: 16000, channels: 1, packet_samples: 320, base_level: 7,
  bitrate_bps: 6000, redundancy: 1,
};

function join(role, name, extra) {
  const socket = new WebSocket(url, "streamcodec.v2");
  socket.binaryType = "arraybuffer";
  const hello = { type: "hello", version: 2, role, room: "hall", name, token, ...extra };
  socket.onopen = () => socket.send(JSON.stringify(hello));
  return socket;
}

// Media packet: version and type, flags, stream, sequence, capture time, payload; big-endian.
function packet(type, flags, sequence, captureTime, payload) {
  const view = new DataView(new ArrayBuffer(12 + payload.length));
  view.setUint8(0, (2 << 4) | type);
  view.setUint8(1, flags);
  view.setUint32(4, sequence);
  view.setUint32(8, captureTime);
  new Uint8Array(view.buffer, 12).set(payload);
  return view.buffer;
}

function read(buffer) {
  const view = new DataView(buffer);
  const parsed = {
    type: view.getUint8(0) & 15, flags: view.getUint8(1), stream: view.getUint16(2),
    sequence: view.getUint32(4), capture_time: view.getUint32(8),
  };
  let payload = [...new Uint8Array(buffer, 12)];
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
    if (heard.packets.length === 3) talker.send(JSON.stringify({ type: "mute", muted: true }));
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
    talker.send(packet(0, 4, 2, 640, [])); // DTX: silence
    setTimeout(() => talker.close(1000), 200);
  };
}

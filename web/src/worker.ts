// The page's worker: fetches the codec and holds the call. What it is asked is in messages.ts.

import { Call } from './call.ts';
import { Codecs } from './codec/codecs.ts';
import type { CallSettings, CodecFiles, Event, Request } from './messages.ts';

let codecs: Promise<Codecs> | null = null;
let call: Call | null = null;
let waiting: Request[] = []; // what is asked of a call whose codec has not come

function post(event: Event): void {
  self.postMessage(event);
}

function load(files: CodecFiles): void {
  codecs ??= Codecs.fetch(files, (bytes, of) => post({ type: 'loading', bytes, of }));
  codecs.catch(fail);
}

async function open(settings: CallSettings): Promise<void> {
  if (codecs === null) return;
  call = new Call(settings, await codecs, post);
  call.begin();
  for (const request of waiting) ask(call, request);
  waiting = [];
}

function fail(error: unknown): void {
  const reason = error instanceof Error ? error.message : String(error);
  post({ type: 'ended', reason: `${reason}. Load the page again.` });
}

function ask(asked: Call, request: Request): void {
  switch (request.type) {
    case 'output':
      return asked.play(request.link);
    case 'latency':
      return asked.takes(request.latencyMs);
    case 'input':
      return asked.listen(request.link);
    case 'frames':
      return asked.listenTo(request.frames);
    case 'mute':
      return asked.mute(request.muted);
    case 'volume':
      return asked.volume(request.stream, request.decibels);
    case 'hear':
      return asked.hear(request.stream, request.heard);
    case 'leave':
      return asked.leave();
  }
}

self.onmessage = ({ data }: MessageEvent<Request>) => {
  if (data.type === 'load') load(data.codecFiles);
  else if (data.type === 'open') open(data.settings).catch(fail);
  else if (call === null) waiting.push(data);
  else ask(call, data);
};

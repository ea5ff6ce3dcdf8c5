// The page's entry: shows the way in, and begins and ends calls.

import type { CodecFiles, Request } from '../messages.ts';
import { Call } from './call.ts';
import { FirstView } from './first.ts';
import { helpDrawer } from './help.ts';
import { readLink, toRoom } from './link.ts';
import { rememberRoom } from './recent-rooms.ts';
import { loadSettings, saveSettings } from './settings.ts';
import { SettingsDrawer } from './drawer.ts';
import { Sound } from './sound.ts';
import { microphoneTrouble, whyNoMicrophone } from './support.ts';

let link = readLink();
const settings = loadSettings();
const { codecBase, codecLayered, codecTables, ...said } = document.documentElement.dataset;
const roomsPath = said.rooms;
const codecFiles: CodecFiles = {
  base: codecBase ?? '',
  layered: codecLayered ?? '',
  tables: codecTables ?? '',
};

const WORKER = '/page/worker.js';

let call: Call | null = null;
/** Of the next call: it has the codec by the time that somebody clicks. */
let worker: Worker | null = null;
let sound: Sound | null = null;
let joining = false;
/** How often a call has ended: who was asked for the microphone may have left meanwhile. */
let endings = 0;
/** What was said of the devices before there was a call to show it. */
let early: string[] = [];

const help = helpDrawer();
const drawer = new SettingsDrawer(settings, what => {
  saveSettings(settings);
  if (what === 'microphone') sound?.changeMicrophone(settings);
  if (what === 'loudspeaker') sound?.changeLoudspeaker(settings.loudspeaker);
});
const first = new FirstView(link, settings.name, roomsPath ?? '', {
  join: talks => void join(talks),
  roomChanged: room => {
    link = toRoom(link, room);
    entitle();
    return link;
  },
  openSettings: () => drawer.open(),
  nameChanged: name => {
    settings.name = name;
    saveSettings(settings);
  },
});

/** Runs in a click: only then does the browser let the page sound. */
async function join(talks: boolean): Promise<void> {
  if (joining) return;
  joining = true;
  const before = endings;
  early = [];
  first.waits = true;
  if (talks)
    first.say('Your browser asks whether this page may use the microphone. Please allow it.');
  let opened: Sound | null = null;
  let trouble = '';
  const fail = (text: string) => {
    opened?.close();
    if (call !== null) call.say(text);
    else trouble = text;
  };
  try {
    opened = new Sound(settings.loudspeaker, {
      say: text => {
        if (call !== null) call.say(text);
        else early.push(text);
      },
      stopped: stopped => {
        if (call !== null) call.view.stopped = stopped;
      },
      devices: devices => drawer.show(devices),
    });
    if (talks) {
      try {
        await opened.askMicrophone(settings);
      } catch (error) {
        fail(microphoneTrouble(error));
        return;
      }
    }
    if (endings === before) begin(opened, talks);
    else opened.close();
  } catch (error) {
    fail(
      `The browser could not start the call: ${error instanceof Error ? error.message : error}.`,
    );
  } finally {
    joining = false;
    first.waits = false;
    first.say(trouble);
  }
}

function loadCodec(): Worker {
  const loading = new Worker(WORKER, { type: 'module' });
  loading.addEventListener('error', () => {
    if (worker === loading) worker = null; // the next call tries again, and says what is wrong
  });
  const request: Request = { type: 'load', codecFiles };
  loading.postMessage(request);
  return loading;
}

function begin(opened: Sound, talks: boolean): void {
  call?.leave(); // who listened and now talks comes in anew
  sound = opened;
  const loaded = worker ?? loadCodec();
  worker = null;
  call = new Call(link, settings, talks, loaded, opened, {
    talk: whyNoMicrophone() === '' && !link.onlyListens ? () => void join(true) : null,
    openSettings: () => drawer.open(),
    openHelp: () => help.toggle(),
    settingsChanged: () => saveSettings(settings),
    changeRoom: link.onlyListens ? null : () => first.focusRoom(),
    entered: rememberRoom,
    ended,
  });
  first.shown = false;
  document.getElementById('page')!.replaceChildren(call.view.element);
  call.view.stopped = opened.stopped;
  for (const text of early) call.say(text);
  call.view.focus();
}

function ended(reason: string): void {
  endings += 1;
  call = null;
  sound = null;
  showFirst(reason);
  first.focus();
}

function showFirst(reason: string): void {
  entitle();
  document.getElementById('page')!.replaceChildren(first.element);
  first.shown = true;
  if (reason !== '') first.say(reason);
}

function entitle(): void {
  document.title = `${link.room} – streamcodec`;
}

document.body.append(help.element, drawer.drawer.element);
showFirst('');
worker = loadCodec();
// A link with a token that is opened in a tab which shows the page already loads nothing by itself.
window.addEventListener('hashchange', () => {
  if (location.hash.includes('token=')) location.reload();
});
// A page that the browser keeps for the way back must not go on talking meanwhile.
window.addEventListener('pagehide', () => call?.leave());

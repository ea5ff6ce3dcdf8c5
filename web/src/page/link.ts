// What the page's link says: which room, and who may come in.

/** The room that a link without one leads to. */
export const DEFAULT_ROOM = 'lobby';
/** The relay allows as many characters in a name. */
export const MOST_CHARACTERS = 64;

/** What the relay takes in no name. Every kind of space becomes a plain one before this is asked. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}]/gu;

export interface Link {
  room: string;
  token: string;
  /** The link is for listening: nothing else is offered. */
  onlyListens: boolean;
  /** ws:// or wss://, without a path. */
  relayUrl: string;
  /** For others: without the token, which is one person's own. */
  shareUrl: string;
  /** The link leads to this computer, wherever it is opened. */
  onlyHere: boolean;
}

/**
 * Reads the address bar, and takes the token out of it: what stands there is seen by who looks on,
 * and goes along when one copies it. For reloads it is kept until the tab is closed.
 */
export function readLink(): Link {
  const url = new URL(location.href);
  const room = cleanName(url.searchParams.get('room') ?? '') || DEFAULT_ROOM;
  const onlyListens = url.searchParams.has('listen');
  return {
    room,
    token: takeToken(url, room),
    onlyListens,
    relayUrl: `${url.protocol === 'https:' ? 'wss:' : 'ws:'}//${url.host}`,
    shareUrl: shareUrl(room, onlyListens),
    onlyHere: /^(localhost|127\.[\d.]+|\[::1\])$|\.localhost$/.test(url.hostname),
  };
}

/**
 * The link to another room of the same relay, which the address bar then shows. A token that was
 * given for that room counts there, else the one that is used now: it may allow several rooms.
 */
export function toRoom(link: Link, room: string): Link {
  const token = keptToken(room) || link.token;
  keepToken(room, token);
  const url = shareUrl(room, link.onlyListens);
  history.replaceState(null, '', url);
  return { ...link, room, token, shareUrl: url };
}

/** As the relay takes names: printable characters, not too many. */
export function cleanName(text: string): string {
  return [...printable(text)].slice(0, MOST_CHARACTERS).join('');
}

/** What is wrong with a room's name that somebody typed, and the name as the relay takes it. */
export function roomOf(text: string): { room: string; trouble: string } {
  const room = printable(text);
  const { length } = [...room];
  if (room === '') return { room, trouble: 'Type the name of a room.' };
  if (length <= MOST_CHARACTERS) return { room, trouble: '' };
  const trouble = `This name has ${length} characters: at most ${MOST_CHARACTERS} are allowed.`;
  return { room, trouble };
}

function printable(text: string): string {
  return text.replace(/\p{Z}/gu, ' ').replace(UNPRINTABLE, '').trim();
}

function shareUrl(room: string, onlyListens: boolean): string {
  const url = new URL('/', location.href);
  url.searchParams.set('room', room);
  if (onlyListens) url.searchParams.set('listen', '');
  return url.href;
}

function takeToken(url: URL, room: string): string {
  const given = new URLSearchParams(url.hash.slice(1)).get('token');
  if (given === null) return keptToken(room);
  keepToken(room, given);
  url.hash = '';
  history.replaceState(null, '', url.pathname + url.search);
  return given;
}

function keptToken(room: string): string {
  try {
    return sessionStorage.getItem(tokenKey(room)) ?? '';
  } catch {
    return ''; // storage is switched off: a reload asks for the link again
  }
}

function keepToken(room: string, token: string): void {
  if (token === '') return;
  try {
    sessionStorage.setItem(tokenKey(room), token);
  } catch {
    // Storage is full or switched off: it lasts until the page is loaded again.
  }
}

function tokenKey(room: string): string {
  return `streamcodec.token.${room}`;
}

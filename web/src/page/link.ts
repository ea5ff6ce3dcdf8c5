// What the page's link says: which room, and who may come in.

/** The room that a link without one leads to. */
export const DEFAULT_ROOM = 'lobby';
/** The relay allows as many characters in a name. */
export const MOST_CHARACTERS = 64;

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
  const share = new URL('/', url);
  share.searchParams.set('room', room);
  if (url.searchParams.has('listen')) share.searchParams.set('listen', '');
  return {
    room,
    token: takeToken(url, room),
    onlyListens: url.searchParams.has('listen'),
    relayUrl: `${url.protocol === 'https:' ? 'wss:' : 'ws:'}//${url.host}`,
    shareUrl: share.href,
    onlyHere: /^(localhost|127\.[\d.]+|\[::1\])$|\.localhost$/.test(url.hostname),
  };
}

/** As the relay takes names: printable characters, not too many. */
export function cleanName(text: string): string {
  const printable = text.replace(/\p{Z}/gu, ' ').replace(/\p{C}/gu, '').trim();
  return [...printable].slice(0, MOST_CHARACTERS).join('');
}

function takeToken(url: URL, room: string): string {
  const key = `streamcodec.token.${room}`;
  const given = new URLSearchParams(url.hash.slice(1)).get('token');
  try {
    if (given) sessionStorage.setItem(key, given);
    return given ?? sessionStorage.getItem(key) ?? '';
  } catch {
    return given ?? ''; // storage is switched off: a reload asks for the link again
  } finally {
    if (given !== null) {
      url.hash = '';
      history.replaceState(null, '', url.pathname + url.search);
    }
  }
}

// Why a relay ends a connection (docs/protocol.md), in words for people.

/** Of a regular end. */
export const NORMAL = 1000;

const NOT_FINAL_ALTHOUGH_OURS = 4490; // this listener reads too slowly
const BROKE_THE_PROTOCOL = [1002, 1003, 1007, 1008, 1009, 1010];

const MEANINGS: Record<number, string> = {
  1000: 'the relay ended the session',
  1001: 'the relay is shutting down',
  1008: 'the relay did not expect what this page said',
  1011: 'something went wrong in the relay',
  1012: 'the relay is restarting',
  1013: 'the relay or the room is full',
  4400: 'the relay did not understand this page',
  4401: 'another link or token is needed',
  4403: 'you may not be in this room, or a moderator has removed you',
  4404: 'there is no such room',
  4409: 'somebody else has this place in the room',
  4413: 'this page sent too much at once',
  4426: 'this page is of another version than the relay: reload it',
  4429: 'this page sent more than the relay allows',
  4490: 'this computer or its network is too slow for what comes',
};
// Where the relay says why, that is all there is to say: it names the room and the token.
const SAID_BETTER = [4401, 4403, 4404];
const UNKNOWN_FINAL = 'the relay ended the session for good';
const UNKNOWN = 'the connection broke';

/** Whether another attempt would end in the same way; after any other code it may succeed. */
export function isFinal(code: number): boolean {
  if (code >= 4400 && code < 4500) return code !== NOT_FINAL_ALTHOUGH_OURS;
  return code === NORMAL || BROKE_THE_PROTOCOL.includes(code);
}

/**
 * What a code means to a user. `said`: the relay's own words, which may say more; empty where there
 * are none.
 */
export function meaningOf(code: number, said = ''): string {
  if (said !== '' && SAID_BETTER.includes(code)) return said;
  const meaning = MEANINGS[code] ?? (isFinal(code) ? UNKNOWN_FINAL : UNKNOWN);
  return said === '' ? meaning : `${meaning} (${said})`;
}

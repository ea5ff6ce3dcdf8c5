// The keyboard in a call.

/** For so long after the space bar is let go one is still heard: the ends of words are soft. */
const TAIL_MS = 200;

/** What keys ask of the call. */
export interface KeyRequests {
  /** Whether keys are to do anything: the user may have switched them off. */
  listens: () => boolean;
  toggleMute: () => void;
  /** The space bar was pressed, or let go. Answers whether that meant anything. */
  pushToTalk: (held: boolean) => boolean;
  help: () => void;
}

/** Listens to keys until the signal is aborted. */
export function watchKeys(requests: KeyRequests, signal: AbortSignal): void {
  let held = false;
  let tail: ReturnType<typeof setTimeout> | undefined;
  // Who clicks and then holds the space bar wants to talk, wherever the click has left the focus;
  // who goes there by Tab wants to press what has it.
  let clicked = false;

  const letGo = () => {
    if (!held) return;
    held = false;
    tail = setTimeout(() => requests.pushToTalk(false), TAIL_MS);
  };
  const options = { signal };
  document.addEventListener('pointerdown', () => (clicked = true), options);
  document.addEventListener(
    'keydown',
    event => {
      if (event.key === 'Tab') clicked = false;
      if (event.ctrlKey || event.metaKey || event.altKey || !requests.listens()) return;
      if (isText(event.target) || document.querySelector('dialog[open]') !== null) return;
      if (event.key === ' ') {
        if (held) event.preventDefault();
        if (event.repeat || (isControl(event.target) && !clicked)) return;
        clearTimeout(tail);
        held = requests.pushToTalk(true);
        if (held) event.preventDefault();
      } else if (event.repeat) {
        return;
      } else if (event.key.toLowerCase() === 'm') {
        requests.toggleMute();
      } else if (event.key === '?') {
        requests.help();
      }
    },
    options,
  );
  document.addEventListener(
    'keyup',
    event => {
      if (event.key !== ' ' || !held) return;
      event.preventDefault(); // a button would take this as a click
      letGo();
    },
    options,
  );
  // The key may be let go where the page does not see it.
  window.addEventListener('blur', letGo, options);
  signal.addEventListener('abort', () => clearTimeout(tail));
}

function isText(target: EventTarget | null): boolean {
  return target instanceof Element && target.matches('input[type=text], textarea, select');
}

function isControl(target: EventTarget | null): boolean {
  return target instanceof Element && target.matches('button, input, a, summary');
}

// Copying the link to a room; where the browser does not let the page, the user can.

import { button, Drawer } from './controls.ts';
import { element, freshId, setText } from './dom.ts';

/** For how long a button says what it did. */
const SAID_MS = 2000;

/** A button that copies a link and says so for a moment, or shows the link, selected. */
export function copyButton(url: string, kind: string): HTMLButtonElement {
  const text = 'Copy link';
  let back: ReturnType<typeof setTimeout> | undefined;
  const made = button(
    text,
    kind,
    async () => {
      if (!(await copied(url))) {
        showLink(url);
        return;
      }
      setText(label, 'Copied');
      clearTimeout(back);
      back = setTimeout(() => setText(label, text), SAID_MS);
    },
    'link',
  );
  const label = made.querySelector('span')!;
  label.setAttribute('aria-live', 'polite');
  return made;
}

/** A field with a link that is selected whenever it has the focus. */
export function linkField(url: string): HTMLInputElement {
  const field = element('input', { type: 'text', readonly: true, id: freshId() });
  field.value = url;
  field.addEventListener('focus', () => field.select());
  return field;
}

async function copied(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // forbidden, or not there
  }
}

function showLink(url: string): void {
  const field = linkField(url);
  const drawer = new Drawer(
    'Copy the link',
    element(
      'label',
      { for: field.id },
      'The browser does not let this page copy. The link is selected: please copy it yourself.',
    ),
    field,
  );
  drawer.element.addEventListener('close', () => drawer.element.remove());
  document.body.append(drawer.element);
  drawer.toggle();
  field.focus();
}

// Elements made without innerHTML: names come from strangers, and only ever become text.

type Child = Node | string;

/** An element with attributes (true: there, without a value; false: not there) and children. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string | boolean> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false) made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children);
  return made;
}

/** A text in which what one types at a prompt, `--flags`, is not broken at the end of a line. */
export function withFlags(text: string): Child[] {
  return text
    .split(/(--\w+)/)
    .map(part => (part.startsWith('--') ? element('code', {}, part) : part));
}

/** Changes text only where it differs: the browser then has nothing to lay out or to announce. */
export function setText(node: Node, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

/** Changes a class of state, `data-state`, only where it differs. */
export function setState(node: HTMLElement, state: string): void {
  if (node.dataset.state !== state) node.dataset.state = state;
}

let ids = 0;

/** An id that no other element of the page has, for labels and descriptions. */
export function freshId(): string {
  ids += 1;
  return `id${ids}`;
}

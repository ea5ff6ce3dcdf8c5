// The rooms that are open now, each with the number of people there.

import { button } from './controls.ts';
import { element, setText } from './dom.ts';
import { cleanName } from './link.ts';
import type { Known, OpenRoom } from './room-watch.ts';
import { peopleOf } from './words.ts';

/**
 * A list that stays as calm as it can: rooms keep their places while it is shown, new ones come at
 * the end, and a button that has the focus stays although its room is empty now.
 */
export class OpenRooms {
  readonly element: HTMLElement;
  readonly #list = element('ul', { class: 'open-rooms' });
  readonly #hint = element('p', { class: 'hint' });
  readonly #rows = new Map<string, Row>();
  readonly #choose: (room: string) => void;
  #chosen = '';

  constructor(choose: (room: string) => void) {
    this.#choose = choose;
    this.element = element(
      'section',
      { class: 'card', 'aria-labelledby': 'open-rooms', hidden: true },
      element('h2', { id: 'open-rooms' }, 'Rooms open now'),
      this.#list,
      this.#hint,
    );
  }

  /** The room of the field: its button is marked. */
  set chosen(room: string) {
    this.#chosen = room;
    for (const [name, row] of this.#rows) row.chosen = name === room;
  }

  /** Forgets the places: it is shown anew. */
  clear(): void {
    this.element.hidden = true;
    this.#rows.clear();
    this.#list.replaceChildren();
  }

  show(known: Known): void {
    this.element.hidden = known.type === 'nothing';
    // What a link could not name, a click could not choose.
    const rooms =
      known.type === 'rooms' ? known.rooms.filter(r => cleanName(r.name) === r.name) : [];
    const open = new Map(rooms.map(room => [room.name, room]));
    for (const [name, row] of this.#rows) {
      if (open.has(name)) continue;
      if (row.element.contains(document.activeElement)) {
        row.show({ name, talkers: 0, onlyListening: 0 });
        continue;
      }
      row.element.remove();
      this.#rows.delete(name);
    }
    for (const room of rooms) this.#row(room.name).show(room);
    this.#list.hidden = this.#rows.size === 0;
    setText(this.#hint, hintOf(known, rooms.length));
  }

  #row(name: string): Row {
    let row = this.#rows.get(name);
    if (row === undefined) {
      row = new Row(name, () => this.#choose(name));
      row.chosen = name === this.#chosen;
      this.#rows.set(name, row);
      this.#list.append(row.element);
    }
    return row;
  }
}

class Row {
  readonly element: HTMLElement;
  readonly #button: HTMLButtonElement;
  readonly #people = element('span', { class: 'count' });

  constructor(name: string, choose: () => void) {
    this.#button = button('', 'room', choose);
    const label = this.#button.querySelector('span')!;
    label.className = 'name';
    label.dir = 'auto';
    setText(label, name);
    this.#button.append(' ', this.#people); // the space is for screen readers
    this.element = element('li', {}, this.#button);
  }

  set chosen(chosen: boolean) {
    this.#button.setAttribute('aria-pressed', String(chosen));
  }

  show(room: OpenRoom): void {
    setText(this.#people, peopleOf(room));
  }
}

function hintOf(known: Known, shown: number): string {
  if (known.type === 'trouble') return known.text;
  if (known.type === 'nothing') return '';
  if (known.leftOut > 0) return `And ${known.leftOut} more, with fewer people.`;
  return shown === 0 ? 'None. A room opens when the first person joins it.' : '';
}

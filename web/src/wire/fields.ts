// Typed access to the fields of a control message.

const MAX_NAME_CHARACTERS = 64;
const MAX_REPORT_FIELDS = 32;
/** JSON has no infinity. */
const MAX_NUMBER = 1e18;
// Characters that Unicode had not assigned when this browser was made are left out, although a
// relay that does not know them either refuses them: a name in newer ones must not keep us out.
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;
const COUNTS = new Set(
  (
    'received played lost late duplicate skipped concealed underruns restarts recovered ' +
    'payload_bytes wire_bytes bad_payloads'
  ).split(' '),
);

/** A control message that breaks the protocol; it says which field. */
export class MalformedMessage extends Error {
  override readonly name = 'MalformedMessage';
}

type Values = Record<string, unknown>;

/** The fields of one object. Methods throw MalformedMessage, naming message and field. */
export class Fields {
  readonly #where: string;
  readonly #values: Values;

  private constructor(where: string, values: Values) {
    this.#where = where;
    this.#values = values;
  }

  /** `where`: what the value is, for error texts. */
  static of(value: unknown, where: string): Fields {
    if (!isObject(value)) throw new MalformedMessage(`${where} must be a JSON object`);
    return new Fields(where, value);
  }

  /** The same fields under another name. */
  as(where: string): Fields {
    return new Fields(where, this.#values);
  }

  /** Whether the field is there and not null. */
  has(name: string): boolean {
    return Object.hasOwn(this.#values, name) && this.#values[name] !== null;
  }

  /** Any string at all. */
  string(name: string, absent?: string): string {
    const value = this.#get(name, absent);
    if (typeof value !== 'string') throw this.#wrong(name, 'a string');
    return value;
  }

  /** At most `most` printable characters; `absent` is what a missing field stands for. */
  text(name: string, absent?: string, most = MAX_NAME_CHARACTERS): string {
    const value = this.string(name, absent);
    if ([...value].length > most) throw this.#wrong(name, `at most ${most} characters`);
    if (UNPRINTABLE.test(value)) throw this.#wrong(name, 'printable characters only');
    return value;
  }

  /** A text that is not empty. */
  name(name: string): string {
    const value = this.text(name);
    if (value === '') throw this.#wrong(name, 'at least one character');
    return value;
  }

  /** One of some strings. */
  choice<T extends string>(name: string, choices: readonly T[]): T {
    const value = this.text(name);
    const chosen = choices.find(choice => choice === value);
    if (chosen === undefined) throw this.#wrong(name, `one of ${choices.join(', ')}`);
    return chosen;
  }

  /** `count` hexadecimal digits, in lower case. */
  hexDigits(name: string, count: number): string {
    const value = this.string(name);
    if (value.length !== count || !/^[0-9a-f]*$/.test(value)) {
      throw this.#wrong(name, `${count} hex digits`);
    }
    return value;
  }

  /** A whole number, low to high. */
  integer(name: string, low: number, high: number, absent?: number): number {
    const value = this.#get(name, absent);
    if (!isNumber(value) || !Number.isInteger(value) || value < low || value > high) {
      throw this.#wrong(name, `an integer, ${low} to ${high}`);
    }
    return value;
  }

  /** The number of a stream. */
  stream(absent?: number): number {
    return this.integer('stream', 0, 2 ** 16 - 1, absent);
  }

  /** Any number within MAX_NUMBER. */
  number(name: string, absent?: number): number {
    const value = this.#get(name, absent);
    if (!isNumber(value)) throw this.#wrong(name, `a number within ${MAX_NUMBER}`);
    return value;
  }

  boolean(name: string, absent?: boolean): boolean {
    const value = this.#get(name, absent);
    if (typeof value !== 'boolean') throw this.#wrong(name, 'true or false');
    return value;
  }

  /** A list of at most `most` texts. */
  texts(name: string, most: number): string[] {
    const values = this.#list(name);
    if (values.length > most) throw this.#wrong(name, `at most ${most} texts`);
    const items = new Fields(`${this.#where}.${name}`, Object.fromEntries(values.entries()));
    return values.map((_, index) => items.text(String(index)));
  }

  /** Numbers by name: of reports. */
  statistics(name: string): Record<string, number> {
    const fields = this.section(name);
    const entries = Object.keys(fields.#values).map(key => {
      if ([...key].length > MAX_NAME_CHARACTERS || UNPRINTABLE.test(key)) {
        throw this.#wrong(name, 'numbers by name');
      }
      const value = fields.number(key);
      const [low, high] = rangeOf(key);
      if (value < low || value > high) throw fields.#wrong(key, `${low} to ${high}`);
      return [key, value] as const;
    });
    if (entries.length > MAX_REPORT_FIELDS) {
      throw this.#wrong(name, `at most ${MAX_REPORT_FIELDS} numbers`);
    }
    return Object.fromEntries(entries);
  }

  /** An object within this one. */
  section(name: string): Fields {
    return Fields.of(this.#get(name), `${this.#where}.${name}`);
  }

  /** A list of objects. */
  sections(name: string): Fields[] {
    return this.#list(name).map((value, n) => Fields.of(value, `${this.#where}.${name}[${n}]`));
  }

  #list(name: string): unknown[] {
    const value = this.#get(name);
    if (!Array.isArray(value)) throw this.#wrong(name, 'a list');
    return value;
  }

  #get(name: string, absent?: unknown): unknown {
    if (Object.hasOwn(this.#values, name)) return this.#values[name];
    if (absent === undefined) throw new MalformedMessage(`${this.#where} lacks ${name}`);
    return absent;
  }

  #wrong(name: string, wanted: string): MalformedMessage {
    const got = JSON.stringify(this.#values[name]).slice(0, 40);
    return new MalformedMessage(`${this.#where}.${name} must be ${wanted}, got ${got}`);
  }
}

function isObject(value: unknown): value is Values {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isNumber(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) <= MAX_NUMBER;
}

/** In which a number of a report lies, by its name. */
function rangeOf(statistic: string): [number, number] {
  if (statistic === 'mos') return [1, 5];
  if (statistic.endsWith('_percent')) return [0, 100];
  return [COUNTS.has(statistic) ? 0 : -MAX_NUMBER, MAX_NUMBER];
}

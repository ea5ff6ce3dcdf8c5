// How long what was written to a socket has been waiting in it. A browser says only how many bytes
// wait (bufferedAmount), so we note when each of them was written.

/** Of one socket. Times are ms of a monotonic clock. */
export class Backlog {
  #written = 0; // bytes so far
  readonly #marks: { end: number; writtenMs: number }[] = []; // oldest first

  /** How many writes are kept: those that wait. */
  get length(): number {
    return this.#marks.length;
  }

  /** So many bytes are written now; `buffered`: what the socket holds of those before. */
  wrote(bytes: number, buffered: number, nowMs: number): void {
    this.#forget(buffered);
    this.#written += bytes;
    this.#marks.push({ end: this.#written, writtenMs: nowMs });
  }

  /** `buffered`: bytes that the socket still holds -> for how long the oldest has waited. */
  waitingMs(buffered: number, nowMs: number): number {
    this.#forget(buffered);
    return this.#marks.length > 0 ? nowMs - this.#marks[0].writtenMs : 0;
  }

  #forget(buffered: number): void {
    const gone = this.#written - buffered;
    while (this.#marks.length > 0 && this.#marks[0].end <= gone) this.#marks.shift();
  }
}

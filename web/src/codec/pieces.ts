// Work that takes tens of milliseconds, in pieces: the worker plays sound meanwhile.

const TURN_MS = 2;

/** Yields wherever something else may be done, within a millisecond. */
export type Pieces<T> = Generator<void, T>;

/** All of it now. */
export function atOnce<T>(work: Pieces<T>): T {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}

/** Some of it, then whatever else waits in this thread, then more. */
export async function inTurn<T>(work: Pieces<T>): Promise<T> {
  const giveWay = givingWay();
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
    await giveWay();
  }
}

/** To be awaited between pieces: lets others have their turn where it is time for that. */
export function givingWay(): () => Promise<void> {
  let endMs = performance.now() + TURN_MS;
  return async () => {
    if (performance.now() < endMs) return;
    await new Promise(resolve => setTimeout(resolve));
    endMs = performance.now() + TURN_MS;
  };
}

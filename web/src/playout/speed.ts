// How fast packets should be played, so that their delay meets its target.

/** Three cents of pitch, which nobody hears: up to here audio is resampled. */
export const FINE_SPEED = 0.002;

const ROUNDING = 1e-9; // 1.002 - 1 is a little more than 0.002
const FINE_TIME_MS = 5_000; // in which a small error of delay is made up
// Errors of delay above which time is scaled. LATE_MS is where FINE_TIME_MS reaches FINE_SPEED.
const LATE_MS = 10;
const EARLY_MS = 8;
const SETTLED_MS = 4; // error of delay at which time scaling ends
const FAST = 1.12;
const FASTER = 1.3;
const SLOW = 0.85;
const FASTER_MS = 80; // error of delay above which FASTER is played
const NEEDED_PACKETS = 25; // delay that one of so many packets did not wait is no surplus
const NEEDED_MARGIN_MS = 5;
// Packets that waited less than this on average came almost too late, whatever the target says.
const TIGHT_PACKETS = 5;
const TIGHT_MS = 12;

/**
 * Within FINE_SPEED of one: met by resampling. Any other speed is met by time scaling, which keeps
 * the pitch.
 */
export function isFine(speed: number): boolean {
  return Math.abs(speed - 1) <= FINE_SPEED + ROUNDING;
}

/** The speed of each packet, from how late it is and how long the last packets waited. */
export class SpeedControl {
  private speed = 1;
  private readonly waits: number[] = []; // of the last NEEDED_PACKETS

  /**
   * For the packet that is played now. errorMs: by how much its delay exceeds the target; waitedMs:
   * from its arrival to now.
   */
  next(errorMs: number, waitedMs: number): number {
    this.waits.push(waitedMs);
    if (this.waits.length > NEEDED_PACKETS) this.waits.shift();
    // Where the network has just become slower the target does not know yet, but packets that
    // barely came in time show it.
    const surplusMs = Math.min(...this.waits) - NEEDED_MARGIN_MS;
    const last = this.waits.slice(-TIGHT_PACKETS);
    const tightMs = last.reduce((sum, ms) => sum + ms, 0) / last.length - TIGHT_MS;
    this.speed = speedFor(Math.min(errorMs, Math.max(surplusMs, 0), tightMs), this.speed);
    return this.speed;
  }
}

/** Time scaling that has begun goes on until the error has settled. */
function speedFor(errorMs: number, before: number): number {
  const scaling = !isFine(before);
  if (errorMs > LATE_MS || (scaling && before > 1 && errorMs > SETTLED_MS)) {
    return errorMs > FASTER_MS ? FASTER : FAST;
  }
  if (errorMs < -EARLY_MS || (scaling && before < 1 && errorMs < -SETTLED_MS)) return SLOW;
  return 1 + Math.min(FINE_SPEED, Math.max(-FINE_SPEED, errorMs / FINE_TIME_MS));
}

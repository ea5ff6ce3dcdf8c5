// Headers of 4 bytes for packets that go on as those before them did (docs/protocol.md). A
// connection delivers in order, so both its ends know what the next packet of a stream would say:
// the next sequence number, and a capture time as far behind the last one as that was behind the
// one before. Such a packet leaves both out.

import {
  check,
  checkPayload,
  checkVersion,
  HEADER_BYTES,
  MalformedPacket,
  SHORT,
  viewOf,
} from './packet.ts';

export const SHORT_HEADER_BYTES = 4;

/** Sequence number and capture time. */
type Counters = readonly [number, number];

/** The counters of a stream's last packet on a connection, and those that would follow. */
class Course {
  /** Of the packet that needs no counters; null before there were two. */
  next: Counters | null = null;
  #last: number | null = null; // capture time

  /** The next packet -> whether it needs no counters. */
  add([sequence, captured]: Counters): boolean {
    const continues = this.next !== null && sequence === this.next[0] && captured === this.next[1];
    if (this.#last !== null) {
      this.next = [(sequence + 1) >>> 0, (2 * captured - this.#last) >>> 0];
    }
    this.#last = captured;
    return continues;
  }
}

/** Of a connection's sending end, for our own stream. */
export class Shortener {
  readonly #course = new Course();

  /** A packet as `serialize` makes it -> what is sent. To be called for what is sent only. */
  shorten(datagram: Uint8Array): Uint8Array {
    if (!this.#course.add(countersOf(datagram))) return datagram;
    const short = new Uint8Array(datagram.length - HEADER_BYTES + SHORT_HEADER_BYTES);
    short.set(datagram.subarray(0, SHORT_HEADER_BYTES));
    short[0] |= SHORT;
    short.set(datagram.subarray(HEADER_BYTES), SHORT_HEADER_BYTES);
    return short;
  }
}

/** Of a connection's receiving end, for all streams that come over it. */
export class Restorer {
  readonly #courses = new Map<number, Course>();

  /**
   * What was received -> the packet with its whole header, which `parse` accepts. Throws
   * MalformedPacket, for a short header that nothing came before, too.
   */
  restore(datagram: Uint8Array): Uint8Array {
    if (datagram.length === 0 || !(datagram[0] & SHORT)) {
      check(datagram);
      this.#courseOf(datagram).add(countersOf(datagram));
      return datagram;
    }
    checkVersion(datagram);
    if (datagram.length < SHORT_HEADER_BYTES) {
      throw new MalformedPacket(
        `need ${SHORT_HEADER_BYTES} bytes of a short header, got ${datagram.length}`,
      );
    }
    const course = this.#courseOf(datagram);
    const counters = course.next;
    if (counters === null) {
      throw new MalformedPacket('short header: the two packets before it must be known');
    }
    const first = datagram[0] & ~SHORT;
    checkPayload(first & 7, datagram[1], datagram.length - SHORT_HEADER_BYTES);
    course.add(counters);
    const whole = new Uint8Array(datagram.length - SHORT_HEADER_BYTES + HEADER_BYTES);
    whole.set(datagram.subarray(0, SHORT_HEADER_BYTES));
    whole[0] = first;
    viewOf(whole).setUint32(4, counters[0]);
    viewOf(whole).setUint32(8, counters[1]);
    whole.set(datagram.subarray(SHORT_HEADER_BYTES), HEADER_BYTES);
    return whole;
  }

  #courseOf(datagram: Uint8Array): Course {
    const stream = viewOf(datagram).getUint16(2);
    let course = this.#courses.get(stream);
    if (course === undefined) {
      course = new Course();
      this.#courses.set(stream, course);
    }
    return course;
  }
}

function countersOf(datagram: Uint8Array): Counters {
  const view = viewOf(datagram);
  return [view.getUint32(4), view.getUint32(8)];
}

// node page_room.mjs CORE_JS: who the page says is in the room. Says as JSON what each check found:
// null where all is well.
import assert from 'node:assert/strict';
import { pathToFileURL } from 'node:url';
import { foundBy } from './page_checks.mjs';

const core = await import(pathToFileURL(process.argv[2]).href);

const checks = {
  who_comes_and_goes_is_said_once() {
    const room = new core.Room('Ada', true);
    const start = (stream, name) => ({ type: 'stream_start', stream, name, info: {} });
    const welcome = (streams, talkers = streams.length + 1) => ({
      ...{ type: 'welcome', session: 's', room: 'r', stream: 7, streams, talkers, listeners: 2 },
    });
    const names = () => room.talkers.map(talker => talker.name);
    assert.deepEqual(room.connected(welcome([start(1, 'Bob')], 3)), []);
    assert.deepEqual(room.message(start(2, 'Cy')), []); // did not fit
    assert.deepEqual(room.message(start(3, '')), ['Somebody joined']);
    assert.deepEqual(room.message({ type: 'mute', muted: true, stream: 3 }), []);
    assert.deepEqual(
      room.talkers.map(talker => talker.muted),
      [false, false, true],
    );
    assert.deepEqual(room.message({ ...start(2, 'Cy'), info: { bitrateBps: 1 } }), []);
    assert.equal(room.talkers[1].info.bitrateBps, 1);
    assert.deepEqual(room.message({ type: 'stream_end', stream: 3 }), ['Somebody left']);
    assert.deepEqual(room.message({ type: 'stream_end', stream: 3 }), []);
    const again = welcome([start(1, 'Bob'), start(4, 'Di')]);
    room.message({ type: 'mute', muted: true, stream: 1 });
    assert.deepEqual(room.connected(again), ['Di joined', 'Cy left']);
    assert.ok(room.talkers.every(talker => !talker.muted)); // else the relay says so
    assert.deepEqual(names(), ['Bob', 'Di']);
    const more = welcome([start(5, 'Ed')], 4);
    assert.deepEqual(room.connected(more), ['Ed joined']);
    assert.deepEqual(room.message({ type: 'mute', muted: true, stream: 4 }), []);
    assert.deepEqual(room.message(start(4, 'Di')), []);
    assert.ok(room.talkers.find(talker => talker.name === 'Di').muted);
    assert.ok(room.talkers.every(talker => talker.name === 'Di' || !talker.muted));
    assert.deepEqual(room.message(start(6, 'Flo')), ['Flo joined', 'Bob left']);
    assert.match(room.message({ type: 'silenced', silenced: true })[0], /silenced you/);
    assert.deepEqual([room.silenced, room.stream], [true, 7]);
  },

  listeners_are_counted_without_oneself() {
    const listening = (listeners, names) => ({ type: 'listening', listeners, names });
    const room = new core.Room('Ada', false);
    assert.deepEqual(room.message(listening(3, ['Lis', 'Ada', 'Ada'])), []);
    assert.deepEqual([room.listeners, room.listenerNames], [2, ['Lis', 'Ada']]);
    const later = room.message(listening(3, ['Ada', 'Ada', 'Max']));
    assert.deepEqual(later, ['Lis left', 'Max joined, to listen']);
    assert.deepEqual(room.message(listening(40, ['Ada', 'Max'])), []);
    const talks = new core.Room('Ada', true);
    talks.message(listening(1, ['Ada']));
    assert.deepEqual([talks.listeners, talks.listenerNames], [1, ['Ada']]);
  },
};

console.log(JSON.stringify(foundBy(checks)));

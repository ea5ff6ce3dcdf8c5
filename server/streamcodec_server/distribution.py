"""What a room's listeners are to be sent, in turns: a busy room takes no other's time, and no step
takes long, however many listen. Sans-I/O.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Hashable

from .audience import FanOut
from .mailbox import Counters, Mailbox
from .media import Media
from .members import Member, Room

TURN = 64  # deliveries of one room before the next one has its turn
FEWEST_TOGETHER = 4  # listeners for which one call for all of them is faster than one for each


@dataclasses.dataclass(eq=False, slots=True)
class Broadcast:
    """Something for all listeners of a room but `sender`. media: None for control. control: a
    frame. key: of control, what it is the latest news of. for_watchers: only for members that want
    to know who listens.
    """

    sender: Member | None
    arrived_ms: float
    media: Media | None = None
    control: bytes = b""
    key: Hashable = None
    for_watchers: bool = False
    void: bool = False  # newer news of the same stands behind it


class _Queue:
    """Of one room. The first broadcast may have gone to some listeners already."""

    def __init__(self, room: Room, fan_out: FanOut | None) -> None:
        self.room, self._fan_out = room, fan_out
        self._waiting: deque[Broadcast] = deque()
        self._newest: dict[Hashable, Broadcast] = {}  # of control
        self._done = 0  # places that have had the first broadcast

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, broadcast: Broadcast) -> None:
        if broadcast.key is not None:
            older = self._newest.get(broadcast.key)
            if older is not None and (older is not self._waiting[0] or not self._done):
                older.void = True
            self._newest[broadcast.key] = broadcast
        self._waiting.append(broadcast)

    def deliver(self, most: int, max_queue_ms: float, now_ms: float, counters: Counters) -> int:
        """Makes at most so many deliveries -> how many it made."""
        made, audience = 0, self.room.audience
        while self._waiting and made < most:
            now = self._waiting[0]
            expired = now.media is not None and now_ms - now.arrived_ms > max_queue_ms
            if now.void or expired:
                if expired:
                    left = audience.mailboxes[self._done :]
                    counters.dropped += sum(mailbox is not None for mailbox in left)
                self._next()
                made += 1  # a queue of nothing else must not take long either
                continue
            first, beyond = self._done, min(len(audience), self._done + most - made)
            skip = -1 if now.sender is None else now.sender.mailbox.place
            if now.media is None:
                for mailbox in audience.mailboxes[first:beyond]:
                    if mailbox is None or mailbox.place == skip:
                        continue
                    if mailbox.watches or not now.for_watchers:
                        mailbox.put_control(now.control, now.key)
            elif self._fan_out is not None and beyond - first >= FEWEST_TOGETHER:
                held = self._fan_out(audience, now.media, first, beyond, skip, counters)
                for place, rest in held:
                    mailbox = audience.mailboxes[place]
                    if mailbox is None:
                        continue
                    if rest:
                        mailbox.put_rest(rest)
                    else:
                        mailbox.put_media(now.media, now.arrived_ms, now_ms)
            else:
                for mailbox in audience.mailboxes[first:beyond]:
                    if mailbox is not None and mailbox.place != skip:
                        mailbox.put_media(now.media, now.arrived_ms, now_ms)
            made += max(1, beyond - first)
            self._done = beyond
            if beyond >= len(audience):
                if now.media is not None:
                    counters.distributed.add(now_ms - now.arrived_ms)
                self._next()
        return made

    def _next(self) -> None:
        done = self._waiting.popleft()
        if self._newest.get(done.key) is done:
            del self._newest[done.key]
        self._done = 0


class _Resumed:
    """A mailbox whose outlet takes frames again. With the turns of a room."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def __bool__(self) -> bool:
        return self._mailbox.can_flush

    def deliver(self, most: int, max_queue_ms: float, now_ms: float, counters: Counters) -> int:
        return max(1, self._mailbox.flush(now_ms, most))


class Distributor:
    """Gives rooms their turns, and members that could not take everything at once. turns: of those
    that have something waiting; for others to ask whether there is any.
    """

    def __init__(
        self, max_queue_ms: float, counters: Counters, fan_out: FanOut | None = None
    ) -> None:
        """fan_out: None sends to each listener by itself."""
        self._max_queue_ms, self._counters, self._fan_out = max_queue_ms, counters, fan_out
        self._queues: dict[Room, _Queue] = {}
        self.turns: deque[_Queue | _Resumed] = deque()

    def add(self, room: Room, broadcast: Broadcast) -> None:
        if (queue := self._queues.get(room)) is None:
            queue = self._queues[room] = _Queue(room, self._fan_out)
        if not queue:
            self.turns.append(queue)
        queue.add(broadcast)

    def add_media(self, room: Room, sender: Member, media: Media, now_ms: float) -> None:
        """A packet that came now. A few listeners get it at once, if none of them waits for what
        came before: all else takes longer than that.
        """
        queue = self._queues.get(room)
        mailboxes = room.audience.mailboxes
        if queue or len(mailboxes) >= FEWEST_TOGETHER:
            self.add(room, Broadcast(sender, now_ms, media))
            return
        own = sender.mailbox
        for mailbox in mailboxes:
            if mailbox is not None and mailbox is not own:
                mailbox.put_media(media, now_ms, now_ms)
        self._counters.distributed.add(0.0)

    def resume(self, mailbox: Mailbox) -> None:
        """Its outlet takes frames again: what waits there goes out in turns, too."""
        if mailbox.can_flush:
            self.turns.append(_Resumed(mailbox))

    def step(self, now_ms: float, deliveries: int) -> int:
        """Makes at most so many deliveries, if so many wait -> how many it made."""
        left = deliveries
        while left > 0 and self.turns:
            queue = self.turns.popleft()
            most = min(TURN, left)
            left -= queue.deliver(most, self._max_queue_ms, now_ms, self._counters)
            if queue:
                self.turns.append(queue)
            elif isinstance(queue, _Queue) and not queue.room.members:
                del self._queues[queue.room]
        return deliveries - left

    def forget(self, room: Room) -> None:
        """A room that has no members any more."""
        queue = self._queues.get(room)
        if queue is not None and not queue:
            del self._queues[room]

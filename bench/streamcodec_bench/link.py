"""Real packets over a bad link: two network namespaces, joined by a forwarder that delays and loses
packets and simulates outages. Needs Linux and root.

A TUN device on each side and a thread between them work where the kernel's own emulator (netem) is
missing. Programs on either side use the kernel's TCP, which repeats what is lost: loss becomes
delay, as in the field.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from types import TracebackType

from streamcodec.errors import ConfigError

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
MOST_BYTES = 2_048
ADDRESSES = ("10.77.0.1", "10.77.0.2")
POLL_S = 0.05


class Link:
    """`near` and `far` are command prefixes that run a program on either side; `far_address` is the
    address of the far side for programs on the near side.
    """

    far_address = ADDRESSES[1]

    def __init__(self, delay_ms: float, loss: float, seed: int = 0) -> None:
        """delay_ms: each way. loss: share of IP packets, each way, each lost independently."""
        self._delay_s, self._loss, self._random = delay_ms / 1000, loss, random.Random(seed)  # noqa: S311 - a simulation
        names = [f"streamcodec-{os.getpid()}-{side}" for side in ("near", "far")]
        self.near, self.far = (["ip", "netns", "exec", name] for name in names)
        self._names, self._devices = names, list[int]()
        self._closing = False
        self.down = False  # nothing passes
        self._thread = threading.Thread(target=self._forward, name="link", daemon=True)

    def __enter__(self) -> Link:
        """Raises ConfigError where the system does not permit it."""
        try:
            for index, name in enumerate(self._names):
                device = f"sctun{index}"
                _ip("netns", "add", name)
                self._devices.append(_tun(device))
                _ip("link", "set", device, "netns", name)
                for command in (
                    ("addr", "add", ADDRESSES[index], "peer", ADDRESSES[1 - index], "dev", device),
                    ("link", "set", device, "up"),
                    ("link", "set", "lo", "up"),
                ):
                    _ip("-n", name, *command)
        except (OSError, subprocess.CalledProcessError) as error:
            self._clean_up()
            raise ConfigError(
                f"a link needs Linux, iproute2, /dev/net/tun and root: {error}"
            ) from error
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing = True
        self._thread.join()
        self._clean_up()

    def _clean_up(self) -> None:
        for device in self._devices:
            os.close(device)
        for name in self._names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)  # noqa: S603, S607

    def _forward(self) -> None:
        near, far = self._devices
        # (when due, running number, device to write to, packet), earliest first
        waiting: list[tuple[float, int, int, bytes]] = []
        count = 0
        while not self._closing:
            wait_s = min(POLL_S, max(0.0, waiting[0][0] - time.monotonic())) if waiting else POLL_S
            readable, _, _ = select.select([near, far], [], [], wait_s)
            for device in readable:
                packet = os.read(device, MOST_BYTES)
                if not self.down and self._random.random() >= self._loss:
                    count += 1
                    heapq.heappush(
                        waiting,
                        (
                            time.monotonic() + self._delay_s,
                            count,
                            far if device == near else near,
                            packet,
                        ),
                    )
            while waiting and waiting[0][0] <= time.monotonic():
                _, _, target, packet = heapq.heappop(waiting)
                if not self.down:
                    os.write(target, packet)


def _tun(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR)
    try:
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH", name.encode(), IFF_TUN | IFF_NO_PI))
    except OSError:
        os.close(device)
        raise
    return device


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)  # noqa: S603, S607

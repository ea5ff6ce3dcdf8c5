"""Joins a room from Python."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

from streamcodec.coding.model import CodecModel
from streamcodec.errors import ConfigError
from streamcodec.wire.redundancy import MAX_COPY_DISTANCE

from ..clock import Clock, MonotonicClock
from ..live.codec import Codec, codec_of, load_codec
from ..live.encryption import RoomKey
from ..live.token_name import name_in
from .devices import NO_DEVICES, OpenDevices, open_devices
from .room import Room
from .settings import RoomSettings


@contextlib.asynccontextmanager
async def connect(
    url: str,
    *,
    ca: str | Path | None = None,
    room: str = "lobby",
    name: str = "python",
    token: str = "",
    passphrase: str = "",
    talk: bool = True,
    listen: bool = True,
    sample_rate: int = 16_000,
    channels: int = 1,
    bitrate_bps: float | None = None,
    quality: float | None = None,
    capped: bool = False,
    packet_ms: int = 20,
    dtx: bool = False,
    microphone: bool | str = False,
    loudspeaker: bool | str = False,
    gain_control: bool = True,
    redundancy: int | None = None,
    take_copies: int = MAX_COPY_DISTANCE,
    playout_ms: float | tuple[float, float] = (20.0, 400.0),
    model: str | Path | CodecModel | None = None,
    engine: str = "auto",
    timeout_s: float = 10.0,
) -> AsyncGenerator[Room]:
    """In a room until the end of the block; what was sent is still sent then. When a connection
    breaks, the relay is looked for again.

    url: ws://HOST:PORT or wss://HOST:PORT. ca: a file of certificate authorities, where the system
    does not know the relay's. name: as others see it. token: leave to join, where the relay asks
    for one. passphrase: encrypts end to end; only who has the same one hears what is said, and who
    does not encrypt is not heard. talk, listen: what for. sample_rate (Hz), channels: of the PCM
    that is sent and of the frames that are heard. bitrate_bps: mean payload rate (9000, or 14000
    for two channels, where no quality, 0..1, is given instead); capped: a limit that no payload
    exceeds. packet_ms: 20, 40 or 60. dtx: send next to nothing while nobody speaks. microphone:
    sends what it captures, in place of `Room.send`; loudspeaker: plays what is heard, besides
    `Room.listen`; each True for the default one, or an index or part of a name, as `list_devices`
    has them. gain_control: keeps the microphone's voice at one level. redundancy: how many packets
    back the copy lies that each packet carries for listeners that take it, 0 for none; None sends
    copies while listeners lose packets. take_copies: how far back a copy may lie that we take.
    playout_ms: a fixed delay, or the (least, longest) between which it adapts to the network.
    model: a shipped model's name, a folder, or one that is loaded already, which any number of
    rooms may share; engine: as of `load_model`. timeout_s: how long to look for a relay that never
    let us in.

    Raises ConfigError for a setting outside its range, ModelError, AudioError for a device that
    cannot be had, ConnectionRefused where no relay lets us in; and at the end what failed
    meanwhile, unless `listen` or `send` has raised it.
    """
    settings = RoomSettings(
        url=url,
        ca=Path(ca) if isinstance(ca, str) else ca,
        room=room,
        name=name_in(token) or name,
        token=token,
        talk=talk,
        listen=listen,
        sample_rate=sample_rate,
        channels=channels,
        bitrate_bps=bitrate_bps,
        quality=quality,
        capped=capped,
        packet_ms=packet_ms,
        dtx=dtx,
        microphone=microphone,
        loudspeaker=loudspeaker,
        gain_control=gain_control,
        redundancy=redundancy,
        take_copies=take_copies,
        playout_ms=playout_ms,
        timeout_s=timeout_s,
    )
    if isinstance(model, CodecModel):
        codec = codec_of(model, "auto", settings.sample_rate)
    elif not isinstance(model, str | Path | None):
        raise ConfigError(f"model must be a name, a folder or a CodecModel, got {model!r}")
    else:
        codec = await asyncio.to_thread(
            load_codec, model, "auto", engine, "auto", settings.sample_rate
        )
    key = await asyncio.to_thread(RoomKey, passphrase, room) if passphrase else None
    clock = MonotonicClock()
    with contextlib.closing(await _opened(settings, codec, clock)) as devices:
        async with Room(settings, codec, clock, key, devices).joined() as member:
            yield member


async def _opened(settings: RoomSettings, codec: Codec, clock: Clock) -> OpenDevices:
    """In a thread. Who is cancelled meanwhile leaves no device open."""
    if not (settings.microphone or settings.loudspeaker):
        return NO_DEVICES
    opening = asyncio.ensure_future(asyncio.to_thread(open_devices, settings, codec, clock))
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        opening.add_done_callback(_closed)
        raise


def _closed(opening: asyncio.Future[OpenDevices]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()

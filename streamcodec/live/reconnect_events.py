"""What a Reconnect is told, and what it decides."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConnectionRefused

# --- events -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reached:
    """The TCP connection of an attempt is there; TLS and HTTP follow."""


@dataclass(frozen=True)
class Opened:
    """An attempt has become a connection."""


@dataclass(frozen=True)
class Failed:
    """An attempt came to nothing. `refusal`: where another try would end the same. `silent`:
    nothing at all came back, so the network may be down.
    """

    reason: str
    refusal: ConnectionRefused | None = None
    silent: bool = False


@dataclass(frozen=True)
class HelloSent:
    """The hello was written: what is sent from now on arrives after it."""


@dataclass(frozen=True)
class Welcomed:
    """The relay has let us in."""


@dataclass(frozen=True)
class Heard:
    """Anything came from the relay, a pong included."""


@dataclass(frozen=True)
class ProbeAnswered:
    """The pong to the ping of a Probe came: both directions work."""


@dataclass(frozen=True)
class Closed:
    """The connection in use has ended. `code`: the relay's close code, None where it broke without
    one. `said`: what the relay gave as its reason.
    """

    code: int | None = None
    said: str = ""


@dataclass(frozen=True)
class CloseAsked:
    """The user wants to leave."""


@dataclass(frozen=True)
class Tick:
    """Nothing happened until `Reconnect.wake_s`."""


Event = (
    Reached
    | Opened
    | Failed
    | HelloSent
    | Welcomed
    | Heard
    | ProbeAnswered
    | Closed
    | CloseAsked
    | Tick
)

# --- decisions --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attempt:
    """Begin one more attempt."""


@dataclass(frozen=True)
class Abandon:
    """Cancel all attempts under way, and close what one of them may open all the same."""


@dataclass(frozen=True)
class SayHello:
    """Use the connection that has just opened: say hello."""


@dataclass(frozen=True)
class Probe:
    """Ping the connection in use; its pong is a ProbeAnswered."""


@dataclass(frozen=True)
class Drop:
    """The connection in use is no longer used: reset it, if it is still open."""


@dataclass(frozen=True)
class NotifyDisconnected:
    """Tell listeners that the connection, of which they knew, is over."""

    reason: str


@dataclass(frozen=True)
class NotifyRetrying:
    """Tell the user why there is no connection, and that attempts go on."""

    reason: str


@dataclass(frozen=True)
class SayGoodbye:
    """Close the connection in use in an orderly way."""


@dataclass(frozen=True)
class End:
    """Do nothing more. `refusal`: what to raise; None after an orderly end."""

    refusal: ConnectionRefused | None = None


Decision = (
    Attempt
    | Abandon
    | SayHello
    | Probe
    | Drop
    | NotifyDisconnected
    | NotifyRetrying
    | SayGoodbye
    | End
)

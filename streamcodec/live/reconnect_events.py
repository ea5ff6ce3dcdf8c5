"""What a Reconnect is told, and what it decides."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ConnectionRefused

# --- events -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reached:
    """TCP of an attempt is through; TLS and HTTP follow."""


@dataclass(frozen=True)
class Opened:
    """An attempt has become a connection."""


@dataclass(frozen=True)
class Failed:
    """An attempt came to nothing. `refusal`: where another try would end the same."""

    reason: str
    refusal: ConnectionRefused | None = None


@dataclass(frozen=True)
class HelloSent:
    """What is sent from now on arrives behind the hello."""


@dataclass(frozen=True)
class Welcomed:
    """The relay has let us in."""


@dataclass(frozen=True)
class Heard:
    """Anything came from the relay, a pong included."""


@dataclass(frozen=True)
class Answered:
    """The relay has answered a ping sent after `AskForAnswer`: both ways work."""


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
    Reached | Opened | Failed | HelloSent | Welcomed | Heard | Answered | Closed | CloseAsked | Tick
)

# --- decisions --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Attempt:
    """Begin one more attempt."""


@dataclass(frozen=True)
class Abandon:
    """Cancel all attempts under way; what they may still come to is thrown away."""


@dataclass(frozen=True)
class Greet:
    """Use the connection that has just opened: say hello."""


@dataclass(frozen=True)
class AskForAnswer:
    """Ping the connection in use. `Answered` is due when this ping's pong has come."""


@dataclass(frozen=True)
class Drop:
    """The connection in use is out of use: reset it, if it is open."""


@dataclass(frozen=True)
class Tell:
    """Listeners, who were told of this connection, are to be told of its end."""

    reason: str


@dataclass(frozen=True)
class SayGoodbye:
    """Close the connection in use in an orderly way."""


@dataclass(frozen=True)
class End:
    """Over. `refusal`: what to raise; None after a goodbye."""

    refusal: ConnectionRefused | None = None


Decision = Attempt | Abandon | Greet | AskForAnswer | Drop | Tell | SayGoodbye | End

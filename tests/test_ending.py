"""What a signal must not cut off."""

import signal
import sys

import pytest

from streamcodec.ending import signals_unwind


@pytest.mark.skipif(sys.platform == "win32", reason="has other signals")
@pytest.mark.parametrize(
    ("number", "raised"),
    [
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGTERM, SystemExit),
        (signal.SIGHUP, SystemExit),
    ],
)
def test_more_of_a_signal_do_not_cut_off_what_the_first_ends(
    number: signal.Signals, raised: type[BaseException]
) -> None:
    ended = False

    def signalled_twice() -> None:
        nonlocal ended
        with signals_unwind(interrupt=True):
            try:
                signal.raise_signal(number)
            finally:
                signal.raise_signal(number)
                signal.raise_signal(signal.SIGINT)
                ended = True

    # In the background, the suite inherits that SIGINT is ignored; under nohup, SIGHUP.
    handlers = {number: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {each: signal.signal(each, handler) for each, handler in handlers.items()}
    try:
        with pytest.raises(raised):
            signalled_twice()
        assert {each: signal.getsignal(each) for each in handlers} == handlers
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert ended


def test_ctrl_c_is_left_alone_where_nobody_asks() -> None:
    before = signal.getsignal(signal.SIGINT)
    with signals_unwind():
        assert signal.getsignal(signal.SIGINT) == before

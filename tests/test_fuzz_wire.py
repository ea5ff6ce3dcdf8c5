"""A short run of what `python -m streamcodec_bench.fuzz_wire` does for long."""

from streamcodec_bench.fuzz_wire import Fuzz


def test_whatever_strangers_send_is_read_or_refused() -> None:
    fuzz = Fuzz(seed=1)
    fuzz.run(20_000)
    expected = {"frame", "packet", "no packet", "message", "no message", "taken", "ended"}
    assert expected <= set(fuzz.outcomes)
    assert min(fuzz.outcomes[outcome] for outcome in expected) > 100

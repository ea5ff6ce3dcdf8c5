"""Two `talk` with virtual sound devices, as `bench call` measures them."""

from __future__ import annotations

import pytest

from streamcodec_bench.call import TABLE_HEAD, CallPlan, Direction, measure, table_row
from streamcodec_bench.latency import Spread
from streamcodec_bench.options import SPEECH
from streamcodec_bench.sound_server import missing


def test_a_row_has_as_many_columns_as_the_head() -> None:
    way = Direction("a", Spread(1, 2), 3, Spread(4, 5), (0, 1, 2), (3, 4, 5), 6, 7, 8, 0.15)
    head = TABLE_HEAD.splitlines()[0]
    assert table_row(way).count("|") == head.count("|")


@pytest.mark.slow  # 25 s
def test_both_hear_each_other_as_late_as_they_report() -> None:
    if package := missing():
        pytest.skip(f"no sound server to test with: {package}")
    for way in measure(CallPlan(SPEECH, seconds=10, busy=0, bitrate_bps=6_000, model=None)):
        assert way.windows >= 5
        assert 25 < way.mouth_to_ear_ms.p50 < 200  # packet and overlap take 25
        assert way.mouth_to_ear_ms.p50 == pytest.approx(way.reported_ms.p50, abs=15)
        assert way.packets > 500

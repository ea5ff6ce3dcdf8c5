"""How much sound a device is given before its time."""

from __future__ import annotations

from streamcodec.units import NS
from streamcodec_client.audio.lead import Lead


def test_the_lead_grows_with_each_stall_and_shrinks_again() -> None:
    lead = Lead(7.0)
    lead.ran_dry(0, 5 * NS)
    assert lead.ms(5 * NS) == 7.0
    lead.ran_dry(3, 10 * NS)
    assert lead.ms(10 * NS) == 12.0
    lead.ran_dry(3, 11 * NS)  # nothing new
    assert lead.ms(10 * NS) == 12.0
    assert lead.ms(20 * NS) == 10.0
    lead.ran_dry(4, 20 * NS)
    assert lead.ms(20 * NS) == 15.0
    assert lead.ms(100 * NS) == 7.0


def test_one_stall_counts_once() -> None:
    lead = Lead(7.0)
    for times in range(1, 5):
        lead.ran_dry(times, NS + times * NS // 50)
    assert lead.ms(NS + NS // 50) == 12.0


def test_the_lead_has_a_limit() -> None:
    lead = Lead(7.0)
    for times in range(1, 50):
        lead.ran_dry(times, times * NS)
    assert lead.ms(49 * NS) == 27.0

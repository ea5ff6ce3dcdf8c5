"""The table of what was measured after each run of training, and its picture."""

import math
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from streamcodec.errors import ConfigError
from streamcodec_models.catalogue import folder_of
from streamcodec_training.cli import train
from streamcodec_training.measured import COLUMNS, read_points

MEASURED = Path(__file__).parents[1] / "models" / "training" / "measured.csv"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(train, list(map(str, arguments)), catch_exceptions=False)


def test_measured_points_become_a_picture(tmp_path: Path) -> None:
    assert invoke("curves", MEASURED, tmp_path / "measured.png").exit_code == 0
    assert (tmp_path / "measured.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"measured\.txt ends in none of .*\.png"):
        invoke("curves", MEASURED, tmp_path / "measured.txt")


def test_measured_points_have_sources_and_stand_in_order() -> None:
    points = read_points(MEASURED)
    minutes = [point.minutes for point in points]
    assert minutes == sorted(minutes)
    for point in points:
        known = {m: v for m, v in point.figures.items() if not math.isnan(v)}
        assert known, point
        assert all(1 < value < 5 for value in known.values())
        assert math.isnan(point.kbps) or point.kbps == pytest.approx(point.asked_kbps, rel=0.01)
    card = (folder_of("voice-16k") / "MODEL_CARD.md").read_text()
    for point in points:
        if point.run in ("U", "W"):  # what the card's tables say still
            figure = f"{point.figures['pesq']:.2f} ±"
            assert any(
                f"| {point.kbps:.2f} |" in line and figure in line for line in card.splitlines()
            ), point


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("run,minutes\n", "has other columns than run,minutes,asked_kbps,kbps,pesq,visqol,source"),
        ("{}\n", "has no points"),
        ("{}\n1,60,6,6.0,good,4,log\n", "line 2: could not convert string to float: 'good'"),
        ("{}\n1,,6,6.0,3,4,log\n", "line 2: could not convert string to float: ''"),
        ("{}\n1,60,6,6.0,3,4,\n", "line 2: no source"),
    ],
)
def test_a_table_of_measured_points_is_checked(tmp_path: Path, text: str, complaint: str) -> None:
    table = tmp_path / "measured.csv"
    table.write_text(text.format(",".join(COLUMNS)))
    with pytest.raises(ConfigError, match=complaint):
        invoke("curves", table, tmp_path / "measured.png")

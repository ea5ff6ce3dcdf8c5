"""Bjontegaard delta rate: how many bits more or fewer one codec needs for the quality of
another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.interpolate import PchipInterpolator

LEAST_POINTS = 3


def bd_rate(
    anchor: Sequence[tuple[float, float]], tested: Sequence[tuple[float, float]]
) -> float | None:
    """Points (rate, quality) of both -> mean difference of the rates at equal quality in percent;
    negative: `tested` needs fewer.

    Piecewise cubic interpolation of log rate over quality where both overlap. None where they do
    not, or have fewer than LEAST_POINTS points that rise. Source: Bjontegaard 2001 (VCEG-M33), with
    the monotone interpolation of JVET.
    """
    curves = [_rising(points) for points in (anchor, tested)]
    if min(map(len, curves)) < LEAST_POINTS:
        return None
    low = max(curve[0][1] for curve in curves)
    high = min(curve[-1][1] for curve in curves)
    if high <= low:
        return None
    areas = []
    for curve in curves:
        rates, qualities = np.array(curve).T
        areas.append(float(PchipInterpolator(qualities, np.log(rates)).integrate(low, high)))
    return float(np.expm1((areas[1] - areas[0]) / (high - low)) * 100)


def _rising(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """By rate, without points whose quality is no better than one that costs less."""
    kept: list[tuple[float, float]] = []
    for rate, quality in sorted(points):
        if rate > 0 and np.isfinite(quality) and (not kept or quality > kept[-1][1]):
            kept.append((rate, quality))
    return kept

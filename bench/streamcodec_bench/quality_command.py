"""`streamcodec bench quality`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from .choices import chosen_of, need, rates_of
from .options import QualityOptions, quality_options

if TYPE_CHECKING:
    from .content import Clip
    from .quality import Row


@click.command(short_help="Our codec beside its peers, at measured payload rates.")
@quality_options
def quality(options: QualityOptions) -> None:
    """Our codec through its real bitstream beside its peers, at payload rates measured in the same
    run. Needs the extra `quality`.

    Clips in subfolders of --data count as classes of their own. With --also, further sets (say, a
    language each) get tables of their own, and a table beside opus at the nearest rate.

    Worst 10 %: the mean over the tenth of the speakers that did worst by that metric.
    """
    from . import codecs as coders
    from . import metrics as meters
    from . import quality as judge
    from . import quality_report as report

    wanted = rates_of(options.rates)
    chosen = chosen_of("codec", options.codecs, list(coders.all_codecs(options.model)))
    judged = chosen_of("metric", options.metrics, list(meters.METRICS))
    need(
        {coders.NEEDS[c] for c in chosen if c in coders.NEEDS}
        | {meters.NEEDS[m] for m in judged if m in meters.NEEDS}
    )
    headline, others, speakers = _played(options)
    classes = {clip.content for clip in headline}

    lines = [report.table_head(judged)]
    click.echo(lines[0])

    def on_row(row: Row) -> None:
        if row.content in classes:
            lines.append(report.table_row(row))
            click.echo(lines[-1])

    rows, scores = judge.measure(
        headline + others,
        wanted,
        codecs=chosen,
        metrics=judged,
        model=options.model,
        jobs=options.jobs or judge.default_jobs(),
        on_row=on_row,
    )
    bd = judge.bd_rates(rows, judged)
    pairs = judge.pairs(rows, scores)
    conditions = {
        "data": str(options.data),
        "also": ", ".join(map(str, options.also)) or "nothing",
        "speakers": speakers,
        "worst 10 %": "mean over the tenth of the speakers that did worst, one at least; for each "
        "metric by itself",
        "opus": "not measured"
        if "opus" not in chosen
        else f"{coders.opus_version()}, VOIP, complexity 10, VBR, 20 ms, wideband",
        "alignment": "cross-correlation, one delay a clip",
        "interval": "95 %, normal, of the mean over clips; of a difference: over the differences "
        "on each clip",
        "rtf": "CPU time of one thread",
    }
    first = [row for row in rows if row.content in classes]
    rest = [row for row in rows if row.content not in classes]
    notes = ["", report.bd_text(bd)]
    if rest:
        notes += ["", report.set_tables(rest, judged)]
    if pairs and len({pair.content for pair in pairs}) > 1:
        notes += ["", f"{judge.OURS} beside {judge.ANCHOR} at the nearest rate:", ""]
        notes += [report.pair_table(pairs, judged)]
    notes += ["", *(f"{name}: {value}" for name, value in conditions.items())]
    notes += ["", report.worst_text(first, judged[0])]
    click.echo("\n".join(notes))
    if (out := options.out) is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "quality.md").write_text("\n".join([*lines, *notes]) + "\n")
        report.write_json(out / "quality.json", rows, scores, bd, pairs, conditions)
        report.draw(out / "quality.png", rows, judged)


def _played(options: QualityOptions) -> tuple[list[Clip], list[Clip], str]:
    """The clips of --data with the classes of content made from them, those of the other sets, and
    where the speakers come from.
    """
    from .content import CLASSES, derived, read_clips, read_sets
    from .speakers import found_speakers, read_speakers

    classes = chosen_of("class of content", options.content, list(CLASSES))
    noise = [] if options.noise is None else read_clips(options.noise, None)
    if options.speakers is None:
        speakers = found_speakers(options.data)
    else:
        speakers = dataclasses.replace(read_speakers(options.speakers), complete=True)
    headline = derived(read_clips(options.data, options.clips, speakers), classes, noise)
    others: list[Clip] = []
    for folder in options.also:
        taken = {clip.content for clip in headline + others}
        others += read_sets(folder, options.clips, speakers, options.data, taken)
    everything = headline + others
    known = sum(1 for clip in everything if clip.speaker)
    return headline, others, speakers.described(known, len(everything))

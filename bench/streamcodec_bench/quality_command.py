"""`streamcodec bench quality`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from .choices import chosen_of, need, rates_of
from .formats import Format
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
    language each) get tables of their own, and a table beside opus at the nearest rate. Where there
    are two classes, say speech and music, a table has them side by side.

    With --sample-rate 48000 codecs are given full band; what PESQ and others judge at 16 kHz is
    resampled for them. With --stereo, metrics of one channel are means over both; classes of
    content place recordings of one channel: in the middle, at a side, in a room, beside another.

    Worst 10 %: the mean over the tenth of the speakers that did worst by that metric.
    """
    from . import codecs as coders
    from . import metrics as meters
    from . import quality as judge
    from . import quality_report as report

    wanted = rates_of(options.rates)
    form = Format(options.sample_rate, options.stereo)
    known = coders.all_codecs(options.model, form)
    chosen = chosen_of(f"codec for {form}", options.codecs, list(known))
    judged = chosen_of(f"metric for {form}", options.metrics, meters.metrics_for(form))
    need(({known[c].needs for c in chosen} - {""}) | meters.needs_of(judged))
    anchor = judge.anchor_of(chosen)
    headline, others, speakers = _played(options, form)
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
        codecs=[known[c] for c in chosen],
        metrics=judged,
        jobs=options.jobs or judge.default_jobs(),
        on_row=on_row,
    )
    bd = judge.bd_rates(rows, judged, anchor)
    pairs = judge.pairs(rows, scores, anchor)
    conditions = {
        "data": str(options.data),
        "also": ", ".join(map(str, options.also)) or "nothing",
        "speakers": speakers,
        "worst 10 %": "mean over the tenth of the speakers that did worst, one at least; for each "
        "metric by itself",
        "compared at": str(form),
        "opus": "not measured"
        if anchor not in chosen
        else f"{coders.opus_version()}, VOIP (opus-audio: AUDIO), complexity 10, VBR, 20 ms, "
        f"{'full band' if form.full_band else 'wideband'}",
        "alignment": "cross-correlation, one delay a clip",
        "interval": "95 %, normal, of the mean over clips; of a difference: over the differences "
        "on each clip",
        "rtf": "CPU time of one thread",
    }
    first = [row for row in rows if row.content in classes]
    rest = [row for row in rows if row.content not in classes]
    notes = ["", report.bd_text(bd, anchor)]
    if rest:
        notes += ["", report.set_tables(rest, judged)]
    if pairs and len({pair.content for pair in pairs}) > 1:
        notes += ["", f"{judge.OURS} beside {anchor} at the nearest rate:", ""]
        notes += [report.pair_table(pairs, judged, anchor)]
    if len(classes | {row.content for row in rest}) == 2:
        notes += ["", report.side_by_side(rows, judged)]
    notes += ["", *(f"{name}: {value}" for name, value in conditions.items())]
    notes += ["", report.worst_text(first, judged[0])]
    click.echo("\n".join(notes))
    if (out := options.out) is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "quality.md").write_text("\n".join([*lines, *notes]) + "\n")
        report.write_json(out / "quality.json", rows, scores, bd, pairs, conditions)
        report.draw(out / "quality.png", rows, judged)


def _played(options: QualityOptions, form: Format) -> tuple[list[Clip], list[Clip], str]:
    """The clips of --data with the classes of content made from them, those of the other sets, and
    where the speakers come from.
    """
    from .content import CLASSES, STEREO_CLASSES, derived, read_clips, read_sets
    from .speakers import found_speakers, read_speakers

    known_classes = STEREO_CLASSES if form.stereo else CLASSES
    classes = chosen_of("class of content", options.content, list(known_classes))
    noise = [] if options.noise is None else read_clips(options.noise, None, form=form)
    if options.speakers is None:
        speakers = found_speakers(options.data)
    else:
        speakers = dataclasses.replace(read_speakers(options.speakers), complete=True)
    headline = derived(read_clips(options.data, options.clips, speakers, form), classes, noise)
    others: list[Clip] = []
    for folder in options.also:
        taken = {clip.content for clip in headline + others}
        others += read_sets(folder, options.clips, speakers, options.data, taken, form)
    everything = headline + others
    known = sum(1 for clip in everything if clip.speaker)
    return headline, others, speakers.described(known, len(everything))

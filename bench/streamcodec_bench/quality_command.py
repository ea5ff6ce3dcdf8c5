"""`streamcodec bench quality`."""

from __future__ import annotations

import click

from .choices import chosen_of, need, rates_of
from .options import QualityOptions, quality_options


@click.command(short_help="Our codec beside its peers, at measured payload rates.")
@quality_options
def quality(options: QualityOptions) -> None:
    """Our codec through its real bitstream beside its peers, at payload rates measured in the same
    run. Needs the extra `quality`.

    Clips in subfolders count as classes of their own (say, a language each).
    """
    from . import codecs as coders
    from . import metrics as meters
    from . import quality as judge
    from . import quality_report as report
    from .content import CLASSES, derived, read_clips

    wanted = rates_of(options.rates)
    chosen = chosen_of("codec", options.codecs, list(coders.all_codecs(options.model)))
    judged = chosen_of("metric", options.metrics, list(meters.METRICS))
    need(
        {coders.NEEDS[c] for c in chosen if c in coders.NEEDS}
        | {meters.NEEDS[m] for m in judged if m in meters.NEEDS}
    )
    classes = chosen_of("class of content", options.content, list(CLASSES))
    noise = [] if options.noise is None else read_clips(options.noise, None)
    played = derived(read_clips(options.data, options.clips), classes, noise)

    lines = [report.table_head(judged)]
    click.echo(lines[0])

    def on_row(row: judge.Row) -> None:
        lines.append(report.table_row(row))
        click.echo(lines[-1])

    rows, scores = judge.measure(
        played,
        wanted,
        codecs=chosen,
        metrics=judged,
        model=options.model,
        jobs=options.jobs or judge.default_jobs(),
        on_row=on_row,
    )
    bd = judge.bd_rates(rows, judged)
    conditions = {
        "data": str(options.data),
        "opus": "not measured"
        if "opus" not in chosen
        else f"{coders.opus_version()}, VOIP, complexity 10, VBR, 20 ms, wideband",
        "alignment": "cross-correlation, one delay a clip",
        "interval": "95 %, normal, of the mean over clips",
        "rtf": "CPU time of one thread",
    }
    notes = [
        "",
        report.bd_text(bd),
        *(f"{name}: {value}" for name, value in conditions.items()),
        "",
        report.worst_text(rows, judged[0]),
    ]
    click.echo("\n".join(notes))
    if (out := options.out) is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "quality.md").write_text("\n".join([*lines, *notes]) + "\n")
        report.write_json(out / "quality.json", rows, scores, bd, conditions)
        report.draw(out / "quality.png", rows, judged)

"""What each command prints for people, from the record that it returned. `views` draws; this module only words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harbench import api

if TYPE_CHECKING:
    from harbench.analysis.ablate import Altered
    from harbench.analysis.audit import SplitAudit
    from harbench.diagnose.bench import BenchTable
    from harbench.inference.live import LiveStats, LiveView
    from harbench.inference.predict import FilePrediction
    from harbench.records import RunReport
    from harbench.reporting.verdicts import Verdict

_NO_PERSON, _NO_BACKGROUND = "no person", "no background"


def _damaged(broken: Mapping[str, str]) -> list[str]:
    return [f"damaged        {folder}: {why}".replace("\n", "\n  ") for folder, why in broken.items()]


def _unscored(ids: Iterable[str]) -> list[str]:
    """A line on test samples without a score; none where there are none."""
    ids = list(ids)
    return [f"  {len(ids)} test samples have no score and count as wrong, first {ids[0]}"] if ids else []


def recipe_text(summary: api.RecipeSummary) -> str:
    """The resolved recipe as YAML, every default written out."""
    import yaml

    return yaml.safe_dump(summary.resolved, sort_keys=False, allow_unicode=True).rstrip()


def run_text(report: RunReport) -> str:
    """What the command prints."""
    if report.plan:
        return "\n".join(f"{key:12} {value}" for key, value in report.plan.items())
    shown = [f"{name} {value:.2f}" for name, value in report.metrics.items() if value is not None]
    interval = f"  (95 %: {report.interval[0]:.2f} to {report.interval[1]:.2f})" if report.interval else ""
    lines = [f"{report.folder}: {report.state}"]
    lines += [f"  {'  '.join(shown)}{interval}"] if shown else []
    lines += [f"  {line}" for line in report.error.splitlines()]
    lines += [f"  {name} took {seconds:.0f} s" for name, seconds in report.seconds.items()]
    if report.failed:
        lines.append(f"  {report.failed} test samples have no score and count as wrong")
    if report.partial:
        lines.append(f"  partial, never ranked: {report.partial}")
    lines += [f"  note: {note}" for note in report.notes]
    return "\n".join(lines)


def evaluation_text(result: api.Evaluation) -> str:
    """What the command prints."""
    lines = [
        f"{result.folder}: evaluation {result.number} on this test set",
        f"  {result.views} views, average of {result.average}",
    ]
    for name, value in result.metrics.items():
        if value is not None:
            first = result.first.get(name)
            lines.append(
                f"  {name:10} {value:6.2f}" + (f"   (the run's number: {first:.2f})" if first is not None else "")
            )
    lines += _unscored(f"{sample}: {why}" for sample, why in result.failed.items())
    if result.partial:
        lines.append(f"  partial, never ranked: {result.partial}")
    return "\n".join(lines)


def _verdict_lines(found: Verdict) -> list[str]:
    """A verdict: the state, the arithmetic, the notes."""
    from harbench.reporting.verdicts import sentence

    lines = [f"{found.state:14} {found.name} ({found.seeds} seed{'s' * (found.seeds != 1)})", f"  {sentence(found)}"]
    lines.append(f"  target: {found.target.source}")
    if found.interval:
        low, high = found.interval
        lines.append(f"  sampling interval {low:.2f} to {high:.2f} (not part of the verdict)")
    return [*lines, *(f"  note: {note}" for note in found.notes)]


def check_text(report: api.CheckReport) -> str:
    """What the command prints."""
    lines = [line for found in report.verdicts for line in _verdict_lines(found)]
    return "\n".join([*lines, *_damaged(report.broken), f"Written to {report.page}"])


def reproduction_text(found: api.Reproduction) -> str:
    """What the command prints."""
    lines = [f"left out  {name}: {why.splitlines()[0]}" for name, why in found.left_out.items()]
    lines += [f"FAILED    {name}: {why}" for name, why in found.failed.items()]
    lines += [f"ran       {name}: {seconds:.0f} s" for name, seconds in found.seconds.items()]
    lines += [f"would run {name}: {what}" for name, what in found.planned.items()]
    return "\n".join([*lines, *([check_text(found.check)] if found.check else [])])


def comparison_text(report: api.ComparisonReport, limit: int = 10) -> str:
    """The report for people: the difference, the classes that change most, flipped samples."""
    from harbench.analysis.compare import test_lines

    lines = []
    for number, (other, found) in enumerate(zip(report.others, report.comparisons, strict=True)):
        lines += [f"A {report.a}: {found.a:.2f}", f"B {other}: {found.b:.2f}"]
        lines += [f"  {line}" for line in test_lines(report, number)]
        changed = [gain for gain in found.per_class if gain.gain][:limit]
        lines += [f"  {gain.gain:+7.2f}  {gain.key} ({gain.a:.1f} to {gain.b:.1f})" for gain in changed]
        for what, ids in (("only B is right", found.gained), ("only A is right", found.lost)):
            lines.append(f"  {what}: {len(ids)}")
            lines += [f"    {name}" for name in ids[:limit]]
            if len(ids) > limit:
                lines.append(f"    ... and {len(ids) - limit} more (--json has all)")
    lines += _damaged(report.broken)
    if report.page is not None:
        lines.append(f"Flipped samples with pictures:  {report.page}")
    return "\n".join([*lines, report.caveat])


def explanation_text(result: api.Explanation) -> str:
    """What the command prints."""
    from harbench.analysis.causes import FEWEST

    lines = [
        f"{result.subject}: top1 {result.top1:.2f} on {result.samples} test samples of {result.dataset} {result.split} "
        f"in {result.groups} groups",
        f"  {len(result.findings)} usual causes undone, one at a time:",
        "      gain    noise     top1  cause",
    ]
    for each in result.findings:
        mark = "=" if each.tied else ">" if each.suggested else " "
        fewer = f", {each.samples} samples" if each.samples != result.samples else ""
        lines.append(
            f"  {mark} {each.gain:+7.2f}  {each.noise:6.2f}  {each.top1:7.2f}  {each.cause}: {each.change}{fewer}"
        )
    if result.failed:
        lines.append(
            f"  {len(result.failed)} samples could not be read and count as wrong here, first {result.failed[0]}"
        )
    first = [each for each in result.findings if each.tied]
    if first:
        several = "any of these, which are equally good" if len(first) > 1 else "this"
        lines.append(f"  Look first at {several}: {'; '.join(f'{each.cause} ({each.change})' for each in first)}")
    elif result.groups < FEWEST:
        lines.append(f"  {result.groups} groups are too few to tell any gain from noise; {FEWEST} are the least.")
    else:
        lines.append("  None gains more than the noise of having tried all, so none of them is suggested.")
    return "\n".join(
        [
            *lines,
            "  Tried on the test labels: a reason to look, never a result. Mend what is wrong, then run it again.",
        ]
    )


def scoring_text(result: api.Scoring) -> str:
    """What the command prints."""
    shown = [f"{name} {value:.2f}" for name, value in result.metrics.items() if value is not None]
    lines = [
        f"{result.file} on the {result.samples} test samples of {result.dataset} {result.split}",
        f"  {'  '.join(shown)}",
        *(
            f"  {metric} lies in {low:.2f} to {high:.2f} (95 %, {result.interval_methods[metric]})"
            for metric, (low, high) in result.intervals.items()
        ),
        f"  classes by {result.classes_from}; scores taken as {result.scores}",
    ]
    if result.missing:
        lines.append(
            f"  {len(result.missing)} test samples have no prediction and count as wrong, first {result.missing[0]}"
        )
    if result.duplicates:
        lines.append(f"  {result.duplicates} predictions repeat another of the same sample; counted once")
    if result.elsewhere:
        lines.append(f"  {result.elsewhere} predictions are of training samples of this split; not counted")
    if result.unknown:
        lines.append(
            f"  {len(result.unknown)} names are no sample of {result.dataset}: {', '.join(result.unknown[:3])}"
        )
    if result.scored < 0.99 * result.samples:
        lines.append(f"  partial, never ranked: {result.scored} of {result.samples} test samples")
    return "\n".join(lines)


def ablation_text(results: Sequence[api.Ablation]) -> str:
    """Ablations; several also side by side."""
    lines = [line for result in results for line in _ablation_lines(result)]
    if len(results) > 1:
        changes = list(dict.fromkeys(each.change for result in results for each in result.altered))
        lines += ["", "  ".join(f"{name:>13}" for name in ("as it is", *changes))]
        for result in results:
            top1 = {each.change: f"{each.top1:.2f}" for each in result.altered}
            cells = [f"{result.top1:.2f}", *(top1.get(change, "") for change in changes)]
            lines.append("  ".join(f"{cell:>13}" for cell in cells) + f"  {result.folder}")
    return "\n".join([*lines, "A loss is an upper bound: the model was not trained on such clips."])


def _ablation_lines(result: api.Ablation) -> list[str]:
    lines = [
        f"{result.folder}: {result.samples} test samples, clips of {result.frames} "
        f"frame{'s' * (result.frames != 1)}; always the most frequent class: {result.constant:.2f}",
        f"  {'as it is':13} top1 {result.top1:6.2f}",
    ]
    for each in result.altered:
        low, high = each.interval
        lines.append(
            f"  {each.change:13} top1 {each.top1:6.2f}  {each.difference:+7.2f} (95 %: {low:+.2f} to {high:+.2f}, "
            f"{each.interval_method}); same class for {each.same:.0f} %"
        )
    by_name = {each.change: each for each in result.altered}
    if "frozen" in by_name:
        lines += _of_time(result, by_name)
    if _NO_PERSON in by_name:
        lines += _of_scene(result, by_name[_NO_PERSON], by_name[_NO_BACKGROUND])
    return [*lines, *_unscored(result.failed), *(f"  left out: {reason}" for reason in result.left_out)]


def _of_time(result: api.Ablation, by_name: dict[str, Altered]) -> list[str]:
    if result.frames == 1:
        return ["  Clips of one frame: this model cannot use motion; all of its score is appearance."]
    lost = ", ".join(_losers(result.recall, by_name["frozen"].recall))
    return [
        _loss(by_name["frozen"], "rest on more than one frame of a clip", "one frame of each clip does as well"),
        _loss(by_name["shuffled"], "rest on the order of frames", "their order does not matter to it"),
        _loss(by_name["reversed"], "rest on the direction of time", "backwards does as well"),
        f"  Most is lost by, when frozen: {lost or 'no class'}",
    ]


def _loss(each: Altered, lost: str, kept: str) -> str:
    if each.interval[1] < 0:
        return f"  {-each.difference:.2f} of {each.top1 - each.difference:.2f} points {lost}"
    return f"  {each.change}: no loss beyond chance; {kept}"


def _of_scene(result: api.Ablation, no_person: Altered, no_background: Altered) -> list[str]:
    """A model whose predictions stay the same without the person looks at the background."""
    lines = [
        f"  Without the person it predicts the same class for {no_person.same:.0f} % of the samples, "
        f"without the background for {no_background.same:.0f} %"
    ]
    if no_person.same > no_background.same:
        lines.append("  It relies on the background more than on the person.")
        if no_background.interval[0] > 0:
            lines.append(f"  The background misleads it: {no_background.difference:+.2f} points without.")
    else:
        lines.append("  It relies on the person more than on the background.")
    if no_person.top1 > result.constant:
        lines.append(f"  {no_person.top1:.2f} of its {result.top1:.2f} points need no person to be seen.")
    return lines


def _losers(before: dict[str, float | None], after: dict[str, float | None]) -> Sequence[str]:
    """The three classes whose recall falls most."""
    lost = {key: (old, new) for key, old in before.items() if old is not None and (new := after[key]) is not None}
    falls = sorted((new - old, key) for key, (old, new) in lost.items() if new < old)
    return [f"{key} {lost[key][0]:.0f} to {lost[key][1]:.0f}" for _, key in falls[:3]]


def features_text(result: api.Features) -> str:
    """What the command prints."""
    lines = [
        f"{result.folder}: {result.dimensions} dimensions, {result.train} training and {result.test} test samples",
        *(f"  {f'{k} nearest':14} top1 {value:6.2f}" for k, value in result.neighbors.items()),
        f"  {'linear probe':14} top1 {result.probe:6.2f}  (l2 {result.l2:g}, chosen on held-out training groups)",
    ]
    if result.top1 is not None:
        lines.append(f"  {'the run':14} top1 {result.top1:6.2f}")
    if result.failed:
        lines.append(
            f"  {len(result.failed)} samples have no embedding, first {result.failed[0]}: of train left out, of test wrong"
        )
    return "\n".join([*lines, f"  {result.file}"])


def audit_text(report: api.AuditReport) -> str:
    """What the command prints."""
    lines = [text for split in report.splits for text in _split_lines(split)]
    for split, found in report.duplicates.items():
        lines += [f"{split}: {len(found.pairs)} near-duplicate candidates ({found.basis}); look at them yourself"]
        lines += [f"  {pair.distance:4.1f}  {pair.test}  {pair.train}" for pair in found.pairs[:20]]
    if report.ignored:
        lines.append(f"not read as part of a split: {', '.join(report.ignored[:8])}")
    return "\n".join(lines)


def _split_lines(a: SplitAudit) -> list[str]:
    counts = ", ".join(f"{count} {subset}" for subset, count in a.counts.items())
    official = f"; the same as the official {a.same_as}" if a.same_as else f"; part of the official {a.within}"
    lines = [f"{a.dataset} {a.name}: {counts}{official if a.within else ''}"]
    if a.unknown:
        lines.append(f"  unknown    {len(a.unknown)} names, e.g. {', '.join(a.unknown[:3])}")
    if a.shared:
        lines.append(f"  both       {a.shared} media are in train and in test")
    if a.leaked_percent is None:
        lines.append("  leaked     unknown: the publisher gives no groups")
    else:
        why = ", as the official protocol has it: no leak" if a.within and a.leaked else ""
        lines.append(f"  leaked     {a.leaked_percent:.2f} % of test ({a.leaked}) shares its {a.group} with train{why}")
    if a.across_classes:
        lines.append(f"  sources    {a.across_classes} in test have theirs in train under another class")
    for split, count in a.official_test.items():
        if count:
            lines.append(f"  official   {count} media in train are in the test of the official {split}")
    lines += [f"  overlap    {count} media in train are in the test of {where}" for where, count in a.overlaps.items()]
    if a.unlisted:
        lines.append(
            f"  overlap    {', '.join(a.unlisted)} share clips with {a.dataset}; harbench has no table of them"
        )
    if a.random_percent is not None:
        lines.append(f"  random     a random 80/20 split of this data set leaks {a.random_percent:.2f} %")
    for side, classes in a.absent_classes.items():
        if classes:
            lines.append(f"  classes    {len(classes)} have no {side} sample: {', '.join(classes[:5])}")
    return lines


def bench_text(tables: Sequence[BenchTable]) -> str:
    """What the command prints."""
    lines = []
    for table in tables:
        lines.append(f"{table.name}: {table.what}")
        wide = max(len(row.name) for row in table.rows)
        lines += [
            f"  {row.name:{wide}}  {row.rate:10,.1f} a second  {1e3 * row.seconds:10,.1f} ms (spread {row.spread:.0%})  "
            f"{row.ratio:6.2f} of the first"
            for row in table.rows
        ]
        lines += [f"  {note}" for note in table.notes]
    return "\n".join(lines)


def run_source(run: str, runs: Path) -> str:
    """What `--run` names: as it is, or a folder below the runs."""
    return str(runs / run) if not Path(run).exists() and (runs / run / "run.json").is_file() else run


def prediction_text(found: FilePrediction, top: int) -> str:
    """A line a file; a line a segment, where it is scored in windows."""
    if found.error:
        return f"{found.source}: failed: {found.error}"
    seconds = {name: sum(each.seconds[name] for each in found.predictions) for name in ("decode", "model")}
    cost = f"(decode {seconds['decode']:.2f} s, model {seconds['model']:.2f} s)"
    saved = [f"  written: {path}" for path in found.saved]
    if not found.segments:
        lines = []
        for each in found.predictions:
            who = (
                "" if each.person is None else f"person {each.person}, {_minutes(each.start)} to {_minutes(each.end)}: "
            )
            best = ", ".join(f"{key} {100 * p:.1f} %" for key, p in each.top(top))
            lines.append(f"{who}{'' if each.label else 'nothing: '}{best}")
        return "\n".join([f"{found.source}: {lines[0]}  {cost}", *(f"  {line}" for line in lines[1:]), *saved])
    lines = [f"{found.source}: {len(found.predictions)} windows  {cost}"]
    lines += [
        f"  {_minutes(each.start)} to {_minutes(each.end)}  {each.label or 'nothing'} {100 * each.probability:.0f} %"
        for each in found.segments
    ]
    return "\n".join([*lines, *saved])


def live_facts(stats: LiveStats) -> dict[str, float]:
    """How a live source does."""
    return {
        "fps": round(stats.fps, 2), "received": stats.received, "dropped": stats.dropped,
        "reconnected": stats.reconnected, "latency_median": round(stats.latency(50), 4),
        "latency_95": round(stats.latency(95), 4),
    }  # fmt: skip


def live_text(view: LiveView, top: int) -> str:
    """The newest answer and how the source does."""
    assert view.prediction is not None
    stats = view.stats
    best = [f"{key:24} {'#' * round(30 * p):30} {100 * p:5.1f} %" for key, p in view.prediction.top(top)]
    head = view.prediction.label or "nothing"
    return "\n".join(
        [head, *best, f"{stats.fps:.1f} pictures a second, {stats.dropped} dropped, {stats.reconnected} times reconnected; an "
         f"answer after {1000 * stats.latency(50):.0f} ms (95 %: {1000 * stats.latency(95):.0f} ms)"]
    )  # fmt: skip


def _minutes(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes):02}:{rest:04.1f}"


def export_text(result: api.Export) -> str:
    """What the command prints."""
    seconds = result.seconds
    return (
        f"{result.output}: {result.bytes / 1e6:.1f} MB, exported in {seconds['export']:.0f} s\n"
        f"  {result.same_top1} of {result.samples} test samples have the same best class in torch and onnxruntime; "
        f"largest difference of a probability {result.largest_difference:.1e}\n"
        f"  one view takes {1000 * seconds['torch']:.1f} ms in torch, {1000 * seconds['onnxruntime']:.1f} ms in onnxruntime"
    )


def calibration_text(result: api.Calibration) -> str:
    """What the command prints."""
    return (
        f"{result.folder}: temperature {result.temperature:.3f}, fitted on {result.samples} samples of val\n"
        f"  negative log likelihood {result.nll[0]:.4f} -> {result.nll[1]:.4f}, "
        f"expected calibration error {result.error[0]:.2f} -> {result.error[1]:.2f} %"
    )


def push_text(result: api.Push) -> str:
    """What the command prints: where it is, or what would be sent."""
    files = "\n".join(f"  {size:>12,} bytes  {name}" for name, size in result.files.items())
    return (
        f"{result.repo}: {result.url}\n{files}" if result.url else f"{result.repo} would get\n{files}\n\n{result.card}"
    )


def sheet_text(result: api.Sheet) -> str:
    """What the command prints."""
    lines = [f"{result.output}: {result.shown} of {result.samples} samples of {result.dataset} {result.split}, "
             f"{result.bytes / 1e6:.1f} MB"]  # fmt: skip
    lines += [f"  {result.missing} samples are not in the cache"] if result.missing else []
    return "\n".join([*lines, *(f"  not decoded: {media}: {why}" for media, why in result.failed.items())])


def file_evaluation_text(result: api.FileEvaluation) -> str:
    """What the command prints."""
    shown = "  ".join(f"{name} {value:.2f}" for name, value in result.metrics.items() if value is not None)
    lines = [
        f"{result.source}: {result.dataset} {result.split}, {result.views} views, average of {result.average}",
        f"  {shown}",
    ]
    return "\n".join([*lines, *_unscored(result.failed)])

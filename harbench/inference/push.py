"""`push`: a finished run with a model card on the Hugging Face hub, from where three lines load it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harbench import __version__
from harbench.errors import RunError
from harbench.files import write_text
from harbench.records import Track, silent

if TYPE_CHECKING:
    from harbench.records import DatasetSpec, RunRecord
    from harbench.reporting.details import RunDetail

_TASKS = {"image": "image-classification", "video": "video-classification", "pose": "video-classification"}
_CONFUSIONS = 8
"""Pairs of classes that the card names."""


@dataclass(frozen=True)
class Push:
    """What was pushed, or would be."""

    repo: str
    files: dict[str, int]
    """Name -> bytes."""
    card: str
    """The model card, Markdown."""
    url: str
    """Of the commit or the pull request; empty for a dry run."""


def push(
    run: Path, target: str, *, home: Path, runs: Path, pr: bool = False, dry_run: bool = False, private: bool = False,
    track: Track = silent,
) -> Push:  # fmt: skip
    """Put a run's weights, its configuration and a model card into the repository `hf:owner/name`.

    With `pr` as a pull request; with `dry_run` nothing is sent. An exported model.onnx goes along.

    Raises:
        RunError: there is no finished run, it is a fusion, the target is no `hf:owner/name`, or the hub refuses.
    """
    from harbench.runs.folder import WEIGHTS, checked_file

    owner, slash, name = target.removeprefix("hf:").partition("/")
    if not (target.startswith("hf:") and owner and slash and name and "/" not in name):
        raise RunError(f"{target}: expected hf:owner/name")
    with model_folder(run, f"{owner}/{name}", home=home, runs=runs) as (folder, card):
        checked_file(run if (run / "run.json").is_file() else runs / run, WEIGHTS)
        files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        url = "" if dry_run else _sent(folder, f"{owner}/{name}", pr=pr, private=private, track=track)
    return Push(f"{owner}/{name}", files, card, url)


@contextmanager
def model_folder(run: Path, repo: str, *, home: Path, runs: Path) -> Iterator[tuple[Path, str]]:
    """A temporary folder with what is pushed, and the card."""
    from harbench.datasets.tables import load_spec
    from harbench.models.weight_files import read_metadata
    from harbench.reporting.details import load_detail
    from harbench.runs.folder import WEIGHTS, load_run

    folder = run if (run / "run.json").is_file() else runs / run
    record = load_run(folder)
    if record.members:
        raise RunError(f"{folder} fuses runs and has no weights of its own; push {', '.join(record.members)}")
    detail = load_detail(folder.resolve().parents[3], record)
    metadata = read_metadata(folder / WEIGHTS)
    card = model_card(record, detail, load_spec(record.dataset, home), repo, ablated(folder))
    with tempfile.TemporaryDirectory(prefix="harbench-push-") as scratch:
        out = Path(scratch)
        shutil.copyfile(folder / WEIGHTS, out / WEIGHTS)
        if (folder / "model.onnx").is_file():
            shutil.copyfile(folder / "model.onnx", out / "model.onnx")
        shown = {key: _plain(value) for key, value in metadata.items() if key != "train_media"}
        write_text(out / "config.json", json.dumps({**shown, "record": asdict(record)}, indent=2, ensure_ascii=False))
        write_text(out / "recipe.yaml", detail.recipe)
        write_text(out / "README.md", card)
        yield out, card


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def ablated(folder: Path) -> Mapping[str, float]:
    """What `ablate` measured of a run: alteration -> top-1; nothing where it was not asked."""
    try:
        found = json.loads((folder / "ablate.json").read_text(encoding="utf-8"))
        return {"as it is": found["top1"], **{each["change"]: each["top1"] for each in found["altered"]}}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _sent(folder: Path, repo: str, *, pr: bool, private: bool, track: Track) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError

    hub = HfApi(library_name="harbench", library_version=__version__)
    try:
        hub.create_repo(repo, exist_ok=True, private=private)
        for _ in track([repo], "uploading", 1):
            done = hub.upload_folder(
                repo_id=repo, folder_path=folder, commit_message=f"harbench {__version__}", create_pr=pr
            )
    except (HfHubHTTPError, HFValidationError, LocalTokenNotFoundError, OSError) as error:
        words = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RunError(f"hf:{repo}: the hub refuses: {words}. Log in with `hf auth login`, or set HF_TOKEN") from None
    return str(done.pr_url or done.commit_url)


# ------------------------------------------------------------------------------------------------------------- the card
def model_card(record: RunRecord, detail: RunDetail, spec: DatasetSpec, repo: str, altered: Mapping[str, float]) -> str:
    """The model card: what was measured and how, what it confuses, its data, its limits, how to load it."""
    from harbench.runs.comparability import METRICS, part_words

    key, protocol = record.key, asdict(record.protocol)
    metric, value = METRICS.get(key.metric, key.metric), record.metrics[key.metric]
    ends = record.intervals.get(key.metric)
    interval = f" (95 % interval {ends[0]:.2f} to {ends[1]:.2f})" if ends else ""
    lines = [
        "---", _front(record, spec, repo), "---", "",
        f"# {record.recipe} on {spec.title}", "",
        f"{metric} **{value:.2f}**{interval} on {record.samples['scored']} of {record.samples['test']} test samples of "
        f"{spec.title}, {part_words('split_set', key.split_set)}, {part_words('level', key.level)}.",
        *([f"\n**Partial, and ranked nowhere:** {record.partial}."] if record.partial else []), "",
        "## Load it", "",
        "```python", "from harbench import api", "", f'predictor = api.Predictor.open("hf:{repo}")',
        'for result in predictor("clip.mp4"):', "    print(result.top(3))", "```", "",
        f"`harbench evaluate hf:{repo}` gives the number above, where {record.dataset} is prepared.", "",
        "## How it was measured", "",
        "| | |", "|---|---|",
        *(f"| {name.replace('_', ' ')} | {text} |" for name, text in protocol.items()),
        f"| given at test time | {key.given} |", f"| kind | {key.kind} |", f"| parameters | {record.params_m:.2f} M |",
        *([f"| GFLOPs of a view | {record.gflops:.2f} |"] if record.gflops is not None else []),
        f"| trained on | {record.samples['train']} samples, seed {record.seed} |",
        f"| exact | {'repeats to the bit' if record.exact else 'does not repeat to the bit'} |", "",
        "| metric | value |", "|---|---|",
        *(f"| {METRICS.get(name, name)} | {each:.2f} |" for name, each in record.metrics.items() if each is not None), "",
        *_confusions(detail), *_motion(altered),
        "## Data", "",
        f"{spec.title}{f', {spec.homepage}' if spec.homepage else ''}. License of the data: {spec.license or 'unknown'}. "
        "The weights carry whatever that means for them.", *([f"\nCite: {spec.citation}"] if spec.citation else []), "",
        "## Limits", "",
        f"It knows the {len(detail.classes) or 'listed'} classes of {spec.title} and gives one of them to whatever it sees, "
        "also to what is none of them. It was tested on that data set alone. It is not for the identification or the "
        "surveillance of people.", "",
        "## Repeat it", "",
        "```sh", f"harbench run recipe.yaml --split {record.split} --seed {record.seed} --prepare", "```", "",
        f"Made by harbench {record.harbench}, {record.finished[:10]}.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def _front(record: RunRecord, spec: DatasetSpec, repo: str) -> str:
    """The card's YAML, with a model-index as the hub reads it."""
    import yaml

    from harbench.runs.comparability import METRICS

    task = _TASKS[spec.modality]
    known = {name: value for name, value in record.metrics.items() if value is not None and name in METRICS}
    facts = {name: value for name, value in asdict(record.protocol).items() if value != "unknown"}
    metrics = [
        {"type": "accuracy" if name in ("top1", "mean_class") else name, "name": METRICS[name], "value": round(value, 2),
         "args": {"split": record.split, "level": record.key.level, "interval": record.intervals.get(name), **facts}}
        for name, value in known.items()
    ]  # fmt: skip
    metrics = json.loads(json.dumps(metrics))
    index = {
        "name": repo.partition("/")[2],
        "results": [
            {
                "task": {"type": task, "name": "Human action recognition"},
                "dataset": {"type": record.dataset, "name": spec.title, "split": record.split},
                "metrics": metrics,
            }
        ],
    }
    head = {
        "library_name": "harbench",
        "pipeline_tag": task,
        "tags": ["action-recognition", record.family, record.dataset],
        "license": "other",
        "license_name": spec.license or "unknown",
        "model-index": [index],
    }
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True).rstrip()


def _confusions(detail: RunDetail) -> list[str]:
    """The pairs that are taken for one another most, in lines."""
    wrong = sorted(((count, a, b) for (a, b), count in detail.confusion.items() if a != b), reverse=True)[:_CONFUSIONS]
    if not wrong:
        return []
    names = [each.name for each in detail.classes]
    rows = [f"| {names[a]} | {names[b]} | {count} |" for count, a, b in wrong]
    return ["## What it confuses", "", "| is | is taken for | samples |", "|---|---|---|", *rows, ""]


def _motion(altered: Mapping[str, float]) -> list[str]:
    """What is left of the score without time, the person, the background; how to measure it where nobody did."""
    if not altered:
        return ["## Does it use motion?", "", "Not measured; `harbench ablate RUN` would.", ""]
    rows = [f"| {name} | {value:.2f} |" for name, value in altered.items()]
    return ["## Does it use motion?", "", "| clips | top-1 |", "|---|---|", *rows, ""]

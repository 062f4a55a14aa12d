"""Adapters on disk: tensors, the resolved recipe, and fingerprints of the base models."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from mmadapt.adapters.files import (
    BASES,
    CARD,
    FORMAT_VERSION,
    RECIPE,
    WEIGHTS,
    check_bases,
    check_format,
    check_inside,
    check_version,
    file_digest,
    some_of,
)
from mmadapt.adapters.module import whole
from mmadapt.errors import AdapterError
from mmadapt.faults import reason_of
from mmadapt.freezing.unfreeze import names_within

if TYPE_CHECKING:
    from mmadapt.model import MultimodalModel

_SAMPLED = 16  # values of each tensor that go into a fingerprint


def fingerprint(module: nn.Module, trained: Collection[str] = ()) -> dict[str, Any]:
    """What identifies a base model: its parameters' names and shapes, and a sample of their values.

    The sample is read in bfloat16, so that float32 and bfloat16 loads of one checkpoint agree.

    Args:
        module: the base model.
        trained: names of its parameters that the adapter holds; their values do not count.
    """
    shapes, values = hashlib.sha256(), hashlib.sha256()
    dtypes = set()
    for name, parameter in sorted(module.state_dict().items()):
        if ".lora_" in name:
            continue
        name = name.replace(".base_layer.", ".")
        shapes.update(f"{name}{tuple(parameter.shape)}".encode())
        dtypes.add(str(parameter.dtype).removeprefix("torch."))
        flat = whole(parameter.detach()).flatten()
        if name not in trained and flat.numel() and flat.device.type != "meta":
            count = min(_SAMPLED, flat.numel())
            at = torch.arange(count) * (flat.numel() - 1) // max(count - 1, 1)
            sample = flat[at.to(flat.device)].to(torch.bfloat16).view(torch.int16)
            values.update(sample.cpu().numpy().tobytes())
    return {
        "class": type(module).__name__,
        "parameters": sum(p.numel() for p in module.parameters()),
        "shapes": shapes.hexdigest(),
        "values": values.hexdigest(),
        "dtypes": sorted(dtypes),
    }


def base_fingerprints(model: MultimodalModel) -> dict[str, Any]:
    """Fingerprints of the LM and of every encoder, without what the adapter itself trains."""
    bases = {"lm": fingerprint(model.lm)}
    for name, encoder in model.encoders.items():
        trained = names_within(model.unfrozen, name)
        bases[f"encoders.{name}"] = fingerprint(encoder, trained)
    return bases


def save_adapter(model: MultimodalModel, folder: Path, *, writes: bool = True) -> None:
    """Writes an adapter folder; it appears whole or not at all.

    Args:
        model: of which the adapter is saved.
        folder: to write.
        writes: False only gives the other processes this one's shards (FSDP2).

    Raises:
        AdapterError: the folder cannot be written.
    """
    recipe, tensors, models = model.recipe, model.adapter_state_dict(), base_fingerprints(model)
    if not writes:
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise AdapterError(f"{folder}: cannot be written: {error.strerror or error}") from error
    try:
        staging.chmod(0o755)
        write_tensors(tensors, staging / WEIGHTS)
        if recipe is not None:
            recipe.dump(staging / RECIPE)
        bases = {
            "format_version": FORMAT_VERSION,
            "weights": file_digest(staging / WEIGHTS),
            "models": models,
        }
        (staging / BASES).write_text(json.dumps(bases, indent=2) + "\n")
        (staging / CARD).write_text(model_card(model))
        _replace(staging, folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or reason_of(error)
        raise AdapterError(f"{folder}: cannot be written: {reason}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _replace(staging: Path, folder: Path) -> None:
    """Puts `staging` in the place of `folder`, keeping files that are not an adapter's own."""
    if not folder.exists():
        staging.rename(folder)
        return
    for file in (RECIPE, BASES, CARD, WEIGHTS):  # the weights last: they complete the adapter
        if (staging / file).exists():
            os.replace(staging / file, folder / file)


def write_tensors(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Writes tensors as safetensors through a temporary name, so that no half file is ever seen."""
    part = file.with_name(f".{file.name}.part")
    metadata = {"format": "pt", "mmadapt_format": str(FORMAT_VERSION)}
    # Copies, because safetensors refuses parameters that a fusion uses under two names.
    copies = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    save_file(copies, part, metadata=metadata)
    os.replace(part, file)


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Reads an adapter's tensors.

    Raises:
        AdapterError: the file is missing, damaged, or of a newer format.
    """
    if not file.is_file():
        raise AdapterError(f"{file.parent} is no adapter folder: it has no {file.name}")
    check_inside(file)
    try:
        with safe_open(file, framework="pt") as opened:
            check_version(
                file, int((opened.metadata() or {}).get("mmadapt_format", FORMAT_VERSION))
            )
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError, RuntimeError, AttributeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise AdapterError(f"{file} is damaged: {reason[:300]}") from error


def check_tensors(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Compares the tensors a model needs with those of an adapter.

    Raises:
        AdapterError: a name is missing or surplus, a shape differs, or whole numbers stand for
            broken ones; all of them are named.
    """
    findings = []
    if missing := sorted(set(own) - set(given)):
        findings.append(f"missing: {some_of(missing)}")
    if surplus := sorted(set(given) - set(own)):
        findings.append(f"surplus: {some_of(surplus)}")
    findings += [
        f"{name} is {tuple(given[name].shape)}, the model needs {tuple(own[name].shape)}"
        for name in sorted(set(own) & set(given))
        if own[name].shape != given[name].shape
    ][:5]
    findings += [
        f"{name} holds {_kind(given[name])}, the model needs {_kind(own[name])}"
        for name in sorted(set(own) & set(given))
        if own[name].is_floating_point() != given[name].is_floating_point()
    ][:5]
    if findings:
        raise AdapterError("the adapter does not fit the model: " + "; ".join(findings))


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def load_into(model: MultimodalModel, folder: Path) -> None:
    """Loads an adapter folder into a composed model.

    Raises:
        AdapterError: it is damaged, does not fit, or was trained on other base models.
    """
    check_format(folder)
    tensors = read_tensors(folder / WEIGHTS)
    own = model.adapter_state_dict()
    blocks = [{name for name in part if name.startswith("encoders.")} for part in (own, tensors)]
    if blocks[0] != blocks[1]:  # other blocks are unfrozen, so that fingerprints cannot agree
        check_tensors(own, tensors)
    check_bases(folder, base_fingerprints(model))
    model.load_adapter_state_dict(tensors)


def model_card(model: MultimodalModel) -> str:
    """A short README for the adapter folder."""
    trainable = sum(p.numel() for p in model.adapter_tensors().values())
    total = sum(p.numel() for p in model.parameters())
    recipe = model.recipe
    name = recipe.name if recipe is not None else "adapter"
    lines = [
        "---",
        "library_name: mmadapt",
        "---",
        f"# {name}",
        "",
        "An adapter that teaches a frozen language model to perceive, trained with mmadapt.",
        "",
        f"- language model: {recipe.lm.model if recipe is not None else type(model.lm).__name__}",
        *(f"- encoder {key}: {type(value).__name__}" for key, value in model.encoders.items()),
        f"- fusion: {', '.join(model.fusions)}",
        f"- trained parameters: {trainable:,} of {total:,} ({trainable / total:.2%})",
        "",
        "```python",
        "import mmadapt",
        "",
        'model = mmadapt.load("path/to/this/folder")',
        f'model.generate({model.modalities[0] if model.modalities else "image"}="FILE")',
        "```",
        "",
    ]
    return "\n".join(lines)


def push_adapter(model: MultimodalModel, repo_id: str, *, private: bool, token: str | None) -> str:
    """Uploads the adapter folder to the Hugging Face hub.

    Raises:
        AdapterError: the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as scratch:
        save_adapter(model, Path(scratch) / "adapter")
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=repo_id, folder_path=Path(scratch) / "adapter"))
        except Exception as error:  # those of the transport are of httpx, and no OSError
            raise AdapterError(f"{repo_id}: upload failed: {reason_of(error)}") from error

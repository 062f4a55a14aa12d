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

from mmadapt.errors import AdapterError
from mmadapt.unfreeze import names_within

if TYPE_CHECKING:
    from mmadapt.model import MultimodalModel

FORMAT_VERSION = 1
WEIGHTS, RECIPE, BASES, CARD = "adapter.safetensors", "recipe.yaml", "base_models.json", "README.md"
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
        flat = parameter.detach().flatten()
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


def save_adapter(model: MultimodalModel, folder: Path) -> None:
    """Writes an adapter folder; it appears whole or not at all.

    Raises:
        AdapterError: the folder cannot be written.
    """
    recipe = model.recipe
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise AdapterError(f"{folder}: cannot be written: {error.strerror or error}") from error
    try:
        staging.chmod(0o755)
        write_tensors(model.adapter_state_dict(), staging / WEIGHTS)
        if recipe is not None:
            recipe.dump(staging / RECIPE)
        bases = {
            "format_version": FORMAT_VERSION,
            "weights": _digest(staging / WEIGHTS),
            "models": base_fingerprints(model),
        }
        (staging / BASES).write_text(json.dumps(bases, indent=2) + "\n")
        (staging / CARD).write_text(model_card(model))
        _replace(staging, folder)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
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
    try:
        with safe_open(file, framework="pt") as opened:
            version = int((opened.metadata() or {}).get("mmadapt_format", FORMAT_VERSION))
            if version > FORMAT_VERSION:
                raise AdapterError(
                    f"{file} has format {version}; this mmadapt reads {FORMAT_VERSION}: upgrade it"
                )
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, OSError) as error:
        raise AdapterError(f"{file} is damaged: {str(error).splitlines()[0]}") from error


def check_tensors(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Compares the tensors a model needs with those of an adapter.

    Raises:
        AdapterError: a name is missing or surplus, or a shape differs; all of them are named.
    """
    findings = []
    if missing := sorted(set(own) - set(given)):
        findings.append(f"missing: {_some(missing)}")
    if surplus := sorted(set(given) - set(own)):
        findings.append(f"surplus: {_some(surplus)}")
    findings += [
        f"{name} is {tuple(given[name].shape)}, the model needs {tuple(own[name].shape)}"
        for name in sorted(set(own) & set(given))
        if own[name].shape != given[name].shape
    ][:5]
    if findings:
        raise AdapterError("the adapter does not fit the model: " + "; ".join(findings))


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def load_into(model: MultimodalModel, folder: Path) -> None:
    """Loads an adapter folder into a composed model.

    Raises:
        AdapterError: it is damaged, does not fit, or was trained on other base models.
    """
    tensors = read_tensors(folder / WEIGHTS)
    own = model.adapter_state_dict()
    blocks = [{name for name in part if name.startswith("encoders.")} for part in (own, tensors)]
    if blocks[0] != blocks[1]:  # other blocks are unfrozen, so that fingerprints cannot agree
        check_tensors(own, tensors)
    _check_bases(folder, base_fingerprints(model))
    model.load_adapter_state_dict(tensors)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _check_bases(folder: Path, now: Mapping[str, Any]) -> None:
    try:
        written = json.loads((folder / BASES).read_text())
        then, digest = dict(written["models"]), written["weights"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AdapterError(
            f"{folder / BASES} is missing or damaged, so the base models are unknown"
        ) from error
    if digest != _digest(folder / WEIGHTS):
        raise AdapterError(
            f"{folder / WEIGHTS} is not the file that was saved with {BASES}: it was damaged, or "
            "the folder was written halfway; save the adapter again"
        )
    for name, base in now.items():
        saved = then.get(name)
        if not isinstance(saved, dict):
            raise AdapterError(
                f"the adapter was trained without '{name}'; it has {_some(sorted(then))}"
            )
        same = saved.get("shapes") == base.get("shapes")
        if same and _comparable(saved.get("dtypes"), base.get("dtypes")):
            same = saved.get("values") == base.get("values")
        if not same:
            raise AdapterError(
                f"{name}: the adapter was trained on another model ({saved.get('class')}, "
                f"{saved.get('parameters')} parameters) than the one given ({base.get('class')}, "
                f"{base.get('parameters')} parameters); name the original model in the recipe"
            )


def _comparable(then: list[str] | None, now: list[str] | None) -> bool:
    """Whether two loads of one checkpoint have the same values in bfloat16."""
    return set(then or ()) ^ set(now or ()) <= {"float32", "bfloat16"}


def model_card(model: MultimodalModel) -> str:
    """A short README for the adapter folder."""
    trainable = sum(p.numel() for p in model.adapter_state_dict().values())
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
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(token=token)
    with tempfile.TemporaryDirectory() as scratch:
        save_adapter(model, Path(scratch) / "adapter")
        try:
            api.create_repo(repo_id, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=repo_id, folder_path=Path(scratch) / "adapter"))
        except (HfHubHTTPError, OSError) as error:
            raise AdapterError(f"{repo_id}: upload failed: {str(error).splitlines()[0]}") from error

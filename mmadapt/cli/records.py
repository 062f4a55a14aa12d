"""Records of `mmadapt generate`: read, answered in batches, written as they are answered."""

from __future__ import annotations

import itertools
import json
import mimetypes
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import typer

from mmadapt.addresses import is_address
from mmadapt.errors import DataError, MediaError, MMAdaptError, RecipeError
from mmadapt.json_text import NotJson, parse_json

MODALITIES = ("video", "image", "audio")
INPUTS = (*MODALITIES, "prompt", "choices")
Record = dict[str, Any]


class Generates(Protocol):
    """A model that answers about media."""

    def generate(self, **inputs: Any) -> Any:
        """Answer one sample, or a list of them."""


def generation_options(options: list[str], max_new_tokens: int | None) -> dict[str, Any]:
    """Return checked keys of `transformers.GenerationConfig` from `key=value` texts.

    Raises:
        RecipeError: A key is unknown or its value of a wrong type.
    """
    from mmadapt.recipe.arguments import generate_problems
    from mmadapt.recipe.node import Place, make, plain
    from mmadapt.recipe.overrides import apply_overrides

    if max_new_tokens is not None:
        options = [*options, f"max_new_tokens={max_new_tokens}"]
    here = Place("options")
    node = apply_overrides(make({}, here), options)
    problems = generate_problems(make({"evaluate": make({"generate": node}, here)}, here))
    if problems:
        raise RecipeError(problems)
    return dict(plain(node))


def records_of_files(files: Mapping[str, list[str] | None], prompt: str | None) -> list[Record]:
    """Return one record per file given on the command line.

    Args:
        files: Paths by modality; several modalities must have equally many.
        prompt: The prompt of all.

    Raises:
        DataError: No file and no prompt, or different numbers of files.
    """
    given = {modality: paths for modality, paths in files.items() if paths}
    counts = {len(paths) for paths in given.values()}
    if len(counts) > 1:
        counted = ", ".join(f"{len(paths)} --{modality}" for modality, paths in given.items())
        raise DataError("command line", reason=f"{counted}: give as many of each, or one kind")
    if not given and prompt is None:
        reason = "nothing to answer about; give --video, --image, --audio, --prompt or --input"
        raise DataError("command line", reason=reason)
    records = []
    for index in range(counts.pop() if counts else 1):
        record: Record = {modality: paths[index] for modality, paths in given.items()}
        record["id"] = next(iter(record.values()), "prompt")
        records.append(record | ({} if prompt is None else {"prompt": prompt}))
    return records


def read_records(file: Path, prompt: str | None) -> list[Record]:
    """Read a JSONL file; media paths are relative to its folder.

    Args:
        file: One JSON object a line, with `video`, `image`, `audio`, `prompt` (or `question`, or
            `messages`), `choices`, `id`.
        prompt: The prompt of records without one.

    Raises:
        DataError: The file cannot be read, or a line is not such a record.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(file, reason=getattr(error, "strerror", None) or str(error)) from None
    records = [
        _record(file, number, line, prompt)
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not records:
        raise DataError(file, reason="holds no records")
    return records


def check_output(output: Path, input_file: Path | None) -> None:
    """Find out before anything is loaded that answers can be written.

    Raises:
        DataError: The output is the input, or its folder does not exist.
    """
    if not output.parent.is_dir():
        raise DataError(output, reason=f"the folder {output.parent} does not exist")
    if output.is_dir():
        raise DataError(output, reason="is a folder; name a file for the answers")
    if input_file is not None and output.resolve() == input_file.resolve():
        raise DataError(output, reason="is the input as well; name another file for the answers")


def answer_all(
    model: Generates, records: list[Record], batch_size: int, options: Mapping[str, Any]
) -> Iterator[Record]:
    """Answer records in order; one that fails gives `error` in place of `answer`.

    Args:
        model: Has `generate`.
        records: With paths by modality and perhaps a prompt.
        batch_size: Records at once; those of a batch have the same modalities.
        options: Of `transformers.GenerationConfig`.
    """
    for _, group in itertools.groupby(records, key=_shape):
        same = list(group)
        for start in range(0, len(same), batch_size):
            yield from _answer(model, same[start : start + batch_size], options)


def write_answers(answers: Iterable[Record], output: Path | None, as_json: bool, total: int) -> int:
    """Write each answer as soon as it is there; return how many failed.

    Args:
        answers: Records with `id` and `answer` or `error`.
        output: JSONL file; default: print.
        as_json: Print JSONL instead of text.
        total: Number of records; a single answer is printed alone, without its file.
    """
    failed = 0
    stream = output.open("w", encoding="utf-8") if output else sys.stdout
    try:
        for answer in answers:
            failed += "error" in answer
            if output or as_json:
                stream.write(json.dumps(answer, ensure_ascii=False) + "\n")
            elif "error" in answer:
                typer.echo(f"error: {answer['error']}", err=True)
            else:
                stream.write(("" if total == 1 else f"{answer['id']}\t") + answer["answer"] + "\n")
            stream.flush()
    finally:
        if output:
            stream.close()
    return failed


def _record(file: Path, number: int, line: str, prompt: str | None) -> Record:
    try:
        record = parse_json(line)
    except NotJson as error:
        raise DataError(file, number, str(error)) from None
    if not isinstance(record, dict):
        raise DataError(file, number, "not a JSON object")
    texts = (*MODALITIES, "prompt", "question")
    wrong = [key for key in texts if not isinstance(record.get(key, ""), str | None)]
    if wrong:
        raise DataError(file, number, f"{wrong[0]} is not text")
    choices = record.get("choices")
    is_list = isinstance(choices, list) and all(isinstance(text, str) for text in choices)
    if choices is not None and not (is_list and choices):
        raise DataError(file, number, "choices is not a list of texts")
    found: Record = {
        key: path if is_address(path) else str(file.parent / path)  # which its reader refuses
        for key in MODALITIES
        if (path := record.get(key))
    }
    messages = record.get("messages")
    are_messages = isinstance(messages, list) and all(isinstance(m, dict) for m in messages)
    if messages is not None and not (are_messages and messages):
        raise DataError(file, number, "messages is not a list of messages")
    texts_given = [record.get(key) for key in ("messages", "prompt", "question")]
    text = next((given for given in texts_given if given is not None), prompt)
    if not found and text is None:
        raise DataError(file, number, "has neither video, image or audio nor a prompt")
    found["id"] = record.get("id", number)
    found |= {} if choices is None else {"choices": choices}
    return found | ({} if text is None else {"prompt": text})


def _shape(record: Record) -> tuple[bool, ...]:
    """Records of one shape can share a batch."""
    return tuple(key in record for key in INPUTS)


def _answer(model: Generates, batch: list[Record], options: Mapping[str, Any]) -> Iterator[Record]:
    """Answer one batch; if it fails, its records one by one, so that only the bad ones fail."""
    keys = [key for key in INPUTS if key in batch[0]]
    try:
        inputs = {key: [record[key] for record in batch] for key in keys}
        answers = model.generate(**inputs, **options)
    except (MediaError, DataError) as error:
        if len(batch) > 1:
            for record in batch:
                yield from _answer(model, [record], options)
        else:
            told = _advised(error) if isinstance(error, MediaError) else error
            yield {"id": batch[0]["id"], "error": str(told)}
        return
    except MMAdaptError:
        raise
    for record, answer in zip(batch, answers, strict=True):
        yield {"id": record["id"], "answer": answer}


def _advised(error: MediaError) -> MediaError:
    """The error with advice that fits one question, where that of a data set was given."""
    from mmadapt.data.media.files import ADVICE

    if error.advice != ADVICE:
        return error
    advice = "Give another file."
    kind = (mimetypes.guess_type(str(error.path))[0] or "").partition("/")[0]
    if kind in MODALITIES and kind != error.kind:
        article = "a" if kind == "video" else "an"
        advice = f"By its name it is {article} {kind} file; give it as --{kind}."
    return MediaError(error.path, error.reason, error.kind, advice)

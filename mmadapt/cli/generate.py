"""`mmadapt generate`: ask an adapter about media files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmadapt.cli.options import AllowCode, AsJson, Revision

MODALITIES = ("video", "image", "audio")

Adapter = Annotated[
    str, typer.Argument(metavar="ADAPTER", help="Adapter or run folder, or hub id.")
]
Options = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Keys of transformers.GenerationConfig, e.g. num_beams=3; with a dot, values laid "
        "over the adapter's recipe, e.g. lm.model=FOLDER.",
    ),
]
Media = list[str] | None
Video = Annotated[Media, typer.Option("--video", help="Video file; repeat it for several.")]
Image = Annotated[Media, typer.Option("--image", help="Image file; repeat it for several.")]
Audio = Annotated[Media, typer.Option("--audio", help="Audio file; repeat it for several.")]
Prompt = Annotated[
    str | None,
    typer.Option(
        "--prompt",
        help="Text before the answer, or the question, as the head has it; default: its own.",
    ),
]
Choice = Annotated[
    list[str] | None,
    typer.Option("--choice", help="An answer to choose among, where the head does; repeat it."),
]
Input = Annotated[
    Path | None,
    typer.Option(
        "--input",
        help="JSONL of records with video, image, audio, prompt or messages, choices, id.",
    ),
]
Output = Annotated[Path | None, typer.Option("--output", help="JSONL to write the answers to.")]
MaxNewTokens = Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")]
Device = Annotated[
    str | None, typer.Option("--device", help="E.g. cuda:1; default: a GPU if there is one.")
]
Stream = Annotated[
    bool, typer.Option("--stream", help="Print each answer word by word, one record at a time.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Records of --input at once.")]


def generate(
    adapter: Adapter,
    options: Options = None,
    revision: Revision = None,
    video: Video = None,
    image: Image = None,
    audio: Audio = None,
    prompt: Prompt = None,
    choice: Choice = None,
    input_file: Input = None,
    output: Output = None,
    max_new_tokens: MaxNewTokens = None,
    batch_size: BatchSize = 8,
    stream: Stream = False,
    device: Device = None,
    allow_code: AllowCode = False,
    as_json: AsJson = False,
) -> None:
    """Answer about video, image or audio files."""
    from mmadapt.cli.records import (
        answer_all,
        check_output,
        generation_options,
        read_records,
        records_of_files,
        write_answers,
    )
    from mmadapt.cli.streaming import stream_answers
    from mmadapt.faults import explain_faults

    files = {"video": video, "image": image, "audio": audio}
    overrides = [item for item in options or [] if "." in item.partition("=")[0]]
    rest = [item for item in options or [] if item not in overrides]
    generation = generation_options(rest, max_new_tokens)
    if stream and (output is not None or as_json):
        raise typer.BadParameter("--stream prints text; leave --output and --json out")
    if output is not None:
        check_output(output, input_file)
    if input_file is None:
        records = records_of_files(files, prompt)
    else:
        _refuse_both(files)
        records = read_records(input_file, prompt)
    if choice:
        records = [{"choices": choice, **record} for record in records]

    with explain_faults("lower --batch-size or max_new_tokens"):
        model = _load(adapter, overrides, revision, device, allow_code)
        if stream:
            failed = stream_answers(model, records, generation)
        else:
            answers = answer_all(model, records, batch_size, generation)
            failed = write_answers(answers, output, as_json, total=len(records))
    if output is not None and not as_json:
        count = len(records) - failed
        typer.echo(f"wrote {count} answer{'' if count == 1 else 's'} to {output}")
    if failed:
        if len(records) > 1:
            typer.echo(f"{failed} of {len(records)} records have no answer", err=True)
        raise typer.Exit(2)


def _refuse_both(files: dict[str, Any]) -> None:
    given = [f"--{name}" for name in MODALITIES if files[name]]
    if given:
        raise typer.BadParameter(f"give --input or {', '.join(given)}, not both")


def _load(
    adapter: str,
    overrides: list[str],
    revision: str | None,
    device: str | None,
    allow_code: bool,
) -> Any:
    """Load an adapter onto the device that was asked for, or onto a GPU if there is one."""
    import torch

    import mmadapt

    if device is not None:
        try:
            torch.device(device)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise typer.BadParameter(reason, param_hint="--device") from None
    model = mmadapt.load(adapter, revision=revision, overrides=overrides, allow_code=allow_code)
    return model.place(device)

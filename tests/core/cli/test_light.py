"""What must stay light: help and listings import neither torch nor transformers."""

import json
import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "transformers", "numpy", "PIL", "accelerate")
PROGRAM = """
import json, sys
sys.argv = ["mmadapt", *sys.argv[1:]]
from mmadapt.cli import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["plugins"], ["plugins", "--json"], ["train", "--help"], ["--version"]],
)
def test_light_commands(arguments):
    start = time.perf_counter()
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert time.perf_counter() - start < 5  # 0.2 s on an idle machine
    modules = set(json.loads(done.stderr.splitlines()[-1]))
    assert "mmadapt.cli.app" in modules
    assert not modules & set(HEAVY)
    assert done.stdout


def test_reading_a_recipe_is_light():
    program = (
        "import sys; from mmadapt.recipe import load_recipe;"
        "load_recipe({'name': 'a', 'lm': {'model': 'm'}, 'encoders': {'v': {'use': 'x'}},"
        "'fusion': {'use': 'y'}, 'head': {'use': 'z'}});"
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"

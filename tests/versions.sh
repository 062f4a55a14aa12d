#!/usr/bin/env bash
# Tests on the lowest supported torch and transformers, in an environment of their own:
#
#     tests/versions.sh [FOLDER]
#
# The lower bounds are read from pyproject.toml; the newest versions are those of a plain install.
# Only what meets these libraries is run: attaching, loading, training, encoders, adapters.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-$(mktemp -d)}
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/pip" install --quiet)
mapfile -t lowest < <(python3 - <<'PYTHON'
import re
import tomllib

with open("pyproject.toml", "rb") as file:
    wanted = tomllib.load(file)["project"]["dependencies"]
for name in ("torch", "torchvision", "torchaudio", "transformers", "accelerate"):
    bound = next(text for text in wanted if re.match(rf"{name}>=", text))
    print(re.match(rf"{name}>=([\d.]+)", bound).expand(rf"{name}==\1.*"))
PYTHON
)
"${pip[@]}" "${lowest[@]}"
"${pip[@]}" '.[test]' "${lowest[@]}"
"$folder/venv/bin/pip" list 2>/dev/null | grep -E '^(torch|torchvision|torchaudio|transformers|accelerate) '
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
exec "$folder/venv/bin/python" -m pytest -q -n 2 \
  tests/core/test_attach.py tests/core/test_late.py tests/core/test_anatomy.py tests/core/test_positions.py \
  tests/core/adapters/test_checkpoint.py tests/core/test_golden.py tests/core/test_lm.py \
  tests/core/generation/test_answers.py tests/core/train/test_run.py tests/core/train/test_fitting.py tests/core/train/test_guarded.py tests/core/test_pieces.py tests/core/test_hub.py tests/core/test_building.py tests/reliability/test_shards.py tests/plugins/mmadapt_epalm tests/plugins/mmadapt_evlm tests/plugins/mmadapt_vision

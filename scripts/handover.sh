#!/usr/bin/env bash
# Makes an environment in which verl's and OpenRLHF's own readers run on a CPU, for make test-slow GROUP=handover.
# Apart from .venv: they want other versions, and vLLM and DeepSpeed, which the readers do not need, are left out.
# Does nothing when that was done already. CUVEE_HANDOVER is where it goes.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${CUVEE_HANDOVER:-${XDG_CACHE_HOME:-$HOME/.cache}/cuvee/handover}
stamp=$(sha256sum scripts/handover.sh | cut -c1-16)
if [ "$(cat "$folder/.cuvee" 2>/dev/null)" = "$stamp" ]; then
  exit 0
fi
echo "setting up $folder (some 100 packages, 2 GB: a few minutes)"
uv=$(scripts/uv.sh)
[ -x "$folder/bin/python" ] || "$uv" venv --quiet --python 3.11 "$folder"
rm -f "$folder/.cuvee"
torch=()
if ls "${PIP_FIND_LINKS:-/nonexistent}"/torch-*+cpu-*.whl >/dev/null 2>&1; then
  torch=(--find-links "$PIP_FIND_LINKS")
else
  torch=(--torch-backend cpu)
fi
"$uv" pip install --quiet --python "$folder/bin/python" "${torch[@]}" \
  'torch==2.13.0' 'transformers==5.9.0' 'datasets>=4' 'tensordict>=0.8,<=0.10' 'hydra-core>=1.3' omegaconf codetiming torchdata \
  'ray>=2.41' 'pandas>=2.2' pillow 'numpy<2.4' accelerate dill peft pybind11 pylatexenc cachetools aiohttp fastapi uvicorn \
  psutil packaging pytest 'math-verify>=0.9,<0.10' 'latex2sympy2-extended>=1.11,<2' mpmath
"$uv" pip install --quiet --python "$folder/bin/python" --no-deps 'verl==0.9.1' 'openrlhf==0.11.2'
echo "$stamp" > "$folder/.cuvee"

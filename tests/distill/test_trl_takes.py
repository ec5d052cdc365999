"""TRL's trainers take published rows as they are, and make of them the tokens and labels that we say."""

from copy import deepcopy
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from template_tokenizers import other_tokenizer, own_tokenizer, template

from distill.example import Example
from distill.rendering import Renderer
from distill.student import Student

ASKED = [{"role": "user", "content": "What is 2 + 3?"}]
TURNS = [
    {"role": "system", "content": "Answer with a number. /no_think"},
    *ASKED,
    {"role": "assistant", "content": "5"},
    {"role": "user", "content": "And 4 more?"},
]
EXAMPLES = [
    Example(ASKED, "Two and three.\n\nThat is five.", "5 \\boxed{5}"),
    Example(TURNS, "", "Nine – 九."),
    Example(ASKED, None, "5"),
]
QUIET = {
    "max_steps": 1,
    "per_device_train_batch_size": 2,
    "bf16": False,
    "use_cpu": True,
    "gradient_checkpointing": False,
    "report_to": [],
    "save_strategy": "no",
    "disable_tqdm": True,
}


@pytest.fixture(scope="module", autouse=True)
def _without_vllm() -> None:
    """TRL imports vLLM wherever it is installed; these trainers have no use for it."""
    import_utils = import_module("trl.import_utils")

    import_utils.is_vllm_available = lambda *_, **__: False


@pytest.fixture
def tiny() -> Any:
    """A Llama of two layers that knows nothing."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=49_160, max_position_embeddings=512, **sizes))


def sft_rows(renderer: Renderer, examples: list[Example]) -> list[dict[str, Any]]:
    """As they are published, with columns that TRL has no use for."""
    rendered = renderer.render_many(examples)
    assert [row.fault for row in rendered] == [None] * len(examples)
    return [
        {
            "id": f"row-{number}",
            "rollout": f"row-{number}/0",
            "prompt": row.prompt,
            "completion": row.completion,
            "messages": [
                message | {"train": train}
                for messages, train in ((row.prompt, False), (row.completion, True))
                for message in messages
            ],
            "tokens": row.tokens,
            "trained_tokens": row.trained_tokens,
            "length": 512,
            "fault": None,
        }
        for number, row in enumerate(rendered)
    ]


def tokens_and_labels(rows: Dataset) -> list[tuple[list[int], list[int]]]:
    return [(list(row["input_ids"]), list(row["labels"])) for row in rows]


def test_sft_takes_rows_unchanged_and_trains_the_tokens_we_say(model_folder: Path, tmp_path: Path, tiny: Any) -> None:
    from trl import SFTConfig, SFTTrainer

    renderer = Renderer(Student(model="student"), own_tokenizer(model_folder))
    rows = sft_rows(renderer, EXAMPLES)
    trainer = SFTTrainer(
        model=tiny,
        args=SFTConfig(output_dir=str(tmp_path), shuffle_dataset=False, **QUIET),
        train_dataset=Dataset.from_list(rows),
        processing_class=own_tokenizer(model_folder),
    )
    made = tokens_and_labels(trainer.train_dataset)
    assert made == [renderer.labels(row["prompt"], row["completion"]) for row in rows]
    assert [len(ids) for ids, _ in made] == [row["tokens"] for row in rows]
    trained = [[token for token in labels if token != -100] for _, labels in made]
    assert [len(tokens) for tokens in trained] == [row["trained_tokens"] for row in rows]
    assert own_tokenizer(model_folder).decode(trained[1]) == "<think>\n\n</think>\n\nNine – 九.<|im_end|>\n"
    trainer.train()
    assert trainer.state.global_step == 1


@pytest.mark.parametrize(
    ("name", "examples"),
    [
        ("qwen3_5_think", EXAMPLES[:2]),
        ("qwen3_8", EXAMPLES[:1]),
        ("deepseek_r1_distill_training", EXAMPLES[:1]),
    ],
)
def test_labels_are_those_of_trl_through_other_templates_too(
    name: str, examples: list[Example], model_folder: Path, tmp_path: Path, tiny: Any
) -> None:
    from trl import SFTConfig, SFTTrainer

    tokenizer = deepcopy(other_tokenizer(model_folder))  # the trainer gives it the template
    renderer = Renderer(Student(model="student", chat_template=template(name)), tokenizer)
    rows = sft_rows(renderer, examples)
    trainer = SFTTrainer(
        model=tiny,
        args=SFTConfig(output_dir=str(tmp_path), chat_template_path=template(name), shuffle_dataset=False, **QUIET),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    assert tokens_and_labels(trainer.train_dataset) == [
        renderer.labels(row["prompt"], row["completion"]) for row in rows
    ]


def test_dpo_takes_pairs_unchanged(model_folder: Path, tmp_path: Path, tiny: Any) -> None:
    from trl import DPOConfig, DPOTrainer

    renderer = Renderer(Student(model="student"), own_tokenizer(model_folder))
    wrong = [Example(EXAMPLES[0].prompt, "Two and three is six, I guess.", "6"), Example(TURNS, "", "Ten.")]
    pairs = renderer.render_pairs(EXAMPLES[:2], wrong)
    assert [pair.fault for pair in pairs] == [None, None]
    rows = [
        {**pair._asdict(), "id": f"pair-{number}", "reason": "correct against wrong"}
        for number, pair in enumerate(pairs)
    ]
    trainer = DPOTrainer(
        model=tiny,
        ref_model=deepcopy(tiny),
        args=DPOConfig(output_dir=str(tmp_path), **QUIET),
        train_dataset=Dataset.from_list(rows),
        processing_class=own_tokenizer(model_folder),
    )
    for pair, made in zip(pairs, trainer.train_dataset, strict=True):
        for answer, length in (("chosen", pair.chosen_tokens), ("rejected", pair.rejected_tokens)):
            ids, labels = renderer.labels(pair.prompt, getattr(pair, answer))
            assert made["prompt_ids"] + made[f"{answer}_ids"] == ids
            assert made[f"{answer}_ids"] == [token for token in labels if token != -100]
            assert len(ids) == length
    trainer.train()
    assert trainer.state.global_step == 1

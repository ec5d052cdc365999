"""How well what disqualifies a trace is found, and how fast.

    .venv/bin/python benchmarks/traces.py [--show DETECTOR] [--seed N] [--data DIR] [--json]

Real traces (../shared/data/traces: Qwen3-8B, Qwen3.5-9B, Sky-T1, DeepSeek-R1, Marco-o1, HuatuoGPT-o1) are measured as they are,
and again after one thing was broken in each on purpose: a loop planted, the thinking left open, some sentences replaced by
another language's, the final answer changed, a guess, a refusal or a benchmark item put in. Near misses are planted too: what
looks like a fault and is none, such as a multiplication table or a quoted foreign word.

    recall     share of the planted faults that are found, among traces in which the detector found nothing before
    precision  planted faults found / (those + false alarms); false alarms are the near misses that fire, and the traces as
               they are that fire wrongly: every one that fires was read, and what is right is listed in JUDGED_RIGHT

The peer of repetition is Gopher's rules for documents (arXiv 2112.11446, table A1) with the thresholds that datatrove ships.
Speed is that of `TraceChecks.measure` without grader and benchmarks, on traces of about 20,000 characters, CPU time of all
threads, in the chunks that a run uses.
"""

import argparse
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from curation.decontamination.benchmarks import Item
from curation.verify.pool import GraderPool
from distill.detect.benchmarks import Benchmarks
from distill.traces import TraceChecks

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
CHUNK = 256
GOAL_PRECISION, GOAL_RECALL = 0.95, 0.9
GOAL_PER_CPU_SECOND = 333
LONG = 20_000
ITEMS = ("aime24", "aime25", "amc23", "gsm8k_test", "math500", "olympiadbench")

JUDGED_RIGHT = {
    "repetitive": (
        "qwen3.5-9b__think-on/instruct-00 qwen3.5-9b__think-on/instruct-02 qwen3.5-9b__think-on/instruct-03 "
        "qwen3.5-9b__think-on/instruct-31 qwen3.5-9b__think-on/instruct-35 qwen3.5-9b__think-on/instruct-36 "
        "qwen3.5-9b__think-on/instruct-37 qwen3.5-9b__think-on/instruct-38 qwen3.5-9b__think-on/instruct-39 "
        "qwen3.5-9b__think-on/overthink-18 qwen3.5-9b__think-on/overthink-34 qwen3.5-9b__think- "
        "on/overthink-39 qwen3-8b__think-on/instruct-04 qwen3-8b__think-on/instruct-35 qwen3-8b__think- "
        "on/instruct-36 qwen3-8b__think-on/instruct-39 qwen3-8b__think-on/overthink-38 "
        "skythought/3f80d3a3cc-10 skythought/3f80d3a3cc-17 skythought/3f80d3a3cc-18 skythought/3f80d3a3cc-26 "
        "skythought/3f80d3a3cc-32 skythought/3f80d3a3cc-46 skythought/3f80d3a3cc-57 skythought/3f80d3a3cc-69 "
        "skythought/3f80d3a3cc-118 skythought/3f80d3a3cc-120 skythought/3f80d3a3cc-149 "
        "skythought/3f80d3a3cc-171 skythought/3f80d3a3cc-198 skythought/3f80d3a3cc-200 "
        "skythought/3f80d3a3cc-240 skythought/3f80d3a3cc-269 skythought/3f80d3a3cc-282 "
        "skythought/3f80d3a3cc-302 skythought/3f80d3a3cc-324 skythought/3f80d3a3cc-342 "
        "skythought/3f80d3a3cc-425 skythought/3f80d3a3cc-460 skythought/3f80d3a3cc-465 "
        "skythought/3f80d3a3cc-484 skythought/3f80d3a3cc-497 "
    ),
    # Problems in Chinese, thought about in English.
    "mixed_language": "marco_o1_demo/10 marco_o1_demo/23 marco_o1_demo/43 marco_o1_demo/72 marco_o1_demo/75 marco_o1_demo/112",
    "hard_to_read": (
        "qwen3.5-9b__think-on/instruct-36 qwen3.5-9b__think-on/instruct-37 qwen3.5-9b__think-on/instruct-38 "
        "qwen3.5-9b__think-on/instruct-39 qwen3-8b__think-on/deduct-12 qwen3-8b__think-on/deduct-21 "
        "qwen3-8b__think-on/deduct-38 qwen3-8b__think-on/instruct-04 qwen3-8b__think-on/instruct-35 "
        "qwen3-8b__think-on/instruct-36 qwen3-8b__think-on/instruct-39 qwen3-8b__think-on/overthink-18 "
        "qwen3-8b__think-on/overthink-38 skythought/3f80d3a3cc-46 "
    ),
    "contradictory": "qwen3.5-9b__think-on/arith-03-1",
}
"""Traces as they are in which a detector rightly finds something, by the ends of their ids."""

Row = dict[str, Any]


class Planted(NamedTuple):
    """A fault, or a near miss, and how it is planted: gives the changed trace, or None where it does not fit."""

    detector: str
    name: str
    fault: bool
    plant: Callable[[Row, random.Random], Row | None]


def read_traces(path: Path) -> list[Row]:
    """The corpus as rows for `TraceChecks.measure`; `thinking` and `response` beside, for planting."""
    text = pa.CompressedInputStream(pa.OSFile(str(path)), "zstd").read().decode()
    rows = []
    for trace in map(json.loads, text.splitlines()):
        if trace["thinking"]:
            rows.append(
                row_of(
                    trace["id"], trace["problem"], trace["thinking"], trace["response"], trace["gold"], _verifier(trace)
                )
            )
    return rows


def row_of(name: str, prompt: str, thinking: str, response: str, gold: str, verifier: str) -> Row:
    return {
        "rollout": name,
        "prompt": prompt,
        "answer": gold or None,
        "verifier": verifier,
        "verifier_args": None,
        "text": f"<think>\n{thinking}\n</think>\n\n{response}",
        "finish_reason": "stop",
        "thinking": thinking,
        "response": response,
    }


def _verifier(trace: Row) -> str:
    if trace["source"] == "camel_star_r1":
        return "choice"
    return "math" if trace["domain"] in {"arith", "math"} else "exact"


def changed(row: Row, thinking: str | None = None, response: str | None = None, **others: Any) -> Row:
    thinking = row["thinking"] if thinking is None else thinking
    response = row["response"] if response is None else response
    new = row_of(row["rollout"], row["prompt"], thinking, response, row["answer"] or "", row["verifier"])
    return new | others


def sentences(text: str) -> list[str]:
    return [part for part in re.split(r"(?<=[.!?])\s+|\n+", text) if len(part.split()) >= 4]


def inserted(row: Row, text: str, random_: random.Random, at: float | None = None) -> Row:
    """The row with a text between two lines of its thinking."""
    lines = row["thinking"].split("\n")
    place = random_.randrange(len(lines) + 1) if at is None else int(at * len(lines))
    return changed(row, "\n".join([*lines[:place], text, *lines[place:]]))


# Loops.


def loop_of_words(row: Row, random_: random.Random) -> Row | None:
    words = row["thinking"].split()
    size = random_.randint(1, 8)
    begin = random_.randrange(max(1, len(words) - size))
    phrase = " ".join(words[begin : begin + size])
    if not re.search(r"[^\W\d_]{2}", phrase):
        return None
    turns = max(random_.randint(20, 150), 220 // size)
    return changed(row, " ".join([*words[: begin + size], *[phrase] * turns]))


def loop_of_lines(row: Row, random_: random.Random) -> Row | None:
    found = sentences(row["thinking"])
    if len(found) < 6:
        return None
    begin = random_.randrange(len(found) - 4)
    turn = "\n".join(found[begin : begin + random_.randint(1, 4)])
    turns = max(random_.randint(6, 30), 230 // len(turn.split()))
    return inserted(row, "\n".join([turn] * turns), random_)


def loop_that_counts(row: Row, random_: random.Random) -> Row | None:
    said = random_.choice(
        [
            "Wait, let me check this again, attempt {}.",
            "Attempt {}: hmm, that is not quite right, so I should try once more from the start.",
            "Let me recount for the {}th time, because I may have missed something in the list.",
        ]
    )
    return inserted(row, "\n".join(said.format(number) for number in range(1, random_.randint(30, 80))), random_)


def loop_in_turns(row: Row, random_: random.Random) -> Row | None:
    found = sentences(row["thinking"])
    if len(found) < 9:
        return None
    first, second = " ".join(random_.sample(found, 2)), " ".join(random_.sample(found, 2))
    varied = ["Wait.", "Hmm.", "But actually,", "Alternatively,", "So,", "No,"]
    turns = [f"{random_.choice(varied)} {part}" for _ in range(random_.randint(6, 15)) for part in (first, second)]
    return inserted(row, "\n\n".join(turns), random_)


def loop_in_chinese(row: Row, random_: random.Random) -> Row | None:
    said = random_.choice(
        [
            "等等，让我再检查一遍这个计算是否正确。",
            "所以答案应该是这样的，但是我还需要再确认一下。",
            "不对，重新算一下。",
        ]
    )
    thinking = "这道题需要先设未知数，再列方程求解。\n" + said * random_.randint(25, 60)
    return changed(row, thinking, prompt="小明有三个苹果，又买了五个，请问他一共有多少个苹果？")


def times_table(row: Row, random_: random.Random) -> Row | None:
    by = random_.randint(3, 99)
    lines = [f"{by} times {k} is {by * k}" for k in range(1, random_.randint(15, 40))]
    return inserted(row, "\n".join(lines), random_)


def cases(row: Row, random_: random.Random) -> Row | None:
    by = random_.randint(7, 19)
    said = random_.choice(
        [
            "If n = {k}, then the expression equals {a}, which leaves a remainder of {r} when divided by {by}.",
            "For x = {k} the left side is {a} and the right side is {b}, so it is not a solution.",
            "n = {k}: {k}^2 = {a}, and {a} mod {by} = {r}.",
        ]
    )
    lines = [said.format(k=k, a=k * k, b=3 * k + by, r=k * k % by, by=by) for k in range(1, random_.randint(15, 45))]
    return inserted(row, "\n".join(lines), random_)


def long_multiplication(row: Row, random_: random.Random) -> Row | None:
    one, other = random_.randint(10_000, 99_999), random_.randint(10**9, 10**12)
    lines = [
        f"{one} * {digit} = {one * int(digit)}, shifted by {place} places that is {one * int(digit) * 10**place}"
        for place, digit in enumerate(reversed(str(other)))
    ]
    return inserted(row, "\n".join(lines), random_)


def truth_table(row: Row, random_: random.Random) -> Row | None:
    values = random_.choice([("T", "F"), ("true", "false"), ("yes", "no"), ("0", "1")])
    lines = [" | ".join(random_.choice(values) for _ in range(5)) for _ in range(random_.randint(8, 32))]
    return inserted(row, "\n".join(lines), random_)


def checked_thrice(row: Row, random_: random.Random) -> Row | None:
    found = sentences(row["thinking"])[:4]
    return inserted(row, "\n".join(["Let me verify that once more.", *found, "And a last time.", *found]), random_, 1.0)


# Form.


def left_open(row: Row, random_: random.Random) -> Row | None:
    cut = row["thinking"][: random_.randint(1, len(row["thinking"]))]
    return changed(row, text=f"<think>\n{cut}", finish_reason="length")


def without_block(row: Row, random_: random.Random) -> Row | None:
    return changed(row, text=row["response"])


def empty_block(row: Row, random_: random.Random) -> Row | None:
    return changed(row, text=f"<think>\n\n</think>\n\n{row['response']}")


def two_blocks(row: Row, random_: random.Random) -> Row | None:
    return changed(row, text=f"{row['text']}\n<think>\nOnce more.\n</think>\n{row['response']}")


def without_answer(row: Row, random_: random.Random) -> Row | None:
    return changed(row, response="")


def parsed_by_the_server(row: Row, random_: random.Random) -> Row | None:
    return changed(row, text=row["response"], reasoning=row["thinking"])


# Languages.

CHINESE = (
    "首先我们需要把已知条件整理一下，然后再代入公式计算。",
    "接下来考虑另一种情况，看看结果是否一致。",
    "因此这个数一定是偶数，否则会产生矛盾。",
    "让我重新检查一下前面的推导过程有没有错误。",
)
OTHERS = (
    "D'abord, il faut vérifier que toutes les conditions du problème sont bien satisfaites avant de continuer le calcul.",
    "Ensuite nous remplaçons la valeur trouvée dans la première équation et nous obtenons le résultat cherché.",
    "Zuerst müssen wir überprüfen, ob alle Bedingungen der Aufgabe erfüllt sind, bevor wir weiterrechnen können.",
    "Danach setzen wir den gefundenen Wert in die erste Gleichung ein und erhalten das gesuchte Ergebnis.",
    "Primero tenemos que comprobar que todas las condiciones del problema se cumplen antes de seguir calculando.",
    "Сначала нужно проверить, что все условия задачи выполнены, и только потом продолжать вычисления.",
    "まず条件を整理してから、次の式に代入して計算する必要があります。",
    "먼저 주어진 조건을 정리한 다음 식에 대입해서 계산해야 합니다.",
)
ENGLISH = (
    "Let me think about this step by step, because the conditions are not all independent.",
    "So the remaining number of apples has to be even, which rules out the second case.",
)


def chinese_sentence(row: Row, random_: random.Random) -> Row | None:
    return inserted(row, random_.choice(CHINESE), random_)


def chinese_half(row: Row, random_: random.Random) -> Row | None:
    half = row["thinking"][: len(row["thinking"]) // 2]
    return changed(row, half + "\n" + "\n".join(random_.choices(CHINESE, k=8)))


def chinese_words(row: Row, random_: random.Random) -> Row | None:
    return inserted(row, "So we 考虑 the second case, which 因此 gives the 结果 that we wanted.", random_)


def other_sentences(row: Row, random_: random.Random) -> Row | None:
    return inserted(row, " ".join(random_.sample(OTHERS, 2)), random_)


def english_in_chinese(row: Row, random_: random.Random) -> Row | None:
    thinking = "\n".join([*random_.choices(CHINESE, k=6), random_.choice(ENGLISH), *random_.choices(CHINESE, k=4)])
    return changed(row, thinking, prompt="小明有三个苹果，又买了五个，请问他一共有多少个苹果？")


def quoted_word(row: Row, random_: random.Random) -> Row | None:
    if not row["prompt"].isascii():
        return None
    return inserted(row, 'The surname Zhang is written "张" and Tokyo (東京) was called Edo (江戸).', random_)


def terms_in_chinese(row: Row, random_: random.Random) -> Row | None:
    terms = [
        "设函数 f(x) = sin x + cos x，求导得到 $f'(x)$。",
        "用 Python 的 numpy 库可以验证，速度是 5 km 每小时。",
        "由 AM-GM 不等式可知结论成立。",
    ]
    return changed(
        row, "\n".join([*random_.choices(CHINESE, k=6), *terms]), prompt="请证明下面的不等式，并说明等号何时成立。"
    )


# Guesses, contradictions.

GUESSES = (
    "I can't work this out, so I'll just guess {}.",
    "I'm running out of ideas. My best guess is {}.",
    "No way to know. I'll take a random guess and say {}.",
    "This is too hard, I'm just going to pick {} at random.",
    "I have no idea how to finish this, I'm basically guessing at this point: {}.",
    "I don't know, but I guess the answer is {}.",
    "I cannot finish the computation, so I will make an educated guess: {}.",
    "Honestly this is just a guess, but {}.",
    "Let me simply choose an option randomly: {}.",
    "I give up on solving it. Going with a wild guess of {}.",
    "算不出来了，随便猜一个吧，答案是{}。",
    "时间不够了，我猜答案是{}。",
    "实在不会做，只能蒙一个{}。",
)


GUESSES_IN_OTHER_WORDS = (
    "I have run out of time; putting down {}.",
    "I can't tell which is right, so a coin toss: {}.",
    "My hunch is {}, I'll leave it at that.",
    "This part is guesswork, but {}.",
    "Can't resolve it. Best guess: {}.",
    "Let's just say {}.",
    "Without solving it fully I'd have to guess that it is {}.",
    "OK I'll go with my gut and answer {}.",
    "No more ideas, so I'll make something up: {}.",
    "猜测答案为{}。",
    "我随便说一个：{}。",
    "感觉是{}，就写这个吧。",
)


def guess_in_other_words(row: Row, random_: random.Random) -> Row | None:
    return changed(row, f"{row['thinking']}\n{random_.choice(GUESSES_IN_OTHER_WORDS).format(random_.randint(2, 99))}")


def guess_at_the_end(row: Row, random_: random.Random) -> Row | None:
    kept = row["thinking"][: int(len(row["thinking"]) * random_.uniform(0.2, 0.7))]
    return changed(row, f"{kept}\n\n{random_.choice(GUESSES).format(random_.randint(2, 99))}")


def no_thinking(row: Row, random_: random.Random) -> Row | None:
    return changed(
        row, random_.choice(["It's {}.", "Okay, {}.", "I think it is {}.", "The answer is {}."]).format(7), "Answer: 7"
    )


def explored(row: Row, random_: random.Random) -> Row | None:
    said = random_.choice(
        [
            "Let me guess x = 2 and check: 2 + 3 = 5, which works.",
            "I could guess the answer, but I'd rather not guess without computing it.",
            "My first guess was 12, and substituting it back confirms that it satisfies both equations.",
            "I guess we can start with the second equation.",
            "It asks for the probability that a randomly chosen card is red.",
        ]
    )
    return changed(row, f"{row['thinking']}\n{said}")


def other_answer(row: Row, random_: random.Random) -> Row | None:
    """Both state a number, and the final one is another."""
    if row["verifier"] != "math" or not re.fullmatch(r"\d{1,6}", row["answer"] or ""):
        return None
    right, wrong = row["answer"], str(int(row["answer"]) + random_.randint(1, 9))
    stated = random_.choice(
        ["So the answer is {}.", "**Final Answer**\n\\boxed{{{}}}", "Therefore the answer should be {}."]
    )
    final = random_.choice(["The answer is \\boxed{{{}}}.", "Adding up gives the total.\n\nAnswer: {}"])
    return changed(row, f"{row['thinking']}\n{stated.format(right)}", final.format(wrong))


def same_answer(row: Row, random_: random.Random) -> Row | None:
    """The thinking considered another answer, or says the same in another way."""
    if row["verifier"] != "math" or not re.fullmatch(r"\d{1,6}", row["answer"] or ""):
        return None
    right, wrong = int(row["answer"]), int(row["answer"]) + random_.randint(1, 9)
    said = random_.choice(
        [
            f"So the answer is {wrong}. Wait, that is not right, I forgot a term. It is {right}.",
            f"If the answer is {wrong}, then we get a contradiction.",
            f"So the answer is {right}.0 in decimal form.",
            f"So the answer is \\( \\frac{{{2 * right}}}{{2}} \\).",
            f"Is the answer {wrong}? No. The answer is {right}.",
            f"The answer is {right}, as the problem asks for a whole number.",
        ]
    )
    return changed(row, f"{row['thinking']}\n{said}", f"The answer is \\boxed{{{right}}}.")


# Readability, refusals.

CODE = "```python\ndef total(values):\n    result = 0\n    for value in values:\n        result += value\n    return result\n```"


def code_block(row: Row, random_: random.Random) -> Row | None:
    return None if "```" in row["response"] else inserted(row, CODE, random_)


def code_without_fence(row: Row, random_: random.Random) -> Row | None:
    return None if "```" in row["response"] else inserted(row, CODE.strip("`").removeprefix("python\n"), random_)


def wall_of_text(row: Row, random_: random.Random) -> Row | None:
    return changed(row, " ".join(row["thinking"].split())) if len(row["thinking"].split()) >= 450 else None


def code_for_code(row: Row, random_: random.Random) -> Row | None:
    return inserted(row, CODE, random_) | {"verifier": "code"}


def fenced_sum(row: Row, random_: random.Random) -> Row | None:
    return inserted(row, "```\n  1234\n+ 5678\n------\n  6912\n```", random_)


REFUSALS = (
    "I'm sorry, but I can't help with that.",
    "I apologize, but I am unable to assist with this request.",
    "I cannot provide that information.",
    "Sorry, I can't answer that.",
    "As an AI language model, I cannot solve problems that need a figure.",
    "Unfortunately, I cannot determine the answer without the picture.",
    "I'm not able to help with this one.",
    "I won't be able to provide assistance with that.",
    "I must respectfully decline to answer.",
    "抱歉，我无法回答这个问题。",
    "对不起，我不能提供这方面的帮助。",
)
IDENTITIES = (
    "I am DeepSeek-R1, an AI assistant, so I will answer step by step.",
    "As an AI developed by OpenAI, I should be careful here.",
    "I'm Qwen, a large language model created by Alibaba Cloud.",
    "As a language model, I do not have personal experience with this.",
    "I was trained by Google, so I know this.",
    "My knowledge cutoff is 2023, but this should not matter.",
    "I'm ChatGPT and I can solve this.",
    "我是通义千问，由阿里云开发的语言模型。",
    "作为一个人工智能助手，我需要仔细计算。",
)


REFUSALS_IN_OTHER_WORDS = (
    "I must refuse this request.",
    "I do not have the ability to view images.",
    "I'm not allowed to discuss this topic.",
    "This is not something I'm able to help with.",
    "I'd rather not answer that.",
    "No. Please ask something else.",
    "很抱歉，我帮不了你。",
    "我没有能力回答这个问题。",
)


def refused_in_other_words(row: Row, random_: random.Random) -> Row | None:
    return changed(row, response=random_.choice(REFUSALS_IN_OTHER_WORDS))


def refused(row: Row, random_: random.Random) -> Row | None:
    return changed(row, response=random_.choice(REFUSALS))


def identified(row: Row, random_: random.Random) -> Row | None:
    said = random_.choice(IDENTITIES)
    return (
        inserted(row, said, random_) if random_.random() < 0.5 else changed(row, response=f"{said} {row['response']}")
    )


def quoted_refusal(row: Row, random_: random.Random) -> Row | None:
    said = "The clerk said: \"I'm sorry, but I can't help you.\" So she left. " + row["response"]
    return changed(row, response=random_.choice([said, f"We cannot provide a smaller bound here. {row['response']}"]))


def spoken_of(row: Row, random_: random.Random) -> Row | None:
    said = random_.choice(
        [
            "The town was founded by Meta, daughter of Claude.",
            "I am sure that Gemini is a constellation.",
            "Training data: 3, 5, 8.",
        ]
    )
    return inserted(row, said, random_)


FAULTS = [
    Planted("repetitive", "words", True, loop_of_words),
    Planted("repetitive", "lines", True, loop_of_lines),
    Planted("repetitive", "with a counter", True, loop_that_counts),
    Planted("repetitive", "paragraphs in turns", True, loop_in_turns),
    Planted("repetitive", "Chinese", True, loop_in_chinese),
    Planted("repetitive", "times table", False, times_table),
    Planted("repetitive", "cases", False, cases),
    Planted("repetitive", "long multiplication", False, long_multiplication),
    Planted("repetitive", "truth table", False, truth_table),
    Planted("repetitive", "checked thrice", False, checked_thrice),
    Planted("well_formed", "left open", True, left_open),
    Planted("well_formed", "no block", True, without_block),
    Planted("well_formed", "empty block", True, empty_block),
    Planted("well_formed", "two blocks", True, two_blocks),
    Planted("well_formed", "no answer", True, without_answer),
    Planted("well_formed", "parsed by the server", False, parsed_by_the_server),
    Planted("mixed_language", "a Chinese sentence", True, chinese_sentence),
    Planted("mixed_language", "half Chinese", True, chinese_half),
    Planted("mixed_language", "Chinese words", True, chinese_words),
    Planted("mixed_language", "two other sentences", True, other_sentences),
    Planted("mixed_language", "English in Chinese", True, english_in_chinese),
    Planted("mixed_language", "quoted words", False, quoted_word),
    Planted("mixed_language", "terms in Chinese", False, terms_in_chinese),
    Planted("guesswork", "at the end", True, guess_at_the_end),
    Planted("guesswork", "in other words", True, guess_in_other_words),
    Planted("guesswork", "no thinking", True, no_thinking),
    Planted("guesswork", "explored", False, explored),
    Planted("contradictory", "other answer", True, other_answer),
    Planted("contradictory", "same answer", False, same_answer),
    Planted("hard_to_read", "code block", True, code_block),
    Planted("hard_to_read", "code without fence", True, code_without_fence),
    Planted("hard_to_read", "wall of text", True, wall_of_text),
    Planted("hard_to_read", "code for code", False, code_for_code),
    Planted("hard_to_read", "fenced sum", False, fenced_sum),
    Planted("refusal", "refusal", True, refused),
    Planted("refusal", "in other words", True, refused_in_other_words),
    Planted("refusal", "quoted", False, quoted_refusal),
    Planted("identity", "identity", True, identified),
    Planted("identity", "spoken of", False, spoken_of),
]


def read_items(folder: Path) -> list[Item]:
    return [
        Item(name, str(row["id"]), row["problem"], str(row["answer"]))
        for name in ITEMS
        for row in pq.read_table(folder / f"{name}.parquet", columns=["id", "problem", "answer"]).to_pylist()
    ]


def with_items(items: list[Item]) -> list[Planted]:
    """Faults that need benchmark items."""
    long = [item for item in items if 20 <= len(item.text.split()) <= 120]

    def pasted(row: Row, random_: random.Random) -> Row | None:
        said = f"This reminds me of another problem: {random_.choice(long).text}"
        return (
            inserted(row, said, random_)
            if random_.random() < 0.7
            else changed(row, response=f"{row['response']}\n\n{said}")
        )

    def edited(row: Row, random_: random.Random) -> Row | None:
        text = re.sub(r"\d+", lambda found: str(int(found[0]) + random_.randint(1, 5)), random_.choice(long).text)
        return inserted(row, text, random_)

    def restated(row: Row, random_: random.Random) -> Row | None:
        if row["rollout"].startswith("skythought"):  # it is a solution of another item
            return None
        item = random_.choice(long)
        return inserted(row, f"So the problem says: {item.text}", random_, 0.0) | {"prompt": item.text}

    return [
        Planted("trace_contaminated", "item pasted", True, pasted),
        Planted("trace_contaminated", "item edited", True, edited),
        Planted("trace_contaminated", "own problem restated", False, restated),
    ]


def gopher(text: str) -> bool:
    """Whether Gopher's repetition rules drop the text, by the thresholds of datatrove's GopherRepetitionFilter."""
    if not text:
        return False
    for parts, share, characters in ((re.split(r"\n{2,}", text.strip()), 0.3, 0.2), (re.split(r"\n+", text), 0.3, 0.2)):
        counts = Counter(parts)
        double = sum(count - 1 for count in counts.values())
        if double > share * len(parts) or sum((c - 1) * len(part) for part, c in counts.items()) > characters * len(
            text
        ):
            return True
    words = re.findall(r"\w+|[^\w\s]", text)
    for n, share in ((2, 0.2), (3, 0.18), (4, 0.16)):
        grams = Counter(" ".join(words[at : at + n]) for at in range(len(words) - n + 1))
        if grams:
            gram, count = grams.most_common(1)[0]
            if count * len(gram) > share * len(text):
                return True
    for n, share in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)):
        seen, repeated, at = set(), 0, 0
        while at < len(words) - n + 1:
            gram = " ".join(words[at : at + n])
            repeated, at = (repeated + len(gram), at + n) if gram in seen else (repeated, at + 1)
            seen.add(gram)
        if repeated > share * len(text):
            return True
    return False


def measured(rows: list[Row], pool: GraderPool, benchmarks: Benchmarks | None) -> list[Row]:
    out = []
    for at in range(0, len(rows), CHUNK):
        out += TraceChecks().measure(_table(rows[at : at + CHUNK]), pool.grade_many, benchmarks).to_pylist()
    return out


def _table(rows: list[Row]) -> pa.Table:
    names = ("rollout", "prompt", "answer", "verifier", "verifier_args", "text", "finish_reason")
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in names}
    return pa.table(columns | {"reasoning": pa.array([row.get("reasoning") for row in rows], pa.string())})


def fires(detector: str, row: Row) -> bool:
    return row[detector] is False if detector == "well_formed" else row[detector] is True


class Score(NamedTuple):
    found: int
    planted: int
    alarms: int
    harmless: int
    by_kind: dict[str, tuple[int, int]]

    @property
    def precision(self) -> float:
        return self.found / max(1, self.found + self.alarms)

    @property
    def recall(self) -> float:
        return self.found / max(1, self.planted)


def score(detector: str, kinds: dict[str, tuple[bool, list[bool]]], wrong_as_they_are: int, as_they_are: int) -> Score:
    """kinds: by what was planted, whether it is a fault, and whether each fires."""
    faults = [hit for fault, hits in kinds.values() if fault for hit in hits]
    harmless = [hit for fault, hits in kinds.values() if not fault for hit in hits]
    by_kind = {name: (sum(hits), len(hits)) for name, (_, hits) in kinds.items()}
    return Score(sum(faults), len(faults), sum(harmless) + wrong_as_they_are, len(harmless) + as_they_are, by_kind)


def planted_in(rows: list[Row], planted: Planted, seed: int, most: int) -> list[Row]:
    random_ = random.Random(f"{seed} {planted.name}")
    out = []
    for row in random_.sample(rows, len(rows)):
        if len(out) < most and (new := planted.plant(row, random_)) is not None:
            out.append(new)
    return out


def long_traces(rows: list[Row]) -> list[Row]:
    """Traces of about LONG characters, several real ones each."""
    out, thinking = [], ""
    for row in rows:
        thinking += row["thinking"] + "\n\n"
        if len(thinking) >= LONG:
            out.append(changed(row, thinking))
            thinking = ""
    return out


def per_cpu_second(rows: list[Row]) -> float:
    seconds = []
    for _ in range(3):
        start = time.process_time()
        for at in range(0, len(rows), CHUNK):
            TraceChecks().measure(_table(rows[at : at + CHUNK]))
        seconds.append(time.process_time() - start)
    return len(rows) / min(seconds)


def claim(value: float, goal: float | None, peer: float | None = None) -> dict[str, Any]:
    return {
        "ours": round(value, 4),
        "peer": None if peer is None else round(peer, 4),
        "ratio": None if not peer else round(value / peer, 3),
        "goal": goal,
        "holds": None if goal is None else value >= goal,
    }


def shown(detector: str, before: list[Row], rows: list[Row]) -> Iterator[str]:
    for row, found in zip(rows, before, strict=True):
        if fires(detector, found):
            evidence = {name: value for name, value in found.items() if value not in (None, False, 0.0)}
            yield f"{row['rollout']}: {json.dumps(evidence, ensure_ascii=False)[:600]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, default=0, help="what is planted, and where")
    parser.add_argument("--most", type=int, default=200, help="traces that each fault is planted in")
    parser.add_argument(
        "--show", metavar="DETECTOR", help="print the traces as they are in which it fires, and what it misses"
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder with traces/ and benchmarks/")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    options = parser.parse_args()
    path = options.data / "traces" / "long_cot_traces.jsonl.zst"
    if not path.exists():
        print(f"The traces are not here: {path} is missing. Give their folder with --data DIR.", file=sys.stderr)
        return 1

    rows = read_traces(path)
    items = read_items(options.data / "benchmarks")
    benchmarks = Benchmarks.of(items)
    scores: dict[str, Score] = {}
    clean: dict[str, tuple[int, int]] = {}
    peer_hits: dict[str, tuple[bool, list[bool]]] = {}
    with GraderPool() as pool:
        before = measured(rows, pool, benchmarks)
        all_planted = FAULTS + with_items(items)
        for detector in dict.fromkeys(planted.detector for planted in all_planted):
            right = set(JUDGED_RIGHT.get(detector, "").split())
            firing = [row["rollout"] for row, found in zip(rows, before, strict=True) if fires(detector, found)]
            wrong = [name for name in firing if not any(name.endswith(end) for end in right)]
            if detector == "well_formed":
                wrong = []
            clean[detector] = (len(firing), len(wrong))
            quiet = [row for row, found in zip(rows, before, strict=True) if not fires(detector, found)]
            kinds: dict[str, tuple[bool, list[bool]]] = {}
            for planted in (planted for planted in all_planted if planted.detector == detector):
                new = planted_in(quiet, planted, options.seed, options.most)
                found = measured(new, pool, benchmarks if detector == "trace_contaminated" else None)
                kinds[planted.name] = (planted.fault, [fires(detector, row) for row in found])
                if detector == "repetitive":
                    peer_hits[planted.name] = (planted.fault, [gopher(row["thinking"]) for row in new])
                if options.show == detector:
                    for row, hit, told in zip(new, kinds[planted.name][1], found, strict=True):
                        if hit != planted.fault:
                            print(f"{planted.name} {'missed' if planted.fault else 'fires'}: {row['rollout']}: {told}")
            scores[detector] = score(detector, kinds, len(wrong), len(rows))
    speed = per_cpu_second(
        long_traces([row for row, found in zip(rows, before, strict=True) if not found["repetitive"]])
    )
    quiet_rows = [row for row, found in zip(rows, before, strict=True) if not fires("repetitive", found)]
    peer = score("repetitive", peer_hits, sum(gopher(row["thinking"]) for row in quiet_rows), len(quiet_rows))

    if options.show:
        print(*shown(options.show, before, rows), sep="\n")
    claims = {}
    for detector, result in scores.items():
        other = peer if detector == "repetitive" else None
        claims[f"traces_{detector}_precision"] = claim(result.precision, GOAL_PRECISION, other and other.precision)
        claims[f"traces_{detector}_recall"] = claim(result.recall, GOAL_RECALL, other and other.recall)
    claims["traces_per_cpu_second"] = claim(speed, GOAL_PER_CPU_SECOND)
    if options.json:
        print(json.dumps(claims))
        return 0
    print(f"{len(rows)} traces; fires: as they are, of these wrongly; planted: found / planted, by kind")
    for detector, result in scores.items():
        kinds_ = ", ".join(f"{name} {hits}/{of}" for name, (hits, of) in result.by_kind.items())
        firing_, wrong_ = clean[detector]
        print(
            f"{detector:19} {firing_:4} {wrong_:3}   precision {result.precision:.3f}  recall {result.recall:.3f}   {kinds_}"
        )
    kinds_ = ", ".join(f"{name} {hits}/{of}" for name, (hits, of) in peer.by_kind.items())
    print(f"{'peer: Gopher':19} {'':8}   precision {peer.precision:.3f}  recall {peer.recall:.3f}   {kinds_}")
    print(f"{speed:,.0f} traces of {LONG:,} characters per CPU second (goal {GOAL_PER_CPU_SECOND})")
    return 0


if __name__ == "__main__":
    sys.exit(main())

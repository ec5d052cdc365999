import json

from curation.decontamination.benchmarks import Item
from distill.detect.benchmarks import Benchmarks, overlaps

TRAINS = (
    "Two trains leave the stations of Arden and Belmont at nine o'clock, travelling towards each other at 60 and 90 miles an "
    "hour. How many minutes after they leave do they meet if the stations are 225 miles apart?"
)
POLYGON = "A regular polygon with n sides has interior angles of 156 degrees each. What is the number of its diagonals?"
BENCHMARKS = Benchmarks.of([Item("exam", "7", TRAINS, "90"), Item("exam", "8", POLYGON, "90")])


def found(prompt: str, thinking: str, answer: str = "It is 4."):
    return overlaps([("An easy one.", "Nothing here.", "4"), (prompt, thinking, answer)], BENCHMARKS, 0.75)[1]


def test_an_item_in_the_thinking_is_found_with_its_place():
    thinking = f"This reminds me of another one: {TRAINS} There the answer was 90."
    overlap = found("What is 2 + 2?", thinking)
    assert overlap is not None
    assert overlap.name == "exam/7"
    evidence = json.loads(overlap.evidence)
    [[begin, end]] = evidence["spans"]["thinking"]
    assert thinking[begin:end] == TRAINS.rstrip("?")
    assert evidence["item"] == TRAINS


def test_an_item_in_the_answer_with_other_numbers_is_found():
    overlap = found("What is 2 + 2?", "Let me see.", TRAINS.replace("225", "310").replace("90", "75"))
    assert overlap is not None
    assert json.loads(overlap.evidence)["spans"].keys() == {"answer"}


def test_its_answer_alone_is_no_item():
    assert found("What is 45 + 45?", "The answer is 90. The trains of thought meet here.") is None


def test_restating_ones_own_problem_is_none():
    assert found(TRAINS, f"So the problem says: {TRAINS}") is None


def test_another_item_than_ones_own_counts():
    overlap = found(TRAINS, f"The problem says: {TRAINS} It is like this one: {POLYGON}")
    assert overlap is not None
    assert overlap.name == "exam/8"

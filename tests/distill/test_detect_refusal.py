import pyarrow as pa
import pytest

from distill.detect.refusal import identity, may_identify, refusal


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I apologize, but I am unable to assist with this request.",
        "Unfortunately, I cannot determine the answer without the figure.",
        "As an AI language model, I cannot do that.",
        "I won't be able to provide assistance with this.",
        "抱歉，我无法回答这个问题。",
        "我不能提供这方面的帮助。",
    ],
)
def test_refusals(answer):
    assert refusal("How many apples are there?", answer) is not None


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "",
        "There are 4.",
        "Sorry for the confusion, the answer is 4.",
        "I cannot help but notice that n is even.",
        "The clerk said: \"I'm sorry, but I can't help you.\" So she left.",
        "We cannot provide a smaller bound.",
        "So it is 4." + " And so on." * 60 + " I'm sorry, but I can't help with that.",
    ],
)
def test_no_refusals(answer):
    assert refusal("How many apples are there?", answer) is None


def test_words_of_the_problem_are_no_refusal():
    assert refusal("Who says: I can't help with that?", "In the play, I can't help with that is said by Ana.") is None


@pytest.mark.parametrize(
    "said",
    [
        "I am DeepSeek-R1, made to help.",
        "As an AI developed by OpenAI, I should be careful.",
        "I'm a large language model.",
        "My knowledge cutoff is 2023.",
        "OpenAI trained me to be helpful.",
        "我是通义千问，由阿里云开发。",
        "作为一个人工智能助手，我需要计算。",
    ],
)
def test_a_model_that_speaks_of_itself(said):
    assert identity("How many apples are there?", f"Let me see. {said}", "4") is not None
    assert identity("How many apples are there?", "Let me see.", said) is not None
    assert may_identify(pa.array([said])).to_pylist() == [True]
    assert identity("Who are you?", "Let me see.", said) is None


@pytest.mark.parametrize(
    "said",
    ["I am Claude's neighbour.", "The AI moves first.", "Gemini is a constellation.", 'It says "I am ChatGPT".', None],
)
def test_others_may_be_spoken_of(said):
    assert identity("How many apples are there?", said, said) is None

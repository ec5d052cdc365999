from distill.detect.limo import FULL, NONE, limo
from distill.detect.words import count, tokens


def of(text: str):
    return limo(text, count(text), tokens(text))


def test_rates_are_per_thousand_words():
    text = "Perhaps it works. Let me verify. So it does, because of that." + " word" * 88
    assert count(text) == 100
    assert of(text)[:3] == (10.0, 10.0, 20.0)


def test_a_trace_that_has_all_of_it_scores_one():
    words = ["check"] * 40 + ["maybe"] * 60 + ["therefore"] * 150
    text = " ".join(words + ["word"] * (int(FULL["length"]) - len(words)))
    assert of(text).score == 1.0


def test_parts_are_weighed():
    assert of("word " * 2000).score == 0.15
    assert of("word " * 8000).score == 0.3
    assert of("因此我们验证一下，也许可以。").score > 0.7
    assert of("") == NONE

import pytest

from distill.detect.mixed import mixed

ENGLISH = (
    "First we add the two numbers and check that the sum is even. Then we divide it by two, which gives the answer.\n"
)
CHINESE = "首先把两个数相加，然后检查它们的和是不是偶数。接着除以二，就得到了答案。\n"
FRENCH = "Ensuite nous remplaçons la valeur trouvée dans la première équation et nous obtenons le résultat cherché."


def words_of_others(prompt: str, thinking: str, target: str | None = None) -> float:
    [found] = mixed([prompt], [thinking], target)
    return found.words


@pytest.mark.parametrize(
    ("prompt", "thinking"),
    [
        ("How many apples are there in the basket?", ENGLISH * 5 + "让我重新检查一下。"),
        ("How many apples are there in the basket?", ENGLISH * 5 + "So we 考虑 the case and 因此 it 成立."),
        ("How many apples are there in the basket?", ENGLISH * 5 + FRENCH),
        (
            "How many apples are there in the basket?",
            ENGLISH * 5 + "Сначала нужно проверить, что все условия выполнены.",
        ),
        ("How many apples are there in the basket?", ENGLISH * 5 + "먼저 주어진 조건을 정리합니다."),
        ("篮子里有几个苹果？", CHINESE * 5 + "Let me think about the second case again."),
        ("篮子里有几个苹果？", ENGLISH),
        ("Combien de pommes y a-t-il dans le panier de la fermière ?", FRENCH * 3 + " " + ENGLISH),
    ],
)
def test_another_language_in_the_thinking(prompt, thinking):
    assert words_of_others(prompt, thinking) >= 3


@pytest.mark.parametrize(
    ("prompt", "thinking"),
    [
        ("How many apples are there in the basket?", ENGLISH * 3),
        (
            "How many apples are there in the basket?",
            ENGLISH + 'The surname is written "张" and Tokyo (東京) is a city.',
        ),
        (
            "How many apples are there in the basket?",
            ENGLISH + "So $\\angle ABC = \\alpha$ and θ ≈ 3.2 rad, λ = μ.\nab ac ad ae bc bd be",
        ),
        (
            "How many apples are there in the basket?",
            ENGLISH + "def f(lst): return sorted(lst)\nErdős and Poincaré proved it.",
        ),
        (
            "篮子里有几个苹果？",
            CHINESE + "设函数 f(x) = sin x，用 Python 的 numpy 验证，速度是 5 km/h，由 AM-GM 不等式可得。",
        ),
        ("Translate into French: we find the value in the first equation.", ENGLISH + FRENCH),
        ("What does 检查 mean?", ENGLISH + "检查 means to check, as in 检查一下。"),
        ("Combien de pommes y a-t-il dans le panier de la fermière ?", FRENCH * 3),
    ],
)
def test_formulas_names_quotes_and_what_the_problem_speaks_of_are_no_other_language(prompt, thinking):
    assert words_of_others(prompt, thinking) < 3


def test_the_share_is_that_of_the_words_in_the_language():
    [half] = mixed(["How many apples are there in the basket?"], ["we see that it is so\n一二三四五六七八九十十二"])
    assert half.share == 0.5
    assert half.other == "一二三四五六七八九十十二"
    [all_] = mixed(["How many apples are there in the basket?"], [ENGLISH])
    assert all_ == (1.0, 0.0, None)


def test_a_target_may_be_set():
    assert words_of_others("篮子里有几个苹果？", ENGLISH, "en") == 0
    assert words_of_others("How many apples are there in the basket?", CHINESE, "zh") == 0


def test_where_no_language_can_be_told_nothing_is_said():
    assert mixed(["$3 + 4$", "$3$"], ["$= 7$", None]) == [(None, 0.0, None), (None, 0.0, None)]


def test_rows_do_not_touch_each_other():
    prompt = "How many apples are there in the basket?"
    found = mixed([prompt] * 3, [ENGLISH, ENGLISH + "让我重新检查一下前面的推导。", None])
    assert [round(each.words, 1) for each in found] == [0.0, 6.5, 0.0]

"""Which language a text is in: short problems with LaTeX in them, and what is no prose."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.language import LANGUAGES, SCRIPTS, languages, prose, scripts

POOL = Path(__file__).parents[3] / "shared" / "data" / "pool" / "pool.parquet"

PROBLEMS = {
    "en": [
        r"Let $f(x)=x^2-4x+7$. Determine the minimum value of $f$.",
        r"Solve for $t$: \[ 3t - 5 = 16. \]",
        r"Evaluate $\binom{10}{3}$.",
        r"In triangle $ABC$, $AB=5$, $BC=7$, and angle $B=60^\circ$. Find $AC$.",
        "Find all odd primes p with p^2 = 2 mod 7.",
    ],
    "fr": [
        r"Trouver tous les réels $x$ tels que $\sqrt{x+3} = x - 3$.",
        r"Soit $f(x)=x^2-4x+7$. Déterminer la valeur minimale de $f$.",
        r"Combien de diviseurs positifs le nombre $360$ possède-t-il ?",
    ],
    "de": [
        r"Bestimme alle reellen Zahlen $x$ mit $\sqrt{x+3} = x - 3$.",
        r"Löse nach $t$ auf: \[ 3t - 5 = 16. \]",
        r"Im Dreieck $ABC$ gilt $AB=5$, und der Winkel bei $B$ ist $60^\circ$. Wie lang ist $AC$?",
    ],
    "es": [
        r"Halla todos los números reales $x$ tales que $\sqrt{x+3} = x - 3$.",
        r"¿Cuántos divisores positivos tiene $360$?",
        r"Demuestra que $n^2+n$ es par para todo entero $n$.",
    ],
    "it": [
        r"Sia $f(x)=x^2-4x+7$. Determina il valore minimo di $f$.",
        r"Dimostra che $n^2+n$ è pari per ogni intero $n$.",
    ],
    "pt": [
        r"Encontre todos os números reais $x$ tais que $\sqrt{x+3} = x - 3$.",
        r"Quantos divisores positivos tem o número $360$?",
    ],
    "nl": [
        r"Bepaal de kleinste waarde van $f(x)=x^2-4x+7$.",
        r"Een trein vertrekt om 15 uur met 60 km/h. Hoe ver is hij om 17 uur?",
    ],
    "sv": [r"Visa att $n^2+n$ är jämnt för varje heltal $n$.", r"Hur många positiva delare har $360$?"],
    "pl": [r"Wykaż, że $n^2+n$ jest parzyste dla każdej liczby całkowitej $n$.", r"Ile dodatnich dzielników ma $360$?"],
    "cs": [r"Dokažte, že $n^2+n$ je sudé pro každé celé číslo $n$."],
    "ro": [r"Câți divizori pozitivi are numărul $360$?"],
    "tr": [r"$360$ sayısının kaç pozitif böleni vardır?", r"$t$ için çözünüz: \[ 3t - 5 = 16. \]"],
    "vi": [r"Số $360$ có bao nhiêu ước dương?"],
    "id": [r"Berapa banyak pembagi positif dari $360$?"],
    "ru": [r"Найдите все действительные $x$, для которых $\sqrt{x+3} = x - 3$.", "Сколько делителей у числа 360?"],
    "uk": [r"Знайдіть усі дійсні числа $x$, для яких $\sqrt{x+3} = x - 3$."],
    "ar": [r"أوجد جميع الأعداد الحقيقية $x$ بحيث $\sqrt{x+3} = x - 3$."],
    "fa": ["چند مقسوم‌علیه مثبت برای عدد $360$ وجود دارد؟"],
    "hi": [r"$360$ के कितने धनात्मक भाजक हैं?"],
    "el": [r"Υπολογίστε το $\int_0^1 x e^x \, dx$."],
    "th": [r"จงหาค่าของ $\int_0^1 x e^x \, dx$"],
    "ko": [r"$\int_0^1 x e^x \, dx$ 를 계산하시오."],
    "ja": [r"$360$ の正の約数はいくつあるか。", "次の定積分を計算せよ。"],
    "zh": [r"计算 $\int_0^1 x e^x \, dx$。", "在 $\\triangle ABC$ 中,若 $AB=5$,求 $AC$ 的长。"],
}


def told(text: str | None) -> str | None:
    found: str | None = languages(pa.array([text], pa.string()))[0].as_py()
    return found


@pytest.mark.parametrize(("language", "text"), [(code, text) for code, texts in PROBLEMS.items() for text in texts])
def test_short_problems_with_latex(language: str, text: str) -> None:
    assert told(text) == language


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "3 + 4 = ?",
        r"$3x + 5 = 2$",
        r"\frac{1}{2} + x \le y",
        "x + y = z, α < β",
        "```python\nfor the_first in range(3): print('which of these is the answer')\n```",
        "https://example.org/what/is/the/answer",
    ],
)
def test_without_prose_nothing_is_told(text: str | None) -> None:
    assert told(text) is None


@pytest.mark.parametrize("text", ["Calculer $2^5$.", "Resolva em $t$: $3t = 2$.", "Calcula $3!$"])
def test_a_word_or_two_of_several_languages_is_not_told(text: str) -> None:
    assert told(text) is None


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What does 你好 mean in English?", "en"),
        ("Translate into French: the cat sleeps on the table.", "en"),
        ("用 Python 语言写一个函数 two_sum,返回两个数的下标。", "zh"),
        ("実数 x を求めよ。", "ja"),
        ("正の実数を求めよ。", "ja"),
        ("Python으로 두 수의 합을 구하는 함수를 작성하시오.", "ko"),
        ("IS THE NUMBER 91 PRIME?", "en"),
    ],
)
def test_several_scripts_or_languages_in_one_text(text: str, language: str) -> None:
    assert told(text) == language


def test_prose_is_what_is_left_without_formulas_code_and_addresses() -> None:
    texts = [
        r"Let $S=\{1,2\}$ and \(x_1 < 3\). See https://a.org/b: \textbf{find} \operatorname{lcm}(a, b).",
        "It costs $5 and earns $10 for each l'été of Ava's.",
        "Run `a = the_list` <br> then\n\n[asy] draw(unit); [/asy]stop.",
        None,
    ]
    assert prose(pa.array(texts)).to_pylist() == [
        "Let and See find",
        "It costs and earns for each l'été of Ava's",
        "Run then stop",
        "",
    ]


def test_scripts_by_their_share_of_the_letters() -> None:
    texts = ["two words", "δύο λέξεις", "слова and", "求 x 值 in Py", "カ 求和求和求和求和", "", "ᚠᚢᚦ"]
    assert scripts(pa.array(texts)).to_pylist() == ["Latin", "Greek", "Cyrillic", "Han", "Han", None, None]


def test_every_language_is_one_that_the_identifier_knows() -> None:
    import py3langid

    known = py3langid.langid.LanguageIdentifier.from_model_file(py3langid.langid.MODEL_FILE).labels
    assert set(LANGUAGES) <= set(known)
    assert len(LANGUAGES) == len(set(LANGUAGES)) == sum(len(codes.split()) for codes in SCRIPTS.values())


@pytest.mark.skipif(not POOL.is_file(), reason="shared data is not there")
def test_of_the_shared_pool_at_most_one_in_a_thousand_is_told_wrong() -> None:
    pool = pq.read_table(POOL, columns=["problem", "lang"])
    found = languages(pa.concat_arrays(pool["problem"].cast(pa.string()).chunks)).to_pylist()
    rows = list(zip(pool["lang"].to_pylist(), found, strict=True))
    assert sum(language is not None and language != label for label, language in rows) <= 49
    assert sum(language is None for _, language in rows) <= 98


@pytest.mark.parametrize("text", ["Найдите x", "Решите уравнение", "Докажите теорему", "Сколько яблок у Ани?"])
def test_a_short_text_in_cyrillic_is_russian_unless_another_is_likelier(text: str) -> None:
    assert told(text) == "ru"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Traduisez « the cat » en français", "fr"),
        ("Utilise if pour trier la liste", "fr"),
        ("Translate “die Katze” and say which gender it has.", "en"),
    ],
)
def test_what_is_quoted_says_nothing_of_the_language(text: str, language: str) -> None:
    assert told(text) == language

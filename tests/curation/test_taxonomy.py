"""Taxonomies: what ships, what a file may say, and how mistakes are told."""

from pathlib import Path

import pytest

from curation.taxonomy import UNDEFINED, TaxonomyError, shipped, taxonomy

KITCHEN = """
name: kitchen
domains:
  - {name: baking, description: bread and cakes, subdomains: [bread, pastry]}
  - cooking
examples:
  - {problem: How long does rye rise?, domain: baking, subdomain: bread, difficulty: 3}
"""


def written(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


def mistakes(folder: Path, text: str) -> list[str]:
    path = written(folder, text)
    with pytest.raises(TaxonomyError) as raised:
        taxonomy(path)
    return [line.removeprefix(f"{path}: ") for line in str(raised.value).splitlines()]


def test_four_taxonomies_ship() -> None:
    assert {name: len(taxonomy(name).domains) for name in shipped()} == {
        "code": 16,
        "general": 15,
        "mathematics": 63,
        "science": 9,
    }
    assert all(taxonomy(name).examples for name in shipped())


def test_mathematics_has_the_two_digit_classes_of_msc2020() -> None:
    names = [domain.name for domain in taxonomy("mathematics").domains]
    assert [name[:2] for name in names] == sorted({name[:2] for name in names})
    for name in ("05 Combinatorics", "11 Number theory", "51 Geometry", "97 Mathematics education"):
        assert name in names


def test_what_a_tagger_may_say_and_what_it_means(tmp_path: Path) -> None:
    assert taxonomy(written(tmp_path, KITCHEN)).labels == {
        "baking": ("baking", None),
        "baking / bread": ("baking", "bread"),
        "baking / pastry": ("baking", "pastry"),
        "cooking": ("cooking", None),
        UNDEFINED: (UNDEFINED, None),
    }


def test_a_taxonomy_without_a_name_is_called_as_its_file(tmp_path: Path) -> None:
    assert taxonomy(written(tmp_path, "domains: [cooking]")).name == "mine"


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    taxonomy(written(tmp_path, "domains: [cooking]"))
    assert [one.name for one in taxonomy(written(tmp_path, "domains: [cooking, baking]")).domains] == [
        "cooking",
        "baking",
    ]


def test_a_name_that_is_not_shipped() -> None:
    with pytest.raises(TaxonomyError) as raised:
        taxonomy("mathmatics")
    assert str(raised.value) == (
        "'mathmatics': is no shipped taxonomy; did you mean mathematics? (there are code, general, mathematics, science); "
        "give one's own by path (.yaml)"
    )


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(TaxonomyError, match=r"'nowhere.yaml': is no file that can be read"):
        taxonomy("nowhere.yaml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[a, b]", "is no taxonomy: it has to hold the keys name, description, domains, difficulty, examples"),
        ("domains: [a", "is not YAML: while parsing a flow sequence"),
        ("name: x", "domains: is missing"),
        ("domains: []", "domains: there are none; name one at least"),
        ("domains: [a]\ncolour: red", "colour: unknown key (there are name, description, domains, difficulty, examples)"),
        (
            "domains: [{name: a, subdomain: [b]}]",
            "domains.0.subdomain: unknown key; did you mean subdomains? (there are name, description, subdomains)",
        ),
        ("domains: [a, b, A]", "domains: 'A' stands twice; give every name once"),
        (
            "domains: [{name: a, subdomains: [x, x]}]",
            "domains.0.subdomains: 'x' stands twice; give every name once; given ['x', 'x']",
        ),
        ("domains: [undefined]", "domains.0.name: undefined is always allowed; leave it out; given 'undefined'"),
        (
            "domains: [a / b]",
            "domains.0.name: ' / ' stands between a domain and its subdomain; write the name without it; given 'a / b'",
        ),
        ("domains: [' ']", "domains.0.name: a name is a line of text that can be printed; given ' '"),
        (
            "domains: [apples]\nexamples: [{problem: x, domain: appels, difficulty: 1}]",
            "examples.0: has the domain 'appels', which is none of this taxonomy; did you mean apples? "
            "(there are apples, undefined)",
        ),
        (
            "domains: [{name: a, subdomains: [b]}]\nexamples: [{problem: x, domain: a, subdomain: c, difficulty: 1}]",
            "examples.0: has the subdomain 'c', which is none of this taxonomy (there are b)",
        ),
        (
            "domains: [a]\nexamples: [{problem: x, domain: a, difficulty: 11}]",
            "examples.0.difficulty: Input should be less than or equal to 10; given 11",
        ),
    ],
)  # fmt: skip
def test_a_mistake_names_the_key_what_was_given_and_what_to_do(tmp_path: Path, text: str, told: str) -> None:
    assert mistakes(tmp_path, text) == [told]


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "colour: red\nsize: 3") == [
        "domains: is missing",
        "colour: unknown key (there are name, description, domains, difficulty, examples)",
        "size: unknown key (there are name, description, domains, difficulty, examples)",
    ]

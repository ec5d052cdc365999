"""What the documents say is there: commands, options, files, recipes."""

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from flows.cli import main
from flows.recipe import load, shipped_names

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    return sorted(set(re.findall(r"^\s*(?:\$ )?cuvee (\w[^\n#]*)", README, flags=re.MULTILINE)))


@pytest.mark.parametrize("command", commands())
def test_a_command_of_the_readme_exists_with_its_options(command: str) -> None:
    names = command.split()
    called = names[:2] if isinstance(main.commands.get(names[0]), click.Group) and len(names) > 1 else names[:1]
    told = CliRunner().invoke(main, [*called, "--help"])
    assert told.exit_code == 0, command
    for option in re.findall(r"(?<!\S)--[a-z-]+", command):
        assert option in told.output, command


def test_every_command_is_in_the_readme() -> None:
    assert set(main.commands) <= set(re.findall(r"cuvee (\w+)", README))


def test_the_map_names_only_files_that_are_there() -> None:
    shown = (ROOT / "CONTRIBUTING.md").read_text().split("```")[1]
    for name in re.findall(r"[\w/]+\.py", shown):
        assert list(ROOT.glob(f"*/{name}")) or list(ROOT.glob(f"*/*/{name}")), name


def test_the_map_names_every_file() -> None:
    shown = (ROOT / "CONTRIBUTING.md").read_text().split("```")[1]
    for folder in ("curation", "distill", "flows", "train"):
        for file in (ROOT / folder).glob("*.py"):
            assert file.name in shown or file.name == "__init__.py", file.name


@pytest.mark.parametrize("name", shipped_names())
def test_every_shipped_recipe_loads(name: str) -> None:
    assert load(name).rules


def test_no_shot_of_the_demo_is_a_problem_of_its_pool(tmp_path: Path) -> None:
    """A solved example that is a problem of the pool would hand the model its answer."""
    from curation import pool
    from curation.dedup.wording import normalized
    from curation.duck import arrow
    from curation.progress import Progress
    from curation.store import Store

    recipe = load("demo").recipe
    store = Store(str(tmp_path))
    problems = pool.read(store, "demo", recipe.sources, recipe.max_rejected, Progress(quiet=True))
    prompts = arrow(store.connect(), f"select prompt from {problems.problems(store)}")["prompt"].to_pylist()
    shots = [shot["prompt"] for source in recipe.sources.values() for shot in source.prompt.get("shots", [])]
    assert len(shots) == 4 * len(recipe.sources)
    shots += [shot["prompt"] for drawn in recipe.traces.values() for shot in drawn["prompt"]["shots"]]

    # The generators ask the same thing in several ways: what is asked is the part with the numbers.
    def asked(prompt: str) -> str:
        return re.sub(r".*: (?=.*\d)|\. Give only.*", "", normalized(prompt))

    assert {asked(shot) for shot in shots} & {asked(prompt) for prompt in prompts} == set()

"""A taxonomy: what a tagger may say a problem is about. It is data, a YAML file; a few are shipped, by name.

    name: kitchen
    description: What our problems come from.
    domains:
      - name: baking
        description: bread, cakes, pastry
        subdomains: [bread, pastry]
      - cooking
    difficulty: 1 boiling water, 10 a dinner of ten courses
    examples:
      - {problem: How long does rye rise?, domain: baking, subdomain: bread, difficulty: 3}

`undefined` is allowed beside the domains of every taxonomy: a tagger that may not say it guesses.
"""

import difflib
import functools
import reprlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

SHIPPED = Path(__file__).parent / "taxonomies"
UNDEFINED = "undefined"
BETWEEN = " / "
"""What stands between a domain and its subdomain in the label that a tagger gives."""
EASIEST, HARDEST = 1, 10
SCALE = """\
1 is a single step that a child in primary school does in the head; 3 a routine exercise of secondary school; 5 an exercise \
of several steps at the end of secondary school, or of a first course at university; 7 a problem of a national olympiad, or \
of advanced courses; 9 a problem that few experts solve; 10 the hardest ever set in a competition."""


class TaxonomyError(ValueError):
    """A taxonomy that cannot be used: every mistake with its file, key, what was given and what is allowed."""

    def __init__(self, file: str, mistakes: Iterable[str]) -> None:
        super().__init__("\n".join(f"{file}: {mistake}" for mistake in mistakes))


def _name(given: str) -> str:
    """A name that a label can hold."""
    name = given.strip()
    if not name or not name.isprintable():
        raise ValueError("a name is a line of text that can be printed")
    if BETWEEN in name:
        raise ValueError(f"{BETWEEN!r} stands between a domain and its subdomain; write the name without it")
    if name.casefold() == UNDEFINED:
        raise ValueError(f"{UNDEFINED} is always allowed; leave it out")
    return name


def _once(names: Iterable[str], where: str = "") -> None:
    seen = set[str]()
    for name in names:
        if name.casefold() in seen:
            raise ValueError(f"{where}{name!r} stands twice; give every name once")
        seen.add(name.casefold())


class Domain(BaseModel):
    """What problems may be about; a bare name in the file is one without description and subdomains."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """What it is called."""
    description: str = ""
    """What belongs to it, in a few words; the tagger reads it."""
    subdomains: tuple[str, ...] = ()
    """Its parts."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, given: Any) -> Any:
        return {"name": given} if isinstance(given, str) else given

    @field_validator("name")
    @classmethod
    def _fits(cls, name: str) -> str:
        return _name(name)

    @field_validator("subdomains")
    @classmethod
    def _fit(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(map(_name, names))
        _once(names)
        return names

    @property
    def labels(self) -> dict[str, tuple[str, str | None]]:
        """What a tagger may say, and the domain and subdomain that it means."""
        return {self.name: (self.name, None)} | {
            f"{self.name}{BETWEEN}{sub}": (self.name, sub) for sub in self.subdomains
        }


class Example(BaseModel):
    """A problem with the tags that it should get, which the tagger is shown."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    problem: str = Field(min_length=1)
    """Its text."""
    domain: str
    """One of the domains, or `undefined`."""
    subdomain: str | None = None
    """One of the domain's subdomains."""
    difficulty: int = Field(ge=EASIEST, le=HARDEST)
    """On the scale."""

    @property
    def label(self) -> str:
        return self.domain if self.subdomain is None else f"{self.domain}{BETWEEN}{self.subdomain}"


class Taxonomy(BaseModel):
    """The domains, the scale of difficulty, and examples."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = Field(min_length=1)
    """What it is called; the tagger is not told."""
    description: str = ""
    """What it is for; the tagger is not told."""
    domains: tuple[Domain, ...]
    """What problems may be about."""
    difficulty: str = Field(default=SCALE, min_length=1)
    """What the numbers from 1 to 10 mean, in words."""
    examples: tuple[Example, ...] = ()
    """Tagged problems."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.domains:
            raise ValueError("domains: there are none; name one at least")
        _once((domain.name for domain in self.domains), "domains: ")
        _once((label for domain in self.domains for label in domain.labels), "domains: ")
        for number, example in enumerate(self.examples):
            if example.label not in self.labels:
                of = {domain.name: domain.subdomains for domain in self.domains}.get(example.domain)
                what = f"domain {example.domain!r}" if of is None else f"subdomain {example.subdomain!r}"
                allowed = [*(domain.name for domain in self.domains), UNDEFINED] if of is None else [*of]
                given = example.domain if of is None else str(example.subdomain)
                raise ValueError(
                    f"examples.{number}: has the {what}, which is none of this taxonomy{_known(given, allowed)}"
                )
        return self

    @functools.cached_property
    def labels(self) -> dict[str, tuple[str, str | None]]:
        """All that a tagger may say, and the domain and subdomain that it means."""
        every = {label: meant for domain in self.domains for label, meant in domain.labels.items()}
        return every | {UNDEFINED: (UNDEFINED, None)}


@functools.cache
def _read(path: Path, _changed: int) -> Taxonomy:
    """The taxonomy in a file. `_changed`: when that was written last, so that a changed one is read again."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        given = YAML(typ="safe", pure=True).load(path)
    except (YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise TaxonomyError(str(path), [f"is not YAML: {str(error).splitlines()[0]}"]) from error
    except OSError as error:
        raise TaxonomyError(str(path), [f"cannot be read: {error.strerror}"]) from error
    if not isinstance(given, dict):
        raise TaxonomyError(str(path), [f"is no taxonomy: it has to hold the keys {', '.join(Taxonomy.model_fields)}"])
    try:
        return Taxonomy.model_validate({"name": path.stem, **given})
    except ValidationError as error:
        raise TaxonomyError(str(path), map(_told, error.errors(include_url=False))) from error


def taxonomy(given: str) -> Taxonomy:
    """A shipped taxonomy by name, or one's own by path (.yaml). Raises TaxonomyError."""
    if not is_path(given):
        if given not in shipped():
            raise TaxonomyError(
                reprlib.repr(given),
                [f"is no shipped taxonomy{_known(given, shipped())}; give one's own by path (.yaml)"],
            )
        return _read(SHIPPED / f"{given}.yaml", 0)
    path = Path(given).expanduser()
    try:
        changed = path.stat().st_mtime_ns
    except (OSError, ValueError) as error:
        raise TaxonomyError(reprlib.repr(given), ["is no file that can be read"]) from error
    return _read(path, changed)


def is_path(given: str) -> bool:
    """Whether it is meant as a file: a shipped taxonomy has a bare name."""
    return "/" in given or given.endswith((".yaml", ".yml"))


def shipped() -> list[str]:
    """Names of the taxonomies that ship."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def _known(given: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(given, allowed, n=1)
    return (f"; did you mean {near[0]}?" if near else "") + f" (there are {', '.join(allowed) or 'none'})"


def _told(detail: Any) -> str:
    """One of pydantic's findings as `key.path: what is wrong; given ...`."""
    where = [str(part) for part in detail["loc"]]
    if detail["type"] == "extra_forbidden":
        kinds: dict[str, type[BaseModel]] = {"domains": Domain, "examples": Example}
        kind = kinds.get(where[0], Taxonomy) if len(where) > 1 else Taxonomy
        return f"{'.'.join(where)}: unknown key{_known(where[-1], [*kind.model_fields])}"
    if detail["type"] == "missing":
        return f"{'.'.join(where)}: is missing"
    message = detail["msg"].removeprefix("Value error, ")
    given = "" if isinstance(detail["input"], (dict, BaseModel)) else f"; given {reprlib.repr(detail['input'])}"
    return f"{'.'.join(where)}: {message}{given}" if where else message

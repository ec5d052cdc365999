"""A judge for `cuvee verify`: which model it is, its server for the run, and what was measured of it put down."""

import importlib.metadata
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from pydantic import ValidationError

from curation.judge import Judge
from curation.judge_prompt import VERSION as PROMPT_VERSION
from curation.judge_record import add_record
from curation.judging import Grader, graders_of
from curation.model import api_key, serve, served_name
from curation.progress import Progress
from curation.store import Store
from flows.answered import Answered, VerifyRefused
from flows.named import named


@dataclass(frozen=True)
class JudgeAsked:
    """A judge as the command names it."""

    model: str
    """A key under `models` of the recipe, http://host:port/v1#name, a folder, or a Hub name."""
    recipe: str | None = None
    settings: Mapping[str, str] | None = None
    """By fields of `Judge`."""

    def judge(self) -> Judge:
        """Raises VerifyRefused, and what a recipe or a model raises."""
        allowed = [name for name in Judge.model_fields if name != "model"]
        for name in self.settings or {}:
            if name not in allowed:
                raise VerifyRefused(f"--judging: {name!r} is no setting of a judge; there are {', '.join(allowed)}")
        try:
            return Judge.model_validate({**(self.settings or {}), "model": named("--judge", self.model, self.recipe)})
        except ValidationError as error:
            wrong = error.errors()[0]
            where = "".join(f"{part}: " for part in wrong["loc"])
            raise VerifyRefused(f"--judging: {where}{wrong['msg'].removeprefix('Value error, ')}") from error


@dataclass
class JudgeRunning:
    """A judge that answers."""

    judge: Judge
    grader: Grader
    store: Store

    def told(self, told: Mapping[str, Any], answered: Answered) -> dict[str, Any]:
        """What was asked, what it took, and where the measurement was put down."""
        judge, about = self.judge, told["judge"]
        cost: dict[str, Any] = self.grader.judging.cost.told()
        if (price := judge.model.price) is not None and price.gpu_hour is None:
            cost["dollars"] = price.of(0, 0, cost["tokens"], cost["prompt_tokens"])
        said: dict[str, Any] = {"model": served_name(judge.model), "kind": judge.kind, "twice": judge.twice}
        said |= {"settings_hash": judge.hash, "prompt_version": PROMPT_VERSION, "cost": cost, "record": None}
        said["unpinned"] = judge.model.url is not None and judge.model.revision is None
        if about["agreement"] is not None:
            file = {"file": answered.file.name, "sha256": answered.file.sha256, "columns": answered.columns.used}
            measured = {
                "labels": file,
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "code_version": importlib.metadata.version("cuvee"),
                "judge": about["agreement"],
                "rule": told["agreement"],
                "with_rule": about["with_rule"],
                "cost": cost,
            }
            said["record"] = add_record(self.store, judge, measured)
        return said


@contextmanager
def judged(asked: JudgeAsked, workspace: str, progress: Progress) -> Iterator[JudgeRunning]:
    """The judge for the length of a `with` block. The workspace is held meanwhile: what was measured is put down there."""
    judge, store = asked.judge(), Store(workspace)
    key = api_key(judge.model)
    judge.settings()  # a model that cannot be identified is told before it is asked
    folder = Path(store.root) if store.local else Path(gettempdir()) / "cuvee"
    name = re.sub(r"\W+", "-", served_name(judge.model))
    log = folder / "logs" / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S}.log"
    with (
        store.locked(),
        serve(judge.model, log=log, progress=progress.line) as servers,
        graders_of(judge, servers, key, progress.line) as grader,
    ):
        yield JudgeRunning(judge, grader, store)

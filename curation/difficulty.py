"""How hard a problem is as measured: from how often models solve it, on the scale of 1 to 10 that LLMs are asked for.

    measured_difficulty  1 + 9 * (1 - mean pass rate over the models): 1 when all samples pass, 10 when none does; NULL when no
                         rate is known
    difficulty_models    how many rates it rests on

It is a view over pass rates measured above, never stored. A rate whose sampling stopped early leans towards what settled
it; for an order by difficulty take `settle: never`. Difficulties that rest on different models do not compare.
"""

from typing import ClassVar

import pyarrow as pa
from pydantic import Field, field_validator

from curation.annotate import Annotator, Work
from curation.duck import arrow, literal, quoted

RATE = "pass_rate"


class Difficulty(Annotator):
    """Difficulty by the pass rates of one or several models."""

    NAME: ClassVar[str] = "difficulty"
    COLUMNS: ClassVar[pa.Schema] = pa.schema([("measured_difficulty", pa.float64()), ("difficulty_models", pa.int64())])

    of: tuple[str, ...] = Field(min_length=1)
    """The pass-rate annotators above that it is made of, by their keys in the recipe."""

    @field_validator("of")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("names an annotator twice; each counts once")
        return value

    def measure(self, work: Work, name: str) -> pa.Table:
        return self._view(work, "true")

    def missing(self, work: Work) -> str:
        """Nothing: it costs nothing."""
        return "(select id from wanted where false)"

    def stored(self, work: Work) -> pa.Table:
        """Of the problems of which all rates are there."""
        return self._view(work, f"list_has_all(measured, [{', '.join(map(literal, self.of))}])")

    def _view(self, work: Work, condition: str) -> pa.Table:
        columns = {row[0] for row in work.con.execute("select column_name from (describe frame)").fetchall()}
        # Columns of an annotator have its key before them, but where the key is the annotator's own name.
        own = [f"{key}_{RATE}" if f"{key}_{RATE}" in columns else RATE for key in self.of]
        rates = f"list_filter([{', '.join(map(quoted, own))}], lambda rate: rate is not null)"
        found = arrow(
            work.con,
            f"""select id, 1 + 9 * (1 - list_avg({rates})) as measured_difficulty, len({rates}) as difficulty_models
            from frame semi join wanted using (id) where {condition}""",
        )
        return found.cast(self.table_schema())

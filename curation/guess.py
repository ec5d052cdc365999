"""The guess test: can the model hit the answer without thinking? (Kimi k1.5, section 2.1)

A problem whose answer is guessed within a few tries rewards luck, and leaves the RL set. The model is asked for the answer
at once, with room for a few tokens only; the first hit settles a problem. Tries are rollouts like any others, under a
prompt of their own.

    guessed       true after a hit, false only after n failures, else NULL
    guess_asked   whether the test was meant for this problem (`only`); NULL where that cannot be said
    guess_drawn   tries in the store

A chat model is asked by `AT_ONCE`, without its system prompt, and its thinking is switched off; for one that thinks all the
same (`always_thinks`) an empty think block is put in its mouth. A raw prompt stays the model's own: its shots have to answer
at once. `prompt` changes any of it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
from pydantic import Field

from curation.annotate import Work
from curation.duck import arrow
from curation.model import Model
from curation.outcomes import MISSING, Outcomes
from curation.prompt import EMPTY_THINK, Prompt
from curation.sampled import Sampled
from curation.standing import Group

AT_ONCE = "{prompt}\n\nGive the final answer only, at once and without any reasoning, in \\boxed{}."
KIND = "answer_kind"


class Guess(Sampled):
    """Whether the model hits the answer when it is asked for it at once."""

    NAME: ClassVar[str] = "guess"
    COLUMNS: ClassVar[pa.Schema] = pa.schema(
        [("guessed", pa.bool_()), ("guess_asked", pa.bool_()), ("guess_drawn", pa.int64())]
    )
    BESIDES: ClassVar[tuple[str, ...]] = ("guess_drawn",)
    UNIT: ClassVar[str] = "tries"
    WHEN_CUT_OFF: ClassVar[str] = (
        "`cuvee why` shows them: a model that reasons all the same needs `always_thinks`, or a `prompt` that stops it; "
        "long answers need a larger max_tokens"
    )

    n: int = Field(default=8, gt=0, le=1024)
    """Tries a problem, at most: the first hit ends them."""
    max_tokens: int = Field(default=32, gt=0, lt=1 << 31)
    """Room for an answer, not for reasoning."""
    only: str | None = None
    """Which problems are tested, as SQL over what is measured above: `answer_kind <> 'expression'`. All by default."""

    def prompt_of(self, model: Model, changes: Mapping[str, Any]) -> Prompt:
        at_once: dict[str, Any] = {}
        if model.prompt.merged(changes).style == "chat":
            kwargs = {**model.prompt.chat_template_kwargs, **changes.get("chat_template_kwargs", {})}
            at_once = {
                "template": AT_ONCE,
                "system": None,
                "chat_template_kwargs": kwargs | {"enable_thinking": False},
            }
        if model.always_thinks:
            at_once["prefill"] = EMPTY_THINK
        return model.prompt.merged({**changes, **at_once, **self.prompt})

    def patterns(self, work: Work) -> str:
        """The first hit settles a problem, whatever the rules say. The table `asked` says which are meant."""
        return f"(select id, 'F{'T' * self.n}' as pattern from asked semi join wanted using (id) where asked)"

    def view(self, work: Work, groups: list[Group], outcomes: Outcomes) -> pa.Table:
        prefixes = map(outcomes.prefix, range(outcomes.problems))
        guessed = [True if passes else False if fails == self.n else None for _, passes, fails in prefixes]
        drawn = [outcomes.n - outcomes.code(MISSING, problem, outcomes.n) for problem in range(outcomes.problems)]
        columns = {
            "guessed": pa.array(guessed, pa.bool_()),
            "guess_asked": pa.repeat(True, len(guessed)),
            "guess_drawn": pa.array(drawn, pa.int64()),
        }
        others = """select id, null as guessed, asked as guess_asked, 0 as guess_drawn
            from problems join asked using (id) where verifier is null or asked is not true"""
        return self.viewed(groups, columns, arrow(work.con, others))

    def tell(self, work: Work, name: str, table: pa.Table) -> None:
        """A line with the hits by kind of answer, when `form` has measured it."""
        work.con.register("told", table)
        columns = {row[0] for row in work.con.execute("select column_name from (describe frame)").fetchall()}
        kind = KIND if KIND in columns else "'all'"
        found = work.con.execute(
            f"""select coalesce({kind}, 'unknown') as kind, count(*) filter (guessed), count(*)
            from told join frame using (id) where guess_asked group by 1 order by 1"""
        ).fetchall()
        work.con.unregister("told")
        hits, tested = (sum(row[place] for row in found) for place in (1, 2))
        kinds = ", ".join(f"{kind} {hit} of {of}" for kind, hit, of in found)
        if tested:
            work.progress.line(f"{name}: {hits:,} of {tested:,} guessed" + (f" ({kinds})" if kind == KIND else ""))

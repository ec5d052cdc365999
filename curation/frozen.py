"""The decisions of a published dataset, decided again under other rules.

`decisions.parquet` has all columns of its run, a row a problem. Of every rule the outcomes are one array of codes, a row's
place in it being its place in the file; what the run has decided already is read, what a changed rule reads is evaluated:

    a rule that did not change   has the outcomes that the run wrote
    `duplicate`                  is decided again only where a rule above it changed
    a rule over counts           is evaluated once for every combination of the values it reads, not for every row

So a threshold is moved over millions of rows in the time it takes to read a few columns, and a grid of thresholds in
little more. The outcome of a rule is what a run would find (rules.py), and `unmeasured` where a run would draw samples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curation import rules
from curation.again import AT, CODES, IN, OUT, UNDECIDED, Again, Codes, codes, column
from curation.balance import CHOSEN, choose
from curation.balancing.targets import RULE, Balance
from curation.duck import arrow, literal, quoted
from curation.publish import Dataset
from curation.rules import OUTCOMES, Measured, Rule

REMEMBERED = 16
"""Rules whose outcomes are kept, those used last."""


@dataclass(frozen=True)
class Decided:
    """What some rules decide."""

    state: Codes
    """IN, OUT or UNDECIDED."""
    funnel: list[dict[str, Any]]
    """As `Decisions.funnel`."""
    rules: list[Rule]
    """In the order they were applied."""

    def count(self, state: int) -> int:
        return int(np.count_nonzero(self.state == state))


class Frozen:
    """A dataset's decisions, ready to be decided again."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.con = dataset.store.connect()
        self.con.execute("set parquet_metadata_cache = true")
        path = f"{dataset.folder}/decisions.parquet"
        dataset.decisions()  # says what to do when the file is missing or damaged
        with dataset.store.fs.open(path, "rb") as file:
            footer = pq.ParquetFile(file)
            self.schema, self.rows = footer.schema_arrow, footer.metadata.num_rows
        [readable] = dataset.store.readable([path])
        self.con.execute(
            f"""create view rows as select * exclude (file_row_number), file_row_number as {AT}
            from read_parquet({literal(readable)}, hive_partitioning = false, file_row_number = true)"""
        )
        self.measured = measured(dataset, self.schema)
        record = dataset.manifest.get("balance")
        self.balance = None if record is None else Balance.model_validate(record["settings"])
        """What chose among the rows that every rule kept."""
        self.keep: dict[str, str] = {
            entry["rule"]: entry["condition"]
            for entry in dataset.manifest["rules"]
            if self.balance is None or entry["rule"] != RULE
        }
        """The rules of its run, in the order they were applied."""
        self._rules: dict[tuple[str, str], Rule] = {}
        self._found: dict[Any, Codes] = {}
        self._again = Again(self.con, self.schema, self.measured, list(dataset.manifest["pool"]["sources"]))

    def decide(self, keep: Mapping[str, str]) -> Decided:
        """Decides every row under these rules. Raises RuleError for one that does not bind."""
        for named in keep.items() - self._rules.keys():
            [self._rules[named]] = rules.place(dict([named]), self.measured)
        placed = sorted((self._rules[named] for named in keep.items()), key=lambda rule: rule.after)
        state = np.full(self.rows, IN, np.uint8)
        funnel = []
        for number, rule in enumerate(placed):
            outcome = self._outcome(rule, placed[:number], state)
            entered = state == IN
            counts = {name: int(np.count_nonzero(entered & (outcome == CODES[name]))) for name in OUTCOMES}
            funnel.append({"rule": rule.name, "condition": rule.expression, "entered": sum(counts.values())} | counts)
            state = np.minimum(np.maximum(state, outcome), np.uint8(OUT))
        return Decided(state, funnel, placed)

    def balanced(self, decided: Decided) -> Decided | None:
        """What the recipe's balance leaves of what some rules keep; None where that is not known.

        Rows that are undecided may come to be kept, and sampling that stops at other rules counts other samples.
        """
        if self.balance is None or not self.balance.cuts:
            return decided
        if decided.count(UNDECIDED) or self._samples_moved(decided.rules) & self.balance.reads:
            return None
        self.con.register("kept", pa.table({AT: np.flatnonzero(decided.state == IN)}))
        choose(
            self.con, f"rows semi join kept using ({AT})", self.balance, self.dataset.manifest["recipe"].get("seed", 0)
        )
        chosen = arrow(self.con, f"select {AT} from rows semi join {CHOSEN} using (id)")[AT].to_numpy()
        self.con.unregister("kept")
        state = np.full(self.rows, OUT, np.uint8)
        state[chosen] = IN
        entered = decided.count(IN)
        entry = {"rule": RULE, "condition": self.balance.describe(), "entered": entered, "pass": len(chosen)}
        entry |= {"fail": entered - len(chosen), "unknown": 0, "unmeasured": 0}
        return Decided(state, [*decided.funnel, entry], decided.rules)

    def _samples_moved(self, now: Sequence[Rule]) -> set[str]:
        """Columns that a run would have otherwise, as rules changed: of samplers that would stop elsewhere, of duplicates."""
        moved = {rule.expression for rule in now} ^ {*self.keep.values()}
        decided = {*rules.DECIDED.names} if moved else set()
        placed = rules.place({expression: expression for expression in moved}, self.measured)
        keys = {key for rule in placed for key in rule.reads}
        # Also one that drew all n: rules over its counts let it stop.
        early = keys & {
            entry["key"]
            for entry in self.dataset.manifest["annotators"]
            if "n" in entry and entry.get("settings", {}).get("settle") != "never"
        }
        return decided | {name.lower() for a in self.measured if {a.key, *a.of} & early for name in a.columns.names}

    def codes(self, value: str) -> Codes:
        """SQL for a small number, of every row in the order of the file."""
        return codes(self.con, value)

    def column(self, value: str) -> pa.ChunkedArray:
        """SQL for a value, of every row in the order of the file."""
        return column(self.con, value)

    def was_measured(self, key: str) -> NDArray[np.bool_]:
        """Whether the run measured a row with this annotator."""
        return self.codes(f"coalesce(list_contains(measured, {literal(key)}), false)::int").astype(bool)

    # ---- how

    def _outcome(self, rule: Rule, above: Sequence[Rule], state: Codes) -> Codes:
        # Who stays of duplicates depends on the rules above; nothing else does.
        over = frozenset(r.expression for r in above) if rule.uses_duplicate else None
        key = rule.name, rule.expression, over
        if (found := self._found.pop(key, None)) is None:
            same = self.keep.get(rule.name) == rule.expression
            if same and over in (None, self._above(rule.name)):
                name = quoted(rules.OUTCOME_PREFIX + rule.name)
                whens = " ".join(f"when {literal(text)} then {code}" for text, code in CODES.items())
                found = self.codes(f"case {name} {whens} end")
            elif rule.uses_duplicate:
                found = self._again.outcomes(rule, same, self._again.duplicates(state, rule.after))
            else:
                found = self._again.outcomes(rule, same)
        self._found[key] = found
        while len(self._found) > REMEMBERED:
            del self._found[next(iter(self._found))]
        return found

    def _above(self, name: str) -> frozenset[str]:
        """What the rules say that the run applied before this one."""
        names = list(self.keep)
        return frozenset(self.keep[above] for above in names[: names.index(name)])


def measured(dataset: Dataset, schema: pa.Schema) -> list[Measured]:
    """What the annotators of a dataset's run added, from its manifest and the types in its decisions."""
    return [
        Measured(
            key=entry["key"],
            columns=pa.schema([schema.field(name) for name in entry["columns"]]),
            prefix=entry["prefix"],
            samples=entry.get("n"),
            decides_duplicates=entry["annotator"] == "duplicates",
            of=tuple(entry["settings"]["of"]) if entry["annotator"] == "difficulty" else (),
        )
        for entry in dataset.manifest["annotators"]
    ]

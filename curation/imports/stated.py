"""The settings that samples were drawn with: what their file says, and what the user states where it says nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from curation.imports.files import ImportRefused
from curation.imports.sample import Bad
from curation.rollouts import Sampling

NEEDED = {"temperature": "1.0", "max_tokens": "4096"}
"""What has to be said, each with an example. The rest has defaults that engines share."""


@dataclass(frozen=True)
class Stated:
    """What the user says of how the samples were drawn."""

    values: Mapping[str, float | None] = field(default_factory=dict)
    """By names of sample.SETTINGS; None is a setting that is off."""
    by: Mapping[str, str] = field(default_factory=dict)
    """Which option says it: `--like pass_rate`."""

    def settle(
        self, said: Mapping[str, float], where: str, likes: Sequence[str] = ()
    ) -> tuple[Sampling, int, dict[str, float]]:
        """Sampling parameters, max_tokens, and those parameters that nobody named, at their defaults.

        said: what the file says. where: its row, to name it. likes: the annotators that `--like` can name.

        Raises ImportRefused where file and user differ, or neither says what is needed; Bad for a value that cannot be.
        """
        for name, value in said.items():
            if name in self.values and self.values[name] != value:
                raise ImportRefused(
                    f"{where}: the file says {name}={value}, {self.by[name]} says {self.values[name]}. Samples that were "
                    f"drawn otherwise are kept apart: leave out what is not so, or say --drawn {name}={value}"
                )
        values: dict[str, float | None] = {**self.values, **said}
        if missing := [name for name in NEEDED if name not in values]:
            known = " or ".join(f"--like {key}" for key in likes) or "--like KEY"
            raise ImportRefused(
                f"{where}: neither the file nor the command says {' and '.join(missing)}. Say that the samples were drawn "
                f"as an annotator of the recipe draws them ({known}), or say it yourself: "
                + " ".join(f"--drawn {name}={NEEDED[name]}" for name in missing)
            )
        length = values.pop("max_tokens") or 0
        if length != int(length) or not 0 < length < 1 << 31:
            raise Bad(f"max_tokens cannot be: {length}")
        try:
            sampling = Sampling.model_validate(values)
        except ValidationError as error:
            wrong = error.errors()[0]
            raise Bad(f"{wrong['loc'][0]} cannot be: {wrong['input']} ({wrong['msg'].lower()})") from error
        assumed = {name: value for name, value in sampling if name not in values and value is not None}
        return sampling, int(length), assumed

"""What a problem is about and how hard it is, as a model says: Kimi k1.5's tagger (arXiv 2501.12599, section 2.1), s1's
domains (arXiv 2501.19393, section 2.2).

    domain         what most votes say, of a taxonomy's domains or `undefined`; the lowest vote breaks a tie
    subdomain      what more than half of the votes for that domain say; NULL where they do not, or the taxonomy has none
    difficulty     1 to 10, the median of the votes
    tag_agreement  the share of the votes that can be read that say `domain`
    tag_votes      how many votes can be read
    tag_reason     why one cannot, the first that there is
"""

import functools
import json
from collections.abc import Mapping
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import field_validator

from curation.annotate import Work
from curation.asked import Asked
from curation.polling import Unreadable
from curation.taxonomy import EASIEST, HARDEST, UNDEFINED, Taxonomy, taxonomy

UNDEFINED_WARNING = 0.1

INSTRUCTIONS = """\
You tag problems for a collection. Say which domain a problem belongs to{and_how_hard}. Go by what it takes to solve it, not \
by the story it is told in. Where no domain fits, or the text is no problem, the domain is {undefined}.

The domains are:
{domains}"""


class Tags(Asked):
    """Domain and difficulty of a problem, by a model."""

    NAME: ClassVar[str] = "tags"
    COLUMNS: ClassVar[pa.Schema] = pa.schema(
        [
            ("domain", pa.string()),
            ("subdomain", pa.string()),
            ("difficulty", pa.float64()),
            ("tag_agreement", pa.float64()),
            ("tag_votes", pa.int64()),
            ("tag_reason", pa.string()),
        ]
    )
    VOTE: ClassVar[pa.Schema] = pa.schema(
        [("domain", pa.string()), ("subdomain", pa.string()), ("difficulty", pa.int32())]
    )

    taxonomy: str = "mathematics"
    """The domains to choose from: a shipped taxonomy (mathematics, science, code, general), or one's own by path (.yaml)."""
    difficulty: bool = True
    """Whether the model says how hard a problem is, too."""

    @field_validator("taxonomy")
    @classmethod
    def _can_be_used(cls, given: str) -> str:
        taxonomy(given)
        return given

    @functools.cached_property
    def among(self) -> Taxonomy:
        """The taxonomy, read when it is first asked for."""
        return taxonomy(self.taxonomy)

    @functools.cached_property
    def instructions(self) -> str:
        domains = [
            line
            for domain in self.among.domains
            for line in (
                f"- {domain.name}{': ' if domain.description else ''}{domain.description}",
                *(f"  - {label}" for label in [*domain.labels][1:]),
            )
        ]
        parts = [
            INSTRUCTIONS.format(
                and_how_hard=f", and how hard it is, from {EASIEST} to {HARDEST}" if self.difficulty else "",
                undefined=UNDEFINED,
                domains="\n".join([*domains, f"- {UNDEFINED}"]),
            )
        ]
        if self.difficulty:
            parts.append(f"The scale of difficulty: {self.among.difficulty.strip()}")
        if self.among.examples:
            shown = (
                f"Problem: {one.problem}\nReply: {self._reply(one.label, one.difficulty)}"
                for one in self.among.examples
            )
            parts.append("\n\n".join(["Examples:", *shown]))
        return "\n\n".join(parts)

    @property
    def reminder(self) -> str:
        below = ", with its subdomain where one fits" if any(d.subdomains for d in self.among.domains) else ""
        hard = (
            f'{"," if below else ""} and "difficulty", a number from {EASIEST} to {HARDEST}' if self.difficulty else ""
        )
        return f'Reply with JSON that has "domain", one of the domains as they are written above{below}{hard}.'

    @functools.cached_property
    def properties(self) -> dict[str, Any]:
        domain = {"domain": {"type": "string", "enum": [*self.among.labels]}}
        hard = {"difficulty": {"type": "integer", "enum": [*range(EASIEST, HARDEST + 1)]}}
        return domain | (hard if self.difficulty else {})

    def says(self, reply: Mapping[str, Any]) -> dict[str, Any]:
        label, difficulty = reply["domain"], reply.get("difficulty")
        if not isinstance(label, str) or label not in self.among.labels:
            raise Unreadable("the domain is none of the taxonomy")
        if self.difficulty and (type(difficulty) is not int or not EASIEST <= difficulty <= HARDEST):
            raise Unreadable(f"the difficulty is no number from {EASIEST} to {HARDEST}")
        domain, subdomain = self.among.labels[label]
        return {"domain": domain, "subdomain": subdomain, "difficulty": difficulty}

    def _reply(self, label: str, difficulty: int) -> str:
        said = {"domain": label} | ({"difficulty": difficulty} if self.difficulty else {})
        return json.dumps(said, ensure_ascii=False)

    def summed(self, votes: str) -> str:
        return f"""
            with votes as (from {votes}),
            chosen as (
                select id, domain, count(*) as said from votes where domain is not null group by id, domain
                qualify row_number() over (partition by id order by count(*) desc, min(vote)) = 1),
            below as (
                select id, subdomain from votes join chosen using (id, domain) where subdomain is not null
                group by id, subdomain, said having 2 * count(*) > said)
            select id, chosen.domain, below.subdomain, difficulty, said / tag_votes as tag_agreement, tag_votes, tag_reason
            from (
                select id, median(difficulty)::double as difficulty, count(domain) as tag_votes,
                    arg_min(reason, vote) filter (reason is not null) as tag_reason
                from votes group by id) as every
            left join chosen using (id) left join below using (id)"""

    def tell(self, work: Work, name: str, found: pa.Table) -> None:
        tagged = pc.count(found["domain"]).as_py()
        undefined = pc.sum(pc.equal(found["domain"], UNDEFINED)).as_py() or 0
        if undefined > UNDEFINED_WARNING * tagged:
            work.store.warn(
                f"{name}: {undefined / tagged:.0%} of the {tagged:,} problems that were tagged are {UNDEFINED}; the taxonomy "
                f"{self.taxonomy} may not be made for them"
            )

"""Problems on which models agree with each other and not with the gold answer: a list to read, no claim.

    .venv/bin/python benchmarks/label_noise.py [--agree 0.6] [--data DIR] [--json]

Four models' answers to each problem of GSM8K's test set (OpenAI, 2021; right on 22 to 56 % of them) stand in for four samples
of one. Such models share their mistakes: that they agree says less than that samples of a strong model do.
"""

import argparse
import json
import sys
from pathlib import Path

from curation.duck import arrow, connect, parquet
from curation.verify.pool import Job, graders
from curation.votes import Answer, Votes, count

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def suspects(data: Path, agree: float) -> tuple[int, list[dict[str, object]]]:
    """How many problems there are, and those whose gold answer is suspect, the most agreed on first."""
    problems, solutions = (
        parquet([str(data / name)])
        for name in ("benchmarks/gsm8k_test.parquet", "pass_rate_dev/gsm8k_test_openai_solutions.parquet")
    )
    rows = arrow(
        connect(),
        f"""select p.id, problem, answer, list(solution order by model) as solutions
        from {solutions} join {problems} as p on p.id = bench_id group by all order by p.id""",
    ).to_pylist()
    jobs = (Job("math", row["answer"], solution, None) for row in rows for solution in row["solutions"])
    verdicts = graders().grade_many(jobs)
    everything = []
    for row in rows:
        texts: dict[str, Answer] = {}
        unknown = 0
        for _ in row["solutions"]:
            verdict = next(verdicts)
            if verdict.extracted is None:
                unknown += verdict.outcome == "error"
                continue
            same = {"correct": True, "wrong": False, "error": None}[verdict.outcome]
            texts.setdefault(verdict.extracted, Answer(verdict.extracted, 0, same)).votes += 1
        answers = sorted(texts.values(), key=lambda answer: -answer.votes)
        everything.append(Votes(len(row["solutions"]), {"name": "math", "args": None}, answers, unknown))
    count(everything, agree)
    found = [
        {
            "id": row["id"],
            "votes": votes.first.votes,
            "gold": row["answer"],
            "said": votes.first.text,
            "problem": row["problem"],
        }
        for row, votes in zip(rows, everything, strict=True)
        if votes.suspect(agree) and votes.first is not None
    ]
    return len(rows), sorted(found, key=lambda row: -int(str(row["votes"])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agree", type=float, default=0.6, help="share of the answers that have to agree")
    parser.add_argument("--data", type=Path, default=DATA, help="folder with benchmarks/ and pass_rate_dev/")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    if not (args.data / "pass_rate_dev").is_dir():
        sys.exit(f"{args.data} has no pass_rate_dev; --data says where it is")
    total, found = suspects(args.data, args.agree)
    if args.json:
        print(json.dumps({"problems": total, "suspects": found}))
        return
    print(f"{len(found)} of {total:,} gold answers are in doubt: {args.agree:.0%} of the models agree on another\n")
    for row in found:
        print(f"{row['id']}  gold {row['gold']}, {row['votes']} say {row['said']}\n  {row['problem']}\n")


if __name__ == "__main__":
    main()

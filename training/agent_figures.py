"""The pages of an agent's evaluation: scores beside those of the base model, and the failures."""

from collections.abc import Sequence
from html import escape

from training.scoring import AgentEvaluation, Failure

SHOWN_FAILURES = 60


def score_table(
    base: AgentEvaluation, tuned: AgentEvaluation, *, reason: str, decision: str
) -> str:
    """Draws the scores by test set, before and after."""
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{score.total}</td>"
        f"<td>{_share(base.sets[name].exact_call_accuracy)}</td>"
        f"<td>{_share(score.exact_call_accuracy)}</td>"
        f"<td>{_share(base.sets[name].false_call_rate)}</td>"
        f"<td>{_share(score.false_call_rate)}</td></tr>"
        for name, score in tuned.sets.items()
    )
    return (
        f"<p><b>{escape(decision)}</b>: {escape(reason)}</p>"
        "<table><tr><th>test set</th><th>examples</th><th>exact, base</th><th>exact, tuned</th>"
        f"<th>false calls, base</th><th>false calls, tuned</th></tr>{rows}</table>"
        f"<p>Answers of the tuned model: p50 {_seconds(tuned.latency_p50_seconds)}, "
        f"p95 {_seconds(tuned.latency_p95_seconds)}, decoded in batches.</p>"
    )


def failure_table(failures: Sequence[Failure], *, shown: int = SHOWN_FAILURES) -> str:
    """Draws what went wrong, one row each."""
    if not failures:
        return "<p>Every output is exact.</p>"
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td>{escape(text)}</td>"
            for text in (f.set, f.kind, f.request, f.expected, f.output, f.message)
        )
        + "</tr>"
        for f in failures[:shown]
    )
    more = f"<p>{len(failures) - shown} more are in failures.jsonl.</p>"
    return (
        "<table><tr><th>test set</th><th>error</th><th>request</th><th>expected</th>"
        f"<th>output</th><th>what is wrong</th></tr>{rows}</table>"
        + (more if len(failures) > shown else "")
    )


def _share(value: float) -> str:
    return "-" if value != value else f"{value:.1%}"  # noqa: PLR0124 - NaN is not itself


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"

"""Scores an agent by the structure of its calls.

Compared is the parsed call, not the text, in the manner of the Berkeley Function-Calling
Leaderboard: the number of calls, then name, arguments, types, and values against lists of accepted
ones. What is wrong has a kind, so that a table of failures says what to mend.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from training.call_errors import CallError, ErrorKind, compare_calls
from training.examples import Answer, Example, Split
from training.function_calls import (
    CALL_START,
    FunctionCallError,
    ToolCall,
    parse_output,
    render_calls,
)
from training.tools import Toolbox

SetName = TypeVar("SetName", bound=str)


@dataclass(frozen=True, kw_only=True)
class Score:
    """The verdict on one output."""

    error: CallError | None
    """What is wrong, measured against the accepted answer that is closest; None where exact."""

    calls: tuple[ToolCall, ...]
    """The calls of the output; empty where it cannot be parsed."""

    false_call: bool
    """Whether it acts, or tries to, where a reply or a person is wanted."""

    escalated: bool
    """Whether it calls a person."""

    @property
    def exact(self) -> bool:
        """Whether the output is one of the accepted answers."""
        return self.error is None


@dataclass(frozen=True, kw_only=True)
class SetScore:
    """How an agent did on one test set."""

    total: int
    """Examples asked."""

    exact: int
    """Outputs that are one of the accepted answers."""

    errors: Mapping[str, int]
    """Outputs by kind of error."""

    without_action: int
    """Examples that want a reply or a person."""

    false_calls: int
    """Of those, how many outputs acted."""

    escalations_wanted: int
    """Examples whose only right answer is a person."""

    escalations_made: int
    """Of those, how many outputs called one."""

    @property
    def exact_call_accuracy(self) -> float:
        """Share of exact outputs; NaN for an empty set."""
        return _share(self.exact, self.total)

    @property
    def false_call_rate(self) -> float:
        """Share of false calls among examples that want no action; NaN where there are none."""
        return _share(self.false_calls, self.without_action)

    @property
    def escalation_rate(self) -> float:
        """Share of wanted escalations that were made; NaN where none is wanted."""
        return _share(self.escalations_made, self.escalations_wanted)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A row of the table of failures."""

    set: str
    """Name of the test set."""

    id: str
    """The example."""

    request: str
    """What was asked."""

    expected: str
    """The answer that training would show, as text."""

    output: str
    """What the model wrote."""

    kind: str
    """Kind of the error."""

    message: str
    """What is wrong."""


@dataclass(frozen=True, kw_only=True)
class AgentEvaluation:
    """How an agent did on all its test sets."""

    sets: Mapping[str, SetScore]
    """Scores by test set."""

    failures: tuple[Failure, ...]
    """Every output that is not exact."""

    latency_p50_seconds: float | None = None
    """Median time of an answer, or None where it was not measured."""

    latency_p95_seconds: float | None = None
    """95th percentile of the time of an answer, or None."""

    @property
    def exact_call_accuracy(self) -> float:
        """The accuracy that the gate looks at: known alerts in unseen phrasings."""
        score = self.sets.get(Split.TEST_KNOWN)
        return score.exact_call_accuracy if score else math.nan

    @property
    def false_call_rate(self) -> float:
        """The rate that the gate looks at, over all examples that want a reply or a person.

        The unseen alerts are left out: their runbook's own call counts as right there.
        """
        scores = [score for name, score in self.sets.items() if name != Split.TEST_UNSEEN]
        return _share(
            sum(score.false_calls for score in scores),
            sum(score.without_action for score in scores),
        )

    def metrics(self) -> dict[str, float]:
        """Gives flat names and finite values, as a tracking server takes them."""
        values = {
            "exact_call_accuracy": self.exact_call_accuracy,
            "false_call_rate": self.false_call_rate,
            "latency_p50_seconds": self.latency_p50_seconds,
            "latency_p95_seconds": self.latency_p95_seconds,
        }
        for name, score in self.sets.items():
            values[f"{name}/exact_call_accuracy"] = score.exact_call_accuracy
            values[f"{name}/false_call_rate"] = score.false_call_rate
            values[f"{name}/escalation_rate"] = score.escalation_rate
            values[f"{name}/examples"] = float(score.total)
            for kind, count in score.errors.items():
                values[f"{name}/errors/{kind}"] = float(count)
        return {
            name: value
            for name, value in values.items()
            if value is not None and math.isfinite(value)
        }


def score_output(output: str, accepted: Sequence[Answer], toolbox: Toolbox) -> Score:
    """Compares one output with the accepted answers.

    Args:
        output: The decoded completion.
        accepted: Answers that count as right; an empty answer is a reply without a call.
        toolbox: The agent's tools, for types and for what counts as acting.
    """
    wants = _wants(accepted, toolbox)
    try:
        calls = parse_output(output).calls
    except FunctionCallError as error:
        return Score(
            error=CallError(kind=ErrorKind.UNPARSABLE, message=str(error)),
            calls=(),
            false_call=_tries_to_act(output, wants, toolbox),
            escalated=False,
        )
    errors = [compare_calls(calls, answer, toolbox) for answer in accepted]
    exact = not errors or None in errors
    wrong = [error for error in errors if error is not None]
    closest = max(wrong, key=lambda error: error.closeness, default=None)
    acts = any(call.name != toolbox.escalation.tool for call in calls)
    return Score(
        error=None if exact else closest,
        calls=calls,
        false_call={"action": False, "person": acts, "reply": bool(calls)}[wants],
        escalated=any(call.name == toolbox.escalation.tool for call in calls),
    )


def evaluate_agent(
    examples: Mapping[SetName, Sequence[Example]],
    outputs: Mapping[SetName, Sequence[str]],
    toolbox: Toolbox,
    *,
    latencies_seconds: Sequence[float] = (),
) -> AgentEvaluation:
    """Scores all outputs of all test sets.

    Args:
        examples: Examples by test set.
        outputs: What the model wrote, by test set, in the order of the examples.
        toolbox: The agent's tools.
        latencies_seconds: Time of each answer, of all sets together.

    Raises:
        ValueError: A set has another number of outputs than of examples.
    """
    sets: dict[str, SetScore] = {}
    failures: list[Failure] = []
    for name, asked in examples.items():
        answered = outputs.get(name, ())
        if len(answered) != len(asked):
            raise ValueError(
                f"outputs of {name!r} are {len(answered)}, its examples {len(asked)}; "
                "give one output for each example"
            )
        scores = [
            score_output(output, example.accepted, toolbox)
            for example, output in zip(asked, answered, strict=True)
        ]
        sets[str(name)] = _set_score(asked, scores, toolbox)
        failures += _failures(str(name), asked, answered, scores)
    return AgentEvaluation(
        sets=sets,
        failures=tuple(failures),
        latency_p50_seconds=_percentile(latencies_seconds, 0.50),
        latency_p95_seconds=_percentile(latencies_seconds, 0.95),
    )


def _wants(accepted: Sequence[Answer], toolbox: Toolbox) -> str:
    """Says what the accepted answers want: an action, a person, or only a reply."""
    names = {call.name for answer in accepted for call in answer}
    if names - {toolbox.escalation.tool}:
        return "action"
    return "person" if names else "reply"


def _tries_to_act(output: str, wants: str, toolbox: Toolbox) -> bool:
    """Whether an output that cannot be parsed opens a call where none is wanted."""
    if wants == "person":
        return CALL_START in output and f"call:{toolbox.escalation.tool}" not in output
    return wants == "reply" and CALL_START in output


def _set_score(asked: Sequence[Example], scores: Sequence[Score], toolbox: Toolbox) -> SetScore:
    wants = [_wants(example.accepted, toolbox) for example in asked]
    return SetScore(
        total=len(asked),
        exact=sum(score.exact for score in scores),
        errors=dict(
            sorted(Counter(str(score.error.kind) for score in scores if score.error).items())
        ),
        without_action=sum(want != "action" for want in wants),
        false_calls=sum(score.false_call for score in scores),
        escalations_wanted=wants.count("person"),
        escalations_made=sum(
            want == "person" and score.escalated for want, score in zip(wants, scores, strict=True)
        ),
    )


def _failures(
    name: str, asked: Sequence[Example], outputs: Sequence[str], scores: Iterable[Score]
) -> list[Failure]:
    return [
        Failure(
            set=name,
            id=example.id,
            request=example.request,
            expected=render_calls(example.calls) or example.reply,
            output=output,
            kind=str(score.error.kind),
            message=score.error.message,
        )
        for example, output, score in zip(asked, outputs, scores, strict=True)
        if score.error
    ]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _percentile(values: Sequence[float], share: float) -> float | None:
    """Gives the smallest value that at least `share` of all values do not exceed."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

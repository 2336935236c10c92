"""Calls are scored by structure, and a model is promoted only if it holds both measures."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from training.agent_data import build_agent_data
from training.agent_gate import decide
from training.call_errors import ErrorKind
from training.examples import AcceptedCall, Answer, Example, Kind, Split
from training.function_calls import ToolCall, render_call, render_calls
from training.runbook import parse_runbook
from training.scoring import evaluate_agent, score_output
from training.tools_file import read_tools

_TOOLS = read_tools(Path(__file__).parents[2] / "agents" / "agent-bruno" / "tools.yaml")
_SCALE = ToolCall(name="scale_service", arguments={"name": "workers", "replicas": 4})
_ASK = ToolCall(
    name="ask_owner", arguments={"alert": "A", "severity": "critical", "question": "well?"}
)
_ANSWER: tuple[Answer, ...] = ((AcceptedCall.of(_SCALE),),)
_REPLY: tuple[Answer, ...] = ((),)
_PERSON: tuple[Answer, ...] = ((AcceptedCall.of(_ASK, anything=["question"]),),)


def _call(tool: str = "scale_service", /, **arguments: Any) -> str:
    return render_call(ToolCall(name=tool, arguments=arguments))


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        (_call(name="workers", replicas=4), None),
        (f"Sure. {_call(name='workers', replicas=4)}<end_of_turn>", None),
        ("<start_function_call>call:scale_service{name:workers}", ErrorKind.UNPARSABLE),
        ("I scale it.", ErrorKind.WRONG_COUNT),
        (render_calls([_SCALE, _SCALE]), ErrorKind.WRONG_COUNT),
        (_call("restart_service", name="workers", replicas=4), ErrorKind.WRONG_FUNCTION),
        (_call(name="workers"), ErrorKind.MISSING_ARGUMENT),
        (_call(name="workers", replicas=4, now=True), ErrorKind.UNEXPECTED_ARGUMENT),
        (_call(name="workers", replicas="4"), ErrorKind.WRONG_TYPE),
        (_call(name="workers", replicas=True), ErrorKind.WRONG_TYPE),
        (_call(name="workers", replicas=5), ErrorKind.WRONG_VALUE),
    ],
)
def test_errors_have_kinds(output: str, kind: ErrorKind | None) -> None:
    """Each way of being wrong has its name; words around a right call do no harm."""
    score = score_output(output, _ANSWER, _TOOLS)
    assert (score.error.kind if score.error else None) is kind
    assert score.exact == (kind is None)
    assert not score.false_call


def test_any_accepted_value_and_answer_counts() -> None:
    """Lists of values, free arguments and several answers."""
    accepted: Sequence[Answer] = [
        (AcceptedCall(name="scale_service", arguments={"name": ("a", "b"), "replicas": ()}),),
        (AcceptedCall.of(_ASK, anything=["question"]),),
    ]
    assert score_output(_call(name="b", replicas=6), accepted, _TOOLS).exact
    assert score_output(render_call(_ASK), accepted, _TOOLS).exact
    wrong = score_output(_call(name="c", replicas=6), accepted, _TOOLS).error
    assert wrong is not None
    assert wrong.kind is ErrorKind.WRONG_VALUE
    assert "'c' instead of 'a'" in wrong.message


def test_parallel_calls_may_come_in_any_order() -> None:
    """Two calls of one turn have no order."""
    other = ToolCall(name="manage_model", arguments={"action": "list"})
    accepted = [(AcceptedCall.of(_SCALE), AcceptedCall.of(other))]
    assert score_output(render_calls([other, _SCALE]), accepted, _TOOLS).exact
    wrong = score_output(render_calls([other, other]), accepted, _TOOLS).error
    assert wrong is not None
    assert wrong.kind is ErrorKind.WRONG_FUNCTION


@pytest.mark.parametrize(
    ("output", "accepted", "exact", "false_call"),
    [
        ("Hello.", _REPLY, True, False),
        (render_call(_ASK), _REPLY, False, True),
        ("<start_function_call>call:", _REPLY, False, True),
        (render_call(_ASK), _PERSON, True, False),
        (render_call(_SCALE), _PERSON, False, True),
        ("Hello.", _PERSON, False, False),
        ("<start_function_call>call:ask_owner{", _PERSON, False, False),
        ("<start_function_call>call:scale_service{", _PERSON, False, True),
    ],
)
def test_false_calls_are_calls_where_none_is_wanted(
    output: str, accepted: tuple[Answer, ...], exact: bool, false_call: bool
) -> None:
    """Acting instead of asking, and calling anything instead of replying; silence is no call."""
    score = score_output(output, accepted, _TOOLS)
    assert (score.exact, score.false_call) == (exact, false_call)


def _example(name: str, accepted: tuple[Answer, ...]) -> Example:
    return Example(
        id=name,
        split=Split.TEST_KNOWN,
        kind=Kind.RESOLVE,
        alert="A",
        phrasing="p",
        request="Do it.",
        calls=(_SCALE,) if accepted is _ANSWER else (),
        accepted=accepted,
    )


def test_an_evaluation_counts_per_set_and_lists_failures() -> None:
    """Accuracy, false calls, escalations, kinds of errors, percentiles and a row per failure."""
    examples = {
        Split.TEST_KNOWN: [_example("a", _ANSWER), _example("b", _ANSWER), _example("c", _PERSON)],
        Split.TEST_IRRELEVANT: [_example("d", _REPLY), _example("e", _REPLY)],
    }
    outputs = {
        Split.TEST_KNOWN: [render_call(_SCALE), _call(name="x", replicas=4), render_call(_ASK)],
        Split.TEST_IRRELEVANT: ["No.", render_call(_SCALE)],
    }
    result = evaluate_agent(
        examples, outputs, _TOOLS, latencies_seconds=[n / 100 for n in range(1, 101)]
    )
    metrics = result.metrics()
    assert metrics["exact_call_accuracy"] == pytest.approx(2 / 3)
    assert metrics["false_call_rate"] == pytest.approx(1 / 3)
    assert metrics["test_known/escalation_rate"] == 1
    assert metrics["test_known/errors/wrong_value"] == 1
    assert metrics["test_irrelevant/exact_call_accuracy"] == 0.5
    assert (metrics["latency_p50_seconds"], metrics["latency_p95_seconds"]) == (0.5, 0.95)
    assert [(row.set, row.id, row.kind) for row in result.failures] == [
        ("test_known", "b", "wrong_value"),
        ("test_irrelevant", "e", "wrong_count"),
    ]
    assert result.failures[0].expected == render_call(_SCALE)


def test_empty_sets_measure_nothing() -> None:
    """What was not measured is no metric instead of a zero."""
    result = evaluate_agent({Split.TEST_KNOWN: []}, {Split.TEST_KNOWN: []}, _TOOLS)
    assert math.isnan(result.exact_call_accuracy)
    assert result.metrics() == {"test_known/examples": 0.0}


def test_outputs_must_match_their_examples() -> None:
    """A forgotten output is an error, not a zero."""
    with pytest.raises(ValueError, match="outputs of 'test_known' are 0, its examples 1"):
        evaluate_agent({"test_known": [_example("a", _ANSWER)]}, {}, _TOOLS)


def test_a_perfect_model_scores_one_on_real_data() -> None:
    """Rendering each example's own answer gives full marks and no false call."""
    toolbox = read_tools(Path(__file__).parents[2] / "agents" / "agent-sre" / "tools.yaml")
    text = "\n".join(
        f"### Alert: Thing{at}Broken\n\n**Symptoms:**\n- Thing {at} has been broken\n\n"
        f"**Resolution:**\n```bash\nkubectl rollout restart deployment t{at}\n```\n"
        for at in range(8)
    )
    data = build_agent_data(parse_runbook(text), toolbox, agent="x")
    sets = {split: data.splits[split] for split in Split if split.value.startswith("test")}
    outputs = {
        split: [render_calls(e.calls) or e.reply for e in examples]
        for split, examples in sets.items()
    }
    metrics = evaluate_agent(sets, outputs, toolbox).metrics()
    assert metrics["exact_call_accuracy"] == 1
    assert metrics["false_call_rate"] == 0
    assert all(metrics[f"{split}/exact_call_accuracy"] == 1 for split in sets)


@pytest.mark.parametrize(
    ("accuracy", "false_calls", "champion", "promote", "reason"),
    [
        (0.95, 0.01, None, True, "exact_call_accuracy 0.9500 holds the threshold 0.9000"),
        (0.90, 0.05, None, True, "false_call_rate 0.0500 holds the threshold 0.0500"),
        (0.89, 0.01, None, False, "exact_call_accuracy 0.8900 is below the threshold 0.9000"),
        (0.95, 0.06, None, False, "false_call_rate 0.0600 is above the threshold 0.0500"),
        (0.95, 0.02, (0.96, 0.02), False, "is below the champion's 0.9600"),
        (0.97, 0.03, (0.96, 0.02), False, "is above the champion's 0.0200"),
        (0.96, 0.02, (0.96, 0.02), True, "holds the champion's"),
        (0.95, math.nan, None, False, "false_call_rate was not measured"),
    ],
)
def test_the_gate_holds_both_measures_against_threshold_and_champion(
    accuracy: float,
    false_calls: float,
    champion: tuple[float, float] | None,
    promote: bool,
    reason: str,
) -> None:
    """One measure that falls behind is enough to stay where we are."""
    names = ("exact_call_accuracy", "false_call_rate")
    decision = decide(
        dict(zip(names, (accuracy, false_calls), strict=True)),
        exact_call_accuracy=0.9,
        false_call_rate=0.05,
        champion=dict(zip(names, champion, strict=True)) if champion else None,
    )
    assert decision.promote is promote
    assert any(reason in text for text in decision.reasons)

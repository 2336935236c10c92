"""Builds an agent's data set from its runbook and tools: examples, splits, statistics, files.

The same runbook, tools and settings give the same bytes on every machine.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from training.agent_data_files import AgentData, DataManifest, write_agent_data
from training.alert_plans import AlertPlan, plan_alert
from training.alerts import Alert
from training.examples import AcceptedCall, Answer, Example, Kind, Split
from training.function_calls import ToolCall
from training.irrelevance import irrelevant_requests
from training.near_misses import near_misses, spliced
from training.phrasings import (
    PHRASINGS,
    surrounding_requests,
    unknown_alert_requests,
    write_request,
)
from training.runbook import Runbook, read_runbook
from training.tools import ESCALATE, Toolbox
from training.tools_file import read_tools

GENERATOR_VERSION = 5
"""Raised whenever the same runbook would give other examples."""

_NOISE = re.compile(r"[^a-z0-9$]+")


class LeakError(ValueError):
    """A request of one split is found in another."""


def prepare_agent_data(
    *,
    agent_folder: Path,
    out: Path,
    runbook_path: Path | None = None,
    seed: int = 0,
    unseen_fraction: float = 0.15,
    strict: bool = True,
) -> DataManifest:
    """Reads an agent's runbook and tools and writes its data set into `out`.

    Args:
        agent_folder: `agents/<name>` with RUNBOOK.md and tools.yaml.
        out: Folder to create; it must not exist or be empty.
        runbook_path: Another runbook, a file or a folder.
        seed: Chooses which alerts are kept out of training.
        unseen_fraction: Share of alerts kept out of training, from 0 to 0.5.
        strict: Whether a broken runbook is an error; when False, what can be read is used and
            the manifest lists the rest.

    Raises:
        ValueError: The runbook or the tools cannot be used, or `out` is not empty.
    """
    data = build_agent_data(
        read_runbook(runbook_path or agent_folder / "RUNBOOK.md", strict=strict),
        read_tools(agent_folder / "tools.yaml"),
        agent=agent_folder.resolve().name,
        seed=seed,
        unseen_fraction=unseen_fraction,
    )
    return write_agent_data(data, out)


def build_agent_data(
    runbook: Runbook,
    toolbox: Toolbox,
    *,
    agent: str,
    seed: int = 0,
    unseen_fraction: float = 0.15,
) -> AgentData:
    """Builds all examples of an agent; see `prepare_agent_data` for the arguments."""
    if not 0 <= unseen_fraction <= 0.5:
        raise ValueError(f"unseen_fraction is {unseen_fraction}; give a share from 0 to 0.5")
    plans = [plan_alert(alert, toolbox) for alert in runbook.alerts]
    unseen = _unseen([plan.alert.name for plan in plans], seed=seed, fraction=unseen_fraction)
    known_names = {plan.alert.name for plan in plans}
    candidates = [
        *_alert_examples(plans, toolbox, unseen),
        *_unknown_examples(toolbox, known_names),
        *_other_examples(toolbox),
        *_near_examples(toolbox, [plan.alert for plan in plans if plan.alert.name not in unseen]),
    ]
    examples, dropped = _without_overlaps(candidates)
    check_leaks(examples)
    splits = {split: tuple(e for e in examples if e.split is split) for split in Split}
    settings = f"{toolbox.sha256} {seed} {unseen_fraction}"
    return AgentData(
        agent=agent,
        version=f"g{GENERATOR_VERSION}-{runbook.sha256[:12]}-{_sha256(settings)[:8]}",
        splits=splits,
        declarations=tuple(toolbox.declarations()),
        alerts={alert.name: alert.sha256 for alert in runbook.alerts},
        unseen_alerts=tuple(sorted(unseen)),
        runbook_sha256=runbook.sha256,
        tools_sha256=toolbox.sha256,
        statistics=_statistics(runbook, plans, splits, dropped),
        problems=tuple(str(problem) for problem in runbook.problems),
    )


def check_leaks(examples: Iterable[Example]) -> None:
    """Refuses examples of which two splits share a request, apart from case and punctuation.

    Raises:
        LeakError: Names the request and both examples.
    """
    seen: dict[str, Example] = {}
    for example in examples:
        first = seen.setdefault(normalised(example.request), example)
        if first.split is not example.split:
            raise LeakError(
                f"{example.id} asks {example.request[:60]!r}, which {first.id} asks too; "
                "reword one of them"
            )


def normalised(text: str) -> str:
    """Lowers a request and drops punctuation and space, so that equal words are equal.

    >>> normalised("Fix  KubePodCrashLooping, please!")
    'fix kubepodcrashlooping please'
    """
    return _NOISE.sub(" ", text.lower()).strip()


def _unseen(names: Sequence[str], *, seed: int, fraction: float) -> frozenset[str]:
    """Chooses alerts by the hash of their name, so that a new alert moves at most one other."""
    if fraction == 0 or len(names) < 4:
        return frozenset()
    count = max(1, round(len(names) * fraction))
    ranked = sorted(names, key=lambda name: _sha256(f"{seed}/{name}"))
    return frozenset(ranked[:count])


def _alert_examples(
    plans: Iterable[AlertPlan], toolbox: Toolbox, unseen: frozenset[str]
) -> Iterator[Example]:
    for plan in plans:
        held_out = plan.alert.name in unseen
        for phrasing in PHRASINGS:
            call = plan.resolve if phrasing.kind is Kind.RESOLVE else plan.investigate
            if call is None or (held_out and phrasing.split is not Split.TEST_KNOWN):
                continue
            severity = plan.alert.severity or toolbox.escalation.default_severity
            request = write_request(phrasing, plan.alert, severity=severity)
            if request is None:
                continue
            example = Example(
                id=f"{plan.alert.name}/{phrasing.name}",
                split=phrasing.split,
                kind=phrasing.kind,
                alert=plan.alert.name,
                phrasing=phrasing.name,
                request=request,
                calls=(call,),
                accepted=((AcceptedCall.of(call),),),
            )
            yield _held_out(example, plan, toolbox) if held_out else example


def _held_out(example: Example, plan: AlertPlan, toolbox: Toolbox) -> Example:
    """Moves an example to the unseen test, where calling a person is right as well."""
    escalation = toolbox.escalation_call(
        alert=plan.alert.name, severity=plan.alert.severity, reason="unknown_alert"
    )
    free = [name for name in escalation.arguments if name != "alert"]
    own = [call for call in (plan.resolve, plan.investigate, *plan.alternatives) if call]
    answers: list[Answer] = [(AcceptedCall.of(escalation, anything=free),)]
    answers += [(AcceptedCall.of(call),) for call in own]
    accepted = tuple(dict.fromkeys(map(_frozen, [*example.accepted, *answers])))
    by_key = {_frozen(answer): answer for answer in [*example.accepted, *answers]}
    return replace(
        example,
        id=f"unseen/{example.id}",
        split=Split.TEST_UNSEEN,
        accepted=tuple(by_key[key] for key in accepted),
    )


def _frozen(answer: Answer) -> str:
    """Gives a key that is equal for equal answers."""
    return json.dumps(
        [[call.name, sorted((k, list(v)) for k, v in call.arguments.items())] for call in answer]
    )


def _unknown_examples(toolbox: Toolbox, known: set[str]) -> Iterator[Example]:
    """Asks about alerts that are in no runbook: a person is called, nothing is invented."""
    for split in (Split.TRAIN, Split.VALID, Split.TEST_UNSEEN):
        for at, (name, request) in enumerate(unknown_alert_requests(split)):
            if name in known:
                continue
            call = toolbox.escalation_call(alert=name, severity="", reason="unknown_alert")
            yield Example(
                id=f"unknown/{split}-{at:03d}",
                split=split,
                kind=Kind.UNKNOWN_ALERT,
                alert=name,
                phrasing=f"unknown-{split}",
                request=request,
                calls=(call,),
                accepted=((AcceptedCall.of(call, anything=_all_but_alert(call)),),),
            )


def _all_but_alert(call: ToolCall) -> list[str]:
    return [name for name in call.arguments if name != "alert"]


def _other_examples(toolbox: Toolbox) -> Iterator[Example]:
    """Asks what needs no action: small talk, unclear wishes, and demands only a person may meet."""
    for split in (Split.TRAIN, Split.VALID, Split.TEST_IRRELEVANT):
        for at, request in enumerate(irrelevant_requests(split)):
            yield Example(
                id=f"irrelevant/{split}-{at:03d}",
                split=split,
                kind=Kind.IRRELEVANT,
                alert="",
                phrasing=f"irrelevant-{split}",
                request=request,
                reply=toolbox.replies["decline"],
                accepted=((),),
            )
    for at, entry in enumerate(toolbox.requests):
        # Every fourth text is asked in the test only.
        splits = (Split.TEST_IRRELEVANT,) if at % 4 == 3 else (Split.TRAIN, Split.VALID)
        for split in splits:
            for number, request in enumerate(surrounding_requests(entry.text, split)):
                yield _surrounding(
                    toolbox,
                    entry.reply,
                    split=split,
                    name=f"{at:02d}-{number}",
                    request=request,
                )


def _near_examples(toolbox: Toolbox, alerts: Sequence[Alert]) -> Iterator[Example]:
    """Asks in the words of known alerts, and in pieces of vague requests, for nothing."""
    for split in (Split.TRAIN, Split.VALID):
        for at, (request, reply) in enumerate(near_misses(alerts, split)):
            known = reply if reply in toolbox.replies else "clarify"
            yield _surrounding(toolbox, known, split=split, name=f"near-{at:03d}", request=request)
    for reply in sorted(toolbox.replies):
        texts = [
            entry.text
            for at, entry in enumerate(toolbox.requests)
            if entry.reply == reply and at % 4 != 3 and "{" not in entry.text
        ]
        for at, request in enumerate(spliced(texts)):
            yield _surrounding(
                toolbox,
                reply,
                split=Split.TRAIN,
                name=f"spliced-{reply}-{at:03d}",
                request=request,
            )


def _surrounding(toolbox: Toolbox, reply: str, *, split: Split, name: str, request: str) -> Example:
    example = Example(
        id=f"surrounding/{split}-{name}",
        split=split,
        kind=Kind.SURROUNDING,
        alert="",
        phrasing=f"surrounding-{split}",
        request=request,
        reply=toolbox.replies.get(reply, ""),
        accepted=((),),
    )
    if reply != ESCALATE:
        return example
    call = toolbox.escalation_call(alert="none", severity="", reason="destructive_only")
    free = AcceptedCall.of(call, anything=call.arguments)
    return replace(example, calls=(call,), accepted=((free,),))


def _without_overlaps(examples: Iterable[Example]) -> tuple[list[Example], Counter[str]]:
    """Drops repeated requests, requests with two meanings, and training's copies of test requests.

    Two alerts may share a symptom: such a request has no right answer and is left out everywhere.
    """
    by_text: dict[str, list[Example]] = {}
    for example in examples:
        by_text.setdefault(normalised(example.request), []).append(example)
    kept, dropped = [], Counter[str]()
    for same in by_text.values():
        if len({_frozen(example.accepted[0]) for example in same}) > 1:
            dropped["ambiguous"] += len(same)
            continue
        tests = [example for example in same if example.split.value.startswith("test")]
        kept.append((tests or same)[0])
        dropped["repeated"] += len(same) - 1
    return kept, dropped


def _statistics(
    runbook: Runbook,
    plans: Sequence[AlertPlan],
    splits: Mapping[Split, tuple[Example, ...]],
    dropped: Counter[str],
) -> dict[str, Any]:
    everything = [example for examples in splits.values() for example in examples]
    return {
        "alerts": len(plans),
        "alerts_escalated": sum(plan.escalated_for is not None for plan in plans),
        "commands": len(runbook.commands),
        "commands_by_risk": _counted(str(c.line.risk) for c in runbook.commands),
        "commands_unmapped": sum(len(plan.unmapped) for plan in plans),
        "commands_destructive": sum(len(plan.destructive) for plan in plans),
        "problems": _counted(str(problem.kind) for problem in runbook.problems),
        "examples": {str(split): len(examples) for split, examples in splits.items()},
        "kinds": {
            str(split): _counted(str(example.kind) for example in examples)
            for split, examples in splits.items()
        },
        "tools": _counted(
            example.calls[0].name if example.calls else "none" for example in everything
        ),
        "distinct_calls": len({_frozen(e.accepted[0]) for e in everything if e.calls}),
        "longest_request_characters": max(
            (len(example.request) for example in everything), default=0
        ),
        "dropped_repeated": dropped["repeated"],
        "dropped_ambiguous": dropped["ambiguous"],
    }


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

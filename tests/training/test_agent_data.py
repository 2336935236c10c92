"""An agent's data set: splits that do not leak, deterministic bytes, all or nothing on disk."""

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from training.agent_data import (
    GENERATOR_VERSION,
    LeakError,
    build_agent_data,
    check_leaks,
    normalised,
    prepare_agent_data,
)
from training.agent_data_files import AgentData, read_manifest, write_agent_data
from training.examples import Kind, Split, read_examples
from training.function_calls import DEVELOPER_PROMPT
from training.irrelevance import irrelevant_requests
from training.near_misses import near_misses, spliced
from training.nonsense import senseless_requests
from training.phrasings import PHRASINGS, surrounding_requests, symptoms_of, words_of
from training.runbook import RunbookError, parse_runbook, read_runbook
from training.tools import Toolbox
from training.tools_file import read_tools

_AGENTS = Path(__file__).parents[2] / "agents"
_NAMES = ["agent-sre", "agent-bruno", "agent-auditor"]


def _toolbox() -> Toolbox:
    return read_tools(_AGENTS / "agent-sre" / "tools.yaml")


def _text(alerts: int) -> str:
    return "\n".join(
        f"### Alert: Thing{at}Broken\n\n**Symptoms:**\n- The thing number {at} is broken\n\n"
        f"**Investigation:**\n```bash\nkubectl get pod thing-{at} -n $NAMESPACE\n```\n\n"
        f"**Resolution:**\n```bash\nkubectl rollout restart deployment thing-{at}\n```\n"
        for at in range(alerts)
    )


def _data(alerts: int = 8, *, seed: int = 0) -> AgentData:
    runbook = parse_runbook(_text(alerts))
    return build_agent_data(runbook, _toolbox(), agent="agent-x", seed=seed)


@pytest.mark.parametrize("name", _NAMES)
def test_the_shipped_agents_have_complete_data(tmp_path: Path, name: str) -> None:
    """Every split is filled, every call is valid, and nothing was dropped as ambiguous."""
    manifest = prepare_agent_data(agent_folder=_AGENTS / name, out=tmp_path / "data")
    toolbox = read_tools(_AGENTS / name / "tools.yaml")
    everything = {s: read_examples(tmp_path / "data" / f"{s}.jsonl") for s in Split}
    check_leaks(e for examples in everything.values() for e in examples)
    assert len(everything[Split.TRAIN]) > 400
    assert all(len(examples) >= 20 for examples in everything.values())
    assert manifest.statistics["dropped_ambiguous"] == 0
    for examples in everything.values():
        for example in examples:
            assert bool(example.calls) != bool(example.reply), example.id
            assert example.accepted
            assert not [e for call in example.calls for e in toolbox.errors(call)], example.id


def test_no_request_is_in_two_splits() -> None:
    """Neither the words nor the phrasings of a test are seen in training."""
    data = _data()
    texts = {s: {normalised(e.request) for e in examples} for s, examples in data.splits.items()}
    phrasings = {s: {e.phrasing for e in examples} for s, examples in data.splits.items()}
    for test in (Split.TEST_KNOWN, Split.TEST_UNSEEN, Split.TEST_IRRELEVANT, Split.VALID):
        assert not texts[Split.TRAIN] & texts[test]
        assert not phrasings[Split.TRAIN] & phrasings[test]
    names = [phrasing.name for phrasing in PHRASINGS]
    templates = [normalised(phrasing.template) for phrasing in PHRASINGS]
    assert len(set(names)) == len(names)
    assert len(set(templates)) == len(templates)


def test_a_repair_and_a_look_are_asked_in_the_same_words_but_the_verb() -> None:
    """Whatever stands around the verb says nothing of what is wanted; nor does any one verb."""
    composed = {
        kind: {p.template for p in PHRASINGS if p.kind is kind and "{opener}" in p.template}
        for kind in (Kind.RESOLVE, Kind.INVESTIGATE)
    }
    looks = {text.replace("{mend", "{look_into") for text in composed[Kind.RESOLVE]}
    assert len(looks) >= 8
    assert looks <= composed[Kind.INVESTIGATE]
    train = _data(40).splits[Split.TRAIN]
    names = {p.name for p in PHRASINGS if p.template == "{opener}{mend} {alert}{closer}"}
    said = [e.request for e in train if e.phrasing in names]
    assert len({re.sub(r"Thing\d+Broken.*", "", text) for text in said}) >= 15
    assert all(text[0].isupper() for text in said)


def test_leaks_are_caught() -> None:
    """The same words with other case and punctuation in another split are an error."""
    example = _data().splits[Split.TRAIN][0]
    copy = replace(example, id="x", split=Split.VALID, request=f"  {example.request.upper()}!! ")
    with pytest.raises(LeakError, match="reword"):
        check_leaks([example, copy])


def test_known_alerts_are_asked_in_every_set_of_words() -> None:
    """Each alert of training is asked in the known test, and no unseen one is."""
    data = _data()

    def alerts(split: Split) -> set[str]:
        return {e.alert for e in data.splits[split] if e.kind in (Kind.RESOLVE, Kind.INVESTIGATE)}

    assert alerts(Split.TEST_KNOWN) == alerts(Split.TRAIN)
    assert alerts(Split.TEST_UNSEEN) == set(data.unseen_alerts)
    assert alerts(Split.TRAIN) == set(data.alerts) - set(data.unseen_alerts)


def test_an_unseen_alert_may_be_mended_or_handed_on() -> None:
    """Its runbook's call is right, and so is calling a person with any reason."""
    unseen = [e for e in _data().splits[Split.TEST_UNSEEN] if e.kind is Kind.RESOLVE]
    assert unseen
    for example in unseen:
        names = [answer[0].name for answer in example.accepted]
        assert names[0] == "execute_remediation"
        person = next(a[0] for a in example.accepted if a[0].name == "escalate_to_human")
        assert person.arguments["alert"] == (example.alert,)
        assert person.arguments["reason"] == ()


def test_a_new_alert_moves_at_most_one_other() -> None:
    """Alerts are kept out of training by the hash of their name."""
    before, after = _data(20), _data(21)
    assert len(set(before.unseen_alerts) ^ set(after.unseen_alerts)) <= 2
    assert _data(20, seed=1).unseen_alerts != before.unseen_alerts


def test_a_small_runbook_keeps_all_alerts_in_training() -> None:
    """With fewer than four alerts none is held out."""
    data = _data(2)
    assert not data.unseen_alerts
    assert {e.kind for e in data.splits[Split.TEST_UNSEEN]} == {Kind.UNKNOWN_ALERT}


def test_a_request_with_two_meanings_is_left_out() -> None:
    """Alerts that share a symptom are not asked by that symptom alone."""
    text = _text(2).replace("The thing number 1 is broken", "The thing number 0 is broken")
    data = build_agent_data(parse_runbook(text), _toolbox(), agent="x")
    assert data.statistics["dropped_ambiguous"] > 0
    requests = [e.request for examples in data.splits.values() for e in examples]
    assert "The thing number 0 is broken." not in requests
    assert "Fix Thing0Broken." in requests
    told = [text for text in requests if "thing number 0 is broken" in text.lower()]
    assert told
    assert all(re.search(r"Thing[01]Broken", text) for text in told)


def test_everyday_troubles_are_told_in_the_words_of_alerts() -> None:
    """Else how something is asked would decide, and every trouble would pass for an alert."""
    requests = list(irrelevant_requests(Split.TRAIN))
    assert len(set(requests)) == len(requests)
    flickering = [text for text in requests if "lamp in the hall flickers" in text]
    told = [p.template for p in PHRASINGS if p.split is Split.TRAIN and p.tells_symptom_alone]
    trouble = "The lamp in the hall flickers"
    lower = "the lamp in the hall flickers"
    words = {"symptom": trouble, "other": trouble, "symptom_lower": lower, "other_lower": lower}
    assert len(flickering) == 4
    assert set(flickering) <= {template.format_map(words) for template in told}


def test_senseless_requests_keep_words_for_validation() -> None:
    """What is validated with has words that training never met, beside made-up ones."""
    train, valid = (
        {word for text in senseless_requests(split) for word in re.findall(r"[a-z]+", text.lower())}
        for split in (Split.TRAIN, Split.VALID)
    )
    assert "beard" in valid - train
    assert "almond" in train - valid
    assert len(valid - train) > 80
    assert list(senseless_requests(Split.TEST_IRRELEVANT)) == []


def test_near_misses_have_the_words_of_alerts_and_no_alert() -> None:
    """Neither a name nor a whole symptom is in them, no split shares one, none is in a test."""
    alerts = read_runbook(_AGENTS / "agent-sre" / "RUNBOOK.md").alerts
    found = {split: list(near_misses(alerts, split)) for split in Split}
    names = {alert.name for alert in alerts}
    symptoms = {symptom for alert in alerts for symptom in symptoms_of(alert)}
    for text, reply in found[Split.TRAIN] + found[Split.VALID]:
        assert not names & set(re.findall(r"\w+", text))
        assert not any(symptom.lower() in text.lower() for symptom in symptoms)
        assert reply in ("clarify", "thanks")
    assert len(found[Split.TRAIN]) == 24 * len(alerts)
    assert not {text for text, _ in found[Split.TRAIN]} & {text for text, _ in found[Split.VALID]}
    assert not any(found[split] for split in Split if split.value.startswith("test"))


def test_near_misses_keep_away_from_unseen_alerts() -> None:
    """The words of alerts that only the test asks are not learned as small talk."""
    data = _data(20)
    near = [e.request.lower() for e in data.splits[Split.TRAIN] if "/train-near" in e.id]
    assert len(near) > 100
    for alert in data.unseen_alerts:
        digits = re.search(r"\d+", alert)[0]  # type: ignore[index]
        assert not any(re.search(rf"\b{digits}\b", text) for text in near), alert


def test_halves_of_requests_are_joined_anew() -> None:
    """Every word comes from a text; short texts have no halves."""
    texts = ["It is red again.", "My app has a problem.", "Help.", "We have some trouble."]
    joined = list(spliced(texts))
    assert len(joined) == 6
    assert all(text.startswith(("It is ", "My app ", "We have ")) for text in joined)
    assert all(text.endswith(("red again.", "has a problem.", "some trouble.")) for text in joined)


def test_a_request_with_choices_is_told_apart_by_split() -> None:
    """Training, validation and test each ask other texts of it, in other wordings."""
    texts = {
        split: set(surrounding_requests("Is {it|that|this} {red|green|off}?", split))
        for split in (Split.TRAIN, Split.VALID, Split.TEST_IRRELEVANT)
    }
    cores = {
        split: {
            re.search(r"is (it|that|this) \w+", text, re.IGNORECASE)[0].lower() for text in found
        }  # type: ignore[index]
        for split, found in texts.items()
    }
    assert (len(cores[Split.TRAIN]), len(cores[Split.VALID])) == (7, 2)
    assert len(cores[Split.TEST_IRRELEVANT]) == 1
    assert not cores[Split.TRAIN] & cores[Split.VALID]
    assert len(texts[Split.TRAIN]) == 14
    assert len(set(surrounding_requests("Is it red?", Split.TRAIN))) == 8


def test_irrelevant_requests_have_a_reply_and_no_call() -> None:
    """Small talk is declined, dangerous wishes go to a person."""
    for example in _data().splits[Split.TEST_IRRELEVANT]:
        if example.calls:
            assert example.calls[0].name == "escalate_to_human"
            assert all(values == () for values in example.accepted[0][0].arguments.values())
        else:
            assert example.reply
            assert example.accepted == ((),)
    assert len(set(irrelevant_requests(Split.TEST_IRRELEVANT))) > 40


def test_payloads_are_valid_json() -> None:
    """Whole payloads parse, and carry the alert's name where Alertmanager puts it."""
    payloads = [
        json.loads(example.request)
        for example in _data().splits[Split.TEST_KNOWN]
        if example.request.startswith("{")
    ]
    assert payloads
    assert all(payload["groupLabels"]["alertname"] for payload in payloads)


def test_records_have_the_form_that_chat_templates_take(tmp_path: Path) -> None:
    """Developer, user, assistant; arguments are objects; MLX's files hold nothing else."""
    write_agent_data(_data(), tmp_path / "data")
    for name in ("train", "valid", "test"):
        for line in (tmp_path / "data" / "mlx" / f"{name}.jsonl").read_text().splitlines():
            record = json.loads(line)
            assert set(record) == {"messages", "tools"}
            developer, user, assistant = record["messages"]
            assert developer == {"role": "developer", "content": DEVELOPER_PROMPT}
            assert user["role"] == "user"
            assert isinstance(user["content"], str)
            for call in assistant.get("tool_calls", []):
                assert isinstance(call["function"]["arguments"], dict)
            assert record["tools"][0]["type"] == "function"


def test_examples_survive_the_file(tmp_path: Path) -> None:
    """What is read back equals what was written."""
    data = _data()
    write_agent_data(data, tmp_path / "data")
    for split, examples in data.splits.items():
        assert read_examples(tmp_path / "data" / f"{split}.jsonl") == examples


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    """Two runs write equal files, and the manifest says what is in them."""
    first = write_agent_data(_data(), tmp_path / "a")
    second = write_agent_data(_data(), tmp_path / "b")
    assert first == second == read_manifest(tmp_path / "a")
    for name, entry in first.files.items():
        content = (tmp_path / "b" / name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        assert content.count(b"\n") == entry["rows"]
    assert (tmp_path / "a" / "manifest.json").read_bytes() == (
        tmp_path / "b" / "manifest.json"
    ).read_bytes()


def test_the_version_follows_runbook_tools_and_settings() -> None:
    """Any input that changes the examples changes the version."""
    data = _data()
    assert data.version.startswith(f"g{GENERATOR_VERSION}-{data.runbook_sha256[:12]}-")
    assert len({data.version, _data(9).version, _data(seed=1).version}) == 3


def test_the_generator_version_is_raised_with_the_generator() -> None:
    """If this fails, the same runbook gives other examples: raise GENERATOR_VERSION, renew this."""
    data = _data()
    text = "\n".join(
        f"{e.id}|{e.request}|{e.reply}" for examples in data.splits.values() for e in examples
    )
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    assert (GENERATOR_VERSION, digest) == (5, "043a611934ff")


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    """Nothing is overwritten."""
    out = tmp_path / "data"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(ValueError, match="not an empty folder"):
        write_agent_data(_data(), out)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "mine.txt"]


def test_a_failing_preparation_leaves_nothing_behind(tmp_path: Path) -> None:
    """A runbook without alerts is refused before any file is made."""
    (tmp_path / "empty.md").write_text("# Nothing here\n")
    with pytest.raises(RunbookError, match="no alerts"):
        prepare_agent_data(
            agent_folder=_AGENTS / "agent-sre",
            out=tmp_path / "out",
            runbook_path=tmp_path / "empty.md",
        )
    assert [path.name for path in tmp_path.iterdir()] == ["empty.md"]


@pytest.mark.parametrize("fraction", [-0.1, 0.6])
def test_a_share_out_of_range_is_refused(fraction: float) -> None:
    """At least half of the alerts are trained on."""
    with pytest.raises(ValueError, match="unseen_fraction is"):
        build_agent_data(parse_runbook(_text(4)), _toolbox(), agent="x", unseen_fraction=fraction)


def test_a_missing_or_broken_manifest_is_named(tmp_path: Path) -> None:
    """The error says what to do."""
    with pytest.raises(ValueError, match="does not exist; prepare the data set first"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(ValueError, match="is no manifest"):
        read_manifest(tmp_path)
    (tmp_path / "x.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(ValueError, match=r"x.jsonl:1: is not an example"):
        read_examples(tmp_path / "x.jsonl")


def test_a_broken_runbook_can_be_used_as_far_as_it_goes(tmp_path: Path) -> None:
    """Strictly an error; otherwise the manifest lists what could not be read, without secrets."""
    (tmp_path / "r.md").write_text(
        _text(2) + "\n### Alert: Thing0Broken\n\nAgain with --password hunter22.\n"
    )
    folder = _AGENTS / "agent-sre"
    with pytest.raises(RunbookError, match="is already at"):
        prepare_agent_data(agent_folder=folder, out=tmp_path / "a", runbook_path=tmp_path / "r.md")
    manifest = prepare_agent_data(
        agent_folder=folder, out=tmp_path / "b", runbook_path=tmp_path / "r.md", strict=False
    )
    assert [problem.split(":")[1] for problem in manifest.problems] == ["31", "33"]
    assert not [p for p in (tmp_path / "b").rglob("*.json*") if "hunter22" in p.read_text()]


def test_runbooks_of_the_other_layout_make_data(tmp_path: Path) -> None:
    """A folder of pages gives examples from the sentences of their meaning."""
    for at in range(5):
        (tmp_path / f"Page{at}.md").write_text(
            f"# Page{at}Down\n\n## Meaning\n\nThe page {at} is down. Nobody sees it.\n\n"
            "## Mitigation\n\n- `kubectl -n $NAMESPACE rollout restart deploy $NAME`\n"
        )
    manifest = prepare_agent_data(
        agent_folder=_AGENTS / "agent-sre", out=tmp_path / "out", runbook_path=tmp_path
    )
    assert manifest.statistics["alerts"] == 5
    requests = [e.request for e in read_examples(tmp_path / "out" / "train.jsonl")]
    assert any(request.startswith("The page ") for request in requests)


def test_names_are_split_into_words() -> None:
    """Capitals, abbreviations and digits."""
    assert words_of("ContainerOOMKilled") == "container oom killed"
    assert words_of("etcdNoLeader") == "etcd no leader"
    assert words_of("Http2Errors") == "http 2 errors"

"""The words in which people and Alertmanager speak of alerts, known and unknown.

Each phrasing belongs to one split for good: training never sees the words of a test. Everything is
chosen by hashes of names, so the same runbook gives the same bytes on every machine.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from training.alert_payloads import invent_labels, write_payloads
from training.alerts import Alert
from training.alternatives import expanded
from training.examples import Kind, Split
from training.hashed import choice, number, some

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_MAX_SYMPTOM = 160
_SYMPTOMS = frozenset({"symptom", "other"})


@dataclass(frozen=True, kw_only=True)
class Phrasing:
    """One way of asking about an alert."""

    name: str
    """Stable name."""

    split: Split
    """The only split that it is used in."""

    kind: Kind
    """What it asks for."""

    template: str
    """Text over `{alert}`, `{words}`, `{severity}`, `{place}`, `{symptom}`, `{other}` (another
    symptom), the payloads `{labels}`, `{webhook}`, `{active}`, `{group}`, and words chosen for each
    alert: `{opener}`, `{closer}`, the verbs `{mend}` and `{look_into}`, `{hands_off}`."""

    @property
    def fields(self) -> frozenset[str]:
        """What the text is written over, whatever the case of the first letter."""
        return frozenset(re.findall(r"\{(\w+?)(?:_lower|_upper)?\}", self.template))

    @property
    def needs_symptom(self) -> bool:
        """Whether the text describes what is seen instead of naming the alert."""
        return bool(self.fields & _SYMPTOMS)

    @property
    def tells_symptom_alone(self) -> bool:
        """Whether the text has nothing of the alert but a symptom, and no chosen words."""
        return self.needs_symptom and self.fields <= _SYMPTOMS


def _phrasings(split: Split, kind: Kind, templates: str) -> Iterator[Phrasing]:
    for at, template in enumerate(templates.strip().splitlines()):
        yield Phrasing(
            name=f"{kind}-{split}-{at:02d}", split=split, kind=kind, template=template.strip()
        )


PHRASINGS: tuple[Phrasing, ...] = (
    *_phrasings(
        Split.TRAIN,
        Kind.RESOLVE,
        """
        {labels}
        {webhook}
        {webhook} Please fix this.
        [FIRING] {alert} ({severity})
        {alert} is firing, please fix it.
        Fix {alert}.
        Resolve {alert} {place}.
        We have {alert} {place}. What do you do?
        {alert}: {symptom}
        Handle the {words} alert.
        The pager woke me up: {alert}. Take care of it.
        {symptom}.
        {symptom}. Please fix it.
        {other}. Can you resolve this?
        Hey, {symptom_lower}. {other}.
        {other}, handle it please.
        {active}
        {active} Deal with it.
        {active} Repair this, it is {severity}.
        Alert: {alert}, severity {severity}. Act on it.
        Page for {alert}: {symptom_lower}. Mend it.
        {alert} ({severity}) {place}
        Can you fix {alert} {place}?
        Would you sort out {alert}, please?
        I see {alert} in the channel, can somebody act?
        {alert} has been firing for ten minutes. Remedy it.
        Apply the remedy for {alert}.
        What would you run against {alert}?
        Run whatever the runbook says for {alert}.
        Do something about {words}.
        It says {words} {place}, please mend it.
        Hello, {alert} came up overnight. Deal with it.
        Problem: {symptom_lower}. Remedy it.
        We noticed that {symptom_lower}. Fix that.
        {symptom}, what now?
        Could somebody fix this? {other}.
        Urgent: {other_lower}. Act on it now.
        Since an hour ago {symptom_lower}. Can you deal with it?
        My colleague says: {other_lower}. Please mend it.
        Again: {other_lower}!
        {alert}!
        {alert} {place}: deal with it.
        {alert} showed up {place}, can you mend it?
        {alert} began to fire {place}. Remedy it now.
        Hi, {alert} fires again ({severity}). Act on it.
        Hello. There is {alert} ({severity}), repair it if possible.
        A page came in: {alert}. Would you fix it?
        Are you able to remedy {alert}?
        Look after {alert} {place}, will you?
        New: {alert}, {severity}. Get it fixed.
        I was told to ask you about {alert}. Resolve it.
        After lunch {alert} started {place}, please act.
        {opener}{mend} {alert}{closer}
        {opener}{mend} {alert} {place}{closer}
        {opener}would you {mend} {alert}{closer}
        {opener}somebody has to {mend} {alert} {place}{closer}
        {opener}{mend} the {words} alert{closer}
        {opener}{mend} what {alert} is about{closer}
        {opener}{mend} the following{closer} {symptom}.
        {opener}what to {mend}: {other_lower}.
        {opener}{symptom_lower}. {mend_upper} that{closer}
        {opener}{other_lower}, {mend} it{closer}
        """,
    ),
    *_phrasings(
        Split.VALID,
        Kind.RESOLVE,
        """
        Please repair {alert}.
        {symptom}. Take care of it please.
        {alert} again {place}, resolve it.
        We are seeing {alert}, sort it out.
        Oh no, {other_lower}...
        Act at once: {symptom_lower}.
        """,
    ),
    *_phrasings(
        Split.TEST_KNOWN,
        Kind.RESOLVE,
        """
        {group}
        Could you handle {alert} for me?
        {alert} just fired {place}, please take care of it.
        Good morning. {alert} is firing ({severity}), fix it if you can.
        Help, {symptom_lower}!
        Please resolve this: {other_lower}.
        """,
    ),
    *_phrasings(
        Split.TRAIN,
        Kind.INVESTIGATE,
        """
        Investigate {alert}.
        Look into {alert} but change nothing.
        Diagnose {alert} first.
        {symptom}. Only investigate.
        Investigate {alert} {place}, do not fix it yet.
        {labels} Only diagnose this.
        {other}. Look into it but change nothing.
        Only diagnose the {words} alert.
        Diagnose {alert} {place}, nothing else.
        Find out why {alert} fires.
        What is behind {alert}? Only look.
        Gather details on {alert} {place}, touch nothing.
        Show me what is going on with {alert}.
        {alert}: diagnose only.
        [FIRING] {alert} ({severity}). Investigate, no changes.
        {active} Look, but do not touch.
        {webhook} Only investigate.
        Inspect {alert} before anybody changes something.
        Collect facts about the {words} alert, no repair.
        Why would it be that {symptom_lower}? Just diagnose.
        {symptom}: find the cause, leave it as it is.
        Have a look, {other_lower}. Make no changes.
        Just check {alert}, hands off.
        We want to understand {alert}. Diagnose it, then stop.
        Read only: {symptom_lower}.
        Would you find out what causes {alert}? Leave it as it is.
        {alert} {place}: look, then tell me. No repair.
        Hello, diagnose {alert} ({severity}) and stop there.
        {opener}{look_into} {alert}{closer}
        {opener}{look_into} {alert} {place}{closer}
        {opener}would you {look_into} {alert}{closer}
        {opener}somebody has to {look_into} {alert} {place}{closer}
        {opener}{look_into} the {words} alert{closer}
        {opener}{look_into} what {alert} is about{closer}
        {opener}{look_into} {alert} {place}, {hands_off}{closer}
        {opener}{hands_off}, {look_into} {alert}{closer}
        {opener}{look_into} {alert} ({severity}). {hands_off_upper}{closer}
        {labels} {look_into_upper} it{closer}
        {active} {look_into_upper} it, {hands_off}{closer}
        {opener}{look_into} the following{closer} {symptom}.
        {opener}what to {look_into}: {other_lower}.
        {opener}{symptom_lower}. {look_into_upper} that{closer}
        {opener}{other_lower}, {look_into} it{closer}
        {opener}{look_into} the following, {hands_off}: {other_lower}.
        {opener}{symptom_lower}. {look_into_upper} it, {hands_off}{closer}
        """,
    ),
    *_phrasings(
        Split.VALID,
        Kind.INVESTIGATE,
        """
        Investigate why {alert} is firing.
        Check {alert} {place}, but leave everything alone.
        Look at it without changing it: {symptom_lower}.
        Only a diagnosis: {other_lower}.
        """,
    ),
    *_phrasings(
        Split.TEST_KNOWN,
        Kind.INVESTIGATE,
        """
        Please look into {alert}, only diagnose and change nothing.
        Investigate this first: {symptom_lower}. Do not fix it yet.
        Diagnose {alert} {place} for me.
        """,
    ),
)
"""All phrasings of alerts. Unseen alerts are asked with those of `test_known`."""

# What both kinds of request may begin and end with, so that only the verb tells them apart.
_CHOSEN: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        name: texts.split("|")
        for name, texts in {
            "opener": "||||hi, |hello team: |when you have time, |quickly: |attention, |"
            "first of all, |next one: |as agreed, |hm, |dear agent, ",
            "closer": ".|.|.|!|, please.|, thanks.| now.| today.| for us.| when you can.|"
            " right away.| before lunch.| if you would.|, will you?",
            "mend": "fix|repair|resolve|mend|remedy|handle|sort out|deal with|take care of|act on|"
            "clear up|cure|put right|treat|end|settle",
            "look_into": "diagnose|investigate|look into|inspect|check|examine|analyse|study|"
            "explain|look at|find the cause of|research|probe|collect facts about|describe|"
            "get details on",
            "hands_off": "change nothing|touch nothing|no repair|do not fix anything|"
            "leave it as it is|only look|no changes|hands off|nothing else",
        }.items()
    }
)
_PLACES = ("in the lab", "at home", "on the main cluster", "since tonight", "after the update")


def symptoms_of(alert: Alert) -> tuple[str, ...]:
    """Gives what people see: the runbook's symptoms, else the sentences of its summary."""
    texts = alert.symptoms or tuple(_SENTENCE_END.split(alert.summary))
    clean = (text.strip().rstrip(".:;!") for text in texts)
    return tuple(text for text in clean if 8 <= len(text) <= _MAX_SYMPTOM)


def words_of(name: str) -> str:
    """Splits a name at its capitals.

    >>> words_of("KubePodCrashLooping"), words_of("CoreDNSErrorsHigh")
    ('kube pod crash looping', 'core dns errors high')
    """
    parts = re.findall(r"[A-Z]+(?=[A-Z][a-z]|\b|_|\d)|[A-Z]?[a-z]+|\d+", name)
    return " ".join(part.lower() for part in parts) or name.lower()


def write_request(phrasing: Phrasing, alert: Alert, *, severity: str) -> str | None:
    """Writes one request, or None where the alert lacks the symptom that the phrasing needs."""
    symptoms = symptoms_of(alert)
    if phrasing.needs_symptom and not symptoms:
        return None
    key = f"{alert.name}/{phrasing.name}"
    first = symptoms[0] if symptoms else ""
    other = symptoms[-1] if symptoms else ""
    labels = invent_labels(alert, severity, key)
    place = choice(_PLACES, key)
    if "namespace" in labels:
        place = f"in {labels['namespace']}"
    text = phrasing.template.format_map(
        {
            **_chosen_words(phrasing, key=key, told={"symptom": first, "other": other}),
            "alert": alert.name,
            "words": words_of(alert.name),
            "severity": severity,
            "place": place,
            "symptom": first,
            "symptom_lower": lower_first(first),
            "other": other,
            "other_lower": lower_first(other),
            **write_payloads(labels, summary=first, description=other, key=key),
        },
    )
    return upper_first(text) if phrasing.template.startswith("{opener}") else text


def _chosen_words(phrasing: Phrasing, *, key: str, told: Mapping[str, str]) -> dict[str, str]:
    """Chooses openers, verbs and closers by `key`, or by the symptom where it stands alone.

    Alerts that share a symptom thus share the request about it, which is left out as ambiguous.
    """
    if phrasing.needs_symptom and phrasing.fields <= _SYMPTOMS | set(_CHOSEN):
        key = "/".join(
            [*(told[name] for name in sorted(phrasing.fields & _SYMPTOMS)), phrasing.name]
        )
    chosen = {name: choice(words, f"{key}/{name}") for name, words in _CHOSEN.items()}
    return chosen | {f"{name}_upper": upper_first(word) for name, word in chosen.items()}


def lower_first(text: str) -> str:
    """Lowers the first letter unless the first word is a name such as CoreDNS or SMART."""
    word = text.split(maxsplit=1)[0] if text else ""
    return text if any(c.isupper() for c in word[1:]) else text[:1].lower() + text[1:]


def upper_first(text: str) -> str:
    """Raises the first letter and leaves the others alone.

    >>> upper_first("fix CoreDNSErrorsHigh")
    'Fix CoreDNSErrorsHigh'
    """
    return text[:1].upper() + text[1:]


_UNKNOWN_ALERTS: Mapping[Split, str] = MappingProxyType(
    {
        Split.TRAIN: """RedisMemoryHigh KafkaConsumerLag PrinterOutOfPaper UpsOnBattery
        SolarInverterOffline GpuTemperatureHigh RouterFirmwareOld MailQueueGrowing
        MinioDriveOffline ElasticShardsUnassigned DoorSensorSilent VaultSealed
        RabbitQueueBlocked SwitchPortFlapping TapeLibraryJammed WeatherStationStale
        BitcoinNodeBehind MongoPrimaryMissing LdapBindFailing ThermostatUnreachable
        AquariumTooWarm BridgeSignalWeak CassandraRepairLate DrillOverheated
        EmailBounceRateHigh FaxLineBusy GreenhouseHumidityLow HeatPumpFrozen
        InventorySyncBroken JenkinsAgentOffline KioskScreenBlack LiftStuck MeterReadingLost
        NatsStreamFull OracleListenerDown ParkingGateOpen QuotaServerSlow RadiusTimeout
        SmokeDetectorBatteryLow TurbineSpinningFast UsbHubDisconnected VoipCallsDropping
        WebcamBlurred XmppBridgeClosed YarnQueueWaiting ZigbeeMeshSplit""",
        Split.VALID: "CameraStreamLost HarborScanOverdue FridgeDoorOpen",
        Split.TEST_UNSEEN: """InfluxWritesFailing WaterLeakDetected ConsulLeaderLost
        LaserTonerLow AccessPointRebooting ClickhousePartsTooMany""",
    }
)
_UNKNOWN_TEMPLATES: Mapping[Split, tuple[str, ...]] = MappingProxyType(
    {
        Split.TRAIN: (
            "{alert} is firing, please fix it.",
            "Fix {alert}.",
            '{{"status":"firing","labels":{{"alertname":"{alert}","severity":"warning"}}}}',
            "Investigate {alert}.",
            "[FIRING] {alert} (critical)",
            "{alert} came up overnight. Deal with it.",
            "Look into {alert} but change nothing.",
        ),
        Split.VALID: ("Please repair {alert}.",),
        Split.TEST_UNSEEN: ("Could you handle {alert} for me?", "[ALERT] {alert}: do something."),
    }
)


def unknown_alert_requests(split: Split) -> Iterator[tuple[str, str]]:
    """Gives names of alerts that no runbook of ours knows, each with a request about it."""
    for name in _UNKNOWN_ALERTS.get(split, "").split():
        for template in _UNKNOWN_TEMPLATES[split]:
            yield name, template.format(alert=name)


SURROUNDING_TEMPLATES: Mapping[Split, tuple[str, ...]] = MappingProxyType(
    {
        Split.TRAIN: (
            "{text}",
            "Hi. {text}",
            "{text} Thanks!",
            "Listen: {text}",
            "Hm, {text_lower}",
            "Hello team. {text}",
            "Sorry to bother you. {text}",
            "By the way, {text_lower}",
            "Quick question: {text_lower}",
            "{text} Cheers.",
            "And now: {text_lower}",
            "Well... {text_lower}",
            "Me again. {text}",
            "Dear all, {text_lower}",
            "Just so you know: {text_lower}",
            "While I am here: {text_lower}",
            "Oh, and {text_lower}",
            "Before I forget: {text_lower}",
            "Hey there, {text_lower}",
        ),
        Split.VALID: ("Hello there. {text}", "Now then, {text_lower}"),
        Split.TEST_IRRELEVANT: (
            "{text}",
            "Good evening, {text_lower}",
            "One more thing: {text_lower}",
        ),
    }
)
"""How the requests of a tools file are worded; the texts of the test are other texts as well."""


_MOST_TEXTS = 20
"""How many of a text with choices are taken."""

_WORDINGS, _WORDINGS_OF_CHOICES = 8, 2
"""Most wordings of a text, and of one that was chosen from many."""


def surrounding_requests(text: str, split: Split) -> Iterator[str]:
    """Writes a request of a tools file in the wordings of a split.

    Of a text with choices every eighth belongs to validation, and a test asks one alone.
    """
    texts, most = sorted(expanded(text), key=number)[:_MOST_TEXTS], _WORDINGS
    if len(texts) > 1:
        most = _WORDINGS_OF_CHOICES
        of_valid = texts[::8]
        if split is Split.VALID:
            texts = of_valid
        elif split is Split.TRAIN:
            texts = [other for other in texts if other not in of_valid]
        else:
            texts, most = texts[:1], _WORDINGS
    for one in texts:
        for template in some(SURROUNDING_TEMPLATES[split], most, one):
            yield template.format(text=one, text_lower=lower_first(one))

"""Alertmanager's messages about one alert, with label values chosen by hashes of names."""

import json
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from training.alerts import Alert
from training.hashed import choice, number
from training.shell_lines import placeholders

_LABEL_VALUES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "namespace": ("media", "home", "apps", "monitoring", "databases", "games", "backup"),
        "node": ("node-a", "node-b", "node-c", "rack-1", "rack-2", "attic"),
        "pod": ("web-7c9d5", "api-58bf4", "worker-9f2kd", "db-0", "sync-66b7c"),
        "instance": ("10.0.0.11:9100", "10.0.0.12:9100", "10.0.0.13:9100"),
    }
)
_OTHER_VALUES = ("photos", "wiki", "jellyfin", "gitea", "paperless", "mosquitto", "grafana")


def invent_labels(alert: Alert, severity: str, key: str) -> dict[str, str]:
    """Invents label values for the placeholders that the alert's commands use."""
    labels = {"alertname": alert.name, "severity": severity}
    for command in alert.commands:
        for placeholder in placeholders(command.line.text):
            name = re.sub(r"\W+", "_", placeholder.strip("<>${} ").lower()).strip("_")
            if name and len(labels) < 5:
                labels.setdefault(name, choice(_LABEL_VALUES.get(name, _OTHER_VALUES), key + name))
    return labels


def write_payloads(
    labels: Mapping[str, str], *, summary: str, description: str, key: str
) -> dict[str, str]:
    """Writes an alert in each of Alertmanager's forms, as JSON.

    Args:
        labels: Its labels.
        summary: What is seen, for the webhook's annotation.
        description: The same or another symptom, for the other forms.
        key: Decides the moment it began.

    Returns:
        `labels` alone, the body of a `webhook`, an entry of the `active` alerts, and a webhook of
        a `group`.
    """
    return {
        "labels": _json({"status": "firing", "labels": labels}),
        "webhook": _json(_webhook(labels, summary, key)),
        "active": _json(_active(labels, description, key)),
        "group": _json(_group(labels, description)),
    }


def _webhook(labels: Mapping[str, str], summary: str, key: str) -> dict[str, Any]:
    """Builds the body that Alertmanager posts to a webhook, for one alert."""
    alert: dict[str, Any] = {"status": "firing", "labels": labels, "startsAt": _moment(key)}
    if summary:
        alert["annotations"] = {"summary": summary}
    return {"version": "4", "status": "firing", "alerts": [alert]}


def _active(labels: Mapping[str, str], description: str, key: str) -> dict[str, Any]:
    """Builds an alert as Alertmanager's list of active alerts has it."""
    return {
        "annotations": {"description": description} if description else {},
        "startsAt": _moment(key),
        "status": {"state": "active"},
        "labels": labels,
    }


def _group(labels: Mapping[str, str], summary: str) -> dict[str, Any]:
    """Builds a webhook body as a grouped notification has it, with other keys first."""
    return {
        "receiver": "agent",
        "groupLabels": {"alertname": labels["alertname"]},
        "commonLabels": labels,
        "commonAnnotations": {"description": summary} if summary else {},
        "status": "firing",
    }


def _moment(key: str) -> str:
    drawn = number(key)
    return f"2026-0{1 + drawn % 9}-{1 + drawn % 28:02d}T{drawn % 24:02d}:{drawn % 60:02d}:00Z"


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)

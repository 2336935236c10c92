"""How much harm a command can do: reads, changes, destroys, or nobody can say."""

# ruff: noqa: SIM905 - tables of words read better as text

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Risk(StrEnum):
    """What a command does to the system it runs against, mildest first."""

    READ = "read"
    """Only looks."""

    CHANGE = "change"
    """Changes something that can be changed back, or that a controller restores."""

    DESTRUCTIVE = "destructive"
    """Deletes, drains, resets or stops; never called without a person."""

    UNKNOWN = "unknown"
    """Not in the tables; treated as unsafe."""


_ORDER: Final = (Risk.READ, Risk.CHANGE, Risk.DESTRUCTIVE, Risk.UNKNOWN)


def worst(*risks: Risk) -> Risk:
    """Gives the most dangerous of several; a known destruction outweighs what is unknown."""
    if Risk.DESTRUCTIVE in risks:
        return Risk.DESTRUCTIVE
    return max(risks, key=_ORDER.index, default=Risk.READ)


def _table(**words: str) -> Mapping[str, Risk]:
    """Builds verb -> risk from three comma-separated lists."""
    return MappingProxyType(
        {
            verb.strip(): Risk(risk)
            for risk, verbs in words.items()
            for verb in verbs.split(",")
            if verb.strip()
        }
    )


_KUBECTL = _table(
    read="get, describe, logs, log, top, explain, events, diff, version, cluster-info, "
    "api-resources, api-versions, config view, config get-contexts, config current-context, "
    "auth can-i, auth whoami, cost, rollout status, rollout history, wait, port-forward, adm top",
    change="rollout restart, rollout undo, rollout pause, rollout resume, scale, label, annotate, "
    "cordon, uncordon, set image, set env, set resources, apply, create, patch, edit, expose, "
    "autoscale, taint, debug, run, certificate approve, adm uncordon, adm cordon",
    destructive="delete, drain, adm drain, replace, certificate deny, config delete-context",
)

_VERBS: Mapping[str, Mapping[str, Risk]] = MappingProxyType(
    {
        "kubectl": _KUBECTL,
        "oc": _KUBECTL,
        "flux": _table(
            read="get, logs, events, trace, tree, check, stats, export, diff, build, version",
            change="reconcile, resume, suspend, create, install, bootstrap, push, pull, tag",
            destructive="delete, uninstall",
        ),
        "helm": _table(
            read="list, ls, status, history, get values, get manifest, get notes, get all, "
            "get hooks, show chart, show values, search repo, template, lint, version, env",
            change="upgrade, install, rollback, repo update, repo add, dependency update, test",
            destructive="uninstall, delete",
        ),
        "talosctl": _table(
            read="health, dmesg, logs, get, version, memory, disks, containers, stats, time, "
            "services, service, service status, etcd status, etcd members, etcd alarm, "
            "list, read, df, usage, image list",
            change="service restart, service start, etcd defrag, etcd forfeit-leadership, "
            "etcd snapshot, apply-config, patch",
            destructive="reset, reboot, shutdown, wipe, upgrade, upgrade-k8s, bootstrap, rollback, "
            "service stop, etcd remove-member, etcd leave",
        ),
        "velero": _table(
            read="get, version, backup get, backup describe, backup logs, restore get, "
            "restore describe, restore logs, schedule get, schedule describe, backup-location get",
            change="backup create, schedule create, restore create, schedule pause, "
            "schedule unpause",
            destructive="delete, uninstall, backup delete, schedule delete, restore delete",
        ),
        "systemctl": _table(
            read="status, is-active, is-enabled, is-failed, list-units, list-timers, cat, show",
            change="restart, reload, start, enable, daemon-reload, reset-failed",
            destructive="stop, disable, mask, poweroff, reboot, halt, kill",
        ),
        "etcdctl": _table(
            read="endpoint health, endpoint status, member list, alarm list, get, version, "
            "snapshot status, snapshot save",
            change="defrag, alarm disarm, compact, put, move-leader",
            destructive="del, member remove, snapshot restore",
        ),
        "redis-cli": _table(
            read="info, ping, llen, dbsize, memory, slowlog, latency, xinfo, xlen, keys, scan, get",
            change="bgsave, config, xack, xclaim, set",
            destructive="flushall, flushdb, del, xtrim, shutdown",
        ),
        "rabbitmqctl": _table(
            read="list_queues, list_connections, list_consumers, status, cluster_status, ping",
            change="start_app, set_policy, close_connection",
            destructive="purge_queue, delete_queue, reset, force_reset, stop_app, stop",
        ),
        "nats": _table(
            read="stream info, stream ls, stream report, consumer info, consumer ls, "
            "consumer report, server check, server report, account info, rtt",
            change="stream edit, stream backup, consumer edit, consumer pause, consumer resume, "
            "stream cluster",
            destructive="stream purge, stream rm, stream delete, consumer rm, consumer delete",
        ),
        "ollama": _table(
            read="list, ls, ps, show", change="pull, run, create, cp, stop", destructive="rm"
        ),
        "crictl": _table(
            read="ps, pods, images, logs, info, inspect, inspecti, stats, version",
            change="pull, exec",
            destructive="rm, rmi, rmp, stop, stopp",
        ),
        "git": _table(
            read="log, diff, status, show, blame, fetch",
            change="commit, add, pull, revert, checkout, switch, merge",
            destructive="push, reset, clean, rm",
        ),
        "cilium": _table(
            read="status, version, endpoint, monitor, bpf, connectivity, sysdump",
            change="hubble, upgrade, install",
            destructive="uninstall",
        ),
        "cmctl": _table(read="status, check, inspect", change="renew, approve", destructive="deny"),
        "amtool": _table(
            read="alert, config, check-config, cluster, template", change="silence, silence add"
        ),
        "restic": _table(
            read="snapshots, stats, check, ls, find, diff",
            change="backup, unlock, restore",
            destructive="forget, prune, rewrite",
        ),
        "sops": _table(read="filestatus", change="updatekeys, rotate, encrypt, edit"),
        "cosign": _table(read="verify, tree, triangulate", change="sign, attest"),
        "k3s": _table(read="check-config, etcd-snapshot", change="certificate"),
        "zpool": _table(
            read="status, list, iostat, history",
            change="scrub, clear, online",
            destructive="destroy",
        ),
    }
)

_READERS = frozenset(
    """df du cat ls free top dmesg ping dig nslookup ip ss iostat uptime lsblk journalctl
    nvidia-smi openssl lsof jq yq stat ps nc traceroute tail head grep ntpq chronyc timedatectl
    vmstat awk sort uniq wc cut tr less column base64 echo exit find sed smartctl sysctl promtool
    trivy kubescape kube-bench kyverno polaris opencost gitleaks pluto kubent conftest popeye
    infracost""".split()
)
_WRITERS = frozenset({"tee", "mount", "fstrim"})
_DESTROYERS = frozenset(
    """rm dd reboot shutdown kill pkill umount wipefs truncate e2fsck xfs_repair""".split()
)
_CURL_METHOD = re.compile(r"(?:^|\s)(?:-X\s*|--request[= ])(\w+)")
_CURL_BODY = re.compile(r"(?:^|\s)(?:-[dFT]\b|--data|--json|--form|--upload-file)")
_METHOD_RISKS = MappingProxyType({"GET": Risk.READ, "HEAD": Risk.READ, "DELETE": Risk.DESTRUCTIVE})


def program_risk(program: str, verb: str) -> Risk:
    """Judges a program's verb, before flags and inner commands are looked at."""
    if program in _VERBS:
        table = _VERBS[program]
        return table.get(verb, table.get(verb.split(" ", maxsplit=1)[0], Risk.UNKNOWN))
    if program in _READERS or program == "curl":
        return Risk.READ
    if program in _WRITERS:
        return Risk.CHANGE
    if program in _DESTROYERS or program.startswith("mkfs"):
        return Risk.DESTRUCTIVE
    return Risk.UNKNOWN


def flag_risk(program: str, verb: str, flags: Mapping[str, str], arguments: str) -> Risk:
    """Judges what flags add to the verb: `scale --replicas=0` stops, `--force` overrides.

    Args:
        program: Name of the program.
        verb: Its verb.
        flags: Long flag names to values; a flag without a value maps to `true`.
        arguments: Positional arguments, joined by spaces; all words of a program without verbs.
    """
    if program in ("kubectl", "oc"):
        return _kubectl_flag_risk(verb, flags, arguments)
    if program == "curl":
        return _curl_risk(arguments)
    if program == "helm" and "force" in flags:
        return Risk.DESTRUCTIVE
    if program == "talosctl" and verb == "service":
        if re.search(r"\bstop\b", arguments):
            return Risk.DESTRUCTIVE
        return Risk.CHANGE if re.search(r"\b(?:re)?start\b", arguments) else Risk.READ
    if program in ("find", "sed") and re.search(r"-delete\b|-exec|(?:^|\s)-i", arguments):
        return Risk.DESTRUCTIVE
    if program == "sysctl" and re.search(r"(?:^|\s)-w\b|=", arguments):
        return Risk.CHANGE
    return Risk.READ


def _kubectl_flag_risk(verb: str, flags: Mapping[str, str], arguments: str) -> Risk:
    if verb == "scale" and flags.get("replicas") == "0":
        return Risk.DESTRUCTIVE
    if verb in ("apply", "replace") and ({"force", "prune"} & flags.keys()):
        return Risk.DESTRUCTIVE
    if verb == "patch" and re.search(r"finalizers\"?\s*:\s*(null|\[\s*\])", flags.get("patch", "")):
        return Risk.DESTRUCTIVE
    if verb == "taint" and "NoExecute" in arguments:
        return Risk.DESTRUCTIVE
    return Risk.READ


def _curl_risk(arguments: str) -> Risk:
    """Judges a request by its method, which a body turns into POST."""
    method = _CURL_METHOD.search(arguments)
    if method:
        return _METHOD_RISKS.get(method[1].upper(), Risk.CHANGE)
    return Risk.CHANGE if _CURL_BODY.search(arguments) else Risk.READ

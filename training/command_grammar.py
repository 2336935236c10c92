"""What each program's words mean: which flags take a value, which word is the resource.

Tables only; `commands` reads with them and `command_risk` judges.
"""

# ruff: noqa: SIM905 - tables of words read better as text

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """How one program's arguments are read."""

    valued: frozenset[str] = frozenset()
    """Long flags (without dashes) that take a value."""

    short: Mapping[str, str] = field(default_factory=dict)
    """Short flags by letter, with their long names."""

    verb_short: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Short flags that mean something else after a verb, by verb."""

    verb_boolean: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Long flags that take no value after a verb although they do elsewhere."""

    two_word_verbs: frozenset[str] = frozenset()
    """Verbs whose second word belongs to the verb, as in `rollout restart`."""

    implied: Mapping[str, str] = field(default_factory=dict)
    """The resource of verbs that name only an object, as `logs` a pod."""

    two_word_resources: frozenset[str] = frozenset()
    """Resources of two words, as in `flux get sources git`."""

    kinds_of_created: frozenset[str] = frozenset()
    """Resources whose second word is their kind after `create`, as in `create secret generic`."""

    bare: frozenset[str] = frozenset()
    """Verbs that take no resource; all that follows are plain arguments."""

    aliases: Mapping[str, str] = field(default_factory=dict)
    """Short or plural resource names, with the name they are written as."""

    has_verbs: bool = True
    """False for programs such as `df`, whose words are all arguments."""


_KUBE_ALIASES = MappingProxyType(
    {
        "po": "pod",
        "pods": "pod",
        "deploy": "deployment",
        "deployments": "deployment",
        "sts": "statefulset",
        "statefulsets": "statefulset",
        "ds": "daemonset",
        "daemonsets": "daemonset",
        "svc": "service",
        "services": "service",
        "no": "node",
        "nodes": "node",
        "ns": "namespace",
        "namespaces": "namespace",
        "pvc": "persistentvolumeclaim",
        "pv": "persistentvolume",
        "cm": "configmap",
        "configmaps": "configmap",
        "secrets": "secret",
        "ing": "ingress",
        "ingresses": "ingress",
        "jobs": "job",
        "cj": "cronjob",
        "cronjobs": "cronjob",
        "ev": "events",
        "event": "events",
        "ep": "endpoints",
        "rs": "replicaset",
        "replicasets": "replicaset",
        "csr": "certificatesigningrequest",
        "hpa": "horizontalpodautoscaler",
        "sa": "serviceaccount",
        "serviceaccounts": "serviceaccount",
        "crd": "customresourcedefinition",
        "crds": "customresourcedefinition",
        "certificates": "certificate",
        "certs": "certificate",
        "quota": "resourcequota",
        "resourcequotas": "resourcequota",
        "limits": "limitrange",
        "netpol": "networkpolicy",
        "networkpolicies": "networkpolicy",
        "pdb": "poddisruptionbudget",
        "poddisruptionbudgets": "poddisruptionbudget",
        "hr": "helmrelease",
        "helmreleases": "helmrelease",
        "ks": "kustomization",
        "kustomizations": "kustomization",
    }
)

_KUBE_VALUED = frozenset(
    """namespace selector output container filename field-selector context cluster kubeconfig
    tail since since-time replicas timeout type patch sort-by from-literal from-file template
    image for subresource as grace-period overrides limit-bytes user server token
    restart port target-port chunk-size raw cascade profile max-log-requests current-replicas
    label-columns window field-manager pod-running-timeout ignore-errors""".split()
)
_KUBE_SHORT = MappingProxyType(
    {
        "n": "namespace",
        "l": "selector",
        "o": "output",
        "c": "container",
        "f": "filename",
        "A": "all-namespaces",
        "w": "watch",
        "i": "stdin",
        "t": "tty",
        "p": "patch",
        "L": "label-columns",
        "k": "kustomize",
        "s": "server",
        "R": "recursive",
        "q": "quiet",
    }
)
_KUBECTL = Grammar(
    valued=_KUBE_VALUED | {"kustomize"},
    short=_KUBE_SHORT,
    verb_short={
        "logs": {"p": "previous", "f": "follow"},
        "log": {"p": "previous", "f": "follow"},
    },
    two_word_verbs=frozenset({"rollout", "set", "config", "auth", "certificate", "adm", "alpha"}),
    implied={
        "logs": "pod",
        "log": "pod",
        "exec": "pod",
        "rsh": "pod",
        "attach": "pod",
        "port-forward": "pod",
        "debug": "pod",
        "drain": "node",
        "cordon": "node",
        "uncordon": "node",
        "certificate approve": "certificatesigningrequest",
        "certificate deny": "certificatesigningrequest",
        "run": "pod",
    },
    bare=frozenset(
        [
            *"cluster-info version api-resources api-versions cp apply replace diff".split(),
            *"proxy completion plugin options kustomize".split(),
            *("config view", "config get-contexts", "config current-context"),
            *("config use-context", "auth can-i", "auth whoami"),
        ]
    ),
    kinds_of_created=frozenset({"secret", "service"}),
    aliases=_KUBE_ALIASES,
)

_FLUX = Grammar(
    valued=frozenset(
        """namespace kubeconfig context timeout interval output tail since kind name path
        depends-on status-selector label-selector source export-secret-ref label for server url
        branch tag""".split()
    ),
    short={"n": "namespace", "A": "all-namespaces", "o": "output", "f": "follow", "l": "label"},
    two_word_resources=frozenset({"source", "sources", "image", "images"}),
    bare=frozenset({"check", "version", "install", "uninstall", "bootstrap", "stats", "logs"}),
    aliases={
        "ks": "kustomization",
        "kustomizations": "kustomization",
        "hr": "helmrelease",
        "helmreleases": "helmrelease",
        "alerts": "alert",
        "receivers": "receiver",
        "alert-providers": "alert-provider",
        "sources": "source",
        "images": "image",
    },
)

_HELM = Grammar(
    valued=frozenset(
        """namespace kubeconfig kube-context timeout output revision max filter set set-string
        values version repo history-max sort-by""".split()
    ),
    short={"n": "namespace", "A": "all-namespaces", "o": "output", "f": "values", "a": "all"},
    two_word_verbs=frozenset({"get", "repo", "show", "search", "dependency", "plugin"}),
    implied=dict.fromkeys(
        [
            *"status history rollback uninstall delete upgrade install test".split(),
            *("get values", "get manifest", "get notes", "get all", "get hooks"),
        ],
        "release",
    ),
    bare=frozenset({"list", "ls", "version", "env", "template", "lint", "package", "pull"}),
)

_TALOSCTL = Grammar(
    valued=frozenset({"nodes", "endpoints", "talosconfig", "context", "output", "tail", "image"}),
    short={"n": "nodes", "e": "endpoints", "o": "output", "f": "follow", "k": "kubernetes"},
    two_word_verbs=frozenset({"etcd", "image", "config"}),
    implied={"service": "service", "logs": "service"},
    bare=frozenset({"health", "dmesg", "memory", "stats", "reboot", "reset", "shutdown", "time"}),
)

_VELERO = Grammar(
    valued=frozenset(
        """namespace from-schedule from-backup include-namespaces exclude-namespaces ttl
        selector output storage-location""".split()
    ),
    short={"n": "namespace", "l": "selector", "o": "output"},
    two_word_verbs=frozenset({"backup", "restore", "schedule", "backup-location"}),
    implied={
        f"{kind} {verb}": kind
        for kind in ("backup", "restore", "schedule", "backup-location")
        for verb in ("get", "describe", "logs", "create", "delete", "pause", "unpause")
    },
)

_SYSTEMD = Grammar(
    valued=frozenset({"unit", "lines", "since", "until", "boot", "priority", "host"}),
    short={"u": "unit", "n": "lines", "f": "follow", "p": "priority", "H": "host"},
    implied=dict.fromkeys(
        "status restart reload start stop enable disable mask cat show is-active is-failed".split(),
        "unit",
    ),
)

_ETCDCTL = Grammar(
    valued=frozenset(
        "endpoints cacert cert key write-out command-timeout dial-timeout user".split()
    ),
    short={"w": "write-out"},
    two_word_verbs=frozenset({"endpoint", "member", "alarm", "snapshot", "user", "role", "auth"}),
    bare=frozenset({"defrag", "version", "get", "put", "del", "compact"}),
)

_NATS = Grammar(
    valued=frozenset({"server", "context", "creds", "timeout", "count", "keep", "seq"}),
    short={"s": "server", "f": "force"},
    two_word_verbs=frozenset({"stream", "consumer", "server", "account"}),
    implied={
        f"{kind} {verb}": kind
        for kind in ("stream", "consumer")
        for verb in "info edit purge rm delete pause resume backup cluster report ls next".split()
    },
)

_SERVICE_CLIENT = Grammar(
    valued=frozenset(
        """namespace host port user database command db output format severity file image
        policy report exit-code scanners config kubeconfig window target benchmark ignore-unfixed
        key certificate-identity certificate-oidc-issuer since aggregate source""".split()
    ),
    short={"n": "namespace", "h": "host", "p": "port", "o": "output", "c": "command", "q": "quiet"},
)

_CMCTL = Grammar(
    valued=frozenset({"namespace", "selector", "kubeconfig", "context", "output"}),
    short={"n": "namespace", "l": "selector", "A": "all-namespaces", "o": "output"},
    implied={"renew": "certificate", "approve": "certificaterequest"},
    two_word_verbs=frozenset({"status", "check"}),
)

_PLAIN = Grammar(has_verbs=False)

GRAMMARS: Mapping[str, Grammar] = MappingProxyType(
    {
        "kubectl": _KUBECTL,
        "oc": _KUBECTL,
        "flux": _FLUX,
        "helm": _HELM,
        "talosctl": _TALOSCTL,
        "velero": _VELERO,
        "systemctl": _SYSTEMD,
        "etcdctl": _ETCDCTL,
        "nats": _NATS,
        "cmctl": _CMCTL,
    }
    | dict.fromkeys(
        """redis-cli psql rabbitmqctl ollama trivy kubescape kube-bench kyverno polaris opencost
        cosign crictl cilium git promtool amtool zpool gitleaks pluto kubent
        k3s docker restic rclone sops istioctl kubeseal kubelet conftest popeye infracost
        cert-manager""".split(),
        _SERVICE_CLIENT,
    )
    | dict.fromkeys(
        """journalctl df du cat ls free top dmesg ping dig nslookup ip ss iostat uptime lsblk
        smartctl nvidia-smi openssl sysctl lsof curl jq yq stat find ps nc traceroute tail head
        grep rm dd mdadm mount umount reboot shutdown kill pkill ntpq chronyc timedatectl chroot
        exit ssh vmstat awk sed sort uniq wc cut tr tee less column base64 xargs echo wget
        fstrim e2fsck xfs_repair wipefs truncate""".split(),
        _PLAIN,
    )
)
"""Every program a runbook's lines are recognised by; other first words are taken for output."""

WRAPPERS = frozenset({"sudo", "watch", "time", "nohup", "nice", "ionice", "timeout"})
"""Programs that run the command behind them."""

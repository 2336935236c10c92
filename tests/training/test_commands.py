"""Commands are understood by their words, not by their positions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.command_risk import Risk
from training.commands import CommandError, is_assignment, parse_command
from training.shell_lines import logical_lines, placeholders


@pytest.mark.parametrize(
    "text",
    [
        "kubectl get pod web -n apps",
        "kubectl -n apps get pod web",
        "kubectl --namespace=apps get pod/web",
        "kubectl get --namespace apps po web",
        "kubectl get pods web -napps",
        "sudo kubectl get pod web -n=apps 2>/dev/null",
        "KUBECONFIG=/etc/k.yaml k get pod web -n apps  # look",
    ],
)
def test_word_order_and_spelling_do_not_matter(text: str) -> None:
    """Flags before the verb, slashes, short names and wrappers give the same fields."""
    head = parse_command(text).head
    assert (head.program, head.verb, head.resource) == ("kubectl", "get", "pod")
    assert (head.name, head.namespace, head.risk) == ("web", "apps", Risk.READ)


@pytest.mark.parametrize(
    ("text", "verb", "resource", "name"),
    [
        ("flux reconcile kustomization apps -n flux-system", "reconcile", "kustomization", "apps"),
        ("flux reconcile source git podinfo", "reconcile", "source git", "podinfo"),
        ("flux -n apps resume hr web", "resume", "helmrelease", "web"),
        ("helm rollback web 3 -n apps", "rollback", "release", "web"),
        ("kubectl rollout restart deploy/web", "rollout restart", "deployment", "web"),
        ("kubectl logs -p web -c app", "logs", "pod", "web"),
        ("kubectl create secret generic db -n apps", "create", "secret generic", "db"),
        ("kubectl create job x --from=cronjob/y", "create", "job", "x"),
        ("kubectl cordon $NODE", "cordon", "node", "$NODE"),
        ("kubectl describe csr/<csr>", "describe", "certificatesigningrequest", "<csr>"),
        ("velero backup create x --from-schedule=y", "backup create", "backup", "x"),
        ("cmctl renew {{ name }} -n apps", "renew", "certificate", "{{ name }}"),
        ("talosctl -n 10.0.0.2 service kubelet restart", "service", "service", "kubelet"),
        ("systemctl restart k3s", "restart", "unit", "k3s"),
        ("nats stream info WORK", "stream info", "stream", "WORK"),
    ],
)  # fmt: skip
def test_each_program_has_its_grammar(text: str, verb: str, resource: str, name: str) -> None:
    """Verbs of two words, implied resources and placeholders are recognised."""
    head = parse_command(text).head
    assert (head.verb, head.resource, head.name) == (verb, resource, name)


@pytest.mark.parametrize(
    ("text", "risk"),
    [
        ("kubectl describe node a", Risk.READ),
        ("kubectl scale deploy/web --replicas=3", Risk.CHANGE),
        ("kubectl scale deploy/web --replicas=0", Risk.DESTRUCTIVE),
        ("kubectl delete pod web", Risk.DESTRUCTIVE),
        ("kubectl delete pod web --dry-run=client", Risk.READ),
        ("kubectl drain node-a --ignore-daemonsets", Risk.DESTRUCTIVE),
        ("kubectl apply -f x.yaml --prune", Risk.DESTRUCTIVE),
        ("""kubectl patch ns a -p '{"metadata":{"finalizers":null}}'""", Risk.DESTRUCTIVE),
        ("kubectl exec web -- df -h", Risk.READ),
        ("kubectl exec web -- rm -rf /data", Risk.DESTRUCTIVE),
        ("kubectl exec -it web -- sh -c 'redis-cli FLUSHALL'", Risk.DESTRUCTIVE),
        ("kubectl exec -it web -- sh", Risk.UNKNOWN),
        ("kubectl get pods -o name | xargs kubectl delete", Risk.DESTRUCTIVE),
        ("kubectl get pods | grep Evicted | wc -l", Risk.READ),
        ("kubectl get pods && helm uninstall web", Risk.DESTRUCTIVE),
        ("kubectl get pod $(kubectl delete pod web -o name)", Risk.DESTRUCTIVE),
        ("kubectl get pods > pods.txt", Risk.CHANGE),
        ("flux suspend kustomization apps", Risk.CHANGE),
        ("flux delete kustomization apps", Risk.DESTRUCTIVE),
        ("helm upgrade web ./chart --force", Risk.DESTRUCTIVE),
        ("etcdctl defrag --cluster", Risk.CHANGE),
        ("etcdctl member remove 8e9e05c52164694d", Risk.DESTRUCTIVE),
        ("talosctl service kubelet", Risk.READ),
        ("talosctl reset", Risk.DESTRUCTIVE),
        ("curl http://think-api/healthz", Risk.READ),
        ("curl -XDELETE http://think-api/memory", Risk.DESTRUCTIVE),
        ("curl http://think-api -d '{}'", Risk.CHANGE),
        ("find /var/log -name '*.gz' -delete", Risk.DESTRUCTIVE),
        ("rm -rf /var/log/pods", Risk.DESTRUCTIVE),
        ("kubectl frobnicate", Risk.UNKNOWN),
    ],
)
def test_risk_is_the_worst_of_all_parts(text: str, risk: Risk) -> None:
    """Verbs, flags, pipes, substitutions and inner commands all count."""
    assert parse_command(text).risk is risk


def test_flags_are_typed_out_in_long_form() -> None:
    """Short, joined and attached flags come out alike."""
    head = parse_command("kubectl logs web -c app --tail 50 -pf").head
    assert head.fields()["flags"] == ["--container=app", "--tail=50", "--previous", "--follow"]
    assert head.fields()["flags.tail"] == "50"
    assert head.fields()["flags.previous"] is True


def test_quoted_operators_are_no_operators() -> None:
    """A pipe or a hash inside quotes belongs to the word."""
    line = parse_command("""kubectl get pods -l 'a|b' -o jsonpath="{.x;y}" # done""")
    assert not line.filters
    assert line.head.flags["selector"] == "a|b"
    assert line.head.flags["output"] == "jsonpath={.x;y}"


def test_a_line_that_does_more_than_one_thing_is_not_single() -> None:
    """Only a lone command, or one behind filters that look, can become one call."""
    assert parse_command("kubectl get pods | grep web").is_single
    assert not parse_command("kubectl get pods -o name | xargs kubectl delete").is_single
    assert not parse_command("kubectl get pods; kubectl get nodes").is_single
    assert not parse_command("kubectl get pods > list.txt").is_single
    assert not parse_command("kubectl apply -f -", stdin="kind: Pod").is_single


def test_placeholders_stay_as_written() -> None:
    """All four spellings survive, spaces inside included."""
    text = "kubectl -n <my namespace> logs ${POD} -c {{ $labels.container }} -l app=$APP"
    line = parse_command(text)
    assert line.head.namespace == "<my namespace>"
    assert line.head.name == "${POD}"
    assert line.head.flags["container"] == "{{ $labels.container }}"
    assert line.placeholders == placeholders(text)
    assert placeholders(text) == ("<my namespace>", "${POD}", "{{ $labels.container }}", "$APP")


def test_redirections_are_no_placeholders() -> None:
    """`< file` and `> file` are taken out of the words."""
    line = parse_command("kubectl apply -f - < pod.yaml > out.txt")
    assert line.writes_to == ("> out.txt",)
    assert "pod.yaml" not in line.head.words


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kubectl get 'pods", "closed"),
        ("kubectl get $(pods", "not closed"),
        ("NAME   READY  STATUS", "not a program"),
        ("NAMESPACE=apps", "only an assignment"),
        ("", "no command"),
    ],
)
def test_lines_that_are_no_commands_say_why(text: str, message: str) -> None:
    """Output, assignments and open quotations are told apart."""
    with pytest.raises(CommandError, match=message):
        parse_command(text)


def test_assignments_are_recognised() -> None:
    """Only lines without any command are assignments."""
    assert is_assignment("NODE='<node label>'")
    assert not is_assignment("NODE=a kubectl get nodes")
    assert not is_assignment("'")


def test_scripts_are_cut_into_logical_lines() -> None:
    """Continuations, heredocs and comments are handled, prompts tell commands from output."""
    script = (
        "# Look at it\nkubectl get pods \\\n  -n apps\n\n"
        "kubectl apply -f - <<'EOF'\nkind: Pod\nEOF\nkubectl get nodes\n"
    )
    first, second, third = logical_lines(script)
    assert (first.text, first.comment, first.line) == ("kubectl get pods -n apps", "Look at it", 1)
    assert (second.stdin, second.line) == ("kind: Pod", 4)
    assert third.text == "kubectl get nodes"
    session = "$ kubectl get pods\nNAME  READY\nkubectl-0  1/1\n$ kubectl get nodes"
    assert [line.text for line in logical_lines(session)] == [
        "kubectl get pods",
        "kubectl get nodes",
    ]


def test_a_quotation_may_span_lines() -> None:
    """An argument with line breaks stays one line of the script."""
    (line,) = logical_lines("kubectl patch pvc a -p '{\n\"spec\": {}\n}'")
    assert parse_command(line.text).head.flags["patch"] == '{\n"spec": {}\n}'


@settings(max_examples=120, deadline=None)
@given(st.text(st.sampled_from("kubectl get <pod> $POD | ; & > ' \" ` ( ) # \\ -n apps")))
def test_any_text_parses_or_is_refused(text: str) -> None:
    """No input makes the parser fail in another way."""
    try:
        parse_command(f"kubectl {text}")
    except CommandError:
        return


@settings(max_examples=60, deadline=None)
@given(st.permutations(["-n apps", "-l app=web", "--tail=5", "-c main", "--previous"]), st.data())
def test_flags_may_stand_anywhere(flags: list[str], data: st.DataObject) -> None:
    """Moving flags around the words changes no field."""
    cut = data.draw(st.integers(0, len(flags)))
    line = parse_command(f"kubectl {' '.join(flags[:cut])} logs web {' '.join(flags[cut:])}")
    head = line.head
    assert (head.verb, head.resource, head.name, head.namespace) == ("logs", "pod", "web", "apps")
    assert set(head.flags) == {"selector", "tail", "container", "previous"}

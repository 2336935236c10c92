"""Credentials are found and taken out; placeholders and plain words stay."""

import pytest

from training.redaction import REDACTED, redact


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        ("helm repo add x https://bob:hunter22@charts.example", "hunter22"),
        ("mysql --password=hunter22 -e 'select 1'", "hunter22"),
        ("tool login --api-key k3y-material", "k3y-material"),
        ('export DB_PASSWORD="two words"', "two words"),
        ("AWS_SECRET_ACCESS_KEY=abc/def+ghi aws s3 ls", "abc/def+ghi"),
        ("aws configure set key AKIAABCDEFGHIJKLMNOP", "AKIAABCDEFGHIJKLMNOP"),
        ("git clone https://x/y  # ghp_0123456789abcdefghij0123", "ghp_0123456789abcdefghij0123"),
        ("curl -H 'Authorization: Bearer abcdefgh12345678' u", "abcdefgh12345678"),
        ("kubectl create secret generic a --from-literal=password=hunter22", "hunter22"),
        ("curl -s -u bob:hunter22 https://api", "hunter22"),
        ("redis-cli -h db -a hunter22 ping", "hunter22"),
        ("mysql -u root -phunter22 -e 'select 1'", "hunter22"),
        ("sshpass -p hunter22 ssh node-a", "hunter22"),
        ("  password: hunter22", "hunter22"),
        ('  clientSecret: "correct horse"', "correct horse"),
        ("echo eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.sig-nature", "eyJzdWIiOiIxMjM0In0"),
    ],
)
def test_credentials_are_taken_out(line: str, secret: str) -> None:
    """The value is gone, what is around it stays, and the kind is named."""
    clean, kinds = redact(line)
    assert secret not in clean
    assert REDACTED in clean
    assert kinds
    assert redact(clean) == (clean, ())


@pytest.mark.parametrize(
    "line",
    [
        "mysql --password=$DB_PASSWORD",
        "curl -H 'Authorization: Bearer <token>' u",
        "kubectl create secret generic a --from-literal=password={{ password }}",
        "psql postgres://user:${PASSWORD}@db/x",
        "kubectl get secret sops-age -n flux-system",
        "Renew the token and the password of the receiver.",
        "kubectl get pods --token-file /x",
        "Token: expired",
        "password: $PASSWORD",
        "curl -u bob:$PASSWORD https://api",
        "kubectl logs -p web",
        "redis-cli -h memory-store.bruno info memory",
    ],
)
def test_placeholders_and_words_stay(line: str) -> None:
    """What holds no value of a credential is not touched."""
    assert redact(line) == (line, ())

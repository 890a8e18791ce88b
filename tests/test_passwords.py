import pytest

from ppcls_compress.passwords import hidden, secrets_of, without_secrets


@pytest.mark.parametrize(
    ("storage", "told"),
    [
        (None, None),
        ("DIR/study.journal", "DIR/study.journal"),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/a.db"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("postgresql://me:p:4/@y@host:5432/db", "postgresql://me@host:5432/db"),
        ("postgresql+psycopg://:p4@host/db", "postgresql+psycopg://@host/db"),
        ("mysql://h/db?passwd=s3a&charset=utf8&pwd=s3b", "mysql://h/db?charset=utf8"),
        ("postgresql://h/db?sslpassword=s3c", "postgresql://h/db"),
    ],
)
def test_a_storage_is_told_without_its_password(storage, told):
    assert without_secrets(storage) == told
    assert all(secret not in (told or "") for secret in secrets_of(storage or ""))


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("Slim.auto.storage=postgresql://me:s3@host/db", "Slim.auto.storage=postgresql://me@host/db"),
        ("Slim.auto.storage=postgresql://me:a word@host/db", "Slim.auto.storage=postgresql://me@host/db"),
        ("{max_drop: 1, storage: postgresql://me:s3@h/db}", "{max_drop: 1, storage: postgresql://me@h/db}"),
        ('{storage: "mysql://me@h/db?password=s3", seed: 1}', '{storage: "mysql://me@h/db?", seed: 1}'),
        ("a@b.json", "a@b.json"),
        ("Arch.pretrained=https://host:8080/a.pdparams", "Arch.pretrained=https://host:8080/a.pdparams"),
    ],
)
def test_a_command_is_told_without_passwords(word, told):
    assert hidden(word) == told

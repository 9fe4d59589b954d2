"""A folder of YAML as an API server would list it: bad documents are named, good ones count, slips delete nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ticker_crds.constants import Kind
from ticker_operator.local.declared import Declared, Register, read_folder
from ticker_operator.reconcile.ports import Unreachable

ACCOUNT = """\
apiVersion: tickershard.io/v1alpha1
kind: KiteAccount
metadata: {{name: {name}}}
spec:
  credentialsRef: {{name: {name}-token}}
  sockets: {sockets}
"""
NOW, LATER = "2026-11-21T03:45:00Z", "2026-11-21T03:46:00Z"


def write_account(folder: Path, name: str, *, sockets: int = 1) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(ACCOUNT.format(name=name, sockets=sockets))
    return path


def read(folder: Path) -> Declared:
    return read_folder(folder, namespace="default")


@pytest.fixture
def register(tmp_path: Path) -> Register:
    return Register(tmp_path / "objects.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pool"
    path.mkdir()
    return path


def test_a_broken_rule_is_named_with_its_place_and_the_rest_counts(folder: Path) -> None:
    write_account(folder, "good")
    write_account(folder, "greedy", sockets=4)

    declared = read(folder)

    assert [name for _, name in declared.objects] == ["good"]
    [fault] = declared.faults
    assert "greedy.yaml" in fault.place
    assert "sockets" in fault.message


def test_a_misspelt_member_is_refused_by_name_as_the_api_server_would(folder: Path) -> None:
    text = ACCOUNT.format(name="acc1", sockets=2)
    (folder / "acc1.yaml").write_text(text.replace("sockets:", "socket:"))
    (folder / "acc2.yaml").write_text(ACCOUNT.format(name="acc2", sockets=1).replace("{name: acc2}", "{nmae: x}", 1))
    (folder / "acc3.yaml").write_text(ACCOUNT.format(name="acc3", sockets=1) + "sepc: {}\n")

    declared = read(folder)

    assert not declared.objects
    assert [fault.message for fault in declared.faults] == [
        "KiteAccount acc1: spec.socket: unknown member; is sockets meant?",
        "KiteAccount has no metadata.name",
        "KiteAccount acc3: sepc: unknown member; is spec meant?",
    ]


def test_free_forms_maps_and_everything_the_examples_use_are_known() -> None:
    examples = Path(__file__).parents[2] / "docs" / "examples"

    faults = read(examples).faults

    assert [str(fault) for fault in faults if "already" not in fault.message] == []


def test_a_secret_with_a_misspelt_member_is_refused_without_quoting_it(folder: Path) -> None:
    (folder / "s.yaml").write_text(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringdata: {key: s3cr3tvalue}\n"
    )

    [fault] = read(folder).faults

    assert fault.message == "Secret s: stringdata: unknown member; is stringData meant?"


def test_an_account_that_is_misspelt_now_goes_on_as_it_was(folder: Path, register: Register) -> None:
    path = write_account(folder, "acc1", sockets=2)
    register.admit(read(folder), kind=Kind.ACCOUNT, now=NOW)
    path.write_text(path.read_text().replace("sockets: 2", "sokets: 3"))

    [account] = register.admit(read(folder), kind=Kind.ACCOUNT, now=LATER)

    assert account["spec"]["sockets"] == 2
    assert "deletionTimestamp" not in account["metadata"]


def test_a_file_that_is_not_yaml_is_named_without_quoting_it(folder: Path) -> None:
    (folder / "broken.yaml").write_text("stringData: {access_token: s3cr3tvalue\n")

    [fault] = read(folder).faults

    assert "not YAML" in fault.message
    assert "s3cr3tvalue" not in str(fault)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ACCOUNT.format(name="acc1", sockets=1) + "  sockets: 3\n", "sockets stands twice, again in line 7"),
        (ACCOUNT.format(name="acc1", sockets=1) + "spec: {}\n", "spec stands twice, again in line 7"),
        ('{"kind": "KiteAccount", "kind": "TickerSubscription"}', "kind stands twice, again in line 1"),
        (
            ACCOUNT.format(name="acc1", sockets=1)
            + "---\nkind: Secret\nstringData: {api_key: s3cr3t,\n  api_key: t0k}\n",
            "api_key stands twice, again in line 10",
        ),
    ],
    ids=["in the spec", "at the top", "JSON", "a Secret, in a later document"],
)
def test_a_key_that_stands_twice_is_refused_with_file_and_line_and_no_value(
    folder: Path, register: Register, text: str, message: str
) -> None:
    path = write_account(folder, "acc1", sockets=2)
    register.admit(read(folder), kind=Kind.ACCOUNT, now=NOW)
    path.write_text(text)

    declared = read(folder)
    [still] = register.admit(declared, kind=Kind.ACCOUNT, now=LATER)

    assert [str(fault) for fault in declared.faults] == [f"acc1.yaml: {message}"]
    assert still["spec"]["sockets"] == 2, "what counted goes on"


def test_a_key_that_a_merge_brings_and_the_object_overrides_is_no_key_that_stands_twice(folder: Path) -> None:
    (folder / "a.yaml").write_text(
        "apiVersion: tickershard.io/v1alpha1\nkind: KiteAccount\nmetadata: {name: acc1}\n"
        "spec:\n  <<: {credentialsRef: {name: t}, sockets: 3}\n  sockets: 2\n"
    )

    declared = read(folder)

    assert not declared.faults
    assert declared.objects[Kind.ACCOUNT, "acc1"]["spec"]["sockets"] == 2


def test_another_namespace_an_unknown_kind_and_a_second_declaration_do_not_count(folder: Path) -> None:
    write_account(folder, "twice")
    (folder / "zz.yaml").write_text(
        ACCOUNT.format(name="twice", sockets=2)
        + "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\n---\n"
        + ACCOUNT.format(name="far", sockets=1).replace("{name: far}", "{name: far, namespace: other}", 1)
    )

    declared = read(folder)

    assert declared.objects[Kind.ACCOUNT, "twice"]["spec"]["sockets"] == 1
    assert len(declared.objects) == 1
    assert [word in str(fault) for fault, word in zip(declared.faults, ("twice", "Pod", "other"), strict=True)] == [
        True
    ] * 3


def test_a_folder_that_is_not_there_is_an_error_and_never_an_empty_pool(tmp_path: Path) -> None:
    with pytest.raises(Unreachable):
        read(tmp_path / "nowhere")


def test_generation_counts_changes_of_the_spec_and_uid_stays(folder: Path, register: Register) -> None:
    write_account(folder, "acc1")
    [first] = register.admit(read(folder), kind=Kind.ACCOUNT, now=NOW)

    write_account(folder, "acc1", sockets=2)
    [second] = register.admit(read(folder), kind=Kind.ACCOUNT, now=LATER)

    assert first["metadata"]["generation"] == 1
    assert second["metadata"]["generation"] == 2
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    assert second["metadata"]["creationTimestamp"] == NOW
    assert second["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]


def test_a_held_account_whose_file_vanished_is_deleting_until_it_is_let_go(folder: Path, register: Register) -> None:
    path = write_account(folder, "acc1")
    register.admit(read(folder), kind=Kind.ACCOUNT, now=NOW)
    register.hold(Kind.ACCOUNT, "acc1", held=True)
    path.unlink()

    [deleting] = register.admit(read(folder), kind=Kind.ACCOUNT, now=LATER)
    register.hold(Kind.ACCOUNT, "acc1", held=False)

    assert deleting["metadata"]["deletionTimestamp"] == LATER
    assert register.admit(read(folder), kind=Kind.ACCOUNT, now=LATER) == ()


def test_an_account_in_a_file_that_became_unreadable_goes_on(folder: Path, register: Register) -> None:
    path = write_account(folder, "acc1")
    register.admit(read(folder), kind=Kind.ACCOUNT, now=NOW)
    path.write_text("{half a")

    [still] = register.admit(read(folder), kind=Kind.ACCOUNT, now=LATER)

    assert still["metadata"]["name"] == "acc1"
    assert "deletionTimestamp" not in still["metadata"]


@pytest.mark.parametrize(
    ("right", "wrong"), [("sockets: 1", "sockets: 11"), ("tickershard.io/v1alpha1", "tickershard.io/v1alpha")]
)
def test_an_account_whose_document_was_refused_goes_on_as_it_was(
    folder: Path, register: Register, right: str, wrong: str
) -> None:
    path = write_account(folder, "acc1")
    register.admit(read(folder), kind=Kind.ACCOUNT, now=NOW)
    register.hold(Kind.ACCOUNT, "acc1", held=True)
    assert right in path.read_text()
    path.write_text(path.read_text().replace(right, wrong))

    declared = read(folder)
    [still] = register.admit(declared, kind=Kind.ACCOUNT, now=LATER)

    assert len(declared.faults) == 1
    assert still["spec"]["sockets"] == 1
    assert "deletionTimestamp" not in still["metadata"]


def test_a_date_that_does_not_exist_makes_one_file_unreadable_and_not_the_folder(folder: Path) -> None:
    write_account(folder, "acc1")
    (folder / "note.yaml").write_text("kind: KiteAccount\nmetadata: {name: b, annotations: {since: 2026-13-45}}\n")

    declared = read(folder)

    assert (Kind.ACCOUNT, "acc1") in declared.objects
    assert declared.unreadable == {"note.yaml"}


SECRET_TEXT = "kind: Secret\nmetadata: {name: acc1-token}\nstringData: {api_key: k, access_token: t}\n"


def test_a_secret_in_a_file_that_became_unreadable_goes_on(folder: Path) -> None:
    path = folder / "token.yaml"
    path.write_text(SECRET_TEXT)
    before = read(folder)
    path.write_text(SECRET_TEXT + "}")

    once = read(folder).with_secrets_of(before)
    twice = read(folder).with_secrets_of(once)

    assert twice.objects["Secret", "acc1-token"] == before.objects["Secret", "acc1-token"]
    assert twice.faults


def test_a_secret_whose_file_or_document_was_removed_is_gone(folder: Path) -> None:
    path = folder / "token.yaml"
    path.write_text(SECRET_TEXT)
    before = read(folder)
    path.write_text("")
    emptied = read(folder).with_secrets_of(before)
    path.unlink()

    assert emptied.objects == read(folder).with_secrets_of(before).objects == {}


def test_memory_of_objects_survives_the_operator(folder: Path, tmp_path: Path) -> None:
    write_account(folder, "acc1")
    [before] = Register(tmp_path / "memory.json").admit(read(folder), kind=Kind.ACCOUNT, now=NOW)

    [after] = Register(tmp_path / "memory.json").admit(read(folder), kind=Kind.ACCOUNT, now=LATER)

    assert after["metadata"] == before["metadata"]

"""Conditional, batched writes: conflicts are computed again, nothing is overwritten unseen."""

import pytest
from lambda_fakes import FakeDynamoDb

from fleet_sim.contract.tables import AttributeMap
from telemetry_processor.store import StoreError, Table, Write


def table(client: FakeDynamoDb, attempts: int = 5) -> Table:
    return Table(client, "t", "id", "state", attempts=attempts, sleep=lambda _: None)


def append(letter: str):  # type: ignore[no-untyped-def]
    def compute(_: str, item: AttributeMap | None) -> Write | None:
        was = item["state"]["S"] if item else ""
        if letter in was:
            return None
        return Write({"state": {"S": was + letter}}, {"made": {"S": "here"}})

    return compute


@pytest.fixture
def client() -> FakeDynamoDb:
    return FakeDynamoDb(t="id")


def test_a_missing_item_is_inserted_whole_and_then_updated(client: FakeDynamoDb) -> None:
    store = table(client)
    assert store.update(["k"], append("a")) == {}
    assert client.tables["t"] == {
        "k": {"id": {"S": "k"}, "made": {"S": "here"}, "state": {"S": "a"}}
    }
    assert store.update(["k"], append("b")) == {}
    assert client.tables["t"]["k"]["state"] == {"S": "ab"}


def test_what_was_written_is_not_read_again(client: FakeDynamoDb) -> None:
    store = table(client)
    store.update(["k"], append("a"))
    store.update(["k"], append("b"))
    assert client.reads == 1
    store.forget()
    store.update(["k"], append("c"))
    assert client.reads == 2


def test_nothing_is_written_when_nothing_changes(client: FakeDynamoDb) -> None:
    store = table(client)
    store.update(["k"], append("a"))
    assert store.update(["k"], append("a")) == {}
    assert client.statements == 1


def test_hundreds_of_keys_go_in_batches(client: FakeDynamoDb) -> None:
    keys = [f"k{i}" for i in range(230)]
    assert table(client).update(keys, append("a")) == {}
    assert len(client.tables["t"]) == 230
    assert client.reads == 3


@pytest.mark.parametrize("cached", [True, False])
def test_a_conflict_is_computed_again_from_what_is_there(
    client: FakeDynamoDb, cached: bool
) -> None:
    store = table(client)
    store.update(["k"], append("a"))
    if not cached:
        store.forget()

    def another_writer() -> None:
        client.tables["t"]["k"] = {"id": {"S": "k"}, "state": {"S": "ax"}}
        client.before_write = lambda: None

    client.before_write = another_writer
    assert store.update(["k"], append("b")) == {}
    assert client.tables["t"]["k"]["state"] == {"S": "axb"}


def test_an_insert_that_lost_the_race_becomes_an_update(client: FakeDynamoDb) -> None:
    def another_writer() -> None:
        client.tables["t"]["k"] = {"id": {"S": "k"}, "state": {"S": "x"}}
        client.before_write = lambda: None

    client.before_write = another_writer
    assert table(client).update(["k"], append("a")) == {}
    assert client.tables["t"]["k"]["state"] == {"S": "xa"}


def test_an_item_that_was_deleted_is_made_anew(client: FakeDynamoDb) -> None:
    store = table(client)
    store.update(["k"], append("a"))
    client.tables["t"].clear()
    assert store.update(["k"], append("b")) == {}
    assert client.tables["t"]["k"]["state"] == {"S": "b"}


def test_endless_conflict_is_reported_and_the_others_are_written(client: FakeDynamoDb) -> None:
    store = table(client, attempts=3)
    store.update(["k", "other"], append("a"))
    count = iter(range(100))

    def another_writer() -> None:
        client.tables["t"]["k"] = {"id": {"S": "k"}, "state": {"S": f"x{next(count)}"}}

    client.before_write = another_writer
    failed = store.update(["k", "other"], append("b"))
    assert failed.keys() == {"k"}
    assert "ConditionalCheckFailed" in failed["k"]
    assert client.tables["t"]["other"]["state"] == {"S": "ab"}


def test_throttling_of_a_statement_is_tried_again(client: FakeDynamoDb) -> None:
    client.errors = [{"Code": "ThrottlingError", "Message": "slow down"}]
    assert table(client).update(["k"], append("a")) == {}
    assert client.tables["t"]["k"]["state"] == {"S": "a"}


def test_a_refusal_that_no_retry_changes_is_raised(client: FakeDynamoDb) -> None:
    client.errors = [{"Code": "ValidationError", "Message": "item too large"}]
    with pytest.raises(StoreError, match="t k: ValidationError: item too large"):
        table(client).update(["k"], append("a"))


def test_keys_left_unprocessed_are_asked_for_again(
    client: FakeDynamoDb, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = client.batch_get_item
    store = table(client)
    store.update(["k1", "k2"], append("a"))
    store.forget()

    def only_one(**request):  # type: ignore[no-untyped-def]
        ((name, asked),) = request["RequestItems"].items()
        first, rest = asked["Keys"][:1], asked["Keys"][1:]
        answer = whole(RequestItems={name: asked | {"Keys": first}})
        left = {name: asked | {"Keys": rest}} if rest else {}
        return answer | {"UnprocessedKeys": left}

    monkeypatch.setattr(client, "batch_get_item", only_one)
    assert store.update(["k1", "k2"], append("b")) == {}
    assert {item["state"]["S"] for item in client.tables["t"].values()} == {"ab"}

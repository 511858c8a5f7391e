"""Messages of IoT Jobs as AWS documents them, and the document of an update."""

import msgspec
import pytest

from fleet_sim.contract.jobs import Execution, FirmwareJob, Rejected, Update, jobs_topic

DOCUMENT = {
    "operation": "firmware-update",
    "campaign": "c1",
    "version": "1.1.0",
    "target": "model3_rwd/1.1.0-r2.img",
    "image_url": "https://bucket/x",
    "metadata_url": "https://bucket/m",
}


def test_an_execution_is_read_with_its_document() -> None:
    payload = msgspec.json.encode(
        {
            "execution": {
                "jobId": "j-1",
                "status": "IN_PROGRESS",
                "queuedAt": 1_489_096_425_069,
                "lastUpdatedAt": 1_489_096_425_069,
                "versionNumber": 2,
                "executionNumber": 123,
                "jobDocument": DOCUMENT,
                "thingName": "v",
            },
            "clientToken": "a",
            "timestamp": 1_489_096_425_069,
        }
    )
    answer = msgspec.json.decode(payload, type=Execution)
    assert answer.pending is not None
    assert (answer.pending.job_id, answer.pending.version_number) == ("j-1", 2)
    job = msgspec.json.decode(answer.pending.job_document, type=FirmwareJob)
    assert job.version == "1.1.0"
    assert job.preconditions.parked


@pytest.mark.parametrize(
    "payload", [b'{"execution":{}}', b'{"timestamp":1}', b'{"execution":null}']
)
def test_nothing_is_pending_in_each_way_of_saying_so(payload: bytes) -> None:
    assert msgspec.json.decode(payload, type=Execution).pending is None


def test_an_unknown_field_of_a_document_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `size`"):
        msgspec.convert({**DOCUMENT, "size": 5}, FirmwareJob)


def test_a_version_mismatch_tells_the_state_with_a_number_or_a_text() -> None:
    for version in ("5", 5):
        text = {"code": "VersionMismatch", "executionState": {"status": "IN_PROGRESS"}}
        text["executionState"]["versionNumber"] = version  # type: ignore[index]
        state = msgspec.convert(text, Rejected).execution_state
        assert state is not None
        assert int(state.version_number) == 5


def test_an_update_has_the_names_of_the_service() -> None:
    update = Update("FAILED", {"reason": "boot"}, 3, client_token="t")
    assert msgspec.json.decode(msgspec.json.encode(update)) == {
        "status": "FAILED",
        "statusDetails": {"reason": "boot"},
        "expectedVersion": 3,
        "clientToken": "t",
    }
    assert jobs_topic("v", "j/update") == "$aws/things/v/jobs/j/update"

"""What is asked of the campaign service, and the names of its jobs."""

import msgspec
import pytest

from fleet_sim.contract.campaign_records import Target, WaveCounts, job_id, parse_job_id
from fleet_sim.contract.campaigns import CampaignRequest, plan_of

FIRMWARE = {
    "version": "1.1.0",
    "images": {"": {"target": "a.img", "image_url": "https://b/a", "metadata_url": "https://b/m"}},
}


def request(**fields: object) -> CampaignRequest:
    return msgspec.convert({"firmware": FIRMWARE, **fields}, CampaignRequest)


def test_what_is_left_out_comes_from_the_template() -> None:
    careful = plan_of(request())
    assert (careful.waves.shares, careful.waves.soak_s) == ((0.01, 0.05, 0.25, 1.0), 3_600.0)
    urgent = plan_of(request(template="urgent", waves={"shares": [0.5, 1.0]}))
    assert urgent.waves.shares == (0.5, 1.0)
    assert urgent.timeouts.silent_s == 3_600.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"waves": {"shares": [0.5, 0.1, 1.0]}}, "waves.shares: (allowed: rising"),
        ({"waves": {"shares": [0.0, 1.0]}}, "waves.shares"),
        ({"waves": {"shares": [0.5]}}, "waves.shares"),
        ({"window": {"begin": 60, "end": 60}}, "window: 60 to 60 is no time at all"),
        ({"eligibility": {"min_version": "1.10.0", "max_version": "1.9.0"}}, "above max_version"),
    ],
)
def test_rules_that_contradict_each_other_are_named(fields: object, message: str) -> None:
    assert isinstance(fields, dict)
    with pytest.raises(ValueError, match=message.split(":", maxsplit=1)[0].split(" ")[0]) as caught:
        plan_of(request(**fields))
    assert all(word in str(caught.value) for word in message.split())


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "Upper"},
        {"id": "x" * 33},
        {"waves": {"portions": [1.0]}},
        {"gate": {"max_failed": 5}},
        {"firmware": {**FIRMWARE, "images": {}}},
        {"firmware": {**FIRMWARE, "url_life_s": 7_200}},
    ],
)
def test_what_no_campaign_may_say_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        request(**fields)


@pytest.mark.parametrize("attempt", [1, 2, 10])
def test_a_jobs_name_fits_and_says_what_it_is_of(attempt: int) -> None:
    target = Target("1FTVW1EL5PWG00001", wave=19, part=79)
    name = job_id("a-b-w1-a1-p0" + "c" * 20, target, attempt)  # an id that looks like a job's name
    assert len(name) <= 64
    assert parse_job_id(name) == ("a-b-w1-a1-p0" + "c" * 20, 19, attempt)
    assert parse_job_id("somebody-elses-job") is None


def test_only_the_first_attempt_shares_its_job() -> None:
    one, two = Target("A", 1, 3), Target("B", 1, 3)
    assert job_id("c", one, 1) == job_id("c", two, 1)
    assert job_id("c", one, 2) != job_id("c", two, 2)


def test_silent_vehicles_are_in_no_denominator() -> None:
    counts = WaveCounts(0, 10, {"succeeded": 3, "failed": 1, "unreached": 5, "queued": 1}, 1)
    assert (counts.completed, counts.bad, counts.ended) == (4, 2, False)

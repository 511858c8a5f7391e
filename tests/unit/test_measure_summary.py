from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from test_report_sample import make_run

from fleet_sim.measure import citymap
from fleet_sim.measure.junit import junit_xml
from fleet_sim.measure.summary import EXIT_CODES, Summary, from_json, to_json
from fleet_sim.measure.thresholds import ThresholdResult


@pytest.fixture(scope="module")
def summary(tmp_path_factory: pytest.TempPathFactory) -> Summary:
    return make_run(tmp_path_factory.mktemp("run"), vehicles=20, blocks=(2, 2))


def test_survives_json(summary: Summary) -> None:
    data = to_json(summary)
    assert data.startswith(b'{\n  "run": {\n    "id": "2026')
    assert data.endswith(b"}\n")
    assert from_json(data) == summary


def test_a_field_that_nobody_knows_is_named(summary: Summary) -> None:
    document = msgspec.json.decode(to_json(summary))
    document["run"]["colour"] = "blue"
    with pytest.raises(ValueError, match=r"summary\.json: .*`colour`.*\$\.run"):
        from_json(msgspec.json.encode(document))
    with pytest.raises(ValueError, match=r"summary\.json: "):
        from_json(to_json(summary)[:-9])


def test_what_is_no_number_is_null(summary: Summary) -> None:
    odd = msgspec.structs.replace(summary, metrics={"m": {"value": float("nan")}})
    assert from_json(to_json(odd)).metrics == {"m": {"value": None}}


def test_numpy_scalars_are_numbers(summary: Summary) -> None:
    odd = msgspec.structs.replace(summary, metrics={"m": {"value": np.float64(0.5)}})
    assert from_json(to_json(odd)).metrics == {"m": {"value": 0.5}}
    with pytest.raises(TypeError, match="cannot hold a complex"):
        to_json(msgspec.structs.replace(summary, metrics={"m": {"value": 1j}}))


COUNTS = ("tests", "failures", "errors", "time")


def cases(text: str) -> dict[str, str]:
    suites = ElementTree.fromstring(text)
    suite = suites.find("testsuite")
    assert suite is not None
    found = {c.get("name", ""): (list(c) or [c])[0].tag for c in suite.iter("testcase")}
    tags = list(found.values())
    assert suite.get("tests") == str(len(found))
    assert suite.get("failures") == str(tags.count("failure"))
    assert suite.get("errors") == str(tags.count("error"))
    assert [suites.get(n) for n in COUNTS] == [suite.get(n) for n in COUNTS]
    # Ant's schema asks for both.
    problems = [p for p in suite.iter() if p.tag in ("failure", "error")]
    assert all(p.get("type") and p.get("message") is not None for p in problems)
    return found


def test_junit_has_the_verdict_and_each_threshold(summary: Summary) -> None:
    assert summary.run.verdict == "passed"
    assert cases(junit_xml(summary)) == dict.fromkeys(
        ["verdict", *(f"{t.metric}: {t.condition}" for t in summary.thresholds)], "testcase"
    )


@pytest.mark.parametrize("verdict", list(EXIT_CODES))
def test_junit_tells_a_failure_from_an_error(summary: Summary, verdict: str) -> None:
    run = msgspec.structs.replace(summary.run, verdict=verdict, reasons=["because", "of that"])
    expected = {"passed": "testcase", "threshold_broken": "failure"}.get(verdict, "error")
    assert cases(junit_xml(msgspec.structs.replace(summary, run=run)))["verdict"] == expected


def test_junit_escapes_what_people_wrote(summary: Summary) -> None:
    nasty = '<script>&"\x00\x1b\ud800]]>'
    broken = ThresholdResult(nasty, "p(95)<1", None, False, True, nasty)
    run = msgspec.structs.replace(summary.run, scenario=nasty, target=nasty, reasons=[nasty])
    text = junit_xml(msgspec.structs.replace(summary, run=run, thresholds=[broken]))
    assert "<script" not in text
    shown = '<script>&"\ufffd\ufffd\ufffd]]>'
    assert cases(text)[f"{shown}: p(95)<1"] == "failure"


def test_a_map_that_is_none_is_named() -> None:
    with pytest.raises(ValueError, match=r"map\.json: streets\[1\] has 3 numbers"):
        citymap.from_json('{"streets": [[1,2,3,4],[1,2,3]], "spots": []}')
    with pytest.raises(ValueError, match=r"map\.json: .*\$\.spots\[0\]\.truth"):
        citymap.from_json(
            '{"streets": [], "spots": [{"id": "a", "lat": 1, "lon": 1, "bearing_deg": 0,'
            ' "truth": "full", "api": "free", "p": 0.5}]}'
        )


def test_the_sample_writes_its_junit(tmp_path: Path) -> None:
    make_run(tmp_path, vehicles=4, blocks=(1, 1), lose=1)
    assert cases((tmp_path / "junit.xml").read_text())["audit_lost: count==0"] == "failure"

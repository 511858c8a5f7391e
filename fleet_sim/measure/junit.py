"""`junit.xml`: the verdict and each threshold as a test case, for CI systems."""

import re
from xml.etree import ElementTree

from fleet_sim.measure.summary import Summary

# Characters that XML 1.0 cannot carry, not even escaped (section 2.2).
_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit_xml(summary: Summary) -> str:
    """One test suite. A broken threshold is a failure; a run that could not be judged (target
    failed, generator overloaded, interrupted) is an error.
    """
    run = summary.run
    suite = ElementTree.Element(
        "testsuite", name=_clean(run.scenario), timestamp=_clean(run.started)
    )
    suite.set("time", f"{run.wall_s:.3f}")
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in (("run", run.id), ("seed", str(run.seed)), ("target", run.target)):
        ElementTree.SubElement(properties, "property", name=name, value=_clean(value))
    failures = errors = 0
    verdict = _case(suite, run.scenario, "verdict", run.wall_s)
    if run.verdict != "passed":
        kind = "failure" if run.verdict == "threshold_broken" else "error"
        failures += kind == "failure"
        errors += kind == "error"
        first = run.reasons[0] if run.reasons else run.verdict
        _problem(verdict, kind, run.verdict, first, "\n".join(run.reasons))
    for threshold in summary.thresholds:
        name = f"{threshold.metric}: {threshold.condition}"
        case = _case(suite, f"{run.scenario}.thresholds", name, 0.0)
        if not threshold.passed:
            failures += 1
            message = threshold.message
            _problem(case, "failure", "threshold_broken", message, message)
    suites = ElementTree.Element("testsuites", name="fleet-sim", time=f"{run.wall_s:.3f}")
    suites.append(suite)
    # Some viewers add up what the suites say, others read the total.
    for element in (suites, suite):
        element.set("tests", str(1 + len(summary.thresholds)))
        element.set("failures", str(failures))
        element.set("errors", str(errors))
    suite.set("skipped", "0")
    ElementTree.indent(suites)
    text = ElementTree.tostring(suites, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def _case(
    suite: ElementTree.Element, classname: str, name: str, seconds: float
) -> ElementTree.Element:
    attributes = {"classname": _clean(classname), "name": _clean(name), "time": f"{seconds:.3f}"}
    return ElementTree.SubElement(suite, "testcase", attributes)


def _problem(case: ElementTree.Element, tag: str, kind: str, message: str, text: str) -> None:
    """`kind`: Ant's schema asks for a type."""
    problem = ElementTree.SubElement(case, tag, type=kind, message=_clean(message))
    problem.text = _clean(text)


def _clean(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)

"""Gates as a JUnit file, which every continuous-integration server shows: a test case for each gate.

The elements and attributes are those that Jenkins' and GitLab's readers take (junit-10.xsd of the xUnit plugin).
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET  # written only: nothing that came from elsewhere is parsed

from edge_tl.device.records.budgets import BudgetsResult
from edge_tl.device.records.gate import GateResult
from edge_tl.device.text import printable

SUITE = "edge-tl gate"


def junit(result: BudgetsResult) -> bytes:
    """The XML document. What failed is a `failure`; a budget that could not be judged an `error`; a gate that was not
    judged and does not fail, `skipped`."""
    suite = ET.Element("testsuite", name=SUITE, timestamp=result.when.partition("+")[0])
    properties = ET.SubElement(suite, "properties")
    facts = {
        "bundle": result.bundle,
        "artifact": result.artifact,
        "device": result.device,
        "cpu": result.machine.cpu or "",
        "os": result.machine.os or "",
    }
    for name, value in facts.items():
        ET.SubElement(properties, "property", name=name, value=_shown(value))
    for gate in result.gates:
        _case(suite, result, gate)
    counted = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
    for attribute, tag in counted.items():
        suite.set(attribute, str(len(suite.findall(f".//{tag}"))))
    if result.warnings:
        ET.SubElement(suite, "system-err").text = "\n".join(map(_shown, result.warnings))
    suites = ET.Element("testsuites", name=SUITE)
    suites.append(suite)
    ET.indent(suites)
    found: bytes = ET.tostring(suites, encoding="utf-8", xml_declaration=True)
    return found + b"\n"


def _shown(text: object) -> str:
    """As `printable`, without what XML 1.0 has no place for."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", _escaped, printable(text))


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def _case(suite: ET.Element, result: BudgetsResult, gate: GateResult) -> None:
    of = f" {_shown(gate.artifact)}" if gate.artifact else ""
    case = ET.SubElement(
        suite,
        "testcase",
        classname=f"edge-tl.{_shown(result.bundle)}",
        name=f"{gate.gate}{of} ({gate.unit})",
    )
    reason = _shown(gate.reason)
    if gate.passed is None:
        ET.SubElement(case, "error", message=reason, type="not judged")
    elif not gate.passed:
        ET.SubElement(case, "failure", message=reason, type=gate.gate).text = _shown(gate.meaning)
    elif not gate.judged:
        ET.SubElement(case, "skipped", message=reason)
    else:
        ET.SubElement(case, "system-out").text = reason

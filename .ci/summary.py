#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""summary.py STATUS FOLDER: counts the cases of one .ci/run.

STATUS is what `bazel test` returned. FOLDER holds its build events (events.json), and for each
replay the object that it printed (replay-W.json) and what it returned (replay-W.status).
"""
import collections
import json
import pathlib
import re
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree


def test_targets(events):
    """(label, outcome, paths of its JUnit files) of each target of the test command."""
    results, summaries = collections.defaultdict(list), {}
    for line in events.read_text().splitlines():
        event = json.loads(line)
        kind = event["id"]
        if "testResult" in kind and "testResult" in event:
            for output in event["testResult"].get("testActionOutput", []):
                if output["name"] == "test.xml":
                    path = urllib.parse.unquote(urllib.parse.urlparse(output["uri"]).path)
                    results[kind["testResult"]["label"]].append(pathlib.Path(path))
        elif "testSummary" in kind and "testSummary" in event:
            summaries[kind["testSummary"]["label"]] = event["testSummary"]["overallStatus"]
        elif "targetCompleted" in kind:
            label, abort = kind["targetCompleted"]["label"], event.get("aborted", {})
            if abort.get("reason") == "SKIPPED":
                summaries.setdefault(label, "SKIPPED")
            elif abort or not event.get("completed", {}).get("success"):
                summaries.setdefault(label, "FAILED_TO_BUILD")
    for label in sorted(summaries):
        yield label, summaries[label], results[label]


def junit_cases(path):
    """The outcome and name of each case in a JUnit file."""
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f'{case.get("classname", "")}.{case.get("name", "")}'
        if case.find("failure") is not None or case.find("error") is not None:
            yield "failed", name
        elif case.find("skipped") is not None or case.get("result") in ("skipped", "suppressed"):
            yield "skipped", name
        elif case.get("status") == "notrun":
            yield "skipped", name
        else:
            yield "passed", name


def of_tests(events):
    """The outcome and name of each test case, and of each target that has no case to blame."""
    for label, outcome, files in test_targets(events):
        cases = [(what, f"{label} {name}") for file in files if file.exists() for what, name in junit_cases(file)]
        yield from cases
        if outcome == "SKIPPED":
            yield "skipped", f"{label} (not for this machine)"
        elif outcome not in ("PASSED", "FLAKY") and not any(what == "failed" for what, _ in cases):
            yield "failed", f"{label} ({outcome})"
        elif outcome == "FLAKY":
            yield "failed", f"{label} (flaky)"


def of_replays(folder):
    """Each replay is a case: it ends well, has no mismatch, checked a step, and gives its trace's first one's digest."""
    digests = {}
    for status in sorted(folder.glob("replay-*.status")):
        trace, world = re.fullmatch(r"replay-(.*?)-?(\d+)\.status", status.name).groups()
        name = f"replay{trace and f' of {trace}'} --pcp={world}"
        try:
            report = json.loads(status.with_suffix(".json").read_text())
        except json.JSONDecodeError:
            report = {}
        digest = digests[trace] = digests.get(trace) or report.get("output_digest")
        wrong = [
            text
            for bad, text in (
                (status.read_text().strip() != "0", f"exit {status.read_text().strip()}"),
                (report.get("mismatches") != 0, f'mismatches = {report.get("mismatches")}'),
                (not report.get("checked_steps"), f'checked_steps = {report.get("checked_steps")}'),
                (not digest or report.get("output_digest") != digest, f'digest {report.get("output_digest")}, not {digest}'),
            )
            if bad
        ]
        print(f'{name}: {"; ".join(wrong) or f"digest {digest}"}')
        yield ("failed" if wrong else "passed"), name


def main():
    status, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
    events = folder / "events.json"
    cases = list(of_tests(events)) if events.exists() else []
    if status != 0 and not any(what == "failed" for what, _ in cases):
        cases.append(("failed", f"bazel test (exit {status})"))
    cases += of_replays(folder)
    for what, name in cases:
        if what == "failed":
            print(f"FAILED {name}")
    count = collections.Counter(what for what, _ in cases)
    skipped = f', {count["skipped"]} skipped' if count["skipped"] else ""
    print(f'{count["passed"]} passed, {count["failed"]} failed{skipped}')
    return 1 if count["failed"] or not count["passed"] else 0


sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""summary.py FOLDER: counts the cases of one .ci/run.

FOLDER holds what each command returned: of each workspace's tests (tests-NAME.status, and its build
events, tests-NAME.json), of each replay (replay-W.status, and the object that it printed,
replay-W.json), and of each command that is a case by itself (check-NAME.status).
"""
import collections
import json
import pathlib
import re
import sys
import urllib.parse
import xml.etree.ElementTree as ElementTree


def exit_status(file):
    return int(file.read_text())


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
        elif (skipped := case.find("skipped")) is not None and "WARNING" in skipped.get("message", ""):
            yield "skipped", f'{name}: {skipped.get("message")}'
        elif case.find("skipped") is not None or case.get("result") in ("skipped", "suppressed"):
            yield "skipped", name
        elif case.get("status") == "notrun":
            yield "skipped", name
        else:
            yield "passed", name


def of_workspace(name, events, status):
    """The outcome and name of each test case, and of each target that has no case to blame."""
    count = collections.Counter()
    for label, outcome, files in test_targets(events) if events.exists() else ():
        label = label if name == "weft" else f"{name}{label}"
        cases = [(what, f"{label} {name}") for file in files if file.exists() for what, name in junit_cases(file)]
        if outcome == "SKIPPED":
            cases.append(("skipped", f"{label} (not for this machine)"))
        elif outcome not in ("PASSED", "FLAKY") and not any(what == "failed" for what, _ in cases):
            cases.append(("failed", f"{label} ({outcome})"))
        elif outcome == "FLAKY":
            cases.append(("failed", f"{label} (flaky)"))
        count.update(what for what, _ in cases)
        yield from cases
    if status != 0 and not count["failed"]:
        yield "failed", f"{name}: bazel test (exit {status})"
    elif not count:
        yield "failed", f"{name}: no test ran"


def of_checks(folder):
    for file in sorted(folder.glob("check-*.status")):
        yield ("passed" if exit_status(file) == 0 else "failed"), f"{file.stem} (exit {exit_status(file)})"


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
                (exit_status(status) != 0, f"exit {exit_status(status)}"),
                (report.get("mismatches") != 0, f'mismatches = {report.get("mismatches")}'),
                (not report.get("checked_steps"), f'checked_steps = {report.get("checked_steps")}'),
                (not digest or report.get("output_digest") != digest, f'digest {report.get("output_digest")}, not {digest}'),
            )
            if bad
        ]
        print(f'{name}: {"; ".join(wrong) or f"digest {digest}"}')
        yield ("failed" if wrong else "passed"), name


def main():
    folder = pathlib.Path(sys.argv[1])
    cases = []
    for status in sorted(folder.glob("tests-*.status")):
        name = status.stem[len("tests-") :]
        cases += of_workspace(name, status.with_suffix(".json"), exit_status(status))
    cases += of_checks(folder)
    cases += of_replays(folder)
    for what, name in cases:
        if what == "failed":
            print(f"FAILED {name}")
        elif what == "skipped" and "WARNING" in name:
            print(f"SKIPPED {name}")
    count = collections.Counter(what for what, _ in cases)
    skipped = f', {count["skipped"]} skipped' if count["skipped"] else ""
    print(f'{count["passed"]} passed, {count["failed"]} failed{skipped}')
    return 1 if count["failed"] or not count["passed"] else 0


sys.exit(main())

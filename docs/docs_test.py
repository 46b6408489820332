#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs_test.py DOCUMENT... LABEL=PROGRAM... -- the tests that documents name exist.

A document names tests in backquotes: a label, and filters of GoogleTest behind it.
"""
import os
import re
import subprocess
import sys
import unittest

NAMED = re.compile(r"`(//[\w/.-]*:[\w.-]+)((?: [^`\s]+)*)`")


def named_tests(document):
    with open(document) as file:
        for line, text in enumerate(file, 1):
            for match in NAMED.finditer(text):
                yield f"{os.path.basename(document)}:{line}", match.group(1), match.group(2).split()


def lists_a_test(program, gtest_filter):
    environment = dict(os.environ, WEFT_TEST_BACKEND="reference")
    environment.pop("GTEST_OUTPUT", None)
    environment.pop("XML_OUTPUT_FILE", None)
    run = subprocess.run(
        [program, "--gtest_list_tests", f"--gtest_filter={gtest_filter}"],
        capture_output=True, text=True, timeout=60, env=environment, check=False,
    )
    # Tests stand indented below their suite.
    return run.returncode == 0 and any(line.startswith("  ") for line in run.stdout.splitlines())


class DocsTest(unittest.TestCase):
    def test_named_tests_exist(self):
        wrong, filters = [], 0
        for document in DOCUMENTS:
            for place, label, patterns in named_tests(document):
                if label not in PROGRAMS:
                    if label not in LIBRARIES:
                        wrong.append(f"{place}: {label} is not among the targets of docs/BUILD.bazel")
                    continue
                for pattern in patterns:
                    filters += 1
                    if not lists_a_test(PROGRAMS[label], pattern):
                        wrong.append(f"{place}: {label} has no test {pattern}")
        self.assertFalse(wrong, "\n".join(wrong))
        # A check that reads nothing proves nothing.
        self.assertGreater(filters, 60)

    def test_a_wrong_name_is_found(self):
        program = PROGRAMS["//core:plan_test"]
        self.assertTrue(lists_a_test(program, "PlanTest.EmptyStep"))
        self.assertFalse(lists_a_test(program, "PlanTest.NoSuchTest"))
        found = list(NAMED.findall("| x | `//core:plan_test A.B C.*`, `//a/b:c` |"))
        self.assertEqual([("//core:plan_test", " A.B C.*"), ("//a/b:c", "")], found)

    def test_every_target_is_named(self):
        named = {label for document in DOCUMENTS for _, label, _ in named_tests(document)}
        self.assertFalse(set(PROGRAMS) - named, "no document names them")


if __name__ == "__main__":
    DOCUMENTS = [a for a in sys.argv[1:] if a.endswith(".md")]
    PROGRAMS = dict(a.split("=", 1) for a in sys.argv[1:] if "=" in a)
    LIBRARIES = {a for a in sys.argv[1:] if a.startswith("//") and "=" not in a}
    unittest.main(argv=sys.argv[:1])

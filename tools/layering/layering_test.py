#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""layering_test.py TARGETS PUBLIC LISTED -- who may depend on whom, and what is public.

TARGETS is what `bazel query --output=xml` says of all targets, tests too; PUBLIC the labels of those
that other workspaces may use (each a genquery); LISTED those that they are meant to use.
"""
import re
import sys
import unittest
import xml.etree.ElementTree as ElementTree

JUDGES = "//testing:oracle //testing:compare //testing:device_io //testing:json"
TEST_DEVICES = "//testing:required_backends //vulkan:auto //vulkan:test_main"

# For each folder, the longest that matches: what its libraries and programs may depend on directly,
# and what its tests (and testonly libraries) may besides. A word is a folder with all below it, a
# //target, or an @repository. So that each step is allowed, so is each way of many steps.
LAYERS = {
    "core": ("core @abseil-cpp", "testing/reference @googletest"),
    "core/ops": ("core @abseil-cpp", f"testing/reference {TEST_DEVICES} @googletest"),
    "collectives": ("collectives core @abseil-cpp", f"testing/reference {TEST_DEVICES} @googletest"),
    "collectives/mpi": ("collectives core @abseil-cpp @local_mpi", "testing/reference @googletest"),
    "collectives/nccl": ("collectives core cuda/runtime @abseil-cpp @local_cuda", "cuda testing @googletest"),
    "cuda": ("cuda core tools/build_defs @abseil-cpp @local_cuda", "testing @googletest @google_benchmark"),
    "cuda/bench": ("cuda core tools/build_defs //tools/bench:device_tools @abseil-cpp @local_cuda", "testing @googletest"),
    "vulkan": (
        "vulkan core tools/build_defs @abseil-cpp @vulkan_headers @software_vulkan",
        "testing @googletest @vulkan_layers",
    ),
    # What judges a backend knows none. Reference is one, only its own tests take it.
    "testing": ("core @abseil-cpp @nlohmann_json", "testing @googletest"),
    "testing/conformance": (
        f"testing/conformance testing/golden {JUDGES} core //collectives:communicator @abseil-cpp",
        "testing/reference //testing:required_backends //docs:faults.md @googletest",
    ),
    "testing/golden": (f"{JUDGES} core @abseil-cpp @nlohmann_json", "testing/reference @googletest"),
    "testing/reference": ("testing/reference core @abseil-cpp", "testing @googletest"),
    "testing/fuzz": ("testing core tools/replay @abseil-cpp @nlohmann_json", "@googletest"),
    "testing/sanitizers": ("", "core @googletest"),
    # A test there runs the tests that the documents name.
    "docs": ("", "core collectives cuda vulkan testing tools examples @googletest"),
    "examples": ("core collectives //cuda:auto vulkan testing/reference @abseil-cpp", "@googletest"),
    "tools": ("", ""),
    "tools/build_defs": ("tools/build_defs @glslang @local_cuda", "@vulkan_headers @software_vulkan @googletest"),
    "tools/replay": (
        "tools/replay core collectives testing @abseil-cpp @nlohmann_json",
        "//vulkan:auto //vulkan:software_device @googletest",
    ),
    # Whatever a device needs for its figures comes from that backend's own folder.
    "tools/bench": (
        f"tools/bench tools/replay {JUDGES} core @abseil-cpp @nlohmann_json",
        "testing @googletest @google_benchmark",
    ),
    "tools/weft": (
        "tools/weft tools/bench tools/replay core collectives //cuda:auto //cuda/bench:auto //cuda:cuda_backend //vulkan:auto"
        " //vulkan:software_device testing @abseil-cpp @cli11 @nlohmann_json",
        "//:README.md @googletest",
    ),
    "tools/sanitizers": ("", ""),
    "tools/lint": ("", ""),
}

# Rules' own needs (toolchains, test runners), and folders of nothing but files.
ANY_REPOSITORY = ("bazel_tools", "rules_cc", "rules_shell", "platforms")
ANY_FILES = ("", "docs")


def split(label):
    """(repository, package, name) of a label; repositories without what Bazel adds to their names."""
    repository, package, name = re.fullmatch(r"(?:@*([^/]*))//([^:]*):(.*)", label).groups()
    return re.split(r"[~+]", repository)[-1 if repository.startswith(("_main", "weft")) else 0], package, name


def inside(package, folder):
    return package == folder or package.startswith(folder + "/")


def allows(words, label):
    repository, package, name = split(label)
    for word in words.split():
        if word.startswith("@"):
            if repository == word[1:]:
                return True
        elif word.startswith("//"):
            if not repository and f"//{package}:{name}" == word:
                return True
        elif not repository and inside(package, word):
            return True
    return False


class Targets:
    def __init__(self, file):
        self.rules = {}  # label: (is for tests, what it depends on)
        self.packages = set()
        for element in ElementTree.parse(file).getroot():
            label = element.get("name")
            package = split(label)[1]
            self.packages.add(package)
            if element.tag == "rule":
                testonly = element.find("./boolean[@name='testonly']")
                is_test = element.get("class").endswith("_test") or (
                    testonly is not None and testonly.get("value") == "true"
                )
                inputs = [i.get("name") for i in element.iter("rule-input")]
                self.rules[label] = is_test, inputs


def wrong_edges(targets):
    for label, (is_test, inputs) in sorted(targets.rules.items()):
        package = split(label)[1]
        folder = max((f for f in LAYERS if inside(package, f)), key=len, default=None)
        if folder is None:
            yield f"{label}: LAYERS does not say what //{package} may depend on"
            continue
        words = LAYERS[folder][0] + " " + (LAYERS[folder][1] if is_test else "")
        for need in inputs:
            repository, needed, _ = split(need)
            if repository in ANY_REPOSITORY or (not repository and needed in (package, *ANY_FILES)):
                continue
            if not repository and needed and needed not in targets.packages:  # the top has files only
                yield f"{need} is not looked at: run tools/layering/update.sh"
            if not allows(words, need):
                yield f"{label} depends on {need}"


class LayeringTest(unittest.TestCase):
    def test_dependencies_go_one_way(self):
        wrong = list(wrong_edges(TARGETS))
        if wrong:
            self.fail("LAYERS, in layering_test.py, does not have it so:\n" + "\n".join(wrong))

    def test_public_is_what_the_list_says(self):
        hint = "make it so, or run tools/layering/update.sh"
        self.assertFalse(PUBLIC - LISTED, f"public, and not in public_targets.txt; {hint}")
        self.assertFalse(LISTED - PUBLIC, f"in public_targets.txt, and not public; {hint}")

    # A check that cannot fail proves nothing.
    def test_targets_were_read(self):
        self.assertGreater(len(TARGETS.rules), 150)
        self.assertEqual({False, True}, {is_test for is_test, _ in TARGETS.rules.values()})
        for label, needed in (
            ("//core:plan", "//core:attention_spec"),
            ("//cuda:cuda_backend", "//cuda/runtime:device"),  # in a select
            ("//vulkan:auto", "//vulkan:vulkan"),
        ):
            self.assertIn(needed, TARGETS.rules[label][1])


if __name__ == "__main__":
    TARGETS = Targets(sys.argv[1])
    PUBLIC, LISTED = (set(open(file).read().split()) for file in sys.argv[2:4])
    unittest.main(argv=sys.argv[:1])

# SPDX-License-Identifier: Apache-2.0
"""A small GoogleTest program of one file, named as the target is."""

load("@rules_cc//cc:cc_test.bzl", "cc_test")

def unit_test(name, deps):
    """A test of NAME.cc.

    Args:
      name: the target's name.
      deps: what the file includes, but for GoogleTest.
    """
    cc_test(
        name = name,
        size = "small",
        srcs = [name + ".cc"],
        deps = deps + [
            "@googletest//:gtest",
            "@googletest//:gtest_main",
        ],
    )

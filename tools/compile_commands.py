#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes compile_commands.json, for clangd and clang-tidy, from Bazel's own action graph.

usage: tools/compile_commands.py [bazel flag or target pattern]...      (default: //...)

Needs nothing but ./bazelw and Python. Build once before, so that generated headers exist. CUDA sources
are left out: clang 19 does not know the headers of CUDA 13.
"""
import json
import os
import pathlib
import subprocess
import sys

NOT_CLANG = ("-fno-canonical-system-headers", "-Wno-free-nonheap-object", "-Wunused-but-set-parameter")


def bazel(*arguments):
    return subprocess.run(["./bazelw", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def main():
    flags = [a for a in sys.argv[1:] if a.startswith("-")]
    targets = [a for a in sys.argv[1:] if not a.startswith("-")] or ["//..."]
    query = f'mnemonic("CppCompile", {" + ".join(targets)})'
    graph = json.loads(bazel("aquery", "--output=jsonproto", "--include_artifacts=false", *flags, query))
    root = pathlib.Path(bazel("info", "workspace").strip())
    entries = {}
    for action in graph.get("actions", []):
        arguments = action["arguments"]
        source = next((a for a in arguments if a.endswith((".c", ".cc", ".cpp"))), None)
        if source is None:
            continue
        # The compiler runs in Bazel's execution root; from here its parts are reached by the links.
        arguments = [
            f"bazel-{root.name}/{argument}" if argument.startswith("external/") else argument
            for argument in arguments
            if argument not in NOT_CLANG
        ]
        entries.setdefault(source, {"directory": str(root), "file": source, "arguments": arguments})
    path = root / "compile_commands.json"
    path.write_text(json.dumps(list(entries.values()), indent=1) + "\n")
    print(f"{path}: {len(entries)} sources")


os.chdir(pathlib.Path(__file__).resolve().parent.parent)
main()

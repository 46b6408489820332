#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Gives the sources of install_deps.sh to Bazel.

usage: write_registry.py MODULE_FILE BAZEL_PREFIX SOURCES TARGET

Writes TARGET/registry, a Bazel module registry that serves the folders in SOURCES under whatever
versions the module file asks for, and TARGET/sources.bazelrc, which makes Bazel use it.
"""
import json
import pathlib
import re
import sys


def requested(text, dev):
    """(name, version) of each bazel_dep in a module file."""
    text = re.sub(r"#.*", "", text)
    for body in re.findall(r"\bbazel_dep\(([^)]*)\)", text):
        attr = dict(re.findall(r'(\w+)\s*=\s*"?([^",]*)"?', body))
        if dev or attr.get("dev_dependency") != "True":
            yield attr["name"], attr.get("version", "")


def pinned(text, versions):
    """The module file with the versions that ours asks for in place of its own."""

    def pin(match):
        name = re.search(r'name\s*=\s*"([^"]+)"', match[0])[1]
        if name not in versions:
            return match[0]
        return re.sub(r'(version\s*=\s*")[^"]*', rf"\g<1>{versions[name]}", match[0])

    return re.sub(r"\bbazel_dep\([^)]*\)", pin, text)


def write_registry(registry, module_text, always, have):
    """One entry per module and version that is asked for; an empty stand-in where there is no source."""
    todo = list(requested(module_text, dev=True))
    versions, done = dict(todo), set()
    while todo:
        name, version = dep = todo.pop()
        if dep in done or name in always:
            continue
        done.add(dep)
        entry = registry / "modules" / name / version
        entry.mkdir(parents=True)
        folder = have.get(name)
        if folder:
            text = (folder / "MODULE.bazel").read_text()
            text = re.sub(r'(\bmodule\([^)]*version\s*=\s*")[^"]*', rf"\g<1>{version}", text)
            text = pinned(text, versions)
            todo += requested(text, dev=False)
        elif name in versions:
            sys.exit(f"error: MODULE.bazel asks for {name}, for which tools/setup/install_deps.sh has no source")
        else:  # an optional part of googletest or benchmark
            folder = entry / "empty"
            folder.mkdir()
            text = f'module(name = "{name}", version = "{version}")\n'
            (folder / "MODULE.bazel").write_text(text)
        (entry / "MODULE.bazel").write_text(text)
        (entry / "source.json").write_text(json.dumps({"type": "local_path", "path": str(folder)}))
    (registry / "bazel_registry.json").write_text("{}")


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    module_file, prefix, sources, target = map(pathlib.Path, sys.argv[1:])
    always = set(re.findall(r"--override_module=([^=]+)=", (prefix / "bazelrc").read_text()))
    have = {d.name: d for d in sources.iterdir() if (d / "MODULE.bazel").exists()}
    have["rules_shell"] = prefix / "root/usr/share/bazel/rules/shell"
    write_registry(target / "registry", module_file.read_text(), always, have)
    rc = [
        "# written by write_registry.py",
        f"common --registry=file://{target}/registry",
        f"common --repo_env=GLSLANG_SOURCE_DIR={sources}/glslang",
    ]
    # The registry serves module builds; this serves WORKSPACE builds.
    rc += [f"common --override_repository={name}={path}" for name, path in sorted(have.items())]
    (target / "sources.bazelrc").write_text("\n".join(rc) + "\n")


main()

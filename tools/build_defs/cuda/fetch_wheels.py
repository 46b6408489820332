#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""fetch_wheels.py REQUIREMENTS: makes a CUDA toolkit of wheels in the current folder.

pip fetches the wheels, from wherever this machine has it fetch from, and checks their hashes. They
are unzipped over each other: bin, include, lib and nvvm. Fails with one line that says why.
WEFT_PIP names a folder with a pip, for a Python that has none of its own.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

ROOT = pathlib.Path("nvidia/cu13")  # where the wheels keep what is theirs


def main():
    wheels = pathlib.Path("wheels")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += ["--dest", str(wheels), "-r", sys.argv[1]]
    environment = dict(os.environ)
    if os.environ.get("WEFT_PIP"):
        environment["PYTHONPATH"] = os.environ["WEFT_PIP"]
    pip = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if pip.returncode != 0:
        errors = [line for line in pip.stdout.splitlines() if line.strip()]
        notable = [line for line in errors if "ERROR" in line] or errors or ["no output"]
        sys.exit(f"pip download: {notable[-1].strip()[:300]}")
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(".")
    for folder in ("bin", "include", "lib", "nvvm"):
        shutil.move(str(ROOT / folder), folder)
    for program in [*pathlib.Path("bin").iterdir(), *pathlib.Path("nvvm/bin").iterdir()]:
        program.chmod(0o755)  # a zip file keeps no such bits
    shutil.rmtree("nvidia")
    shutil.rmtree(wheels)


main()

"""The scripts in findings/ notice a change, leave nothing behind and say what
they were run with."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "findings"
SCRIPTS = sorted(FOLDER.glob("*.sh"))
# In the place of python3: an environment whose python says what it is told.
PYTHON = """#!/usr/bin/env bash
set -eu
bin=$3/bin
mkdir -p "$bin"
echo 'echo "$@" > "$INSTALLED"' > "$bin/pip"
echo 'printf "%s\\n" "$SAID"; exit "${CODE:-0}"' > "$bin/python"
chmod +x "$bin"/*
"""


def stated(path: Path) -> str:
  return "\n".join(re.findall(r"^#> (.*)$", path.read_text(), re.MULTILINE))


@pytest.fixture
def run(tmp_path):
  """Runs a script whose program prints `said` and ends with `code`."""
  (tmp_path / "bin").mkdir()
  fake = tmp_path / "bin" / "python3"
  fake.write_text(PYTHON)
  fake.chmod(0o755)
  (tmp_path / "work").mkdir()

  def call(path, said, code=0):
    env = os.environ | {
      "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
      "TMPDIR": str(tmp_path / "work"),
      "INSTALLED": str(tmp_path / "installed"),
      "SAID": said,
      "CODE": str(code),
    }
    done = subprocess.run([path], env=env, capture_output=True, text=True)
    assert not list((tmp_path / "work").iterdir())
    return done, (tmp_path / "installed").read_text().split()

  return call


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_a_script_fails_where_the_behaviour_changed(path, run):
  same, installed = run(path, stated(path))
  assert (same.returncode, same.stdout) == (0, stated(path) + "\n")
  assert run(path, stated(path) + " ")[0].returncode == 1
  assert run(path, stated(path), code=3)[0].returncode == 3
  # The versions at its head are those that it installs, all of them exact.
  head = path.read_text().split("#> ")[0].replace("\n# ", " ")
  versions = re.search(r"With: (.*), Python [\d.]+; seen \d{4}-\d\d-\d\d", head)
  named = [name.replace(" ", "==") for name in versions[1].split(", ")]
  assert [word for word in installed if word[0] != "-"] == ["install", *named]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.stem)
def test_a_script_is_about_others_alone(path):
  text = path.read_text()
  assert re.match(
    r"#!.*\n# Guess: (?s:.*)\n# Seen: (?s:.*)\n# Printed:\n", text
  )
  assert not re.search(r"item.jax|://|/(home|root|work)/", text)
  tool = shutil.which("shellcheck", path=Path(sys.executable).parent)
  done = subprocess.run([tool, path], capture_output=True, text=True)
  assert done.returncode == 0, done.stdout


def test_the_table_names_every_script():
  listed = re.findall(r"\]\(\./(\w+)\.sh\)", (FOLDER / "README.md").read_text())
  assert sorted(listed) == [path.stem for path in SCRIPTS]
  assert len(set(listed)) == len(listed)

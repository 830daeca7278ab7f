"""A second start compiles nothing: programs are kept in the user's cache."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from item_jax.cli import programs

CODE = """
import sys
from item_jax.cli.programs import keep_programs
assert "jax" not in sys.modules
keep_programs()
import jax, jax.numpy as jnp
counts = {"/jax/compilation_cache/cache_hits": 0}
def count(name, **_):
  if name in counts:
    counts[name] += 1
jax.monitoring.register_event_listener(count)
@jax.jit
def work(x):
  for _ in range(60):
    x = jnp.sin(x @ x) + jnp.sort(x)
  return x
work(jnp.ones((8, 8))).block_until_ready()
print(counts["/jax/compilation_cache/cache_hits"])
"""


def start(cache: Path, **more) -> int:
  """Programs that a process found compiled."""
  kept = {k: v for k, v in os.environ.items() if "CACHE" not in k}
  done = subprocess.run(
    [sys.executable, "-c", CODE],
    env=kept | {"ITEM_JAX_CACHE": str(cache)} | more,
    capture_output=True,
    text=True,
    check=True,
  )
  return int(done.stdout)


def test_a_second_start_finds_the_first_ones_programs(tmp_path):
  least = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
  assert start(tmp_path, **least) == 0
  assert start(tmp_path, **least) > 0
  (folder,) = (tmp_path / "programs").iterdir()
  # One that was cut off is compiled again; jax warns of it.
  for path in folder.glob("*-cache"):
    path.write_bytes(path.read_bytes()[:100])
  assert start(tmp_path, **least) == 0


def test_programs_of_fewer_cores_are_apart(tmp_path, monkeypatch):
  """A child of `compare` has a part of the cores, and its environment."""
  monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
  monkeypatch.delenv("JAX_ENABLE_COMPILATION_CACHE", raising=False)
  monkeypatch.setenv("ITEM_JAX_CACHE", str(tmp_path))
  monkeypatch.setenv("JAX_COMPILATION_CACHE_MAX_SIZE", "1")
  monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
  folders = []
  for cores in (8, 1, 8):
    monkeypatch.setattr(programs, "count_cores", lambda n=cores: n)
    programs.keep_programs()
    folders.append(os.environ["JAX_COMPILATION_CACHE_DIR"])
    assert programs.run_programs() == Path(folders[-1]) / "runs"
  assert folders[0] == folders[2] != folders[1]


def test_folders_that_nobody_uses_any_more_go(tmp_path, monkeypatch):
  """Of a former jaxlib and of machines that are gone, after 90 days."""
  monkeypatch.delenv("JAX_ENABLE_COMPILATION_CACHE", raising=False)
  monkeypatch.setenv("ITEM_JAX_CACHE", str(tmp_path))
  ours = str(tmp_path / "programs" / "of-a-parent")
  monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", ours)
  monkeypatch.setenv("JAX_COMPILATION_CACHE_MAX_SIZE", "1")
  monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1")
  programs.keep_programs()
  (own,) = (tmp_path / "programs").iterdir()
  ages = {own: 91, own.with_name("jaxlib-0.1-a"): 91, own.with_name("mine"): 91}
  ages |= {own.with_name("jaxlib-0.1-b"): 89}
  for folder, days in ages.items():
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    (folder / "runs" / "x.program").write_text("")
    os.utime(folder, (0, time.time() - days * 86_400))
  programs.keep_programs()
  left = sorted(path.name for path in own.parent.iterdir())
  assert left == sorted(["jaxlib-0.1-b", "mine", own.name])
  assert time.time() - own.stat().st_mtime < 60


def test_a_cache_that_cannot_be_made_costs_nothing_else(tmp_path):
  (tmp_path / "programs").write_text("a file in its way")
  assert start(tmp_path) == 0


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("JAX_COMPILATION_CACHE_DIR", "/elsewhere"),
    ("JAX_ENABLE_COMPILATION_CACHE", "false"),
  ],
)
def test_what_the_user_has_set_stays(name, value, tmp_path, monkeypatch):
  for other in ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE"):
    monkeypatch.delenv(other, raising=False)
  monkeypatch.setenv("ITEM_JAX_CACHE", str(tmp_path))
  monkeypatch.setenv(name, value)
  before = dict(os.environ)
  programs.keep_programs()
  assert dict(os.environ) == before
  assert list(tmp_path.iterdir()) == []

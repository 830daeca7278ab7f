"""A process that starts warm is what one that starts cold is."""

import json
import os
import signal
import subprocess
import sys

import pytest
import shell
import warm

TELLS = """
import json, os, signal, sys
import jax
print(json.dumps({
  "name": __name__,
  "argv": sys.argv[1:],
  "folder": os.getcwd(),
  "path": sys.path[0],
  "parent": os.getppid(),
  "leads": os.getsid(0) == os.getpid(),
  "variable": os.environ.get("TOLD"),
  "unset": os.environ.get("HOME"),
  "devices": jax.device_count(),
  "cached": jax.config.jax_enable_compilation_cache,
  "heard": {n: signal.getsignal(n) == signal.SIG_DFL for n in (15, 17)},
  "interrupt": signal.getsignal(2) is signal.default_int_handler,
  "input": sys.stdin.read(),
}))
print("aside", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def script(tmp_path):
  (tmp_path / "tells.py").write_text(TELLS)
  return tmp_path / "tells.py"


@pytest.mark.parametrize("session", [False, True])
@pytest.mark.parametrize("cache", [False, True])
def test_a_warm_process_sees_what_a_cold_one_sees(
  script, tmp_path, session, cache
):
  env = shell.environment(devices=3, cache=cache) | {"TOLD": "this"}
  del env["HOME"]
  found = [
    run(
      [sys.executable, str(script), "7", "b c"],
      input="given",
      env=env,
      cwd=tmp_path,
      start_new_session=session,
      capture_output=True,
      text=True,
    )
    for run in (subprocess.run, warm.run)
  ]
  for done in found:
    assert (done.returncode, done.stderr) == (7, "aside\n")
    told = json.loads(done.stdout)
    assert told["parent"] == os.getpid()
    assert told["devices"] == 3
    assert told["leads"] == session
    assert told["cached"] == cache
  assert found[0].stdout == found[1].stdout


def test_a_module_starts_as_main():
  words = [sys.executable, "-m", "item_jax", "--version"]
  cold, hot = (
    run(words, capture_output=True, text=True)
    for run in (subprocess.run, warm.run)
  )
  assert cold.stdout
  assert (hot.stdout, hot.stderr) == (cold.stdout, cold.stderr)


def test_an_error_ends_with_one_and_tells_where(tmp_path):
  (tmp_path / "fails.py").write_text("raise ValueError('lost')\n")
  words = [sys.executable, tmp_path / "fails.py"]
  done = warm.run(words, capture_output=True, text=True)
  assert done.returncode == 1
  assert done.stderr.splitlines()[-1] == "ValueError: lost"
  assert 'fails.py", line 1' in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it_by_its_own_number(tmp_path, number):
  (tmp_path / "waits.py").write_text(
    "import time\nprint('here', flush=True)\ntime.sleep(600)\n"
  )
  words = [sys.executable, tmp_path / "waits.py"]
  with warm.Popen(words, stdout=subprocess.PIPE, text=True) as process:
    assert process.stdout.readline() == "here\n"
    assert process.pid in shell.children(os.getpid())
    process.send_signal(number)
    assert process.wait(30) == -number


def test_random_numbers_are_its_own(tmp_path):
  (tmp_path / "draws.py").write_text(
    "import random, numpy\nprint(random.random(), numpy.random.rand())\n"
  )
  words = [sys.executable, tmp_path / "draws.py"]
  one, other = (
    warm.run(words, capture_output=True, text=True).stdout.split()
    for _ in range(2)
  )
  assert not {*one} & {*other}


def test_a_process_that_is_not_the_first_keeps_what_it_compiled(tmp_path):
  """jax alone would have it compile at every start."""
  (tmp_path / "compiles.py").write_text(
    "import jax\n"
    "from jax._src import distributed\n"
    "distributed.global_state.process_id = 1\n"
    "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)\n"
    "jax.jit(lambda x: x + 1)(1.0)\n"
  )
  programs = tmp_path / "programs"
  warm.run(
    [sys.executable, tmp_path / "compiles.py"],
    env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(programs)},
    check=True,
  )
  assert list(programs.iterdir())

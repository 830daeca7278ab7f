"""A run that is killed, stopped, moved or poisoned ends where it should."""

import json
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import failing_disk
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import shell
import warm

from item_jax.files import exclusive_lock, write_manifest
from item_jax.training.checkpoints import Checkpoints

SIGNALLED = Path(__file__).parent / "helpers" / "signalled.py"


@pytest.fixture(scope="module")
def whole(tiny_data, tmp_path_factory) -> Path:
  """The workdir of a run that nothing disturbed."""
  workdir = tmp_path_factory.mktemp("whole") / "run"
  shell.run(*shell.train_words(tiny_data, workdir))
  return workdir


def rows(workdir: Path) -> list[dict]:
  """metrics.jsonl without what differs from run to run."""
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  return [
    {k: v for k, v in json.loads(line).items() if k not in shell.TIMINGS}
    for line in lines
  ]


def state(workdir: Path, step: int) -> dict:
  """The whole State as numpy arrays, whatever devices it was saved from."""
  folder = workdir / "checkpoints" / str(step) / "default"
  with ocp.PyTreeCheckpointer() as reader:
    tree = reader.metadata(folder).item_metadata.tree
    plain = jax.tree.map(
      lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree
    )
    return reader.restore(folder, restore_args=plain)


def assert_same_end(workdir: Path, whole: Path) -> None:
  assert rows(workdir) == rows(whole)
  ours, theirs = state(workdir, 60), state(whole, 60)
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
    np.testing.assert_array_equal(a, b)


def test_an_undisturbed_run_logs_each_step_once(whole):
  found = [(r["kind"], r["step"]) for r in rows(whole)]
  train = [step for kind, step in found if kind == "train"]
  evals = [step for kind, step in found if kind == "eval"]
  assert train == list(range(5, 61, 5))
  assert evals == [25, 50, 60]
  last = rows(whole)[-2]
  for name in ("itm", "mlm", "mim", "gmlm", "gmim"):
    assert np.isfinite(last[name])
    assert np.isfinite(last[f"{name}_floor"])
  assert {"itm_accuracy", "mlm_accuracy", "gradient_norm", "lr"} <= set(last)
  text = (whole / "metrics.jsonl").read_text()
  assert text.count('"samples_per_second"') == len(train)
  assert text.count('"input_wait"') == len(train)
  for side in ("both", "image", "title"):
    assert 0 <= rows(whole)[-1][f"{side}/map@10"] <= 1
  steps = sorted(int(p.name) for p in (whole / "checkpoints").iterdir())
  assert steps[-3:] == [40, 50, 60]
  assert list((whole / "tensorboard").glob("events*"))


def test_killed_at_three_random_moments_ends_bitwise_equal(
  tiny_data, tmp_path, whole
):
  workdir = tmp_path / "run"
  words = shell.train_words(tiny_data, workdir)
  moments = random.Random(5)
  for first in (5, 25, 45):
    process = shell.start(*words)
    output = shell.interrupt_at(
      process, workdir, first + moments.randrange(10), signal.SIGKILL
    )
    assert process.returncode == -signal.SIGKILL, output
  shell.run(*words)
  assert_same_end(workdir, whole)


def kill_in_a_save(process, workdir: Path, step: int) -> None:
  """SIGKILL while a save of `step` or later is being written."""
  deadline = time.monotonic() + 120
  while process.poll() is None and time.monotonic() < deadline:
    for path in (workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*"):
      if int(path.name.partition(".")[0]) >= step:
        process.kill()
        break
  process.communicate(timeout=120)


@pytest.mark.slow
def test_killed_at_twenty_random_moments_ends_bitwise_equal(
  tiny_data, tmp_path, whole
):
  workdir = tmp_path / "run"
  words = shell.train_words(tiny_data, workdir)
  moments = random.Random(20)
  inside = 0
  for first in range(2, 60, 3):
    process = shell.start(*words)
    if moments.random() < 0.5:
      kill_in_a_save(process, workdir, first)
    else:
      step = first + moments.randrange(3)
      shell.interrupt_at(process, workdir, step, signal.SIGKILL)
    assert process.returncode in (0, -signal.SIGKILL)
    inside += any((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*"))
    saved = Checkpoints(workdir, read_only=True).steps()
    assert not saved or saved[-1] >= max(r["step"] for r in rows(workdir)) - 20
  assert inside >= 3
  shell.run(*words)
  assert_same_end(workdir, whole)
  names = [p.name for p in (workdir / "checkpoints").iterdir()]
  assert all(name.isdigit() for name in names), names  # no leftovers


@pytest.mark.slow
def test_a_worker_process_that_is_killed_is_replaced(
  tiny_data, tmp_path, whole
):
  """And a signal to all processes of the run stops it as it should."""
  workdir = tmp_path / "run"
  words = shell.train_words(tiny_data, workdir, "--config.data.workers=2")
  process = shell.start(*words)
  failing_disk.until(lambda: workers(process.pid))
  for worker in workers(process.pid)[:1]:
    os.kill(worker, signal.SIGKILL)
  output, _ = process.communicate(timeout=300)
  assert process.returncode == 0, output
  assert "reading starts anew" in output
  assert_same_end(workdir, whole)


def workers(parent: int) -> list[int]:
  """Processes that multiprocessing started to read, from any thread."""
  return [
    child
    for child, command in shell.children(parent).items()
    if "spawn_main" in command
  ]


def signalled(words, *moment) -> tuple[int, str]:
  """Exit code and output of a run that gets a signal at one moment."""
  done = warm.run(
    [sys.executable, SIGNALLED, *map(str, (*moment, *words))],
    env=shell.environment(),
    capture_output=True,
    text=True,
    timeout=300,
  )
  return done.returncode, done.stdout + done.stderr


def test_asked_to_stop_saves_and_goes_on_bitwise_equal(
  tiny_data, tmp_path, whole
):
  workdir = tmp_path / "run"
  words = shell.train_words(tiny_data, workdir)
  for *moment, saved in (
    ("evaluation", 25, "SIGTERM", 1, 25),
    ("step", 32, "SIGINT", 1, 33),
    ("checkpoint", 40, "SIGTERM", 2, 41),
    ("evaluation", 60, "SIGTERM", 1, 60),
  ):
    code, output = signalled(words, *moment)
    assert code == 75, output
    assert f"stopped at step {saved}, saved; start again" in output
  # What was left is the evaluation of step 60 alone.
  assert (rows(workdir)[-1]["kind"], rows(workdir)[-1]["step"]) == ("train", 60)
  assert "resumed at step 60" in shell.run(*words)
  assert_same_end(workdir, whole)
  # What is done is not done again.
  assert "resumed at step 60" in shell.run(*words)
  assert_same_end(workdir, whole)
  best = Checkpoints(whole, read_only=True).best_step()
  assert Checkpoints(workdir, read_only=True).best_step() == best


def test_asked_to_stop_in_its_last_save_a_run_is_done(tiny_data, tmp_path):
  words = shell.train_words(tiny_data, tmp_path / "run", variant="short")
  code, output = signalled(words, "checkpoint", 8, "SIGTERM", 2)
  assert code == 0, output
  Checkpoints(tmp_path / "run", read_only=True).verify(8)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_before_the_first_step_ends_at_once(
  tiny_data, tmp_path, number
):
  """Without a cache of programs: it compiles for seconds."""
  workdir = tmp_path / "run"
  words = shell.train_words(tiny_data, workdir)
  process = shell.start(*words, cache=False)
  failing_disk.until((workdir / "lock").exists)
  process.send_signal(number)
  begin = time.monotonic()
  output, _ = process.communicate(timeout=60)
  assert process.returncode == 75, output
  assert "before the first step" in output
  assert not (workdir / "run.json").exists()  # it was not ready yet
  assert time.monotonic() - begin < 10


def test_a_second_run_in_a_workdir_is_refused(tiny_data, tmp_path):
  workdir = tmp_path / "run"
  with exclusive_lock(workdir, what="run"):
    output = shell.run(*shell.train_words(tiny_data, workdir), code=2)
  assert f"another run is at work in {workdir}" in output


def test_one_of_two_processes_asked_to_stop_stops_both(tiny_data, tmp_path):
  workdir = tmp_path / "run"
  words = shell.train_words(tiny_data, workdir, "--config.steps=100000")
  one, other = shell.start_together(*words, devices=1)
  output = shell.interrupt_at(other, workdir, 12, signal.SIGTERM)
  assert other.returncode == 75, output
  output, _ = one.communicate(timeout=60)
  assert one.returncode == 75, output
  step = int(re.search(r"stopped at step (\d+), saved", output)[1])
  checkpoints = Checkpoints(workdir, read_only=True)
  assert checkpoints.steps()[-1] == step > 12
  checkpoints.verify(step)


def test_another_model_or_seed_is_refused_by_name(tiny_data, whole):
  before = (whole / "metrics.jsonl").read_bytes()
  words = shell.train_words(
    tiny_data, whole, "--config.model.width=64", "--config.seed=9"
  )
  output = shell.run(*words, code=2)
  assert "model.width: was 32, is 64" in output
  assert "seed: was 0, is 9" in output
  assert "optim.lr" not in output
  assert (whole / "metrics.jsonl").read_bytes() == before


def test_checkpoints_of_an_unknown_run_are_refused(tiny_data, whole, tmp_path):
  import shutil

  workdir = tmp_path / "run"
  shutil.copytree(whole, workdir)
  (workdir / "run.json").unlink()
  output = shell.run(*shell.train_words(tiny_data, workdir), code=2)
  assert "holds checkpoints, but run.json" in output
  assert not (workdir / "run.json").exists()


def test_other_data_is_refused(tiny_data, whole, tmp_path):
  import shutil

  other = tmp_path / "data"
  shutil.copytree(tiny_data, other)
  catalogue = json.loads((other / "catalogue.json").read_text())
  catalogue["fingerprint"]["train"] = "0" * 64
  (other / "catalogue.json").write_text(json.dumps(catalogue))
  write_manifest(other)
  output = shell.run(*shell.train_words(other, whole), code=2)
  assert "fingerprint" in output


def test_where_and_how_often_may_change(tiny_data, whole, tmp_path):
  import shutil

  moved = tmp_path / "moved"
  shutil.copytree(tiny_data, moved)
  changed = ["--config.checkpoint.every=7", "--config.eval_every=7"]
  words = shell.train_words(moved, whole, *changed)
  assert "resumed at step 60" in shell.run(*words)


def test_a_damaged_checkpoint_is_passed_over(tiny_data, tmp_path, whole):
  import shutil

  workdir = tmp_path / "run"
  shutil.copytree(whole, workdir)
  data = sorted((workdir / "checkpoints" / "60" / "default" / "d").iterdir())
  path = max(data, key=lambda p: p.stat().st_size)
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)
  output = shell.run(*shell.train_words(tiny_data, workdir))
  assert f"{path.name} was altered" in output
  assert "resumed at step 50" in output
  assert_same_end(workdir, whole)


def test_the_clock_saves_too(tiny_data, tmp_path):
  workdir = tmp_path / "run"
  words = shell.train_words(
    tiny_data,
    workdir,
    "--config.checkpoint.minutes=1e-6",
    "--config.checkpoint.every=1000",
    variant="short",
  )
  shell.run(*words)
  steps = {int(p.name) for p in (workdir / "checkpoints").iterdir()}
  assert steps == {6, 7, 8}  # every step was saved, the last three are kept


def test_two_processes_of_two_devices_equal_one(tiny_data, tmp_path):
  alone, both = tmp_path / "alone", tmp_path / "both"
  shell.run(*shell.train_words(tiny_data, alone, variant="short"))
  port = shell.free_port()
  words = shell.train_words(tiny_data, both, variant="short")
  processes = [
    shell.start(
      *words,
      f"--coordinator=localhost:{port}",
      "--num_processes=2",
      f"--process_id={number}",
      devices=2,
    )
    for number in range(2)
  ]
  outputs = shell.outputs(processes, seconds=240)
  assert [p.returncode for p in processes] == [0, 0], "\n".join(outputs)
  one, two = rows(alone), rows(both)
  assert [r["step"] for r in one] == [r["step"] for r in two]
  for a, b in zip(one, two, strict=True):
    assert a.keys() == b.keys()
    if a["kind"] != "train":
      continue
    for name in a:
      if name == "kind" or name.endswith("_accuracy"):
        continue  # of accuracies a near tie may fall either way
      assert a[name] == pytest.approx(b[name], rel=1e-4), name
  for name in ("itm", "mlm", "mim", "gmlm", "gmim"):
    assert one[0][name] == pytest.approx(two[0][name], rel=1e-5)
  a, b = state(alone, 8)["params"], state(both, 8)["params"]
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, atol=1e-3)


def test_ten_bad_steps_in_a_row_end_the_run(tiny_data, tmp_path):
  workdir = tmp_path / "run"
  words = shell.train_words(tiny_data, workdir, variant="diverging")
  output = shell.run(*words, code=4)
  assert "10 steps in a row were skipped" in output
  bad = [r for r in rows(workdir) if r["kind"] == "bad"]
  assert [r["in_a_row"] for r in bad[-10:]] == list(range(1, 11))
  assert all(len(r["listing_ids"]) == 16 for r in bad)
  checkpoints = Checkpoints(workdir, read_only=True)
  last = checkpoints.newest_good()
  checkpoints.close()
  assert last is not None
  for leaf in jax.tree.leaves(state(workdir, last)["params"]):
    assert np.isfinite(leaf).all()

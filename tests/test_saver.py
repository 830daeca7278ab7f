"""A save that failed is never said to have succeeded, and is tried again."""

import contextlib
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import failing_disk
import pytest
import shell

from item_jax.config import Checkpoint
from item_jax.training import saver as saver_module
from item_jax.training.checkpoints import Checkpoints
from item_jax.training.metric_log import Log
from item_jax.training.saver import Saver

ALONE = ["unshare", "--map-root-user", "--mount"]


@pytest.fixture
def namespace() -> list[str]:
  """Tokenizer before a command that may then mount."""
  if shutil.which("unshare") is None:
    pytest.skip("no unshare: nothing can be mounted without root")
  probe = [*ALONE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
  done = subprocess.run(probe, capture_output=True, text=True)
  if done.returncode:
    pytest.skip(f"this machine lets nobody mount: {done.stderr.strip()}")
  return ALONE


@pytest.mark.parametrize(
  "kind", ["full", pytest.param("read_only", marks=pytest.mark.slow)]
)
def test_a_disk_that_fails_and_is_mended(namespace, tmp_path, kind):
  done = subprocess.run(
    [*namespace, sys.executable, failing_disk.__file__, str(tmp_path), kind],
    env=shell.environment(),
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  assert "WARNING at step 2" in done.stdout
  assert f"survived a disk that is {kind}" in done.stdout


@pytest.fixture
def saver(tmp_path):
  checkpoints = Checkpoints(tmp_path)
  log = Log(tmp_path, start=0)
  yield Saver(checkpoints, log, Checkpoint(every=10), log_every=5, saved=None)
  checkpoints.close()
  log.close()


def test_a_folder_that_goes_away_under_way(saver, tmp_path, monkeypatch):
  folder = tmp_path / "checkpoints"
  saver.save(10, failing_disk.STATE)
  saver.finish(10, failing_disk.STATE)
  shutil.rmtree(folder)  # between saves
  renamed, finish = threading.Event(), saver._checkpoints._finish

  def after_it(*given):
    renamed.wait()
    finish(*given)

  with monkeypatch.context() as patch:
    patch.setattr(saver._checkpoints, "_finish", after_it)
    saver.save(20, failing_disk.STATE)
    folder.rename(tmp_path / "gone")  # in one
    renamed.set()
  saver.finish(20, failing_disk.STATE)
  reader = Checkpoints(tmp_path, read_only=True)
  assert reader.steps() == [20]
  reader.verify(20)
  # A file in its place.
  folder.rename(tmp_path / "elsewhere")
  folder.write_text("")
  monkeypatch.setattr(saver_module, "_FIRST_PAUSE", 3.0)
  saver.save(30, failing_disk.STATE)
  assert not saver.due(31)  # not again at once
  failing_disk.until(lambda: saver.due(32))
  folder.unlink()
  (tmp_path / "elsewhere").rename(folder)
  saver.save(32, failing_disk.STATE)
  saver.finish(32, failing_disk.STATE)
  assert reader.steps() == [20, 32]
  assert (
    '"save_failed", "failures": 1' in (tmp_path / "metrics.jsonl").read_text()
  )


def mounted(folder: Path, size: str) -> list[str]:
  """Tokenizer that run `item-jax` with a disk of its own on a folder."""
  mount = f"mount -t tmpfs -o size={size} tmpfs {folder}"
  run = [sys.executable, "-m", "item_jax"]
  return ["sh", "-c", f'{mount} && exec "$@"', "sh", *run]


def test_a_run_whose_last_state_is_not_on_disk_fails(
  namespace, tiny_data, tmp_path
):
  """A disk that holds all of a run but a checkpoint."""
  workdir = tmp_path / "run"
  workdir.mkdir()
  words = shell.train_words(tiny_data, workdir, variant="short")
  done = subprocess.run(
    [*namespace, *mounted(workdir, "160k"), *words],
    env=shell.environment(),
    capture_output=True,
    text=True,
    timeout=300,
  )
  output = done.stdout + done.stderr
  assert done.returncode == 4, output
  assert "the last state, of step 8, is not on disk; what is: none" in output
  assert "step 8/8" in output  # the run went on to its end
  for noise in ("Traceback", "Event loop", "ERROR:", "RuntimeWarning"):
    assert noise not in output


@pytest.mark.slow
def test_a_disk_that_is_full_for_a_while(namespace, tiny_data, tmp_path):
  """The run goes on meanwhile, saves again afterwards, and ends well."""
  workdir = tmp_path / "run"
  workdir.mkdir()
  words = shell.train_words(
    tiny_data,
    workdir,
    "--config.steps=2000",
    "--config.log_every=20",
    "--config.eval_every=500",
    "--config.checkpoint.every=50",
  )
  process = subprocess.Popen(
    [*namespace, *mounted(workdir, "6m"), *words],
    env=shell.environment(),
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  seen = []
  inside = Path(f"/proc/{process.pid}/root{workdir}")
  for line in process.stdout:
    seen.append(line)
    if line.startswith("step  200/") and not (inside / "filler").exists():
      failing_disk.fill(inside)
      with (
        (inside / "filler").open("ab", buffering=0) as file,
        contextlib.suppress(OSError),
      ):
        while True:  # to the last byte
          file.write(bytes(1024))
    if line.startswith("step 1000/"):
      (inside / "filler").unlink()
  output = "".join(seen)
  assert process.wait() == 0, output
  assert output.count("WARNING") >= 2
  assert "step 2000/2000" in output


@pytest.mark.slow
def test_all_of_many_processes_fail_together(tiny_data, tmp_path):
  workdir = tmp_path / "run"
  workdir.mkdir()
  words = shell.train_words(tiny_data, workdir, variant="short")
  processes = shell.start_together(*words)
  # In the place of the folder, before the first save.
  failing_disk.until((workdir / "checkpoints").exists)
  (workdir / "checkpoints").rmdir()
  (workdir / "checkpoints").write_text("")
  outputs = shell.outputs(processes)
  assert [p.returncode for p in processes] == [4, 4], "\n".join(outputs)


@pytest.mark.parametrize("who", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_what_one_of_two_processes_cannot_write_fails_in_both(tmp_path, who):
  script = Path(__file__).parent / "helpers" / "one_sided_save.py"
  processes = shell.start_together(tmp_path, who, program=(script,))
  outputs = shell.outputs(processes, seconds=120)
  for process, output in zip(processes, outputs, strict=True):
    assert process.returncode == 4, output
    assert "saved [10, 21]" in output
    assert "stopped: the last state, of step 30, is not on disk" in output


@pytest.mark.slow
def test_all_of_many_processes_fail_where_one_cannot_write(tiny_data, tmp_path):
  """Parameters are split, so that each of the two has its own to write."""
  workdir = tmp_path / "run"
  options = ("--config.model.width=64", "--config.mesh.fsdp=2")
  words = shell.train_words(tiny_data, workdir, *options, variant="short")
  processes = shell.start_together(*words, "--stall_seconds=120")
  resource.prlimit(processes[1].pid, resource.RLIMIT_FSIZE, (4096, 4096))
  outputs = shell.outputs(processes)
  assert [p.returncode for p in processes] == [4, 4], "\n".join(outputs)
  assert "process 1: " in outputs[0]  # it says who
  assert "the last state, of step 8, is not on disk" in outputs[0]

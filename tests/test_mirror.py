"""Laws of a run whose workdir is on an object store: what is saved is there,
another machine goes on with it, and of two runs the later one has it."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shell
import tiny_run
from store import Bucket, objects, open_bucket

from item_jax.__main__ import main
from item_jax.errors import UserError
from item_jax.files import (
  MANIFEST,
  find_damage,
  read_checksummed,
  write_manifest,
)
from item_jax.remote import Address, StoreError
from item_jax.training.checkpoints import Checkpoints, SaveError
from item_jax.training.init_from import starting_params
from item_jax.training.loop import train
from item_jax.training.mirror import Mirror, TakenOverError
from item_jax.training.restore import restore

RUN = "gs://bucket/run"


@pytest.fixture
def bucket(tmp_path, monkeypatch):
  monkeypatch.setenv("ITEM_JAX_CACHE", str(tmp_path / "cache"))
  monkeypatch.chdir(tmp_path)
  return open_bucket(tmp_path / "store")


@pytest.fixture
def machines(bucket, tmp_path, monkeypatch):
  """Gives a mirror as each of several machines would have it."""

  def on(machine: str) -> Mirror:
    monkeypatch.setenv("ITEM_JAX_CACHE", str(tmp_path / machine))
    mirror = Mirror(Address(RUN))
    mirror.folder.mkdir(parents=True, exist_ok=True)
    return mirror

  return on


def started(mirror: Mirror) -> Mirror:
  mirror.begin()
  mirror.acquire()
  return mirror


def save(mirror: Mirror, step: int, *, metrics=None) -> None:
  folder = mirror.folder / "checkpoints" / str(step)
  (folder / "default").mkdir(parents=True)
  (folder / "default" / "d").write_bytes(bytes([step]) * 100)
  write_manifest(folder, metrics=metrics)
  (mirror.folder / "run.json").write_text("{}")
  (mirror.folder / "tokenizer.json").write_text("{}")
  with (mirror.folder / "metrics.jsonl").open("a") as file:
    file.write(f'{{"step": {step}}}\n')


def names(folder: Path) -> set[str]:
  return {name for name in objects(folder) if name != "owner"}


def test_another_machine_has_what_was_saved(machines, bucket):
  first = started(machines("a"))
  for step in (1, 2):
    save(first, step)
    first.send()
  save(first, 3)  # killed before it was sent
  (first.folder / "tensorboard").mkdir()

  second = started(machines("b"))
  assert names(second.folder) == names(bucket / "run")
  assert objects(second.folder)["checkpoints/2/default/d"] == bytes([2]) * 100
  assert not (second.folder / "checkpoints" / "3").exists()
  assert (second.folder / "metrics.jsonl").read_text().count("\n") == 2


def test_the_same_machine_has_more_than_was_sent(machines, bucket):
  first = started(machines("a"))
  save(first, 1)
  first.send()
  save(first, 2)
  again = started(machines("a"))
  assert names(again.folder) == names(bucket / "run")
  assert "checkpoints/2/manifest.json" in objects(bucket / "run")


def test_the_run_that_was_started_last_has_it(machines, bucket):
  first = started(machines("a"))
  save(first, 1)
  first.send()
  second = machines("b")
  second.begin()
  save(first, 2)
  first.send()  # a run that is not yet sure to begin takes nothing away
  second.acquire()
  assert names(second.folder) == names(bucket / "run")
  save(first, 3)
  with pytest.raises(TakenOverError, match="another run was started there"):
    first.send()
  assert not (bucket / "run" / "checkpoints" / "3").exists()
  save(second, 4)
  second.send()
  # Its own copy is not the newest any more: it begins with the store's.
  third = started(machines("a"))
  assert names(third.folder) == names(bucket / "run")
  assert "checkpoints/4/manifest.json" in names(third.folder)
  assert "checkpoints/3/manifest.json" not in names(third.folder)


def test_a_step_is_there_when_its_manifest_is(machines, bucket):
  first = started(machines("a"))
  save(first, 1)
  first.send()
  save(first, 2)
  for room in range(3):  # what marks an upload, the data, the manifest
    Bucket.room = room
    with pytest.raises(OSError, match="the store is away"):
      first.send()
    Bucket.room = None
    second = machines("b")
    second.begin()
    steps = [p.name for p in (second.folder / "checkpoints").iterdir()]
    assert steps == ["1"]
  first.send()
  assert list(find_damage(bucket / "run" / "checkpoints" / "2")) == []


def test_steps_that_are_not_kept_leave_the_store_too(machines, bucket):
  first = started(machines("a"))
  for step in (1, 2):
    save(first, step)
    first.send()
  for path in sorted((first.folder / "checkpoints" / "1").rglob("*"))[::-1]:
    path.unlink() if path.is_file() else path.rmdir()
  (first.folder / "checkpoints" / "1").rmdir()
  first.send()
  assert [p.name for p in (bucket / "run" / "checkpoints").iterdir()] == ["2"]


def test_a_rank_is_sent_without_the_state(machines, bucket):
  first = started(machines("a"))
  save(first, 1)
  first.send()
  write_manifest(first.folder / "checkpoints" / "1", metrics={"m": 1.0})
  Bucket.written.clear()
  first.send()
  assert Bucket.written == ["bucket/run/checkpoints/1/manifest.json"]
  seal = bucket / "run" / "checkpoints" / "1" / MANIFEST
  assert read_checksummed(seal)["metrics"] == {"m": 1.0}
  seal.write_bytes(b"[damaged]")
  first.send()
  assert list(find_damage(seal.parent)) == []


def test_what_is_no_run_stays(machines, bucket):
  (bucket / "run").mkdir(parents=True)
  (bucket / "run" / "notes.txt").write_text("mine")
  with pytest.raises(UserError, match="holds no run"):
    machines("a").begin()
  assert objects(bucket / "run") == {"notes.txt": b"mine"}


class Refusing:
  """A mirror whose store answers with an error."""

  def __init__(self, error):
    self.error = error

  def send(self):
    raise self.error


@pytest.mark.parametrize(
  ("error", "raised"),
  [
    (StoreError("the store is away"), SaveError),
    (TakenOverError("it is another run's"), TakenOverError),
  ],
)
def test_what_is_not_on_the_store_is_not_saved(error, raised, tmp_path):
  checkpoints = Checkpoints(tmp_path, mirror=Refusing(error))
  checkpoints.save(1, {"a": jnp.zeros(3)})
  with pytest.raises(raised, match=str(error)):
    checkpoints.wait()
  if raised is SaveError:  # which is tried again
    assert checkpoints.steps() == []
  checkpoints.close()


# ---- A real run. ----


def config_of(data):
  config = tiny_run.get_config("roberta")  # quickly compiled
  config.steps = 6
  config.log_every = 1
  config.checkpoint.every = 2
  config.evaluators = ()
  config.data.path = str(data)
  return config


def rows(workdir: Path) -> list[dict]:
  lines = (workdir / "metrics.jsonl").read_text().splitlines()
  found = [json.loads(line) for line in lines]
  return [
    {k: v for k, v in row.items() if k not in shell.TIMINGS}
    for row in found
    if row["kind"] != "save_failed"
  ]


def test_a_run_goes_on_elsewhere_and_is_exported(
  bucket, tiny_data, tmp_path, monkeypatch, capsys, caplog
):
  caplog.set_level("INFO")
  monkeypatch.setattr("item_jax.training.saver.LAST_TRIES", (0, 0))
  config, here = config_of(tiny_data), tmp_path / "run"
  train(config, here)

  # The store goes away after the first checkpoint that has all its files.
  Bucket.last = f"checkpoints/2/{MANIFEST}"
  with pytest.raises(SaveError, match="is not on disk"):
    train(config, RUN)
  Bucket.room = Bucket.last = None
  saved = [int(p.name) for p in (bucket / "run" / "checkpoints").iterdir()]
  assert 2 in saved
  assert max(saved) < 6

  monkeypatch.setenv("ITEM_JAX_CACHE", str(tmp_path / "another"))
  shutil.copytree(tiny_data, bucket / "data")
  config.data.path = "gs://bucket/data"
  train(config, RUN)
  assert "resumed at step" in caplog.text
  assert rows(bucket / "run") == rows(here)
  words = shell.train_words(tiny_data, RUN, "--stall_seconds=0")
  assert main(words) == 2
  assert "steps: was 6, is 60" in capsys.readouterr().err
  assert main(["verify", RUN]) == 0
  assert f"whole: {RUN}/checkpoints/6" in capsys.readouterr().out

  # Its weights, opened and started from where they lie.
  theirs, ours = restore(here), restore(RUN)
  assert ours.step == theirs.step == 6
  config.start_from = RUN
  taken = starting_params(
    config,
    ours.task,
    ours.run.tokenizer,
    (),
    jax.tree.map(np.zeros_like, ours[2]),
  )
  for found in (ours.params, taken.params):
    jax.tree.map(np.testing.assert_array_equal, found, theirs.params)

  # The export of a run on the store, of data on the store, to the store.
  ours = [f"--workdir={RUN}", "--data=gs://bucket/data", "--out=gs://bucket/e"]
  theirs = [f"--workdir={here}", f"--data={tiny_data}", f"--out={tmp_path}/e"]
  fixed = ["export", "--stall_seconds=0"]
  assert main([*fixed, *theirs]) == 0
  assert main([*fixed, *ours]) == 0
  assert Bucket.written[-1] == "bucket/e/meta.json"
  made, expected = objects(bucket / "e"), objects(tmp_path / "e")
  assert made.keys() == expected.keys()
  assert made["embeddings.npy"] == expected["embeddings.npy"]
  Bucket.written.clear()
  assert main([*fixed, *ours]) == 0
  assert "is finished already" in capsys.readouterr().out
  assert [n for n in Bucket.written if "probe" not in n] == []
  assert not list(tmp_path.glob("gs:*"))

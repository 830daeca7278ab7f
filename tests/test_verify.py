"""One bit, one file: whatever is altered is refused by its name, by `verify`
and by what would use it."""

import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import shell
import tiny_run
import untrained
from exports import write_export

from item_jax.__main__ import main
from item_jax.data.records import open_dataset
from item_jax.diagnostics.verify import verify
from item_jax.errors import UserError
from item_jax.evaluation.fusion import fuse
from item_jax.evaluation.items import open_export
from item_jax.files import CorruptError
from item_jax.training.checkpoints import Checkpoints
from item_jax.training.run import read_run

STATE = {"params": {"kernel": jnp.ones((7, 5))}, "step": jnp.zeros((), int)}


def make_run(data: Path, folder: Path) -> Path:
  """A workdir of two checkpoints that no training is needed for."""
  untrained.write_record(folder, tiny_run.get_config(), data, ["a", "b"])
  checkpoints = Checkpoints(folder)
  for step, metrics in ((10, {"both/map@10": 0.5}), (20, None)):
    checkpoints.save(step, STATE, metrics=metrics)
    checkpoints.wait()
  checkpoints.close()
  return folder


def make_exports(folder: Path) -> list[Path]:
  """A photo's, a title's and, written by `fuse`, that of both."""
  rows = [{"product": product} for product in "AABB"]
  vectors = np.random.default_rng(0).standard_normal((4, 3))
  sides = [
    write_export(folder / side, vectors, rows, modality=side)
    for side in ("image", "title")
  ]
  fuse(*sides, out=folder / "both")
  return [*sides, folder / "both"]


@pytest.fixture(scope="module")
def made(tiny_data, tmp_path_factory) -> Path:
  folder = tmp_path_factory.mktemp("made")
  shutil.copytree(tiny_data, folder / "data")
  make_run(tiny_data, folder / "run")
  make_exports(folder / "exports")
  return folder


def spoilt(data: bytes) -> dict[str, bytes | None]:
  """What may become of a file; None: it is gone."""

  def flipped(place, bit):
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]

  return {
    "first bit": flipped(0, 0),
    "a bit within": flipped(len(data) // 2, 5),
    "last bit": flipped(len(data) - 1, 7),
    "cut": data[:-1],
    "emptied": b"",
    "deleted": None,
  }


def each_damage(folder: Path):
  """Yields (file, what was done to it); the file is mended afterwards."""
  for file in sorted(p for p in folder.rglob("*") if p.is_file()):
    before = file.read_bytes()
    for what, data in spoilt(before).items() if before else ():
      if data is None:
        file.unlink()
      else:
        file.write_bytes(data)
      yield file, what
    file.write_bytes(before)


def refused(file: Path, path: Path, capsys) -> bool:
  """Whether `item-jax verify` ends with 1 and a line that names the file."""
  code = main(["verify", str(path)])
  lines = capsys.readouterr().out.splitlines()
  bad = [line for line in lines[:-1] if not line.startswith("whole: ")]
  return code == 1 and len(bad) == 1 and str(file) in bad[0]


def test_what_is_whole_is_said_to_be(made, capsys):
  for path, kind in (
    (made / "data", "data set"),
    (made / "run", "run"),
    (made / "run" / "checkpoints" / "20", "checkpoint"),
    (made / "exports" / "image", "export"),
    (made / "exports" / "both", "export"),
  ):
    assert main(["verify", str(path)]) == 0
    output = capsys.readouterr().out
    assert f"{path}: {kind}, " in output
    assert {line.partition(":")[0] for line in output.splitlines()[:-1]} == {
      "whole"
    }


def test_every_file_of_a_data_set_counts(made, capsys):
  seen = 0
  for file, what in each_damage(made / "data"):
    assert refused(file, made / "data", capsys), (file, what)
    with pytest.raises((UserError, FileNotFoundError), match=file.name):
      open_dataset(made / "data")  # its shards are small
    seen += 1
  assert seen == 9 * 6
  open_dataset(made / "data")


def test_every_file_of_a_checkpoint_counts(made, capsys):
  run = made / "run"
  checkpoints = Checkpoints(run, read_only=True)
  seen = set()
  for file, what in each_damage(run / "checkpoints" / "20"):
    assert refused(file, run, capsys), (file, what)
    with pytest.raises(CorruptError) as error:
      checkpoints.verify(20)
    assert str(file) in str(error.value), what
    seen.add(file)
  assert len(seen) > 5
  checkpoints.verify(20)
  checkpoints.close()


def test_every_file_of_a_run_counts(made, capsys):
  for name in ("run.json", "tokenizer.json"):
    folder = made / "alone" / name
    folder.mkdir(parents=True)
    (made / "run" / name).rename(folder / name)
    for file, what in each_damage(folder):
      if file.exists():
        shutil.copy(file, made / "run" / name)
      else:
        (made / "run" / name).unlink()
      assert refused(made / "run" / name, made / "run", capsys), (name, what)
      with pytest.raises((UserError, FileNotFoundError), match=name):
        read_run(made / "run")
    (folder / name).rename(made / "run" / name)
  read_run(made / "run")


@pytest.mark.parametrize("side", ["image", "both"])
def test_every_file_of_an_export_counts(made, side, capsys):
  seen = 0
  for file, what in each_damage(made / "exports" / side):
    assert refused(file, made / "exports" / side, capsys), (file, what)
    with pytest.raises((UserError, FileNotFoundError), match=file.name):
      open_export(made / "exports" / side)
    seen += 1
  assert seen == 3 * 6
  open_export(made / "exports" / side)


def test_all_that_is_wrong_is_said(made, tmp_path, capsys):
  shutil.copytree(made / "run", tmp_path / "run")
  spoil = [
    tmp_path / "run" / "run.json",
    *(tmp_path / "run" / "checkpoints" / "10" / "default").glob("_*"),
  ]
  for file in spoil:
    file.write_bytes(b"x")
  (tmp_path / "run" / "checkpoints" / "20" / "manifest.json").unlink()
  (tmp_path / "run" / "checkpoints" / "30.orbax-checkpoint-tmp").mkdir()
  assert len(spoil) > 2
  assert main(["verify", str(tmp_path / "run")]) == 1
  output = capsys.readouterr().out
  for file in spoil:
    assert f"damaged: {file} " in output
  assert f"unfinished: {tmp_path / 'run' / 'checkpoints' / '20'}" in output
  assert f": run, {len(spoil)} damaged, 1 unfinished" in output


def test_what_was_never_finished_is_not_called_damaged(made, tmp_path, capsys):
  (tmp_path / "export" / "parts").mkdir(parents=True)
  (tmp_path / "export" / "plan.json").write_text("{}")
  draft = tmp_path / "data.preparing-here-1"
  draft.mkdir()
  shard = next((made / "data").glob("*train.array_record-*"))
  shutil.copy(shard, draft)
  for path in (tmp_path / "export", draft):
    assert main(["verify", str(path)]) == 1
    output = capsys.readouterr().out
    assert output.startswith(f"unfinished: {path}")
    assert "damaged" not in output


def test_a_comparison_is_its_runs_and_exports(made, tmp_path, capsys):
  runs = tmp_path / "c" / "runs" / "item" / "seed0"
  shutil.copytree(made / "run", runs / "run")
  shutil.copytree(made / "exports", runs / "exports")
  (tmp_path / "c" / "plan.json").write_text("{}")
  assert main(["verify", str(tmp_path / "c")]) == 0
  assert ": comparison, 6 whole" in capsys.readouterr().out
  (runs / "exports" / "title" / "items.csv").unlink()
  assert main(["verify", str(tmp_path / "c")]) == 1
  output = capsys.readouterr().out
  assert f"damaged: {runs / 'exports' / 'title' / 'items.csv'}" in output


@pytest.mark.parametrize("dropped", [True, False])
def test_of_a_tuning_run_only_the_score_need_be_there(
  made, tmp_path, dropped, capsys
):
  """But one that is scored itself keeps its checkpoints."""
  run = tmp_path / "c" / "runs" / "item" / "tune-1"
  shutil.copytree(made / "run", run / "workdir")
  shutil.rmtree(run / "workdir" / "checkpoints")
  (tmp_path / "c" / "plan.json").write_text("{}")
  said = {"steps": 9, "dropped": dropped}
  (run / "result.json").write_text(json.dumps(said))
  assert main(["verify", str(tmp_path / "c")]) == (0 if dropped else 1)
  assert ("unfinished" in capsys.readouterr().out) != dropped


def test_lost_records_are_named(made, tmp_path, capsys):
  data = tmp_path / "data"
  shutil.copytree(made / "data", data)
  words = ["verify", "--records", str(data)]
  assert main(words) == 0
  sizes = open_dataset(data).sizes
  output = capsys.readouterr().out
  for split, size in sizes.items():
    assert f"whole: {data}: {size} records of {split}" in output
  record = open_dataset(data).source("val")[3]
  shard = next(data.glob("*val.array_record-*"))
  content = shard.read_bytes()
  place = content.index(record.image)
  shard.write_bytes(content[:place] + b"\0" + content[place + 1 :])
  assert main(words) == 1
  output = capsys.readouterr().out
  assert f"damaged: {shard} was altered" in output
  assert f"damaged: {shard}: record 3 (of the split: 3)" in output
  assert f"{sizes['val']} records of val, 1 of them cannot be read" in output
  # A shard of others is found by the records too, whatever a manifest says.
  shutil.copy(next(data.glob("*test.array_record-*")), shard)
  found = [f.text for f in verify(data, records=True) if "record" in f.text]
  assert any(f"{sizes['val']} records of val" in text for text in found)


def test_other_folders_are_refused(tmp_path, made, capsys):
  (tmp_path / "photos").mkdir()
  assert main(["verify", str(tmp_path / "photos")]) == 2
  assert "no data set, run, checkpoint, export" in capsys.readouterr().err
  assert main(["verify", str(tmp_path / "nowhere")]) == 2
  assert main(["verify", str(made / "run" / "run.json")]) == 2
  assert "run.json is a file: expected the folder" in capsys.readouterr().err
  assert main(["verify", str(made / "run"), "--records"]) == 2


def test_a_folder_in_a_files_place_is_damage(made, tmp_path, capsys):
  shutil.copytree(made / "data", tmp_path / "data")
  (tmp_path / "data" / "catalogue.json").unlink()
  (tmp_path / "data" / "catalogue.json").mkdir()
  assert main(["verify", "--records", str(tmp_path / "data")]) == 1
  output = capsys.readouterr().out
  assert "its records cannot be found" in output


@pytest.mark.slow
def test_what_the_commands_write(tiny_data, tmp_path, capsys):
  """As above, of what a user's commands wrote; every file of them."""
  shutil.copytree(tiny_data, tmp_path / "data")
  words = shell.train_words(tmp_path / "data", tmp_path / "run")
  shell.run(*words, "--config.steps=20")
  shell.run(
    "export",
    f"--workdir={tmp_path / 'run'}",
    f"--data={tmp_path / 'data'}",
    "--split=test",
    f"--out={tmp_path / 'export'}",
  )
  for name in ("data", "run", "export"):
    shell.run("verify", tmp_path / name)
  for folder, path in (
    (tmp_path / "data", tmp_path / "data"),
    (tmp_path / "export", tmp_path / "export"),
    (tmp_path / "run" / "checkpoints", tmp_path / "run"),
  ):
    for file, what in each_damage(folder):
      assert refused(file, path, capsys), (file, what)
  for name in ("data", "run", "export"):
    shell.run("verify", tmp_path / name)

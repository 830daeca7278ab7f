"""An export is the same, to the bit, whoever makes it and whatever happens."""

import csv
import logging
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import disturbed_export
import numpy as np
import pytest
import shell
import small_shards
import untrained
import warm
from shop import contents
from store import open_bucket

from item_jax.data.records import open_dataset
from item_jax.errors import UserError
from item_jax.evaluation.fusion import fuse
from item_jax.files import CorruptError, read_checksummed, write_manifest
from item_jax.inference import export as export_lib
from item_jax.inference import export_shards
from item_jax.inference.embedder import load
from item_jax.ingest.writer import DatasetWriter

UNREADABLE, BROKEN = 3, 8  # rows: as a whole, or the photo alone


@pytest.fixture(scope="module")
def workdir(tiny_data, tmp_path_factory) -> Path:
  """A run with a checkpoint of what it would begin with."""
  return untrained.write(tmp_path_factory.mktemp("run"), tiny_data)


@pytest.fixture(scope="module")
def words(workdir, tiny_data) -> list[str]:
  # Neither a shard nor the last one is a whole number of batches.
  return [
    "export",
    f"--workdir={workdir}",
    f"--data={tiny_data}",
    "--split=train",
    "--batch_size=3",
  ]


def run(words, script=small_shards, *, devices=1, before=(), killed_at=""):
  env = shell.environment(devices=devices)
  return warm.Popen(
    [*before, sys.executable, script.__file__, *map(str, words)],
    env=env | {"KILLED_AT": killed_at},
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def done(process) -> str:
  output, _ = process.communicate(timeout=900)
  assert process.returncode == 0, output
  return output


@pytest.fixture(scope="module")
def expected(words, tmp_path_factory) -> Path:
  """By one process on one device, undisturbed."""
  out = tmp_path_factory.mktemp("expected") / "e"
  done(run([*words, f"--out={out}"]))
  return out


def content(folder: Path) -> dict[str, bytes]:
  return {path.name: path.read_bytes() for path in folder.iterdir()}


def run_two(words, *, killed_at=("", "")) -> list:
  """The command as two processes of two devices each."""
  port = shell.free_port()
  return [
    run(
      [
        *words,
        f"--coordinator=localhost:{port}",
        "--num_processes=2",
        f"--process_id={number}",
      ],
      devices=2,
      killed_at=name,
    )
    for number, name in enumerate(killed_at)
  ]


def ended(process) -> int:
  process.communicate(timeout=900)
  return process.returncode


def test_two_processes_go_on_where_one_was_killed(words, expected, tmp_path):
  out = tmp_path / "e"
  words = [*words, f"--out={out}"]
  assert ended(run(words, killed_at="00001.json")) == -9
  assert (out / "parts" / "00000.json").exists()
  outputs = [done(process) for process in run_two(words)]
  assert content(out) == content(expected)
  assert ["step 1" in output for output in outputs] == [True, False]
  # Each had a part of the rows, and none of those that were there already.
  rows = read_checksummed(out / "meta.json")["rows"]
  assert rows > 4 * small_shards.ROWS
  shares = [int(re.findall(r"(\d+)/\1 \[", text)[-1]) for text in outputs]
  assert sum(shares) == rows - small_shards.ROWS
  assert min(shares) >= small_shards.ROWS


@pytest.mark.slow
def test_two_processes_take_the_space_that_one_would(words, tmp_path):
  words = [*words, "--pool=auto", "--whiten=auto"]
  one, two = tmp_path / "one", tmp_path / "two"
  done(run([*words, f"--out={one}"]))
  for process in run_two([*words, f"--out={two}"]):
    done(process)
  assert content(two) == content(one)
  assert "transform.npz" in content(one)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_one_process_goes_on_where_one_of_two_was_killed(
  words, expected, tmp_path, lost
):
  out = tmp_path / "e"
  words = [*words, f"--out={out}", "--stall_seconds=10"]
  killed_at = ["", ""]
  killed_at[lost] = f"0000{lost + 2}.json"  # each one's second shard
  both = run_two(words, killed_at=killed_at)
  codes = [ended(process) for process in both]
  assert codes[lost] == -9
  assert codes[1 - lost] not in (0, -9)
  assert not (out / "meta.json").exists()
  done(run(words))
  assert content(out) == content(expected)


def test_killed_anywhere_it_goes_on(words, expected, tmp_path):
  given = ["named", tmp_path / "e", expected, *words]
  done(run(given, disturbed_export))


@pytest.mark.slow
def test_killed_at_twenty_random_moments_it_goes_on(words, expected, tmp_path):
  given = ["20", tmp_path / "e", expected, *words]
  done(run(given, disturbed_export))


def test_on_a_full_disk_it_says_so_and_goes_on(words, expected, tmp_path):
  before = ["unshare", "--map-root-user", "--mount"]
  if shutil.which("unshare") is None:
    pytest.skip("no unshare: nothing can be mounted without root")
  probe = [*before, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
  if subprocess.run(probe, capture_output=True).returncode:
    pytest.skip("this machine lets nobody mount")
  given = ["full", tmp_path / "e", expected, *words]
  output = done(run(given, disturbed_export, before=before))
  said = [x for x in output.splitlines() if "No space left on device" in x]
  assert len(said) == 2
  assert all(x.endswith("; the same command goes on") for x in said)


def test_what_nobody_reads_is_whole_and_ends_quietly(words, expected, tmp_path):
  done = shell.unread(*words, f"--out={tmp_path / 'E'}")
  assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")
  assert content(tmp_path / "E").keys() == content(expected).keys()


@pytest.fixture(scope="module")
def damaged(tiny_data, tmp_path_factory) -> Path:
  """A copy with zeros over a record and with a photo cut short."""
  folder = tmp_path_factory.mktemp("damaged") / "data"
  shutil.copytree(tiny_data, folder)
  good = open_dataset(tiny_data)
  writer = DatasetWriter(folder)
  for split in good.sizes:
    for row, record in enumerate(good.source(split)):
      if split == "train" and row == BROKEN:
        record = record._replace(image=record.image[: len(record.image) // 2])
      writer.add(split, record)
  writer.close()
  (shard,) = folder.glob("*-train.array_record-*")
  data = bytearray(shard.read_bytes())
  image = good.source("train")[UNREADABLE].image
  at = data.index(image) + len(image) // 2
  data[at : at + 8] = bytes(8)
  shard.write_bytes(data)
  write_manifest(folder)
  return folder


def test_rows_that_cannot_be_read_stay(
  workdir, tiny_data, damaged, tmp_path, caplog
):
  good, bad = tmp_path / "good", tmp_path / "bad"
  export_lib.export(workdir, data=tiny_data, split="train", out=good)
  caplog.set_level(logging.INFO)
  export_lib.export(workdir, data=damaged, split="train", out=bad)
  broken = open_dataset(tiny_data).source("train")[BROKEN].listing_id
  assert f"row {UNREADABLE} (train[{UNREADABLE}])" in caplog.text
  assert f"row {BROKEN} ({broken})" in caplog.text
  meta = read_checksummed(bad / "meta.json")
  assert meta["unreadable"] == [
    {"row": UNREADABLE, "id": f"train[{UNREADABLE}]"},
    {"row": BROKEN, "id": broken},
  ]
  assert meta["rows_without_this_side"] == 0
  assert read_checksummed(good / "meta.json")["unreadable"] == []
  tables, vectors = [], []
  for folder in (good, bad):
    with (folder / "items.csv").open(newline="") as file:
      tables.append(list(csv.DictReader(file)))
    vectors.append(np.load(folder / "embeddings.npy", allow_pickle=False))
  for row, (one, two) in enumerate(zip(*tables, strict=True)):
    if row in (UNREADABLE, BROKEN):
      assert (two["has_image"], two["has_title"]) == ("0", "0")
    else:
      assert one == two
      np.testing.assert_array_equal(vectors[0][row], vectors[1][row])
  nothing = vectors[1][[UNREADABLE, BROKEN]]
  np.testing.assert_array_equal(nothing[0], nothing[1])
  assert np.isfinite(nothing).all()


def test_one_at_a_time(workdir, tiny_data, tmp_path):
  out = tmp_path / "e"
  at_work = pytest.raises(UserError, match="another export is at work")
  with export_shards.exclusive_folder(out), at_work:
    export_lib.export(workdir, data=tiny_data, split="train", out=out)
  assert not any(out.iterdir())


def make_plan(**changes) -> export_shards.Plan:
  text = dict.fromkeys(export_shards.Plan._fields, "x")
  numbers = {"format": 2, "step": 1, "rows": 5, "dims": 3, "shard_rows": 2}
  return export_shards.Plan(**(text | numbers | changes))


def save(out: Path, plan: export_shards.Plan, number: int) -> None:
  rows = export_shards.rows_of(plan, number)
  items = [
    export_shards.Item(f"i{r}", "p", "", 'a "b",\r\nc', 1, 0, 0) for r in rows
  ]
  export_shards.save(
    out, plan, number, np.ones((len(rows), 3), np.float32), items
  )


def test_shards_of_another_size_are_made_anew_and_no_other_export(tmp_path):
  """A later version may choose another size."""
  plan = make_plan()
  assert export_shards.acquire(tmp_path, plan, overwrite=False) == [0, 1, 2]
  save(tmp_path, plan, 0)
  wider = plan._replace(shard_rows=3)
  assert export_shards.acquire(tmp_path, wider, overwrite=False) == [0, 1]
  assert not (tmp_path / "parts").exists()
  for number in range(2):
    save(tmp_path, wider, number)
  assert export_shards.acquire(tmp_path, wider, overwrite=False) == []


@pytest.mark.parametrize("name", ["00001.npy", "00001.json"])
def test_a_damaged_shard_is_made_again_or_refused(tmp_path, name):
  plan = make_plan()
  assert export_shards.acquire(tmp_path, plan, overwrite=False) == [0, 1, 2]
  for number in range(3):
    save(tmp_path, plan, number)
  assert export_shards.acquire(tmp_path, plan, overwrite=False) == []
  path = tmp_path / "parts" / name
  data = bytearray(path.read_bytes())
  data[-9] ^= 1
  path.write_bytes(data)
  with pytest.raises(CorruptError, match=name):
    list(export_shards.join(tmp_path, plan))
  assert export_shards.acquire(tmp_path, plan, overwrite=False) == [1]
  save(tmp_path, plan, 1)
  items = list(export_shards.join(tmp_path, plan))
  assert [item.id for item in items] == ["i0", "i1", "i2", "i3", "i4"]
  with (tmp_path / "items.csv").open(newline="") as file:
    read = list(csv.DictReader(file))
  assert {row["title"] for row in read} == {items[0].title}
  found = np.load(tmp_path / "embeddings.npy", allow_pickle=False)
  np.testing.assert_array_equal(found, np.ones((5, 3), np.float32))


def test_a_finished_export_that_was_altered_can_be_made_again(
  workdir, tiny_data, tmp_path
):
  out = tmp_path / "e"
  how = {"data": tiny_data, "split": "test", "out": out}
  export_lib.export(workdir, **how)
  before = contents(out)
  data = bytearray(before["embeddings.npy"])
  data[-9] ^= 1
  (out / "embeddings.npy").write_bytes(data)
  with pytest.raises(UserError, match=r"npy was altered.*; give --overwrite"):
    export_lib.export(workdir, **how)
  export_lib.export(workdir, **how, overwrite=True)
  assert contents(out) == before


def test_nothing_of_a_fusion_that_is_replaced_is_read(
  workdir, tiny_data, tmp_path
):
  """Its words were searched together with the vectors of the export."""
  how = {"data": tiny_data, "split": "test"}
  plain = export_lib.export(workdir, **how, out=tmp_path / "e")
  fuse(plain, "tfidf", **how, out=tmp_path / "f")
  made = export_lib.export(workdir, **how, out=tmp_path / "f", overwrite=True)
  np.testing.assert_array_equal(made.vectors, plain.vectors)


def test_an_export_made_in_the_place_of_another_is_not_taken_for_it(
  workdir, tiny_data, tmp_path
):
  """Two results of one folder, as of a loop in a notebook."""
  how = {"data": tiny_data, "split": "test", "out": tmp_path / "e"}
  both = export_lib.export(workdir, **how)
  again = export_lib.export(workdir, **how, overwrite=True)
  assert len(both.vectors) == len(both)  # it is the same one again
  image = export_lib.export(workdir, **how, modality="image", overwrite=True)
  assert image.to_frame()["id"].tolist() == image.items.ids
  for read in (lambda: again.items, lambda: again.vectors, both.to_frame):
    with pytest.raises(UserError, match="e was made anew since: open it again"):
      read()


def test_a_run_on_a_store_is_exported_from_python_too(
  workdir, tiny_data, tmp_path, monkeypatch
):
  monkeypatch.setenv("ITEM_JAX_CACHE", str(tmp_path / "cache"))
  shutil.copytree(workdir, open_bucket(tmp_path / "store") / workdir.name)
  how = {"data": tiny_data, "split": "test"}
  export_lib.export(workdir, **how, out=tmp_path / "e")
  export_lib.export(f"gs://bucket/{workdir.name}", **how, out=tmp_path / "f")
  assert contents(tmp_path / "f") == contents(tmp_path / "e")


@pytest.mark.parametrize(
  ("model", "sees"),
  [("roberta", "title"), ("resnet50", "image"), ("plain", None)],
)
def test_an_export_says_what_its_model_sees(model, sees, tiny_data, tmp_path):
  run = untrained.write(tmp_path / "R", tiny_data, model)
  how = {"data": tiny_data, "split": "test", "out": tmp_path / "e"}
  assert export_lib.export(run, **how).meta.get("sees") == sees


def test_no_batch_is_a_batch(workdir, tiny_data, tmp_path):
  with pytest.raises(UserError, match="batch_size=0"):
    export_lib.export(
      workdir, data=tiny_data, split="test", out=tmp_path / "e", batch_size=0
    )
  with pytest.raises(UserError, match="batch_size=-1"):
    load(workdir).embed(titles=["red mug"], batch_size=-1)


@pytest.mark.parametrize("workers", [-1, "1", None])
def test_what_are_no_workers_is_refused_before_anything_is_written(
  workers, workdir, tiny_data, tmp_path
):
  how = {"data": tiny_data, "split": "test", "out": tmp_path / "e"}
  with pytest.raises(UserError, match=r"workers=.*: expected a whole number"):
    export_lib.export(workdir, **how, workers=workers)
  with pytest.raises(UserError, match=r"workers=.*: expected a whole number"):
    load(workdir).embed_split(tiny_data, workers=workers)
  assert not how["out"].exists()


def test_a_step_is_a_whole_number_of_any_type(workdir, tiny_data, tmp_path):
  for step in ("1", 1.5, -1):
    with pytest.raises(UserError, match=f"step={step!r}: expected a whole"):
      load(workdir, step=step)
  how = {"data": tiny_data, "split": "test", "out": tmp_path / "e"}
  how |= {"drop_rate": 0.5, "seed": np.int64(3), "batch_size": np.int32(8)}
  meta = export_lib.export(workdir, **how, step=np.int64(1)).meta
  assert (meta["step"], meta["drop"]) == (1, {"rate": 0.5, "seed": 3})


def test_a_shard_of_another_export_is_none_of_this(tmp_path):
  """One that a process wrote that had outlived its call."""
  plan = make_plan()
  export_shards.acquire(tmp_path, plan, overwrite=False)
  for number in range(3):
    save(tmp_path, make_plan(checkpoint="y") if number == 1 else plan, number)
  with pytest.raises(CorruptError, match=r"00001\.json is of another export"):
    list(export_shards.join(tmp_path, plan))
  assert export_shards.acquire(tmp_path, plan, overwrite=False) == [1]


def test_a_folder_that_is_not_shared_is_refused(tmp_path):
  plan = make_plan()
  export_shards.acquire(tmp_path, plan, overwrite=False)
  export_shards.check_seen(tmp_path, plan)
  for folder, asked in (
    (tmp_path / "not there", plan),
    (tmp_path, make_plan(step=2)),
  ):
    with pytest.raises(UserError, match=r"plan\.json.* on a disk that they"):
      export_shards.check_seen(folder, asked)


def test_a_damaged_plan_is_no_plan(tmp_path):
  plan = make_plan()
  export_shards.acquire(tmp_path, plan, overwrite=False)
  (tmp_path / "plan.json").write_text("{}")
  with pytest.raises(UserError, match=r"plan\.json.* --overwrite"):
    export_shards.acquire(tmp_path, plan, overwrite=False)
  assert export_shards.acquire(tmp_path, plan, overwrite=True) == [0, 1, 2]

"""What a command writes as one file is whole, or what was there before."""

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from exports import write_export
from pages import COUNT, listings, named, store

import item_jax
from item_jax.__main__ import main
from item_jax.errors import NotFoundError
from item_jax.evaluation import confusion
from item_jax.evaluation.labels import compare_labels
from item_jax.evaluation.page.pictures import write_pictures
from item_jax.files import whole_file
from item_jax.ingest.images.addresses import write_addresses
from item_jax.new_folder import new_folder

VECTORS = np.eye(10, dtype=np.float32)[np.arange(COUNT) // 3]
TABLE = {
  "id": [f"l{row:02d}" for row in range(COUNT)],
  "product": [f"p{row // 3}" for row in range(COUNT)],
}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
  folder = tmp_path_factory.mktemp("report")
  data = store(folder / "data", listings())
  mine = write_export(folder / "mine", VECTORS, named(listings()))
  return item_jax.report(data, "test", {"mine": mine}, bootstrap=20)


def answers():
  return compare_labels(["mug", "mug", "hat"], ["hat", "mug", "hat"])


def score():
  return item_jax.score(VECTORS, TABLE, bootstrap=20)


WRITERS = {
  "json": lambda path: score().write_json(path),
  "per_query": lambda path: score().write_per_query(path),
  "matrix": lambda path: confusion.write_matrix(path, answers()),
  "picture": lambda path: confusion.draw(path, answers(), title="mugs"),
  "figure": lambda path: write_pictures(
    path.parent, path.stem, confusion.picture(answers(), title="mugs")
  ),
  "addresses": lambda path: write_addresses(path, ["https://m/a.jpg"]),
}


@pytest.mark.parametrize("name", [*WRITERS, "page"])
def test_on_a_full_disk_what_was_there_stays(
  tmp_path, monkeypatch, report, name
):
  def write(path) -> None:
    if name == "page":
      report.write_page(path, examples=3)
    else:
      WRITERS[name](path)

  path = tmp_path / ("file.png" if name == "figure" else "file")
  path.write_text("before")

  def full(_):
    raise OSError(errno.ENOSPC, "No space left on device")

  with monkeypatch.context() as patched:
    patched.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as raised:
      write(path)
  assert raised.value.filename == str(path)
  assert path.read_text() == "before"
  assert [x.name for x in tmp_path.iterdir() if x.is_file()] == [path.name]
  write(path)
  assert path.read_bytes() != b"before"


def test_a_block_that_fails_leaves_nothing(tmp_path):
  def write_half():
    with whole_file(tmp_path / "a", text=True) as file:
      file.write("half")
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    write_half()
  assert list(tmp_path.iterdir()) == []


def test_of_two_that_write_one_file_both_are_whole(tmp_path):
  """Threads here, as processes would: each has opened the file by itself."""
  begun, seen = threading.Barrier(2), []
  path = tmp_path / "scores"

  def write(sign: str, size: int) -> None:
    begun.wait()
    for _ in range(100):
      with whole_file(path, text=True) as file:
        file.write(sign * size)
        file.flush()
        file.write(sign * size)
      seen.append(path.read_text())

  with ThreadPoolExecutor() as pool:
    list(pool.map(write, "ab", (10_000, 3)))
  assert {(text[0], len(text)) for text in seen} == {
    ("a", 20_000),
    ("b", 6),
  }
  assert all(len(set(text)) == 1 for text in seen)
  assert list(tmp_path.iterdir()) == [path]


def test_a_link_leads_to_what_is_written(tmp_path):
  (tmp_path / "real").write_text("before")
  (tmp_path / "link").symlink_to("real")
  with whole_file(tmp_path / "link", text=True) as file:
    file.write("after")
  assert (tmp_path / "link").is_symlink()
  assert (tmp_path / "real").read_text() == "after"


def test_a_device_is_written_to_and_never_replaced():
  with whole_file("/dev/null") as file:
    file.write(b"scores")
  assert not os.path.isfile("/dev/null")


def test_what_is_not_there_is_no_fault_of_the_disk(tmp_path, capsys):
  with (
    pytest.raises(NotFoundError),
    new_folder(tmp_path / "out", overwrite=False, replaceable=bool),
  ):
    raise NotFoundError("mine: no such export folder")
  gone = str(tmp_path / "gone")
  assert main(["fuse", gone, gone, f"--out={tmp_path / 'out'}"]) == 2
  assert "being made" not in capsys.readouterr().err

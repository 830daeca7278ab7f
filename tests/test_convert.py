"""An export as one file is what other libraries read, row for row."""

import csv
import json
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import lance
import numpy as np
import pyarrow
import pytest
from exports import write_export
from pyarrow import parquet
from safetensors import safe_open

from item_jax.__main__ import main
from item_jax.errors import UserError
from item_jax.evaluation import single_file
from item_jax.evaluation.items import open_export
from item_jax.evaluation.single_file import convert

ROWS = [
  {"id": "007", "product": "p", "category": "a > b", "title": 'x "y",\r\nz'},
  {"id": "NA", "product": "p", "title": "", "has_title": 0},
  {"id": "ü", "product": "", "title": "b", "has_image": 0},
]


@pytest.fixture
def vectors():
  return np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)


@pytest.fixture
def export(tmp_path, vectors):
  return write_export(tmp_path / "E", vectors, ROWS, step=7)


READERS = {
  "parquet": parquet.read_table,
  "lance": lambda path: lance.dataset(path).to_table(),
}
VALUE = {"parquet": "element", "lance": "item"}


# Blocks that end before, at and after the last row.
@pytest.mark.parametrize("block", [1, 2, 3, 4096])
@pytest.mark.parametrize("format", READERS)
def test_tables_hold_what_was_exported(
  format, block, export, vectors, tmp_path, monkeypatch
):
  monkeypatch.setattr(single_file, "_ROWS", block)
  convert(export, format=format, out=tmp_path / "out")
  table = READERS[format](tmp_path / "out")
  types = {field.name: str(field.type) for field in table.schema}
  assert types == {
    **dict.fromkeys(("id", "product", "category", "title"), "string"),
    **dict.fromkeys(("has_image", "has_title"), "bool"),
    "embedding": f"fixed_size_list<{VALUE[format]}: float>[5]",
  }
  for name in ("id", "product", "category", "title"):
    assert table[name].to_pylist() == [row.get(name, "") for row in ROWS]
  assert table["has_image"].to_pylist() == [True, True, False]
  assert table["has_title"].to_pylist() == [True, False, True]
  found = np.array(table["embedding"].to_pylist(), np.float32)
  np.testing.assert_array_equal(found, vectors)
  meta = json.loads(table.schema.metadata[b"item_jax"])
  assert meta == open_export(export).meta
  assert meta["step"] == 7


@pytest.mark.parametrize("block", [1, 2, 3, 4096])
def test_safetensors_reads_what_was_exported(
  block, export, vectors, tmp_path, monkeypatch
):
  monkeypatch.setattr(single_file, "_ROWS", block)
  convert(export, format="safetensors", out=tmp_path / "E.safetensors")
  with safe_open(tmp_path / "E.safetensors", "np") as file:
    assert list(file.keys()) == ["embeddings"]
    np.testing.assert_array_equal(file.get_tensor("embeddings"), vectors)
    held = {
      name: json.loads(text)
      for name, text in file.metadata().items()
      if name != "format"
    }
  assert held["ids"] == ["007", "NA", "ü"]
  assert held["products"] == ["p", "p", ""]
  assert held["meta"] == open_export(export).meta


@pytest.mark.parametrize("format", single_file.FORMATS)
@pytest.mark.parametrize("form", [np.asfortranarray, lambda x: x.astype(">f4")])
def test_any_order_in_memory_is_written_row_after_row(
  format, form, tmp_path, vectors
):
  plain = write_export(tmp_path / "a", vectors, ROWS)
  other = write_export(tmp_path / "b", vectors, ROWS)
  np.save(other / "embeddings.npy", form(vectors))
  np.testing.assert_array_equal(np.load(other / "embeddings.npy"), vectors)
  # Only the values are compared: the files' SHA-256 are in the metadata.
  blocks = [
    b"".join(block.tobytes() for block in single_file._blocks(np.load(path)))
    for path in (plain / "embeddings.npy", other / "embeddings.npy")
  ]
  assert blocks[0] == blocks[1] == vectors.tobytes()


def test_an_altered_export_is_not_converted(export, tmp_path):
  data = bytearray((export / "embeddings.npy").read_bytes())
  data[-1] ^= 1
  (export / "embeddings.npy").write_bytes(data)
  out = tmp_path / "E.parquet"
  with pytest.raises(UserError, match=r"embeddings\.npy was altered"):
    convert(export, format="parquet", out=out)
  assert not out.exists()


def test_a_header_that_safetensors_would_not_read_is_refused(
  export, tmp_path, monkeypatch
):
  monkeypatch.setattr(single_file, "_MOST_HEADER", 64)
  with pytest.raises(UserError, match=r"3 rows take .* take --format=parquet"):
    convert(export, format="safetensors", out=tmp_path / "x")
  assert sorted(p.name for p in tmp_path.iterdir()) == ["E"]


def test_what_fails_leaves_what_was_there(export, tmp_path, monkeypatch):
  out = tmp_path / "E.parquet"
  out.write_text("mine")
  items = (export / "items.csv").read_text().replace(",1,1", ",1,yes")
  (export / "items.csv").write_text(items)
  monkeypatch.setattr(single_file, "open_export", single_file.Export)
  with pytest.raises(UserError, match="has_title is 'yes'; expected 0 or 1"):
    convert(export, format="parquet", out=out, overwrite=True)
  assert out.read_text() == "mine"
  assert sorted(p.name for p in tmp_path.iterdir()) == ["E", "E.parquet"]


def test_what_cannot_be_is_refused(export, tmp_path):
  with pytest.raises(UserError, match="format='csv': known are parquet"):
    convert(export, format="csv", out=tmp_path / "x")
  for format in single_file.FORMATS:
    with pytest.raises(UserError, match="is a folder already"):
      convert(export, format=format, out=tmp_path)
  (tmp_path / "file").write_text("mine")
  with pytest.raises(UserError, match="file is a file already; no folder"):
    convert(export, format="lance", out=tmp_path / "file", overwrite=True)
  assert (tmp_path / "file").read_text() == "mine"
  assert not (tmp_path / "file.part").exists()
  with pytest.raises(UserError, match="no folder to write it to"):
    convert(export, format="parquet", out=tmp_path / "no" / "x")
  (export / "meta.json").unlink()
  with pytest.raises(UserError, match="unfinished"):
    convert(export, format="parquet", out=tmp_path / "x")


def test_a_file_is_replaced_only_where_that_is_asked_for(export, tmp_path):
  out = tmp_path / "E.parquet"
  out.write_text("mine")
  with pytest.raises(UserError, match=r"is a file already; --overwrite"):
    convert(export, format="parquet", out=out)
  assert out.read_text() == "mine"
  convert(export, format="parquet", out=out, overwrite=True)
  assert out.read_bytes()[:4] == b"PAR1"


def test_the_exports_own_files_are_never_replaced(export):
  items = (export / "items.csv").read_bytes()
  for name in ("items.csv", "more.parquet"):
    with pytest.raises(UserError, match="in the export itself"):
      convert(export, format="parquet", out=export / name, overwrite=True)
  assert (export / "items.csv").read_bytes() == items
  assert not (export / "more.parquet").exists()


@pytest.mark.parametrize(
  ("format", "module"), [("parquet", "pyarrow"), ("lance", "lance")]
)
def test_without_a_library_the_extra_is_named(
  format, module, export, tmp_path, monkeypatch
):
  monkeypatch.setitem(sys.modules, module, None)
  with pytest.raises(UserError, match=rf"\.\[{format}\]"):
    convert(export, format=format, out=tmp_path / "x")


def test_what_stands_beside_a_dataset_stays(export, tmp_path):
  for name in ("y.part", "y"):
    convert(export, format="lance", out=tmp_path / name)
  for name in ("y", "y.part"):
    assert lance.dataset(tmp_path / name).count_rows() == len(ROWS)


def test_several_may_write_one_file(export, tmp_path):
  out = tmp_path / "E.parquet"

  def write(_):
    return convert(export, format="parquet", out=out, overwrite=True)

  with ThreadPoolExecutor(4) as pool:
    assert set(pool.map(write, range(40))) == {out}
  assert parquet.read_table(out).num_rows == len(ROWS)
  assert sorted(p.name for p in tmp_path.iterdir()) == ["E", "E.parquet"]


@pytest.mark.parametrize("format", ["parquet", "safetensors"])
def test_of_two_at_the_same_moment_one_is_refused(
  format, export, tmp_path, monkeypatch
):
  opened, both = open_export(export), threading.Barrier(2)

  def open_both(path):
    both.wait(60)
    return opened

  monkeypatch.setattr(single_file, "open_export", open_both)
  with ThreadPoolExecutor(2) as pool:
    made = [
      pool.submit(convert, export, format=format, out=tmp_path / "x")
      for _ in range(2)
    ]
    refused = [one.exception() for one in made]
  assert sum(error is None for error in refused) == 1
  assert any("already" in str(error) for error in refused)
  assert sorted(p.name for p in tmp_path.iterdir()) == ["E", "x"]


@pytest.mark.parametrize("format", single_file.FORMATS)
def test_memory_does_not_grow_with_the_vectors(format, tmp_path, monkeypatch):
  """By numpy's and Arrow's own counts: files that are mapped are not in them,
  and 25 MB of vectors would be."""
  rows = 8_000
  x_ND = np.random.default_rng(0).standard_normal((rows, 768), np.float32)
  write_export(tmp_path / "E", x_ND, [{}] * rows)
  monkeypatch.setattr(single_file, "_ROWS", 256)
  export = open_export(tmp_path / "E")
  assert (len(export), export.meta["dims"]) == (rows, 768)  # read by now
  monkeypatch.setattr(single_file, "open_export", lambda path: export)
  pool = pyarrow.proxy_memory_pool(pyarrow.default_memory_pool())
  before = pyarrow.default_memory_pool()
  pyarrow.set_memory_pool(pool)
  tracemalloc.start()
  try:
    convert(tmp_path / "E", format=format, out=tmp_path / "x")
    peak = tracemalloc.get_traced_memory()[1]
  finally:
    tracemalloc.stop()
    pyarrow.set_memory_pool(before)
  assert 0 < peak + pool.max_memory() < x_ND.nbytes / 3


def test_the_command_says_what_it_wrote(export, tmp_path, capsys):
  out = tmp_path / "E.parquet"
  assert main(["convert", str(export), "--format=parquet", f"--out={out}"]) == 0
  assert capsys.readouterr().out == f"{out}: {out.stat().st_size:,} bytes\n"
  with (export / "items.csv").open(newline="", encoding="utf-8") as file:
    ids = [line["id"] for line in csv.DictReader(file)]
  assert parquet.read_table(out)["id"].to_pylist() == ids


def test_a_dataset_is_not_lost_on_the_way_to_a_store(export, capsys):
  words = ["convert", str(export), "--format=lance", "--out=gs://bucket/x"]
  assert main(words) == 2
  assert "write a Lance dataset to this machine" in capsys.readouterr().err

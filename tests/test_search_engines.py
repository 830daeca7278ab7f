"""What docs/search_engines.md says of other search engines holds: they read
what we write, and find what our exact search finds."""

import functools
import importlib
import importlib.util
import re
import sys
from pathlib import Path

import faiss_search
import numpy as np
import pytest
import turns
from exports import write_export
from pyarrow import csv as arrow_csv

from item_jax.evaluation import fusion
from item_jax.evaluation.items import read_items
from item_jax.evaluation.search import search
from item_jax.inference import export_shards

PAGE = Path(__file__).parents[1] / "docs" / "search_engines.md"
ENGINES = ("faiss", "usearch", "voyager", "hnswlib")
ROWS, DIMS = 300, 24


def block(heading: str) -> str:
  """The Python below a heading of the page."""
  section = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
  (found,) = [s for s in section if s.startswith(heading + "\n")]
  (code,) = re.findall(r"```python\n(.*?)```", found, re.DOTALL)
  return code


def unit_rows() -> np.ndarray:
  """Rows of length 1; four of them twice, and two that are nearly a third."""
  x_ND = np.random.default_rng(0).standard_normal((ROWS, DIMS))
  x_ND[10:14] = x_ND[:4]
  x_ND[20:22] = x_ND[:2] + 1e-3
  return (x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)).astype(np.float32)


def items(count: int) -> list[export_shards.Item]:
  """Ids out of order, and what readers of CSV stumble over."""
  titles = ('a "b",\r\nc', "NA", "007", " x ")
  return [
    export_shards.Item(
      f"{(7 * n) % count:05}", f"p{n}", "", titles[n % 4], 1, 0, 0
    )
    for n in range(count)
  ]


def export(out: Path, rows_ND) -> list[export_shards.Item]:
  """Writes the two files by what `item-jax export` writes them with."""
  plan = export_shards.Plan(
    *(1,) * 2, *"abcdefg", rows=len(rows_ND), dims=DIMS, shard_rows=128
  )
  known = items(len(rows_ND))
  for number in range(export_shards.count(plan)):
    part = export_shards.rows_of(plan, number)
    rows = slice(part.start, part.stop)
    export_shards.save(out, plan, number, rows_ND[rows], known[rows])
  return list(export_shards.join(out, plan))


def run(folder: Path, monkeypatch, *headings: str, **changes) -> dict:
  """The names that the blocks leave; `changes` are made after the first."""
  monkeypatch.chdir(folder)
  names: dict = {}
  for heading in ("Reading an export", *headings):
    exec(compile(block(heading), heading, "exec"), names)
    names.update(changes)
  return names


FORMS = {
  "as exported": lambda x: x,
  "fortran": np.asfortranarray,
  "big-endian": lambda x: x.astype(">f8"),
}


def share_found(names: dict, x_ND: np.ndarray) -> float:
  """The share of the ten nearest that an engine found, up to equal scores.

  What it found must have the cosines that it states, and never be the query.
  """
  ids, found = names["ids"], names["found"]
  assert found.dtype == np.int64
  tenth_Q = search(x_ND, ids, k=10).scores_QK[:, -1]
  near_QK = np.array(
    [[ids.index(i) for i in names["nearest"][name]] for name in ids]
  )
  assert near_QK.shape == (ROWS, 10)
  assert (near_QK != names["rows"][:, None]).all()
  assert all(len(set(near)) == 10 for near in near_QK.tolist())
  cosine_QI = x_ND.astype(float) @ x_ND.T
  stated_QK = np.take_along_axis(cosine_QI, found, axis=1)
  np.testing.assert_allclose(names["cosines"], stated_QK, atol=1e-5)
  near_enough = np.take_along_axis(cosine_QI, near_QK, axis=1)
  return (near_enough > tenth_Q[:, None] - 1e-5).mean()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("form", FORMS)
def test_an_engine_finds_what_we_find(engine, form, tmp_path, monkeypatch):
  pytest.importorskip(engine)
  x_ND = unit_rows()
  export(tmp_path / "E", x_ND)
  if form != "as exported":
    np.save(tmp_path / "E" / "embeddings.npy", FORMS[form](x_ND))
  if engine == "usearch":
    # Several threads make another graph at each build: .89 to 1 were seen.
    index = importlib.import_module("usearch.index").Index
    one = functools.partialmethod(index.add, threads=1)
    monkeypatch.setattr(index, "add", one)
  names = run(tmp_path, monkeypatch, engine, "From rows to listings")
  # A graph may miss neighbours. faiss is exact here.
  assert share_found(names, x_ND) >= (1 if engine == "faiss" else 0.9)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_single_row_has_no_neighbour(engine, tmp_path, monkeypatch):
  pytest.importorskip(engine)
  export(tmp_path / "E", unit_rows()[:1])
  names = run(tmp_path, monkeypatch, engine, "From rows to listings")
  assert names["found"].tolist() == [[0]]
  assert names["nearest"] == {"00000": []}


@pytest.mark.parametrize("engine", ["faiss", "usearch"])
def test_what_is_missing_is_minus_one(engine, tmp_path, monkeypatch):
  pytest.importorskip(engine)
  export(tmp_path / "E", unit_rows()[:3])
  names = run(tmp_path, monkeypatch, engine, "From rows to listings", k=11)
  assert (names["found"][:, 3:] == -1).all()
  assert (np.sort(names["found"][:, :3], axis=1) == [0, 1, 2]).all()
  assert (names["cosines"][:, 3:] < -1).all()
  assert all(len(near) == 2 for near in names["nearest"].values())


@pytest.mark.parametrize(
  ("engine", "says"),
  [("voyager", "only found 3 of 11"), ("hnswlib", "Cannot return the results")],
)
def test_more_than_there_are_is_an_error(engine, says, tmp_path, monkeypatch):
  pytest.importorskip(engine)
  export(tmp_path / "E", unit_rows()[:3])
  assert run(tmp_path, monkeypatch, engine)["found"].shape == (3, 3)
  with pytest.raises(Exception, match=says):  # voyager has a kind of its own
    run(tmp_path, monkeypatch, engine, k=11)


def test_order_of_equal_scores(tmp_path, monkeypatch):
  pytest.importorskip("faiss")
  export(tmp_path / "E", np.tile(unit_rows()[:1], (30, 1)))
  names = run(tmp_path, monkeypatch, "faiss")
  assert names["found"][0].tolist() == list(range(10, -1, -1))
  ids = names["ids"]
  ours = search(names["vectors"], ids, k=29).rows_QK[0]
  assert [ids[row] for row in ours] == sorted(set(ids) - {ids[0]})


@pytest.mark.parametrize(
  "form", [np.asfortranarray, np.float64, lambda x: np.repeat(x, 2, 0)[::2]]
)
def test_a_shard_may_lie_in_memory_as_it_likes(form, tmp_path):
  """Written row after row as float32, whatever the network handed over."""
  x_ND = unit_rows()
  export(tmp_path, form(x_ND))
  with (tmp_path / "embeddings.npy").open("rb") as file:
    assert np.lib.format.read_magic(file) == (1, 0)
    header = np.lib.format.read_array_header_1_0(file)
    content = file.read()
  assert header == ((ROWS, DIMS), False, np.float32)
  assert content == x_ND.tobytes()


def test_a_fusion_of_fortran_arrays_is_written_row_after_row(tmp_path):
  x_ND = unit_rows()[:8]
  for side in ("image", "title"):
    write_export(tmp_path / side, np.asfortranarray(x_ND), [{}] * 8)
  assert np.load(tmp_path / "image" / "embeddings.npy").flags.f_contiguous
  fusion.fuse(tmp_path / "image", tmp_path / "title", out=tmp_path / "F")
  fused_NF = np.load(tmp_path / "F" / "embeddings.npy")
  assert fused_NF.flags.c_contiguous
  expected = np.concatenate([x_ND, x_ND], axis=1) * np.sqrt(0.5)
  np.testing.assert_allclose(fused_NF, expected, atol=1e-6)


def test_another_reader_sees_the_same_table(tmp_path):
  written = export(tmp_path, unit_rows()[:8])
  table = arrow_csv.read_csv(
    tmp_path / "items.csv",
    parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
    convert_options=arrow_csv.ConvertOptions(
      column_types=dict.fromkeys(export_shards.COLUMNS, "string")
    ),
  )
  assert table.column_names == list(export_shards.COLUMNS)
  for name in export_shards.COLUMNS:
    values = [str(getattr(item, name)) for item in written]
    assert table[name].to_pylist() == values
  assert read_items(tmp_path / "items.csv").ids == table["id"].to_pylist()


def test_what_faiss_is_timed_beside_finds_the_same():
  pytest.importorskip("faiss")
  faiss_search.check(DIMS, 10)


def test_without_faiss_the_timing_says_so(monkeypatch):
  monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
  monkeypatch.setattr(sys, "argv", ["faiss_search.py"])
  with pytest.raises(SystemExit, match="faiss is not installed"):
    faiss_search.main()


def test_a_ratio_is_of_two_turns_of_one_round():
  rounds = [
    turns.Round({"ours": 1.0, "other": w}, {"ours": 2.0, "other": 3.0})
    for w in (0.5, 2.0, 1.25)
  ]
  text = turns.describe(rounds, ours="ours", work=8, unit="rows")
  assert "3 rounds" in text
  assert re.search(r"ours +8.0 rows/s$", text, re.MULTILINE)
  assert re.search(r"other +6.4 rows/s  1.250 \(0.500 to 2.000\),", text)
  assert text.endswith("by the processor's time 1.500 (1.500 to 1.500)")

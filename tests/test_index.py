"""An index of another engine: what it is made of, and what is said of it."""

import csv
import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from exports import write_export
from scipy import sparse

from item_jax.__main__ import main
from item_jax.cli import index as cli
from item_jax.diagnostics.verify import verify
from item_jax.errors import AlreadyThereError, UserError
from item_jax.evaluation import engines
from item_jax.evaluation import index as index_lib
from item_jax.evaluation.engines import DTYPES, ENGINES, Engine, UnitRows
from item_jax.evaluation.index import build_index, others, recall_of
from item_jax.evaluation.items import Items
from item_jax.evaluation.search import search
from item_jax.files import read_checksummed

NULL = [-(4**-0.5)] * 4


def find_all(module, index, queries_QD, k):
  """The stand-in's search: exact, the larger key first of equal ones."""
  order_QN = np.argsort(queries_QD @ index.T, axis=1, kind="stable")[:, ::-1]
  return order_QN[:, :k]


def save(module, index, path):
  with path.open("wb") as file:
    np.save(file, index)


# Its values are numpy's, its file an .npy.
STAND_IN = Engine(
  *("numpy", DTYPES, True),
  build=lambda module, unit, dtype: np.concatenate(
    [block for _, block in unit.blocks()]
  ),
  save=save,
  load=lambda module, path, shape, dtype: np.load(path),
  search=find_all,
)


@pytest.fixture
def stand_in(monkeypatch):
  """Puts an engine with some functions of its own under the name `mine`."""
  monkeypatch.setattr(index_lib, "_SECONDS", 0)

  def put(**changes):
    monkeypatch.setitem(ENGINES, "mine", STAND_IN._replace(**changes))

  put()
  return put


def rows(count=40, dims=8, seed=0) -> np.ndarray:
  """float32, of many lengths."""
  return np.random.default_rng(seed).normal(size=(count, dims)) * 3


def named(vectors_ND) -> tuple[np.ndarray, Items]:
  """With ids whose order is not that of the rows."""
  count = len(vectors_ND)
  ids = [f"i{(7 * n) % 997:03}" for n in range(count)]
  return np.asarray(vectors_ND, np.float32), Items(ids, [""] * count)


def read_ids(out: Path) -> list[str]:
  with (out / "ids.csv").open(newline="", encoding="utf-8") as file:
    return [line["id"] for line in csv.DictReader(file)]


def test_the_first_others_each_once():
  found_QK = np.array([[3, 0, 3, 1, 2], [1, -1, 0, -1, -1]])
  got = others(found_QK, np.array([3, 1]), 3)
  np.testing.assert_array_equal(got, [[0, 1, 2], [0, -1, -1]])
  got = others(np.array([[2, 2, 1, 0]]), np.array([5]), 3)
  np.testing.assert_array_equal(got, [[2, 1, 0]])


@pytest.mark.parametrize(
  ("found", "recall"),
  [
    ([0, 1, 2], 1),
    ([1, 2, 0], 1),  # whatever the order
    ([0, 1, 3], 1),  # 3 has the cosine of 2
    ([0, 1, 4], 1 / 2),
    ([0, 4, 5], 0),
    ([1, 1, 4], 1 / 2),  # counts once
    ([0, 1, -1], 1 / 2),
    ([0, -1, -1], 0),
    ([1, 2, 3], 1),  # it is asked for one more, and two are taken
  ],
)
def test_recall_by_hand(found, recall):
  """Rows at 0, 10, 30, 330 (-30), 60 and 90 degrees; the query is the first,
  its two nearest are 1, and 2 or 3."""
  angles = np.radians([0, 10, 30, -30, 60, 90])
  x_ND = np.stack([np.cos(angles), np.sin(angles)], axis=1)
  lengths_N = np.array([1, 2, 3, 4, 5, 6.0])
  unit = UnitRows(x_ND * lengths_N[:, None], 1 / lengths_N)
  exact_QK = np.cos(np.radians([[10, 30]]))
  got = recall_of(np.array([found]), np.array([0]), unit, exact_QK)
  assert got == pytest.approx(recall)


def test_recall_is_a_mean_over_queries_whatever_their_part(monkeypatch):
  x_ND = rows()
  unit = UnitRows(x_ND, 1 / np.linalg.norm(x_ND, axis=1))
  asked = np.arange(40)
  exact = search(x_ND, [f"{n:02}" for n in asked], k=10)
  found_QK = np.concatenate([asked[:, None], exact.rows_QK], axis=1)
  found_QK[:10, 6:] = -1  # ten queries of 40 lack half of it
  for part in (1, 7, 40, 256):
    monkeypatch.setattr(index_lib, "_QUERIES", part)
    got = recall_of(found_QK, asked, unit, exact.scores_QK)
    assert got == pytest.approx(1 - 0.25 * 0.5)


def test_a_key_is_a_line_of_ids(stand_in, tmp_path, monkeypatch):
  monkeypatch.setattr(engines, "_BLOCK", 7)
  vectors_ND, items = named(rows())
  built = build_index((vectors_ND, items), engine="mine", out=tmp_path / "I")
  assert read_ids(tmp_path / "I") == items.ids
  held = np.load(tmp_path / "I" / "float32.mine")
  unit_ND = vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)
  np.testing.assert_allclose(held, unit_ND, atol=1e-6)
  (measured,) = built.measured
  assert (measured.recall, measured.k) == (1, 10)
  path = tmp_path / "I" / "float32.mine"
  assert measured.bytes == path.stat().st_size
  record = read_checksummed(tmp_path / "I" / "index.json")
  assert record == built.to_dict()
  assert set(record["files"]) == {"ids.csv", "float32.mine"}


def test_rows_with_nothing_are_left_out_and_the_keys_close_up(
  stand_in, tmp_path
):
  x_ND = rows(6, 4)
  x_ND[1], x_ND[4] = 0, NULL
  vectors_ND, items = named(x_ND)
  built = build_index((vectors_ND, items), engine="mine", out=tmp_path / "I")
  assert read_ids(tmp_path / "I") == [items.ids[n] for n in (0, 2, 3, 5)]
  held = np.load(tmp_path / "I" / "float32.mine")
  np.testing.assert_allclose(
    held[1], x_ND[2] / np.linalg.norm(x_ND[2]), atol=1e-6
  )
  assert (built.record["rows"], built.record["left_out"]) == (4, 2)
  assert (built.measured[0].k, built.measured[0].recall) == (3, 1)
  assert "2 left out that have nothing to compare" in str(built)


def test_what_is_a_query_alone_is_not_found(stand_in, tmp_path):
  vectors_ND, items = named(rows(4))
  items = items._replace(roles=["query", "index", "both", "query"])
  build_index((vectors_ND, items), engine="mine", out=tmp_path / "I")
  assert read_ids(tmp_path / "I") == items.ids[1:3]
  assert len(np.load(tmp_path / "I" / "float32.mine")) == 2


def test_an_export_of_one_modality_says_which_rows_have_it(stand_in, tmp_path):
  write_export(
    tmp_path / "E", rows(3), [{}, {"has_image": 0}, {}], modality="image"
  )
  build_index(str(tmp_path / "E"), engine="mine", out=tmp_path / "I")
  assert read_ids(tmp_path / "I") == ["i0", "i2"]


def test_an_export_says_which_rows_have_neither_side(stand_in, tmp_path):
  """The null embedding of a transformer looks like any other vector."""
  nothing = {"has_image": 0, "has_title": 0}
  lines = [{"has_title": 0}, nothing, {"has_image": 0}, {}, nothing]
  write_export(tmp_path / "E", rows(5), lines, modality="both")
  built = build_index(str(tmp_path / "E"), engine="mine", out=tmp_path / "I")
  assert read_ids(tmp_path / "I") == ["i0", "i2", "i3"]
  assert built.record["left_out"] == 2


def test_what_is_measured_was_read_from_the_file(stand_in, tmp_path):
  """A file that lacks half of the rows finds less."""
  stand_in(save=lambda module, index, path: save(module, index[:20], path))
  built = build_index(named(rows()), engine="mine", out=tmp_path / "I")
  assert 0 < built.measured[0].recall < 0.8


def test_what_is_lost_is_shown(stand_in, tmp_path):
  """int8 finds the farthest rows of ten each; of 40, none is among the ten
  nearest."""

  def load(module, path, shape, dtype):
    return -np.load(path) if dtype == "int8" else np.load(path)

  stand_in(load=load)
  built = build_index(
    named(rows()), engine="mine", out=tmp_path / "I", dtypes=DTYPES
  )
  assert [m.recall for m in built.measured] == [1, 1, 0]
  last = str(built).splitlines()[-1].split()
  assert last[:3] == ["int8", "0.0000", "1.0000"]
  assert sorted(p.name for p in (tmp_path / "I").iterdir()) == sorted(
    ["ids.csv", "index.json", *(f"{d}.mine" for d in DTYPES)]
  )


def test_queries_are_drawn_by_a_seed_and_are_no_more_than_there_are(
  stand_in, tmp_path
):
  asked = []

  def find(module, index, queries_QD, k):
    asked.append(queries_QD)
    return find_all(module, index, queries_QD, k)

  stand_in(search=find)
  for number, queries in enumerate((5, 5, 1000)):
    build_index(
      named(rows()), engine="mine", out=tmp_path / f"{number}", queries=queries
    )
  assert [len(x) for x in asked] == [5, 5, 40]
  np.testing.assert_array_equal(asked[0], asked[1])


def test_one_row_has_nothing_to_find(stand_in, tmp_path):
  built = build_index(named(rows(1)), engine="mine", out=tmp_path / "I")
  assert built.measured[0].recall is None
  assert str(built).splitlines()[-1].split()[:3] == ["float32", "-", "-"]


@pytest.mark.parametrize(
  ("change", "says"),
  [
    ({"engine": "lucene"}, "engine='lucene': known are faiss, usearch, hnsw"),
    ({"dtypes": ()}, r"dtypes=\(\): expected one or more"),
    ({"dtypes": ("int8", "int8")}, "each once"),
    ({"dtypes": ("int4",)}, "mine cannot hold 'int4': it holds float32, fl"),
    ({"queries": 0}, "queries=0: expected a whole number from 1"),
  ],
)
def test_what_cannot_be_asked_is_refused(change, says, stand_in, tmp_path):
  how = {"engine": "mine", "out": tmp_path / "I"} | change
  with pytest.raises(UserError, match=says):
    build_index(named(rows()), **how)
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_an_engine_without_a_type_says_who_has_it(dtype, tmp_path):
  how = {"engine": "hnswlib", "out": tmp_path / "I", "dtypes": (dtype,)}
  says = f"hnswlib cannot hold '{dtype}': it holds float32; .*faiss, usearch"
  with pytest.raises(UserError, match=says):
    build_index(named(rows()), **how)


@pytest.mark.parametrize("name", ["faiss", "usearch", "hnswlib"])
def test_an_engine_that_is_not_installed_names_the_extra(
  name, tmp_path, monkeypatch
):
  monkeypatch.setattr(engines.importlib.util, "find_spec", lambda module: None)
  says = rf"{name} is not installed: .*\.\[index\]"
  with pytest.raises(UserError, match=says):
    build_index(named(rows()), engine=name, out=tmp_path / "I")


def with_nan() -> np.ndarray:
  x_ND = rows()
  x_ND[3, 2] = np.nan
  return x_ND


@pytest.mark.parametrize(
  ("what", "says"),
  [
    (named(with_nan()), r"row 3 \(id 'i021'\) has a NaN at value 2"),
    (named(np.zeros((3, 4))), "none of 3 rows has anything to compare"),
    (
      (sparse.csr_array(np.eye(3, dtype=np.float32)), named(np.eye(3))[1]),
      "has a sparse part",
    ),
    (named(np.eye(3)[:, :0]), r"has shape \(3, 0\)"),
  ],
)
def test_vectors_that_cannot_be_found_are_refused(
  what, says, stand_in, tmp_path
):
  with pytest.raises(UserError, match=says):
    build_index(what, engine="mine", out=tmp_path / "I")
  assert list(tmp_path.iterdir()) == []


def test_another_index_is_replaced_only_when_asked(stand_in, tmp_path):
  how = {"engine": "mine", "out": tmp_path / "I"}
  build_index(named(rows(5)), **how)
  with pytest.raises(AlreadyThereError, match="--overwrite replaces it"):
    build_index(named(rows(6)), **how)
  os.rename(tmp_path / "I" / "float32.mine", tmp_path / "I" / "float32.faiss")
  build_index(named(rows(6)), **how, overwrite=True)
  assert len(read_ids(tmp_path / "I")) == 6
  (tmp_path / "I" / "notes.txt").write_text("mine")
  with pytest.raises(AlreadyThereError, match="holds other files"):
    build_index(named(rows(6)), **how, overwrite=True)


def test_an_index_that_was_altered_is_seen(stand_in, tmp_path):
  build_index(named(rows(5)), engine="mine", out=tmp_path / "I")
  assert [found.state for found in verify(tmp_path / "I")] == ["whole"]
  (tmp_path / "I" / "ids.csv").write_text("key,id\n0,another\n")
  (found,) = verify(tmp_path / "I")
  assert found.state == "damaged"
  assert "ids.csv was altered" in found.text
  (tmp_path / "I" / "index.json").unlink()
  (found,) = verify(tmp_path / "I")
  assert found.state == "damaged"
  assert "index.json is missing" in found.text


def test_an_export_that_was_made_anew_below_its_index_is_seen(
  stand_in, tmp_path, capsys
):
  made, index = tmp_path / "E", tmp_path / "I"
  write_export(made, rows(3), [{}] * 3)
  build_index(str(made), engine="mine", out=index)
  assert [found.state for found in verify(index)] == ["whole"]
  shutil.rmtree(made)
  assert [found.state for found in verify(index)] == ["whole"]  # elsewhere
  write_export(made, rows(4), [{}] * 4)
  assert main(["verify", str(index)]) == 1
  said = f"outdated: {index}: {made} was made anew since: index it again"
  assert said in capsys.readouterr().out
  (made / "meta.json").write_text("{}")
  assert [found.state for found in verify(index)] == ["whole"]
  shutil.rmtree(made)
  write_export(made, rows(3), [{}] * 3)
  assert [found.state for found in verify(index)] == ["whole"]


def test_what_fails_leaves_nothing(stand_in, tmp_path):
  def fail(*given):
    raise OSError("the disk is full")

  stand_in(save=fail)
  with pytest.raises(OSError, match="disk is full"):
    build_index(named(rows()), engine="mine", out=tmp_path / "I")
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
  ("engine", "dtype"),
  [
    (name, dtype)
    for name in ("faiss", "usearch", "hnswlib")
    for dtype in DTYPES
    if dtype in ENGINES[name].dtypes
  ],
)
def test_an_engines_own_file_finds_what_we_find(engine, dtype, tmp_path):
  pytest.importorskip(engine, reason=f"{engine} is not installed: .[index]")
  vectors_ND, items = named(rows(500, 32))
  out = tmp_path / "I"
  built = build_index(
    (vectors_ND, items), engine=engine, out=out, dtypes=[dtype]
  )
  (measured,) = built.measured
  # Threads build another graph of usearch each time: .986 to 1 of 60 builds.
  lowest = {"float32": 0.97, "float16": 0.97, "int8": 0.8}[dtype]
  assert lowest <= measured.recall <= 1
  if (engine, dtype) == ("faiss", "float32"):
    assert measured.recall == 1
  assert built.record["version"][0].isdecimal()
  # Values are as large as the type says, beside what else a file holds.
  values = vectors_ND.size * {"float32": 4, "float16": 2, "int8": 1}[dtype]
  assert values <= measured.bytes < values + 500 * 400
  # As who has the folder alone would read it, and by way of ids.csv.
  found_QK = read_alone(engine, out / f"{dtype}.{engine}", vectors_ND)
  ids = read_ids(out)
  exact = search(vectors_ND, items.ids, k=10)
  shared = [
    len({ids[n] for n in found} & {items.ids[n] for n in exact.rows_QK[row]})
    for row, found in enumerate(found_QK)
  ]
  assert np.sum(shared) / 5_000 >= lowest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_usearch_builds_is_no_fault(number, tmp_path, capsys):
  pytest.importorskip("usearch", reason="not installed: .[index]")
  np.save(tmp_path / "many.npy", rows(8_000, 256))
  lines = "".join(f"{n},{n}\n" for n in range(8_000))
  (tmp_path / "many.csv").write_text(f"listing_id,product_id\n{lines}")
  source = f"{tmp_path / 'many.npy'}:{tmp_path / 'many.csv'}"
  out = tmp_path / "made" / "I"

  def interrupt():
    while not out.parent.is_dir() or not os.listdir(out.parent):
      time.sleep(0.01)
    time.sleep(0.2)
    os.kill(os.getpid(), number)

  threading.Thread(target=interrupt, daemon=True).start()
  code = main(["index", source, "--engine=usearch", f"--out={out}"])
  assert code in (130, 143)
  assert "item-jax: interrupted" in capsys.readouterr().err
  assert os.listdir(out.parent) == []


def read_alone(engine: str, path: Path, vectors_ND) -> np.ndarray:
  """The eleven nearest by the engine's own documented calls."""
  unit_ND = vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)
  if engine == "faiss":
    import faiss

    return faiss.read_index(str(path)).search(unit_ND, 11)[1]
  if engine == "usearch":
    from usearch.index import Index

    return Index.restore(str(path)).search(unit_ND, 11).keys.astype(int)
  import hnswlib

  index = hnswlib.Index("cosine", vectors_ND.shape[1])
  index.load_index(str(path))
  index.set_ef(100)
  return index.knn_query(unit_ND, 11)[0].astype(int)


@pytest.mark.parametrize("engine", ["faiss", "usearch", "hnswlib"])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_rows_are_an_index_too(engine, count, tmp_path):
  pytest.importorskip(engine, reason=f"{engine} is not installed: .[index]")
  dtypes = ENGINES[engine].dtypes
  built = build_index(
    named(rows(count)), engine=engine, out=tmp_path / "I", dtypes=dtypes
  )
  expected = None if count == 1 else 1
  assert [m.recall for m in built.measured] == [expected] * len(dtypes)


def test_the_command_prints_what_was_found(tmp_path, capsys):
  pytest.importorskip("faiss", reason="faiss is not installed: .[index]")
  write_export(tmp_path / "E", rows(30), [{}] * 30)
  words = ["index", str(tmp_path / "E"), f"--out={tmp_path / 'I'}"]
  words += ["--engine=faiss", "--dtype=float32,int8", "--queries=9"]
  assert main(words) == 0
  first, head, *table = capsys.readouterr().out.splitlines()
  assert "30 rows of 8, 0 left out" in first
  assert first.endswith("9 queries")
  assert head.split() == ["values", "recall@10", "lost", "queries/s", "bytes"]
  assert table[0].split()[:3] == ["float32", "1.0000", "0.0000"]
  assert [line.split()[0] for line in table] == ["float32", "int8"]


def test_the_command_offers_what_there_is(capsys):
  assert cli._DTYPES == DTYPES
  with pytest.raises(SystemExit):
    main(["index", "E", "--out=I", "--engine=faiss", "--dtype=float32,int4"])
  assert "'int4': known are float32, float16" in capsys.readouterr().err
  with pytest.raises(SystemExit):
    main(["index", "--help"])
  assert f"{{{','.join(ENGINES)}}}" in capsys.readouterr().out


def test_a_full_disk_is_named_and_leaves_nothing(stand_in, tmp_path):
  def cut(module, path, shape, dtype):
    raise RuntimeError("Error in read:\n read error: 979 != 1664\n")

  stand_in(load=cut)
  with pytest.raises(OSError, match=r"float32\.mine could not be kept: .*979"):
    build_index(named(rows()), engine="mine", out=tmp_path / "I")
  assert not list(tmp_path.iterdir())

"""One table for all systems, on the same rows of the same split."""

import csv
import json
import logging

import numpy as np
import pytest
import simplejpeg
from exports import finish_export
from lost_records import lose
from pages import store

import item_jax
from item_jax.__main__ import main
from item_jax.data import records
from item_jax.errors import UserError
from item_jax.evaluation import baselines
from item_jax.evaluation.items import Items
from item_jax.evaluation.report import report
from item_jax.evaluation.results import with_interval

COUNT = 24  # eight products of three listings; the first has lost its photo


def rows():
  """Listings whose title settles half the question, the photo the other."""
  random = np.random.default_rng(0)
  for row in range(COUNT):
    product = row % 8
    photo = np.full((40, 30, 3), 255, np.uint8)
    photo[10:30, 5:25] = [60 * (product // 2), 40, 255 - 60 * (product // 2)]
    photo = np.clip(photo + random.normal(0, 6, photo.shape), 0, 255)
    image = simplejpeg.encode_jpeg(photo.astype(np.uint8))
    yield records.Record(
      f"l{row:02d}",
      f"p{product}",
      f"{'shirt' if product % 2 else 'skirt'} offer {row}",
      "clothes",
      image if row else b"",
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  return store(tmp_path_factory.mktemp("data"), rows())


def export(folder, *, noise=0.0, change=lambda line, row: line):
  """An export whose vectors point at their product, more or less."""
  folder.mkdir()
  random = np.random.default_rng(0)
  lines = [
    change([r.listing_id, r.product_id, r.category, r.title], number)
    for number, r in enumerate(rows())
  ]
  lines = [line for line in lines if line]
  vectors = np.eye(8)[[int(line[1][1:]) for line in lines]]
  vectors = vectors + noise * random.standard_normal(vectors.shape)
  np.save(folder / "embeddings.npy", vectors.astype(np.float32))
  with open(folder / "items.csv", "w", encoding="utf-8", newline="") as file:
    csv.writer(file).writerows([["id", "product", "category", "title"], *lines])
  return finish_export(folder)


def test_all_systems_in_one_table(data, tmp_path):
  exports = {
    "both": export(tmp_path / "both"),
    "untrained": export(tmp_path / "untrained", noise=9.0),
  }
  found = report(data, "test", exports, k=(2, 10))
  found.write_json(tmp_path / "results.json")
  results = json.loads((tmp_path / "results.json").read_text())
  assert results == found.to_dict()
  assert found.to_frame()["system"].tolist() == list(results)
  assert list(results) == ["both", "untrained", "tfidf", "thumbnail"]
  for figures in results.values():
    assert list(figures) == ["recall@2", "map@2", "recall@10", "map@10"]
  assert results["both"]["recall@2"] == results["both"]["map@2"] == 1
  for system in ("untrained", "tfidf", "thumbnail"):
    assert results[system]["map@10"] < 0.9
  # A photo narrows eight products to two, a title only to four.
  assert results["thumbnail"]["map@10"] > results["tfidf"]["map@10"]
  printed = str(found).splitlines()
  assert "24 queries, 0 left out, index 24" in printed[0]
  for system, figures in results.items():
    line = next(line for line in printed if line.startswith(system + " "))
    assert f"{figures['recall@10']:.4f} [" in line
    assert f"{figures['map@10']:.4f} [" in line
  assert len({line.index("[") for line in printed[2:6]}) == 1
  assert printed[6].startswith("both less the others")
  apart = found.scores["both"].compare(found.scores["tfidf"])["map@10"]
  line = next(line for line in printed[7:] if line.startswith("tfidf "))
  low, high = apart["interval"]
  assert f"{apart['difference']:.4f} [{low:.4f}, {high:.4f}]" in line


def test_differences_are_of_the_reports_own_resamples(data, tmp_path):
  noisy = {"mine": export(tmp_path / "mine", noise=1.0)}
  draws = {"bootstrap": 30, "seed": 5}
  found = report(data, "test", noisy, **draws)
  _, lines = found.differences()
  for name, *cells in lines:
    one = found.scores["mine"].compare(found.scores[name], **draws)
    apart = [one[x] for x in found.measures]
    assert cells == [
      with_interval(x["difference"], x["interval"]) for x in apart
    ]
    other = found.scores["mine"].compare(found.scores[name])
    assert [other[x] for x in found.measures] != apart


def test_roles_count_for_all_and_two_that_differ_are_refused(data):
  listed = list(rows())
  ids, products = [r.listing_id for r in listed], [r.product_id for r in listed]
  vectors = np.eye(8)[[int(name[1:]) for name in products]]

  def source(queries):
    roles = ["query"] * queries + ["both"] * (COUNT - queries)
    return vectors, Items(ids, products, None, roles)

  found = report(data, "test", {"a": source(8)})
  index = {one.summary["index"] for one in found.scores.values()}
  assert index == {COUNT - 8}
  with pytest.raises(UserError, match="which rows are queries"):
    report(data, "test", {"a": source(8), "b": source(9)})


def test_of_several_the_one_that_cannot_be_scored_is_named(data):
  listed = list(rows())
  ids, products = [r.listing_id for r in listed], [r.product_id for r in listed]
  vectors = np.eye(8)[[int(name[1:]) for name in products]]
  none = vectors.copy()
  none[3] = 0
  items = Items(ids, products)
  with pytest.raises(UserError, match=r"^export bare: row 3 .*all zero"):
    report(data, "test", {"full": (vectors, items), "bare": (none, items)})


def swapped(line, row):
  return [*line[:1], f"p{(row + 1) % 8}", *line[2:]] if row > 4 else line


@pytest.mark.parametrize(
  ("change", "says"),
  [
    (lambda line, row: line if row else None, "has 23 rows"),
    (lambda line, row: [f"x{row}", *line[1:]], "row 0 is listing 'x0' in"),
    (swapped, "row 5 is of product 'p6' in"),
  ],
)
def test_exports_of_other_rows_are_refused(change, says, data, tmp_path):
  exports = {"image": export(tmp_path / "e", change=change)}
  with pytest.raises(UserError) as error:
    report(data, "test", exports)
  assert "export image" in str(error.value)
  assert says in str(error.value)


def test_other_impossible_reports_are_refused(data, tmp_path, capsys):
  good = export(tmp_path / "good")
  with pytest.raises(UserError, match="no split 'val'"):
    report(data, "val", {"both": good})
  for name in (1, " "):
    with pytest.raises(UserError, match=f"name {name!r}: expected a text"):
      report(data, "test", {name: tmp_path})
  with pytest.raises(UserError, match="tfidf"):
    report(data, "test", {"tfidf": good})
  out = tmp_path / "not there" / "r.json"
  assert main(["report", f"--data={data}", f"--out={out}"]) == 2
  assert "no folder to write it to" in capsys.readouterr().err
  (good / "meta.json").unlink()
  with pytest.raises(UserError, match="unfinished"):
    report(data, "test", {"both": good})


def test_exports_may_stand_on_both_sides_of_a_flag(data, tmp_path, capsys):
  first, second = export(tmp_path / "e"), export(tmp_path / "f")
  assert main(["report", f"a={first}", f"b={second}", f"--data={data}"]) == 0
  together = capsys.readouterr().out
  assert main(["report", f"a={first}", f"--data={data}", f"b={second}"]) == 0
  assert capsys.readouterr().out == together
  with pytest.raises(SystemExit):
    main(["evaluate", str(first), "--k=5", "more"])
  assert "unknown arguments: more" in capsys.readouterr().err


def test_a_folder_may_have_an_equals_sign_in_its_path(data, tmp_path, capsys):
  (tmp_path / "lr=0.1").mkdir()
  folder = export(tmp_path / "lr=0.1" / "both")
  assert main(["report", str(folder), f"--data={data}"]) == 0
  assert "both less the others" in capsys.readouterr().out


def test_baselines_alone_need_no_export(data):
  assert list(report(data, "test", {}).scores) == ["tfidf", "thumbnail"]


def test_what_cannot_be_read_keeps_its_row_and_is_named(tmp_path, caplog):
  caplog.set_level(logging.INFO)
  listings = list(rows())
  whole = listings[4]
  listings[4] = whole._replace(image=whole.image[: len(whole.image) // 2])
  folder = store(tmp_path, listings)
  lose(folder, "test", listings[7])
  assert report(folder, "test", {}).scores.keys() == {"tfidf", "thumbnail"}
  (record,) = caplog.records
  assert "2 of 24 listings" in record.message
  assert record.message.endswith(": l04, test[7]")
  items, (titles, photos) = baselines.read(
    records.open_dataset(folder), "test", baselines.title, baselines.small_image
  )
  assert (items.ids[7], items.products[7], titles[7]) == ("test[7]", "", "")
  assert (items.ids[4], titles[4]) == ("l04", whole.title)
  assert [n for n, photo in enumerate(photos) if photo is None] == [0, 4, 7]


@pytest.mark.parametrize(
  ("lacks", "name", "says"),
  [
    ({"title": ""}, "tfidf", "tfidf: no listing of split 'test' .* a title"),
    ({"image": b""}, "thumbnail", "thumbnail: no listing .* has an image"),
    (
      {"title": "red vase"},
      "tfidf",
      "tfidf of test: all 24 rows are one vector",
    ),
  ],
  ids=["title", "image", "alike"],
)
def test_a_baseline_with_nothing_to_compare_finds_nothing(
  tmp_path, lacks, name, says
):
  """All its rows are alike, and their order alone would find some."""
  bare = store(tmp_path / "bare", (row._replace(**lacks) for row in rows()))
  with pytest.raises(UserError, match=says):
    item_jax.score(name, data=bare)
  folder = export(tmp_path / "e")
  compared = report(bare, "test", {"e": folder})
  assert {"tfidf", "thumbnail"} - set(compared.scores) == {name}
  assert name not in str(compared)

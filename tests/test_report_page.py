"""The page of a report shows what the arrays hold, and nothing else."""

import dataclasses
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from exports import write_export
from pages import COUNT, HOSTILE, Page, listings, named, store

import item_jax
from item_jax.__main__ import main
from item_jax.data import records
from item_jax.errors import UserError
from item_jax.evaluation.items import Items
from item_jax.evaluation.page import (
  curves,
  examples,
  pictures,
  render,
  tables,
)
from item_jax.evaluation.retrieval import score
from item_jax.files import METRICS_FILE


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  return store(tmp_path_factory.mktemp("data"), listings())


@pytest.fixture(scope="module")
def vectors():
  """Those of "image" are noise, those of "both" point at their product."""
  random = np.random.default_rng(2)
  product_NP = np.eye(10)[np.arange(COUNT) // 3]
  return {
    "both": product_NP + random.normal(0, 0.4, (COUNT, 10)),
    "image": random.normal(0, 1, (COUNT, 10)),
  }


@pytest.fixture(scope="module")
def report(data, vectors, tmp_path_factory):
  folder, rows = tmp_path_factory.mktemp("exports"), named(listings())
  exports = {
    name: write_export(folder / name, one, rows)
    for name, one in vectors.items()
  }
  return item_jax.report(data, "test", exports, bootstrap=20)


RUN = [
  {"step": 0, "kind": "eval", "both/recall@10": 0.1, "title/recall@10": 0.2},
  {"step": 5, "kind": "train", "loss": 9.5, "itm": 0.8, "itm_floor": 0.69}
  | {"mlm": None, "mlm_floor": 5.0, "lr": 0.1},
  {"step": 10, "kind": "train", "loss": 7.25, "itm": 0.6, "itm_floor": 0.69}
  | {"mlm": 4.5, "mlm_floor": 5.0, "lr": 0.2},
  {"step": 10, "kind": "eval", "both/recall@10": 0.5, "both/map@10": 0.25}
  | {"title/recall@10": 0.4, "seconds": 3.0}
  | {"modality/balance": -0.5, "modality/other_image": 0.25},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
  folder = tmp_path_factory.mktemp("run")
  text = "".join(json.dumps(row) + "\n" for row in RUN)
  # Half a row: the run was killed.
  (folder / METRICS_FILE).write_text(text + '{"step": 11, "kind"')
  return folder


@pytest.fixture(scope="module")
def page(report, run):
  return Page(report.to_page(run=run, examples=9))


def test_the_curves_are_the_rows_of_the_run(run):
  found = curves.read_curves(run)
  assert found.losses == {
    "loss": ([5, 10], [9.5, 7.25]),
    "itm": ([5, 10], [0.8, 0.6]),
    "mlm": ([10], [4.5]),  # at step 5 nothing counted
  }
  assert found.chance == {
    "itm": ([5, 10], [0.69, 0.69]),
    "mlm": ([5, 10], [5.0, 5.0]),
  }
  assert found.modalities == {
    "recall@10": {
      "both": ([0, 10], [0.1, 0.5]),
      "title": ([0, 10], [0.2, 0.4]),
    },
    "map@10": {"both": ([10], [0.25])},
  }
  assert found.moved == {
    "balance": ([10], [-0.5]),
    "other_image": ([10], [0.25]),
  }


def drawn(figure):
  """{panel: {line: (steps, values)}} of a figure."""
  return {
    axes.get_title(): {
      line.get_label(): tuple(np.asarray(x).tolist() for x in line.get_data())
      for line in axes.get_lines()
    }
    for axes in figure.axes
  }


def test_what_is_drawn_is_what_was_read(run):
  found = curves.read_curves(run)
  panels = drawn(curves.draw_losses({"run": found}))
  assert list(panels) == ["loss", "itm", "mlm"]
  assert panels["loss"] == {"loss": found.losses["loss"]}
  for name in ("itm", "mlm"):
    assert panels[name] == {
      name: found.losses[name],
      "chance": found.chance[name],
    }
  assert drawn(curves.draw_modalities({"run": found})) == found.modalities


def test_the_balance_is_drawn_from_side_to_side(run):
  found = curves.read_curves(run)
  figure = curves.draw_balance({"run": found})
  panels = drawn(figure)
  assert list(panels) == ["balance", "other_image"]
  assert panels["balance"]["run"] == found.moved["balance"]
  assert panels["other_image"] == {"run": found.moved["other_image"]}
  # 0, where both sides move it as far, is the middle, and marked.
  assert figure.axes[0].get_ylim() == (-1, 1)
  (middle,) = set(panels["balance"]) - {"run"}
  assert set(panels["balance"][middle][1]) == {0}


@pytest.fixture(scope="module")
def second_run(tmp_path_factory):
  """Of another name, without MLM, with another chance level of ITM."""
  folder = tmp_path_factory.mktemp("second") / "longer"
  folder.mkdir()
  rows = [
    {"step": 4, "kind": "train", "loss": 5.0, "itm": 0.7, "itm_floor": 0.5},
    {"step": 8, "kind": "eval", "both/recall@10": 0.75},
  ]
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (folder / METRICS_FILE).write_text(text)
  return folder


def test_several_runs_are_lines_of_the_same_panels(run, second_run):
  runs = curves.read_runs([run, second_run])
  (first, one), (second, two) = runs.items()
  assert (first, second) == (run.name, "longer")
  assert (one, two) == tuple(map(curves.read_curves, (run, second_run)))
  figure = curves.draw_losses(runs)
  assert drawn(figure) == {
    "loss": {first: one.losses["loss"], second: ([4], [5.0])},
    "itm": {
      first: one.losses["itm"],
      f"_chance, {first}": one.chance["itm"],
      second: ([4], [0.7]),
      f"_chance, {second}": ([4], [0.5]),
    },
    "mlm": {first: ([10], [4.5]), f"_chance, {first}": ([5, 10], [5.0, 5.0])},
  }
  # A run has one colour, its chance level too, and no other run has it.
  colours = {
    line.get_label().removeprefix("_chance, "): set()
    for axes in figure.axes
    for line in axes.get_lines()
  }
  for axes in figure.axes:
    for line in axes.get_lines():
      name = line.get_label()
      dashed = name.startswith("_chance")
      assert line.get_linestyle() == ("--" if dashed else "-")
      colours[name.removeprefix("_chance, ")].add(line.get_color())
  assert [len(one) for one in colours.values()] == [1, 1]
  assert colours[first] != colours[second]
  legend = figure.axes[0].get_legend()
  assert [text.get_text() for text in legend.get_texts()] == [first, second]
  assert drawn(curves.draw_modalities(runs)) == {
    "recall@10, both": {first: ([0, 10], [0.1, 0.5]), second: ([8], [0.75])},
    "recall@10, title": {first: ([0, 10], [0.2, 0.4])},
    "map@10, both": {first: ([10], [0.25])},
  }


def test_runs_are_named_by_what_tells_their_paths_apart(run, tmp_path):
  text = (run / METRICS_FILE).read_text()
  paths = [tmp_path / one for one in ("a/x/run", "b/x/run", "c/run")]
  for path in paths:
    path.mkdir(parents=True)
    (path / METRICS_FILE).write_text(text)
  assert list(curves.read_runs(paths)) == ["a/x/run", "b/x/run", tail(paths[2])]
  assert list(curves.read_runs(paths[1:])) == ["x/run", "c/run"]
  assert list(curves.read_runs(paths[0])) == ["run"]
  with pytest.raises(
    UserError, match=r"a run is given twice: .*c/run, .*c/run"
  ):
    curves.read_runs([paths[2], paths[2]])
  with pytest.raises(UserError, match="7 runs: lines of 6 at most"):
    curves.read_runs([run] * 7)


def tail(path):
  return "/".join(path.parts[-3:])


def test_a_page_names_its_runs_and_draws_them_once(
  data, run, second_run, tmp_path
):
  file = tmp_path / "page.html"
  flags = [f"--html={file}", f"--run={run}", f"--run={second_run}"]
  assert main(["report", f"--data={data}", *flags, "--examples=3"]) == 0
  held = Page(file.read_text("utf-8"))
  assert f"The runs {run.name}, longer." in " ".join(held.text)
  assert len(held.all("svg")) == 4


def test_a_name_with_dollar_signs_is_drawn_as_it_is():
  series = curves.Series([1, 2], [1.0, 2.0])
  held = curves.Curves({"a$_b$": series}, {"a$_b$": series})
  assert "a$_b$" in pictures.inline_svg(curves.draw_losses({"a": held}), "x")


def test_neighbours_are_those_of_the_search(report, vectors, page):
  items = report.compared.items
  found = examples.find_examples(
    report.scores["both"],
    report.compared.vectors,
    measure="map@10",
    count=9,
  )
  assert len(found) > 5
  shown = page_neighbours(page)
  for name, one_ND in vectors.items():
    rows_QK, scores_QK = item_jax.search(
      one_ND.astype(np.float32), items.ids, k=10
    )
    for one in found:
      near = one.near[name]
      assert near.rows_K == rows_QK[one.row].tolist()
      assert near.scores_K == scores_QK[one.row].tolist()
      assert near.hits_K == [row // 3 == one.row // 3 for row in near.rows_K]
      assert shown[one.row, name] == list(
        zip(near.rows_K, near.hits_K, strict=True)
      )


def test_neighbours_are_rows_that_are_searched():
  """Where rows are only queries, a score knows nothing of them."""
  random = np.random.default_rng(0)
  vectors_ND = random.normal(size=(60, 4)).astype(np.float32)
  roles = [("query", "index")[row % 2] for row in range(60)]
  products = [f"p{row // 4}" for row in range(60)]
  items = Items([f"i{row:02}" for row in range(60)], products, None, roles)
  scores = item_jax.score(vectors_ND, items, k=10, bootstrap=0)
  found = examples.find_examples(
    scores, {"x": vectors_ND}, measure="map@10", count=9
  )
  for one in found:
    (query,) = np.flatnonzero(scores.rows_Q == one.row)
    assert one.near["x"].rows_K == scores.nearest_QK[query].tolist()
    assert one.near["x"].failed == (scores.values["hit@10"][query] == 0)


def page_neighbours(page):
  """{(query, system): [(row, whether it is framed)]} of a page's elements."""
  shown, query, system = {}, None, None
  for tag, attrs in page.tags:
    classes = (attrs.get("class") or "").split()
    if tag == "article":
      query = int(attrs["data-row"])
    elif tag == "ol":
      system = attrs["aria-label"].removeprefix("nearest by ")
      shown[query, system] = []
    elif tag == "li":
      assert len({"hit", "miss"} & {*classes}) == 1
      shown[query, system].append((int(attrs["data-row"]), "hit" in classes))
  return shown


def test_a_hit_is_told_by_words_too(page):
  hits = sum(hit for near in page_neighbours(page).values() for _, hit in near)
  assert hits > 0
  assert sum("same" in text and "✓" in text for text in page.text) == hits


def test_who_failed_is_who_found_nothing(page):
  shown, failures = page_neighbours(page), 0
  for article in page.all("article"):
    row = int(article["data-row"])
    failed = [
      name
      for name in ("both", "image")
      if not any(hit for _, hit in shown[row, name])
    ]
    failures += len(failed)
    assert json.loads(article["data-failed"]) == failed
  assert failures > 0


def small_scores():
  """Two products of two rows, one of three: who is near is seen by hand."""
  items = Items([*"abcdefg"], ["x", "x", "y", "y", "z", "z", "z"])
  angle_N = np.radians([0, 1, 90, 180, 270, 271, 181])
  vectors_ND = np.stack([np.cos(angle_N), np.sin(angle_N)], 1)
  return score(vectors_ND, items, k=1, bootstrap=0)


def test_best_and_worst_are_chosen_as_by_hand():
  scores = small_scores()
  # The nearest of a is b, of c anything but d, of e is f, of g is d.
  assert scores.values["map@1"].tolist() == [1, 1, 0, 0, 0.5, 0.5, 0]
  chosen = examples.choose(scores, measure="map@1", count=9, seed=3)
  groups = {
    name: [query for query, held in chosen.items() if name in held]
    for name in examples.GROUPS
  }
  # Best: a, of x, then e, of z, then c of y: a product each.
  # Worst: g, which had two to find, then c, of y, then a, of x.
  assert groups["best"] == [0, 4, 2]
  assert sorted(groups["worst"]) == [0, 2, 6]
  drawn = np.random.default_rng(3).permutation(7)[:3].tolist()
  assert sorted(groups["random"]) == sorted(drawn)


def test_more_examples_than_queries_show_each_once():
  scores = small_scores()
  chosen = examples.choose(scores, measure="map@1", count=300)
  assert sorted(chosen) == list(range(7))
  assert set(chosen.values()) == {examples.GROUPS}
  assert len(examples.choose(scores, measure="map@1", count=1)) == 1


def test_a_hostile_title_is_text(report, page):
  held = Page(report.to_page(examples=300))
  for one in (page, held):
    assert [a.get("type") for a in one.all("script")] == [
      "application/json",
      None,
    ]
    assert not one.all("b", **{"class": "mugs"})
  assert any(HOSTILE in text for text in held.text)
  assert any(a.get("aria-label") == HOSTILE for a in held.all("span"))
  look_up = json.loads(held.scripts[0])
  assert look_up["titles"][0] == HOSTILE
  assert {"home > <b>mugs</b>"} <= {
    article["data-category"] for article in held.all("article")
  }


def test_what_has_no_image_or_title_says_so(report):
  held = Page(report.to_page(examples=300))
  shown = [row for near in page_neighbours(held).values() for row, _ in near]
  queries = [int(one["data-row"]) for one in held.all("article")]
  times = (shown + queries).count(1)
  assert times > 1
  assert sum(text == "no image" for text in held.text) == times
  assert sum("(no title)" in text for text in held.text) == times


def test_each_thumbnail_is_stored_once_and_small(report, data):
  text = report.to_page(examples=300)
  stored = re.findall(r"\.t(\d+) \{ background-image: url\((\S+)\) \}", text)
  assert sorted(int(row) for row, _ in stored) == [
    row for row in range(COUNT) if row != 1
  ]
  assert text.count("data:image/jpeg") == len(stored)
  source = records.open_dataset(data).source("test")
  for row, address in stored:
    jpeg = pictures.base64.b64decode(address.partition(",")[2])
    small = simplejpeg.decode_jpeg(jpeg).astype(float)
    whole = simplejpeg.decode_jpeg(source[int(row)].image).astype(float)
    assert max(small.shape[:2]) == pictures.SIDE
    # Of this row: other rows' noise has another shape or mean.
    assert small.shape[1] == round(whole.shape[1] * 80 / 120)
    np.testing.assert_allclose(small.mean(), whole.mean(), atol=2)


def test_a_broken_image_has_no_thumbnail(tmp_path):
  rows = [*listings()]
  rows[4] = rows[4]._replace(image=rows[4].image[:40])
  dataset = records.open_dataset(store(tmp_path, rows))
  found = pictures.read_thumbnails(dataset, "test", [0, 1, 4, 5])
  assert list(found) == [0, 5]


def test_the_page_fetches_nothing(report, run):
  text = report.to_page(run=run)
  assert "http" not in text.replace("http-equiv", "")
  assert not re.search(r"""(?:href|src)=["'](?!#|data:)""", text)
  assert not re.search(r"url\((?!data:)", text)
  assert "@import" not in text
  (policy,) = Page(text).all(
    "meta", **{"http-equiv": "Content-Security-Policy"}
  )
  assert policy["content"].startswith("default-src 'none'; img-src data:;")


def luminance(colour):
  """Of WCAG 2: how bright a colour like #fff or #1a1a1a is, 0 to 1."""
  digits = (
    colour[1:] if len(colour) == 7 else "".join(x * 2 for x in colour[1:])
  )
  parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
  linear = [
    x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts
  ]
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_words_stand_out_from_their_ground_by_day_and_night():
  style = (Path(render.__file__).parent / "page.css").read_text("utf-8")
  themes = [
    dict(re.findall(r"--(\w+): (#\w+)", block))
    for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
  ]
  assert len(themes) == 2
  for theme in themes:
    for words in ("ink", "soft", "hit", "accent"):
      for ground in ("paper", "raised"):
        dark, light = sorted(luminance(theme[x]) for x in (words, ground))
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (words, ground)  # AA


def test_the_search_knows_every_listing(report, page):
  held = json.loads(page.scripts[0])
  scores = report.scores["both"]
  assert held["ids"] == report.compared.items.ids
  assert held["titles"] == list(report.compared.titles)
  assert held["near"] == {
    str(row): near
    for row, near in zip(
      scores.rows_Q.tolist(), scores.nearest_QK[:, :10].tolist(), strict=True
    )
  }
  for one in range(COUNT):
    for other in range(COUNT):
      same = held["products"][one] == held["products"][other]
      assert same == (one // 3 == other // 3)
  for article in page.all("article"):
    row = int(article["data-row"])
    near = {row}
    for (query, _), rows in page_neighbours(page).items():
      near |= {other for other, _ in rows if query == row}
    assert set(json.loads(article["data-ids"])) == {f"l{x:02d}" for x in near}


def test_filters_have_all_that_is_shown(page):
  categories = {one["data-category"] for one in page.all("article")} - {""}
  groups = {
    x for one in page.all("article") for x in one["data-groups"].split()
  }
  assert categories == {"home > <b>mugs</b>", "hats"}
  assert {*page.options} == (
    categories | groups | {"both", "image", "all", "anyone", "nobody"}
  )
  (form,) = page.all("form")
  assert "hidden" in form  # without a script it would do nothing


def test_the_tables_are_the_scores(report, page):
  cells = [text for text in page.text if text.strip()]
  for name, one in report.scores.items():
    low, high = one.summary["interval"]["recall@10"]
    shown = f"{one.summary['recall@10']:.4f} [{low:.4f}, {high:.4f}]"
    assert cells[cells.index(name) + 1] == shown
  lines = tables.by_category(report.scores, "recall@10")
  assert [(line.category, line.queries) for line in lines] == [
    ("home > <b>mugs</b>", 12),
    ("hats", 9),
  ]
  values_N = report.scores["image"].values["recall@10"]
  own_N = np.arange(COUNT) // 3 % 3 == 1
  np.testing.assert_allclose(lines[1].means["image"], values_N[own_N].mean())
  place = cells.index("hats")
  assert cells[place + 1] == "9"
  assert cells[place + 2] == f"{lines[1].means['both']:.4f}"


def test_confused_categories_are_counted_as_by_hand():
  items = Items(
    [*"abcdef"], [*"xxxxyy"], ["mug", "mug", "hat", "cup", "", "hat"]
  )
  angle_N = np.radians([0, 1, 3, 6, 10, 15])
  scores = score(
    np.stack([np.cos(angle_N), np.sin(angle_N)], 1), items, k=1, bootstrap=0
  )
  # a -> b, b -> a, c -> b, d -> c; e and f, next to e, have one that has none.
  given = tables.compare_nearest(scores)
  assert given is not None
  assert tables.most_confused(given) == [
    ("cup", "hat", 1, 1),
    ("hat", "mug", 1, 1),
  ]
  assert given.correct_Q.tolist() == [True, True, False, False]
  nothing = dataclasses.replace(scores, items=items._replace(categories=None))
  assert tables.compare_nearest(nothing) is None


def test_pictures_are_written_for_papers(data, run, tmp_path, capsys):
  code = main(
    ["report", f"--data={data}", f"--figures={tmp_path / 'f'}", f"--run={run}"]
  )
  assert code == 0
  printed = capsys.readouterr().out
  names = sorted(path.name for path in (tmp_path / "f").iterdir())
  assert names == sorted(
    f"{name}.{kind}"
    for name in ("losses", "modalities", "balance", "confusion")
    for kind in ("png", "svg")
  )
  for path in (tmp_path / "f").iterdir():
    start = path.read_bytes()[:5]
    assert start == (b"<?xml" if path.suffix == ".svg" else b"\x89PNG\r")
    assert str(path) in printed


def test_a_command_writes_the_page(data, run, tmp_path, capsys):
  file = tmp_path / "page.html"
  flags = [f"--html={file}", f"--run={run}", "--examples=3"]
  code = main(["report", f"--data={data}", *flags])
  assert code == 0
  assert f"{file}: 0." in capsys.readouterr().out
  held = Page(file.read_text("utf-8"))
  # Without exports the baselines are shown.
  assert {system for _, system in page_neighbours(held)} == {
    "tfidf",
    "thumbnail",
  }
  groups = " ".join(one["data-groups"] for one in held.all("article"))
  assert sorted(groups.split()) == sorted(examples.GROUPS)  # one of each
  # Of losses, modalities, the balance and confusion.
  assert len(held.all("svg")) == 4


@pytest.mark.parametrize(
  ("flags", "says"),
  [
    (["--html={tmp}/no/p.html"], "no folder to write it to"),
    (["--html={tmp}/p.html", "--run={tmp}/no"], "no/?: no such run folder"),
    (["--html={tmp}/p.html", "--run={tmp}"], "has no metrics.jsonl: expected"),
    (["--run={tmp}"], "expected --html=FILE or --figures=DIR"),
    (
      ["--html={tmp}/p.html", "--examples=0"],
      "examples=0: expected a whole number from 1",
    ),
  ],
)
def test_bad_input_says_what_was_expected(flags, says, data, tmp_path, capsys):
  given = [flag.format(tmp=tmp_path) for flag in flags]
  assert main(["report", f"--data={data}", *given]) == 2
  assert re.search(says, capsys.readouterr().err)
  assert not list(tmp_path.rglob("*.html"))


def test_rows_of_something_else_are_refused(tmp_path):
  (tmp_path / METRICS_FILE).write_text('{"step": 1}\n')
  with pytest.raises(UserError, match="no row of a run: expected objects"):
    curves.read_curves(tmp_path)


def test_a_row_that_is_none_of_the_run_is_passed_over(run, tmp_path):
  text = (run / METRICS_FILE).read_text()
  (tmp_path / METRICS_FILE).write_text('[7]\n{"step": 1}\n' + text)
  assert curves.read_curves(tmp_path) == curves.read_curves(run)


def test_one_row_has_nothing_to_find(tmp_path):
  data = store(tmp_path, [next(listings())])
  with pytest.raises(UserError, match="none of 1 queries has another item"):
    item_jax.report(data, "test", {})


def test_two_rows_of_one_product_make_a_page(tmp_path):
  data = store(tmp_path, [*listings()][:2])
  held = Page(item_jax.report(data, "test", {}, bootstrap=20).to_page())
  assert page_neighbours(held) == {
    (row, name): [(1 - row, True)]
    for row in (0, 1)
    for name in ("tfidf", "thumbnail")
  }
  assert any("No run was given" in text for text in held.text)


def test_without_jinja2_the_extra_is_named(report, monkeypatch):
  monkeypatch.setitem(sys.modules, "jinja2", None)
  with pytest.raises(UserError, match=r"jinja2: .*\[report\]"):
    report.to_page()

"""The public interface: what a notebook does, step by step."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exports import write_export

import item_jax
from item_jax.inference import inputs

TINY = Path(__file__).parent / "helpers" / "tiny_run.py"


@pytest.fixture(scope="module")
def dataset(tiny_data) -> item_jax.Dataset:
  return item_jax.open_dataset(tiny_data)


@pytest.fixture(scope="module")
def workdir(tiny_data, tmp_path_factory) -> Path:
  folder = tmp_path_factory.mktemp("api") / "run"
  config = item_jax.load_config(f"{TINY}:short", data__path=tiny_data)
  run = item_jax.train(config, folder)
  assert (run.step, Path(run.workdir)) == (8, folder)
  assert "both/recall@10" in run.metrics  # it is evaluated by default
  return folder


@pytest.fixture(scope="module")
def model(workdir) -> item_jax.Embedder:
  return item_jax.load(workdir)


@pytest.fixture(scope="module")
def exports(workdir, dataset) -> dict[str, item_jax.Export]:
  return {
    split: item_jax.export(
      workdir, data=dataset, split=split, out=workdir.parent / split
    )
    for split in ("train", "test")
  }


def test_each_name_is_there_and_nothing_else_is_promised():
  for name in item_jax.__all__:
    assert getattr(item_jax, name) is not None
  assert set(item_jax.__all__) <= set(dir(item_jax))
  assert sorted(item_jax._HOME) == item_jax.__all__ == sorted(item_jax.__all__)
  with pytest.raises(AttributeError, match="no attribute 'embeddings'"):
    item_jax.embeddings  # noqa: B018


def test_what_is_returned_shows_itself_in_a_notebook(model, exports):
  given = item_jax.Config, item_jax.UserError, item_jax.Preempted
  public = [getattr(item_jax, name) for name in item_jax.__all__]
  for one in public:
    if isinstance(one, type) and one not in given:
      assert hasattr(one, "_repr_html_"), one
  said = f"item, step {model.step}: vectors of {model.dims} values"
  assert repr(model) == said
  assert model._repr_html_() == f"<pre>{said}</pre>"
  test = exports["test"]
  assert test._repr_html_() == f"<pre>{test}</pre>"


def test_a_type_checker_sees_the_same_homes():
  tree = ast.parse(Path(item_jax.__file__).read_text())
  (block,) = [node for node in tree.body if isinstance(node, ast.If)]
  seen = {
    alias.name: node.module.removeprefix("item_jax.")
    for node in block.body
    for alias in node.names
  }
  assert seen == item_jax._HOME
  assert (Path(item_jax.__file__).parent / "py.typed").exists()


@pytest.mark.parametrize(
  ("use", "absent"),
  [
    ("dir(item_jax), item_jax.UserError", {"jax", "numpy"}),
    ("item_jax.score, item_jax.search, item_jax.open_export", {"jax"}),
    ("item_jax.fuse, item_jax.probe, item_jax.baselines", {"jax"}),
    ("item_jax.score, item_jax.fuse, item_jax.probe", {"sklearn", "pandas"}),
    ("item_jax.open_dataset, item_jax.load_config", {"jax"}),
  ],
)
def test_a_name_imports_what_it_needs(use, absent):
  code = f"import sys, item_jax; {use}; print({absent!r} & set(sys.modules))"
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout == "set()\n"


def test_a_config_is_read_and_overridden():
  config = item_jax.load_config(
    f"{TINY}:clip", steps=7, optim__lr=3e-4, data__path="d", task="contrastive"
  )
  assert (config.steps, config.optim.lr) == (7, 3e-4)
  assert config.model.name == "clip"
  named = item_jax.load_config("item_tiny", steps=9)
  assert isinstance(named, item_jax.Config)
  assert named.steps == 9
  with pytest.raises(item_jax.UserError, match=r"no such option: optim\.speed"):
    item_jax.load_config(TINY, optim__speed=1)
  with pytest.raises(item_jax.UserError, match="nowhere"):
    item_jax.load_config("nowhere")


def test_a_split_is_embedded_as_its_export(model, dataset, exports):
  export = exports["test"]
  vectors = model.embed_split(dataset, "test", batch_size=16)
  np.testing.assert_allclose(vectors, export.vectors, atol=1e-5)
  assert len(export) == dataset.sizes["test"] == export.meta["rows"]
  frame = export.to_frame()
  assert frame["id"].tolist() == export.items.ids
  listings = list(dataset.source("test"))[:3]
  by_title = model.embed(titles=[record.title for record in listings])
  split = model.embed_split(dataset, "test", modality="title")
  np.testing.assert_allclose(by_title, split[:3], atol=1e-5)
  with pytest.raises(item_jax.UserError, match="no split 'other'"):
    model.embed_split(dataset, "other")
  known = "modality='text': model.name='item' gives both, image, title"
  with pytest.raises(item_jax.UserError, match=known):
    model.embed_split(dataset, "test", modality="text")


def test_a_frame_of_an_export_holds_texts_as_they_are(tmp_path):
  rows = [
    {"id": f"00{n}", "product": "1e3", "category": "7", "title": f"0{n}.50"}
    for n in range(3)
  ]
  export = item_jax.open_export(write_export(tmp_path / "e", np.eye(3), rows))
  frame = export.to_frame()
  for name in ("id", "product", "category", "title"):
    assert frame[name].tolist() == [row[name] for row in rows]
  assert frame["has_image"].tolist() == [1, 1, 1]


def test_an_export_is_searched_scored_and_probed(exports):
  export = item_jax.open_export(exports["test"].path)
  found = item_jax.search(export.vectors, export.items.ids, k=3)
  assert found.rows_QK.shape == found.scores_QK.shape == (len(export), 3)
  frame = found.to_frame()
  assert len(frame) == 3 * len(export)
  scores = item_jax.score(export, k=(1, 10), bootstrap=20)
  again = item_jax.score(
    export.vectors, export.to_frame(), k=(1, 10), bootstrap=20
  )
  assert scores.to_dict() == again.to_dict()
  probe = item_jax.probe(exports["train"], None, export, bootstrap=0)
  assert set(probe.to_frame()["classifier"]) == {"knn", "logistic"}
  assert probe["knn"]["accuracy"] == probe.predictions["knn"].correct_Q.mean()
  assert "<table>" in probe._repr_html_()


def test_two_exports_are_fused_with_and_without_a_folder(exports, tmp_path):
  export = exports["test"]
  fused = item_jax.fuse(export, export, image_weight=0.5)
  assert fused.out is None
  assert fused.items == export.items
  written = item_jax.fuse(export.path, export.path, out=tmp_path / "fused")
  np.testing.assert_array_equal(written.vectors, fused.vectors)
  opened = item_jax.open_export(tmp_path / "fused")
  np.testing.assert_array_equal(opened.vectors, fused.vectors)
  assert item_jax.score(fused.vectors, fused.items).summary["queries"] > 0


def test_the_baselines_need_no_model(dataset, tiny_data):
  for baseline in (item_jax.baselines.tfidf, item_jax.baselines.thumbnail):
    scores = baseline(dataset, "test", k=10, bootstrap=0)
    assert isinstance(scores, item_jax.Scores)
    assert scores.to_dict() == baseline(tiny_data, k=10, bootstrap=0).to_dict()
    assert 0 < scores["recall@10"] <= 1


def test_a_library_prints_nothing(exports, capsys, workdir, dataset):
  item_jax.score(exports["test"], bootstrap=20)
  item_jax.export(workdir, data=dataset, split="test", out=exports["test"].path)
  item_jax.fuse(exports["test"], exports["test"])
  assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["catalogue.json", "meta.json"])
def test_a_run_does_not_begin_in_the_folder_of_another_command(name, tmp_path):
  (tmp_path / name).write_text("{}")
  with pytest.raises(item_jax.UserError, match="name another workdir"):
    item_jax.train(item_jax.Config(), tmp_path)
  assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
  ("file", "options", "message"),
  [
    ("nope.py", {}, r"no config file nope\.py$"),
    ("x/item_tiny.py", {}, r"file x/item_tiny\.py; there is /.*/item_tiny\.py"),
    ("item_tinny", {}, r"no config file .*item_tinny\.py"),
    ("item_tiny", {"optim__lrr": 1}, r"option: optim\.lrr; .*optim\.lr,"),
    ("item_align:big", {}, r"^config .*:big: 'big': sizes are base.*tiny$"),
    ("item_tiny", {"data": {"path": "D"}}, "^data is a group, .*: data.path,"),
  ],
)
def test_what_a_config_has_not_is_named(file, options, message):
  with pytest.raises(item_jax.UserError, match=message):
    item_jax.load_config(file, **options)


@pytest.mark.parametrize(
  ("options", "none"),
  [
    ({"data__path": None}, ", or give '' for none"),
    ({"steps": 9, "start_from": None}, ", or give '' for none"),
    ({"evaluators": None}, r", or give \(\) for none"),
    ({"optim__lr": None}, ""),
    ({"model__name": None}, ""),
  ],
)
def test_none_is_no_value_of_an_option(options, none):
  name = list(options)[-1]
  message = f"^{name}=None: leave it away for the config file's value{none}$"
  with pytest.raises(item_jax.UserError, match=message):
    item_jax.load_config("item_tiny", **options)
  if none:  # and what it says is taken
    given = () if "(" in none else ""
    item_jax.load_config("item_tiny", **options | {name: given})


@pytest.mark.parametrize("name", ["data__path", "start_from"])
def test_a_result_is_no_path_of_a_config(name, tiny_data):
  result = item_jax.open_dataset(tiny_data)
  with pytest.raises(
    item_jax.UserError, match=f"^{name}=<Dataset>: expected a path$"
  ):
    item_jax.load_config("item_tiny", **{name: result})
  config = item_jax.load_config("item_tiny", **{name: tiny_data})
  assert str(tiny_data) in (config.data.path, config.start_from)


@pytest.mark.parametrize("below", ["", "run"])
def test_a_workdir_is_no_file_and_lies_in_none(below, tmp_path):
  (tmp_path / "notes").write_text("mine")
  with pytest.raises(
    item_jax.UserError, match="notes is a file; expected a fo"
  ):
    item_jax.train(item_jax.Config(), tmp_path / "notes" / below)
  assert (tmp_path / "notes").read_text() == "mine"


@pytest.mark.parametrize("config", [None, "item_tiny"])
def test_a_config_is_no_name_of_one(config, tmp_path):
  with pytest.raises(item_jax.UserError, match=r"config=.*as load_config\("):
    item_jax.train(config, tmp_path / "run")
  assert not list(tmp_path.iterdir())


NOWHERE = {
  "data set": lambda path: item_jax.open_dataset(path),
  "catalogue": lambda path: item_jax.prepare(path, images=".", out="out"),
  "image folder": lambda path: item_jax.prepare(
    [{"title": "mug"}], images=path, out="out"
  ),
  "export": lambda path: item_jax.open_export(path),
  "vectors": lambda path: item_jax.score(path, {"id": ["a"], "product": ["p"]}),
  "items": lambda path: item_jax.score(np.eye(2), path),
  "run": lambda path: item_jax.load(path),
  "export's run": lambda path: item_jax.export(
    path, data=path, split="test", out="out"
  ),
  "run's data": lambda path: item_jax.train(
    item_jax.load_config(TINY, data__path=path), "out"
  ),
  "config": lambda path: item_jax.load_config(path.with_suffix(".py")),
  "config's name": lambda path: item_jax.load_config(path.name),
  "image": lambda path: [*inputs.listings([path], None)],
  "tokenizer": lambda path: item_jax.prepare(
    [{"title": "mug"}], tokenizer=path, out="out"
  ),
}


@pytest.mark.parametrize("what", NOWHERE)
def test_a_path_that_leads_nowhere_is_a_users_error(
  what, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(item_jax.UserError, match="nowhere") as raised:
    NOWHERE[what](tmp_path / "nowhere")
  assert isinstance(raised.value, FileNotFoundError)
  assert not list(tmp_path.iterdir())


TABLE = {"id": ["1", "2"], "product": ["p", "p"]}
NO_PATH = {
  "workdir=None": lambda: item_jax.load(None),
  "workdir=<Config>": lambda: item_jax.export(
    item_jax.Config(), data="data", split="test", out="out"
  ),
  "data=None": lambda: item_jax.report(None, "test", {}),
  "data=<dict>": lambda: item_jax.open_dataset({}),
  "export=None": lambda: item_jax.open_export(None),
  "train's workdir=None": lambda: item_jax.train(item_jax.Config(), None),
  "out=None": lambda: item_jax.prepare([{"title": "mug"}], out=None),
  "export's out=None": lambda: item_jax.export(
    "run", data="data", split="test", out=None
  ),
  "tokenizer=<int>": lambda: item_jax.prepare(
    [{"title": "mug"}], out="out", tokenizer=7
  ),
  "config=None": lambda: item_jax.load_config(None),
  "images=<list>": lambda: item_jax.prepare(
    [{"title": "mug"}], out="out", images=["photos"]
  ),
  "catalogue=<dict>": lambda: item_jax.prepare(
    ["a.csv", {"title": "mug"}], out="out", images="."
  ),
  "a folder's out=<int>": lambda: item_jax.fuse(
    (np.eye(2), TABLE), (np.eye(2), TABLE), out=5
  ),
}


@pytest.mark.parametrize("says", NO_PATH)
def test_what_is_no_path_is_a_users_error(says, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  argument = says.split()[-1]
  with pytest.raises(item_jax.UserError, match=f"^{argument}: expected a path"):
    NO_PATH[says]()
  assert not list(tmp_path.iterdir())


def test_what_stands_where_a_data_set_shall_be_is_a_users_error(tmp_path):
  (tmp_path / "out").mkdir()
  (tmp_path / "out" / "mine.txt").write_text("mine")
  for error in (item_jax.UserError, FileExistsError):
    with pytest.raises(error, match="already there"):
      item_jax.prepare([{"title": "mug"}], out=tmp_path / "out")


def test_neighbours_are_named_and_come_apart_in_two():
  vectors = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
  found = item_jax.search(vectors, ["a", "b", "<c>"], k=2, queries=[2, 0])
  rows_QK, scores_QK = found
  assert found[0] is rows_QK
  assert found[-1] is scores_QK
  assert len(found) == 2
  assert found["rows"] == rows_QK.tolist()
  np.testing.assert_array_equal(rows_QK, [[1, 0], [1, 2]])
  np.testing.assert_allclose(scores_QK, [[0.8, 0], [0.6, 0]], atol=1e-6)
  text = "2 queries, the 2 nearest of each\n<c>: b 0.800  a 0.000\na: b 0.600"
  assert str(found).startswith(text)
  assert "<td>&lt;c&gt;</td><td>b 0.800</td>" in found._repr_html_()
  assert found.to_frame().iloc[0].to_dict() == {
    "query": 0,
    "rank": 1,
    "row": 1,
    "score": pytest.approx(0.8),
    "query_id": "<c>",
    "id": "b",
  }
  many = item_jax.search(np.eye(11, dtype=np.float32), list("abcdefghijk"), k=1)
  assert str(many).endswith("\n...")
  assert len(many.rows()) == 11


def test_neighbours_are_json_where_there_are_no_more(tmp_path):
  found = item_jax.search(np.eye(2, dtype=np.float32), ["a", "b"], k=2)
  found.write_json(tmp_path / "near.json")
  text = (tmp_path / "near.json").read_text()
  # JSON has no Infinity, which Python writes and reads.
  read = json.loads(text, parse_constant=pytest.fail)
  assert read == {"rows": [[1, -1], [0, -1]], "scores": [[0, None]] * 2}


def test_search_wants_an_id_for_each_vector():
  vectors = np.eye(4, dtype=np.float32)
  with pytest.raises(item_jax.UserError, match="3 items"):
    item_jax.search(vectors, ["a", "b", "c"])
  with pytest.raises(item_jax.UserError, match="k=0"):
    item_jax.search(vectors, ["a", "b", "c", "d"], k=0)

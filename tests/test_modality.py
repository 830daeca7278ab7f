"""Which modality dominates a model: what it is shown, and what is looked at."""

import csv
import json
import zlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shell
import tiny
import tiny_run
import untrained

import item_jax
from item_jax.__main__ import main
from item_jax.data.records import open_dataset
from item_jax.data.tokenizer import load_tokenizer
from item_jax.errors import UserError
from item_jax.evaluation.derange import derange
from item_jax.evaluation.modality import score_views
from item_jax.evaluation.modality_table import VIEWS
from item_jax.inference import information, readable
from item_jax.inference.disturb import Reader, disturb, embed_views
from item_jax.inference.embedder import embed_unit
from item_jax.inference.modality_evaluator import ModalityEvaluator
from item_jax.objectives.base import Objective
from item_jax.training.setup import set_up

TOKENIZER = SimpleNamespace(sep=tiny.SEP, pad=tiny.PAD)


def random_unit(parts, size: int = 64) -> np.ndarray:
  """A direction for each of some bytes: the same for the same ones."""
  rows = [
    np.random.default_rng(zlib.crc32(part.tobytes())).normal(size=size)
    for part in parts
  ]
  return np.array(rows) / np.linalg.norm(rows, axis=1, keepdims=True)


def planted(image_weight: float):
  """Embeds by the image's bytes and the title's, in these shares."""

  def embed(batch):
    image_BD = random_unit(batch.image_BHWC) * batch.has_image_B[:, None]
    title_BD = random_unit(batch.tokens_BT) * batch.has_title_B[:, None]
    joined_BD = np.concatenate(
      [image_weight**0.5 * image_BD, (1 - image_weight) ** 0.5 * title_BD], 1
    )
    empty_B1 = ~joined_BD.any(1, keepdims=True)
    return np.where(empty_B1, -1.0, joined_BD).astype(np.float32)

  return embed


def reader_of(data, split="test", batch_size=16) -> Reader:
  return Reader(
    open_dataset(data), split, load_tokenizer(data), 16, 12, batch_size
  )


@pytest.fixture(scope="module")
def halves(tiny_data, tmp_path_factory):
  """The tiny catalogue with half of its products in the split test."""
  catalogue = tiny_data.parent / "catalogue"
  with (catalogue / "products.csv").open(newline="") as file:
    rows = list(csv.DictReader(file))
  for row in rows:
    train = int(row["product_id"].removeprefix("P")) % 2
    row["split"] = "train" if train else "test"
  out = tmp_path_factory.mktemp("modality") / "data"
  item_jax.prepare(
    rows,
    images=catalogue,
    out=out,
    tokenizer=tiny_data / "tokenizer.json",
    workers=1,
  )
  return out


@pytest.fixture(scope="module")
def run(halves):
  return untrained.write(halves.parent / "run", halves)


@pytest.mark.parametrize(
  ("image_weight", "expected"), [(0.0, 1.0), (1.0, -1.0), (0.5, 0.0)]
)
def test_the_balance_of_an_embedder_that_copies(halves, image_weight, expected):
  reader = reader_of(halves)
  rows = range(reader.dataset.sizes["test"])
  embedded, same = embed_views(planted(image_weight), reader, rows)
  found = score_views(embedded, bootstrap=200)
  assert same == 0
  assert found.counts["listings"] == len(rows)
  low, high = found.balance["interval"]
  assert low - 1e-6 <= expected <= high + 1e-6
  cosine = {name: view["cosine"]["value"] for name, view in found.views.items()}
  if image_weight == 0:
    assert found.balance["value"] == 1
    assert cosine["other_image"] == cosine["blank_image"] == pytest.approx(1)
    assert cosine["image"] < 0.1  # nothing is left
  elif image_weight == 1:
    assert found.balance["value"] == -1
    assert cosine["other_title"] == cosine["empty_title"] == pytest.approx(1)
  else:
    # Half of it is as it was, and the other half at random to it.
    for view in ("other_title", "other_image", "blank_image", "empty_title"):
      assert cosine[view] == pytest.approx(0.5, abs=0.05)
    assert cosine["image"] == pytest.approx(0.5**0.5, abs=1e-6)


def test_a_view_does_not_depend_on_batches(halves):
  one, _ = embed_views(planted(0.5), reader_of(halves), range(20))
  other, _ = embed_views(
    planted(0.5), reader_of(halves, batch_size=7), range(20)
  )
  for view in one.views:
    np.testing.assert_array_equal(one.views[view], other.views[view])
  np.testing.assert_array_equal(one.both_ND, other.both_ND)


def test_views_by_hand():
  batch, donor = tiny.make_batch(4), tiny.make_batch(4, seed=1)
  made = {view: disturb(batch, donor, view, TOKENIZER) for view in VIEWS}
  same = {
    view: tuple(
      np.array_equal(getattr(one, name), getattr(batch, name))
      for name in ("image_BHWC", "tokens_BT", "has_image_B", "has_title_B")
    )
    for view, one in made.items()
  }
  assert same == {
    "both": (True, True, True, True),
    "image": (True, True, True, False),
    "title": (True, True, False, True),
    "other_title": (True, False, True, True),
    "other_image": (False, True, True, True),
    "blank_image": (False, True, True, True),
    "empty_title": (True, False, True, True),
  }
  assert (made["other_title"].tokens_BT == donor.tokens_BT).all()
  assert (made["other_image"].image_BHWC == donor.image_BHWC).all()
  assert (made["blank_image"].image_BHWC == 127).all()
  assert (made["empty_title"].tokens_BT == [tiny.SEP] + [tiny.PAD] * 7).all()
  assert not made["image"].has_title_B.any()
  with pytest.raises(ValueError, match="view 'upside'; expected one of both"):
    disturb(batch, donor, "upside", TOKENIZER)


@pytest.fixture(scope="module")
def one_sided(tiny_data, tmp_path_factory):
  """Six products of two listings; some lack the image, or the title."""
  folder = tmp_path_factory.mktemp("one_sided")
  images = sorted((tiny_data.parent / "catalogue" / "images").glob("*.jpg"))
  rows = [
    {
      "listing_id": f"l{n}",
      "product_id": f"p{n // 2}",
      "image": "" if n in (1, 4) else images[n].name,
      "title": "" if n == 2 else f"title number {n}",
      "split": "test",
    }
    for n in range(12)
  ]
  item_jax.prepare(
    rows,
    images=images[0].parent,
    out=folder / "data",
    tokenizer=tiny_data / "tokenizer.json",
    workers=1,
  )
  return folder / "data"


def test_listings_of_one_side_stay_in_the_index(one_sided):
  embedded, _ = embed_views(planted(0.5), reader_of(one_sided), range(12))
  assert embedded.rows_M.tolist() == [0, 3, *range(5, 12)]
  found = score_views(embedded, bootstrap=0)
  assert found.counts["rows"] == 12
  assert found.counts["queries"] == 9
  assert embedded.words_M.tolist() == [3] * 9


def test_one_listing_has_nobody_to_exchange_with(one_sided):
  with pytest.raises(UserError, match="a title: 1, of 1 products; to give"):
    embed_views(planted(0.5), reader_of(one_sided), [0])
  with pytest.raises(UserError, match="a title: 0, of 0 products; to give"):
    embed_views(planted(0.5), reader_of(one_sided), [1, 2])


def kept_outputs(model, params, batch):
  """What each layer's attention gives, and its values."""
  _, kept = model.apply(
    {"params": params},
    batch,
    method="encode",
    mutable=["intermediates"],
    capture_intermediates=lambda m, _: m.name in ("qkv", "attention"),
  )
  return kept["intermediates"]["encoder"]


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_attention_is_what_the_layers_compute(norm):
  model = tiny.make_model(norm=norm)
  batch, params = tiny.make_batch(4), tiny.init(model)
  batch.has_image_B[1] = batch.has_title_B[2] = False
  weights = np.asarray(information.cls_attention(model, params, batch))
  assert weights.shape == (4, 2, 2, 1 + tiny.N + tiny.PLACES)
  np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-5)
  # Nothing where nothing is; something wherever something is.
  real_BT = (batch.tokens_BT != tiny.PAD) & batch.has_title_B[:, None]
  real_BN = np.repeat(batch.has_image_B[:, None], tiny.N, axis=1)
  real_BS = np.concatenate([np.ones((4, 1), bool), real_BN, real_BT], axis=1)
  assert ((weights > 0) == real_BS[:, None, None]).all()
  # With the layer's values and its last product it is the layer's own output.
  for layer in range(2):
    kept = kept_outputs(model, params, batch)[f"layer_{layer}"]["attention"]
    value = kept["qkv"]["__call__"][0][2]
    out = params["encoder"][f"layer_{layer}"]["attention"]["out"]
    for row in (0, 2, 3):  # of row 1 the positions are in another order
      mixed = np.einsum("hs,shd->hd", weights[row, layer], value[row])
      given = np.einsum("hd,hde->e", mixed, out["kernel"]) + out["bias"]
      np.testing.assert_allclose(
        given, kept["__call__"][0][row, 0], rtol=1e-4, atol=1e-5
      )


def test_attention_without_an_image_is_that_of_the_title_alone():
  model = tiny.make_model()
  batch, params = tiny.make_batch(4), tiny.init(model)
  batch.has_image_B[:] = False
  found = information.cls_attention(model, params, batch)
  # Whatever stands for the image that is not there.
  other = batch._replace(image_BHWC=255 - batch.image_BHWC)
  again = information.cls_attention(model, params, other)
  np.testing.assert_array_equal(found, again)
  tokens_B = (batch.tokens_BT != tiny.PAD).sum(1)
  for row in range(4):
    title = np.asarray(found[row, ..., 1 + tiny.N :])
    assert (title[..., : tokens_B[row]] > 0).all()
    assert (title[..., tokens_B[row] :] == 0).all()


def test_equal_attention_is_the_share_of_positions():
  """Queries and keys of zero attend to all real positions alike."""
  model = tiny.make_model()
  params = jax.device_get(tiny.init(model))
  for layer in ("layer_0", "layer_1"):
    qkv = params["encoder"][layer]["attention"]["qkv"]
    qkv["kernel"] = np.zeros_like(qkv["kernel"])
    qkv["bias"] = np.zeros_like(qkv["bias"])
  # 16 patches and 4 tokens (with [SEP]); of the last row, 2, does not count.
  batch = tiny.make_batch(3, lengths=[3, 3, 1])
  task = SimpleNamespace(network=SimpleNamespace(module=model))
  lines = information.attention_lines(task, params, [(batch, 2)])
  assert [line["layer"] for line in lines] == [1, 2, "positions"]
  for line in lines:
    assert line["[CLS]"] == pytest.approx(1 / 21)
    assert line["patches"] == pytest.approx(16 / 21)
    assert line["tokens"] == pytest.approx(4 / 21)
    assert line["title_share"] == pytest.approx(0.2)


def planted_objective(model, weights) -> Objective:
  """Losses that are sums of the inputs themselves."""

  def total(params, batch, method):
    return model.apply({"params": params}, batch, method=method)

  def totals(params, batch, key):
    image = model.apply({"params": params}, batch, None, method="_patches")
    title = model.apply({"params": params}, batch, method="_title")
    found = {"image": image.sum(), "title": title.sum()}
    return found | {"mix": image.sum() + 3 * title.sum(), "none": 0.0}, {}

  return Objective(
    corrupt=lambda root, step, batch: batch,
    counts=lambda batch: dict.fromkeys(
      ("image", "title", "mix", "none"), jnp.float32(len(batch.tokens_BT))
    ),
    totals=totals,
    weights=weights,
  )


def test_gradient_shares_of_losses_that_are_known():
  """The gradient of a sum times its input is the input."""
  model = tiny.make_model()
  params, batch = tiny.init(model), tiny.make_batch(4)
  weights = {"image": 2.0, "title": 1.0, "mix": 0.0, "none": 1.0}
  objective = planted_objective(model, weights | {"mix": 0.5})
  task = SimpleNamespace(
    network=SimpleNamespace(module=model), objective=objective
  )
  found = information.gradient_lines(task, params, [(batch, 3)], seed=0)
  x = {
    name: np.asarray(model.apply({"params": params}, *given, method=method))
    for name, method, given in (
      ("image", "_patches", (batch, None)),
      ("title", "_title", (batch,)),
    )
  }
  length = {name: np.sqrt((x[name][:3] ** 2).sum((1, 2))).mean() for name in x}
  lines = {line["objective"]: line for line in found}
  assert list(lines) == ["image", "title", "mix", "none", "loss"]
  assert lines["image"]["image"] == pytest.approx(length["image"], rel=1e-5)
  assert lines["image"]["title_share"] == 0
  assert lines["title"]["title"] == pytest.approx(length["title"], rel=1e-5)
  assert lines["title"]["title_share"] == 1
  mixed = 3 * length["title"]
  assert lines["mix"]["title_share"] == pytest.approx(
    mixed / (mixed + length["image"]), rel=1e-5
  )
  assert lines["none"]["title_share"] is None
  # 2 x image + title + 0.5 x mix.
  assert lines["loss"]["image"] == pytest.approx(
    2.5 * length["image"], rel=1e-5
  )
  assert lines["loss"]["title"] == pytest.approx(
    2.5 * length["title"], rel=1e-5
  )
  task.objective = planted_objective(model, weights)
  found = information.gradient_lines(task, params, [(batch, 3)], seed=0)
  assert "mix" not in [line["objective"] for line in found]


def test_the_five_losses_pull_at_what_is_there():
  model = tiny.make_model()
  params, batch = tiny.init(model), tiny.make_batch(4)
  batch.has_image_B[:2] = False
  task = SimpleNamespace(
    network=SimpleNamespace(module=model),
    objective=tiny.make_objective(model),
  )
  lines = information.gradient_lines(task, params, [(batch, 2)], seed=0)
  assert [x["objective"] for x in lines] == [
    *("itm", "mlm", "mim", "gmlm", "gmim"),
    "loss",
  ]
  # The rows that count have titles only.
  assert {x["title_share"] for x in lines if x["title_share"] is not None} == {
    1
  }
  whole = tiny.make_batch(4)
  lines = information.gradient_lines(task, params, [(whole, 4)], seed=0)
  for line in lines:
    assert 0 < line["title_share"] < 1, line


def test_what_trains_is_not_changed_by_looking():
  model = tiny.make_model()
  params, batch = tiny.init(model), tiny.make_batch(4)
  objective = tiny.make_objective(model)
  view = objective.corrupt(jax.random.key(0), 0, batch)

  def lowered():
    def loss(params):
      return objective.totals(params, view, jax.random.key(1))[0]["mlm"]

    return jax.jit(jax.grad(loss)).lower(params).as_text()

  before = lowered()
  task = SimpleNamespace(
    network=SimpleNamespace(module=model), objective=objective
  )
  information.attention_lines(task, params, [(batch, 4)])
  information.gradient_lines(task, params, [(batch, 4)], seed=0)
  assert lowered() == before


@pytest.fixture(scope="module")
def measured(run, halves):
  return item_jax.modality(run, data=halves, bootstrap=20, seed=1)


def test_a_model_is_measured(run, halves, measured):
  found = measured
  assert isinstance(found, item_jax.Modality)
  assert found.counts["split"] == "test"
  assert found.counts["step"] == 1
  assert -1 <= found.balance["value"] <= 1
  # As the model's own embeddings say it.
  model = item_jax.load(run)
  split = {
    side: model.embed_split(halves, modality=side) for side in ("both", "image")
  }
  cosine = (split["both"] * split["image"]).sum(1).mean()
  assert found.views["image"]["cosine"]["value"] == pytest.approx(
    cosine, abs=1e-5
  )
  scores = item_jax.score(
    split["both"],
    {
      "id": [r.listing_id for r in open_dataset(halves).source("test")],
      "product": [r.product_id for r in open_dataset(halves).source("test")],
    },
    bootstrap=0,
  )
  for name in ("recall@10", "map@10"):
    both = found.views["both"][name]["value"]
    assert both == pytest.approx(scores[name], abs=1e-6)
  assert len(found.attention) == 2  # a layer, and positions
  for line in found.attention:
    total = line["[CLS]"] + line["patches"] + line["tokens"]
    assert total == pytest.approx(1)
  assert {x["objective"] for x in found.gradients} == {
    *("itm", "mlm", "mim", "gmlm", "gmim"),
    "loss",
  }
  assert found.readable == []
  assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


def test_the_command_says_and_writes_it(run, halves, tmp_path, measured):
  out = tmp_path / "modality.json"
  output = shell.run(
    *("modality", f"--workdir={run}", f"--data={halves}"),
    *("--bootstrap=20", "--seed=1", f"--json={out}"),
  )
  for said in (
    "split test, step 1",
    "from -1 (only the image moves an embedding)",
    "another's title",
    "by leaf category",
    "by title length",
    "attention of [CLS]",
    "gradient of each objective",
  ):
    assert said in output
  written = json.loads(out.read_text())
  assert written.keys() == measured.to_dict().keys()
  assert written["counts"] == measured.counts


def test_what_cannot_be_measured_is_said(run, halves, tmp_path):
  for options, said in (
    ({"limit": 1}, "limit=1: expected 2"),
    ({"batch_size": 0}, "batch_size=0"),
    ({"split": "other"}, "no split 'other'"),
    ({"split": ["test"]}, r"no split \['test'\]"),
    ({"step": 7}, "no checkpoint 7; it has"),
    ({"data": tmp_path / "nowhere"}, "nowhere"),
    ({"data": None}, "names no data: give --data"),
    ({"labels": ["t.csv"]}, "labels 't.csv': expected FILE:COLUMN"),
    ({"labels": [f"{tmp_path}/t.csv:size"]}, "there is no such file"),
  ):
    with pytest.raises(UserError, match=said):
      item_jax.modality(run, **({"data": halves} | options))


def test_a_model_of_one_modality_is_refused(halves, tmp_path):
  run = untrained.write(tmp_path / "run", halves, "roberta")
  with pytest.raises(UserError, match="'roberta' sees the title only"):
    item_jax.modality(run, data=halves)


def test_a_model_of_two_towers_has_no_cls_to_follow(halves, tmp_path):
  run = untrained.write(tmp_path / "run", halves, "clip")
  found = item_jax.modality(run, data=halves, bootstrap=0, limit=40)
  assert 30 < found.counts["rows"] <= 40  # whole products
  assert found.attention == found.gradients == []
  assert "attention and gradients do not apply" in found.notes[-1]
  # cos = .5 cos(image) + .5 cos(title): what is left after an exchange.
  assert found.views["image"]["cosine"]["value"] == pytest.approx(
    0.5**0.5, abs=1e-5
  )


def test_labels_are_read(tmp_path):
  file = tmp_path / "t.csv"
  file.write_text("listing_id,product,size,Frame  Colour\na,p,1,red\nb,p,2,\n")
  size, colour = readable.read_labels([f"{file}:size", f"{file}:Frame Colour"])
  assert size.of == {"a": "1", "b": "2"}
  assert (size.label("b", "p"), size.label("c", "p")) == ("2", "")
  assert colour.label("b", "p") == ""
  file.write_text("product,size\np,1\np,1\nq,2\n")
  (size,) = readable.read_labels([f"{file}:size"])
  assert (size.label("a", "q"), size.label("a", "r")) == ("2", "")


@pytest.mark.parametrize(
  ("text", "column", "said"),
  [
    ("product,size\np,1\np,2\n", "size", "row 1: size of product 'p' is '2'"),
    ("name,size\np,1\n", "size", "no column of id, listing_id, product"),
    ("product,size\np,1\n", "weight", "expected one column weight"),
  ],
)
def test_labels_that_are_none_are_named(tmp_path, text, column, said):
  file = tmp_path / "t.csv"
  file.write_text(text)
  with pytest.raises(UserError, match=said):
    readable.read_labels([f"{file}:{column}"])
  file.write_text("product,size\np,1\n")
  with pytest.raises(UserError, match="'size' is given already"):
    readable.read_labels([f"{file}:size"] * 2)


def test_what_titles_say_is_read_from_what_copies_titles(tiny_data, halves):
  """Of an embedder that counts a title's tokens and sees no image."""

  def embed(batch):
    counts_BV = np.zeros((len(batch.tokens_BT), 300), np.float32)
    for row, tokens_T in enumerate(batch.tokens_BT):
      if batch.has_title_B[row]:
        np.add.at(counts_BV[row], tokens_T, 1)
    counts_BV[:, 0] = 0.1  # never without direction
    return counts_BV

  config = SimpleNamespace(data=SimpleNamespace(train_split="train"))
  embedder = SimpleNamespace(
    run=SimpleNamespace(config=config), embed_batch=embed
  )
  reader = reader_of(halves)
  embedded, _ = embed_views(embed, reader, range(reader.dataset.sizes["test"]))
  table = tiny_data.parent / "catalogue" / "attributes.csv"
  asked = readable.read_labels([f"{table}:kind", f"{table}:form"])
  rows = range(reader.dataset.sizes["test"])
  learning = readable.check(asked, embedder, reader, rows)
  lines = readable.read(
    *(embedder, reader, embedded, asked, learning), bootstrap=20, seed=0
  )
  kind, form = lines
  assert (kind["column"], form["column"]) == ("kind", "form")
  assert kind["both"] == kind["title"] > kind["image"] + 0.2
  low, high = kind["title interval"]
  assert low <= kind["title"] <= high
  # Only images show the form: nothing in a title says it.
  assert kind["title"] - kind["largest"] > form["title"] - form["largest"]
  with pytest.raises(UserError, match="learnt from the split 'train'"):
    readable.check(asked, embedder, reader_of(halves, "train"), rows)
  train = reader.dataset.source("train")
  learnt = {train[n].listing_id: "x" for n in range(len(train))}
  source = reader.dataset.source("test")
  scored = {source[n].listing_id: "y" for n in rows}
  of_two = dict(zip(learnt, "ab" * len(learnt), strict=False))
  for of, said in (
    (scored, "has 0 labels of the .* and 0 of the"),
    (learnt | scored, "has 1 labels of the .* and 0 of the"),
    (of_two | scored, "has 2 labels of the .* and 0 of the"),
  ):
    with pytest.raises(UserError, match=f"column 'form' of .* {said}"):
      readable.check(
        [readable.Labels("form", of, False)], embedder, reader, rows
      )


def test_the_evaluator_measures_the_same(halves):
  config = tiny_run.get_config("short")
  config.data.path, config.data.val_split = str(halves), "test"
  config.steps = 0  # no step is compiled
  config.model.init_std = 0.5  # that sides differ by more than rounding
  config.evaluators = ("retrieval", "modality")
  setup = set_up(config, None)
  params = setup.initialise().params
  found = ModalityEvaluator(setup)(params, setup)
  assert set(found) == set(ModalityEvaluator.names(setup.task))
  records = list(setup.store.source("test"))
  donors = derange([record.product_id for record in records], seed=0)
  reader = reader_of(halves)
  (batch,) = reader._replace(batch_size=len(records)).batches(
    range(len(records))
  )
  host = jax.device_get(params)

  def embed(batch):
    return embed_unit(setup.task, host, batch, modality="both")

  own = embed(batch)
  moves = {}
  for view, name in (
    ("other_title", "tokens_BT"),
    ("other_image", "image_BHWC"),
  ):
    given = getattr(batch, name)[donors]
    cosine = (own * embed(batch._replace(**{name: given}))).sum(-1).mean()
    assert found[f"modality/{view}"] == pytest.approx(float(cosine), abs=1e-5)
    moves[view] = 1 - float(cosine)
  expected = (moves["other_title"] - moves["other_image"]) / sum(moves.values())
  assert found["modality/balance"] == pytest.approx(expected, abs=1e-3)


def test_the_evaluator_has_nothing_to_say_of_one_modality():
  task = SimpleNamespace(modality="title")
  assert ModalityEvaluator.names(task) == []
  config = tiny_run.get_config("roberta")
  setup = SimpleNamespace(config=config, task=task)
  assert ModalityEvaluator(setup)({}, setup) == {}


def test_the_evaluator_is_off_by_default():
  assert item_jax.Config().evaluators == ("retrieval",)


def test_fewer_than_no_categories_are_refused(tmp_path):
  with pytest.raises(UserError, match=r"largest=-1: expected 0 or more"):
    item_jax.modality(tmp_path, largest=-1)


def test_a_folder_is_no_name_for_the_result(tmp_path, capsys):
  """It is refused before the work, whose result would be lost."""
  flags = ["--workdir", str(tmp_path), f"--json={tmp_path}"]
  assert main(["modality", *flags]) == 2
  assert "is a folder already" in capsys.readouterr().err

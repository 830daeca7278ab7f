"""What a report shows of a model is what the model computes."""

import dataclasses
import json
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import tiny
import tiny_run
import untrained
from pages import Page

import item_jax
from item_jax.__main__ import main
from item_jax.batch import Batch
from item_jax.config import Loss, Mask
from item_jax.data.records import open_dataset
from item_jax.evaluation.explanation import (
  Attention,
  Explained,
  Explanation,
  MaskedToken,
)
from item_jax.evaluation.page import inside, pictures
from item_jax.inference import explain, information
from item_jax.models import patches
from item_jax.models.passes import EncoderPass
from item_jax.models.stem import Stem
from item_jax.objectives import item, losses


@pytest.fixture(scope="module")
def run(tiny_data, tmp_path_factory):
  return untrained.write(tmp_path_factory.mktemp("explain") / "run", tiny_data)


@pytest.fixture(scope="module")
def embedder(run):
  return item_jax.load(run)


@pytest.fixture(scope="module")
def found(run, tiny_data):
  return item_jax.explain(run, data=tiny_data, count=5, seed=3)


def batch_of(embedder, data, rows):
  reader = explain.open_reader(embedder, "run", data, "test", len(rows))
  return next(iter(reader.batches(rows)))


def test_listings_are_drawn_by_seed_and_read_as_they_are(run, tiny_data, found):
  rows = [one.row for one in found.listings]
  assert len(set(rows)) == 5
  for seed in (3, 4):
    again = item_jax.explain(run, data=tiny_data, count=5, seed=seed)
    assert ([x.row for x in again.listings] == rows) == (seed == 3)
  source = open_dataset(tiny_data).source("test")
  for one in found.listings:
    record = source[one.row]
    assert (one.id, one.title) == (record.listing_id, record.title)
    assert one.tokens[-1] == "[SEP]"


def test_attention_is_that_of_the_layers_and_sums_to_one(
  embedder, tiny_data, found
):
  batch = batch_of(embedder, tiny_data, [x.row for x in found.listings])
  module = embedder.task.network.module
  weights_BLHS = np.asarray(
    information.cls_attention(module, embedder.params, batch)
  )[:5]  # as many rows were read as eight devices take
  N = module.num_patches
  for one, weights_LHS in zip(found.listings, weights_BLHS, strict=True):
    assert list(one.attention) == ["last layer", "mean of layers"]
    for layers, got in one.attention.items():
      total = got.cls + got.patches_N.sum() + got.tokens_T.sum()
      assert total == pytest.approx(1, abs=1e-5)
      assert got.patches_N.shape == (N,)
      assert len(got.tokens_T) == len(one.tokens)
      want_S = weights_LHS.mean(1)
      want_S = want_S[-1] if layers == "last layer" else want_S.mean(0)
      np.testing.assert_allclose(got.patches_N, want_S[1 : 1 + N], atol=1e-5)
      np.testing.assert_allclose(
        got.tokens_T, want_S[1 + N : 1 + N + len(one.tokens)], atol=1e-5
      )


@pytest.fixture(scope="module")
def recovered(embedder, tiny_data, found):
  read = batch_of(embedder, tiny_data, [x.row for x in found.listings])
  batch = Batch(*(x[:5] for x in read))
  return batch, explain.recover(embedder, batch, seed=3)


def test_what_is_recovered_is_what_the_objectives_predict(
  embedder, found, recovered
):
  batch, got = recovered
  config, task = embedder.config, embedder.task
  model = tiny.with_encoder(task.network.module, dropout=0.0)
  objective = item.make_losses(model, config.mask, config.loss, task.vocabulary)
  totals, _ = objective.totals(embedder.params, got.view, jax.random.key(0))
  assert got.view.is_match_B.all()  # nobody has another's title
  targets_BNP = np.asarray(
    patches.to_patches(batch.image_BHWC / 127.5 - 1, model.patch)
  )
  masked = got.view.masked_patches
  targets_BKP = np.take_along_axis(
    targets_BNP, masked.positions_BK[..., None], axis=1
  )
  for name in ("mim", "gmim"):
    predicted_BKP = getattr(got.predictions, f"{name}_BKP")
    error = np.square(predicted_BKP - targets_BKP).mean(-1).sum()
    assert error == pytest.approx(float(totals[name]), rel=1e-4)
    for place, one in enumerate(found.listings):
      drawn_KP = patches.to_patches(one.pictures[name][None], model.patch)[
        0, masked.positions_BK[place]
      ]
      np.testing.assert_allclose(
        drawn_KP,
        np.clip((predicted_BKP[place] + 1) * 127.5, 0, 255),
        atol=0.51,
      )
  right = dict.fromkeys(("mlm", "gmlm"), 0)
  for one in found.listings:
    assert one.masked_tokens
    for token in one.masked_tokens:
      assert token.token == one.tokens[token.position]
      for name, likeliest in token.predictions.items():
        right[name] += likeliest[0][0] == token.token
  assert right == {x: int(totals[f"{x}_accuracy"]) for x in right}


def test_probabilities_are_those_of_all_tokens(embedder, found, recovered):
  _, got = recovered
  names = embedder.tokenizer.ids()
  for place, one in enumerate(found.listings):
    positions_K = got.view.masked_tokens.positions_BK[place].tolist()
    for masked in one.masked_tokens:
      k = positions_K.index(masked.position)
      for name, likeliest in masked.predictions.items():
        p_V = jax.nn.softmax(getattr(got.predictions, f"{name}_BKV")[place, k])
        assert [p for _, p in likeliest] == pytest.approx(
          np.sort(p_V)[::-1][:5].tolist(), rel=1e-4
        )
        for token, p in likeliest:
          if token in names:  # not a row that no token has
            assert p == pytest.approx(float(p_V[names[token]]), rel=1e-4)


def test_what_is_not_masked_stays(embedder, found, recovered):
  batch, got = recovered
  patch = embedder.task.network.module.patch
  masked_BN = got.view.masked_patches.masked_BN
  for place, one in enumerate(found.listings):
    assert set(one.pictures) == {"masked", "mim", "gmim"}
    whole_NP, *drawn = (
      np.asarray(patches.to_patches(x[None], patch))[0]
      for x in (batch.image_BHWC[place], *one.pictures.values())
    )
    for drawn_NP in drawn:
      same_N = (drawn_NP == whole_NP).all(-1)
      np.testing.assert_array_equal(same_N, ~masked_BN[place])


@pytest.mark.parametrize("normalised", [False, True])
def test_who_predicts_the_targets_gets_the_image_back(normalised):
  model, loss = tiny.make_model(), Loss(normalise_patches=normalised)
  image_BHWC = tiny.make_batch(3).image_BHWC
  image_BHWC[0, :3, :3] = 255  # a patch without variance
  positions_BK = np.array([[0, 5], [15, 2], [7, 8]])
  view = SimpleNamespace(
    batch=SimpleNamespace(image_BHWC=image_BHWC),
    masked_patches=SimpleNamespace(positions_BK=positions_BK),
  )
  targets_BKP = np.take_along_axis(
    patches.to_patches(image_BHWC / np.float32(127.5) - 1, model.patch),
    positions_BK[..., None],
    axis=1,
  )
  if normalised:
    targets_BKP = losses.standardise_patches(targets_BKP)
  drawn = explain.paint(model, loss, view, targets_BKP)
  np.testing.assert_array_equal(drawn, image_BHWC)
  other = np.asarray(explain.paint(model, loss, view, targets_BKP - 0.5))
  changed_BNP = patches.to_patches(other != image_BHWC, model.patch)
  assert [np.flatnonzero(x.any(-1)).tolist() for x in changed_BNP] == [
    *([0, 5], [2, 15], [7, 8])
  ]


def test_objectives_without_a_weight_are_left_out(
  tiny_data, tmp_path, monkeypatch
):
  config = tiny_run.get_config()
  config.loss.gmim = config.loss.mlm = 0.0
  monkeypatch.setattr(tiny_run, "get_config", lambda variant: config)
  run = untrained.write(tmp_path / "run", tiny_data)
  found = item_jax.explain(run, data=tiny_data, count=2)
  assert found.notes == ["not trained, so not shown: mlm, gmim"]
  for one in found.listings:
    assert set(one.pictures) == {"masked", "mim"}
    assert {x for t in one.masked_tokens for x in t.predictions} == {"gmlm"}


def test_recovered_features_are_no_picture():
  def grid(params, batch):
    return patches.to_patches(batch.image_BHWC, 3).reshape(-1, 4, 4, 27)

  stem = Stem(lambda key: {"w": np.zeros(1)}, grid, 4, 27, EncoderPass)
  model = tiny.make_model(stem=stem, target="features")
  loss = Loss(mim_target="features")
  embedder = SimpleNamespace(
    task=SimpleNamespace(
      network=SimpleNamespace(module=model),
      objective=tiny.make_objective(model),
      vocabulary=tiny.Vocabulary(),
    ),
    config=SimpleNamespace(loss=loss, mask=Mask()),
    params=tiny.init(model),
  )
  got = explain.recover(embedder, tiny.make_batch(2))
  assert got.pictures == {}
  assert got.predictions.mim_BKP.shape[-1] == 27
  (note,) = explain._notes(loss, got)
  assert "features of the image stem, not pixels" in note


def test_other_networks_say_that_it_does_not_apply(tiny_data, tmp_path):
  run = untrained.write(tmp_path / "run", tiny_data, "clip")
  found = item_jax.explain(run, data=tiny_data)
  assert found.listings == []
  assert found.notes == [
    "in the network model.name='clip' no [CLS] reads image and title"
  ]


def test_products_alone_have_attention(tiny_data, tmp_path):
  run = untrained.write(tmp_path / "run", tiny_data, "products")
  found = item_jax.explain(run, data=tiny_data, count=1)
  (one,) = found.listings
  assert (one.pictures, one.masked_tokens) == ({}, [])
  assert one.attention["last layer"].cls > 0
  assert found.notes == ["not trained, so not shown: mlm, gmlm, mim, gmim"]


def test_the_lightest_patch_is_the_one_with_most_weight():
  image = np.full((4, 4, 3), 200, np.uint8)
  got = pictures.lit(image, np.array([0.2, 0.0, 0.1, 0.0]))
  assert got[::2, ::2, 0].tolist() == [[200, 50], [125, 50]]
  assert (pictures.lit(image, np.zeros(4)) == 50).all()


HOSTILE = "<img src=x onerror=alert(1)>"


def explained():
  image = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
  weights = Attention(0.2, np.array([0.4, 0.0, 0.1, 0.0]), np.array([0.2, 0.1]))
  likeliest = [(HOSTILE, 0.75), ("mug", 0.125)]
  one = Explained(
    7,
    "<i>",
    HOSTILE,
    [HOSTILE, "[SEP]"],
    image,
    {"last layer": weights},
    {"masked": image, "gmim": image},
    [MaskedToken(0, HOSTILE, "[MASK]", {"gmlm": likeliest})],
  )
  return Explanation("test", 40, [one], ["a note"])


def test_the_page_shows_what_it_is_given(tiny_data):
  report = item_jax.report(tiny_data, "test", {}, bootstrap=20)
  assert inside.gather(None) is None
  without = Page(report.to_page(examples=1))
  assert any("Nothing was asked of a model" in x for x in without.text)
  held = Page(report.to_page(examples=1, explained=explained()))
  text = " ".join(" ".join(held.text).split())
  assert "Checkpoint of step 40; 1 listings of the split 'test'" in text
  assert "a note" in text
  early = inside.to_html(dataclasses.replace(explained(), step=0))
  assert "Checkpoint of step 0, before any step of the run; 1 listings" in early
  assert "last layer: [CLS] 20%, image 50%, title 30%" in text
  assert f"{HOSTILE} 20.0%" in text
  assert "[SEP] 10.0%" in text
  assert f"1. {HOSTILE} [MASK] {HOSTILE} 0.75 \u2713, mug 0.12" in text
  shades = [x["style"] for x in held.all("span", **{"class": "token"})]
  assert shades == ["--shade: 1.000", "--shade: 0.500"]
  images = held.all("img")
  assert len(images) == 4
  assert all(x["src"].startswith("data:image/jpeg;base64,") for x in images)
  for name in ("as the model sees it", "attention, last layer", "masked"):
    assert name in text
  assert "recovered by GMIM, from [CLS]" in text
  assert "recovered by MIM" not in text


def test_a_notebook_shows_it_and_no_arrays():
  held = Page(explained()._repr_html_())
  text = " ".join(" ".join(held.text).split())
  assert f"last layer: [CLS] 20%, image 50%, title 30%; {HOSTILE} 20.0%" in text
  assert f"1. {HOSTILE} [MASK] {HOSTILE} 0.75 \u2713, mug 0.12" in text
  images = held.all("img")
  assert len(images) == 4
  assert all(x["src"].startswith("data:image/jpeg;base64,") for x in images)
  assert repr(explained()) == (
    "split test, step 40: 1 listings\n"
    f"<i>: {HOSTILE}; to the title: last layer 30%\n"
    "a note"
  )


def test_the_command_asks_the_run(run, tiny_data, tmp_path):
  (run / "metrics.jsonl").write_text(
    json.dumps({"step": 1, "kind": "train", "loss": 2.0}) + "\n"
  )
  file = tmp_path / "page.html"
  flags = [f"--data={tiny_data}", f"--html={file}", f"--run={run}"]
  assert main(["report", *flags, "--explain=2", "--examples=1"]) == 0
  held = Page(file.read_text("utf-8"))
  assert len(held.all("section", **{"class": "inside"})) == 2
  assert main(["report", *flags, "--explain=-1"]) == 2
  code = (
    "import sys; from item_jax.__main__ import main;"
    f"main({['report', *flags, '--explain=0', '--examples=1']});"
    "print('jax' in sys.modules)"
  )
  done = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert done.stdout.splitlines()[-1] == "False"
  held = Page(file.read_text("utf-8"))
  assert not held.all("section", **{"class": "inside"})


def test_a_model_of_another_tokenizer_is_refused_before_the_scores(
  run, tmp_path, capsys
):
  (run / "metrics.jsonl").write_text(
    json.dumps({"step": 1, "kind": "train", "loss": 2.0}) + "\n"
  )
  rows = [
    {"title": f"mug {n}", "product_id": f"{split} {n % 2}", "split": split}
    for split in ("train", "test")
    for n in range(4)
  ]
  item_jax.prepare(rows, out=tmp_path / "other", workers=1)
  flags = [f"--data={tmp_path / 'other'}", f"--html={tmp_path / 'page.html'}"]
  assert main(["report", *flags, f"--run={run}"]) == 2
  printed = capsys.readouterr()
  assert "was prepared with tokenizer" in printed.err
  assert "recall" not in printed.out
  assert main(["report", *flags, f"--run={run}", "--explain=0"]) == 0


def test_nothing_to_draw_is_said(tiny_data, run, tmp_path):
  with pytest.raises(
    item_jax.UserError, match="count=0: expected a whole number from 1"
  ):
    item_jax.explain(run, count=0)
  with pytest.raises(item_jax.UserError, match="no split 'other'"):
    item_jax.explain(run, data=tiny_data, split="other")
  with pytest.raises(item_jax.UserError, match="names no data: give --data"):
    item_jax.explain(run)
  item_jax.prepare(
    [{"title": f"mug {n}", "split": "test"} for n in range(3)],
    out=tmp_path / "titles",
    tokenizer=tiny_data / "tokenizer.json",
    workers=1,
  )
  found = item_jax.explain(run, data=tmp_path / "titles")
  assert found.listings == []
  assert found.notes == [
    "no listing of the split 'test' has an image and a title"
  ]

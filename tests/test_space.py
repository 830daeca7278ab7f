"""Pools and transforms: chosen on validation, kept with the export."""

import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny
import untrained

import item_jax
from item_jax.data.records import open_dataset
from item_jax.errors import UserError
from item_jax.evaluation import transform as transform_lib
from item_jax.evaluation.agreement import check_one_system
from item_jax.evaluation.sources import open_source
from item_jax.evaluation.transform import WHITEN, fit
from item_jax.files import CorruptError, read_checksummed
from item_jax.inference import export_shards, fit_space
from item_jax.inference.embed_parts import Work
from item_jax.inference.export import export
from item_jax.inference.unit import embed_unit
from item_jax.models import pooling


@pytest.fixture(scope="module")
def workdir(tiny_data, tmp_path_factory) -> Path:
  return untrained.write(tmp_path_factory.mktemp("space") / "run", tiny_data)


@pytest.fixture(scope="module")
def chosen(workdir, tiny_data, tmp_path_factory) -> Path:
  out = tmp_path_factory.mktemp("chosen") / "e"
  how = {"pool": "auto", "whiten": "auto"}
  export(workdir, data=tiny_data, split="val", out=out, **how)
  return out


def meta(folder: Path) -> dict:
  return read_checksummed(folder / "meta.json")


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_pools_are_means_of_what_is_there(norm):
  model = tiny.make_model(norm=norm)
  params = tiny.init(model)
  has_image = np.array([True, True, False, False] * 2)
  has_title = np.array([True, False, True, False] * 2)
  batch = tiny.make_batch()._replace(
    has_image_B=has_image, has_title_B=has_title
  )
  run = jax.jit(
    lambda b, how: model.apply({"params": params}, b, method=how),
    static_argnums=1,
  )
  got = {name: np.asarray(x) for name, x in run(batch, "pool").items()}
  assert tuple(sorted(got)) == tuple(sorted(pooling.POOLS))
  np.testing.assert_array_equal(got["cls"], run(batch, "embed"))
  states_BSD = np.asarray(tiny.states(model, params, batch))
  for row, states_SD in enumerate(states_BSD):
    length = (batch.tokens_BT[row] != tiny.PAD).sum() * has_title[row]
    cls_1D = states_SD[:1]
    patches_ND = states_SD[1 : 1 + tiny.N * has_image[row]]
    tokens_LD = states_SD[1 + tiny.N :][:length]
    zero_D = np.zeros(tiny.WIDTH)
    want = {
      "mean": np.concatenate([cls_1D, patches_ND, tokens_LD]).mean(0),
      "patches": (patches_ND if len(patches_ND) else cls_1D).mean(0),
      "tokens": (tokens_LD if len(tokens_LD) else cls_1D).mean(0),
      "concat": np.concatenate(
        [
          part.mean(0) / np.linalg.norm(part.mean(0)) if len(part) else zero_D
          for part in (cls_1D, patches_ND, tokens_LD)
        ]
      ),
    }
    for name, want_E in want.items():
      np.testing.assert_allclose(got[name][row], want_E, atol=1e-5)


def test_what_is_said_of_validation_is_what_its_export_scores(chosen):
  made = meta(chosen)["made"]
  # Every pool in every transform, and weights of the one that has parts.
  # Of weights too all that were tried, so that none is measured by the rows
  # that it was found by.
  shares = [one["shares"] for one in made["tried"] if one["shares"]]
  grid = len(pooling.POOLS) * len(transform_lib.GRID)
  assert len(made["tried"]) == grid + len(shares)
  assert [0.4, 0.3, 0.3] in shares  # where the search begins
  assert len(shares) > 4  # and what is near it
  taken = [
    one["map@10"]
    for one in made["tried"]
    if (one["pool"], one["dims"]) == (made["pool"], made["dims"])
  ]
  assert made["map@10"] in taken
  scores = item_jax.score(chosen, bootstrap=0)
  assert scores["map@10"] == pytest.approx(made["map@10"], abs=1e-3)
  assert made["as_trained"] == made["tried"][0]["map@10"]
  said = f"pool {made['pool']}, {made['transform']}: MAP@10 on validation"
  assert said in str(scores)
  assert str(scores).endswith(", of the modality both")


def test_the_report_says_what_was_chosen(chosen, tiny_data):
  from item_jax.evaluation.report import report

  found = str(report(tiny_data, "val", {"best": chosen}, bootstrap=10))
  about = meta(chosen)
  made = f"{about['workdir']} at step {about['step']}, {about['space']}"
  assert f"best: {made}" in found


def test_on_devices_it_is_what_numpy_computes(workdir, tiny_data, tmp_path):
  plain, white = tmp_path / "plain", tmp_path / "white"
  how = {"data": tiny_data, "modality": "title"}
  export(workdir, split="test", out=plain, **how)
  export(workdir, split="test", out=white, whiten="whiten", **how)
  export(workdir, split="train", out=tmp_path / "train", **how)
  train_ND = np.load(tmp_path / "train" / "embeddings.npy")
  want_NE = fit(train_ND, WHITEN).apply(np.load(plain / "embeddings.npy"))
  got_NE = np.load(white / "embeddings.npy")
  np.testing.assert_allclose(got_NE, want_NE, atol=1e-3)
  assert "space" not in meta(plain)
  assert "made" not in meta(plain)
  assert meta(white)["space"] == "pool cls, whitened to 32 dims, ridge 0.1"
  # Vectors of two spaces are those of two systems.
  with pytest.raises(UserError, match="different systems: checkpoint"):
    check_one_system(open_source(plain), open_source(white))


def test_the_same_vectors_from_python(workdir, tiny_data, chosen):
  embedder = item_jax.load(workdir, like=chosen)
  want_NE = np.load(chosen / "embeddings.npy")
  got_NE = embedder.embed_split(tiny_data, "val")
  np.testing.assert_allclose(got_NE, want_NE, atol=1e-4)
  nothing_NE = embedder.embed(titles=[])
  assert nothing_NE.shape == (0, want_NE.shape[1])
  titles = [r.title for r in open_dataset(tiny_data).source("val")][:3]
  one_NE = embedder.embed(titles=titles)
  by_title_NE = embedder.embed_split(tiny_data, "val", modality="title")
  np.testing.assert_allclose(one_NE, by_title_NE[:3], atol=1e-4)
  plain = item_jax.load(workdir)
  assert plain.embed(titles=titles).shape == (3, 32)


def test_like_another_export_is_of_its_system(
  workdir, tiny_data, chosen, tmp_path, monkeypatch
):
  monkeypatch.setattr(fit_space, "fit_space", None)  # nothing is learnt anew
  out = tmp_path / "e"
  export(workdir, data=tiny_data, split="test", out=out, like=chosen)
  check_one_system(open_source(chosen), open_source(out))
  assert meta(out)["space"] == meta(chosen)["space"]
  ours, theirs = (x / "transform.npz" for x in (out, chosen))
  assert ours.read_bytes() == theirs.read_bytes()
  again = item_jax.load(workdir, like=out).embed_split(tiny_data, "test")
  np.testing.assert_allclose(again, np.load(out / "embeddings.npy"), atol=1e-4)


def test_one_side_alone_is_centred_by_its_own_mean(
  workdir, tiny_data, tmp_path
):
  """Or a shop's image would be compared by what sets images apart."""
  how = {"data": tiny_data, "split": "train"}
  both, like = tmp_path / "both", tmp_path / "like"
  export(workdir, **how, out=both, whiten="centre")
  export(workdir, **how, out=like, like=both, modality="image")
  export(workdir, **how, out=tmp_path / "plain", modality="image")
  plain_ND = np.load(tmp_path / "plain" / "embeddings.npy")
  want_ND = transform_lib.unit(plain_ND - plain_ND.mean(axis=0))
  got_ND = np.load(like / "embeddings.npy")
  np.testing.assert_allclose(got_ND, want_ND, atol=1e-3)
  assert np.abs(np.load(both / "embeddings.npy") - got_ND).max() > 0.1


def test_like_an_export_as_trained_is_as_trained(workdir, tiny_data, tmp_path):
  a, b = tmp_path / "a", tmp_path / "b"
  export(workdir, data=tiny_data, split="test", out=a)
  export(workdir, data=tiny_data, split="test", out=b, like=a)
  for name in ("meta.json", "embeddings.npy"):
    assert (a / name).read_bytes() == (b / name).read_bytes()


def test_what_does_not_belong_together_is_refused(
  workdir, tiny_data, chosen, tmp_path
):
  other = untrained.write(tmp_path / "other", tiny_data, seed=7)
  with pytest.raises(UserError, match="other weights than"):
    item_jax.load(other, like=chosen)
  with pytest.raises(UserError, match="is of step 1, not of 0"):
    item_jax.load(workdir, like=chosen, step=0)
  how = {"data": tiny_data, "split": "test", "out": tmp_path / "e"}
  with pytest.raises(UserError, match="neither pool nor whiten"):
    export(workdir, **how, like=chosen, pool="cls")
  with pytest.raises(UserError, match=r"pool='best'.* has cls, mean, tokens"):
    export(workdir, **how, pool="best")
  with pytest.raises(UserError, match="whiten='yes': known are auto, none"):
    export(workdir, **how, whiten="yes")
  assert not (tmp_path / "e").exists()
  altered = tmp_path / "altered"
  shutil.copytree(chosen, altered)
  data = bytearray((altered / "transform.npz").read_bytes())
  data[-100] ^= 1
  (altered / "transform.npz").write_bytes(data)
  with pytest.raises(CorruptError, match=r"transform\.npz was altered"):
    item_jax.load(workdir, like=altered)


def test_another_export_is_refused_before_the_work(
  workdir, tiny_data, chosen, tmp_path, monkeypatch
):
  monkeypatch.setattr(fit_space, "fit_space", None)
  out = tmp_path / "e"
  shutil.copytree(chosen, out)
  how = {"data": tiny_data, "split": "val", "out": out}
  with pytest.raises(UserError, match=r"differing .* in.*give --overwrite"):
    export(workdir, **how, pool="mean", whiten="centre")
  with pytest.raises(UserError, match=r"differing .*space.*give --overwrite"):
    export(workdir, **how)
  before = meta(out)
  export(workdir, **how, pool="auto", whiten="auto")  # nothing to do
  assert meta(out) == before
  assert sorted(p.name for p in out.iterdir()) == sorted(
    p.name for p in chosen.iterdir()
  )


def test_a_plain_export_takes_the_place_of_another(
  workdir, tiny_data, chosen, tmp_path
):
  out = tmp_path / "e"
  shutil.copytree(chosen, out)
  how = {"data": tiny_data, "split": "val"}
  export(workdir, **how, out=out, overwrite=True)
  export(workdir, **how, out=tmp_path / "new")
  assert {p.name: p.read_bytes() for p in out.iterdir()} == {
    p.name: p.read_bytes() for p in (tmp_path / "new").iterdir()
  }


def test_an_interrupted_export_keeps_what_it_learnt(
  workdir, tiny_data, chosen, tmp_path, monkeypatch
):
  def killed(*given, **options):
    raise KeyboardInterrupt

  out = tmp_path / "e"
  how = {"data": tiny_data, "split": "val", "pool": "auto", "whiten": "auto"}
  for name in ("acquire", "save"):  # as it has learnt; at the first shard
    with monkeypatch.context() as patch:
      patch.setattr(export_shards, name, killed)
      with pytest.raises(KeyboardInterrupt):
        export(workdir, **how, out=out)
    assert not (out / "meta.json").exists()
    monkeypatch.setattr(fit_space, "fit_space", None)
  export(workdir, **how, out=out)
  assert {p.name: p.read_bytes() for p in out.iterdir()} == {
    p.name: p.read_bytes() for p in chosen.iterdir()
  }


@pytest.mark.parametrize("pool", ["concat", "auto"])
def test_without_a_proof_weights_are_chosen_but_no_pool(
  workdir, tiny_data, monkeypatch, pool
):
  asked_of = []

  def last(trials):
    asked_of.extend(trials)
    return len(trials) - 1

  monkeypatch.setattr(fit_space.trials_lib, "best_of", lambda trials: 0)
  monkeypatch.setattr(fit_space.trials_lib, "likeliest", last)
  found = fit_space.fit_space(
    Work(item_jax.load(workdir), open_dataset(tiny_data), batch_size=16),
    fit_space.Asked(pool=pool, whiten="auto"),
    "both",
  )
  kinds = [trial.transform.kind for trial in asked_of]
  if pool == "auto":  # as trained it is [CLS], which has no parts
    assert kinds == ["none"]
    assert (found.made["pool"], found.transform.kind) == ("cls", "none")
  else:
    assert kinds == ["none"] + ["weighted"] * (len(kinds) - 1)
    assert found.transform.shares == asked_of[-1].transform.shares


def test_a_split_without_pairs_chooses_nothing(
  workdir, tiny_data, tmp_path, monkeypatch
):
  ids = ["a", "b"]
  monkeypatch.setattr(
    fit_space, "scored_rows", lambda *given, **how: ([0, 1], ids, ids, ids)
  )
  how = {"data": tiny_data, "split": "test", "out": tmp_path / "e"}
  with pytest.raises(UserError, match="no product with two listings"):
    export(workdir, **how, whiten="auto")
  export(workdir, **how, whiten="centre")
  assert meta(tmp_path / "e")["space"] == "pool cls, centred"


def test_rows_without_a_side_are_not_learnt_from(workdir, tiny_data):
  """Title rows of the train split that the image's network sees nothing of."""
  dataset = open_dataset(tiny_data)
  work = Work(item_jax.load(workdir), dataset, batch_size=16)
  given = work, fit_space.Asked(whiten="whiten"), "both"
  whole = fit_space.fit_space(*given)

  real = fit_space.embed_parts

  def with_holes(*given, **options):
    for pooled_NE, items in real(*given, **options):
      gone = [item._replace(has_image=0, has_title=0) for item in items[::3]]
      pooled_NE[::3] = 99 * np.arange(pooled_NE.shape[1])
      items[::3] = gone
      yield pooled_NE, items

  kept = [r for r in range(dataset.sizes["train"]) if r % 3]
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(fit_space, "embed_parts", with_holes)
    holed = fit_space.fit_space(*given)
    patch.setattr(fit_space, "embed_parts", real)
    patch.setattr(fit_space, "_sample", lambda count, most: kept)
    want = fit_space.fit_space(*given)
  got_D, want_D = holed.transform.mean_D, want.transform.mean_D
  np.testing.assert_allclose(got_D, want_D, atol=1e-6)
  assert np.abs(got_D - whole.transform.mean_D).max() > 1e-5


def test_a_sample_is_drawn_by_a_seed():
  assert fit_space._sample(5, 5) == [0, 1, 2, 3, 4]
  drawn = fit_space._sample(100, 10)
  assert drawn == sorted(set(drawn)) == fit_space._sample(100, 10)
  assert len(drawn) == 10


def test_nothing_has_a_place_in_a_space_and_no_number_is_nothing():
  class Task:
    @staticmethod
    def pool(params, batch):
      del params, batch
      rows_B3 = [[0, 0, 0], [np.nan, 1, 1], [0, 3, 4]]
      return {"mean": np.array(rows_B3, np.float32)}

  change = {
    "mean_D": np.array([0, 0.6, 0], np.float32),
    "matrix_DE": np.array([[1, 0], [0, 1], [0, 2]], np.float32),
  }
  found = np.asarray(
    embed_unit(
      Task,
      None,
      tiny.make_batch(3),
      modality="both",
      pool="mean",
      change=change,
    )
  )
  np.testing.assert_allclose(found[[0, 2]], [[-(0.5**0.5)] * 2, [0, 1]])
  assert np.isnan(found[1]).all()


@pytest.mark.parametrize("name", ["roberta", "clip"])
def test_other_networks_are_whitened_too(name, tiny_data, tmp_path):
  run = untrained.write(tmp_path / "run", tiny_data, name)
  out = tmp_path / "e"
  how = {"data": tiny_data, "split": "test", "out": out}
  with pytest.raises(UserError, match=rf"model\.name='{name}' has own, and"):
    export(run, **how, pool="tokens")
  export(run, **how, whiten="auto", pool="auto")
  assert len(meta(out)["made"]["tried"]) == len(transform_lib.GRID)
  got_NE = item_jax.load(run, like=out).embed_split(tiny_data, "test")
  # Whitening enlarges what rounding has left of an untrained network.
  cosine_N = np.vecdot(got_NE, np.load(out / "embeddings.npy"))
  np.testing.assert_allclose(cosine_N, 1, atol=0.01)

"""Late fusion: worked cosines, what is missing, and the weight that is best."""

import csv
import json

import numpy as np
import pytest
import shell
from exports import finish_export, write_export

from item_jax.errors import UserError
from item_jax.evaluation import (
  fusion,
  fusion_tuning,
  join,
  retrieval,
  weighting,
)
from item_jax.evaluation.items import Items, open_export
from item_jax.evaluation.probe import probe

# Images tell the first two products apart, titles the third from both.
IMAGES = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1], [1, 0.05], [0.05, 1]])
TITLES = np.array(
  [[1, 1, 0], [1, 1, 0.1], [1, 1, 0.2], [1, 1, 0.3], [0, 0, 1], [0, 0.1, 1]]
)


def fused(image_ND, title_NE, weight):
  return join.join((image_ND, title_NE), (weight, 1 - weight))


@pytest.mark.parametrize("weight", [0, 0.3, 0.5, 1])
@pytest.mark.parametrize(
  ("u", "v"), [((0.6, 0.8), (0.8, 0.6)), ((0.6, -0.8), (-0.8, 0.6))]
)
def test_worked_cosines(weight, u, v):
  """Both cosines are .6, so is theirs; a mean of the vectors has 1 and -1."""
  fused_2F = fused(
    np.array([(2, 0), u], np.float32), np.array([(0, 5), v]), weight
  )
  assert fused_2F.dtype == np.float32
  assert fused_2F[0] @ fused_2F[1] == pytest.approx(0.6, abs=1e-6)


def test_the_cosine_is_the_mean_of_both():
  random = np.random.default_rng(0)
  u_ND, v_NE = random.standard_normal((5, 3)), random.standard_normal((5, 4))
  fused_NF = fused(u_ND, v_NE, 0.3)
  assert fused_NF.shape == (5, 7)

  def cosines(x_ND):
    x_ND = x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)
    return x_ND @ x_ND.T

  np.testing.assert_allclose(
    cosines(fused_NF), 0.3 * cosines(u_ND) + 0.7 * cosines(v_NE), atol=1e-6
  )


def test_what_is_missing_stays_zero():
  u_ND = np.array([[3, 4], [0, 0], [3, 4], [0, 0]])
  v_NE = np.array([[1, 0, 0], [0, 2, 0], [0, 0, 0], [0, 0, 0]])
  fused_NF = fused(u_ND, v_NE, 0.5)
  np.testing.assert_allclose(np.linalg.norm(fused_NF, axis=1), 1, atol=1e-6)
  np.testing.assert_allclose(fused_NF[1], [0, 0, 0, 1, 0], atol=1e-6)
  np.testing.assert_allclose(fused_NF[2], [0.6, 0.8, 0, 0, 0], atol=1e-6)
  np.testing.assert_allclose(fused_NF[3], [-(5**-0.5)] * 5, atol=1e-6)
  # Nothing is left of a row whose only part has no weight.
  np.testing.assert_allclose(fused(u_ND, v_NE, 0)[2], [-(5**-0.5)] * 5)


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_is_a_fraction(weight):
  with pytest.raises(UserError, match="expected 0 to 1"):
    fused(IMAGES, TITLES, weight)


def test_joining_by_blocks_changes_nothing(monkeypatch):
  whole_NF = fused(IMAGES, TITLES, 0.3)
  monkeypatch.setattr(join, "_ROWS", 4)
  np.testing.assert_array_equal(fused(IMAGES, TITLES, 0.3), whole_NF)


def tune(u_ND, v_NE, listed):
  tried = fusion_tuning.try_weights((u_ND, v_NE), listed)
  return weighting.best_weights(tried)[0]


def items(products):
  return Items([f"i{n}" for n in range(len(products))], products)


def test_the_best_weight_on_validation():
  """Against every weight scored by itself; image or title only is worse."""
  listed = items(["A", "A", "B", "B", "C", "C"])
  weight = tune(IMAGES, TITLES, listed)

  def score(a):
    fused_NF = fused(IMAGES, TITLES, a)
    return retrieval.score(fused_NF, listed, bootstrap=0).summary["map@10"]

  scores = {a / 10: score(a / 10) for a in range(11)}
  assert scores[weight] == max(scores.values())
  assert scores[weight] > max(scores[0.0], scores[1.0])


def test_of_equal_weights_the_most_even():
  same = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]])
  assert tune(same, same, items(list("AABB"))) == 0.5
  # Only titles are of use here: an image's weight can but harm.
  images = np.array([[1, 0], [0, 1], [1, 0.1], [0.1, 1]])
  weights = fusion_tuning.try_weights((images, same), items(list("AABB")))
  best = tune(images, same, items(list("AABB")))
  assert best == max(
    a for (a, _), s in weights.items() if s == max(weights.values())
  )
  assert best < 0.5


@pytest.fixture
def exports(tmp_path):
  folders = []
  for split in ("val", "test"):
    rows = [{"product": p, "id": f"{split}{n}"} for n, p in enumerate("AABBCC")]
    rows[4]["has_image"] = rows[5]["has_title"] = 0
    folders += [
      write_export(tmp_path / split / side, vectors, rows, modality=side)
      for side, vectors in (("image", IMAGES), ("title", TITLES))
    ]
  return tuple(folders)


def test_the_command(exports, tmp_path):
  val_image, val_title, image, title = exports
  out = tmp_path / "fused"
  words = ("fuse", image, title, f"--out={out}")
  output = shell.run(*words, "--image_weight=0.3")
  assert "6 rows of 5, image weight 0.3" in output
  found = open_export(out)
  vectors_ND = found.vectors
  assert found.items.products == list("AABBCC")
  u_ND, v_NE = IMAGES.copy(), TITLES.copy()
  u_ND[4], v_NE[5] = 0, 0  # what the exports hold there does not matter
  expected_NF = fused(u_ND, v_NE, 0.3)
  np.testing.assert_allclose(vectors_ND, expected_NF, atol=1e-6)
  assert "already there" in shell.run(*words, code=2)
  shell.run(*words, "--overwrite", "--share=0.4")  # the flag's former name
  assert json.loads((out / "meta.json").read_text())["share"] == 0.4
  output = shell.run(*words, "--overwrite", "--tune", val_image, val_title)
  meta = json.loads((out / "meta.json").read_text())
  best = tune(u_ND, v_NE, items(list("AABBCC")))
  assert meta["share"] == best
  assert f"image weight {best:g}" in output
  assert (meta["rows"], meta["dims"]) == (6, 5)


def test_a_side_is_missing_also_where_a_model_sees_no_other(tmp_path):
  """Of a model of titles all exports are of "both"; a listing without a title
  has the vector of none, as have all others without."""
  rows = [{"product": p} for p in "AABBCC"]
  rows[4]["has_image"] = rows[5]["has_title"] = 0
  image, title = (
    write_export(tmp_path / side, vectors, rows, modality="both", sees=side)
    for side, vectors in (("image", IMAGES), ("title", TITLES))
  )
  u_ND, v_NE = IMAGES.copy(), TITLES.copy()
  u_ND[4], v_NE[5] = 0, 0
  found = fusion.fuse(image, title, image_weight=0.3)
  np.testing.assert_allclose(found.vectors, fused(u_ND, v_NE, 0.3), atol=1e-6)


def test_weights_may_be_numpys(exports, tmp_path):
  """They stand in meta.json, which holds plain numbers only."""
  _, _, image, title = exports
  weights = np.array([0.25, 0.75], np.float32)
  for name, how in (
    ("many", {"weights": weights}),
    ("one", {"image_weight": weights[0]}),
  ):
    found = fusion.fuse(image, title, out=tmp_path / name, **how)
    assert found.weights == (0.25, 0.75)
    meta = json.loads((tmp_path / name / "meta.json").read_text())
    assert meta["share"] == 0.25


def test_what_is_there_is_named_before_a_weight_is_sought(exports, tmp_path):
  val_image, val_title, image, title = exports
  fusion.fuse(image, title, out=tmp_path / "f")
  (val_image / "embeddings.npy").unlink()  # it is not looked at
  with pytest.raises(FileExistsError):
    fusion.fuse(
      image, title, out=tmp_path / "f", tune_on=(val_image, val_title)
    )


def test_a_folder_of_others_is_left_alone(exports, tmp_path):
  _, _, image, title = exports
  before = (image / "embeddings.npy").read_bytes()
  with pytest.raises(FileExistsError):
    fusion.fuse(image, title, out=image, overwrite=True)
  assert (image / "embeddings.npy").read_bytes() == before


def test_fusions_of_one_system_can_be_probed_together(exports, tmp_path):
  """Splits of one weight are one system, of two weights they are two."""
  val_image, val_title, image, title = exports
  for name, weight in (("a", 0.3), ("b", 0.4)):
    fusion.fuse(
      val_image, val_title, out=tmp_path / f"val_{name}", image_weight=weight
    )
  fusion.fuse(image, title, out=tmp_path / "test_a", image_weight=0.3)
  with pytest.raises(UserError, match="different systems: checkpoint"):
    probe(tmp_path / "val_b", None, tmp_path / "test_a")
  with pytest.raises(UserError, match="learnt from"):  # the next question
    probe(tmp_path / "test_a", None, tmp_path / "test_a")


def test_exports_that_do_not_belong_together(exports, tmp_path):
  val_image, _, image, title = exports
  rows = [{"id": f"test{n}"} for n in (0, 1, 3, 2, 4, 5)]
  other = write_export(tmp_path / "o", TITLES, rows)
  with pytest.raises(
    UserError, match=r"row 2 is listing 'test2' in .* and 'test3'"
  ):
    fusion_tuning.open_parts([image, other])
  fewer = write_export(tmp_path / "f", TITLES[:5], rows[:5])
  with pytest.raises(UserError, match=r"6 rows, .* has 5"):
    fusion_tuning.open_parts([image, fewer])
  with pytest.raises(UserError, match="the title only; expected the image's"):
    fusion.fuse(title, image, out=tmp_path / "x")
  val_other = write_export(
    tmp_path / "v",
    TITLES,
    [{"id": f"val{n}", "product": p} for n, p in enumerate("AABBCC")],
    modality="title",
    checkpoint="another",
  )
  with pytest.raises(UserError, match="different systems: checkpoint"):
    fusion.fuse(
      image, title, out=tmp_path / "x", tune_on=(val_image, val_other)
    )
  with pytest.raises(UserError, match=r"listing 'test0' is in .* chosen by it"):
    fusion.fuse(image, title, out=tmp_path / "x", tune_on=(image, title))
  assert not (tmp_path / "x").exists()
  with (title / "items.csv").open(newline="") as file:
    lines = [line[:4] for line in csv.reader(file)]
  with (title / "items.csv").open("w", newline="") as file:
    csv.writer(file).writerows(lines)
  finish_export(title, modality="title")
  with pytest.raises(UserError, match="has no column has_title"):
    fusion_tuning.open_parts([image, title])


ROLES = ["query", "index", "index", "both", "both", "both"]


def with_roles(roles, vectors=IMAGES):
  listed = Items([f"L{n}" for n in range(6)], list("AABBCC"), None, roles)
  return vectors.astype(np.float32), listed


def test_roles_are_kept_whichever_part_has_them(tmp_path):
  parts = with_roles(ROLES), with_roles(None, TITLES)
  for number, ordered in enumerate((parts, parts[::-1])):
    made = fusion.fuse(*ordered, out=tmp_path / str(number))
    assert made.items.roles == ROLES
    assert open_export(tmp_path / str(number)).items.roles == ROLES
    assert retrieval.score(made, bootstrap=0).summary["queries"] == 4
  other = with_roles(ROLES[::-1], TITLES)
  with pytest.raises(UserError, match="which rows are queries"):
    fusion.fuse(parts[0], other)

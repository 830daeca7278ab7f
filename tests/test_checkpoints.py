"""Checkpoints are kept as promised, and never restored damaged."""

import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from item_jax.errors import UserError
from item_jax.files import MANIFEST, CorruptError
from item_jax.training.checkpoints import (
  Checkpoints,
  SaveError,
)

STATE = {
  "params": {"a": jnp.arange(5.0), "b": {"kernel": jnp.ones((2, 3))}},
  "step": jnp.zeros((), jnp.int32),
}


def like(state):
  place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return jax.tree.map(
    lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), state
  )


@pytest.fixture
def filled(tmp_path):
  """Scores of steps 1 to 6; 3 is not scored, 2 is the best."""
  checkpoints = Checkpoints(tmp_path, keep=2)
  for step, score in enumerate((0.1, 0.9, None, 0.3, 0.2, 0.4), start=1):
    state = jax.tree.map(lambda x, step=step: x + step, STATE)
    metrics = None if score is None else {"both/map@10": score}
    checkpoints.save(step, state, metrics=metrics)
  checkpoints.wait()
  yield checkpoints
  checkpoints.close()


def test_the_newest_and_the_best_are_kept(filled):
  assert filled.steps() == [2, 5, 6]
  assert filled.best_step() == 2


def test_of_equal_scores_the_single_sides_decide_and_then_the_later(tmp_path):
  checkpoints = Checkpoints(tmp_path, keep=1)
  titles = (0.5, 0.7, math.nan, 0.7, 0.6)
  for step, title in enumerate(titles, start=1):
    metrics = {
      "both/map@10": 1.0,
      "title/map@10": title,
      "both/recall@10": step,
    }
    checkpoints.save(step, STATE, metrics=metrics)
    checkpoints.wait()
  assert checkpoints.best_step() == 4
  checkpoints.close()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_score_that_is_nan_is_never_the_best(tmp_path, place):
  scores = [0.2, 0.1]
  scores.insert(place, float("nan"))
  checkpoints = Checkpoints(tmp_path, keep=1)
  for step, score in enumerate(scores, start=1):
    checkpoints.save(step, STATE, metrics={"both/map@10": score})
    checkpoints.wait()
    known = [s for s in scores[:step] if s == s]
    best = scores.index(max(known)) + 1 if known else None
    assert checkpoints.best_step() == best
    assert checkpoints.steps() == sorted({step, best} - {None})
  checkpoints.close()


def test_what_was_saved_comes_back(filled):
  for step in filled.steps():
    state = filled.restore(step, like(STATE))
    jax.tree.map(
      lambda x, y, step=step: np.testing.assert_array_equal(x, y + step),
      state,
      STATE,
    )
  params = filled.restore_params(2, jax.eval_shape(lambda: STATE["params"]))
  np.testing.assert_array_equal(params["a"], np.arange(5.0) + 2)


def test_every_file_is_in_the_manifest_and_watched(filled):
  folder = filled.folder / "6"
  files = [p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST]
  assert len(files) > 5
  for path in files:
    content = path.read_bytes()
    if content:
      flipped = bytearray(content)
      flipped[len(flipped) // 2] ^= 4
      path.write_bytes(flipped)
      with pytest.raises(CorruptError, match="was altered") as error:
        filled.verify(6)
      assert str(path) in str(error.value)
    path.unlink()
    with pytest.raises(CorruptError, match="is missing"):
      filled.verify(6)
    path.write_bytes(content)
  filled.verify(6)


def test_whatever_is_damaged_the_one_before_is_taken(filled, tmp_path, caplog):
  caplog.set_level("INFO")
  folder = filled.folder / "6"
  intact = shutil.copytree(folder, tmp_path / "intact")
  names = [p.relative_to(intact) for p in intact.rglob("*") if p.is_file()]
  assert len(names) > 6

  def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)

  def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])

  for name in names:
    for damage in (flip, truncate, lambda path: path.unlink()):
      if not (intact / name).stat().st_size and damage in (flip, truncate):
        continue
      damage(folder / name)
      with pytest.raises(CorruptError):
        filled.restore(6, like(STATE))
      assert filled.newest_good() == 5
      assert str(folder / name) in caplog.text
      caplog.clear()
      # Out of the way, not lost.
      assert filled.steps() == [2, 5]
      shutil.copytree(intact, folder)
  assert filled.newest_good() == 6
  assert len(list((tmp_path / "damaged").iterdir())) > len(names)


def test_an_older_one_whose_manifest_is_damaged_hinders_nothing(filled, caplog):
  """Neither that old ones are deleted, nor that the best is told."""
  caplog.set_level("INFO")
  (filled.folder / "2" / MANIFEST).write_bytes(b"{}")
  assert filled.newest_good() == 6
  assert f"{filled.folder / '2' / MANIFEST} has no checksum" in caplog.text
  assert filled.best_step() == 6  # of 5 and 6
  (filled.folder / "5" / MANIFEST).write_bytes(b"{}")  # while it runs
  for step in (7, 8):
    filled.save(step, STATE, metrics={"both/map@10": 0.5})
    filled.wait()
  assert filled.steps() == [7, 8]
  assert filled.best_step() == 8
  assert filled.last_metrics() == {"both/map@10": 0.5}
  moved = (filled.folder.parent / "damaged").iterdir()
  assert sorted(path.name for path in moved) == ["2.0", "5.1"]


def test_a_damaged_step_can_be_saved_again(filled):
  (filled.folder / "6" / MANIFEST).write_bytes(b"{}")
  assert filled.newest_good() == 5
  filled.save(6, STATE)
  filled.wait()
  assert filled.newest_good() == 6


def test_what_was_killed_before_its_manifest_is_no_checkpoint(filled, caplog):
  caplog.set_level("INFO")
  (filled.folder / "6" / MANIFEST).unlink()
  assert filled.steps() == [2, 5]
  assert filled.newest_good() == 5
  assert "manifest.json is missing" in caplog.text


def test_where_only_damaged_ones_are_left_nothing_starts_anew(filled):
  for step in filled.steps():
    (filled.folder / str(step) / MANIFEST).write_bytes(b"{}")
  damaged = filled.folder.parent / "damaged"
  for _ in range(2):  # nor at the second try
    with pytest.raises(UserError, match=f"start anew, delete {damaged}"):
      filled.newest_good()
  shutil.rmtree(damaged)
  assert filled.newest_good() is None


def test_a_run_killed_in_its_first_save_starts_anew(tmp_path):
  checkpoints = Checkpoints(tmp_path)
  checkpoints.save(1, STATE)
  checkpoints.wait()
  (checkpoints.folder / "1" / MANIFEST).unlink()
  for _ in range(2):
    assert checkpoints.newest_good() is None
  checkpoints.close()


def test_what_killed_saves_left_is_deleted(filled):
  left = filled.folder / "9.orbax-checkpoint-tmp"
  left.mkdir()
  (left / "part").write_bytes(b"x")
  filled.save(7, STATE)
  filled.wait()
  assert not left.exists()


def test_a_step_can_be_ranked_later(filled):
  assert filled.metrics(5) == {"both/map@10": 0.2}
  filled.save(7, STATE)
  filled.wait()
  assert filled.metrics(7) is None
  filled.rank(7, {"both/map@10": 1.0})
  filled.verify(7)
  assert filled.best_step() == 7


@pytest.mark.parametrize(
  "change",
  [
    lambda s: s | {"params": {"a": jnp.arange(6.0), "b": s["params"]["b"]}},
    lambda s: s | {"step": jnp.zeros((), jnp.float32)},
    lambda s: s | {"more": jnp.zeros(())},
    lambda s: {"params": s["params"]},
  ],
  ids=["shape", "dtype", "more", "less"],
)
def test_another_tree_is_refused(filled, change):
  with pytest.raises(UserError, match="does not fit this model"):
    filled.restore(6, like(change(STATE)))


def test_an_old_step_is_not_taken_for_saved(filled):
  for step in (4, 6):
    with pytest.raises(SaveError, match=f"step {step} .* step 6"):
      filled.save(step, STATE)
  assert filled.steps() == [2, 5, 6]


def test_of_saves_that_were_cut_off_one_is_kept(tmp_path):
  """There may be one at every kill, each of a whole State."""
  for step in (1, 2, 3):
    with_one = Checkpoints(tmp_path, keep=2)
    with_one.save(step, STATE)
    with_one.wait()
    with_one.close()
    (tmp_path / "checkpoints" / str(step) / MANIFEST).unlink()
    again = Checkpoints(tmp_path, keep=2)
    assert again.newest_good() is None
    again.close()
    (kept,) = (tmp_path / "damaged").iterdir()
    assert kept.name.startswith(f"{step}.unfinished")

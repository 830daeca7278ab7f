"""Checkpoints are kept as promised, and never restored damaged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from item_jax.errors import UserError
from item_jax.files import MANIFEST, DamagedError
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
      with pytest.raises(DamagedError, match="was altered") as error:
        filled.verify(6)
      assert str(path) in str(error.value)
    path.unlink()
    with pytest.raises(DamagedError, match="is missing"):
      filled.verify(6)
    path.write_bytes(content)
  filled.verify(6)


def test_the_newest_good_one_is_taken(filled, capsys):
  path = next((filled.folder / "6" / "default" / "d").iterdir())
  path.write_bytes(path.read_bytes()[:-1])
  with pytest.raises(DamagedError):
    filled.restore(6, like(STATE))
  assert filled.newest_good() == 5
  assert path.name in capsys.readouterr().out
  # The damaged one is out of the way, not lost, and can be saved again.
  assert filled.steps() == [2, 5]
  assert len(list((filled.folder.parent / "damaged").iterdir())) == 1
  filled.save(6, STATE)
  filled.wait()
  assert filled.newest_good() == 6


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

"""Programs of others that we are timed against do the same work as ours."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

import item_jax
from item_jax.diagnostics.plan import make_task

REASON = "the extra torchcheck is not installed"
torch = pytest.importorskip("torch", reason=REASON)
import pytorch_item  # noqa: E402
import pytorch_step  # noqa: E402

VOCAB, ROWS = 300, 16
SMALL = {"model__layers": 2, "model__width": 48, "model__mlp": 96}


def view_of(view) -> pytorch_item.View:
  """A view that our objective drew, as the peer reads one."""
  recover_B1 = np.asarray(view.recover_B)[:, None]
  tokens, patches = view.masked_tokens, view.masked_patches
  arrays = pytorch_item.View(
    image_BHWC=view.batch.image_BHWC,
    tokens_BT=view.batch.tokens_BT,
    token_at_BK=tokens.positions_BK,
    tokens_BK=tokens.targets_BK,
    token_counts_BK=np.asarray(tokens.valid_BK) & recover_B1,
    masked_BN=patches.masked_BN,
    patch_at_BK=patches.positions_BK,
    patch_counts_BK=np.asarray(patches.valid_BK) & recover_B1,
    is_match_B=view.is_match_B,
  )
  found = (torch.from_numpy(np.array(x)) for x in arrays)
  return pytorch_item.View(
    *(x.long() if x.dtype == torch.int32 else x for x in found)
  )


@pytest.fixture(scope="module")
def both():
  """(our losses and their gradient's length, the peer, the same view)."""
  config = item_jax.load_config("item_tiny", batch_size=ROWS, **SMALL)
  objective = make_task(config, VOCAB).objective
  batch = pytorch_step.random_batch(config, VOCAB)
  view = objective.corrupt(jax.random.key(1), 0, batch)
  draw = np.random.default_rng(0)
  params = jax.tree.map(  # no bias zero, no norm one
    lambda x: np.asarray(x + 0.1 * draw.standard_normal(x.shape), np.float32),
    objective.init_params(jax.random.key(0)),
  )
  names = [name for name in objective.weights if objective.weights[name]]

  @jax.jit
  def measure(params):
    def losses(params):
      totals, _ = objective.totals(params, view, jax.random.key(0))
      counts = objective.counts(view)
      means = {name: totals[name] / counts[name] for name in names}
      return sum(means.values()), means

    return jax.value_and_grad(losses, has_aux=True)(params)

  (_, means), grads = measure(params)
  network = pytorch_item.Item(config, len(params["word"]))
  pytorch_item.load(network, flatten_dict(params, sep="."))
  return config, means, flatten_dict(grads, sep="."), network, view_of(view)


def test_pytorchs_losses_are_ours(both):
  _, means, _, network, view = both
  assert view.token_counts_BK.sum() > 0
  assert (~view.is_match_B).any()
  found = network(view).detach().numpy()
  expected = [means[name] for name in pytorch_item.LOSSES]
  assert np.min(expected) > 0.1
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_pytorchs_gradients_are_ours(both):
  """By their lengths: a kernel's axes are in another order."""
  _, _, grads, network, view = both
  network.zero_grad()
  network(view).sum().backward()
  found = {name: x.grad for name, x in network.named_parameters()}
  assert len(found) == len(grads)
  for path, grad in grads.items():
    name = path.replace("kernel", "weight").replace("scale", "weight")
    length, theirs = np.linalg.norm(grad), found[name].norm().item()
    np.testing.assert_allclose(theirs, length, rtol=1e-3, atol=1e-6)


def test_pytorch_masks_as_many_as_ours(both):
  config, _, _, network, ours = both
  batch = pytorch_step.random_batch(config, VOCAB)
  torch.manual_seed(0)
  view = pytorch_item.draw(
    type(batch)(*map(pytorch_item._to_torch, batch)),
    config.mask,
    config.loss,
    vocab_size=VOCAB,
    num_patches=len(network.patch_position),
  )
  for mine, other in zip(ours, view, strict=True):
    assert mine.shape == other.shape
    assert mine.dtype == other.dtype
  assert (view.masked_BN.sum(1) == ours.masked_BN.sum(1)).all()
  assert view.is_match_B.sum() == ours.is_match_B.sum() == ROWS // 2
  # Half the pairs count; of these every title's share of its length.
  assert view.patch_counts_BK.sum() == ours.patch_counts_BK.sum()


def test_a_step_of_pytorch_learns(both):
  config, *_ = both
  config.optim.warmup = 1
  torch.manual_seed(0)
  batch = pytorch_step.random_batch(config, VOCAB)
  step = pytorch_item.make_step(config, batch, vocab_size=VOCAB, compiled=False)
  losses = [step().item() for _ in range(12)]
  assert np.mean(losses[-3:]) < losses[0]

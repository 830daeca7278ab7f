"""Product embeddings from photo and title: a workdir in, an embedder out."""

__version__ = "0.1.0"


def load(workdir, *, step=None, dtype="float32"):
  """Opens a trained model; see `item_jax.evaluation.embed.load`."""
  from item_jax.evaluation import embed  # jax is imported only when needed

  return embed.load(workdir, step=step, dtype=dtype)

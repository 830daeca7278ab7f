"""Product embeddings from photo and title: a workdir in, an embedder out."""

__version__ = "0.1.0"


def load(workdir, *, step=None, dtype="float32"):
  """Opens a trained model; see `item_jax.inference.embedder.load`."""
  from item_jax.inference import embedder  # jax is imported only when needed

  return embedder.load(workdir, step=step, dtype=dtype)

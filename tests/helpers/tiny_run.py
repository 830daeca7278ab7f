"""A run's config that trains in seconds; read by `train --config`."""

from item_jax.config import Config

# variant: (task, model)
BASELINES = {
  "category": ("category", "item"),
  "resnet50": ("category", "resnet50"),
  "roberta": ("mlm", "roberta"),
  "clip": ("contrastive", "clip"),
  "products": ("products", "item"),
  # Fine-tuning: any network can learn the category.
  "roberta_tuned": ("category", "roberta"),
  "clip_tuned": ("category", "clip"),
}


def get_config(variant: str = "plain") -> Config:
  config = Config()
  config.steps = 60
  config.batch_size = 16
  config.log_every = 5
  config.eval_every = 25
  config.checkpoint.every = 10
  config.model.image_size = 16
  config.model.patch = 8
  config.model.max_title_tokens = 12
  config.model.layers = 1
  config.model.width = 32
  config.model.heads = 2
  config.model.mlp = 64
  config.model.dtype = "float32"
  config.optim.lr = 1e-3
  config.optim.warmup = 5
  config.resnet.width = 16  # else groups of one value, all zero
  config.clip.text_layers = 1
  config.clip.text_width = 24
  config.clip.text_heads = 2
  config.clip.text_mlp = 40
  config.clip.projection = 20
  if variant in BASELINES:
    config.task, config.model.name = BASELINES[variant]
    config.steps = 4
    config.optim.warmup = 1
    config.log_every = 2
    config.eval_every = 4
  if variant == "products":
    for name in ("itm", "mlm", "mim", "gmlm", "gmim"):
      setattr(config.loss, name, 0.0)
  if variant == "short":
    config.steps = 8
    config.log_every = 1
    config.eval_every = 8
  if variant == "diverging":
    config.optim.lr = 1e30
    config.optim.warmup = 20
    config.optim.clip = 1e30
    config.max_skipped_steps = 10
    config.checkpoint.every = 1
  return config

"""A Config in; an error that names both sides out where it could not work."""

import math

from item_jax.config import Config, resolve_mesh
from item_jax.errors import UserError

# What trains which network; "category" trains any.
_MODEL_OF = {"item": "item", "mlm": "roberta", "contrastive": "clip"}
# What validation measures; a task may measure some of them only.
MEASURES = (
  *(
    f"{side}/{name}"
    for side in ("both", "image", "title")
    for name in ("recall@10", "map@10")
  ),
  "category/accuracy",
)
_MODELS = ("item", "resnet50", "roberta", "clip")


def validate(config: Config, *, devices: int) -> None:
  """Raises UserError, naming both sides, where a run could not work.

  Args:
    config: as read, before anything is built.
    devices: how many there are over all hosts.
  """
  _check_task(config)
  _check_model(config)
  _check_baselines(config)
  _check_mask(config)
  _check_loss(config)
  _check_align(config)
  _check_run(config)
  _check_batch(config, devices)


def _check_task(config: Config) -> None:
  name = config.model.name
  _one_of("model.name", name, _MODELS)
  _one_of("task", config.task, (*_MODEL_OF, "category"))
  if _MODEL_OF.get(config.task, name) != name:
    raise UserError(
      f"task={config.task!r} trains model.name={_MODEL_OF[config.task]!r}, not"
      f" {name!r}"
    )


def _check_model(config: Config) -> None:
  m = config.model
  _at_least(1, "model.image_size", m.image_size)
  _at_least(1, "model.patch", m.patch)
  if m.image_size % m.patch:
    raise UserError(
      f"model.patch={m.patch} does not divide model.image_size={m.image_size}"
    )
  if m.max_title_tokens < 3:
    raise UserError(
      f"model.max_title_tokens={m.max_title_tokens}: at least 3 are needed,"
      " two tokens and [SEP]"
    )
  for name in ("layers", "width", "heads", "mlp", "vocab_pad_multiple"):
    _at_least(1, f"model.{name}", getattr(m, name))
  _divides("model.heads", m.heads, "model.width", m.width)
  _one_of("model.norm", m.norm, ("post", "pre"))
  _one_of("model.activation", m.activation, ("gelu", "quick_gelu"))
  _one_of("model.global_head", m.global_head, ("concat", "sum"))
  _above_zero("model.epsilon", m.epsilon)
  _one_of("model.dtype", m.dtype, ("bfloat16", "float32"))
  _one_of("model.attention", m.attention, ("auto", "xla", "cudnn"))
  _one_of("model.dropout_bits", m.dropout_bits, ("threefry2x32", "rbg"))
  _share("model.dropout", m.dropout, below_one=True)


def _check_baselines(config: Config) -> None:
  r, c = config.resnet, config.clip
  _at_least(1, "resnet.width", r.width)
  _one_of("resnet.norm", r.norm, ("batch", "group"))
  _one_of("resnet.pixels", r.pixels, ("half", "imagenet"))
  for name in ("text_layers", "text_width", "text_heads", "text_mlp"):
    _at_least(1, f"clip.{name}", getattr(c, name))
  _divides("clip.text_heads", c.text_heads, "clip.text_width", c.text_width)
  _at_least(1, "clip.projection", c.projection)
  if not 0 < c.image_weight < 1:
    raise UserError(
      f"clip.image_weight={c.image_weight}: a share above 0 and below 1"
    )


def _check_mask(config: Config) -> None:
  for name in ("title_rate", "patch_rate"):
    rate = getattr(config.mask, name)
    if not 0 < rate <= 1:
      raise UserError(f"mask.{name}={rate}: a share above 0, at most 1")
  _share("mask.mask_fraction", config.mask.mask_fraction)
  _share("mask.random_fraction", config.mask.random_fraction)
  if config.mask.mask_fraction + config.mask.random_fraction > 1:
    raise UserError(
      f"mask.mask_fraction={config.mask.mask_fraction} and"
      f" mask.random_fraction={config.mask.random_fraction} make more than 1"
    )


def _check_loss(config: Config) -> None:
  weights = {
    name: getattr(config.loss, name)
    for name in ("itm", "mlm", "mim", "gmlm", "gmim", "align")
  }
  for name, weight in weights.items():
    if not (math.isfinite(weight) and weight >= 0):
      raise UserError(f"loss.{name}={weight}: 0 or more, and finite")
  if config.task == "item" and not any(weights.values()):
    raise UserError(f"every loss weight is zero: {weights}")
  _share("loss.negative_rate", config.loss.negative_rate)


def _check_align(config: Config) -> None:
  a = config.align
  _one_of("align.views", a.views, ("sides", "twins", "both"))
  if a.fused and a.views == "twins":
    raise UserError(
      "align.fused=True joins the views of align.views=sides or both, not of"
      " twins"
    )
  if a.changed not in (1, 2):
    raise UserError(f"align.changed={a.changed}: 1 or 2 of the two twins")
  if not 0 < a.crop <= 1:
    raise UserError(f"align.crop={a.crop}: a share above 0, at most 1")
  for name in ("light", "token_drop"):
    _share(f"align.{name}", getattr(a, name), below_one=True)
  _share("align.modality_drop", a.modality_drop)
  # 0.01 is where the learnt temperature is stopped.
  if not 0.01 <= a.temperature < math.inf:
    raise UserError(f"align.temperature={a.temperature}: at least 0.01")
  _at_least(0, "align.projection", a.projection)
  if config.loss.align and config.task != "item":
    raise UserError(
      f"loss.align={config.loss.align} joins task='item', not {config.task!r}"
    )


def _check_run(config: Config) -> None:
  # No step at all: the parameters that are started from are the result.
  _at_least(0, "steps", config.steps)
  _at_least(0, "seed", config.seed)
  for name in ("batch_size", "log_every", "eval_every", "max_skipped_steps"):
    _at_least(1, name, getattr(config, name))
  _at_least(1, "checkpoint.every", config.checkpoint.every)
  _at_least(1, "checkpoint.keep", config.checkpoint.keep)
  _above_zero("checkpoint.minutes", config.checkpoint.minutes)
  if config.evaluators == ("retrieval",):
    _one_of("checkpoint.best", config.checkpoint.best, MEASURES)
  for name in ("warmup", "lr", "decay"):
    _at_least(0, f"optim.{name}", getattr(config.optim, name))
  if 0 < config.steps <= config.optim.warmup:
    raise UserError(
      f"optim.warmup={config.optim.warmup} takes all of steps={config.steps},"
      " and the learning rate would never decay: for a short run give"
      f" --config.optim.warmup={config.steps // 10} too"
    )
  for name in ("eps", "clip"):
    _above_zero(f"optim.{name}", getattr(config.optim, name))
  _at_least(0, "optim.spike", config.optim.spike)
  _at_least(16, "optim.spike_history", config.optim.spike_history)
  _share("optim.b1", config.optim.b1, below_one=True)
  _share("optim.b2", config.optim.b2, below_one=True)
  _at_least(0, "data.workers", config.data.workers)
  _at_least(1, "data.read_threads", config.data.read_threads)
  _at_least(1, "data.prefetch", config.data.prefetch)
  _share("data.max_bad_fraction", config.data.max_bad_fraction)
  if not config.data.path:
    raise UserError("data.path is empty: give --config.data.path=DATA")


def _check_batch(config: Config, devices: int) -> None:
  accumulate = config.optim.accumulate
  _at_least(1, "optim.accumulate", accumulate)
  compared = config.task == "contrastive" or config.loss.align
  if compared and config.batch_size < 2:
    raise UserError(
      f"batch_size={config.batch_size}: task='contrastive' and loss.align"
      " compare a listing with the others of its batch"
    )
  # What is taken over the whole batch cannot be taken in parts.
  whole = {
    "task='contrastive'": config.task == "contrastive",
    f"loss.align={config.loss.align}": config.loss.align,
    "resnet.norm='batch'": config.model.name == "resnet50"
    and config.resnet.norm == "batch",
  }
  for what, needed in whole.items():
    if needed and accumulate > 1:
      raise UserError(
        f"optim.accumulate={accumulate}: {what} needs the whole batch at once"
      )
  resolve_mesh(config.mesh, devices)
  if config.batch_size % (devices * accumulate):
    raise UserError(
      f"batch_size={config.batch_size} is not divisible by {devices} devices"
      f" x optim.accumulate={accumulate}"
    )


def _at_least(floor, name: str, value) -> None:
  if not value >= floor:
    raise UserError(f"{name}={value}: at least {floor} is needed")


def _share(name: str, value: float, *, below_one: bool = False) -> None:
  if not (0 <= value < 1 or (value == 1 and not below_one)):
    raise UserError(f"{name}={value}: must be a share of 1")


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
  if value not in known:
    raise UserError(f"{name}={value!r}: known are {', '.join(known)}")


def _above_zero(name: str, value: float) -> None:
  if not value > 0:
    raise UserError(f"{name}={value}: must be above 0")


def _divides(name: str, value: int, of: str, whole: int) -> None:
  if whole % value:
    raise UserError(f"{name}={value} does not divide {of}={whole}")

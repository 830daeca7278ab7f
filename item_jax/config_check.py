"""Checks a Config before anything is built; errors name both sides."""

from typing import Any

from item_jax.components import TASKS
from item_jax.config import Config, resolve_mesh
from item_jax.config_group import PATH, check_limits
from item_jax.errors import UserError, name_kind

ACCURACY = "category/accuracy"
# What validation measures; a task may measure some of them only.
MEASURES = (
  *(
    f"{modality}/{name}"
    for modality in ("both", "image", "title")
    for name in ("recall@10", "map@10")
  ),
  ACCURACY,
)


def check_config(config: Any) -> None:
  """Refuses what is no Config, as the name of one.

  Raises:
    UserError: it is none.
  """
  if not isinstance(config, Config):
    raise UserError(
      f"config={name_kind(config)}: expected a Config, as"
      ' load_config("item_tiny") gives'
    )


def validate(config: Config, *, devices: int) -> None:
  """Raises UserError, naming both sides, where a run could not work.

  That an objective or a model needs the whole batch is its own knowledge:
  `tasks.make_task` checks it.

  Args:
    config: as read, before anything is built.
    devices: how many there are over all hosts.
  """
  check_limits(config)
  _check_task(config)
  _check_model(config)
  _check_stem(config)
  _check_losses(config)
  _check_run(config)
  _check_start(config)
  resolve_mesh(config.mesh, devices)
  accumulate = config.optim.accumulate
  if config.batch_size % (devices * accumulate):
    raise UserError(
      f"batch_size={config.batch_size} is not divisible by {devices} devices"
      f" x optim.accumulate={accumulate}"
    )


def _check_task(config: Config) -> None:
  name = config.model.name
  spec = TASKS.get(config.task)
  # A model of another package may have the methods that the task calls.
  if spec and spec.model not in (None, name) and ":" not in name:
    raise UserError(
      f"task={config.task!r} trains model.name={spec.model!r}, not {name!r}"
    )
  for path in config.objectives:
    if ":" not in path:
      raise UserError(f"objectives={config.objectives}: {path!r} is no {PATH}")
  for group, options in config.extra.items():
    if not isinstance(options, dict):
      raise UserError(
        f"extra={config.extra}: {group!r} is no group, {{name: value}}"
      )


def _check_model(config: Config) -> None:
  m, c = config.model, config.clip
  if m.stem == "patch":
    _divides("model.patch", m.patch, "model.image_size", m.image_size)
  if m.sides and m.name != "item" and ":" not in m.name:
    raise UserError(
      f"model.sides={m.sides} joins model.name='item', not {m.name!r}"
    )
  _divides("model.heads", m.heads, "model.width", m.width)
  _divides("clip.text_heads", c.text_heads, "clip.text_width", c.text_width)


def _check_stem(config: Config) -> None:
  m, features = config.model, config.data.features
  target = config.loss.mim_target.removeprefix("pixels")
  if m.stem == "patch":
    for option, value in (
      ("stem_from", config.stem_from),
      ("data.features", features),
      ("optim.stem_rate", config.optim.stem_rate),
      ("loss.mim_target", target),
    ):
      if value:
        raise UserError(
          f"{option}={value} is of a stem, and model.stem='patch' is none: give"
          " --config.model.stem=efficientnet_lite0 or resnet50"
        )
    return
  if m.name != "item" and ":" not in m.name:
    raise UserError(
      f"model.stem={m.stem!r} stands before model.name='item', not {m.name!r}"
    )
  for option, value in (
    ("data.features", features),
    ("loss.mim_target", target),
  ):
    if value and config.optim.stem_rate:
      raise UserError(
        f"{option}={value} takes the features of a stem that stays as it is:"
        f" give --config.optim.stem_rate=0, not {config.optim.stem_rate}"
      )
  if features:
    _check_without_pixels(config)


def _check_without_pixels(config: Config) -> None:
  """What a run cannot do whose steps read features in place of pixels."""
  loss, a = config.loss, config.align
  recovers = config.task != "category" and (loss.mim or loss.gmim)
  augments = loss.align and a.views != "cross_modal"
  for needed, option, value, instead in (
    (recovers, "loss.mim_target", loss.mim_target, "features"),
    (augments, "align.views", a.views, "cross_modal"),
  ):
    if needed and value != instead:
      raise UserError(
        f"{option}={value} needs pixels, and data.features="
        f"{config.data.features} reads none: give --config.{option}={instead},"
        " or --config.data.features="
      )


def _check_losses(config: Config) -> None:
  mask, loss, a = config.mask, config.loss, config.align
  if mask.mask_fraction + mask.random_fraction > 1:
    raise UserError(
      f"mask.mask_fraction={mask.mask_fraction} and"
      f" mask.random_fraction={mask.random_fraction} make more than 1"
    )
  names = ("itm", "mlm", "mim", "gmlm", "gmim", "align")
  weights = {name: getattr(loss, name) for name in names}
  others = config.task != "item" or config.objectives
  if not others and not any(weights.values()):
    raise UserError(f"every loss weight is zero: {weights}")
  spec = TASKS.get(config.task)
  if loss.align and spec and "align" not in spec.objectives:
    joined = [repr(n) for n, one in TASKS.items() if "align" in one.objectives]
    raise UserError(
      f"loss.align={loss.align} joins task={' or '.join(joined)}, not"
      f" {config.task!r}"
    )
  if a.fused and a.views == "augmented":
    raise UserError(
      "align.fused=True joins the views of align.views=cross_modal or both,"
      " not of augmented"
    )


def _check_run(config: Config) -> None:
  # Other evaluators have measures of their own; what they return is checked.
  built_in = config.evaluators == ("retrieval",)
  if built_in and config.checkpoint.best not in MEASURES:
    raise UserError(
      f"checkpoint.best={config.checkpoint.best!r}: known are"
      f" {', '.join(MEASURES)}"
    )
  if 0 < config.steps <= config.optim.warmup:
    raise UserError(
      f"optim.warmup={config.optim.warmup} takes all of steps={config.steps},"
      " and the learning rate would never decay: for a short run give"
      f" --config.optim.warmup={config.steps // 10} too"
    )
  if not config.data.path:
    raise UserError("data.path is empty: give --config.data.path=DATA")


def _check_start(config: Config) -> None:
  """What is of parameters that are started from needs some."""
  o = config.optim
  for name, value, nothing in (
    ("start_rate", o.start_rate, 1.0),
    ("layer_decay", o.layer_decay, 1.0),
    ("freeze_steps", o.freeze_steps, 0),
  ):
    if value != nothing and not config.start_from:
      raise UserError(
        f"optim.{name}={value} is of the parameters that a run starts from:"
        " give --config.start_from=WEIGHTS, or"
        f" --config.optim.{name}={nothing}"
      )
  if 0 < config.steps <= o.freeze_steps:
    raise UserError(
      f"optim.freeze_steps={o.freeze_steps} takes all of steps={config.steps}"
    )


def _divides(name: str, value: int, of: str, whole: int) -> None:
  if whole % value:
    raise UserError(f"{name}={value} does not divide {of}={whole}")

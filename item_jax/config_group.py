"""Makes groups of options: dataclasses that check names and types."""

import dataclasses
import functools
import math
import typing
import warnings
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from item_jax.errors import UserError

PATH = "package.module:NAME"  # how what is outside is named
# What an option was called in version 0.1, and is called now.
RENAMED = {
  "max_bad_steps": "max_skipped_steps",
  "data.threads": "data.read_threads",
  "data.ahead": "data.prefetch",
  "data.max_bad_share": "data.max_bad_fraction",
  "model.title_places": "model.max_title_tokens",
  "model.word_multiple": "model.vocab_pad_multiple",
  "clip.share": "clip.image_weight",
  "mask.mask_share": "mask.mask_fraction",
  "mask.random_share": "mask.random_fraction",
  "loss.swap_rate": "loss.negative_rate",
  "loss.keep_unmatched": "loss.keep_negatives",
  "align.word_drop": "align.token_drop",
  "align.side_drop": "align.modality_drop",
}
# The same of an option's values.
RENAMED_VALUES = {
  "align.views": {"sides": "cross_modal", "twins": "augmented"},
}

# Options that version 0.1 had not; a run that it saved has their defaults.
ADDED = frozenset(
  {
    "data.tokenizer",
    "data.features",
    "evaluators",
    "loss.mim_target",
    "mesh.reduce_dtype",
    "model.cls_share",
    "model.sides",
    "model.stem",
    "model.stem_grid",
    "objectives",
    "model.pool",
    "stem_from",
    "optim.sides_rate",
    "optim.start_rate",
    "optim.layer_decay",
    "optim.freeze_steps",
    "optim.stem_rate",
    "products.crop",
    "products.hard",
    "products.light",
    "products.modality_drop",
    "products.patch_drop",
    "products.singles",
    "products.temperature",
    "products.token_drop",
  }
)


def option(default: Any, **limits: Any) -> Any:
  """A field whose values `check_limits` checks.

  Args:
    limits: at_least, above, at_most, below: the ends of a range; choices: the
      allowed values; names: the same beside any dotted path; why: what the
      message adds.
  """
  return dataclasses.field(default=default, metadata=limits)


def fraction(default: float, **limits: Any) -> Any:
  """A field from 0 to 1; `limits` as of `option` change the ends."""
  low = {} if "above" in limits else {"at_least": 0}
  high = {} if "below" in limits else {"at_most": 1}
  return option(default, **(low | high | limits))


def finite(default: float, **limits: Any) -> Any:
  """A number that is not infinite; `limits` as of `option`."""
  return option(default, **limits, below=math.inf)


@dataclasses.dataclass
class Group:
  """A group of options: a dataclass that knows its own fields and types.

  An unknown name or a value of another type is an error where it is set, and
  not a run with the defaults.
  """

  if TYPE_CHECKING:  # else it would be an option
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    _given: set[str] = dataclasses.field(init=False)

  def __post_init__(self) -> None:
    given = {
      field.name
      for field in dataclasses.fields(self)
      if getattr(self, field.name) != field.default
    }
    super().__setattr__("_given", given)

  def is_given(self, name: str) -> bool:
    """Whether an option was set, and not only by default or by `prefer`."""
    return name in self._given

  def prefer(self, **options: Any) -> None:
    """Sets options that the weights of `start_from` may change."""
    given = set(self._given)
    for name, value in options.items():
      setattr(self, name, value)
    super().__setattr__("_given", given)

  def __setattr__(self, name: str, value: Any) -> None:
    kinds = _kinds(type(self))
    group = self._group()
    if group + name in RENAMED:
      name = present_name(group + name).removeprefix(group)
    if name not in kinds:
      raise UserError(
        f"no such option: {group}{name}; there are {', '.join(kinds)}"
      )
    kind = kinds[name]
    if kind is float and type(value) is int:
      value = float(value)
    if kind is tuple and isinstance(value, list):
      value = tuple(value)
    # True is an int to Python.
    fits = kind is bool or not isinstance(value, bool)
    if not (fits and isinstance(value, kind)):
      raise UserError(
        f"{group}{name}={value!r} is a {type(value).__name__}, expected"
        f" {kind.__name__}"
      )
    if isinstance(value, tuple) and not all(isinstance(x, str) for x in value):
      raise UserError(f"{group}{name}={value!r}: expected a tuple of strings")
    super().__setattr__(name, _present_value(group + name, value))
    if "_given" in self.__dict__:  # else it is being made
      self._given.add(name)

  def __getattr__(self, name: str):
    """Looks up an option by its former name; called only for absent fields."""
    full = self._group() + name
    if full not in RENAMED:
      raise AttributeError(f"no such option: {full}")
    return getattr(self, present_name(full).rpartition(".")[2])

  @classmethod
  def _group(cls) -> str:
    """Its name and a dot; nothing for the whole of the options."""
    return "" if "steps" in _kinds(cls) else f"{cls.__name__.lower()}."


@functools.cache
def _kinds(group: type) -> dict[str, type]:
  return typing.get_type_hints(group)


def present_name(name: str) -> str:
  """The present name of an option, with a warning."""
  new = RENAMED[name]
  _warn(f"config.{name} is now called config.{new}; the former name")
  return new


def _present_value(name: str, value):
  """The present spelling of an option's value, with a warning."""
  spellings = RENAMED_VALUES.get(name, {})
  if not isinstance(value, str) or value not in spellings:
    return value
  _warn(
    f"config.{name}={value} is now called {spellings[value]}; the former value"
  )
  return spellings[value]


def _warn(subject: str) -> None:
  warnings.warn(f"{subject} goes with version 0.3", FutureWarning, stacklevel=4)


def check_limits(group: Group, prefix: str = "") -> None:
  """Holds every field against the limits that it was declared with.

  Args:
    group: a dataclass of options; groups within it are checked as well.
    prefix: goes before a field's name in a message: "optim.".

  Raises:
    UserError: names the field, its value and what is expected.
  """
  for field in dataclasses.fields(group):
    value, name = getattr(group, field.name), prefix + field.name
    if isinstance(value, Group):
      check_limits(value, f"{name}.")
    elif field.metadata and not _within(value, field.metadata):
      raise UserError(f"{name}={value!r}: {_expected(field.metadata)}")


def _within(value, limits) -> bool:
  if "choices" in limits:
    return value in limits["choices"]
  if "names" in limits:
    return value in limits["names"] or ":" in value
  # Each is False of a number that is none.
  return (
    ("at_least" not in limits or value >= limits["at_least"])
    and ("above" not in limits or value > limits["above"])
    and ("at_most" not in limits or value <= limits["at_most"])
    and ("below" not in limits or value < limits["below"])
  )


def _expected(limits) -> str:
  if "choices" in limits:
    return f"known are {', '.join(map(str, limits['choices']))}"
  if "names" in limits:
    return f"known are {', '.join(limits['names'])}, or give {PATH}"
  ends = [
    "finite" if limit == float("inf") else f"{end.replace('_', ' ')} {limit}"
    for end, limit in limits.items()
    if end != "why"
  ]
  why = f" ({limits['why']})" if "why" in limits else ""
  return f"expected {' and '.join(ends)}{why}"


G = TypeVar("G", bound=Group)


def read_extra(config: Any, name: str, kind: type[G]) -> G:
  """Reads `config.extra[name]`, options of another package, as a typed group.

  Args:
    config: the `Config` of a run.
    kind: a dataclass that inherits `Group`; an option that is not given has
      its default.

  Raises:
    UserError: an option that `kind` has not, or a value out of its limits.
  """
  options = kind()
  for field, value in config.extra.get(name, {}).items():
    setattr(options, field, value)
  check_limits(options, f"extra.{name}.")
  return options

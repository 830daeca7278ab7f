"""Makes the parameters that a run starts from, each part when it is needed."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from item_jax import tasks
from item_jax.batch import Batch
from item_jax.config import Config
from item_jax.data.grids import Grids
from item_jax.data.records import Dataset
from item_jax.data.tokenizer import Tokenizer
from item_jax.models.base import SIDES, STEM
from item_jax.objectives import samples
from item_jax.tasks import Task
from item_jax.training.fit_sides import fit_sides
from item_jax.training.init_from import Start, starting_params
from item_jax.training.run import RunRecord
from item_jax.training.stem_features import fingerprint, open_grids, sample


class FirstParams:
  """The first parameters of a run, and what is computed of them.

  taken: names of the leaves that came from files.
  """

  def __init__(
    self,
    config: Config,
    task: Task,
    store: Dataset,
    tokenizer: Tokenizer,
    categories: Sequence[str],
    run: RunRecord | None,
  ):
    """Takes what set_up has.

    Args:
      run: what was saved, where a run is resumed.

    Raises:
      UserError: as `init_from.starting_params`: what is refused is refused
        before minutes of compiling.
    """
    self._config, self._task = config, task
    self._store, self._tokenizer = store, tokenizer
    self._categories, self._run = categories, run
    self.taken = run.taken if run else ()
    if run is None and (config.keeps_start or config.model.stem != "patch"):
      self.taken = self.start.taken

  @functools.cached_property
  def start(self) -> Start:
    """What the seed and files give."""
    task, seed = self._task, self._config.seed
    initial = jax.jit(lambda: tasks.initial_params(task, seed))()
    return starting_params(
      self._config, task, self._tokenizer, self._categories, initial
    )

  @functools.cached_property
  def stem(self) -> str:
    """Fingerprint of the stem whose features steps read; "" where none do."""
    if not self._config.data.features:
      return ""
    saved = self._run.stem if self._run else ""
    return saved or fingerprint(self.start.params[STEM])

  @functools.cached_property
  def grids(self) -> dict[str, Grids]:
    """A stem's features by split; they are computed where there are none."""
    if not self.stem:
      return {}
    return open_grids(
      *(self._config, self._store, self._tokenizer),
      weights=self.stem,
      params=lambda: self.start.params[STEM],
    )

  def sample(self, rows: int) -> Iterator[Batch]:
    """Reads rows spread over the training split, as its steps read them."""
    return sample(self._config, self._store, self._tokenizer, self.grids, rows)

  @property
  def params(self) -> Any:
    """What the first State has: `start`, and sides learnt from the data."""
    params, config = self.start.params, self._config
    taken = any(name.startswith(f"{SIDES}/") for name in self.taken)
    if SIDES not in params or taken:
      return params
    tokens_NT = samples.titles(
      self._store,
      config.data.train_split,
      self._tokenizer,
      config.model.max_title_tokens,
    )
    return fit_sides(self._task, params, self.sample, tokens_NT)

  def forget(self) -> None:
    """Frees the copy of all parameters that the host holds."""
    self.__dict__.pop("start", None)

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
from item_jax.distributed.collectives import tree_as_first
from item_jax.distributed.progress import ProgressListener
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
    progress: ProgressListener | None = None,
  ):
    """Takes what set_up has.

    Args:
      run: what was saved, where a run is resumed.
      progress: is informed while a stem's features are computed.

    Raises:
      UserError: as `init_from.starting_params`: what is refused is refused
        before minutes of compiling.
    """
    self._config, self._task = config, task
    self._store, self._tokenizer = store, tokenizer
    self._categories, self._run = categories, run
    self._progress = progress
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
    """Fingerprint of a stem that training does not move; "" without one."""
    if self._config.model.stem == "patch" or self._config.optim.stem_rate:
      return ""
    saved = self._run.stem if self._run else ""
    return saved or fingerprint(self.start.params[STEM])

  @functools.cached_property
  def grids(self) -> dict[str, Grids]:
    """A stem's features by split; they are computed where there are none."""
    if not self._config.data.features:
      return {}
    return open_grids(
      *(self._config, self._store, self._tokenizer),
      weights=self.stem,
      params=lambda: self.start.params[STEM],
      progress=self._progress,
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
    params = fit_sides(
      self._task, params, self.sample, tokens_NT, self._tokenizer.joins()
    )
    # Principal directions turn by the last bit of what they are made of.
    return {**params, SIDES: tree_as_first(params[SIDES])}

  def forget(self) -> None:
    """Frees the copy of all parameters that the host holds."""
    self.__dict__.pop("start", None)

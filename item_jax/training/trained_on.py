"""Opens the data set that a run was trained on."""

from pathlib import Path

from item_jax.data.records import Dataset, open_dataset
from item_jax.errors import NotFoundError, UserError
from item_jax.training.run import RunRecord, read_run

RUN = "run="  # before a run's workdir, where a data set may stand too


def open_training(place: str) -> tuple[Dataset, str]:
  """Opens what a run was trained on: a data set, and the split of it.

  Args:
    place: "run=WORKDIR", or the folder of a data set.

  Raises:
    NotFoundError: the data of the run are not where it found them.
    UserError: others are there; or there is no run or data set.
  """
  if not place.startswith(RUN):
    return open_dataset(place), "train"
  run = read_run(Path(place.removeprefix(RUN)))
  return open_data(run), run.config.data.train_split


def open_data(run: RunRecord) -> Dataset:
  """Opens the data set of a run where the run found it.

  Raises:
    NotFoundError: it is not there.
    UserError: another one is there.
  """
  path, split = run.config.data.path, run.config.data.train_split
  try:
    dataset = open_dataset(path)
  except NotFoundError as error:
    raise NotFoundError(
      f"the run was trained on {path}, which is not here: give the folder of"
      " that data set in its place"
    ) from error
  if dataset.fingerprints.get(split) != run.data[split]:
    raise UserError(
      f"{path} holds other records of {split} than the run was trained on:"
      " give the folder of those in its place"
    )
  return dataset

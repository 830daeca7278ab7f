"""Product embeddings from image and title, learnt without labels (ITEm).

What stands in `__all__` is the public interface. A name is imported when it is
first used: importing the package imports neither jax nor numpy.

    dataset = item_jax.prepare("products.csv", images="images", out="data")
    config = item_jax.load_config("configs/item_tiny.py", data__path="data")
    run = item_jax.train(config, "run")
    model = item_jax.load("run")
    vectors = model.embed(images=["mug.jpg"], titles=["red mug"])
    print(item_jax.score(item_jax.export("run", data="data", out="export")))
"""

import importlib
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from item_jax.config import Config
  from item_jax.config_flags import load_config
  from item_jax.data.records import Dataset, open_dataset
  from item_jax.distributed.preemption import Preempted
  from item_jax.errors import UserError
  from item_jax.evaluation import baselines
  from item_jax.evaluation.atlas import browse
  from item_jax.evaluation.changed import score_across
  from item_jax.evaluation.cross_domain import CrossDomain
  from item_jax.evaluation.explanation import Explanation
  from item_jax.evaluation.fusion import Fusion, fuse
  from item_jax.evaluation.items import Export, open_export
  from item_jax.evaluation.modality_table import Modality
  from item_jax.evaluation.probe import Probe, probe
  from item_jax.evaluation.ranking import Neighbours
  from item_jax.evaluation.report import Report, report
  from item_jax.evaluation.retrieval import Scores, score
  from item_jax.evaluation.robustness import Robustness
  from item_jax.evaluation.search import search
  from item_jax.inference.cross_domain import cross_domain
  from item_jax.inference.embedder import Embedder, load
  from item_jax.inference.explain import explain
  from item_jax.inference.export import export
  from item_jax.inference.modality import modality
  from item_jax.inference.package import package
  from item_jax.inference.robustness import robustness
  from item_jax.ingest.prepare import prepare
  from item_jax.training.loop import train
  from item_jax.training.run import Run

__version__ = "0.1.0"
IMPORTED = time.time()  # a module that was changed later may run as it was

__all__ = [
  "Config",
  "CrossDomain",
  "Dataset",
  "Embedder",
  "Explanation",
  "Export",
  "Fusion",
  "Modality",
  "Neighbours",
  "Preempted",
  "Probe",
  "Report",
  "Robustness",
  "Run",
  "Scores",
  "UserError",
  "baselines",
  "browse",
  "cross_domain",
  "explain",
  "export",
  "fuse",
  "load",
  "load_config",
  "modality",
  "open_dataset",
  "open_export",
  "package",
  "prepare",
  "probe",
  "report",
  "robustness",
  "score",
  "score_across",
  "search",
  "train",
]

# The modules that hold these names, below item_jax.
_HOMES = {
  "config": ("Config",),
  "config_flags": ("load_config",),
  "data.records": ("Dataset", "open_dataset"),
  "distributed.preemption": ("Preempted",),
  "errors": ("UserError",),
  "evaluation": ("baselines",),
  "evaluation.atlas": ("browse",),
  "evaluation.changed": ("score_across",),
  "evaluation.explanation": ("Explanation",),
  "evaluation.cross_domain": ("CrossDomain",),
  "evaluation.fusion": ("Fusion", "fuse"),
  "evaluation.items": ("Export", "open_export"),
  "evaluation.modality_table": ("Modality",),
  "evaluation.probe": ("Probe", "probe"),
  "evaluation.ranking": ("Neighbours",),
  "evaluation.report": ("Report", "report"),
  "evaluation.retrieval": ("Scores", "score"),
  "evaluation.robustness": ("Robustness",),
  "evaluation.search": ("search",),
  "inference.cross_domain": ("cross_domain",),
  "inference.embedder": ("Embedder", "load"),
  "inference.explain": ("explain",),
  "inference.export": ("export",),
  "inference.modality": ("modality",),
  "inference.package": ("package",),
  "inference.robustness": ("robustness",),
  "ingest.prepare": ("prepare",),
  "training.loop": ("train",),
  "training.run": ("Run",),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
  if name not in _HOME:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  home = f"{__name__}.{_HOME[name]}"
  if name == "baselines":
    found = importlib.import_module(f"{home}.{name}")
  else:
    found = getattr(importlib.import_module(home), name)
  globals()[name] = found
  return found


def __dir__() -> list[str]:
  return sorted({*__all__, "__version__"})

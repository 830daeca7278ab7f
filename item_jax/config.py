"""Holds every option of a run: typed fields with unit, range and reason."""

import copy
import dataclasses
import math
from typing import Any

from item_jax.components import MODELS, STEMS, TASKS
from item_jax.config_align import Align
from item_jax.config_baselines import Clip, Resnet
from item_jax.config_group import (
  ADDED,
  RENAMED,
  RENAMED_VALUES,
  Group,
  fraction,
  option,
)
from item_jax.config_products import Products
from item_jax.errors import UserError


@dataclasses.dataclass
class Data(Group):
  path: str = ""  # folder written by `item-jax prepare`
  train_split: str = "train"
  val_split: str = "val"
  # A tokenizer's folder or file, in place of the data set's: what weights of
  # another project were trained with. Titles are cut as they are read.
  tokenizer: str = ""
  # Where a frozen stem's features of each image are kept, so that a step reads
  # them instead of pixels: a folder, "auto" for one beside the data set
  # (DATA.features), "" to compute them anew in every step.
  features: str = ""
  # Processes that read and decode; 0 does it in threads of the trainer.
  workers: int = option(0, at_least=0)
  # Threads a process reads with. Grain's own default of 16 halves the rate
  # on two cores.
  read_threads: int = option(2, at_least=1)
  prefetch: int = option(4, at_least=1)  # batches held ready
  # A record that cannot be read is replaced and counted; a run stops when
  # more than this fraction of the rows were such. One a pass never stops it,
  # unless this is 0.
  max_bad_fraction: float = fraction(0.001)


@dataclasses.dataclass
class Model(Group):
  # "item", "resnet50" and "efficientnet_lite0" (images only), "roberta"
  # (titles only), "clip", or "package.module:make_network"
  # (docs/extending.md).
  name: str = option("item", names=tuple(MODELS))
  # 12 x 768 x 12 is BERT-base and ViT-B: 224 pixels and patches of 16 are the
  # paper's; the rest is not stated there.
  image_size: int = option(224, at_least=1)  # pixels
  patch: int = option(16, at_least=1)  # pixels
  # What an image becomes before the transformer: "patch", linear patches as in
  # the paper, or the last features of a network with weights (`stem_from`).
  stem: str = option("patch", choices=STEMS)
  # Places a side that its features are averaged to; 0: as many as there are,
  # a 32nd of the pixels.
  stem_grid: int = option(0, at_least=0)
  # [SEP] included: 1 + 196 + 59 = 256 positions in all.
  max_title_tokens: int = option(59, at_least=3, why="two tokens and [SEP]")
  layers: int = option(12, at_least=1)
  width: int = option(768, at_least=1)
  heads: int = option(12, at_least=1)
  mlp: int = option(3072, at_least=1)
  dropout: float = fraction(0.1, below=1)
  # "post" as BERT, "pre" as ViT; pre trains more easily.
  norm: str = option("post", choices=("post", "pre"))
  # Of the layer norms, and the nonlinearity of the MLPs: "gelu" or
  # "quick_gelu". Weights of other projects want their own (docs/training.md).
  epsilon: float = option(1e-6, above=0)
  activation: str = option("gelu", choices=("gelu", "quick_gelu"))
  # The global heads read [CLS] and the position "concat"enated or their "sum".
  global_head: str = option("concat", choices=("concat", "sum"))
  # What "roberta" embeds a title by: the mean of its states, or [CLS]'s.
  pool: str = option("mean", choices=("mean", "cls"))
  # Width of a vector of the image and one of the title that pass the
  # transformer by and join [CLS] in the embedding (models.sides); 0: none.
  sides: int = option(0, at_least=0)
  # Of [CLS] in a cosine with sides, before training; they halve the rest.
  cls_share: float = fraction(0.1, above=0, below=1)
  # Whether the title's side reads words, and not the pieces that a vocabulary
  # cuts rare ones into.
  whole_words: bool = True
  init_std: float = 0.02  # of the truncated normal
  # Of the computation; parameters stay float32.
  dtype: str = option("bfloat16", choices=("bfloat16", "float32"))
  # The kernel; "auto" takes cuDNN's where it supports network and device.
  # "pallas": jax's for TPUs (docs/accelerators.md).
  attention: str = option("auto", choices=("auto", "xla", "cudnn", "pallas"))
  # Generator of dropout's bits. Those of "rbg" depend on the mesh, threefry's
  # do not; that it is cheaper is not shown (docs/accelerators.md).
  dropout_bits: str = option("threefry2x32", choices=("threefry2x32", "rbg"))
  remat: bool = False  # recompute each layer in the backward pass: less memory
  # The token table is padded to a multiple of this many rows, for the matrix
  # units and for splitting it over devices.
  vocab_pad_multiple: int = option(128, at_least=1)


@dataclasses.dataclass
class Mask(Group):
  title_rate: float = fraction(0.15, above=0)  # of the tokens, at least one
  # Of the patches; raise it if images are neglected.
  patch_rate: float = fraction(0.15, above=0)
  # What a masked token is replaced by: [MASK], another token, else itself.
  mask_fraction: float = fraction(0.8)
  random_fraction: float = fraction(0.1)


@dataclasses.dataclass
class Loss(Group):
  # Weights of the five losses.
  itm: float = option(1.0, at_least=0, below=math.inf)
  mlm: float = option(1.0, at_least=0, below=math.inf)
  mim: float = option(1.0, at_least=0, below=math.inf)
  gmlm: float = option(1.0, at_least=0, below=math.inf)
  gmim: float = option(1.0, at_least=0, below=math.inf)
  negative_rate: float = fraction(0.5)  # of the pairs, given another title
  # True: negative pairs count in the mask losses too.
  keep_negatives: bool = False
  # What MIM and GMIM recover of a hidden place: its "pixels", or the frozen
  # stem's "features" there, standardised.
  mim_target: str = option("pixels", choices=("pixels", "features"))
  # Standardise each target patch, its variance floored (see losses.py).
  normalise_patches: bool = False
  # Weight of the alignment loss, beyond the paper (`Align`). At 0 none of its
  # work is done.
  align: float = option(0.0, at_least=0, below=math.inf)


@dataclasses.dataclass
class Optim(Group):
  lr: float = option(1e-4, at_least=0)  # peak
  # Steps from 0 to the peak; then linear to 0.
  warmup: int = option(10_000, at_least=0)
  b1: float = fraction(0.9, below=1)
  b2: float = fraction(0.999, below=1)
  eps: float = option(1e-8, above=0)
  decay: float = option(0.01, at_least=0)  # not on biases, norms, embeddings
  clip: float = option(1.0, above=0)  # global gradient norm
  accumulate: int = option(1, at_least=1)  # microbatches a step
  # A step is skipped whose gradient norm lies more than this many robust
  # deviations above the median of the accepted ones before it; 0: none is.
  spike: float = option(0.0, at_least=0)
  # Accepted norms that are looked back on.
  spike_history: int = option(128, at_least=16)
  # The next three are of the parameters that `start_from` gives; what is made
  # new always moves at lr.
  start_rate: float = option(1.0, at_least=0)  # of lr; 0: they stay
  # Of an encoder's L layers the i-th moves at layer_decay^(L-1-i) of that, the
  # embeddings below them at layer_decay^L.
  layer_decay: float = fraction(1.0, above=0)
  freeze_steps: int = option(0, at_least=0)  # first steps in which they stay
  stem_rate: float = option(0.0, at_least=0)  # the image stem's, of lr
  sides_rate: float = option(0.2, at_least=0)  # of `model.sides`, of lr


@dataclasses.dataclass
class Mesh(Group):
  data: int = -1  # -1: whatever devices fsdp leaves
  fsdp: int = 1  # devices over which parameters and opt_state are split
  # In which gradients are added up over devices, where model.dtype is smaller:
  # bfloat16 sends half the bytes, and rounds every sum of two. A convolution's
  # are in model.dtype either way: whether cuDNN gives it float32 is not tried.
  reduce_dtype: str = option("float32", choices=("float32", "bfloat16"))

  @property
  def devices(self) -> int:
    """How many it names; `on_devices` puts a number in place of data=-1."""
    return max(1, self.data) * self.fsdp


@dataclasses.dataclass
class Checkpoint(Group):
  every: int = option(1_000, at_least=1)  # steps
  minutes: float = option(15.0, above=0)
  keep: int = option(3, at_least=1)  # the newest; the best is kept beside them
  # What makes one the best, of what validation measures; the larger the better.
  # Not given, of a task that predicts categories it is "category/accuracy".
  best: str = "both/map@10"


@dataclasses.dataclass
class Config(Group):
  # "item" (the five losses), "category" (leaf category, any model), "mlm"
  # (masked tokens, roberta), "contrastive" (image against title, clip),
  # "products" (which listings are one product), "none" (weights as they are,
  # in 0 steps), or "package.module:TASK" (docs/extending.md).
  task: str = option("item", names=tuple(TASKS))
  # More objectives beside the task's: "package.module:make_objective".
  objectives: tuple = ()
  # Options of code outside of this package: {group: {name: value}}.
  extra: dict = dataclasses.field(default_factory=dict)
  # Parameters to start from: a workdir of ours, or a local file or folder of
  # safetensors of another project.
  start_from: str = ""
  # The stem's: a local file or folder of safetensors of another project.
  stem_from: str = ""
  # 0: the parameters that are started from are the result.
  steps: int = option(100_000, at_least=0)
  batch_size: int = option(512, at_least=1)  # pairs a step over all devices
  seed: int = option(0, at_least=0, below=2**32, why="32 bits")
  log_every: int = option(50, at_least=1)  # steps
  eval_every: int = option(5_000, at_least=1)  # steps
  # What measures a run every `eval_every` steps: names of
  # training.evaluators.EVALUATORS, or "package.module:attribute" of others.
  evaluators: tuple = ("retrieval",)
  # Skipped steps in a row before the run stops.
  max_skipped_steps: int = option(10, at_least=1)
  data: Data = dataclasses.field(default_factory=Data)
  model: Model = dataclasses.field(default_factory=Model)
  resnet: Resnet = dataclasses.field(default_factory=Resnet)
  clip: Clip = dataclasses.field(default_factory=Clip)
  mask: Mask = dataclasses.field(default_factory=Mask)
  loss: Loss = dataclasses.field(default_factory=Loss)
  align: Align = dataclasses.field(default_factory=Align)
  products: Products = dataclasses.field(default_factory=Products)
  optim: Optim = dataclasses.field(default_factory=Optim)
  mesh: Mesh = dataclasses.field(default_factory=Mesh)
  checkpoint: Checkpoint = dataclasses.field(default_factory=Checkpoint)

  @property
  def keeps_start(self) -> bool:
    """Whether its first parameters cannot be made again from the seed."""
    return bool(self.start_from or self.stem_from or self.model.sides)


# Fields that may differ between a run and its resumption: they change where
# and how often, never what is computed.
FREE_ON_RESUME = frozenset(
  {
    "data.path",
    "data.tokenizer",  # its fingerprint must not
    "data.features",
    "data.workers",
    "data.read_threads",
    "data.prefetch",
    "data.max_bad_fraction",
    "checkpoint.every",
    "checkpoint.minutes",
    "checkpoint.keep",
    "mesh.data",
    "mesh.fsdp",
    "model.remat",
    "eval_every",
    "evaluators",
    "max_skipped_steps",
  }
)


def flatten(config: Config) -> dict[str, Any]:
  """{"optim.lr": 1e-4, ...} of every field, as JSON keeps it."""
  flat = {}
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if field.name == "extra":
      for group, options in value.items():
        flat |= {f"extra.{group}.{name}": v for name, v in options.items()}
    elif isinstance(value, Group):
      flat |= {
        f"{field.name}.{name}": v
        for name, v in dataclasses.asdict(value).items()
      }
    else:
      flat[field.name] = list(value) if isinstance(value, tuple) else value
  return flat


def from_flat(flat: dict[str, Any]) -> Config:
  """Makes a Config of what `flatten` gave, in this version or in 0.1.

  Raises:
    UserError: the names are not those of a Config.
  """
  config = Config()
  ours = flatten(config)
  flat = {RENAMED.get(name, name): value for name, value in flat.items()}
  for name, spellings in RENAMED_VALUES.items():
    if name in flat:
      flat[name] = spellings.get(str(flat[name]), flat[name])
  extra = [name for name in flat if name.startswith("extra.")]
  for name in extra:
    _, group, leaf = name.split(".", 2)
    config.extra.setdefault(group, {})[leaf] = flat.pop(name)
  flat.setdefault("model.whole_words", False)  # a run without it read pieces
  lacking = ours.keys() - flat.keys() - ADDED
  if lacking or flat.keys() - ours.keys():
    raise UserError(
      f"the saved config lacks {sorted(lacking)} and has unknown"
      f" {sorted(flat.keys() - ours.keys())}: it was written by another version"
    )
  for name, value in flat.items():
    *group, leaf = name.split(".")
    holder = getattr(config, group[0]) if group else config
    setattr(holder, leaf, value)
  return config


def on_devices(config: Config, devices: int) -> Config:
  """A copy whose mesh names these devices, for networks to know how many."""
  config = copy.deepcopy(config)
  config.mesh.data, config.mesh.fsdp = resolve_mesh(config.mesh, devices)
  return config


def resolve_mesh(mesh: Mesh, devices: int) -> tuple[int, int]:
  """(data, fsdp) sizes that use every device, or UserError."""
  data = devices // max(1, mesh.fsdp) if mesh.data == -1 else mesh.data
  if mesh.fsdp < 1 or data < 1 or data * mesh.fsdp != devices:
    raise UserError(
      f"mesh.data={mesh.data} x mesh.fsdp={mesh.fsdp} does not make up the"
      f" {devices} devices there are"
    )
  return data, mesh.fsdp

"""Every option of a run: typed fields with unit and reason."""

import dataclasses
import warnings

from item_jax.errors import UserError

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


class _Typed:
  """Takes its own fields and values of their types alone, so that a slip in a
  config file is an error there, and not a run with the defaults."""

  def __setattr__(self, name: str, value) -> None:
    kinds = type(self).__annotations__
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
    if kind is tuple and type(value) is list:  # as JSON has it
      value = tuple(value)
    # True is an int to Python.
    fits = kind is bool or not isinstance(value, bool)
    if not (fits and isinstance(value, kind)):
      raise UserError(
        f"{group}{name}={value!r} is a {type(value).__name__}, expected"
        f" {kind.__name__}"
      )
    super().__setattr__(name, value)

  def __getattr__(self, name: str):
    """Looks up an option by its former name; called for absent fields alone."""
    full = self._group() + name
    if full not in RENAMED:
      raise AttributeError(f"no such option: {full}")
    return getattr(self, present_name(full).rpartition(".")[2])

  @classmethod
  def _group(cls) -> str:
    """Its name and a dot; nothing for the whole of the options."""
    return "" if "steps" in cls.__annotations__ else f"{cls.__name__.lower()}."


def present_name(name: str) -> str:
  """The present name of an option, with a warning."""
  new = RENAMED[name]
  warnings.warn(
    f"config.{name} is now called config.{new}; the former name goes with"
    " version 0.3",
    FutureWarning,
    stacklevel=3,
  )
  return new


@dataclasses.dataclass
class Data(_Typed):
  path: str = ""  # folder written by `item-jax prepare`
  train_split: str = "train"
  val_split: str = "val"
  # Processes that read and decode; 0 does it in threads of the trainer.
  workers: int = 0
  # Threads a process reads with. Grain's own default of 16 halves the rate
  # on two cores.
  read_threads: int = 2
  prefetch: int = 4  # batches held ready
  # A record that cannot be read is replaced and counted; a run stops when
  # more than this share of the rows were such. One a pass never stops it,
  # unless this is 0.
  max_bad_fraction: float = 0.001


@dataclasses.dataclass
class Model(_Typed):
  # "item", "resnet50" (photo alone), "roberta" (title alone), "clip".
  name: str = "item"
  # 12 x 768 x 12 is BERT-base and ViT-B: 224 pixels and patches of 16 are the
  # paper's; the rest is not stated there.
  image_size: int = 224  # pixels
  patch: int = 16  # pixels
  # Places for the title, [SEP] included: 1 + 196 + 59 = 256 places in all.
  max_title_tokens: int = 59
  layers: int = 12
  width: int = 768
  heads: int = 12
  mlp: int = 3072
  dropout: float = 0.1
  norm: str = "post"  # "post" as BERT, "pre" as ViT; pre trains more easily
  # Of the layer norms, and the nonlinearity of the MLPs: "gelu" or
  # "quick_gelu". Weights of other projects want their own (README).
  epsilon: float = 1e-6
  activation: str = "gelu"
  # The global heads read [CLS] and the place "concat"enated or as their "sum".
  global_head: str = "concat"
  init_std: float = 0.02  # of the truncated normal
  dtype: str = "bfloat16"  # of the computation; parameters stay float32
  # "auto" takes cuDNN where it supports the network, dtype and device.
  attention: str = "auto"
  # Generator of dropout's bits. "rbg" is cheaper on accelerators, but its
  # bits depend on the mesh; threefry's do not.
  dropout_bits: str = "threefry2x32"
  remat: bool = False  # recompute each layer in the backward pass: less memory
  # The word table is padded to a multiple of this many rows, for the matrix
  # units and for splitting it over devices.
  vocab_pad_multiple: int = 128


@dataclasses.dataclass
class Resnet(_Typed):
  width: int = 64  # channels of the first stage; the pool has 32 times as many
  # "batch" as published, reduced over the global batch; "group" is the same
  # for any batch and trains better on small ones.
  norm: str = "group"
  # How pixels are normalised: "half" to [-1, 1], or "imagenet" by the mean and
  # deviation that published weights were trained with.
  pixels: str = "half"


@dataclasses.dataclass
class Clip(_Typed):
  # The photo's tower has model's layers, width, heads and mlp; these are the
  # text tower's and the common space's, of CLIP ViT-B.
  text_layers: int = 12
  text_width: int = 512
  text_heads: int = 8
  text_mlp: int = 2_048
  projection: int = 512
  image_weight: float = 0.5  # in the fused score; the title has the rest


@dataclasses.dataclass
class Mask(_Typed):
  title_rate: float = 0.15  # of the title's words, at least one
  patch_rate: float = 0.15  # of the patches; raise it if images are neglected
  # What a hidden word is replaced by: [MASK], another word, else itself.
  mask_fraction: float = 0.8
  random_fraction: float = 0.1


@dataclasses.dataclass
class Loss(_Typed):
  itm: float = 1.0  # weights of the five objectives
  mlm: float = 1.0
  mim: float = 1.0
  gmlm: float = 1.0
  gmim: float = 1.0
  negative_rate: float = 0.5  # share of pairs given another title
  # True: unmatched pairs count in the mask losses too.
  keep_negatives: bool = False
  # Standardise each target patch, its variance floored (see losses.py).
  normalise_patches: bool = False
  # Weight of a sixth objective, beyond the paper: `Align` says how. At 0 none
  # of its work is done.
  align: float = 0.0


@dataclasses.dataclass
class Align(_Typed):
  """Draws two views of a listing together, against the rest of the batch."""

  # "sides": the listing without its title against it without its photo, at
  # the cost of one more pass; "twins": two views that differ in crop, light,
  # words and sides, two more passes; "both": the mean of the two kinds.
  views: str = "sides"
  # Beside "sides", each side is also drawn to the listing with both.
  fused: bool = False
  # The rest is of "twins" alone, but for temperature and projection.
  changed: int = 2  # of the two twins; 1 leaves the other as it is
  crop: float = 0.5  # smallest share of the photo's area; 1 keeps all of it
  light: float = 0.2  # most that brightness and contrast change, as a share
  token_drop: float = 0.4  # of the title's words, at least one stays
  modality_drop: float = 0.25  # share of complete listings that lose one side
  temperature: float = 0.07  # at the start; learnt, as in CLIP
  # Width of a two-layer head between [CLS] and the loss; 0: none, so that
  # what is drawn together is the embedding itself.
  projection: int = 0


@dataclasses.dataclass
class Optim(_Typed):
  lr: float = 1e-4  # peak
  warmup: int = 10_000  # steps from 0 to the peak; then linear to 0
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-8
  decay: float = 0.01  # not on biases, norms and embeddings
  clip: float = 1.0  # global gradient norm
  accumulate: int = 1  # microbatches a step
  # A step is skipped whose gradient norm lies more than this many robust
  # deviations above the median of the accepted ones before it; 0: none is.
  spike: float = 0.0
  spike_history: int = 128  # accepted norms that are looked back on


@dataclasses.dataclass
class Mesh(_Typed):
  data: int = -1  # -1: whatever devices fsdp leaves
  fsdp: int = 1  # devices over which parameters and moments are split


@dataclasses.dataclass
class Checkpoint(_Typed):
  every: int = 1_000  # steps
  minutes: float = 15.0
  keep: int = 3  # the newest; the best is kept beside them
  # What makes one the best, of what validation measures; the larger the better.
  best: str = "both/map@10"


@dataclasses.dataclass
class Config(_Typed):
  # "item" (the five objectives), "category" (leaf category, any model), "mlm"
  # (masked words, roberta), "contrastive" (photo against title, clip).
  task: str = "item"
  # Parameters to start from: a workdir of ours, or a local file or folder of
  # safetensors of another project.
  start_from: str = ""
  steps: int = 100_000
  batch_size: int = 512  # pairs a step over all devices
  seed: int = 0
  log_every: int = 50  # steps
  eval_every: int = 5_000  # steps
  # What measures a run every `eval_every` steps: names of
  # training.evaluators.EVALUATORS, or "MODULE:NAME" of one of yours.
  evaluators: tuple = ("retrieval",)
  max_skipped_steps: int = 10  # skipped steps in a row before the run stops
  data: Data = dataclasses.field(default_factory=Data)
  model: Model = dataclasses.field(default_factory=Model)
  resnet: Resnet = dataclasses.field(default_factory=Resnet)
  clip: Clip = dataclasses.field(default_factory=Clip)
  mask: Mask = dataclasses.field(default_factory=Mask)
  loss: Loss = dataclasses.field(default_factory=Loss)
  align: Align = dataclasses.field(default_factory=Align)
  optim: Optim = dataclasses.field(default_factory=Optim)
  mesh: Mesh = dataclasses.field(default_factory=Mesh)
  checkpoint: Checkpoint = dataclasses.field(default_factory=Checkpoint)


# Fields that may differ between a run and its resumption: they change where
# and how often, never what is computed.
FREE_ON_RESUME = frozenset(
  {
    "data.path",
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
# Options that saved runs of an earlier version lack; the defaults are what
# those runs did.
ADDED = frozenset({"evaluators"})


def flatten(config: Config) -> dict[str, object]:
  """{"optim.lr": 1e-4, ...} of every field."""
  flat = {}
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if dataclasses.is_dataclass(value):
      flat |= {
        f"{field.name}.{name}": v
        for name, v in dataclasses.asdict(value).items()
      }
    else:
      flat[field.name] = value
  return flat


def from_flat(flat: dict[str, object]) -> Config:
  """Makes a Config of what `flatten` gave, in this version or in 0.1.

  Raises:
    UserError: the names are not those of a Config.
  """
  config = Config()
  ours = flatten(config)
  flat = {RENAMED.get(name, name): value for name, value in flat.items()}
  flat = {name: ours[name] for name in ADDED} | flat
  if ours.keys() != flat.keys():
    raise UserError(
      f"the saved config lacks {sorted(ours.keys() - flat.keys())} and has"
      f" unknown {sorted(flat.keys() - ours.keys())}: it was written by"
      " another version"
    )
  for name, value in flat.items():
    *group, leaf = name.split(".")
    holder = getattr(config, group[0]) if group else config
    setattr(holder, leaf, value)
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

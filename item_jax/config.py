"""Every option of a run: typed fields with unit and reason, checked once."""

import dataclasses
import math

from item_jax.errors import UserError


@dataclasses.dataclass
class Data:
  path: str = ""  # folder written by `item-jax prepare`
  train_split: str = "train"
  val_split: str = "val"
  # Processes that read and decode; 0 does it in threads of the trainer.
  workers: int = 0
  # Threads a process reads with. Grain's own default of 16 halves the rate
  # on two cores.
  threads: int = 2
  ahead: int = 4  # batches held ready


@dataclasses.dataclass
class Model:
  # "item", "resnet50" (photo alone), "roberta" (title alone), "clip".
  name: str = "item"
  # 12 x 768 x 12 is BERT-base and ViT-B: 224 pixels and patches of 16 are the
  # paper's; the rest is not stated there.
  image_size: int = 224  # pixels
  patch: int = 16  # pixels
  # Places for the title, [SEP] included: 1 + 196 + 59 = 256 places in all.
  title_places: int = 59
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
  # "auto" times cuDNN against XLA where cuDNN is there and takes the quicker.
  attention: str = "auto"
  # Generator of dropout's bits. "rbg" is cheaper on accelerators, but its
  # bits depend on the mesh; threefry's do not.
  dropout_bits: str = "threefry2x32"
  remat: bool = False  # recompute each layer in the backward pass: less memory
  # The word table is padded to a multiple of this many rows, for the matrix
  # units and for splitting it over devices.
  word_multiple: int = 128


@dataclasses.dataclass
class Resnet:
  width: int = 64  # channels of the first stage; the pool has 32 times as many
  # "batch" as published, reduced over the global batch; "group" is the same
  # for any batch and trains better on small ones.
  norm: str = "group"
  # How pixels are normalised: "half" to [-1, 1], or "imagenet" by the mean and
  # deviation that published weights were trained with.
  pixels: str = "half"


@dataclasses.dataclass
class Clip:
  # The photo's tower has model's layers, width, heads and mlp; these are the
  # text tower's and the common space's, of CLIP ViT-B.
  text_layers: int = 12
  text_width: int = 512
  text_heads: int = 8
  text_mlp: int = 2_048
  projection: int = 512
  share: float = 0.5  # of the photo in the fused score


@dataclasses.dataclass
class Mask:
  title_rate: float = 0.15  # of the title's words, at least one
  patch_rate: float = 0.15  # of the patches; raise it if images are neglected
  # What a hidden word is replaced by: [MASK], another word, else itself.
  mask_share: float = 0.8
  random_share: float = 0.1


@dataclasses.dataclass
class Loss:
  itm: float = 1.0  # weights of the five objectives
  mlm: float = 1.0
  mim: float = 1.0
  gmlm: float = 1.0
  gmim: float = 1.0
  swap_rate: float = 0.5  # share of pairs given another title
  # True: unmatched pairs count in the mask losses too.
  keep_unmatched: bool = False
  # Standardise each target patch, its variance floored (see losses.py).
  normalise_patches: bool = False
  # Weight of a sixth objective, beyond the paper: `Align` says how. At 0 none
  # of its work is done.
  align: float = 0.0


@dataclasses.dataclass
class Align:
  """Draws two views of a listing together, against the rest of the batch."""

  # "sides": the listing without its title against it without its photo;
  # "twins": two views that differ in crop, light, words and sides; "both":
  # the mean of the two kinds, as each was seen to teach what the other didn't.
  views: str = "both"
  # Beside "sides", each side is also drawn to the listing with both.
  fused: bool = False
  # The rest is of "twins" alone, but for temperature and projection.
  changed: int = 2  # of the two twins; 1 leaves the other as it is
  crop: float = 0.5  # smallest share of the photo's area; 1 keeps all of it
  light: float = 0.2  # most that brightness and contrast change, as a share
  word_drop: float = 0.4  # of the title's words, at least one stays
  side_drop: float = 0.25  # share of complete listings that lose one side
  temperature: float = 0.07  # at the start; learnt, as in CLIP
  # Width of a two-layer head between [CLS] and the loss; 0: none, so that
  # what is drawn together is the embedding itself.
  projection: int = 0


@dataclasses.dataclass
class Optim:
  lr: float = 1e-4  # peak
  warmup: int = 10_000  # steps from 0 to the peak; then linear to 0
  b1: float = 0.9
  b2: float = 0.999
  eps: float = 1e-8
  decay: float = 0.01  # not on biases, norms and embeddings
  clip: float = 1.0  # global gradient norm
  accumulate: int = 1  # microbatches a step


@dataclasses.dataclass
class Mesh:
  data: int = -1  # -1: whatever devices fsdp leaves
  fsdp: int = 1  # devices over which parameters and moments are split


@dataclasses.dataclass
class Checkpoint:
  every: int = 1_000  # steps
  minutes: float = 15.0
  keep: int = 3  # the newest; the best is kept beside them
  # What makes one the best, of what validation measures; the larger the better.
  best: str = "both/map@10"


@dataclasses.dataclass
class Config:
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
  max_bad_steps: int = 10  # non-finite steps in a row before the run stops
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
    "data.threads",
    "data.ahead",
    "checkpoint.every",
    "checkpoint.minutes",
    "checkpoint.keep",
    "mesh.data",
    "mesh.fsdp",
    "model.remat",
    "max_bad_steps",
  }
)


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
  """The inverse of `flatten`; ValueError where the names are not ours."""
  config = Config()
  ours = flatten(config)
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


def validate(config: Config, *, devices: int) -> None:
  """Raises UserError, naming both sides, where a run could not work.

  Args:
    config: as read, before anything is built.
    devices: how many there are over all hosts.
  """
  m = config.model
  _at_least(1, "model.image_size", m.image_size)
  _at_least(1, "model.patch", m.patch)
  if m.image_size % m.patch:
    raise UserError(
      f"model.patch={m.patch} does not divide model.image_size={m.image_size}"
    )
  if m.title_places < 3:
    raise UserError(
      f"model.title_places={m.title_places}: at least 3 are needed, two words"
      " and [SEP]"
    )
  for name in ("layers", "width", "heads", "mlp", "word_multiple"):
    _at_least(1, f"model.{name}", getattr(m, name))
  if m.width % m.heads:
    raise UserError(
      f"model.heads={m.heads} does not divide model.width={m.width}"
    )
  _one_of("model.name", m.name, ("item", "resnet50", "roberta", "clip"))
  _one_of("model.norm", m.norm, ("post", "pre"))
  _one_of("model.activation", m.activation, ("gelu", "quick_gelu"))
  _one_of("model.global_head", m.global_head, ("concat", "sum"))
  _one_of("resnet.norm", config.resnet.norm, ("batch", "group"))
  _one_of("resnet.pixels", config.resnet.pixels, ("half", "imagenet"))
  if not m.epsilon > 0:
    raise UserError(f"model.epsilon={m.epsilon}: must be above 0")
  model_of = {"item": "item", "mlm": "roberta", "contrastive": "clip"}
  _one_of("task", config.task, (*model_of, "category"))
  if model_of.get(config.task, m.name) != m.name:
    raise UserError(
      f"task={config.task!r} trains model.name={model_of[config.task]!r}, not"
      f" {m.name!r}"
    )
  _at_least(1, "resnet.width", config.resnet.width)
  for name in ("layers", "width", "heads", "mlp"):
    _at_least(1, f"clip.text_{name}", getattr(config.clip, f"text_{name}"))
  if config.clip.text_width % config.clip.text_heads:
    raise UserError(
      f"clip.text_heads={config.clip.text_heads} does not divide"
      f" clip.text_width={config.clip.text_width}"
    )
  _at_least(1, "clip.projection", config.clip.projection)
  _share("clip.share", config.clip.share)
  _one_of("model.dtype", m.dtype, ("bfloat16", "float32"))
  _one_of("model.attention", m.attention, ("auto", "xla", "cudnn"))
  _one_of("model.dropout_bits", m.dropout_bits, ("threefry2x32", "rbg"))
  _share("model.dropout", m.dropout, below_one=True)

  for name in ("title_rate", "patch_rate"):
    rate = getattr(config.mask, name)
    if not 0 < rate <= 1:
      raise UserError(f"mask.{name}={rate}: a share above 0, at most 1")
  _share("mask.mask_share", config.mask.mask_share)
  _share("mask.random_share", config.mask.random_share)
  if config.mask.mask_share + config.mask.random_share > 1:
    raise UserError(
      f"mask.mask_share={config.mask.mask_share} and mask.random_share="
      f"{config.mask.random_share} make more than 1"
    )
  weights = {
    name: getattr(config.loss, name)
    for name in ("itm", "mlm", "mim", "gmlm", "gmim", "align")
  }
  for name, weight in weights.items():
    if not (math.isfinite(weight) and weight >= 0):
      raise UserError(f"loss.{name}={weight}: 0 or more, and finite")
  if not any(weights.values()):
    raise UserError(f"every loss weight is zero: {weights}")
  _share("loss.swap_rate", config.loss.swap_rate)
  _check_align(config)

  # No step at all: the parameters that are started from are the result.
  _at_least(0, "steps", config.steps)
  for name in ("batch_size", "log_every", "eval_every"):
    _at_least(1, name, getattr(config, name))
  _at_least(1, "max_bad_steps", config.max_bad_steps)
  _at_least(1, "checkpoint.every", config.checkpoint.every)
  _at_least(1, "checkpoint.keep", config.checkpoint.keep)
  if not config.checkpoint.minutes > 0:
    raise UserError(
      f"checkpoint.minutes={config.checkpoint.minutes}: must be above 0"
    )
  _at_least(1, "optim.accumulate", config.optim.accumulate)
  for name in ("warmup", "lr", "decay"):
    _at_least(0, f"optim.{name}", getattr(config.optim, name))
  for name in ("eps", "clip"):
    if not getattr(config.optim, name) > 0:
      raise UserError(f"optim.{name} must be above 0")
  _share("optim.b1", config.optim.b1, below_one=True)
  _share("optim.b2", config.optim.b2, below_one=True)
  _at_least(0, "data.workers", config.data.workers)
  _at_least(1, "data.threads", config.data.threads)
  _at_least(1, "data.ahead", config.data.ahead)
  if not config.data.path:
    raise UserError("data.path is empty: give --config.data.path=DATA")

  # Its negatives are the other rows of the whole batch.
  if config.task == "contrastive" and config.optim.accumulate > 1:
    raise UserError(
      f"optim.accumulate={config.optim.accumulate}: task='contrastive' needs"
      " the whole batch at once"
    )
  resolve_mesh(config.mesh, devices)
  parts = devices * config.optim.accumulate
  if config.batch_size % parts:
    raise UserError(
      f"batch_size={config.batch_size} is not divisible by {devices} devices"
      f" x optim.accumulate={config.optim.accumulate}"
    )


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
  for name in ("light", "word_drop"):
    _share(f"align.{name}", getattr(a, name), below_one=True)
  _share("align.side_drop", a.side_drop)
  # 0.01 is where the learnt temperature is stopped.
  if not 0.01 <= a.temperature < math.inf:
    raise UserError(f"align.temperature={a.temperature}: at least 0.01")
  _at_least(0, "align.projection", a.projection)
  if config.loss.align and config.optim.accumulate > 1:
    raise UserError(
      f"loss.align={config.loss.align} compares the listings of one batch with"
      f" each other: optim.accumulate={config.optim.accumulate} would split it"
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

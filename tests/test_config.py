"""Impossible configurations fail at the door and name both sides."""

import dataclasses
import itertools
import json
import math
import re

import pytest

from item_jax import config as config_lib
from item_jax import config_flags
from item_jax.config import Config, flatten, from_flat
from item_jax.config_check import validate
from item_jax.config_group import Group, option, read_extra
from item_jax.errors import UserError

RESNET = {"task": "category", "model.name": "resnet50"}


def make(**fields) -> Config:
  config = Config()
  config.data.path = "DATA"
  flat = flatten(config)
  assert set(fields) <= set(flat), "a test names a field that is not there"
  return from_flat(flat | fields)


@pytest.mark.parametrize(
  ("fields", "devices", "words"),
  [
    ({"model.patch": 15}, 1, ["patch=15", "image_size=224"]),
    ({"batch_size": 510}, 4, ["batch_size=510", "4 devices"]),
    ({"optim.accumulate": 3}, 1, ["batch_size=512", "accumulate=3"]),
    ({"model.max_title_tokens": 2}, 1, ["max_title_tokens=2", "3"]),
    ({"model.heads": 5}, 1, ["heads=5", "width=768"]),
    (
      {f"loss.{n}": 0.0 for n in ("itm", "mlm", "mim", "gmlm", "gmim")},
      1,
      ["every loss weight is zero"],
    ),
    ({"loss.mim": -1.0}, 1, ["loss.mim=-1.0"]),
    ({"loss.mim": float("nan")}, 1, ["loss.mim=nan"]),
    ({"mesh.fsdp": 3}, 4, ["mesh.fsdp=3", "4 devices"]),
    ({"mesh.data": 2}, 4, ["mesh.data=2", "4 devices"]),
    ({"mask.title_rate": 0.0}, 1, ["title_rate=0.0"]),
    ({"mask.mask_fraction": 0.95}, 1, ["0.95", "0.1"]),
    ({"model.norm": "rms"}, 1, ["'rms'", "post, pre"]),
    ({"steps": -1}, 1, ["steps=-1"]),
    ({"steps": 2_000}, 1, ["steps=2000", "warmup=10000", "warmup=200 "]),
    ({"steps": 9, "optim.warmup": 9}, 1, ["never decay", "warmup=0 "]),
    ({"task": "mlm"}, 1, ["'mlm'", "'roberta'", "'item'"]),
    ({"task": "sorting"}, 1, ["'sorting'", "category"]),
    ({"model.name": "vgg"}, 1, ["'vgg'", "resnet50"]),
    ({"clip.text_heads": 7}, 1, ["text_heads=7", "text_width=512"]),
    ({"clip.image_weight": 1.0}, 1, ["clip.image_weight=1.0"]),
    ({"checkpoint.best": "loss"}, 1, ["'loss'", "both/map@10"]),
    (RESNET | {"loss.align": 1.0}, 1, ["loss.align=1.0", "'category'"]),
    ({"data.path": ""}, 1, ["data.path"]),
    ({"optim.b1": 1.0}, 1, ["optim.b1=1.0", "at least 0 and below 1"]),
    ({"align.temperature": math.inf}, 1, ["temperature=inf", "finite"]),
    ({"align.changed": 3}, 1, ["align.changed=3", "1, 2"]),
    ({"objectives": ["colour"]}, 1, ["'colour'", "package.module:"]),
    # Keys of 2^32 are those of 0: two seeds would be one.
    ({"seed": 1 << 32}, 1, ["seed=4294967296", "below 4294967296"]),
    ({"log_every": 1 << 31}, 1, ["log_every=2147483648", "below"]),
    ({"steps": 1 << 31}, 1, ["steps=2147483648", "below"]),
  ],
)
def test_names_what_is_wrong(fields, devices, words):
  with pytest.raises(UserError) as error:
    validate(make(**fields), devices=devices)
  for word in words:
    assert word in str(error.value)


def test_numbers_are_finite():
  """But for two, where infinity is never."""
  never = {("checkpoint.minutes", math.inf), ("optim.clip", math.inf)}
  for name, odd in never:
    validate(make(**{name: odd}), devices=1)
  floats = [name for name, x in flatten(make()).items() if isinstance(x, float)]
  for case in itertools.product(floats, (math.nan, math.inf, -math.inf)):
    if case not in never:
      name, odd = case
      with pytest.raises(UserError, match=re.escape(f"{name}={odd}")):
        validate(make(**{name: odd}), devices=1)


def test_defaults_are_possible():
  validate(make(), devices=8)
  validate(make(seed=(1 << 32) - 1), devices=8)
  validate(make(steps=0), devices=8)  # what it starts from is the result
  validate(make(steps=1, **{"optim.warmup": 0}), devices=8)


def test_there_and_back():
  config = make(**{"optim.lr": 3e-4, "task": "item", "mesh.fsdp": 2})
  assert from_flat(flatten(config)) == config
  assert flatten(config)["optim.lr"] == 3e-4


def test_options_of_other_packages_are_kept_and_typed():
  """In a config file, in a flag, and in what a run has saved."""

  @dataclasses.dataclass
  class Colour(Group):
    weight: float = option(0.5, at_least=0)
    bins: int = 4

  config = make(
    **{"objectives": ["my.colour:make", "my.other:make"]},
  )
  config.extra["colour"] = {"weight": 2}
  assert config.objectives == ("my.colour:make", "my.other:make")
  saved = json.loads(json.dumps(flatten(config)))
  assert saved["extra.colour.weight"] == 2
  assert from_flat(saved) == config
  assert read_extra(config, "colour", Colour) == Colour(weight=2.0, bins=4)
  assert read_extra(config, "absent", Colour) == Colour()
  config.extra["colour"] = {"wight": 2}
  with pytest.raises(UserError, match=r"colour\.wight; there are weight, bins"):
    read_extra(config, "colour", Colour)
  config.extra["colour"] = {"weight": -1.0}
  with pytest.raises(UserError, match=r"colour\.weight=-1\.0: expected"):
    read_extra(config, "colour", Colour)


def test_options_of_other_packages_are_flags(file):
  text = FILE.replace(
    "  config.steps",
    "  config.extra['colour'] = {'weight': 0.5}\n  config.steps",
  )
  file.write_text(text)
  config = config_flags.parse(
    str(file), ["--config.extra.colour.weight=2", "--config.objectives=a:b,c:d"]
  )
  assert config.extra == {"colour": {"weight": 2.0}}
  assert config.objectives == ("a:b", "c:d")
  for name, held in (("colour.wight", r"extra\.colour\.weight"), ("x.y", "no")):
    with pytest.raises(UserError, match=rf"{name}; .* set in .*: {held}"):
      config_flags.parse(str(file), [f"--config.extra.{name}=2"])


def test_a_run_of_version_0_1_has_the_defaults_of_later_options():
  saved = flatten(Config())
  for name in config_lib.ADDED:
    del saved[name]
  assert from_flat(saved) == Config()


def test_a_run_that_knew_no_whole_words_goes_on_with_pieces():
  saved = flatten(Config())
  del saved["model.whole_words"]
  assert not from_flat(saved).model.whole_words


def test_a_config_of_another_version_is_refused():
  flat = flatten(Config())
  flat["optim.momentum"] = flat.pop("optim.b1")
  with pytest.raises(UserError, match=r"optim\.b1.*optim\.momentum"):
    from_flat(flat)


def test_fields_free_on_resume_exist():
  assert set(flatten(Config())) >= config_lib.FREE_ON_RESUME


FILE = """
from item_jax.config import Config
def get_config(variant="plain"):
  config = Config()
  config.steps = {"plain": 7, "long": 70}[variant]
  return config
"""


@pytest.fixture
def file(tmp_path):
  path = tmp_path / "run.py"
  path.write_text(FILE)
  return path


def test_variants_and_typed_overrides(file):
  config = config_flags.parse(
    f"{file}:long", ["--config.optim.lr=1e-3", "--noconfig.model.remat"]
  )
  assert (config.steps, config.optim.lr) == (70, 1e-3)
  assert config_flags.parse(str(file), []).steps == 7


@pytest.mark.parametrize(
  ("words", "named"),
  [
    (["--config.optim.lrr=1"], "lrr"),
    (["--config.steps=many"], "many"),
    (["--steps=3"], "steps"),
    (["stray"], "stray"),
  ],
)
def test_what_is_no_option_is_refused(file, words, named):
  with pytest.raises(UserError, match=named):
    config_flags.parse(str(file), words)


def test_a_config_of_this_source_goes_by_its_name():
  found = config_flags.parse("item_align:tiny", ["--config.steps=7"])
  file = str(config_flags.CONFIGS / "item_align.py:tiny")
  assert found == config_flags.parse(file, ["--config.steps=7"])
  assert found == config_flags.load_config("item_align:tiny", steps=7)


def test_a_missing_file_is_named():
  with pytest.raises(UserError, match=r"no_such\.py"):
    config_flags.parse("no_such.py", [])


SLIPS = """
from item_jax.config import Config
def get_config():
  config = Config()
  {line}
  return config
"""


@pytest.mark.parametrize(
  ("line", "says"),
  [
    ("config.stepz = 7", "no such option: stepz"),
    ("config.mask.patchrate = 0.6", r"mask\.patchrate; there are title_rate"),
    ("config.steps = 1e5", "steps=100000.0 is a float, expected int"),
    ("config.steps = True", "steps=True is a bool, expected int"),
    ("config.model.remat = 'False'", "remat='False' is a str, expected bool"),
    ("config.optim.lr = '1e-4'", "lr='1e-4' is a str, expected float"),
    ("config.model = None", "model=None is a NoneType, expected Model"),
    ("config.steps = = 7", "invalid syntax"),
  ],
)
def test_a_slip_in_a_file_is_no_run_with_the_defaults(tmp_path, line, says):
  path = tmp_path / "run.py"
  path.write_text(SLIPS.format(line=line))
  with pytest.raises(UserError, match=says):
    config_flags.parse(str(path), [])


def test_a_whole_number_may_stand_for_a_float(tmp_path):
  path = tmp_path / "run.py"
  path.write_text(SLIPS.format(line="config.optim.lr = 1"))
  lr = config_flags.parse(str(path), []).optim.lr
  assert (lr, type(lr)) == (1.0, float)


def test_a_file_without_variants_says_so(tmp_path):
  path = tmp_path / "run.py"
  path.write_text(SLIPS.format(line="pass"))
  with pytest.raises(UserError, match=r"run\.py has no variants, 'small'"):
    config_flags.parse(f"{path}:small", [])


@pytest.mark.parametrize(("former", "present"), config_lib.RENAMED.items())
def test_an_option_keeps_its_former_name(former, present, tmp_path):
  """In a config file, in a flag and in what a run has saved; with a warning."""
  value = flatten(Config())[present]
  text = str(value) if not isinstance(value, bool) else str(value).lower()
  file = tmp_path / "config.py"
  file.write_text(
    "from item_jax.config import Config\n"
    "def get_config():\n"
    "  config = Config()\n"
    f"  config.{former} = config.{former}\n"
    "  return config\n"
  )
  with pytest.warns(FutureWarning, match=rf"config\.{present}\b"):
    config = config_flags.parse(str(file), [f"--config.{former}={text}"])
  assert config == Config()
  saved = flatten(Config())
  saved[former] = saved.pop(present)
  assert from_flat(saved) == Config()

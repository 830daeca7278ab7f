"""Maps each leaf of a model of ours to the tensors of a family of weights.

A table is made for the leaves of one tree: the number of layers is the tree's.
"""

from collections.abc import Iterable

from item_jax.pretrained import parts, resnets, transforms
from item_jax.pretrained.parts import About, Names, Source, Table

_BERT = Names(
  "encoder.layer.{}.",
  "attention.self.query",
  "attention.self.key",
  "attention.self.value",
  "attention.output.dense",
  "intermediate.dense",
  "output.dense",
  "attention.output.LayerNorm",
  "output.LayerNorm",
)
_VIT = Names(
  "encoder.layer.{}.",
  "attention.attention.query",
  "attention.attention.key",
  "attention.attention.value",
  "attention.output.dense",
  "intermediate.dense",
  "output.dense",
  "layernorm_before",
  "layernorm_after",
)
_CLIP = Names(
  "encoder.layers.{}.",
  "self_attn.q_proj",
  "self_attn.k_proj",
  "self_attn.v_proj",
  "self_attn.out_proj",
  "mlp.fc1",
  "mlp.fc2",
  "layer_norm1",
  "layer_norm2",
)


_POOLER = {r"pooler\.": "the pooler; the state of [CLS] itself is used"}
_POSITION_IDS = {r"(.*\.)?position_ids": "a list of numbers from 0"}
_CLASSIFIER = {r"classifier\.": "a classifier of other classes"}


_TOKENS = "embeddings.word_embeddings.weight"
_POSITIONS = "embeddings.position_embeddings.weight"
_SEGMENTS = "embeddings.token_type_embeddings.weight"
_TOKEN_HEADS = ("word_head", "word_decoder")


def _bert_body(leaves: Iterable[str]) -> dict[str, Source]:
  return {
    "word": Source((_TOKENS,), transforms.first_rows),
    **parts.norm("embed_norm", "embeddings.LayerNorm"),
    **parts.encoder(_BERT, parts.layers_of(leaves)),
  }


def _bert_head() -> dict[str, Source]:
  transform = "cls.predictions.transform"
  return {
    **parts.dense("word_head/dense", f"{transform}.dense"),
    **parts.norm("word_head/norm", f"{transform}.LayerNorm"),
    "word_decoder/bias": Source(
      ("cls.predictions.bias",), transforms.first_rows
    ),
  }


def _bert_table(sources: dict[str, Source], new: tuple[str, ...] = ()) -> Table:
  return Table(
    sources,
    heads=_TOKEN_HEADS,
    new=new,
    ignored={
      **_POOLER,
      **_POSITION_IDS,
      **_CLASSIFIER,
      r"cls\.seq_relationship\.": "the next sentence; titles have none",
    },
    copies={
      "cls.predictions.decoder.weight": _TOKENS,
      "cls.predictions.decoder.bias": "cls.predictions.bias",
    },
    token_table=_TOKENS,
  )


def bert_to_item(leaves, about: About) -> Table:
  """With the image absent the states are BERT's of the title as segment A."""
  sources = {
    **_bert_body(leaves),
    "cls": Source(
      (_TOKENS, _POSITIONS, _SEGMENTS), transforms.token_at(about.cls, 0)
    ),
    "title_position": Source((_POSITIONS,), transforms.positions_from(1)),
    "segment": Source((_SEGMENTS,), transforms.swap_segments),
    **_bert_head(),
  }
  new = ("patch_position", "hidden_patch", "project", *_ITEM_HEADS)
  return _bert_table(sources, new)


_ITEM_HEADS = (
  "match_head",
  "global_word_head",
  "global_word_decoder",
  "patch_head",
  "patch_decoder",
  "global_patch_head",
  "global_patch_decoder",
)


def bert_to_roberta(leaves, about: About) -> Table:
  """A BERT of titles; its first segment is added to the positions."""
  positions = Source((_POSITIONS, _SEGMENTS), transforms.sequence_from(0))
  return _bert_table(
    {**_bert_body(leaves), "position": positions, **_bert_head()}
  )


def roberta_to_roberta(leaves, about: About) -> Table:
  """Positions count from the padding's id plus one."""
  first = transforms.sequence_from(about.pad + 1)
  return Table(
    sources={
      **_bert_body(leaves),
      "position": Source((_POSITIONS, _SEGMENTS), first),
      **parts.dense("word_head/dense", "lm_head.dense"),
      **parts.norm("word_head/norm", "lm_head.layer_norm"),
      "word_decoder/bias": Source(("lm_head.bias",), transforms.first_rows),
    },
    heads=_TOKEN_HEADS,
    ignored={**_POOLER, **_POSITION_IDS, **_CLASSIFIER},
    copies={
      "lm_head.decoder.weight": _TOKENS,
      "lm_head.decoder.bias": "lm_head.bias",
    },
    token_table=_TOKENS,
  )


def vit_to_item(leaves, about: About) -> Table:
  """With the title absent the states are ViT's."""
  positions = "embeddings.position_embeddings"
  patch = "embeddings.patch_embeddings.projection"
  return Table(
    sources={
      "cls": Source(
        ("embeddings.cls_token", positions), transforms.class_token
      ),
      "patch_position": Source((positions,), transforms.patch_positions),
      "segment": Source((), transforms.no_first_segment),
      "project/kernel": Source(
        (f"{patch}.weight",), transforms.patch_kernel(about.theirs, about.ours)
      ),
      "project/bias": Source(
        (f"{patch}.weight", f"{patch}.bias"),
        transforms.patch_bias(about.theirs, about.ours),
      ),
      **parts.encoder(_VIT, parts.layers_of(leaves)),
      **parts.norm("encoder/norm", "layernorm"),
    },
    new=(
      "word",
      "title_position",
      "hidden_patch",
      *_TOKEN_HEADS,
      *_ITEM_HEADS,
    ),
    ignored={
      **_POOLER,
      **_CLASSIFIER,
      r"embeddings\.mask_token": "a masked patch's vector of another kind",
      r"decoder\.": "a decoder of pixels",
    },
  )


def clip_to_clip(leaves, about: About) -> Table:
  """Tower by tower, with both projections and the temperature."""
  image, title = "vision_model.", "text_model."
  patch = f"{image}embeddings.patch_embedding.weight"
  tokens = f"{title}embeddings.token_embedding.weight"
  sources = {
    "image_tower/cls": Source(
      (f"{image}embeddings.class_embedding",), transforms.same
    ),
    "image_tower/position": Source(
      (f"{image}embeddings.position_embedding.weight",),
      transforms.class_and_patch_positions,
    ),
    "image_tower/project/kernel": Source(
      (patch,), transforms.patch_kernel(about.theirs, about.ours)
    ),
    "image_tower/project/bias": Source(
      (patch,), transforms.patch_bias(about.theirs, about.ours)
    ),
    **parts.norm("image_tower/embed_norm", f"{image}pre_layrnorm"),
    **parts.norm("image_tower/encoder/norm", f"{image}post_layernorm"),
    "title_tower/word": Source((tokens,), transforms.first_rows),
    "title_tower/position": Source(
      (f"{title}embeddings.position_embedding.weight",),
      transforms.sequence_from(0),
    ),
    **parts.norm("title_tower/encoder/norm", f"{title}final_layer_norm"),
    "image_projection/kernel": Source(
      ("visual_projection.weight",), transforms.linear
    ),
    "title_projection/kernel": Source(
      ("text_projection.weight",), transforms.linear
    ),
    "log_scale": Source(("logit_scale",), transforms.same),
  }
  for ours, theirs in (("image_tower", image), ("title_tower", title)):
    encoder = f"{ours}/encoder"
    sources |= parts.encoder(
      _CLIP, parts.layers_of(leaves, encoder), ours=encoder, theirs=theirs
    )
  return Table(
    sources,
    heads=("log_scale",),
    ignored=dict(_POSITION_IDS),
    token_table=tokens,
  )


# family -> {what goes before the names of an encoder: those names}.
ENCODERS = {
  "bert": {"": _BERT},
  "roberta": {"": _BERT},
  "vit": {"": _VIT},
  "clip": {"vision_model.": _CLIP, "text_model.": _CLIP},
}
# (family, our model) -> function that makes the table for a tree.
TABLES = {
  ("bert", "item"): bert_to_item,
  ("vit", "item"): vit_to_item,
  ("bert", "roberta"): bert_to_roberta,
  ("roberta", "roberta"): roberta_to_roberta,
  ("clip", "clip"): clip_to_clip,
  ("resnet", "resnet50"): resnets.hugging_face,
  ("torchvision", "resnet50"): resnets.torchvision,
  ("efficientnet_lite0", "efficientnet_lite0"): resnets.efficientnet,
  (
    "efficientnet_lite0",
    "efficientnet_lite0_blocks",
  ): resnets.efficientnet_blocks,
}

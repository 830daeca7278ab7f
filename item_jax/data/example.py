"""Serializes records as tf.train.Example.

The part of its protobuf message that is used is described here field by field,
because the packages that ship it import a whole framework, which must not
happen in two threads at once: records are read by threads.
"""

from typing import Any, NamedTuple

from google.protobuf import (
  descriptor_pb2,
  descriptor_pool,
  message_factory,
  text_format,
)
from google.protobuf.message import DecodeError

# The messages, with the field numbers of tensorflow/core/example/*.proto.
_MESSAGES = """
name: "item_jax/example.proto" package: "item_jax.example" syntax: "proto3"
message_type {
  name: "BytesList"
  field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED }
}
message_type {
  name: "Feature"
  field { name: "bytes_list" number: 1 type: TYPE_MESSAGE label: LABEL_OPTIONAL
          type_name: ".item_jax.example.BytesList" }
}
message_type {
  name: "Features"
  nested_type {
    name: "FeatureEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_MESSAGE label: LABEL_OPTIONAL
            type_name: ".item_jax.example.Feature" }
  }
  field { name: "feature" number: 1 type: TYPE_MESSAGE label: LABEL_REPEATED
          type_name: ".item_jax.example.Features.FeatureEntry" }
}
message_type {
  name: "Example"
  field { name: "features" number: 1 type: TYPE_MESSAGE label: LABEL_OPTIONAL
          type_name: ".item_jax.example.Features" }
}
"""
_pool = descriptor_pool.DescriptorPool()
_pool.Add(text_format.Parse(_MESSAGES, descriptor_pb2.FileDescriptorProto()))

# Its fields are known only to protobuf.
Example: Any = message_factory.GetMessageClass(
  _pool.FindMessageTypeByName("item_jax.example.Example")
)


class Record(NamedTuple):
  """One listing as it is stored."""

  listing_id: str
  product_id: str
  title: str  # "" when missing
  category: str  # a path with " > "; "" when missing
  image: bytes  # JPEG; b"" when missing


def field_bytes(record: Record) -> list[bytes]:
  """Returns the fields of a record as bytes."""
  return [v if isinstance(v, bytes) else v.encode() for v in record]


class Serializer:
  """Serializes records as the tf.train.Example that TFDS expects.

  One message is filled anew for each record, because building one takes twice
  the time: each thread needs a serializer of its own.
  """

  def __init__(self):
    self._example = Example()
    feature = self._example.features.feature
    self._lists = [feature[f].bytes_list.value for f in Record._fields]
    for values in self._lists:
      values.append(b"")

  def __call__(self, record: Record) -> bytes:
    for values, value in zip(self._lists, field_bytes(record), strict=True):
      values[0] = value
    return self._example.SerializeToString(deterministic=True)


def parse(data: bytes) -> Record:
  """Parses one record; raises ValueError where the bytes are not one."""
  try:
    feature = Example.FromString(data).features.feature
  except DecodeError as error:
    raise ValueError(str(error)) from error
  lists = [feature[field].bytes_list.value for field in Record._fields]
  if len(feature) != len(lists) or any(len(values) != 1 for values in lists):
    raise ValueError(f"it has not the fields {', '.join(Record._fields)}")
  *texts, image = (values[0] for values in lists)
  listing, product, title, category = (text.decode() for text in texts)
  return Record(listing, product, title, category, image)

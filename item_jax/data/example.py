"""Serializes records as tf.train.Example.

The part of its protobuf message that is used is described here field by field,
because the packages that ship it import a whole framework, which must not
happen in two threads at once: records are read by threads.
"""

from typing import NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

_PACKAGE = "item_jax.example"
_Field = descriptor_pb2.FieldDescriptorProto


def _describe() -> descriptor_pb2.FileDescriptorProto:
  """Describes the messages, with the field numbers of tf.train.Example.

  See tensorflow/core/example/*.proto.
  """
  file = descriptor_pb2.FileDescriptorProto(
    name="item_jax/example.proto", package=_PACKAGE, syntax="proto3"
  )

  def message(holder, name):
    return holder.add(name=name)

  def field(holder, name, number, kind, *, repeated=False, of=None):
    holder.field.add(
      name=name,
      number=number,
      type=kind,
      label=_Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL,
      type_name=of and f".{_PACKAGE}.{of}",
    )

  bytes_list = message(file.message_type, "BytesList")
  field(bytes_list, "value", 1, _Field.TYPE_BYTES, repeated=True)
  feature = message(file.message_type, "Feature")
  field(feature, "bytes_list", 1, _Field.TYPE_MESSAGE, of="BytesList")
  features = message(file.message_type, "Features")
  entry = message(features.nested_type, "FeatureEntry")
  entry.options.map_entry = True
  field(entry, "key", 1, _Field.TYPE_STRING)
  field(entry, "value", 2, _Field.TYPE_MESSAGE, of="Feature")
  field(
    features,
    "feature",
    1,
    _Field.TYPE_MESSAGE,
    repeated=True,
    of="Features.FeatureEntry",
  )
  example = message(file.message_type, "Example")
  field(example, "features", 1, _Field.TYPE_MESSAGE, of="Features")
  return file


_pool = descriptor_pool.DescriptorPool()
_pool.Add(_describe())

Example = message_factory.GetMessageClass(
  _pool.FindMessageTypeByName(f"{_PACKAGE}.Example")
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

"""Defines the part of tf.train.Example that a data set uses, as protobuf.

The message is described here field by field, because the packages that ship it
import a whole framework, which must not happen in two threads at once: records
are read by threads.
"""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

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

"""The message tf.train.Example without TensorFlow, from its published schema.

https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/example/example.proto
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_Field = descriptor_pb2.FieldDescriptorProto


@functools.cache
def example_class() -> type[Any]:
    """Returns the message class, built in a pool of its own, which TensorFlow never sees."""
    file = descriptor_pb2.FileDescriptorProto(
        name="exif_jax/example.proto", package="tensorflow", syntax="proto3"
    )
    for name, type_ in (
        ("BytesList", _Field.TYPE_BYTES),
        ("FloatList", _Field.TYPE_FLOAT),
        ("Int64List", _Field.TYPE_INT64),
    ):
        _add_field(file.message_type.add(name=name), "value", 1, type_, repeated=True)

    feature = file.message_type.add(name="Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("bytes_list", "float_list", "int64_list"), start=1):
        type_name = "".join(part.capitalize() for part in name.split("_"))
        _add_field(feature, name, number, _Field.TYPE_MESSAGE, type_name=type_name, oneof=0)

    features = file.message_type.add(name="Features")
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    _add_field(entry, "key", 1, _Field.TYPE_STRING)
    _add_field(entry, "value", 2, _Field.TYPE_MESSAGE, type_name="Feature")
    _add_field(
        features,
        "feature",
        1,
        _Field.TYPE_MESSAGE,
        repeated=True,
        type_name="Features.FeatureEntry",
    )

    example = file.message_type.add(name="Example")
    _add_field(example, "features", 1, _Field.TYPE_MESSAGE, type_name="Features")

    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))


def _add_field(
    owner: Any,
    name: str,
    number: int,
    field_type: int,
    *,
    repeated: bool = False,
    type_name: str | None = None,
    oneof: int | None = None,
) -> None:
    """Adds a field to a message's descriptor."""
    label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
    field = owner.field.add(name=name, number=number, type=field_type, label=label)
    if type_name is not None:
        field.type_name = f".tensorflow.{type_name}"
    if oneof is not None:
        field.oneof_index = oneof

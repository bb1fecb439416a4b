"""RecordIO of protobuf Records: against protobuf's own library, and against bytes that are none."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pilothouse.contract import recordio
from pilothouse.contract.recordio import RecordError, Table

FRAME = struct.Struct("<II")
SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=40)
TABLES = arrays.arrays(np.float32, SHAPES, elements=st.floats(width=32))


def record_class() -> Any:
    """The message Record as protobuf's library has it, from the description in SageMaker's developer guide."""
    pb = pytest.importorskip("google.protobuf.descriptor_pb2")
    pool = pytest.importorskip("google.protobuf.descriptor_pool").DescriptorPool()
    factory = pytest.importorskip("google.protobuf.message_factory")
    field = pb.FieldDescriptorProto
    file = pb.FileDescriptorProto(name="record.proto", package="oracle", syntax="proto2")

    def add(message: Any, name: str, number: int, kind: int, label: int, type_name: str = "") -> Any:
        return message.field.add(name=name, number=number, type=kind, label=label, type_name=type_name or None)

    for name, kind in (("Float32", field.TYPE_FLOAT), ("Float64", field.TYPE_DOUBLE), ("Int32", field.TYPE_INT32)):
        tensor = file.message_type.add(name=f"{name}Tensor")
        for member, number in (("values", 1), ("keys", 2), ("shape", 3)):
            one = add(tensor, member, number, kind if number == 1 else field.TYPE_UINT64, field.LABEL_REPEATED)
            one.options.packed = True
    value = file.message_type.add(name="Value")
    for name, number in (("float32", 2), ("float64", 3), ("int32", 7)):
        tensor_name = f".oracle.{name.capitalize()}Tensor"
        add(value, f"{name}_tensor", number, field.TYPE_MESSAGE, field.LABEL_OPTIONAL, tensor_name)
    record = file.message_type.add(name="Record")
    for name, number in (("features", 1), ("label", 2)):
        entry = record.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        add(entry, "key", 1, field.TYPE_STRING, field.LABEL_OPTIONAL)
        add(entry, "value", 2, field.TYPE_MESSAGE, field.LABEL_OPTIONAL, ".oracle.Value")
        add(record, name, number, field.TYPE_MESSAGE, field.LABEL_REPEATED, f".oracle.Record.{entry.name}")
    add(record, "uid", 3, field.TYPE_STRING, field.LABEL_OPTIONAL)
    pool.Add(file)
    return factory.GetMessageClass(pool.FindMessageTypeByName("oracle.Record"))


@pytest.fixture(scope="module")
def record() -> Any:
    return record_class()


def framed(*contents: bytes) -> bytes:
    return b"".join(FRAME.pack(0xCED7230A, len(c)) + c + bytes(-len(c) % 4) for c in contents)


@settings(deadline=None, max_examples=50)
@given(features=TABLES, labelled=st.booleans())
def test_what_is_written_is_read_again_bit_by_bit(features: Any, labelled: bool) -> None:
    labels = np.arange(len(features), dtype=np.float32) if labelled and len(features) else None
    found = recordio.read(recordio.write(Table(features, labels)))
    if len(features):
        assert found.features.tobytes() == features.tobytes()
        assert found.features.shape == features.shape
    assert (found.labels is None) == (labels is None)
    assert labels is None or np.array_equal(found.labels, labels)


def test_protobuf_reads_what_is_written(record: Any) -> None:
    features = np.arange(120, dtype=np.float32).reshape(2, 60)
    body = recordio.write(Table(features, np.array([0, 1], np.float32)))
    length = FRAME.unpack_from(body)[1]
    frame = FRAME.size + length + -length % 4
    assert len(body) == 2 * frame
    for number in range(2):
        found = record.FromString(body[number * frame + FRAME.size : number * frame + FRAME.size + length])
        assert list(found.features["values"].float32_tensor.values) == features[number].tolist()
        assert list(found.label["values"].float32_tensor.values) == [number]


@pytest.mark.parametrize("kind", ["float32", "float64", "int32"])
def test_what_protobuf_writes_is_read(record: Any, kind: str) -> None:
    message = record(uid="first")
    getattr(message.features["values"], f"{kind}_tensor").values.extend([1, -2, 300])
    getattr(message.label["values"], f"{kind}_tensor").values.extend([-7])
    found = recordio.read(framed(message.SerializeToString()))
    assert found.features.dtype == np.float32
    assert found.features.tolist() == [[1, -2, 300]]
    assert found.labels is not None
    assert found.labels.tolist() == [-7]


def test_sparse_records_are_read_by_their_keys_and_shape(record: Any) -> None:
    full, empty = record(), record()
    tensor = full.features["values"].float32_tensor
    tensor.values.extend([1.5, 2.5])
    tensor.keys.extend([299, 0])
    tensor.shape.append(300)
    empty.features["values"].float32_tensor.shape.append(300)
    found = recordio.read(framed(full.SerializeToString(), empty.SerializeToString())).features
    assert found.shape == (2, 300)
    assert (found[0, 0], found[0, 299], np.count_nonzero(found)) == (2.5, 1.5, 2)


def sparse(record: Any, keys: list[int], shape: list[int], values: int = 1) -> bytes:
    message = record()
    tensor = message.features["values"].float32_tensor
    tensor.values.extend([1.0] * values)
    tensor.keys.extend(keys)
    tensor.shape.extend(shape)
    return framed(message.SerializeToString())


def test_records_that_do_not_fit_are_refused_with_a_sentence(record: Any) -> None:
    dense = recordio.write(Table(np.ones((1, 3), np.float32)))
    wider = recordio.write(Table(np.ones((1, 4), np.float32)))
    labelled = recordio.write(Table(np.ones((1, 3), np.float32), np.ones(1, np.float32)))
    for body, part in [
        (b"1,2,3\n4,5,6\n", "no RecordIO frame at byte 0"),
        (dense[:6], "end within a frame"),
        (dense[:-8], "longer than what is there"),
        (framed(b""), 'Record 1 cannot be read: it has no feature called "values".'),
        (framed(b"\x0f"), "form that protobuf does not have"),
        (framed(b"\x0a\xff\xff\x03"), "longer than what holds it"),
        (framed(b"\x08\x01"), "a number where there should be bytes"),
        (framed(b"\x80" * 11), "a number without an end"),
        (FRAME.pack(0xCED7230A, 1 << 29 | 4) + b"1234", "in several frames"),
        (dense + wider, "Record 2 cannot be read: it has 4 values, and the first has 3."),
        (dense + labelled, "1 of 2 records have a label"),
        (sparse(record, [3], [3]), "the key 3, and a shape of 3"),
        (sparse(record, [1 << 63], [3]), "and a shape of 3"),
        (sparse(record, [0, 1], [3]), "2 keys for 1 values"),
        (sparse(record, [0], []), "sparse and has no shape"),
        (sparse(record, [0], [1 << 40, 1 << 40]), "more than 33554432 cells"),
        (sparse(record, [0], [recordio.MOST_CELLS]) * 2, "Record 2 cannot be read: the table would have more than"),
    ]:
        with pytest.raises(RecordError) as caught:
            recordio.read(body)
        assert part in caught.value.message


@settings(deadline=None, max_examples=50)
@given(body=st.binary(max_size=200))
def test_any_content_is_read_or_refused(body: bytes) -> None:
    for bytes_ in (body, framed(body)):
        try:
            recordio.read(bytes_)
        except RecordError:
            continue


@settings(deadline=None, max_examples=50)
@given(data=st.data(), features=TABLES)
def test_a_damaged_table_is_read_or_refused(data: st.DataObject, features: Any) -> None:
    body = bytearray(recordio.write(Table(features, np.zeros(len(features), np.float32))))
    if body:
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        recordio.read(bytes(body))
    except RecordError:
        pass

"""Turns what a person types into the typed values that Flyte takes, and back for display."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from operations.texts import duration, nearest, parse_text

Upload = Callable[[Path], str]
"""Copies a local file to where Flyte's tasks can read it and returns its address there."""


def type_name(kind: Any) -> str:
    """A Flyte LiteralType in words.

    >>> from flyteidl.core.types_pb2 import LiteralType, INTEGER
    >>> type_name(LiteralType(collection_type=LiteralType(simple=INTEGER)))
    'list of integer'
    """
    from flyteidl.core import types_pb2

    which = kind.WhichOneof("type")
    if which == "simple":
        return {
            types_pb2.INTEGER: "integer",
            types_pb2.FLOAT: "number",
            types_pb2.STRING: "text",
            types_pb2.BOOLEAN: "true or false",
            types_pb2.DATETIME: "time",
            types_pb2.DURATION: "duration",
            types_pb2.STRUCT: "mapping",
            types_pb2.NONE: "nothing",
        }.get(kind.simple, "value that the command line cannot give")
    if which == "enum_type":
        return f"one of {', '.join(kind.enum_type.values)}"
    if which == "collection_type":
        return f"list of {type_name(kind.collection_type)}"
    if which == "map_value_type":
        return f"mapping to {type_name(kind.map_value_type)}"
    if which == "blob":
        return "folder" if kind.blob.dimensionality else "file"
    if which == "union_type":
        return " or ".join(type_name(variant) for variant in kind.union_type.variants)
    return "value that the command line cannot give"


def literal(value: Any, kind: Any, *, default: Any = None, upload: Upload) -> Any:
    """Makes a flyteidl Literal of type `kind`.

    Args:
        value: text from the command line, or what a YAML or JSON file holds.
        kind: the LiteralType that the workflow declares.
        default: the Literal that holds otherwise; a mapping given in part is completed from it.
        upload: called for a local file that is given for a file input.

    Raises:
        ValueError: The value does not fit; the message begins with what is wanted.
    """
    from flyteidl.core import literals_pb2

    which = kind.WhichOneof("type")
    if which == "simple":
        return literals_pb2.Literal(scalar=_simple(value, kind, default))
    if which == "enum_type":
        if value not in kind.enum_type.values:
            raise ValueError(f"wants {type_name(kind)}, got {value!r}")
        primitive = literals_pb2.Primitive(string_value=value)
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=primitive))
    if which == "collection_type":
        items = _parsed(value, list, kind)
        converted = [literal(item, kind.collection_type, upload=upload) for item in items]
        return literals_pb2.Literal(collection=literals_pb2.LiteralCollection(literals=converted))
    if which == "map_value_type":
        pairs = _parsed(value, dict, kind)
        entries = {
            str(key): literal(item, kind.map_value_type, upload=upload)
            for key, item in pairs.items()
        }
        return literals_pb2.Literal(map=literals_pb2.LiteralMap(literals=entries))
    if which == "blob":
        return literals_pb2.Literal(scalar=_blob(value, kind, upload))
    if which == "union_type":
        return _union(value, kind, default, upload)
    raise ValueError(f"is a {type_name(kind)}: start it from Python or the console")


def _simple(value: Any, kind: Any, default: Any) -> Any:
    from flyteidl.core import literals_pb2, types_pb2

    if kind.simple == types_pb2.NONE:
        if value is not None and value not in ("null", "none", ""):
            raise ValueError(f"wants nothing, got {value!r}")
        return literals_pb2.Scalar(none_type=literals_pb2.Void())
    if kind.simple == types_pb2.STRUCT:
        return _mapping(value, kind, default)
    primitive = literals_pb2.Primitive()
    readers: dict[int, Callable[[Any], Any]] = {
        types_pb2.INTEGER: lambda v: setattr(primitive, "integer", _integer(v)),
        types_pb2.FLOAT: lambda v: setattr(primitive, "float_value", float(_not_bool(v))),
        types_pb2.BOOLEAN: lambda v: setattr(primitive, "boolean", _boolean(v)),
        types_pb2.STRING: lambda v: setattr(primitive, "string_value", _text(v)),
        types_pb2.DATETIME: lambda v: primitive.datetime.FromDatetime(_time(v)),
        types_pb2.DURATION: lambda v: primitive.duration.FromTimedelta(duration(v)),
    }
    if kind.simple not in readers:
        raise ValueError(f"is a {type_name(kind)}: start it from Python or the console")
    try:
        readers[kind.simple](value)
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise ValueError(f"wants {_article(type_name(kind))}, got {value!r}") from error
    return literals_pb2.Scalar(primitive=primitive)


def _article(words: str) -> str:
    if words.startswith(("text", "true")):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise TypeError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _integer(value: Any) -> int:
    if isinstance(_not_bool(value), float):
        raise TypeError
    return int(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[
        str(value).lower()
    ]


def _time(value: Any) -> datetime:
    """A moment in UTC; a text without an offset is taken as this machine's local time."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return moment.astimezone(UTC)


def _parsed(value: Any, wanted: type, kind: Any) -> Any:
    """A list or a mapping: as it is, from JSON or YAML text, or from the file that is named."""
    parsed = value
    if isinstance(value, str):
        if value.endswith((".json", ".yaml", ".yml")) and Path(value).is_file():
            value = Path(value).read_text(encoding="utf-8")
        try:
            parsed = parse_text(value)
        except yaml.YAMLError:
            parsed = None
    if not isinstance(parsed, wanted):
        raise ValueError(  # noqa: TRY004 - user input
            f"wants {_article(type_name(kind))} as JSON, YAML or the name of such a file, "
            f"got {value!r}"
        )
    return parsed


def _mapping(value: Any, kind: Any, default: Any) -> Any:
    import msgpack
    from flyteidl.core import literals_pb2
    from google.protobuf.json_format import MessageToDict

    given = _parsed(value, dict, kind)
    base = plain(default) if default is not None else None
    whole = merged(base if isinstance(base, dict) else {}, given)
    schema = MessageToDict(kind.metadata)
    if schema.get("properties"):
        _check_fields(whole, schema)
    return literals_pb2.Scalar(
        binary=literals_pb2.Binary(value=msgpack.dumps(whole), tag="msgpack")
    )


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Lays one mapping over another, at every depth.

    >>> merged({"config": {"epochs": 3, "seed": 1}}, {"config": {"epochs": 5}})
    {'config': {'epochs': 5, 'seed': 1}}
    """
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def _check_fields(value: Mapping[str, Any], schema: Mapping[str, Any], path: str = "") -> None:
    """Refuses fields that the dataclass lacks and values that do not fit its JSON schema."""
    import jsonschema

    for name, item in value.items():
        field = schema["properties"].get(name)
        if field is None:
            known = nearest(name, schema["properties"])
            raise ValueError(f"has no field {path + name!r}{known}")
        if isinstance(item, Mapping) and field.get("properties"):
            _check_fields(item, field, f"{path}{name}.")
    error = next(iter(jsonschema.Draft202012Validator(schema).iter_errors(dict(value))), None)
    if error is not None:
        where = path + ".".join(str(part) for part in error.absolute_path)
        raise ValueError(f"has a wrong field {where!r}: {error.message}")


def _blob(value: Any, kind: Any, upload: Upload) -> Any:
    from flyteidl.core import literals_pb2

    address = str(value)
    if "://" not in address:
        path = Path(address)
        if kind.blob.dimensionality:
            raise ValueError(f"wants the address of a folder (s3://...), got {address!r}")
        if not path.is_file():
            raise ValueError(f"wants a file or an address (s3://...), got {address!r}")
        address = upload(path)
    metadata = literals_pb2.BlobMetadata(type=kind.blob)
    return literals_pb2.Scalar(blob=literals_pb2.Blob(metadata=metadata, uri=address))


def _union(value: Any, kind: Any, default: Any, upload: Upload) -> Any:
    from flyteidl.core import literals_pb2, types_pb2

    inner = default.scalar.union.value if default is not None else None
    variants = list(kind.union_type.variants)
    # Nothing first, so that `null` is not taken for text; text last, because it takes all.
    variants.sort(
        key=lambda v: (
            {types_pb2.NONE: 0, types_pb2.STRING: 2}.get(v.simple, 1)
            if v.WhichOneof("type") == "simple"
            else 1
        )
    )
    for variant in variants:
        try:
            fitting = literal(value, variant, default=inner, upload=upload)
        except ValueError:
            continue
        union = literals_pb2.Union(value=fitting, type=variant)
        return literals_pb2.Literal(scalar=literals_pb2.Scalar(union=union))
    some = [v for v in variants if v.simple != types_pb2.NONE or v.WhichOneof("type") != "simple"]
    if len(some) == 1:  # then the reason of that one variant tells most
        return literal(value, some[0], default=inner, upload=upload)
    raise ValueError(f"wants {type_name(kind)}, got {value!r}")


def plain(value: Any) -> Any:
    """A flyteidl Literal as plain data: numbers, text, times, lists, mappings, addresses."""
    which = value.WhichOneof("value")
    if which == "collection":
        return [plain(item) for item in value.collection.literals]
    if which == "map":
        return {key: plain(item) for key, item in value.map.literals.items()}
    if which != "scalar":
        return None
    scalar = value.scalar
    kind = scalar.WhichOneof("value")
    if kind == "primitive":
        return _plain_primitive(scalar.primitive)
    if kind == "union":
        return plain(scalar.union.value)
    if kind == "blob":
        return scalar.blob.uri
    if kind == "binary" and scalar.binary.tag == "msgpack":
        import msgpack

        return msgpack.loads(scalar.binary.value)
    if kind == "generic":
        from google.protobuf.json_format import MessageToDict

        return MessageToDict(scalar.generic)
    if kind == "structured_dataset":
        return scalar.structured_dataset.uri
    return None


def _plain_primitive(primitive: Any) -> Any:
    name = primitive.WhichOneof("value")
    if name == "datetime":
        return primitive.datetime.ToDatetime(UTC)
    if name == "duration":
        return primitive.duration.ToTimedelta()
    return getattr(primitive, name)

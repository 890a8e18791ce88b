"""`AttentionModel` among the networks of `DistillationModel`: a network and, behind it, what `AFDLoss` has here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ppcls_compress.declare import at_key
from ppcls_compress.errors import shortened, unknown

NAME = "AttentionModel"
_TRANSFORMS = {"LinearTransformStudent": "student_features", "LinearTransformTeacher": "teacher_features"}
_SHARED = ("qk_dim", "s_shapes", "t_shapes")
_LOSS = "AFDLoss"


def without_attention_models(data: Any) -> Any:
    """What a YAML says, each `AttentionModel` exchanged for the network within it, and `AFDLoss` told of its features.

    Anything that is not as it should be is left as it is, for the schema to refuse.

    Raises:
        PydanticCustomError: an `AttentionModel` is no network and a transform; names the key.
    """
    arch = data.get("Arch") if isinstance(data, Mapping) else None
    models = arch.get("models") if isinstance(arch, Mapping) else None
    if not isinstance(models, list | tuple):
        return data
    told: dict[str, dict[str, Any]] = {}
    given = arch.get("freeze_params_list") or [False] * len(models)
    if not isinstance(given, list | tuple):
        return data
    changed, frozen = [], list(given)
    for index, entry in enumerate(models):
        name, section = next(iter(entry.items())) if isinstance(entry, Mapping) and len(entry) == 1 else ("", None)
        if isinstance(section, Mapping) and section.get("name") == NAME:
            where = f"Arch.models.{index}.{name}"
            section, stays, features = _taken_apart(section, where)
            told[name] = features
            if index < len(frozen):
                frozen[index] = bool(frozen[index] or stays)
            entry = {name: section}
        changed.append(entry)
    if not told:
        return data
    return {**data, "Arch": {**arch, "models": changed, "freeze_params_list": frozen}, **_with_features(data, told)}


def _taken_apart(section: Mapping[str, Any], where: str) -> tuple[dict[str, Any], bool, dict[str, Any]]:
    """The network within, whether it stays as it is, and what the transform behind it tells `AFDLoss`."""
    inner = _listed(section, "models", (), where)
    parts = [next(iter(part.values())) for part in inner if isinstance(part, Mapping) and len(part) == 1]
    fit = len(parts) == 2 and all(isinstance(part, Mapping) for part in parts)
    if not fit or parts[1].get("name") not in tuple(_TRANSFORMS):  # a tuple, for a name may be anything
        raise at_key(f"{where}.models", f"expected a network and {' or '.join(_TRANSFORMS)} behind it")
    frozen = _listed(section, "freeze_params_list", (False, False), where)
    if len(frozen) != 2 or frozen[1]:
        raise at_key(f"{where}.freeze_params_list", f"{parts[1]['name']} has to learn: the second is False")
    network = dict(parts[0])
    listed = _listed(section, "pretrained_list", (None,), where)[0]
    if listed is not None:
        network["pretrained"] = listed
    names = {"keys": _TRANSFORMS[parts[1]["name"]], **{key: key for key in _SHARED}}
    for key in parts[1]:
        if key not in ("name", *names):
            raise at_key(f"{where}.models.1.{key}", unknown("key", key, ("name", *names)))
    told = {names[key]: value for key, value in parts[1].items() if key != "name" and value is not None}
    return network, bool(frozen[0]), told


def _listed(section: Mapping[str, Any], key: str, default: Sequence[Any], where: str) -> Sequence[Any]:
    found = section.get(key) or default
    if not isinstance(found, list | tuple):
        raise at_key(f"{where}.{key}", f"expected a list, found {shortened(found)}")
    return found


def _with_features(data: Mapping[str, Any], told: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    losses = data.get("Loss")
    train = losses.get("Train") if isinstance(losses, Mapping) else None
    if not isinstance(train, list | tuple):
        return {}
    return {"Loss": {**losses, "Train": [_entry(entry, told) for entry in train]}}


def _entry(entry: Any, told: Mapping[str, Mapping[str, Any]]) -> Any:
    options = entry.get(_LOSS) if isinstance(entry, Mapping) else None
    if not isinstance(options, Mapping):
        return entry
    pair = options.get("model_name_pair") or ("Student", "Teacher")
    for name in pair if isinstance(pair, list | tuple) else ():
        if not isinstance(name, str):
            continue
        for key, value in told.get(name, {}).items():
            if key in options and options[key] != value:
                raise at_key(f"Loss.Train.{_LOSS}.{key}", f"is {options[key]}, but {value} in the {NAME} {name}")
            options = {**options, key: value}
    return {_LOSS: options}

"""`Arch.name: DistillationModel`: several networks that are trained together, of which one is deployed.

The configuration's `Arch` becomes that of the network that is deployed, the student, so that all that concerns one
network (weights, pruning, quantization, export, evaluation) needs to know of no other. `Arch.together` tells the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationError

from ppcls_compress.config.sections import Arch, Network, Together
from ppcls_compress.declare import Options, at_key
from ppcls_compress.errors import unknown
from ppcls_compress.losses.networks import NetworkLoss
from ppcls_compress.metrics.distilled import DistillationTopkAcc

NAME = "DistillationModel"
_FEATURES = ("return_patterns", "return_stages")


class DistillationModel(Options):
    """What `Arch` holds beside the name.

    Attributes:
        models: `{Name: {name: architecture, ...}}`, each with what `Arch` takes, and `return_patterns`: layers whose
            outputs it gives too.
        pretrained_list: weights of each network, or null; in place of its own `pretrained`.
        freeze_params_list: whether each network learns nothing.
        infer_model_name: which one is deployed.
        class_num: of networks that do not say.
        infer_output_key: of a recognition model, what is deployed.
        use_ssld: without effect; what counts is the network's own.
        is_rec: upstream's mark of recognition models; without effect.
    """

    example: ClassVar[str] = (
        "{name: DistillationModel, models: [{Teacher: {name: ResNet50}}, {Student: {name: ResNet18}}]}"
    )

    models: Annotated[tuple[dict[str, dict[str, Any]], ...], Field(min_length=1)]
    pretrained_list: tuple[str | bool | None, ...] | None = None
    freeze_params_list: tuple[bool, ...] | None = None
    infer_model_name: str = "Student"
    class_num: int = 1000
    use_sync_bn: bool = False
    infer_add_softmax: bool | None = None
    infer_output_key: str | None = None
    use_ssld: bool = False
    is_rec: bool = False


def student_of(arch: Arch) -> Arch:
    """The section of the network that is deployed, `together` telling of the others; any other section as it is.

    Raises:
        PydanticCustomError: names the key under `Arch`.
    """
    if arch.name != NAME:
        return arch
    given = {**arch.family_options, **{key: getattr(arch, key) for key in arch.model_fields_set if key != "name"}}
    try:
        options = DistillationModel.model_validate(given)
    except ValidationError as error:
        raise _told(error) from None
    networks = tuple(_networks(options))
    names = [network.name for network in networks]
    if len({*names}) < len(names):
        raise at_key("models", f"two networks have the same name: {', '.join(names)}")
    if options.infer_model_name not in names:
        raise at_key("infer_model_name", unknown("network", options.infer_model_name, names))
    student = networks[names.index(options.infer_model_name)]
    if student.frozen:
        raise at_key(
            f"freeze_params_list.{names.index(student.name)}", f"{student.name} is deployed, so it has to learn: False"
        )
    unread = tuple(key for key in ("use_ssld", "is_rec") if getattr(options, key))
    together = Together(student=student.name, networks=networks, unread=unread)
    return student.arch.model_copy(update={"together": together})


def _networks(options: DistillationModel) -> Iterator[Network]:
    count = len(options.models)
    for key in ("pretrained_list", "freeze_params_list"):
        values = getattr(options, key)
        if values is not None and len(values) != count:
            raise at_key(key, f"expected one value for each of {count} networks, found {len(values)}")
    for index, entry in enumerate(options.models):
        if len(entry) != 1:
            raise at_key(
                f"models.{index}", f"expected one network, written {{Name: {{name: ...}}}}, found {len(entry)}"
            )
        ((name, section),) = entry.items()
        where = f"models.{index}.{name}"
        shared = {"class_num": options.class_num, "use_sync_bn": options.use_sync_bn}
        if section.get("name") == "RecModel":
            del shared["class_num"]
            shared["infer_output_key"] = options.infer_output_key
        if options.infer_add_softmax is not None:
            shared["infer_add_softmax"] = options.infer_add_softmax
        own = {key: value for key, value in section.items() if key not in _FEATURES}
        listed = options.pretrained_list[index] if options.pretrained_list else None
        if listed is not None:
            own["pretrained"] = listed
        if own.get("name") == NAME:
            raise at_key(f"{where}.name", "networks that are trained together are not themselves several")
        try:
            arch = Arch.model_validate({key: value for key, value in {**shared, **own}.items() if value is not None})
        except ValidationError as error:
            raise _told(error, where) from None
        yield Network(
            name=name,
            arch=arch,
            frozen=bool(options.freeze_params_list and options.freeze_params_list[index]),
            where=f"Arch.{where}",
            returns=_returns(section, where),
        )


def _returns(section: dict[str, Any], where: str) -> tuple[str, ...]:
    patterns = section.get("return_patterns") or ()
    if section.get("return_stages") and not patterns:
        raise at_key(f"{where}.return_stages", "name the layers instead, in return_patterns")
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(patterns, list | tuple) or not all(isinstance(pattern, str) for pattern in patterns):
        raise at_key(f"{where}.return_patterns", "expected names of layers, such as [blocks4, avg_pool]")
    return tuple(patterns)


def _told(error: ValidationError, where: str = "") -> Exception:
    problem = error.errors(include_url=False)[0]
    context = problem.get("ctx", {})
    key = [where, *map(str, problem["loc"]), context.get("key", "") if problem["type"] == "at_key" else ""]
    text = context.get("text") or problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    return at_key(".".join(filter(None, key)), "required, but not given" if problem["type"] == "missing" else text)


def check_networks(config: Any) -> None:
    """Losses and metrics of a `config.schema.Config`, of which some need several networks and name them.

    Raises:
        PydanticCustomError: names the entry.
    """
    together = config.Arch.together
    names = [network.name for network in together.networks] if together else []
    if together and config.Slim and config.Slim.distill:
        raise at_key("Slim.distill", f"Arch.name {NAME} has a teacher of its own; leave one of them out")
    for split, entries in (("Train", config.Loss.Train), ("Eval", config.Loss.Eval)) if config.Loss else ():
        for index, loss in enumerate(entries):
            named = loss.networks if isinstance(loss, NetworkLoss) else None
            _check_entry(f"Loss.{split}.{index}.{type(loss).__name__}", named, names, together, split)
    for split, entries in (("Train", config.Metric.Train or ()), ("Eval", config.Metric.Eval)):
        for index, metric in enumerate(entries):
            named = metric.networks if isinstance(metric, DistillationTopkAcc) else None
            _check_entry(f"Metric.{split}.{index}.{type(metric).__name__}", named, names, together, split)


def _check_entry(
    key: str, named: tuple[str, ...] | None, names: list[str], together: Together | None, split: str
) -> None:
    kind = key.partition(".")[0]
    if together is None:
        if named is not None:
            raise at_key(key, f"is of several networks, which Arch.name {NAME} has")
        return
    if named is None:
        if split == "Train":
            instead = (
                "DistillationGTCELoss: {model_names: [%s]}"
                if kind == "Loss"
                else "DistillationTopkAcc: {model_key: %s}"
            )
            raise at_key(key, f"is of one network, and {len(names)} are trained; use {instead % together.student}")
        return
    for name in named:
        if name not in names:
            raise at_key(key, unknown("network", name, names))
        if split == "Eval" and name != together.student:
            raise at_key(key, f"{name} is not evaluated; {together.student} is, which Arch.infer_model_name names")

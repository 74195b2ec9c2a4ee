"""An ONNX graph that is built node by node."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

#: The oldest version of ONNX's operators with which the nodes that skage writes mean the same.
OLDEST_OPSET = 13
OPSET = 17
_TOO_LARGE = 2**31 - 1  # bytes of a protocol buffer


def import_onnx() -> Any:
    """Return the module onnx.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    try:
        import onnx
        import onnx.compose
        import onnx.version_converter
    except ImportError as error:
        raise ImportError(
            "Writing ONNX files needs onnx and onnxruntime: pip install 'skage[export]'."
        ) from error
    return onnx


class Graph:
    """Nodes and constants; a constant that occurs twice is stored once.

    Parameters
    ----------
    opset : int, default=OPSET
        Version of ONNX's operators.
    """

    def __init__(self, opset: int = OPSET):
        self.onnx = import_onnx()
        self.stage = ""  # what the names of nodes begin with
        self.dtype: type = np.float32  # of constants
        self._opsets = {"": opset}
        self._ir_version = 0
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._functions: list[Any] = []
        self._n_networks = 0
        self.inputs: dict[str, int] = {}  # sides in pixels by name

    def add(self, kind: str, *inputs: Any, **attributes: Any) -> str:
        """Add a node of one output, and return the output's name.

        Parameters
        ----------
        kind : str
            Of the operator.
        *inputs : str or array-like
            Names of other outputs, or constants: integers are int64, other numbers `dtype`.
        **attributes
            Of the node.
        """
        names = [i if isinstance(i, str) else self._constant(i) for i in inputs]
        name = f"{self.stage}/{kind}_{len(self._nodes)}"
        self._nodes.append(self.onnx.helper.make_node(kind, names, [name], name, **attributes))
        return name

    def images(self, name: str, side: int) -> str:
        """Add an input of uint8 RGB images (n, side, side, 3)."""
        self.inputs[name] = side
        return name

    def cast(self, x: str, dtype: type) -> str:
        """Add a conversion to a type of numpy."""
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return self.add("Cast", x, to=kind)

    def network(self, content: bytes, image: str, output: str) -> str:
        """Add the nodes of an ONNX file that its output needs, and return the output's name.

        Parameters
        ----------
        content : bytes
        image : str
            Name of what is passed to its only input.
        output : str
        """
        model = self._converted(self.onnx.load_model_from_string(content))
        start = f"network{self._n_networks}/"
        self._n_networks += 1
        model = self.onnx.compose.add_prefix(model, start)
        constants = {c.name: c for c in (*model.graph.initializer, *model.graph.sparse_initializer)}
        [given] = [i.name for i in model.graph.input if i.name not in constants]
        nodes = list(_needed(model.graph.node, start + output))
        used = {name for node in nodes for name in _reads(node)} | {start + output}
        self._nodes.append(self.onnx.helper.make_node("Identity", [image], [given], given))
        self._nodes += nodes
        self._constants |= {name: c for name, c in constants.items() if name in used}
        self._functions += model.functions
        self._opsets |= {o.domain: o.version for o in model.opset_import if o.domain}
        self._ir_version = max(self._ir_version, model.ir_version)
        return start + output

    def model(self, outputs: dict[str, tuple[str, list[Any]]], **facts: Any) -> Any:
        """Return the ModelProto.

        Parameters
        ----------
        outputs : dict of str to (str, list)
            By the name that it gets: the name that it has, and its shape.
        **facts
            Attributes of the model, such as its ``doc_string``.

        Raises
        ------
        ValueError
            If it is too large for a file.
        """
        helper, kinds = self.onnx.helper, self.onnx.TensorProto
        ends = [helper.make_node("Identity", [o], [name], name) for name, (o, _) in outputs.items()]
        graph = helper.make_graph(
            [*self._nodes, *ends],
            "skage",
            [
                helper.make_tensor_value_info(name, kinds.UINT8, ["n", side, side, 3])
                for name, side in self.inputs.items()
            ],
            [
                helper.make_tensor_value_info(name, kinds.FLOAT, shape)
                for name, (_, shape) in outputs.items()
            ],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid(domain, v) for domain, v in sorted(self._opsets.items())]
        least = helper.find_min_ir_version_for([helper.make_opsetid("", self._opsets[""])])
        model = helper.make_model(
            graph,
            opset_imports=opsets,
            functions=self._functions,
            ir_version=max(least, self._ir_version),
            **facts,
        )
        if model.ByteSize() > _TOO_LARGE:
            raise ValueError(
                f"The model has {model.ByteSize() / 1e9:.1f} GB, and an ONNX file at most 2 GB. "
                "Fit it with smaller hidden_layer_sizes, or export the members of an ensemble one "
                "by one."
            )
        return model

    def _constant(self, value: Any) -> str:
        array = np.asarray(value)
        array = np.ascontiguousarray(array, np.int64 if array.dtype.kind in "iu" else self.dtype)
        array = array.reshape(np.shape(value))  # a number stays one
        facts = f"{array.dtype}{array.shape}".encode()
        name = f"constant_{hashlib.sha256(facts + array.tobytes()).hexdigest()[:16]}"
        if name not in self._constants:
            self._constants[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def _converted(self, model: Any) -> Any:
        version = opset_of(model)
        if version == self._opsets[""]:
            return model
        try:
            return self.onnx.version_converter.convert_version(model, self._opsets[""])
        except Exception as error:  # the converter is C++ and raises errors of any kind
            reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
            raise ValueError(
                f"The ONNX network of opset {version} cannot be converted to opset "
                f"{self._opsets['']}: {reason}. Export it again with a newer opset, and fit on "
                "that file."
            ) from error


def common_opset(contents: Iterable[bytes]) -> int:
    """Return the version of ONNX's operators for a graph with these networks in it."""
    onnx = import_onnx()
    found = {opset_of(onnx.load_model_from_string(content)) for content in contents}
    if len(found) == 1 and min(found) >= OLDEST_OPSET:
        return found.pop()
    return max({OPSET, *found})


def opset_of(model: Any) -> int:
    """Return the version of ONNX's own operators that a model uses."""
    return max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=1)


def _reads(node: Any) -> Iterator[str]:
    """Names that a node, or a graph inside it, reads."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from _reads(inner)


def _needed(nodes: Iterable[Any], output: str) -> Iterator[Any]:
    """The nodes that an output needs, in their order."""
    wanted, found = {output}, []
    for node in reversed(list(nodes)):
        if wanted & set(node.output):
            wanted.update(_reads(node))
            found.append(node)
    return reversed(found)

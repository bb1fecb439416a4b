"""An ONNX graph while it is built: nodes, constants, inputs and outputs, with names made up as they are needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from pilothouse.errors import ConfigurationError

OPSET, ML_OPSET, IR_VERSION = 17, 5, 9
"""The oldest that have what the graphs use; ai.onnx.ml 5 brings trees in double precision and splits by sets."""


class CannotExport(ConfigurationError):
    """The model can't be written in this format."""


class Graph:
    """Adds nodes one by one; the name of what a node makes is the handle for the next."""

    def __init__(self) -> None:
        try:
            import onnx
            import onnx.numpy_helper
        except ImportError as error:
            raise CannotExport(
                "Writing ONNX needs the package onnx. Install it with: pip install 'pilothouse[onnx]'."
            ) from error
        self.onnx = onnx
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._count = 0

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Adds a node with one output; the output's name."""
        name = self._name(operator)
        node = self.onnx.helper.make_node(operator, list(inputs), [name], name=name, domain=domain, **attributes)
        self._nodes.append(node)
        return name

    def constant(self, values: Any, dtype: Any = np.float64) -> str:
        """The name of a constant tensor; of texts where `dtype` is object."""
        name = self._name("constant")
        self._constants.append(self.tensor(np.asarray(values, dtype=dtype), name))
        return name

    def tensor(self, values: Any, name: str = "values") -> Any:
        """An array as ONNX's own tensor."""
        return self.onnx.numpy_helper.from_array(np.array(values, order="C"), name)

    def double(self, value: str) -> str:
        """`value` in double precision."""
        return self.add("Cast", value, to=self.onnx.TensorProto.DOUBLE)

    def single(self, value: str) -> str:
        """`value` in single precision."""
        return self.add("Cast", value, to=self.onnx.TensorProto.FLOAT)

    def integer(self, value: str) -> str:
        """`value` as int64."""
        return self.add("Cast", value, to=self.onnx.TensorProto.INT64)

    def input(self, name: str, kind: str) -> str:
        """An input [n, 1] of the whole graph; `kind` is FLOAT or STRING."""
        self._inputs.append(
            self.onnx.helper.make_tensor_value_info(name, getattr(self.onnx.TensorProto, kind), ["n", 1])
        )
        return name

    def output(self, value: str, name: str, kind: str, shape: list[Any]) -> None:
        """Makes `value` an output of the whole graph, called `name`."""
        self._nodes.append(self.onnx.helper.make_node("Identity", [value], [name], name=f"{name}_out"))
        self._outputs.append(self.onnx.helper.make_tensor_value_info(name, getattr(self.onnx.TensorProto, kind), shape))

    def model(self, producer: str, version: str) -> Any:
        """The finished model, checked by ONNX's own checker."""
        helper = self.onnx.helper
        graph = helper.make_graph(self._nodes, "pilothouse", self._inputs, self._outputs, self._constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name=producer, producer_version=version
        )
        self.onnx.checker.check_model(model)
        return model

    def _name(self, stem: str) -> str:
        self._count += 1
        return f"ph_{stem.lower()}_{self._count}"

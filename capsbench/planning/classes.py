"""Names the classes that a request has in the place of names: ``routing=MyRouting`` is ``routing="my_module:MyRouting"``.

Networks are trained in other processes, which import a component by its name. What runs is therefore the module's file as it is
when the run starts, whatever the class in this process was made from; its source is part of the cells' identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType
from typing import Any

from capsbench import registry
from capsbench.errors import Kind, UsageError


def name_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a request with the name of each class in it."""
    return {flag: name_classes(flag, value) for flag, value in request.items()}


def name_classes(flag: str, value: Any) -> Any:
    """Returns a value, or a list of values, with the name of each class.

    Raises:
        UsageError: other processes cannot import a class.
    """
    if isinstance(value, list | tuple) and any(isinstance(item, type | FunctionType) for item in value):
        return [name_classes(flag, item) for item in value]
    return name_class(flag, value) if isinstance(value, type | FunctionType) else value


def name_class(flag: str, component: type | FunctionType) -> str:
    """Returns the name of a class or function: that of what is built in, else ``module:Class``.

    The registry refuses one of ``__main__``, by its name as well.
    """
    path = f"{component.__module__}:{component.__qualname__}"
    built_in = {place: name for names in registry.BUILT_IN.values() for name, place in names.items()}
    if "." in component.__qualname__:
        problem = "it is defined within a function or a class, where no other process finds it"
        raise UsageError(
            Kind.INACCESSIBLE, problem, flag=flag, value=path, expected="define it at the top of a module's file"
        )
    return built_in.get(path, path)

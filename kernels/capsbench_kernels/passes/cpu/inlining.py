"""Functions that LLVM inlines into the kernels, and the shortened compiler for both.

Numba would optimise each function that a kernel calls for its own sake, and make machine code of it that nothing runs. Here the
code goes to the kernel as it is, and is optimised once, there. This and the shorter list of passes make the first call take half
as long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, Flags
from numba.core.compiler_machinery import PassManager
from numba.core.registry import cpu_target
from numba.core.typed_passes import IRLegalization, NativeLowering, NoPythonBackend, NopythonTypeInference
from numba.core.types import Any as AnyType
from numba.core.types import Function, VarArg
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.core.untyped_passes import FixupArgs, IRProcessing, TranslateByteCode
from numba.extending import lower_builtin

PASSES = (
    *(TranslateByteCode, FixupArgs, IRProcessing),
    *(NopythonTypeInference, IRLegalization, NativeLowering, NoPythonBackend),
)


class KernelLibrary(JITCodeLibrary):
    """The code of a kernel, or of a function that becomes part of one: optimised once, when the kernel has all its parts."""

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        # Numba optimises twice, to find pairs of reference counts, and looks for loops to vectorise. There are neither here.
        passes, builder = self._codegen._module_pass_manager(loop_vectorize=False, slp_vectorize=False, opt=2)
        passes.run(self._final_module, builder)


class KernelCompiler(CompilerBase):
    """Numba's compiler without the passes for closures, generators and NumPy expressions, which loops over numbers do not have.

    There is no static single assignment either: a variable keeps one type.
    """

    def define_pipelines(self) -> list[PassManager]:
        if self.state.library is None:
            self.state.library = KernelLibrary(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
            self.state.library.enable_object_caching()
        passes = PassManager("kernel")
        for step in PASSES:
            passes.add_pass(step, step.__name__)
        passes.finalize()
        return [passes]


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Lets compiled code call a function, whose code becomes part of the caller's.

    The function itself is returned; Python cannot run it. It is compiled for the types of a call when it is first called so.
    """
    compiled: dict[Any, tuple[Any, Any]] = {}

    class Call(AbstractTemplate):
        key = function

        def generic(self, arguments: Any, keywords: Any) -> Any:
            if arguments not in compiled:
                compiled[arguments] = _compile_part(self.context, function, arguments)
            result, _ = compiled[arguments]
            return signature(result.signature.return_type, *arguments)

    infer_global(function, Function(Call))

    def emit_call(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        result, library = compiled[signature.args]
        _link_part(context.active_code_library, library, result.fndesc.llvm_func_name)
        return context.call_internal(builder, result.fndesc, signature, arguments)

    lower_builtin(function, VarArg(AnyType))(emit_call)
    return function


def _compile_part(typing: Any, function: Callable[..., Any], arguments: Any) -> tuple[Any, Any]:
    """Returns Numba's result for these types, and the library with the function's code, which is not yet optimised."""
    target = cpu_target.target_context
    library = KernelLibrary(target.codegen(), function.__name__)
    flags: Any = Flags()
    flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
    flags.enable_ssa, flags.forceinline, flags.error_model = False, True, "numpy"
    return KernelCompiler(typing, target, library, arguments, None, flags, {}).compile_extra(function), library


def _link_part(caller: Any, library: Any, name: str) -> None:
    """Copies a function's code, and that of the functions it calls, to the caller's library."""
    module = caller._final_module
    try:
        module.get_function(name)  # an earlier call has copied it
    except NameError:
        module.link_in(library._final_module, preserve=True)
        # Such a function is dropped once all its calls are inlined.
        module.get_function(name).linkage = llvm.Linkage.linkonce_odr
        for needed in library._linking_libraries:
            caller.add_linking_library(needed)

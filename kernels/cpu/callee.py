"""Functions that compiled code alone calls: linked into their callers as they are, and optimised there, once.

Numba makes a library of every function: it links in what the function calls, optimises the whole, makes machine code
of it and wraps it for Python, twice. What lies six calls deep is optimised seven times, and only the last counts. A
callee's library here ends with linking. From a cold cache the CNN takes its first step after 26 instead of 66 s, and
the kernels run as fast as before. What is overridden here are private parts of Numba; it was run with
0.62.0 and 0.68.1.
"""

import marshal

from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import LoweringPass, register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering, NopythonRewrites
from numba.core.untyped_passes import InlineClosureLikes

_callees = {}  # by name
_FRUITLESS = InlineClosureLikes, NopythonRewrites  # for closures and sums of whole arrays, of which there are none: 1 s


def find(name, *version):
    """The function of this name, module first, in whatever version it is here. Raises KeyError where it is not."""
    return _callees[name]


class Callee(CPUDispatcher):
    """A function as its callers see it. `options` are those of numba.njit.

    Raises:
        ValueError: there is one of this name. Functions of one name and signature, loaded from the cache or compiled
            now, are taken for one function by the linker, and the wrong one would run.
    """

    def __init__(self, function, **options):
        self._name = f"{function.__module__}.{function.__qualname__}"
        if self._name in _callees:
            raise ValueError(f"there is a compiled function {self._name} already: give this one a name of its own")
        super().__init__(function, targetoptions={"nopython": True, **options}, pipeline_class=_Pipeline)
        _callees[self._name] = self

    def __call__(self, *args):
        raise TypeError(f"{self.__name__} is called from compiled code only; its Python is {self.__name__}.py_func")

    def __reduce__(self):
        """Its name, its code and the functions it is made around: by these the cache knows entry points around it."""
        around = [cell.cell_contents for cell in self.py_func.__closure__ or ()]
        code = marshal.dumps(self.py_func.__code__, 2)  # later versions count references
        return find, (self._name, code, *[each for each in around if isinstance(each, Callee)])

    def add_overload(self, compiled):
        self.overloads[tuple(compiled.signature.args)] = compiled

    def get_call_template(self, args, kws):
        """One version for all values: of the SIMD tile's products there were seven, for the constants in calls."""
        return super().get_call_template(
            tuple(map(types.unliteral, args)), {name: types.unliteral(arg) for name, arg in kws.items()}
        )


class Library(JITCodeLibrary):
    """A library whose functions LLVM looks at briefly before they are linked: what matters, it does to the whole.

    Numba's own has all passes over functions go by here, and makes them anew for each function, four of five of which
    are declared alone. Without any, kernels take up to twice the time: a function is put into its caller by its size.
    """

    def _optimize_functions(self, module):
        module.data_layout = self._codegen._data_layout
        passes, builder = self._codegen._function_pass_manager(opt=1)
        for function in module.functions:
            if not function.is_declaration:
                passes.run(function, builder)


class _Linked(Library):
    """A library that is ready once what it calls is linked in."""

    def finalize(self):
        for library in dict.fromkeys(self._linking_libraries):
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True


class _Pipeline(CompilerBase):
    """Numba's own, without what makes a function callable from Python."""

    def define_pipelines(self):
        state = self.state
        state.library = _Linked(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = state.flags.no_cpython_wrapper = state.flags.no_cfunc_wrapper = True
        passes = DefaultPassBuilder.define_nopython_pipeline(state)
        passes.passes = [each for each in passes.passes if each[0] not in _FRUITLESS]
        passes.add_pass_after(_Declare, NativeLowering)
        passes.finalize()
        return [passes]


@register_pass(mutates_CFG=False, analysis_only=False)
class _Declare(LoweringPass):
    """Let callers find the function, by an object that stands where its Python wrapper would."""

    _name = "declare_callee"

    def __init__(self):  # abstract in Numba's class
        super().__init__()

    def run_pass(self, state):
        known_by = object()
        state.targetctx.insert_user_function(known_by, state.cr.fndesc, [state.library])
        state.cr = state.cr._replace(cfunc=known_by)
        return True

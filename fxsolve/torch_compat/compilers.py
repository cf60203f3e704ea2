"""Dynamo and inductor, each looked up at its first use: they take seconds to import."""

import sys
import warnings
from collections.abc import Callable, Hashable, Mapping
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, fx, nn

from fxsolve.torch_compat.checks import lookup, relied_on

with relied_on():
    # torch.compiler.disable imports the compiler at once.
    from torch._compile import _disable_dynamo

_Function = TypeVar("_Function", bound=Callable[..., Any])
_STANCE = "_stance"
_FRAMES = "torch._dynamo.eval_frame"


def runs_between_graphs(function: _Function, reason: str) -> _Function:
    """The function, into which torch.compile does not look; its error under fullgraph=True quotes the reason."""
    disabled: Any = _disable_dynamo(function)
    # What torch.compiler.disable(reason=...) sets.
    disabled._torchdynamo_disable = True
    disabled._torchdynamo_disable_msg = reason
    return disabled


def stance() -> Any:
    """What `torch.compiler.set_stance` has set: whether what torch.compile made is compiled, or runs as written."""
    with relied_on():
        from torch._dynamo import eval_frame
    kept = lookup(eval_frame, _STANCE)
    lookup(kept, "stance")
    return kept


def set_stance(value: Any) -> None:
    """Set it for all threads, at once."""
    with relied_on():
        from torch._dynamo import eval_frame
    setattr(eval_frame, _STANCE, value)


def call_with_stances(change: Callable[[], object]) -> Callable[[], object]:
    """Call it once there are stances: now, or while dynamo is imported; returns how to call it off."""
    if _FRAMES in sys.modules:
        change()
        return lambda: None
    waiting = _AtImport(change)
    sys.meta_path.insert(0, waiting)
    return lambda: _stop_finding(waiting)


def _stop_finding(finder: MetaPathFinder) -> None:
    # A list anew, for an import of another thread that goes through this one would pass by a finder.
    sys.meta_path = [one for one in sys.meta_path if one is not finder]


class _AtImport(MetaPathFinder, Loader):
    """Calls a function when the module that keeps stances has been imported, in which it changes nothing else."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function = function
        self._loader: Any = None

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        found = PathFinder.find_spec(fullname, path, target) if fullname == _FRAMES else None
        if found is not None and found.loader is not None:
            self._loader, found.loader = found.loader, self
        return found

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._function()


def is_started() -> bool:
    """Whether inductor was imported: the first compilation of a process takes some seconds besides its own."""
    return "torch._inductor.compile_fx" in sys.modules


def compile_by_inductor(module: nn.Module, inputs: list[Tensor]) -> Callable[..., Any]:
    """Without the guards of `torch.compile`; inductor may rewrite what it is given.

    Its calls, of methods too, have the arguments of ATen's ops. What it has compiled in another process is found in its
    cache on disk. On a CPU the function is inductor's own: what AOTAutograd and `torch.compile` put around it takes
    longer than many a graph. So it must be given tensors laid out as the `inputs` are, and apart in memory. What it
    gives has no gradients.
    """
    if isinstance(module, fx.GraphModule):
        _without_methods(module)
    if all(one.device.type == "cpu" for one in inputs):
        with relied_on():
            from torch._inductor.decomposition import select_decomp_table
        functional: Any = torch.func.functionalize(module, remove="mutations")
        graph, mode = _traced(functional, inputs, select_decomp_table())
        _write_early(graph.graph)
        graph.recompile()  # inductor's cache on disk knows it by its code
        return _generated(graph, mode, _GENERATED)
    with relied_on():
        from torch._inductor import standalone_compile
    given: Any = (module, inputs)
    return standalone_compile(*given, dynamic_shapes="from_example_inputs", donate_graph_module=True)


def _write_early(graph: fx.Graph) -> None:
    """Let what is written into a given tensor be written as soon as it is computed, and be read there.

    All steps of a chain have the same kernels then, which are compiled once, and store what they write only once. At
    the end of the graph, where tracing leaves them, writes become parts of the kernels of later steps.
    """
    for write in graph.find_nodes(op="call_function", target=torch.ops.aten.copy_.default):
        place, copy = write.all_input_nodes
        value = copy.args[1] if copy.target is torch.ops.aten.copy.default else None
        others = {*place.users, *copy.users} - {copy, write}
        if value is None or value.op != "call_function" or others:  # what is there before, or a copy, is read too
            continue
        value.append(copy)
        copy.append(write)
        if _form(value) == _form(place):
            readers = {user for user in value.users if user.op != "output"} - {copy}
            value.replace_all_uses_with(write, readers.__contains__)


def _form(node: fx.Node) -> Hashable:
    value = node.meta["val"]
    return value.shape, value.stride(), value.dtype, value.device


def _without_methods(module: fx.GraphModule) -> None:
    for node in module.graph.find_nodes(op="call_method"):
        if hasattr(torch.ops.aten, node.target):
            node.op, node.target = "call_function", getattr(torch.ops.aten, node.target)
    module.recompile()


def compile_around(module: nn.Module, inputs: list[Tensor], kept: frozenset[str]) -> Callable[..., Any]:
    """What a graph of ATen calls computes, with generated code for all but the ops named in `kept`.

    These are called as they are, and none of them is taken apart: what the others round at once has the bits that ATen
    gives it. The function must be given tensors laid out as the `inputs` are, and apart in memory.
    """
    with relied_on():
        from torch._inductor.decomposition import select_decomp_table
    taken_apart = {op: made for op, made in select_decomp_table().items() if _name(op) not in kept}
    graph, mode = _traced(module, inputs, taken_apart)
    for node in graph.graph.nodes:
        if node.op == "call_function" and _name(node.target) not in kept:
            node.meta["custom"] = {"compile_with_inductor": "fused"}
    return _generated(graph, mode, _AROUND)


def _traced(function: Callable[..., Any], inputs: list[Tensor], table: Mapping[Any, Any]) -> tuple[fx.GraphModule, Any]:
    """The calls that a function of such tensors makes, some taken apart, and the mode of the tensors in their place."""
    with relied_on():
        from torch._subclasses.fake_tensor import FakeTensorMode
        from torch.fx.experimental.proxy_tensor import make_fx
        from torch.fx.experimental.symbolic_shapes import ShapeEnv
    # Without sizes to look up, inductor does not look into its cache; tensors in a graph are constants of the code.
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    # One tensor that comes twice would be taken for one argument.
    apart = (torch.empty_strided(one.shape, one.stride(), dtype=one.dtype, device=one.device) for one in inputs)
    return make_fx(function, dict(table))(*(mode.from_tensor(one, static_shapes=True) for one in apart)), mode


def _generated(graph: fx.GraphModule, mode: Any, options: dict[str, Any]) -> Callable[..., Any]:
    """The code that inductor generates for a traced graph, as a function of its tensors."""
    with relied_on():
        from torch._guards import TracingContext, tracing
        from torch._inductor import config
        from torch._inductor.compile_fx import compile_fx_inner
    _try_instructions()
    given = [node.meta["val"] for node in graph.graph.find_nodes(op="placeholder")]
    with tracing(TracingContext(mode)), config.patch(options), warnings.catch_warnings():
        # Complex numbers are left to ATen's ops: what that costs is measured, and said in the report.
        warnings.filterwarnings("ignore", "Torchinductor does not support code generation for complex")
        compiled: Any = compile_fx_inner(graph, given)

    def run(*tensors: Tensor) -> Any:
        if not torch.is_grad_enabled():
            return compiled(list(tensors))
        with torch.no_grad():  # ops that write into what they are given refuse tensors that want gradients
            return compiled(list(tensors))

    return run


# Asserts of what every call gives take longer than many of these graphs. Above 64 calls, inductor would cut a chain of
# elementwise steps into kernels, with tensors in between that it allocates at every call.
_GENERATED = {"size_asserts": False, "alignment_asserts": False, "max_fusion_size": 1 << 12}
_AROUND = {
    **_GENERATED,
    "fallback_by_default": True,
    "use_post_grad_passes": False,
    "use_joint_graph_passes": False,
}


@cache
def _try_instructions() -> None:
    """Let inductor compile and load, with vectors of the widest kind that this processor has, what it tries kinds with.

    It tries all kinds before it compiles anything, each in one to two seconds, and in a fifth where its cache on disk
    knows them. Those that are narrower are believed to work where a wider one does: none is used unless somebody asks.
    """
    with relied_on():
        from torch._inductor import config, cpu_vec_isa
    here = set(cpu_vec_isa.x86_isa_checker())
    kinds = (kind for kind in cpu_vec_isa.supported_vec_isa_list if here.issuperset(str(kind).split()))
    if any(kinds):  # by the truth of a kind, inductor tries it, the widest ones first
        with config.patch({"cpp.vec_isa_ok": True}):
            cpu_vec_isa.valid_vec_isa_list()


def _name(target: Any) -> str:
    return target.name().partition(".")[0].removeprefix("aten::") if hasattr(target, "name") else str(target)


def inductor_settings() -> Hashable:
    """Equal where inductor compiles alike."""
    with relied_on():
        from torch._inductor import config
    return lookup(config, "get_hash")()

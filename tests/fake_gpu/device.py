"""A GPU that is not there: its tensors say that they are on it, and the CPU computes.

`DeviceTensor` wraps a tensor of the CPU. `FakeGPU` is the dispatch mode that makes and unwraps
them: operations without one run as usual, all others on what is wrapped. So the package takes
its CUDA branches, and the values are true. As on a GPU, an operation over two devices is an
error, and so are a few others that a CPU allows. Whatever would make the host wait is recorded
in `FakeGPU.waits`, with the line it came from.

It is one of CUDA, ``cuda:0``, or of Apple, ``mps:0``, which has no float64 and no pinned memory. A
build of PyTorch without either needs ``stub.cpp``, loaded before torch is imported.
"""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA, MPS = torch.device("cuda:0"), torch.device("mps:0")
CPU = torch.device("cpu")
aten = torch.ops.aten

#: These read values of the device, and so wait for it.
_READING = {
    aten._local_scalar_dense.default: "reads a value",
    aten.is_nonzero.default: "reads a value",
    aten.equal.default: "reads a value",
    aten.nonzero.default: "a shape that depends on values",
    aten.masked_select.default: "a shape that depends on values",
    aten._unique2.default: "a shape that depends on values",
    aten.unique_consecutive.default: "a shape that depends on values",
}
_INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
_COPIES = (aten._to_copy.default, aten.copy_.default)
_LAYER_NORMS = (aten.native_layer_norm.default,)


class DeviceTensor(torch.Tensor):
    """A tensor on the GPU, over the values in ``held``."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> DeviceTensor:
        made: DeviceTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=_current.device,
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _current.run(func, args, kwargs or {})

    def untyped_storage(self) -> Any:
        return self.held.untyped_storage()

    def tolist(self) -> Any:
        return self.cpu().tolist()  # PyTorch refuses subclasses

    def __repr__(self, **_: Any) -> str:
        return f"DeviceTensor({self.held})"


class FakeGPU(TorchDispatchMode):
    """Runs operations on the GPU that is not there; in each thread another one of these.

    Attributes
    ----------
    device : torch.device
        The GPU.
    waits : list of str
        What has made the host wait, in order, with the line of the package that led to it.
    """

    def __init__(self, device: torch.device = CUDA, waits: list[str] | None = None) -> None:
        super().__init__()
        self.device = device
        self.waits: list[str] = [] if waits is None else waits

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The result of ``func``."""
        leaves = tree_leaves((args, kwargs))
        on_device = [leaf for leaf in leaves if isinstance(leaf, DeviceTensor)]
        wanted = kwargs.get("device")
        if not on_device and (wanted is None or torch.device(wanted).type != self.device.type):
            return func(*args, **kwargs)
        if func.namespace == "prim":
            return func(*args, **kwargs)
        if _is_composite(func):  # inference mode hands these over whole
            with self:
                found = func.decompose(*args, **kwargs)
            if found is not NotImplemented:
                return found
        self._check(func, leaves, on_device)
        self._note_waits(func, args, kwargs, on_device)
        target = self._device_of_result(func, args, wanted)
        if wanted is not None:
            kwargs = kwargs | {"device": CPU}
        inner_args, inner_kwargs = tree_map(_unwrapped, (args, kwargs))
        if func is aten._fused_sdp_choice.default:
            return 0  # the plain formula, which consists of operations that every device has
        if func is aten._to_copy.default:
            inner_kwargs |= {"non_blocking": False}
            if target.type != args[0].device.type and inner_args[0].dtype == kwargs.get(
                "dtype", args[0].dtype
            ):
                inner_args = (inner_args[0].clone(),)  # on the CPU it would not be copied
        found = func(*inner_args, **inner_kwargs)
        if target.type == "cpu":
            return found
        return _wrapped(func, args, kwargs, found)

    def note(self, what: str) -> None:
        """Record that the host waits."""
        self.waits.append(f"{what} at {_place()}")

    def _check(self, func: Any, leaves: list[Any], on_device: list[DeviceTensor]) -> None:
        """Raise what a GPU would."""
        for leaf in leaves:
            if isinstance(leaf, torch.Generator) and leaf.device.type != self.device.type:
                raise RuntimeError(f"{func}: a generator of the CPU draws numbers on the GPU")
        on_cpu = [x for x in leaves if isinstance(x, torch.Tensor) and x.device.type == "cpu"]
        if on_device and on_cpu and func not in (*_COPIES, *_INDEXING):
            numbers = torch.Tag.pointwise in func.tags and all(x.dim() == 0 for x in on_cpu)
            if not numbers:
                raise RuntimeError(f"{func}: tensors on two devices, {self.device} and cpu")
        if func in _LAYER_NORMS and len({x.dtype for x in on_device}) > 1:
            raise RuntimeError(f"{func}: expected one type, found {[x.dtype for x in on_device]}")

    def _note_waits(
        self, func: Any, args: Any, kwargs: dict[str, Any], on_device: list[DeviceTensor]
    ) -> None:
        if func in _READING:
            self.note(_READING[func])
        elif func in _COPIES:
            self._note_copy(func, args, kwargs)
        elif func in _INDEXING:
            for index in args[1]:
                if index is not None and not isinstance(index, DeviceTensor):
                    self.note("an index on the host")
                elif index is not None and index.dtype in (torch.bool, torch.uint8):
                    self.note("a shape that depends on values")

    def _note_copy(self, func: Any, args: Any, kwargs: dict[str, Any]) -> None:
        if func is aten.copy_.default:
            target, source = args[0].device, args[1]
            blocking = not (args[2] if len(args) > 2 else kwargs.get("non_blocking"))
        else:
            target, source = torch.device(kwargs.get("device") or args[0].device), args[0]
            blocking = not kwargs.get("non_blocking")
        if target.type == source.device.type:
            return
        if target.type == "cpu":
            self.note("a copy to the host")
            if not blocking:
                raise RuntimeError("a copy to the host that nobody waits for may be read too early")
        elif blocking:
            self.note("a blocking copy to the device")
        elif self.device == MPS:
            raise RuntimeError("a copy to the device may read memory that is released by then")
        elif not getattr(source, "is_pinned_here", False):
            self.note("a copy to the device from memory that is not pinned")

    def _device_of_result(self, func: Any, args: Any, wanted: Any) -> torch.device:
        if func is aten.copy_.default:
            return args[0].device
        return self.device if wanted is None else torch.device(wanted)


#: What runs operations on device tensors where no mode is active.
_current = FakeGPU()


def _is_composite(func: Any) -> bool:
    return torch._C._dispatch_has_kernel_for_dispatch_key(
        func.name(), torch._C.DispatchKey.CompositeImplicitAutograd
    )


def _unwrapped(value: Any) -> Any:
    return value.held if isinstance(value, DeviceTensor) else value


def _wrapped(func: Any, args: Any, kwargs: Any, found: Any) -> Any:
    """``found`` as tensors of the device; an argument that has changed in place as itself."""
    same = {id(x.held): x for x in tree_leaves((args, kwargs)) if isinstance(x, DeviceTensor)}

    def wrap(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        if id(value) in same:
            return same[id(value)]
        if _current.device == MPS and value.dtype == torch.float64:
            raise TypeError(f"{func}: an Apple GPU has no float64")
        # A view of an ordinary tensor is one too, in inference mode as well.
        with torch.inference_mode(value.is_inference()):
            return DeviceTensor(value)

    return tree_map(wrap, found)


def _place() -> str:
    """The line of the package that is running, and the one of a library that it calls."""
    frames = [each for each in traceback.extract_stack() if not each.filename.endswith(__file__)]
    names = [(each.filename.replace("\\", "/"), each) for each in frames]
    ours = [i for i, (name, _) in enumerate(names) if "/sklearn_lntune/" in name]
    theirs = [
        i for i, (name, _) in enumerate(names) if "/transformers/" in name or "/skorch/" in name
    ]
    chosen = [part[-1] for part in (ours, theirs) if part]
    chosen = sorted(i for i in chosen if not ours or i >= ours[-1])
    return " -> ".join(
        f"{'/'.join(names[i][0].split('/')[-2:])}:{names[i][1].lineno}" for i in chosen
    )


def _plain_attention(*tensors: torch.Tensor, attn_mask: Any = None, **options: Any) -> torch.Tensor:
    dropout, is_causal = options.pop("dropout_p", 0.0), options.pop("is_causal", False)
    return aten._scaled_dot_product_attention_math(
        *tensors, attn_mask, dropout, is_causal, **options
    )[0]


def _pinned(tensor: torch.Tensor, *_: Any) -> torch.Tensor:
    if _current.device != CUDA:
        raise RuntimeError("only CUDA has pinned memory")
    copy: Any = tensor.clone()
    copy.is_pinned_here = True
    return copy


#: Functions of PyTorch that ask for a GPU, or something of it.
_REPLACED: dict[torch.device, dict[Any, dict[str, Any]]] = {
    CUDA: {
        torch.cuda: {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "current_device": lambda: 0,
            "_lazy_init": lambda: None,
            "is_bf16_supported": lambda including_emulation=True: True,
            "mem_get_info": lambda device=None: (1 << 36, 1 << 37),
            "empty_cache": lambda: None,
            "is_current_stream_capturing": lambda: False,
            "get_rng_state": lambda device=None: torch.zeros(16, dtype=torch.uint8),
            "set_rng_state": lambda state, device=None: None,
        }
    },
    MPS: {
        torch.cuda: {"is_available": lambda: False},
        torch.backends.mps: {"is_available": lambda: True},
        torch.mps: {"empty_cache": lambda: None},
        # Of this device, PyTorch asks its kernels for a choice below the level of dispatch modes.
        torch.nn.functional: {"scaled_dot_product_attention": _plain_attention},
    },
}


@contextlib.contextmanager
def fake_gpu(device: torch.device = CUDA) -> Iterator[FakeGPU]:
    """In this context there is one GPU, for all threads."""
    gpu = FakeGPU(device)
    run_thread = threading.Thread.run

    def run(thread: threading.Thread) -> None:
        torch._C._set_only_lift_cpu_tensors(True)
        with FakeGPU(device, gpu.waits):
            run_thread(thread)

    before = torch._C._only_lift_cpu_tensors()
    # So that `torch.tensor(..., device="cuda")` copies by a call that a mode sees.
    torch._C._set_only_lift_cpu_tensors(True)
    # A tensor of a subclass cannot become the data of a parameter, only a new parameter.
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with contextlib.ExitStack() as stack:
            for module, functions in _REPLACED[device].items():
                stack.enter_context(patch.multiple(module, **functions))
            stack.enter_context(patch.object(torch.Tensor, "pin_memory", _pinned))
            stack.enter_context(patch.object(threading.Thread, "run", run))
            stack.enter_context(patch.multiple(_current, device=device, waits=gpu.waits))
            yield stack.enter_context(gpu)
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)
        torch._C._set_only_lift_cpu_tensors(before)

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sklearn_lntune.backbone import placement
from sklearn_lntune.backbone.placement import (
    MissingDeviceError,
    Placement,
    delta_type,
    padded_length,
    place_fit,
    place_prediction,
)
from sklearn_lntune.backbone.where import Where

CPU = torch.device("cpu")
BF16, F16, F32, F64 = torch.bfloat16, torch.float16, torch.float32, torch.float64


def with_gpus(monkeypatch: pytest.MonkeyPatch, cuda: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


def with_native_bfloat16(monkeypatch: pytest.MonkeyPatch, native: bool) -> None:
    monkeypatch.setattr(placement, "_has_native_bfloat16", lambda device: native)


@pytest.mark.parametrize(("precision", "dtype"), [("bfloat16", BF16), ("float32", F32)])
def test_a_named_precision_is_that_of_fit_and_prediction(
    precision: str, dtype: torch.dtype
) -> None:
    assert place_fit(Where("cpu", precision), F32) == Placement(CPU, dtype, dtype)
    assert place_prediction(Where("cpu", precision), F16) == Placement(CPU, dtype, dtype)


def test_float64_is_float64_throughout() -> None:
    placed = place_fit(Where("cpu", "float64"), F32)
    assert placed == Placement(CPU, F64, F64)
    assert delta_type(placed.train_type) == F64


@pytest.mark.parametrize("dtype", [BF16, F16, F32])
def test_what_is_learnt_is_float32_unless_all_is_wider(dtype: torch.dtype) -> None:
    assert delta_type(dtype) == F32


@pytest.mark.parametrize(("native", "train_type"), [(True, BF16), (False, F32)])
def test_auto_trains_in_bfloat16_where_it_is_native(
    monkeypatch: pytest.MonkeyPatch, native: bool, train_type: torch.dtype
) -> None:
    with_native_bfloat16(monkeypatch, native)
    assert place_fit(Where("cpu", "auto"), F32) == Placement(CPU, train_type, F32)


@pytest.mark.parametrize("stored", [BF16, F16, F32, F64])
@pytest.mark.parametrize(("native", "train_type"), [(True, BF16), (False, F32)])
def test_auto_predicts_in_bfloat16_what_is_stored_so_where_it_is_native(
    monkeypatch: pytest.MonkeyPatch, stored: torch.dtype, native: bool, train_type: torch.dtype
) -> None:
    with_native_bfloat16(monkeypatch, native)
    predict = train_type if stored == BF16 else F32  # float16 ends at 65,504
    assert place_fit(Where("cpu", "auto"), stored) == Placement(CPU, train_type, predict)
    assert place_prediction(Where("cpu", "auto"), stored) == Placement(CPU, train_type, predict)


@pytest.mark.parametrize("device", ["meta", "hpu", "xla"])
def test_a_device_that_does_not_compute_here_is_missing(device: str) -> None:
    with pytest.raises(MissingDeviceError, match=f"device='{device}' cannot be used here"):
        place_fit(Where(device, "float32"), F32)


@pytest.mark.parametrize(
    ("told", "native"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"avx512_bf16": False, "amx_bf16": False, "avx2": True}, False),
        ({}, False),
    ],
)
def test_the_cpu_says_whether_bfloat16_is_native(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, bool], native: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told)
    assert place_fit(Where("cpu", "auto"), F32).train_type == (BF16 if native else F32)


@pytest.mark.parametrize(
    ("cuda", "mps", "device"),
    [(2, False, "cuda:0"), (1, True, "cuda:0"), (0, True, "mps"), (0, False, "cpu")],
)
def test_auto_takes_cuda_then_apple_then_the_cpu(
    monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, device: str
) -> None:
    with_gpus(monkeypatch, cuda, mps)
    assert place_fit(Where("auto", "float32"), F32).device == torch.device(device)


def test_auto_is_the_process_own_device_where_several_fit_together() -> None:
    own = torch.device("meta")
    assert place_fit(Where("auto", "float32"), F32, own=own).device == own
    assert place_fit(Where("cpu", "float32"), F32, own=own).device == CPU


@pytest.mark.parametrize(
    ("device", "placed"),
    [("cuda", "cuda:0"), ("cuda:1", "cuda:1"), (torch.device("cuda", 1), "cuda:1"), ("cpu", "cpu")],
)
def test_a_named_device_is_taken(monkeypatch: pytest.MonkeyPatch, device: Any, placed: str) -> None:
    with_gpus(monkeypatch, cuda=2)
    assert place_fit(Where(device, "float32"), F32).device == torch.device(placed)


@pytest.mark.parametrize(
    ("device", "cuda"), [("cuda", 0), ("cuda:2", 2), (torch.device("cuda", 1), 1), ("mps", 0)]
)
def test_a_missing_device_is_an_error_in_fit(
    monkeypatch: pytest.MonkeyPatch, device: Any, cuda: int
) -> None:
    with_gpus(monkeypatch, cuda)
    with pytest.raises(MissingDeviceError, match=f"device='{device}'"):
        place_fit(Where(device, "float32"), F32)
    assert issubclass(MissingDeviceError, ValueError)


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_gpu_is_missing_in_the_child_of_a_process_that_used_it(
    monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    with_gpus(monkeypatch, cuda=1)
    monkeypatch.setattr(torch.cuda, "_is_in_bad_fork", lambda: True)
    with pytest.raises(MissingDeviceError, match="forked from one that had used the GPU"):
        place_fit(Where(device, "float32"), F32)
    with pytest.warns(UserWarning, match="was forked .* Predicting on the CPU"):
        assert place_prediction(Where(device, "float32"), F32).device == CPU
    assert place_fit(Where("cpu", "float32"), F32).device == CPU


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "mps"])
def test_a_missing_device_is_replaced_with_one_warning_in_prediction(
    monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    with_gpus(monkeypatch)
    with pytest.warns(UserWarning, match=f"device='{device}'.* Predicting on the CPU") as caught:
        placed = place_prediction(Where(device, "float32"), F32)
    assert placed == Placement(CPU, F32, F32)
    assert len(caught) == 1


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "", None, ["cpu"]])
@pytest.mark.parametrize("place", [place_fit, place_prediction])
def test_an_unknown_device_is_an_error_that_repeats_it(device: Any, place: Any) -> None:
    with pytest.raises(ValueError, match="device must be") as error:
        place(Where(device, "float32"), F32)
    assert f"got {device!r}" in str(error.value)


@pytest.mark.parametrize("precision", ["float16", "bf16", "", None, 32, torch.float32])
@pytest.mark.parametrize("place", [place_fit, place_prediction])
def test_an_unknown_precision_is_an_error_that_repeats_it(precision: Any, place: Any) -> None:
    with pytest.raises(ValueError, match="precision must be") as error:
        place(Where("cpu", precision), F32)
    assert f"got {precision!r}" in str(error.value)


def test_apples_gpu_has_no_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gpus(monkeypatch, mps=True)
    with pytest.raises(ValueError, match=r"precision='float64' .* 'mps'"):
        place_fit(Where("mps", "float64"), F32)


@pytest.mark.parametrize(
    ("device", "train_type", "training", "attention"),
    [
        ("cpu", BF16, True, "eager"),
        ("cpu", BF16, False, "sdpa"),
        ("cpu", F32, True, "sdpa"),
        ("cuda", BF16, True, "sdpa"),
    ],
)
def test_attention_is_plain_only_to_train_in_bfloat16_on_a_cpu(
    device: str, train_type: torch.dtype, training: bool, attention: str
) -> None:
    placed = Placement(torch.device(device), train_type, F32)
    assert placed.attention(training=training) == attention


@given(st.integers(1, 5000))
def test_in_bfloat16_on_a_cpu_lengths_near_each_other_become_one(n_tokens: int) -> None:
    found = padded_length(n_tokens, BF16, CPU)
    assert n_tokens <= found <= n_tokens + max(1, n_tokens / 16)
    assert found <= padded_length(n_tokens + 1, BF16, CPU)
    assert padded_length(found, BF16, CPU) == found


def test_few_lengths_are_left_in_bfloat16_on_a_cpu() -> None:
    lengths = range(1, 513)
    assert len({padded_length(n, BF16, CPU) for n in lengths}) <= 32 + 3 * 16
    assert all(padded_length(n, F32, CPU) == n for n in lengths)
    assert all(padded_length(n, BF16, torch.device("cuda")) == n for n in lengths)


def test_a_placement_cannot_be_changed() -> None:
    with pytest.raises(AttributeError, match="device"):
        place_fit(Where("cpu", "float32"), F32).device = CPU  # type: ignore[misc]

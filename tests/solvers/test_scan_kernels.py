"""The Triton kernels: right under Triton's interpreter, and compiled for a GPU without tensor cores."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="Triton is optional: pip install 'fxsolve[gpu]'")

ROOT = Path(__file__).resolve().parents[2]
INTERPRETED = Path(__file__).with_name("interpreted_kernels.py")
INTEGERS = {"T", "N", "n", "chunk", "count"}
KERNELS = {
    "_compose_diagonal": {"LANES": 128},
    "_carry_diagonal": {"LANES": 128},
    "_run_diagonal": {"LANES": 128},
    "_compose_dense": {"SIZE": 16},
    "_carry_dense": {"SIZE": 16},
    "_run_dense": {"SIZE": 16},
}


def test_the_kernels_are_right_under_the_interpreter() -> None:
    # Triton reads the variable when it is imported, which may have happened in this process.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(INTERPRETED)]
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", KERNELS)
def test_no_kernel_rounds_products_for_a_tensor_core(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from fxsolve.solvers import scan_kernels

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel, constants = getattr(scan_kernels, name), KERNELS[name]
    kinds = {argument: "i32" if argument in INTEGERS else "*fp32" for argument in kernel.arg_names}
    source = ASTSource(kernel, kinds | dict.fromkeys(constants, "constexpr"), constexprs=constants)
    code = triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["ptx"]
    assert "fma.rn.f32" in code
    assert not any(word in code for word in ("tf32", "bf16", "mma"))

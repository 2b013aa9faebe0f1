"""Make a backend; torch is imported only when it is asked for."""

from __future__ import annotations

import ctypes

from verifier.tensors.backend import Backend


def numpy_backend(dtype: str = "float64") -> Backend:
    """NumPy on the CPU; ``dtype`` is ``float32`` or ``float64``."""
    from verifier.tensors.numpy_arrays import NumpyBackend

    return NumpyBackend(dtype)


def torch_backend(dtype: str = "float32", device: str = "cpu") -> Backend:
    """Torch on a device; ``dtype`` is ``float32`` or ``float64``. Importing torch costs seconds."""
    from verifier.tensors.torch_arrays import TorchBackend

    return TorchBackend(dtype, device)


def single_precision(xp: Backend) -> Backend:
    """The same backend on the same device, in float32."""
    return numpy_backend("float32") if xp.name == "numpy" else torch_backend("float32", xp.device)


def cuda_works() -> bool:
    """Can torch use a GPU? Not every build of it can."""
    from verifier.tensors.torch_arrays import has_cuda

    return has_cuda()


def cuda_devices() -> int:
    """How many CUDA devices the driver sees, found out without importing torch."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value

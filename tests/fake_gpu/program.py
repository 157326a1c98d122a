"""Run pytest in a process that has ``stub.cpp``, which must be loaded before torch is imported.

python tests/fake_gpu/program.py stub.so tests/fake_gpu/cases.py
"""

import ctypes
import sys

if __name__ == "__main__":
    ctypes.CDLL(sys.argv[1], ctypes.RTLD_GLOBAL)
    import pytest

    sys.exit(pytest.main(sys.argv[2:]))

"""Run the kernels' tests as if on other processors, and with every index checked. By night, from the project's folder:

    python -m tests.processors                                     # all of them, some minutes each
    python -m tests.processors bounds avx2 -- -k winograd          # some, with arguments for pytest

Each run compiles in a cache folder of its own: what the compiler is told here is no part of a cached function's name.
What an intrinsic reads and writes is not checked, only indices in Python's form are. The exit code is 1 if a run fails.
"""

import os
import subprocess
import sys
import tempfile

RUNS = {
    "bounds": {"NUMBA_BOUNDSCHECK": "1"},
    "avx2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma"},  # 16 registers of 32 bytes
    # 16 bytes, no fused multiply-add. Seven tests fail: three expect the choices of wider vectors, four allow for the
    # rounding of fused multiply-adds only, which the sums here exceed by 2 to 32 %
    "sse": {"NUMBA_CPU_NAME": "generic"},
}


def main() -> int:
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    names, options = sys.argv[1:end] or list(RUNS), sys.argv[end + 1 :]
    if not RUNS.keys() >= set(names):
        sys.exit(f"runs must be among {', '.join(RUNS)}, given {', '.join(names)}")
    failed = []
    for name in names:
        with tempfile.TemporaryDirectory() as cache:
            print(f"{name}: {RUNS[name]}", flush=True)
            command = [sys.executable, "-m", "pytest", "-q", "tests/kernels", *options]
            if subprocess.run(command, env={**os.environ, **RUNS[name], "NUMBA_CACHE_DIR": cache}).returncode:
                failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "all passed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

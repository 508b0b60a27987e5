"""What the engine costs, beside other libraries and hand-written code, measured in one run: `python -m benchmarks`."""

import os

# One thread for everybody, and before NumPy is imported, because BLAS libraries read these once.
for _name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ[_name] = "1"

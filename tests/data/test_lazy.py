import subprocess
import sys

import pytest
import torch
from torch.nn import functional

from capsbench.data import lazy


def test_a_lazy_module_has_what_the_module_has() -> None:
    assert lazy.torch.Tensor is torch.Tensor
    assert lazy.functional.relu is functional.relu


@pytest.mark.slow
def test_a_module_is_imported_at_its_first_use() -> None:
    script = (
        "import sys; from capsbench.data import Dataset; assert 'torch' not in sys.modules; "
        "from capsbench.data.lazy import torch; torch.Tensor; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)

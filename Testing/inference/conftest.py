"""The tests' networks are tiny: a second thread would only be waited for."""

from __future__ import annotations

import torch

torch.set_num_threads(1)

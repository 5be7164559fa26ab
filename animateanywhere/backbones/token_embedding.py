"""The learned token as a parameter of its own (textual inversion, Gal et al. 2023).

Its row of the text encoder's embedding is replaced while the encoder reads, so that of the whole
table (0.15 GB for SD 1.5, three times that with an optimizer's moments) one row trains.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TokenEmbedding(nn.Module):
    """The embedding (1, D) of one token, which starts at its row of the encoder's table."""

    def __init__(self, text_encoder: Any, index: int) -> None:
        super().__init__()
        self.table: nn.Embedding
        # Not as a child: the table is no part of what trains
        object.__setattr__(self, "table", text_encoder.get_input_embeddings())
        self.index = index
        self.weight = nn.Parameter(self.table.weight[index : index + 1].detach().clone())

    @contextmanager
    def spliced(self) -> Iterator[None]:
        """The encoder reads the token by this embedding inside; afterwards the table has it."""
        hook = self.table.register_forward_hook(self._splice)
        try:
            yield
        finally:
            hook.remove()
            with torch.no_grad():
                self.table.weight[self.index] = self.weight[0]

    def _splice(self, table: nn.Module, arguments: tuple[Tensor], known: Tensor) -> Tensor:
        (ids,) = arguments  # (B, T)
        own = F.embedding(torch.zeros_like(ids), self.weight)  # (B, T, D)
        return torch.where((ids == self.index)[..., None], own, known)

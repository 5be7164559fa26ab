"""The embedding of the learned token as a separate parameter (textual inversion, Gal et al. 2023,
arXiv 2208.01618).

It replaces the token's row in the output of the text encoder's embedding layer, so that a single
row is trained, not the whole table (0.15 GB for SD 1.5, 0.45 GB with the optimizer's moments).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TokenEmbedding(nn.Module):
    """A trainable embedding (1, D) of one token, initialized with its row of the encoder's
    table."""

    def __init__(self, text_encoder: Any, index: int) -> None:
        super().__init__()
        self.table: nn.Embedding
        # Not registered as a submodule: the table is not trained
        object.__setattr__(self, "table", text_encoder.get_input_embeddings())
        self.index = index
        self.weight = nn.Parameter(self.table.weight[index : index + 1].detach().clone())

    @contextmanager
    def spliced(self) -> Iterator[None]:
        """Let the encoder use this embedding inside; on exit, it is written to the table."""
        hook = self.table.register_forward_hook(self._splice)
        try:
            yield
        finally:
            hook.remove()
            with torch.no_grad():
                self.table.weight[self.index] = self.weight[0]

    def _splice(self, table: nn.Module, arguments: tuple[Tensor], known: Tensor) -> Tensor:
        (ids,) = arguments  # (B, T)
        # The encoder may have been moved to another device since
        own = F.embedding(torch.zeros_like(ids), self.weight.to(known))  # (B, T, D)
        return torch.where((ids == self.index)[..., None], own, known)

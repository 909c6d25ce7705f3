"""A sentence needs few of the pieces that a model knows: those that translate one of its own, and the frequent ones.

With fewer pieces to score, the output layer, nearly half of a small model's arithmetic, all but goes
away. What a sentence may be translated with hangs on the sentence alone, never on its neighbours.

Shapes: B sentences, S source length, V vocabulary, n pieces of a batch.
Source: Jean et al. 2015, arXiv:1412.2007.
"""

import torch
from torch import Tensor

from seq2seq.tokenizer import EOS, N_CONTROL


class Shortlist:
    """Which target pieces translate which source pieces.

    Args:
        candidates: the likeliest translations of each piece, best first, EOS where there are no more. [V, any]
        frequent: pieces that any sentence may be translated with. [any]
        n: candidates taken for each source piece.
        n_control: control symbols and tags, the first pieces of every shortlist.
    """

    def __init__(self, candidates: Tensor, frequent: Tensor, n: int, n_control: int = N_CONTROL) -> None:
        self._candidates = candidates[:, :n].long()
        # A piece that no source of the training data held stands for itself.
        unknown = self._candidates[:, 0] == EOS
        self._candidates[unknown, 0] = torch.arange(len(candidates))[unknown]
        self._always = torch.cat((torch.arange(n_control), frequent.long()))

    def lookup(self, src: Tensor, multiple: int) -> tuple[Tensor, Tensor]:
        """The pieces that a batch may be translated with.

        Args:
            src: [B, S]
            multiple: of which n has to be one; EOS fills up, allowed to nobody.

        Returns:
            Pieces in ascending order, the control symbols among them [n], and which sentence may have which [B, n].
        """
        allowed = torch.zeros(len(src), len(self._candidates), dtype=torch.bool)  # [B, V]
        allowed.scatter_(1, self._candidates[src.cpu()].flatten(1), True)
        allowed[:, self._always] = True
        pieces = allowed.any(dim=0).nonzero().squeeze(1)  # [n]
        allowed = allowed[:, pieces]
        filling = -len(pieces) % multiple
        pieces = torch.nn.functional.pad(pieces, (0, filling), value=EOS)
        return pieces.to(src.device), torch.nn.functional.pad(allowed, (0, filling)).to(src.device)

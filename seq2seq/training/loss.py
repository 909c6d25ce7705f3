"""Label-smoothed cross-entropy: what training makes small.

Shapes: N target positions, V vocabulary.
"""

import torch.nn.functional as F
from torch import Tensor


def smoothed_cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy against a target that gives ``smoothing`` of its mass evenly to all pieces.

    Args:
        logits: of real target positions alone. [N, V]
        targets: the piece that follows each. [N]
        smoothing: share of the mass spread out; 0 is plain cross-entropy.

    Returns:
        The sum over the positions, in nats; divide it by the target tokens of the whole update.

    Source: Szegedy et al. 2016, arXiv:1512.00567, section 7; Vaswani et al. 2017, section 5.4.
    """
    return F.cross_entropy(logits.float(), targets, reduction="sum", label_smoothing=smoothing)

"""What the discriminator's logits mean to either player: SRGAN's standard game and ESRGAN's relativistic average one.

Both classes have the same two methods on logits of any shape with the batch first: ``real`` of true pictures, ``fake`` of the
generator's. Each returns the scalar that its player minimises; written with logits, so nothing saturates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Mean = Callable[[Tensor], Tensor]


class Adversarial(Protocol):
    """A GAN objective."""

    def generator(self, real: Tensor, fake: Tensor) -> Tensor: ...

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor: ...


class StandardAdversarial:
    """Goodfellow's game as SRGAN plays it (Ledig et al. 2017, eq. 2 and 6); no average enters, so ``mean`` is not asked."""

    def __init__(self, mean: Mean = torch.mean) -> None:
        pass

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:  # noqa: ARG002
        """E[-log D(fake)] (eq. 6, per picture); ``real`` does not enter."""
        return _cross_entropy(fake, is_real=True)

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """E[-log D(real)] + E[-log(1 - D(fake))] (eq. 2)."""
        return _cross_entropy(real, is_real=True) + _cross_entropy(fake, is_real=False)


class RelativisticAverage:
    """ "Is this more real than the average of the other kind?" (Wang et al. 2018, eq. 1 and 2; Jolicoeur-Martineau 2018).

    ``mean`` averages the logits of one kind; several processes pass one that averages over all of them.
    """

    def __init__(self, mean: Mean = torch.mean) -> None:
        self.mean = mean

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-E[log(1 - D_Ra(real, fake))] - E[log D_Ra(fake, real)] (ESRGAN, eq. 2)."""
        to_fake, to_real = self._relative(real, fake)
        return _cross_entropy(to_fake, is_real=False) + _cross_entropy(to_real, is_real=True)

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-E[log D_Ra(real, fake)] - E[log(1 - D_Ra(fake, real))] (ESRGAN, eq. 1)."""
        to_fake, to_real = self._relative(real, fake)
        return _cross_entropy(to_fake, is_real=True) + _cross_entropy(to_real, is_real=False)

    def _relative(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        return real - self.mean(fake), fake - self.mean(real)


def _cross_entropy(logits: Tensor, is_real: bool) -> Tensor:
    return F.softplus(-logits if is_real else logits).mean()


# name -> class; each takes the ``mean`` of RelativisticAverage
ADVERSARIAL: dict[str, Callable[..., Adversarial]] = {
    "standard": StandardAdversarial,
    "relativistic": RelativisticAverage,
}

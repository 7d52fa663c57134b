"""Adversarial losses: SRGAN's standard GAN loss and ESRGAN's relativistic average loss.

Both classes have the same two methods. They take logits of any shape with the batch first, ``real`` for high-res images and ``fake``
for the generator's, and return the scalar to minimise. Working on logits avoids saturation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

Mean = Callable[[Tensor], Tensor]


class Adversarial(Protocol):
    """The losses of both networks of a GAN."""

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the generator's loss."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the discriminator's loss."""


class StandardAdversarial:
    """The GAN loss of SRGAN (Ledig et al. 2017, eq. 2 and 6). ``mean`` is ignored: no average enters."""

    def __init__(self, mean: Mean = torch.mean) -> None:
        pass

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:  # noqa: ARG002
        """E[-log D(fake)] (eq. 6, per image); ``real`` is ignored."""
        return _cross_entropy(fake, is_real=True)

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """E[-log D(real)] + E[-log(1 - D(fake))] (eq. 2)."""
        return _cross_entropy(real, is_real=True) + _cross_entropy(fake, is_real=False)


class RelativisticAverage:
    """Is an image more real than the average of the other kind? (Wang et al. 2018, eq. 1 and 2; Jolicoeur-Martineau 2018).

    ``mean`` averages the logits of one kind; with several processes, pass one that averages over all of them.
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


# name -> class, called with the ``mean`` of RelativisticAverage
ADVERSARIAL: dict[str, Callable[..., Adversarial]] = {
    "standard": StandardAdversarial,
    "relativistic": RelativisticAverage,
}

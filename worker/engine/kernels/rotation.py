"""The rotation of queries and keys by their tokens' positions (Su et al. 2021, arXiv:2104.09864).

The numbers of a head are rotated in pairs. Models differ in which numbers make a pair, and in how many are
rotated at all.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """The pairs of a head: its first `count` numbers, each with the one half of `count` away.

    If they are `interleaved`, neighbours make a pair. The numbers behind the first `count` are not rotated.
    """

    count: int
    interleaved: bool = False

    def spread(self, cos_TC: Tensor, sin_TC: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """Return cosines and sines for each number of a head, [T, E], of those that transformers computes.

        C is `count`, where transformers computes each pair's cosine twice, in halves, or half of it, where it
        computes each once. It computes none behind the pairs.
        """
        if cos_TC.shape[1] == self.count // 2:
            cos_TC, sin_TC = (x.repeat(1, 2) for x in (cos_TC, sin_TC))
        if self.interleaved:
            half = self.count // 2
            cos_TC, sin_TC = (x[:, :half].repeat_interleave(2, dim=1) for x in (cos_TC, sin_TC))
        if self.count == size:
            return cos_TC, sin_TC
        behind = cos_TC.new_ones(len(cos_TC), size - self.count)
        return torch.cat([cos_TC, behind], dim=1), torch.cat([sin_TC, behind * 0], dim=1)

    def signed(self, sin_TE: Tensor) -> Tensor:
        """Return the sines as factors of the `swapped` numbers: negative for the first number of a pair."""
        signs_E = sin_TE.new_ones(sin_TE.shape[1])
        signs_E[slice(0, self.count, 2) if self.interleaved else slice(0, self.count // 2)] = -1
        return sin_TE * signs_E

    def swapped(self, x: Tensor) -> Tensor:
        """Return heads, [..., E], with the two numbers of each pair in each other's place."""
        if self.interleaved:
            return x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
        half = self.count // 2
        if self.count == x.shape[-1]:
            return x.roll(half, dims=-1)
        first, second, others = x.split([half, half, x.shape[-1] - self.count], dim=-1)
        return torch.cat([second, first, others], dim=-1)

    def rotate(
        self, x_THE: Tensor, cos_TE: Tensor, signed_sin_TE: Tensor, out_THE: Tensor, back: bool = False
    ) -> None:
        """Write the rotated heads to `out_THE`, or those rotated `back`.

        A head is rotated as a whole, because PyTorch uses vector instructions only for rows that are longer
        than half a head.
        """
        torch.mul(x_THE, cos_TE[:, None], out=out_THE)
        out_THE.addcmul_(self.swapped(x_THE), signed_sin_TE[:, None], value=-1 if back else 1)

    def rotated(self, x_HTE: Tensor, cos_TE: Tensor, sin_TE: Tensor) -> Tensor:
        """Return the same as `rotate`, from sines without a sign, but let autograd find the gradients."""
        return x_HTE * cos_TE + self.swapped(x_HTE) * self.signed(sin_TE)

"""EVA: A begins with the directions in which a layer's inputs vary most.

The paper is Paischer et al. 2024, arXiv:2410.07170.

B begins at 0, so that training begins at the base model. Ranks go to the modules where they explain most of
the variance. A module may get up to rho times its own rank, and another module fewer or none. The sum of the
ranks stays the same.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from peft.utils.incremental_pca import IncrementalPCA
from torch import Tensor

from core.jobs.spec import JobSpec
from core.methods.low_rank import EvaConfig, LoraAdapter
from core.methods.targets import rank_of
from worker.engine.adapters.refusals import initialisation_refused, refuse_missing_ranks
from worker.engine.adapters.shapes import projection_shapes
from worker.engine.base.base_model import ResidentBase
from worker.engine.decoders.targets import resolve_targets
from worker.engine.start.observed import first_rows, observe_all, sources_of
from worker.rows.row import Row

BATCH_TOKENS = 1024  # tokens of each fit; twice the number of directions if that is more
SEED = 42  # PEFT's


def eva(
    base: ResidentBase, spec: JobSpec, adapter: LoraAdapter, rows: Sequence[Row], abandon: Callable[[], bool]
) -> dict[str, Tensor]:
    """Return A of each module that gets any rank, by its name.

    Raises JobError if a rank is too high or the rows have too few tokens, and Abandoned between two rows.
    """
    options = adapter.eva_config or EvaConfig()
    modules = resolve_targets(adapter.target_modules, base.decoder.groups, adapter.layers)
    shown = first_rows(spec, rows)
    source_of = sources_of(base, modules, shown[0])
    asked = {module: rank_of(module, adapter) for module in modules}
    shapes = projection_shapes(base.model, base.decoder.groups)
    most = _most_ranks({module: shapes[module][0] for module in modules}, asked, source_of, options.rho)
    directions = {source: _Directions(most[source], options.tau) for source in source_of.values()}
    ranks = asked
    for batch in _batches(shown, options, 2 * max(most.values())):
        _fit_batch(base, directions, batch, options, abandon)
        if not all(found.known for found in directions.values()):
            continue
        explained = {source: found.explained for source, found in directions.items()}
        ranks = distribute_ranks(explained, source_of, asked, most)
        if all(directions[source_of[module]].converged(rank) for module, rank in ranks.items()):
            break
    _refuse_too_few_tokens(directions)
    return {
        f"{module}.lora_A": directions[source_of[module]].first(rank, options.whiten)
        for module, rank in ranks.items()
        if rank
    }


def distribute_ranks(
    explained: Mapping[str, Tensor],
    source_of: Mapping[str, str],
    asked: Mapping[str, int],
    most: Mapping[str, int],
) -> dict[str, int]:
    """Return the rank of each module. They have the same sum as `asked`, and go where they explain most.

    `explained` are the shares of variance, by source and in falling order. If several modules have the same
    inputs, the source is served first.
    """
    by_source = sorted(asked, key=lambda module: source_of[module] != module)
    shares = [
        (share, module)
        for module in by_source
        for share in explained[source_of[module]][: most[module]].tolist()
    ]
    shares.sort(key=lambda found: -found[0])
    counts = Counter(module for _, module in shares[: sum(asked.values())])
    return {module: counts[module] for module in asked}


def _most_ranks(
    widths: Mapping[str, int], asked: Mapping[str, int], source_of: Mapping[str, str], rho: float
) -> dict[str, int]:
    """Return the most ranks that each module may get; the same for modules with the same inputs.

    `widths` are the numbers of inputs. Raises JobError if the rank of a module is above its number of inputs.
    """
    most = Counter[str]()
    for module, rank in asked.items():
        most[source_of[module]] = max(most[source_of[module]], round(rank * rho))
    found = {}
    for module, rank in asked.items():
        refuse_missing_ranks(module, rank, widths[module])
        found[module] = min(most[source_of[module]], widths[module])
    return found


class _Directions:
    """The principal directions of a layer's inputs, found batch by batch, and whether they still change."""

    def __init__(self, count: int, tau: float) -> None:
        """Begin without directions.

        A batch has not turned a direction if the cosine between the directions before and after the batch is
        at least `tau`.
        """
        self._count, self._tau = count, tau
        self._pca = IncrementalPCA(count, lowrank=True, lowrank_seed=SEED)
        self._before: Tensor | None = None

    def fit(self, x_TK: Tensor) -> None:
        """Fit the directions to more inputs. Inputs with fewer tokens than directions are ignored."""
        if len(x_TK) < self._count:
            return
        self._before = self._pca.components_ if self.known else None
        self._pca.lowrank_q = min(2 * self._count, *x_TK.shape)
        self._pca.partial_fit(x_TK.float())

    @property
    def known(self) -> bool:
        return hasattr(self._pca, "components_")

    @property
    def explained(self) -> Tensor:
        """The share of the variance that each direction explains, in falling order."""
        shares: Tensor = self._pca.explained_variance_ratio_
        return shares

    def converged(self, count: int) -> bool:
        """Return whether the last batch has turned none of the first `count` directions."""
        if self._before is None:
            return False
        cosines = torch.cosine_similarity(self._before[:count], self._pca.components_[:count])
        return bool((cosines >= self._tau).all())

    def first(self, count: int, whiten: bool) -> Tensor:
        """Return the first directions [count, K], of length 1, or divided by their spread if `whiten`."""
        found: Tensor = self._pca.components_[:count]
        return found / self._pca.singular_values_[:count, None].sqrt() if whiten else found


def _batches(rows: Sequence[Row], options: EvaConfig, least: int) -> Iterator[list[Row]]:
    """Yield the rows of each fit. All but the last have max(BATCH_TOKENS, least) counted tokens or more."""
    batch: list[Row] = []
    tokens = 0
    for row in rows:
        batch.append(row)
        tokens += len(_counted_positions(row, options))
        if tokens >= max(BATCH_TOKENS, least):
            yield batch
            batch, tokens = [], 0
    if batch:
        yield batch


def _fit_batch(
    base: ResidentBase,
    directions: Mapping[str, _Directions],
    rows: Sequence[Row],
    options: EvaConfig,
    abandon: Callable[[], bool],
) -> None:
    """Fit the directions of all sources to a batch of rows."""
    seen: dict[str, list[Tensor]] = {source: [] for source in directions}

    def take(row: Row, source: str, x_LK: Tensor) -> None:
        counted = _counted_positions(row, options)
        whole = len(x_LK) == len(row.tokens_L)  # some layers see only a part of the tokens
        seen[source].append(x_LK[torch.from_numpy(counted).to(x_LK.device)] if whole else x_LK)

    observe_all(base, list(directions), rows, take, abandon)
    for source, found in directions.items():
        if seen[source]:
            found.fit(torch.cat(seen.pop(source)))


def _counted_positions(row: Row, options: EvaConfig) -> NDArray[np.int64]:
    """Return the places of the tokens that count: learnt tokens, or all; at most the first BATCH_TOKENS."""
    counts_L = row.learnt_L if options.use_label_mask else np.ones_like(row.learnt_L)
    return np.flatnonzero(counts_L)[:BATCH_TOKENS]


def _refuse_too_few_tokens(directions: Mapping[str, _Directions]) -> None:
    """Raise JobError if a source has no directions, because the rows have too few tokens."""
    unknown = [source for source, found in directions.items() if not found.known]
    if unknown:
        raise initialisation_refused(
            f"The training file has too few tokens for eva: {unknown[0]} sees fewer tokens than it needs "
            "directions. Lower adapter.r or eva_config.rho, or set eva_config.use_label_mask to false."
        )

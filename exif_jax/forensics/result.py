"""What `localization.localize` makes of a photo."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np

from exif_jax.forensics import affinity, regions
from exif_jax.forensics.content import USUAL_VARIATION
from exif_jax.forensics.patches import Grid
from exif_jax.forensics.score_calibration import Conditions
from exif_jax.forensics.verdict import CANNOT_TELL, NOT_JUDGED, Judgement


@dataclasses.dataclass(frozen=True, eq=False)
class Localization:
    """What `localize` makes of a photo of H x W pixels, P = grid.rows * grid.columns patches.

    Attributes:
        embed: gives `embeddings`.
        heatmap: float32 [H, W] in [0, 1]: 0 is one with most of the photo, 1 unrelated. Never
            stretched, and nothing is taken off for content; its highest places may mean nothing
            where the score is low.
        clusters: int32 [rows, columns]: the patches in two parts, 1 in the smaller. There are
            always two, in a pristine photo too.
        score: higher is less consistent. By the cut, 1 - cosine of the two parts' means, and what
            their content explains of it (`content.content_adjusted_score`); by the learned map, the
            probability of its surest hundredth; by both, `learned_map.joint_score`; by mean shift,
            as in the paper, the mean of 1 - cosine over all pairs of patches.
        area: of the photo, in patches of the model's own side, whatever `grid` has.
        scored_by: the method that gave the score.
        grid: where the patches lie; of patches of two sizes the larger ones.
        flat: the photo shows no texture; map, clusters and score are zeros.
        share_of_map: what the learned map counts in the heatmap; 0 where it took no part.
        map_id: of the learned map's release file; "" where it took no part.
        gradient_energy_gap: how unlike the cut's parts are in texture
            (`content.gradient_energy_gap`); 0 by other methods.
        variation: how unlike its neighbours a patch of the cut's smaller part is
            (`content.part_variation`); what counts nothing by other methods.
        quantization_step: how strongly it was last compressed, as far as its pixels show it
            (`exif_jax.reading.quantization`); 0 where they do not.
        threshold: what the heatmap exceeds in the mask: where it parts the photo's patches best
            (`regions.threshold_of`), and where the learned map took part its own values
            (`regions.otsu`).
        judgement: what the score means.
    """

    embed: Callable[[], np.ndarray]
    heatmap: np.ndarray
    clusters: np.ndarray
    score: float
    grid: Grid
    area: float
    scored_by: str = "cut"
    flat: bool = False
    share_of_map: float = 0.0
    map_id: str = ""
    gradient_energy_gap: float = 0.0
    variation: float = USUAL_VARIATION
    quantization_step: float = 0.0
    threshold: float = 1.0
    judgement: Judgement = NOT_JUDGED

    @functools.cached_property
    def embeddings(self) -> np.ndarray:
        """float32 [P, D], unit rows, row by row over the grid.

        Where the learned map alone judged the photo they are made when they are first asked for,
        and raise LocalizeError where the encoder fails it.
        """
        return self.embed()

    @functools.cached_property
    def affinity(self) -> np.ndarray:
        """float32 [P, P], cosines of the embeddings."""
        return np.asarray(affinity.affinity_matrix(self.embeddings))

    @property
    def p_value(self) -> float | None:
        """How often a pristine photo scores so; None where the photo cannot be judged."""
        return self.judgement.p_value

    @property
    def likelihood_ratio(self) -> float | None:
        """How much more often splices than pristine photos score so; None where unknown."""
        return self.judgement.likelihood_ratio

    @property
    def band(self) -> str | None:
        """One of `verdict.BANDS`; None where the photo cannot be judged."""
        return self.judgement.band

    @property
    def verdict(self) -> str:
        """The band, or "cannot tell"."""
        return self.judgement.band or CANNOT_TELL

    @property
    def reason(self) -> str:
        """Why, in a sentence."""
        return self.judgement.reason

    @property
    def mask(self) -> np.ndarray:
        """bool [H, W]: what the map singles out, whatever the verdict."""
        return regions.mask_of(self.heatmap, self.threshold)

    @property
    def conditions(self) -> Conditions:
        """What the score's meaning depends on."""
        log_patch = math.log(self.grid.area / self.area) / -2
        file = Conditions(math.log(self.area), self.quantization_step, log_patch)
        if self.scored_by in ("map", "auto"):  # whose scores are evidence enough alone
            return file
        return file._replace(gap=self.gradient_energy_gap, variation=self.variation)

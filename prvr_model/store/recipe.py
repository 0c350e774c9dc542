"""How features were made: a query, a gallery and a model meet only if their recipes agree."""

from typing import Literal

from pydantic import Field

from prvr_model.settings import Section


class FeatureRecipe(Section):
    """How features were made from videos and sentences; equal recipes give comparable features.

    Args:
        encoder: Name of the encoder: its hub name, or the last part of its folder.
        architecture: Its class, e.g. `CLIPModel`.
        weights_sha256: Digest of its weights; the name alone says little.
        preprocessing_sha256: Digest of the settings of its image processor and tokenizer.
        frames_per_second: Rows a second, sampled by presentation time.
        video_rows: What a row of a video is: the image embedding in the joint space.
        token_rows: What the rows of a caption are: each token's final state, projected into the
            joint space if the encoder has such a projection, else as it is.
        sentence_row: What the last row of a caption is: the [EOS] token's row, or the pooled
            vector, appended.
        max_tokens: Most rows of a caption that come from tokens.
    """

    encoder: str
    architecture: str
    weights_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    preprocessing_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    frames_per_second: float = Field(gt=0)
    video_rows: Literal["projected"] = "projected"
    token_rows: Literal["projected", "final"] = "projected"
    sentence_row: Literal["eos", "pooled"]
    max_tokens: int = Field(ge=1)

    @property
    def summary(self) -> str:
        """The recipe in words."""
        return (
            f"{self.encoder} ({self.architecture}), {self.frames_per_second:g} rows a second, "
            f"tokens {self.token_rows}, sentence vector {self.sentence_row}"
        )

    def differences(self, other: "FeatureRecipe") -> list[str]:
        """What differs, a line each with both values.

        Encoders of the same weights are the same, whatever their folders are called.
        """
        own, others = self.model_dump(), other.model_dump()
        if self.weights_sha256 == other.weights_sha256:
            own["encoder"] = others["encoder"]
        return [
            f"{name}: {own[name]} and {others[name]}" for name in own if own[name] != others[name]
        ]


class TrainedOn(Section):
    """The features that a model was trained on.

    Args:
        data: Name of the data set.
        fingerprint: Fingerprint of the store.
        recipe: How they were made; None: the store did not say.
    """

    data: str
    fingerprint: str
    recipe: FeatureRecipe | None = None


def recipe_differences(own: FeatureRecipe | None, other: FeatureRecipe | None) -> list[str]:
    """What differs between two recipes, a line each with both values; none if both are unknown."""
    if own is None or other is None:
        values = ("not known" if recipe is None else recipe.encoder for recipe in (own, other))
        return [] if own is other else [f"encoder: {' and '.join(values)}"]
    return own.differences(other)

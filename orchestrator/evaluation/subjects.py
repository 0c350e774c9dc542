"""What is evaluated: models with weights, and the features of a store themselves."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from orchestrator.base.addresses import user_path
from orchestrator.base.errors import QueryError
from orchestrator.serving.models import FoundModel, named_model
from orchestrator.spec.loading import read_spec
from orchestrator.study.test_scores import speed_here
from orchestrator.tracking.store import TrackingStore
from prvr_model.network.model_file import ModelFile, load_exported
from prvr_model.network.released_weights import released_model
from prvr_model.retrieval.evaluation import Evaluation, evaluate_frozen, evaluate_saved
from prvr_model.retrieval.frozen import FORMS, Form, why_no_shared_space
from prvr_model.settings import EvaluationSettings, PresetName, SpeedSettings
from prvr_model.store.recipe import FeatureRecipe, recipe_differences

if TYPE_CHECKING:
    from prvr_model.store.reader import FeatureStore

FROZEN: Mapping[str, Form] = {"frozen": FORMS[0], **{f"frozen:{form}": form for form in FORMS}}
"""Names of a store's own features, and how they score."""
RELEASED = ".ckpt"


class Subject(Protocol):
    """What can be evaluated on a split of a store."""

    @property
    def name(self) -> str:
        """What a user calls it."""

    @property
    def source(self) -> str:
        """What names exactly it, whatever becomes of aliases."""

    @property
    def identity(self) -> str:
        """Digest of its weights, or the form of frozen features."""

    def misfits(self, store: "FeatureStore", *, transfer: bool) -> list[str]:
        """Why it cannot be evaluated on a store; empty if it can.

        Args:
            store: The store.
            transfer: Whether features that were made in another way are meant.
        """

    def notes(self, store: "FeatureStore", split: str) -> list[str]:
        """What a reader of its numbers on a split must know."""

    def evaluate(self, store: "FeatureStore", split: str, scratch: Path) -> Evaluation:
        """Evaluate it; what must be prepared for that goes into the folder `scratch`."""


@dataclass(frozen=True)
class SavedModel:
    """A model with weights.

    Args:
        name: What the user calls it.
        source: What names exactly it: of a registered model the version.
        saved: Its weights and settings.
        speed: How it computes.
        fingerprint: Fingerprint of the data it was trained on; None where nobody said.
    """

    name: str
    source: str
    saved: ModelFile
    speed: SpeedSettings
    fingerprint: str | None = None

    @property
    def identity(self) -> str:
        """See `Subject`."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.saved.weights.items()):
            digest.update(name.encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    def misfits(self, store: "FeatureStore", *, transfer: bool) -> list[str]:
        """See `Subject`."""
        manifest, recipes = store.manifest, self._recipes(store)
        pairs = (
            ("rows of videos", manifest.video_dim, self.saved.video_dim),
            ("tokens", manifest.text_dim, self.saved.text_dim),
        )
        found = [
            f"the {what} of {store.path} have {dim} values, {self.name} takes {own}; {recipes}"
            for what, dim, own in pairs
            if dim != own
        ]
        if found or transfer or self._is_own(store):
            return found
        differences = recipe_differences(self._recipe, manifest.recipe)
        return [
            f"{self.name} was trained on other features than those of {store.path}: {recipes}; "
            f"they differ in {'; '.join(differences)}; --transfer says that this is meant"
        ] * bool(differences)

    def notes(self, store: "FeatureStore", split: str) -> list[str]:
        """See `Subject`."""
        own = self._is_own(store)
        if own and split != "test":
            what = "trained" if split == "train" else "selected"
            return [f"{self.name} was {what} on {split} of {store.path}: its numbers flatter it"]
        if own or recipe_differences(self._recipe, store.manifest.recipe):
            return []
        if self._recipe is None:
            return [
                f"whether {self.name} was trained on features made as those of {store.path} is not "
                "known: neither says how its features were made"
            ]
        return []

    @property
    def _recipe(self) -> FeatureRecipe | None:
        return self.saved.trained_on.recipe if self.saved.trained_on else None

    def _is_own(self, store: "FeatureStore") -> bool:
        """Whether it was trained on this store."""
        trained_on = self.saved.trained_on
        fingerprint = trained_on.fingerprint if trained_on else self.fingerprint
        return fingerprint == store.manifest.fingerprint

    def _recipes(self, store: "FeatureStore") -> str:
        return (
            f"the model's features: {_words(self._recipe)}, the store's: "
            f"{_words(store.manifest.recipe)}"
        )

    def evaluate(self, store: "FeatureStore", split: str, scratch: Path) -> Evaluation:
        """See `Subject`."""
        return evaluate_saved(self.saved, store, split, self.speed, scratch)


def _words(recipe: FeatureRecipe | None) -> str:
    return recipe.summary if recipe else "not known"


@dataclass(frozen=True)
class FrozenFeatures:
    """The features of whatever store they are evaluated on."""

    name: str
    form: Form

    @property
    def source(self) -> str:
        """See `Subject`."""
        return self.identity

    @property
    def identity(self) -> str:
        """See `Subject`."""
        return f"frozen:{self.form}"

    def misfits(self, store: "FeatureStore", *, transfer: bool) -> list[str]:
        """See `Subject`."""
        why = why_no_shared_space(store.manifest)
        return [f"{self.name} on {store.path}: {why}"] if why else []

    def notes(self, store: "FeatureStore", split: str) -> list[str]:
        """See `Subject`."""
        return []

    def evaluate(self, store: "FeatureStore", split: str, scratch: Path) -> Evaluation:
        """See `Subject`."""
        return evaluate_frozen(store.split(split), self.form)


@dataclass(frozen=True)
class SubjectOptions:
    """Where models are looked for, and what they do not say themselves.

    Args:
        home: Home of trials.
        tracking: Where MLflow keeps models.
        preset: Preset of released checkpoints.
        overrides: Their settings by dotted path.
        speed: Changes to how models compute, by setting; a trial computes as its sweep does.
    """

    home: Path
    tracking: TrackingStore
    preset: PresetName | None
    overrides: Mapping[str, Any]
    speed: Mapping[str, Any]


def find_subjects(references: Sequence[str], options: SubjectOptions) -> tuple[Subject, ...]:
    """What the references name, each once, in their order.

    Args:
        references: `frozen`, `frozen:segments`, a file `*.ckpt`, or what `named_model` takes.
        options: Where they are looked for.

    Raises:
        QueryError: A reference names nothing; or settings are given where nothing takes them.
        PrvrError: As `named_model` and `released_model`.
    """
    released = any(reference.endswith(RELEASED) for reference in references)
    if not released and (options.preset or options.overrides):
        raise QueryError(
            "--preset and --set are settings of a released checkpoint (*.ckpt), and none is named; "
            "other models bring their own"
        )
    return tuple(_subject(reference, options) for reference in dict.fromkeys(references))


def _subject(reference: str, options: SubjectOptions) -> Subject:
    if reference in FROZEN:
        return FrozenFeatures(reference, FROZEN[reference])
    if reference.partition(":")[0] == "frozen":
        raise QueryError(f"model: found {reference!r}; allowed: {', '.join(FROZEN)}")
    if reference.endswith(RELEASED):
        saved = released_model(user_path(reference), options.preset, options.overrides)
        return SavedModel(reference, reference, saved, _speed(None, options))
    also = f"{', '.join(FROZEN)}, a file *{RELEASED}, "
    with named_model(reference, options.home, options.tracking, also) as found:
        saved = load_exported(found.export)
        # Correct is the own video for every model, so that models can be compared.
        settings = saved.settings.model_copy(update={"evaluation": EvaluationSettings()})
        fingerprint = found.study.attributes.get("data_fingerprint") if found.study else None
        saved = replace(saved, settings=settings)
        return SavedModel(reference, found.source, saved, _speed(found, options), fingerprint)


def _speed(found: FoundModel | None, options: SubjectOptions) -> SpeedSettings:
    speed = SpeedSettings()
    if found and found.study:
        spec = read_spec(found.study.attributes["spec_yaml"], source=f"sweep {found.study.name}")
        speed = speed_here(spec)
    return speed.model_copy(update=dict(options.speed))

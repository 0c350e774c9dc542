"""The training loop of a trial: epochs, evaluation, early stop, checkpoints, reports.

It does not know its host: the folder is its resume point, and callbacks take its reports and say
when to leave. The same settings and seed give the same metrics bit for bit on the CPU at the same
number of threads, also after an interruption between epochs or a leave within one.
"""

import resource
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from prvr_model.errors import StoreError
from prvr_model.files.folder import Folder
from prvr_model.inputs.allocator import keep_freed_blocks, release_freed_blocks
from prvr_model.inputs.batching import (
    Batch,
    draws_for_step,
    dropout_seed,
    epoch_order,
    steps_per_epoch,
    weights_seed,
)
from prvr_model.inputs.prefetch import BatchMemory, prefetched
from prvr_model.inputs.prepared_split import PreparedSplit, RelevantVideos, prepare_split
from prvr_model.losses.objective import BranchDraws, compute_losses, loss_term_names
from prvr_model.losses.triplet import NegativeDraws
from prvr_model.network.encoding import Encoders
from prvr_model.network.model import MscModel
from prvr_model.process_group import ALONE, Workers
from prvr_model.reporting import (
    BYTES_PER_VIDEO,
    MS_PER_QUERY,
    PARAMETERS,
    TRAIN_S,
    Decision,
    EpochReport,
    Leave,
    Report,
    stay,
)
from prvr_model.retrieval.costs import bytes_per_video, ms_per_query, weights_of
from prvr_model.retrieval.evaluation import Evaluation, evaluate
from prvr_model.retrieval.metrics import Relevance
from prvr_model.retrieval.relevance import build_relevance
from prvr_model.settings import Settings, SpeedSettings
from prvr_model.store.label_needs import needed_labels, require_labels
from prvr_model.store.reader import FeatureStore
from prvr_model.store.recipe import TrainedOn
from prvr_model.training import checkpoint, random_states
from prvr_model.training.checkpoint import PartOfEpoch
from prvr_model.training.optimizer import BertAdam
from prvr_model.training.step_numbers import StepNumbers, reader_for

StopReason = Literal["epochs", "patience", "stopped", "left"]


@dataclass(frozen=True)
class TrainResult:
    """The result of a training run.

    Args:
        reports: Every epoch's row, those before an interruption included.
        best_epoch: Epoch of the best `evaluation.best_epoch_by`, from 1.
        stop_reason: All epochs run, patience at its end, stopped by the host, or left on the
            host's wish to continue elsewhere.
    """

    reports: tuple[EpochReport, ...]
    best_epoch: int
    stop_reason: StopReason


# Seven: what is trained, where and for whom; hosts differ in the last three, with defaults.
def train(
    settings: Settings,
    store: FeatureStore,
    folder: Folder,
    report: Report,
    speed: SpeedSettings | None = None,
    workers: Workers = ALONE,
    leave: Leave = stay,
) -> TrainResult:
    """Train a model, or continue from the last checkpoint in the folder.

    Rows of earlier epochs are reported again first, unchanged. A checkpoint is written before
    its epoch is reported, so a host may end the process inside `report`.

    Args:
        settings: Everything that changes the result.
        store: Features with splits `train` and `val`.
        folder: The trial's folder.
        report: Takes each epoch's row and decides whether to continue; the first worker calls it.
        speed: Device, threads and the like.
        workers: The processes that train this model together; each calls this function. The first
            one writes checkpoints, and its decisions are everyone's.
        leave: Called after every step. If it returns True on any worker, a checkpoint within the
            epoch is written and all workers return; several workers train one more step first.

    Raises:
        StoreError: A split is missing, has fewer than two videos to train on, or lacks verified
            labels that the settings need.
        CheckpointError: The folder's checkpoint is damaged or of other settings.
        NonFiniteError: A loss or gradient is not finite; nothing of that step was applied.
    """
    speed = speed or SpeedSettings()
    torch.set_num_threads(speed.threads)
    keep_freed_blocks()
    if speed.compile:
        # Code that earlier trials of this process compiled counts against torch's limit, beyond
        # which torch silently stops compiling.
        torch.compiler.reset()
    # Training uses the process's generators; a host in the same process keeps its own.
    try:
        with torch.random.fork_rng():
            return _Run(settings, store, folder, speed, workers, leave).execute(report)
    finally:
        release_freed_blocks()


class _Run:
    """One call of `train`: the objects that its epochs share."""

    def __init__(
        self,
        settings: Settings,
        store: FeatureStore,
        folder: Folder,
        speed: SpeedSettings,
        workers: Workers = ALONE,
        leave: Leave = stay,
    ) -> None:
        self.settings = settings
        self.workers = workers
        self.leave = leave
        self.folder = folder
        self.speed = speed
        self.device = torch.device(speed.device)
        self.fingerprint = store.manifest.fingerprint
        for need in needed_labels(settings):
            require_labels(store.split(need.split), need)
        self.train_split = _training_split(store, settings)
        self.val_split = prepare_split(store, "val", settings)
        self.relevance: Relevance = build_relevance(store.split("val"), settings.evaluation)
        torch.manual_seed(weights_seed(settings.training.seed))
        manifest = store.manifest
        self.trained_on = TrainedOn(
            data=manifest.name, fingerprint=manifest.fingerprint, recipe=manifest.recipe
        )
        self.model = MscModel(settings.model, manifest.video_dim, manifest.text_dim)
        self.model.to(self.device)
        self.encoders = Encoders(self.model, speed)
        self.batch_memory = BatchMemory(self.device, speed.prefetch_batches)
        self.optimizer = build_optimizer(self.model, settings, self.train_split.num_videos)
        if workers.rank == 0:
            checkpoint.remove_partial_files(folder)
        self.state = checkpoint.load_last(
            folder, self.model, self.optimizer, settings, self.fingerprint
        )

    def execute(self, report: Report) -> TrainResult:
        for row in self.state.reports:
            if self._is_stopped(row, report):
                return self._result("stopped")
        while (reason := self._stop_reason()) is None:
            if not self._epoch():
                return self._result("left")
            if self._is_stopped(self.state.reports[-1], report):
                return self._result("stopped")
        return self._result(reason)

    def _is_stopped(self, row: EpochReport, report: Report) -> bool:
        """Report an epoch; the host's answer to the first worker holds for all."""
        stops = self.workers.rank == 0 and report(row) is Decision.STOP
        return bool(self.workers.first_decides(int(stops)))

    def _stop_reason(self) -> StopReason | None:
        training = self.settings.training
        patience = training.patience_epochs
        if patience is not None and self.state.epoch - self.state.best_epoch >= patience:
            return "patience"
        return "epochs" if self.state.epoch >= training.epochs else None

    def _result(self, reason: StopReason) -> TrainResult:
        return TrainResult(self.state.reports, self.state.best_epoch, reason)

    def _epoch(self) -> bool:
        """Train and evaluate one epoch, save, and make its row the last of the state.

        Returns:
            False if training was left before the epoch's end; that is saved too.
        """
        start = time.monotonic() - (self.state.part.spent_s if self.state.part else 0)
        before = self.workers.exchanged_bytes
        if self.state.part:
            before -= self.state.part.exchanged_bytes
        metrics = self._train_epoch(start, before)
        if metrics is None:
            return False
        trained = time.monotonic()
        evaluation = evaluate(
            self.model, self.val_split, self.relevance, self.speed, self.encoders, self.workers
        )
        evaluated = time.monotonic()
        metrics.update({f"val/{name}": value for name, value in evaluation.metrics.items()})
        metrics["time/epoch_s"] = evaluated - start
        metrics["time/evaluation_s"] = evaluated - trained
        metrics["time/videos_per_s"] = self.train_split.num_videos / (trained - start)
        metrics["memory/peak_mb"] = peak_memory_mb(self.device)
        metrics.update(self._costs(metrics["time/epoch_s"]))
        self._advance(metrics, evaluation)
        return True

    def _costs(self, epoch_s: float) -> dict[str, float]:
        """What the model costs, after an epoch that took some seconds."""
        before_s = sum(row.metrics["time/epoch_s"] for row in self.state.reports)
        return {
            PARAMETERS: float(weights_of(self.model)),
            BYTES_PER_VIDEO: float(bytes_per_video(self.settings.model)),
            MS_PER_QUERY: self.query_ms,
            TRAIN_S: before_s + epoch_s,
        }

    @cached_property
    def query_ms(self) -> float:
        """Milliseconds of a query; no epoch changes them."""
        return ms_per_query(self.model, self.val_split)

    def _advance(self, metrics: dict[str, float], evaluation: Evaluation) -> None:
        epoch = self.state.epoch + 1
        row = EpochReport(epoch, metrics, time.time_ns() // 1_000_000)
        self.state = replace(self.state, epoch=epoch, reports=(*self.state.reports, row), part=None)
        value = metrics[f"val/{self.settings.evaluation.best_epoch_by}"]
        is_better = value > self.state.best_value
        if is_better:
            self.state = replace(self.state, best_epoch=epoch, best_value=value)
        if self.workers.rank == 0:
            self._save(evaluation, is_better)

    def _save(self, evaluation: Evaluation, is_better: bool) -> None:
        epoch = self.state.epoch
        if is_better:
            checkpoint.save_best(self.folder, self.model, self.settings, epoch, self.trained_on)
        checkpoint.save_ranks(self.folder, epoch, evaluation.kept)
        if epoch % self.speed.checkpoint_every_epochs == 0 or self._stop_reason():
            self._save_last()

    def _save_last(self) -> None:
        checkpoint.save_last(
            self.folder, self.model, self.optimizer, self.settings, self.state, self.fingerprint
        )

    def _train_epoch(self, start: float, exchanged_before: int) -> dict[str, float] | None:
        """Train on all batches of the next epoch, or on those that are left of it.

        Args:
            start: When it began, on the monotonic clock.
            exchanged_before: Bytes that this worker had received when it began.

        Returns:
            Mean of each number over the epoch's steps; None if left and saved before its end.
        """
        training, epoch = self.settings.training, self.state.epoch
        self._seed_epoch(epoch)
        self.model.train()
        order = epoch_order(
            self.train_split.num_videos, training.batch_videos, training.seed, epoch
        )
        names = step_number_names()
        reader = reader_for(self.device, len(order), len(names))
        part = self.state.part
        done = part.steps if part else 0
        numbers = StepNumbers(names, epoch + 1, reader, part.rows if part else ())
        with closing(self._batches(order[done:])) as batches:
            for step, batch in enumerate(batches, start=done):
                self._step(batch, epoch, step, numbers)
                if self.workers.any_wished(self.leave()):
                    self._save_part(numbers, start, exchanged_before)
                    return None
        means = {**numbers.means(), "train/learning_rate": self.optimizer.learning_rate}
        if self.speed.micro_batch_videos:
            means["micro_batch_videos"] = float(self.speed.micro_batch_videos)
        if self.workers is not ALONE:
            # Kept for each epoch, since a host may continue with fewer workers.
            means["workers"] = float(self.workers.size)
        if self.workers.size > 1:
            received = self.workers.exchanged_bytes - exchanged_before
            means["train/exchanged_mb_per_step"] = received / 1e6 / len(order)
        return means

    def _seed_epoch(self, epoch: int) -> None:
        """Set the random generators to where this epoch was left, or to its beginning."""
        # Workers drop different elements; everything else that is drawn is the same for all.
        torch.manual_seed(dropout_seed(self.settings.training.seed, epoch) + self.workers.rank)
        if self.state.part:
            # Random states belong to a rank; after a change of the number of workers none fits.
            random_states.restore(self.state.part.random, self.device, self.workers)

    def _save_part(self, numbers: StepNumbers, start: float, exchanged_before: int) -> None:
        """Write a checkpoint in the middle of an epoch."""
        received = self.workers.exchanged_bytes - exchanged_before
        random = random_states.of_all(self.device, self.workers)
        part = PartOfEpoch(numbers.so_far(), time.monotonic() - start, received, random)
        self.state = replace(self.state, part=part)
        if self.workers.rank == 0:
            self._save_last()
        # All wait until it is written: the group ends when the first of its workers ends.
        self.workers.first_decides(0)

    def _batches(self, order: Sequence[Int[np.ndarray, "batch"]]) -> Generator[Batch, None, None]:
        return prefetched(
            self.train_split,
            order,
            self.device,
            self.speed.prefetch_batches,
            self.batch_memory,
            self.workers,
        )

    def _step(self, batch: Batch, epoch: int, step: int, numbers: StepNumbers) -> None:
        """One optimizer step; only `numbers` may wait for the device."""
        switch = self.settings.losses.hard_negative_epoch
        hard = switch is not None and epoch >= switch
        draws = self._draws(batch, epoch, step)
        # Before the forward pass, which needs their memory.
        self.optimizer.zero_grad()
        losses = self.settings.losses
        terms = compute_losses(self.model, batch, losses, draws, hard, self.encoders, self.workers)
        terms.total.backward()
        self.workers.sum_gradients(self.model.parameters())
        values = terms.all_workers(self.workers)
        segments = self._mean_segments(batch).to(values.dtype)
        others = torch.stack([values.sum(), gradient_norm(self.model), segments])
        applied = numbers.add(torch.cat([values, others]))
        self.optimizer.step(applied=applied)

    def _mean_segments(self, batch: Batch) -> Tensor:
        """Mean number of CBVA segments of the global batch's videos."""
        segments = self.workers.sum((batch.segment_of_clip.amax(dim=1) + 1).sum())
        return segments / batch.spread.videos.total

    def _draws(self, batch: Batch, epoch: int, step: int) -> BranchDraws:
        sizes = (batch.spread.captions.total, batch.spread.videos.total) * 2
        host = torch.device("cpu")
        drawn = [
            draw.to(self.device, non_blocking=True)
            for draw in draws_for_step(self.settings.training.seed, epoch, step, sizes, host)
        ]
        return BranchDraws(NegativeDraws(*drawn[:2]), NegativeDraws(*drawn[2:]))


def step_number_names() -> tuple[str, ...]:
    """Names of a training step's numbers, in the order of its row."""
    names = (*loss_term_names(), "total", "gradient_norm", "mean_segments")
    return tuple(f"train/{name}" for name in names)


def build_optimizer(model: MscModel, settings: Settings, num_videos: int) -> BertAdam:
    """Optimizer of a model whose schedule ends at the settings' horizon."""
    decayed = model.decayed_parameters()
    ids = {id(parameter) for parameter in decayed}
    free = [parameter for parameter in model.parameters() if id(parameter) not in ids]
    steps = steps_per_epoch(num_videos, settings.training.batch_videos)
    return BertAdam(decayed, free, settings.optimizer, settings.optimizer.schedule_epochs * steps)


def gradient_norm(model: nn.Module) -> Tensor:
    """Norm of all gradients together, before clipping."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of the device, or of this process on the CPU, in MB (10^6 bytes)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    # Linux counts in KiB.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _training_split(store: FeatureStore, settings: Settings) -> PreparedSplit:
    split = prepare_split(store, "train", settings)
    if split.num_videos < 2:
        raise StoreError(f"{store.path}: split train needs two videos or more")
    if settings.losses.ignore_relevant:
        return replace(split, relevant=RelevantVideos.of(store.split("train")))
    return split

"""What `make setup` compiles is what trials need."""

from numba.core.dispatcher import Dispatcher

from prvr_model.losses import angles
from prvr_model.losses.tcpl import angle_loss
from prvr_model.network import row_kernels
from prvr_model.network.encoding import Encoders
from prvr_model.training.warm_up import compile_loops
from tests.prvr_model.tiny import random_batch, tiny_model, tiny_settings


def compiled() -> dict[str, int]:
    every = {**vars(row_kernels), **vars(angles)}
    loops = {name: each for name, each in every.items() if isinstance(each, Dispatcher)}
    return {name: len(loop.signatures) for name, loop in loops.items()}


def test_a_training_step_compiles_no_other_loop() -> None:
    compile_loops()
    before = compiled()
    assert before["attend_backward"] > 0 < before["_slopes"]
    encoders = Encoders(tiny_model(tiny_settings()).train())
    videos, queries = encoders.batch(random_batch(tiny_settings(), [2, 1, 3]))
    angles_of = angle_loss(queries, queries.detach().roll(1, 0))
    (angles_of + videos.clips.sum() + videos.frames.sum()).backward()
    assert compiled() == before

"""The engine over the demo model: batching, chunking, schedules, generation, bad input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tapeout.errors import InputError
from tapeout.model import demo, load
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.numerics import library
from tapeout.numerics.plan import PRESETS
from tapeout.numerics.product import Split
from tapeout.simulator.functional import Engine, Sampler, Schedule, engine, generate

pytestmark = pytest.mark.skipif(
    not (Path(demo.FOLDER) / "model.safetensors").is_file(), reason="the demo model is not there"
)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """The demo model's tensors."""
    return Checkpoint.open(demo.FOLDER)


def make(checkpoint: Checkpoint, plan: str = "mxint8", **options: object) -> Engine:
    return Engine(load("demo"), checkpoint, plan, 2, **options)  # type: ignore[arg-type]


def tokens(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, 1000, n)


@pytest.mark.parametrize("plan", PRESETS)
def test_native_equals_numpy(plan: str, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    native = make(checkpoint, plan)
    expected = native.step([(native.sequence(), tokens(70))], every=True)[0]
    assert np.isfinite(expected).all() and expected.std() > 0.5
    monkeypatch.setattr(library, "LIBRARY", None)
    plain = make(checkpoint, plan)
    assert (plain.step([(plain.sequence(), tokens(70))], every=True)[0] == expected).all()


def test_a_prompt_may_be_cut_anywhere(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    e = make(checkpoint)
    ids = tokens(150)
    whole = e.step([(e.sequence(), ids)], every=True)[0]
    for cuts in ([1], [31, 32, 33], [128], list(range(100, 150))):
        s, parts = e.sequence(), []
        for a, b in zip([0, *cuts], [*cuts, 150], strict=True):
            parts.append(e.step([(s, ids[a:b])], every=True)[0])
        assert (np.concatenate(parts) == whole).all()
    monkeypatch.setattr(engine, "CHUNK", 13)
    assert (e.step([(e.sequence(), ids)], every=True)[0] == whole).all()
    assert (e.step([(e.sequence(), ids)])[0] == whole[-1]).all()


def test_sequences_do_not_see_each_other(checkpoint: Checkpoint) -> None:
    e = make(checkpoint)
    prompts = [tokens(n, n) for n in (1, 40, 7, 90)]
    alone = []
    for p in prompts:
        s = e.sequence()
        alone.append([e.step([(s, p)])[0], e.step([(s, [5])])[0]])
    batch = [e.sequence() for _ in prompts]
    first = e.step(list(zip(batch, prompts, strict=True)))
    second = e.step([(batch[2], [5]), (batch[0], [5])])
    assert all((a[0] == b).all() for a, b in zip(alone, first, strict=True))
    assert (second[0] == alone[2][1]).all() and (second[1] == alone[0][1]).all()


def test_truncation_forgets(checkpoint: Checkpoint) -> None:
    e = make(checkpoint)
    s = e.sequence()
    e.step([(s, tokens(60))])
    before = e.step([(s, [9])])[0]
    s.truncate(60)
    e.step([(s, tokens(30, 4))])
    s.truncate(60)
    assert s.length == 60
    assert (e.step([(s, [9])])[0] == before).all()


def test_the_order_of_sums_is_the_schedules(checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    split = Schedule(
        {r: (Split(4, "interleaved", "tree"),) for r in ("attention", "experts", "lm_head")}, tile=32
    )
    e, plain = make(checkpoint, schedule=split), make(checkpoint)
    a = e.step([(e.sequence(), tokens(80))], every=True)[0]
    b = plain.step([(plain.sequence(), tokens(80))], every=True)[0]
    assert (a != b).any()
    assert np.abs(a - b).mean() < 0.2 * b.std()
    monkeypatch.setattr(library, "LIBRARY", None)
    e = make(checkpoint, schedule=split)
    assert (e.step([(e.sequence(), tokens(80))], every=True)[0] == a).all()


def test_observer_sees_experts_and_hidden_states(checkpoint: Checkpoint) -> None:
    e = make(checkpoint)
    seen: dict[tuple[str, int], tuple[int, ...]] = {}
    e.observe = lambda what, layer, x: seen.__setitem__((what, layer), x.shape)
    e.step([(e.sequence(), tokens(11))])
    layers = len(e.model.layers)
    assert seen == {
        **{("hidden", i): (11, e.model.hidden) for i in range(layers)},
        **{("experts", i): (11, 2) for i in range(layers)},
    }


def test_generation_is_greedy_seeded_and_stops(checkpoint: Checkpoint) -> None:
    e = make(checkpoint)
    ids = tokens(5)
    greedy = list(generate(e, ids, 20))
    assert greedy == list(generate(e, ids, 20)) and 0 < len(greedy) <= 20
    sampled = [list(generate(e, ids, 12, Sampler(1.0, top_k=50, top_p=0.9, seed=s))) for s in (1, 1, 2)]
    assert sampled[0] == sampled[1] != sampled[2]
    assert list(generate(e, ids, 20, stop={greedy[3]})) == greedy[: greedy.index(greedy[3]) + 1]
    assert list(generate(e, ids, 0)) == []
    full = e.model.context - 5
    assert len(list(generate(e, tokens(full), 40, Sampler(1.0), stop=()))) == 6


def test_bad_input_is_one_line_and_changes_nothing(checkpoint: Checkpoint) -> None:
    e = make(checkpoint)
    s = e.sequence()
    for bad in ([], [-1], [e.model.vocabulary], tokens(e.model.context + 1)):
        with pytest.raises(InputError) as caught:
            e.step([(s, bad)])
        assert "\n" not in str(caught.value)
        assert s.length == 0
    with pytest.raises(InputError, match="mxint8"):
        make(checkpoint, "fp64")


def test_sampler_distributions() -> None:
    logits = np.log(np.array([0.1, 0.4, 0.2, 0.2, 0.1])).astype(np.float32)
    assert Sampler()(logits) == 1
    assert Sampler().probabilities(logits)[1] == 1
    np.testing.assert_allclose(Sampler(1.0).probabilities(logits), [0.1, 0.4, 0.2, 0.2, 0.1], rtol=1e-6)
    np.testing.assert_allclose(
        Sampler(1.0, top_k=2).probabilities(logits), [0, 2 / 3, 1 / 3, 0, 0], rtol=1e-6
    )
    np.testing.assert_allclose(
        Sampler(1.0, top_p=0.5).probabilities(logits), [0, 2 / 3, 1 / 3, 0, 0], rtol=1e-6
    )
    s = Sampler(2.0, seed=3)
    p = Sampler(2.0).probabilities(logits)
    counts = np.bincount([s(logits) for _ in range(20000)], minlength=5) / 20000
    assert np.abs(counts - p).max() < 0.02
    for bad in ({"temperature": -1}, {"top_k": -1}, {"top_p": 0.0}, {"temperature": float("nan")}):
        with pytest.raises(InputError):
            Sampler(**bad)

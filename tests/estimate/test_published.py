"""Reading tables of measurements: labels, repairs, reasons."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.errors import InputError
from tapeout.estimate.published import Models, formats_of, read_rows
from tapeout.model.load import load

HEAD = (
    "model,system,backend,backend_version,precision,isl,osl,concurrency,"
    "tp,moe_tp,moe_ep,attention_dp,ttft_ms,tpot_ms"
)


def table(tmp_path: Path, *lines: str, head: str = HEAD) -> Path:
    path = tmp_path / "t.csv"
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def row(tmp_path: Path, line: str, head: str = HEAD):
    (found,) = read_rows(table(tmp_path, line, head=head), Models())
    return found


def test_a_row_becomes_a_point(tmp_path: Path) -> None:
    r = row(tmp_path, "meta-llama/Llama-3.1-70B,h200_sxm,vllm,,fp8,1024,8192,32,4,4,1,nan,123.4,9.5")
    assert r.point is not None and r.reason == ""
    p = r.point
    assert (p.model.name, p.accelerator.key, p.engine, p.tp, p.attention_dp) == (
        "llama-3.1-70b",
        "h200",
        "vllm",
        4,
        1,
    )
    assert p.prompt == pytest.approx(921.6) and p.output == pytest.approx(7372.8), "means of uniform lengths"
    assert (p.formats.dense, p.formats.cache, p.formats.lm_head) == ("fp8", "fp8", "bf16")
    assert r.measured == {"tpot_s": pytest.approx(9.5e-3), "ttft_s": pytest.approx(0.1234)}


def test_columns_that_say_nothing_may_be_absent(tmp_path: Path) -> None:
    r = row(tmp_path, "llama-3.1-8b,b200,100,100,2,5.0", head="model,system,isl,osl,concurrency,tpot_ms")
    assert r.point is not None
    assert r.point.tp == 1 and r.point.engine == "" and "ttft_s" not in r.measured


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("nobody/knows,h200,vllm,,fp8,1,1,1,1,1,1,1,1,1", "not known"),
        ("llama-3.1-8b,h900,vllm,,fp8,1,1,1,1,1,1,1,1,1", "accelerator"),
        ("llama-3.1-8b,h200,vllm,,fp9,1,1,1,1,1,1,1,1,1", "fp9"),
        ("llama-3.1-8b,h200,vllm,,fp8,-5,1,1,1,1,1,1,1,1", "isl"),
        ("llama-3.1-8b,h200,vllm,,fp8,1,,1,1,1,1,1,1,1", "osl"),
        ("llama-3.1-8b,h200,vllm,,fp8,1,1,inf,1,1,1,1,1,1", "concurrency"),
        ("llama-3.1-8b,h200,vllm,,fp8,1,1,1,1.5,1,1,1,1,1", "tp"),
        ("llama-3.1-8b,h200,vllm,,fp8,1,1,1,5,1,1,1,1,1", "divisor"),
        ("llama-3.1-8b,h200,vllm,,fp8,1,1,1,1,1,1,1,,nan", "nothing measured"),
    ],
)
def test_a_row_that_cannot_be_predicted_says_why(tmp_path: Path, line: str, why: str) -> None:
    r = row(tmp_path, line)
    assert r.point is None
    assert why in r.reason


def test_gpt_oss_is_mxfp4_whatever_the_label(tmp_path: Path) -> None:
    for label in ("fp4", "fp8", "nvfp4", "", "mxfp4"):
        r = row(tmp_path, f"openai/gpt-oss-120b,h200,vllm,0.18.0,{label},1024,1024,4,1,1,1,1,1,1")
        assert r.point is not None
        assert (r.point.formats.experts, r.point.formats.attention) == ("mxfp4", "bf16")
        assert r.point.engine == "vllm-async"


def test_multiplied_labels_are_read_as_one_group(tmp_path: Path) -> None:
    r = row(tmp_path, "deepseek-ai/DeepSeek-V3,h200_sxm,trtllm,,fp8,1024,1024,4,64,8,8,1,1,1")
    assert r.point is not None and r.point.tp == 8 and any("64 chips" in n for n in r.notes)
    real = row(tmp_path, "deepseek-ai/DeepSeek-V3,gb200,trtllm,,fp8,1024,1024,4,64,8,8,1,1,1")
    assert real.point is not None and real.point.tp == 64, "64 chips fit one domain there"


def test_energy_rows_and_replicas(tmp_path: Path) -> None:
    head = "model,task,precision,gpu,num_gpus,tp,ep,dp,avg_batch,avg_output_tokens,itl_ms,joules_per_output_token"
    r = row(tmp_path, "Qwen/Qwen3-30B-A3B,gpqa,bfloat16,H100,2,1,2,1,64,900,18.7,0.27", head=head)
    assert r.kind == "energy" and r.point is not None
    assert (r.point.attention_dp, r.point.ep, r.point.tp) == (2, 2, 1)


def test_models_from_a_folder(tmp_path: Path) -> None:
    import json

    from tapeout.model.catalog import resolve

    config = json.loads(resolve("qwen3-8b").text())
    config["num_hidden_layers"] = 12
    for key in ("layer_types", "max_window_layers"):
        config.pop(key, None)
    folder = tmp_path / "configs" / "someone" / "Mine-3B"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    path = table(tmp_path, "someone/Mine-3B,h200,vllm,,,100,100,1,1,1,1,1,1,1")
    (found,) = read_rows(path, Models(tmp_path / "configs"))
    assert found.point is not None and len(found.point.model.layers) == 12
    with pytest.raises(InputError):
        Models(tmp_path / "absent")


@pytest.mark.parametrize(
    "layout",
    [
        "models--someone--Mine-3B/snapshots/0123abcd/config.json",
        "someone--Mine-3B_config.json",
        "Mine-3B/config.json",
        "Mine-3B.json",
        "someone_Mine-3B.json",
    ],
)
def test_folders_of_models_as_people_keep_them(tmp_path: Path, layout: str) -> None:
    from tapeout.model.catalog import resolve

    path = tmp_path / layout
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(resolve("qwen3-8b").text())
    found = Models(tmp_path).find("someone/Mine-3B")
    assert not isinstance(found, str) and found.hidden == 4096


def test_labels_of_fewer_bits_requantise_what_is_published_wider() -> None:
    notes: list[str] = []
    assert formats_of(load("deepseek-r1"), "fp4", "nvfp4", "", notes).experts == "nvfp4"
    assert formats_of(load("deepseek-r1"), "fp8", "fp8", "", notes).experts == "fp8_block128"
    assert formats_of(load("qwen3-32b"), "bfloat16", "", "fp8", notes).cache == "fp8"
    half = formats_of(load("llama-2-70b"), "fp8", "fp8", "", notes)
    assert (half.attention, half.dense, half.cache) == ("fp8", "fp8", "fp8"), "FP16 is not quantised"


def test_another_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="columns"):
        read_rows(table(tmp_path, "1,2", head="a,b"), Models())
    with pytest.raises(InputError, match="rows"):
        read_rows(table(tmp_path), Models())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=16))
def test_nothing_in_a_row_raises(tmp_path_factory: pytest.TempPathFactory, cells: list[str]) -> None:
    import csv

    path = tmp_path_factory.mktemp("hostile") / "t.csv"
    with path.open("w", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        writer.writerow(HEAD.split(","))
        writer.writerow(["llama-3.1-8b", "h200", *cells][:14])
    try:
        rows = read_rows(path, Models())
    except InputError:
        return
    for r in rows:
        assert (r.point is None) == bool(r.reason)


def test_what_a_launch_script_sets_is_read_from_it(tmp_path: Path) -> None:
    base = "meta-llama/Llama-3.1-70B,h200,trtllm,,fp8,{},{},32,{},1,1,1,1,1"
    for isl, osl, tp, wait in (
        (1024, 1024, 4, 20),
        (1024, 1024, 8, 0),
        (1024, 8192, 4, 0),
        (8192, 1024, 1, 0),
    ):
        r = row(tmp_path, base.format(isl, osl, tp))
        assert r.point is not None and r.point.wait_steps == wait
    other = row(tmp_path, "meta-llama/Llama-3.1-70B,h200,vllm,,fp8,1024,1024,32,4,1,1,1,1,1")
    assert other.point is not None and other.point.wait_steps == 0
    head = "model,system,backend,isl,osl,concurrency,tp,batch_wait_steps,tpot_ms"
    own = row(tmp_path, "meta-llama/Llama-3.1-70B,h200,trtllm,1024,1024,32,8,7,1", head=head)
    assert own.point is not None and own.point.wait_steps == 7, "a table may say so itself"

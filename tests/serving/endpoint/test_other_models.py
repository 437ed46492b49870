"""A checkpoint of another family, from a folder: its own chat template, no harmony, no generation_config.json."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import openai
import pytest

from tapeout.model import demo
from tapeout.model.checkpoint.random import write_random
from tapeout.serving.endpoint.server import running
from tapeout.serving.endpoint.settings import Settings
from tapeout.simulator.functional import generate

CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
    "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "vocab_size": 1024,
    "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
    "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "eos_token_id": 2, "bos_token_id": 0,
    "torch_dtype": "bfloat16",
}  # fmt: skip
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
    "[{{ m.role }}] {{ m.content | trim }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
)
MESSAGES: Any = [{"role": "user", "content": " And it came to pass "}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The checkpoint, without a template."""
    found = tmp_path / "small-llama"
    write_random(found, CONFIG)
    shutil.copy(demo.FOLDER / "tokenizer.json", found)
    return found


def test_a_folder_with_a_template(folder: Path) -> None:
    config = {"chat_template": TEMPLATE, "bos_token": "<|startoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    with running(Settings(model=folder, port=0, threads=1, log_level="error", chip="edge")) as at:
        served = at.endpoint.served
        client = openai.OpenAI(base_url=at.url + "/v1", api_key="x", max_retries=0)
        assert [m.id for m in client.models.list()] == ["small-llama"] and not served.harmony
        options: dict[str, Any] = {"model": "small-llama", "max_tokens": 20, "temperature": 0}
        answer = client.chat.completions.create(
            messages=MESSAGES, **options, extra_body={"return_token_ids": True}
        )
        prompt = served.tokenizer.encode(
            "<|startoftext|>[user] And it came to pass\n[assistant]", special=True
        )
        assert answer.prompt_token_ids == prompt and prompt[0] == 0
        expected = list(generate(served.backend, prompt, 20, stop={2}))  # type: ignore[arg-type]
        assert answer.choices[0].token_ids == expected
        text = served.tokenizer.decode([t for t in expected if t != 2])
        assert answer.choices[0].message.content == text and answer.tapeout["chip"] == "edge"
        with pytest.raises(openai.BadRequestError, match="no tools"):
            client.chat.completions.create(messages=[{"role": "tool", "content": "x"}], **options)  # type: ignore[arg-type]


def test_without_a_template_there_is_no_chat(folder: Path) -> None:
    with running(
        Settings(model=folder, name="mine", port=0, threads=1, log_level="error", chip="h200")
    ) as at:
        client = openai.OpenAI(base_url=at.url + "/v1", api_key="x", max_retries=0)
        with pytest.raises(openai.BadRequestError, match="no chat template"):
            client.chat.completions.create(model="mine", messages=MESSAGES)
        answer = client.completions.create(model="mine", prompt=[5, 6, 7], max_tokens=3)
        assert answer.usage.completion_tokens <= 3 and answer.tapeout["chip"].lower().find("h200") >= 0

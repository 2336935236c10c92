"""Exports: read back, converted and run for real; nothing half-written stays."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from training.device import choose_placement
from training.export import (
    ExportError,
    MlxConfig,
    check_exports,
    export_mlx,
    export_ollama,
    export_safetensors,
    modelfile,
)
from training.generation import GenerationConfig, generate
from training.language_model import load_language_model
from training.lora import LoraConfig, add_adapter, merge_adapter
from training.tiny_models import function_tokenizer, small_gemma, small_gpt2


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    """A tokenizer with FunctionGemma's format."""
    return function_tokenizer(["some words"] * 3, vocab_size=300)


@pytest.fixture(scope="module")
def merged(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a merged model."""
    model = add_adapter(
        small_gemma(tokenizer=tokenizer, width=64, layers=2, heads=2, full_every=2),
        LoraConfig(rank=2),
    )
    folder = tmp_path_factory.mktemp("export") / "merged"
    return export_safetensors(merge_adapter(model), tokenizer, folder)


def test_merged_folder_loads_with_tokenizer_and_template(merged: Path, tokenizer: Any) -> None:
    """Transformers loads it by its path, and nothing in it is a pickle."""
    from transformers import AutoTokenizer

    model = load_language_model(merged)
    assert model.config.architectures == ["Gemma3ForCausalLM"]
    assert AutoTokenizer.from_pretrained(merged).chat_template == tokenizer.chat_template
    assert {p.suffix for p in merged.iterdir()} <= {".json", ".safetensors", ".jinja"}


def test_unmerged_adapter_and_existing_folder_are_refused(
    merged: Path, tokenizer: Any, tmp_path: Path
) -> None:
    """Both are errors before anything is written."""
    adapted = add_adapter(
        small_gemma(tokenizer=tokenizer, width=32, layers=1, heads=2), LoraConfig()
    )
    with pytest.raises(ValueError, match="still has its adapter"):
        export_safetensors(adapted, tokenizer, tmp_path / "new")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="exists; name a folder"):
        export_safetensors(load_language_model(merged), tokenizer, merged)


def test_export_that_computes_something_else_is_thrown_away(tokenizer: Any, tmp_path: Path) -> None:
    """A weight that is lost on the way is found by reading back."""
    model = small_gemma(tokenizer=tokenizer, width=32, layers=1, heads=2)
    save = model.save_pretrained

    def lossy(folder: Path, **options: Any) -> None:
        with torch.no_grad():
            model.model.layers[0].mlp.down_proj.weight.add_(1.0)
            save(folder, **options)
            model.model.layers[0].mlp.down_proj.weight.sub_(1.0)

    model.save_pretrained = lossy
    with pytest.raises(ExportError, match="logits differ"):
        export_safetensors(model, tokenizer, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_mlx_writes_what_transformers_does(tokenizer: Any, tmp_path: Path) -> None:
    """Without quantisation the converted model's greedy text is the original's."""
    model = small_gemma(tokenizer=tokenizer, width=64, layers=4, heads=2, sliding_window=8)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # A quiet embedding does not drown what the layers compute.
            if "embed" in name:
                parameter.mul_(0.2)
            else:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    source = export_safetensors(model, tokenizer, tmp_path / "merged")
    prompt = "<bos>some words and more words, longer than the window"
    (answer,) = generate(
        model,
        tokenizer,
        [tokenizer(prompt)["input_ids"]],
        config=GenerationConfig(max_new_tokens=16),
        placement=choose_placement(device="cpu", precision="fp32"),
    )
    assert len(set(answer.ids)) > 3
    assert export_mlx(source, tmp_path / "mlx", config=MlxConfig(bits=0), prompt=prompt) == (
        answer.text
    )


@pytest.mark.slow
def test_mlx_conversion_is_quantised_and_writes(merged: Path, tmp_path: Path) -> None:
    """The converted model is loaded by mlx_lm and generates."""
    text = export_mlx(merged, tmp_path / "mlx", prompt="<bos>some words")
    assert isinstance(text, str)
    config = json.loads((tmp_path / "mlx" / "config.json").read_text())
    assert config["quantization"]["bits"] == 4
    assert list((tmp_path / "mlx").glob("*.safetensors"))
    assert [path.name for path in tmp_path.iterdir()] == ["mlx"]


def test_mlx_says_what_does_not_fit(merged: Path, tmp_path: Path) -> None:
    """Groups that do not divide, unknown bits, and a conversion that fails."""
    with pytest.raises(ValueError, match=r"group_size is 128 .*hidden_size \(64\)"):
        export_mlx(merged, tmp_path / "mlx", config=MlxConfig(group_size=128))
    with pytest.raises(ValueError, match="bits is 7"):
        MlxConfig(bits=7)
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text(json.dumps({"model_type": "nonesuch"}))
    with pytest.raises(ExportError, match="MLX failed with exit status 1"):
        export_mlx(broken, tmp_path / "mlx")
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_exports_that_cannot_be_made_are_refused_before_training(
    merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the base model's config alone, naming the field and the way out."""
    check_exports(["safetensors", "mlx", "ollama"], merged, mlx_bits=4)
    config = json.loads((merged / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_size": 100}))
    with pytest.raises(ValueError, match="group_size is 64 and does not divide the model's hidden"):
        check_exports(["mlx"], tmp_path, mlx_bits=4)
    check_exports(["mlx"], tmp_path, mlx_bits=16)
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["GPT2LMHeadModel"]}))
    with pytest.raises(ValueError, match=r"exports has 'ollama'.*a GPT2LMHeadModel; leave it"):
        check_exports(["ollama"], tmp_path, mlx_bits=4)
    check_exports(["safetensors"], tmp_path, mlx_bits=4)
    monkeypatch.setitem(sys.modules, "mlx_lm", None)
    with pytest.raises(ValueError, match=r"exports has 'mlx', which needs the extra; pip install"):
        check_exports(["mlx"], merged, mlx_bits=4)


def test_ollama_folder_has_weights_template_and_stops(
    merged: Path, tokenizer: Any, tmp_path: Path
) -> None:
    """The Modelfile names both stop sequences; another architecture is refused."""
    folder = export_ollama(merged, tmp_path / "ollama")
    text = (folder / "Modelfile").read_text()
    assert text.startswith("FROM .\nTEMPLATE ")
    assert 'PARAMETER stop "<end_of_turn>"' in text
    assert 'PARAMETER stop "<start_function_response>"' in text
    assert (folder / "model.safetensors").read_bytes() == (
        merged / "model.safetensors"
    ).read_bytes()
    other = export_safetensors(
        small_gpt2(vocab_size=300, width=32, layers=1, heads=2), tokenizer, tmp_path / "gpt2"
    )
    with pytest.raises(ValueError, match="GPT2LMHeadModel"):
        export_ollama(other, tmp_path / "ollama2")


def test_modelfile_template_writes_the_turns_of_the_chat_template() -> None:
    """The Go template spells the roles and markers of FunctionGemma's turns."""
    text = modelfile(context=2048)
    for part in ("<start_of_turn>developer\n", "<start_of_turn>user\n", "<start_of_turn>model\n"):
        assert part in text
    assert "PARAMETER num_ctx 2048" in text
    assert "PARAMETER temperature 0" in text

"""Evaluation of an image classifier, and its packing into a form that runs no code on load."""

import json
from pathlib import Path

from flytekit import Deck, task
from flytekit.types.directory import FlyteDirectory

from tasks.execution import working_folder
from tasks.machines import TORCH_CPU
from tasks.records import Evaluated, PreparedImages, Run, Trained
from tasks.software import software_versions

EVALUATION_FILE = "evaluation.json"
PROBE_FILE = "probe.safetensors"
PROBE_IMAGES = 16
"""Held-out images whose logits travel with the model: what a reload must give again."""


@task(enable_deck=True, **TORCH_CPU.options())
def evaluate_classifier(
    run: Run, images: PreparedImages, trained: Trained, min_accuracy: float
) -> Evaluated:
    """Measures the model on the held-out images, decides by the gate, and packs it."""
    from safetensors.torch import save_file

    from stores.registry import champion, save_classifier
    from stores.settings import Settings
    from training import figures
    from training.cnn import load_cnn, predict_logits
    from training.evaluation import decide, evaluate
    from training.image_data import load_images

    data = load_images(Path(images.folder.download()))
    folder = Path(trained.folder.download())
    model = load_cnn(folder)
    logits = predict_logits(model, data.test.images)
    evaluation = evaluate(logits, data.test.labels, classes=data.manifest.classes)

    settings = Settings.from_environment()
    rival = champion(settings, run.model_name)
    same_data = rival is not None and rival.tags.get("oppen.dataset") == images.digest
    decision = decide(
        evaluation,
        min_accuracy=min_accuracy,
        champion_accuracy=rival.metrics["accuracy"] if rival and same_data else None,
    )

    report = working_folder("report")
    (report / EVALUATION_FILE).write_text(evaluation.to_json(), encoding="utf-8")
    # The run's `test_...` are its curves, one value per epoch; the verdict has names of its own.
    metrics = {name.removeprefix("test_"): value for name, value in evaluation.metrics().items()}
    (report / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    drawn = {
        "scores": figures.evaluation_table(evaluation),
        "confusion": figures.confusion_matrix(evaluation),
        "mistakes": figures.worst_mistakes(evaluation, data.test.images),
    }
    for name, html in drawn.items():
        Deck(name.capitalize(), html)
    if (folder / "curves.html").exists():  # the training task drew them for its own Deck
        drawn["curves"] = (folder / "curves.html").read_text(encoding="utf-8")
    for name, html in drawn.items():
        (report / f"{name}.html").write_text(html, encoding="utf-8")

    package = working_folder("package")
    probe = data.test.images[:PROBE_IMAGES].contiguous()  # (16, H, W)
    save_classifier(model, package / "model", example=probe.numpy())
    save_file({"images": probe, "logits": logits[:PROBE_IMAGES].contiguous()}, package / PROBE_FILE)
    for name in ("model.safetensors", "model.json", "result.json"):
        (package / name).write_bytes((folder / name).read_bytes())
    (package / "dataset.json").write_text(
        json.dumps(json.loads(data.manifest.to_json()), indent=2), encoding="utf-8"
    )
    tags = {
        "oppen.dataset": images.digest,
        "oppen.kind": "image-cnn",
        **software_versions("torch", "numpy", "mlflow"),
    }
    (package / "tags.json").write_text(json.dumps(tags), encoding="utf-8")
    return Evaluated(
        package=FlyteDirectory(str(package)),
        report=FlyteDirectory(str(report)),
        quality=evaluation.accuracy,
        promote=decision.promote and trained.status == "completed",
        reason=(
            decision.reason
            if trained.status == "completed"
            else f"stopped by its {trained.stop_reason}; {decision.reason}"
        ),
    )

"""Tuning of an agent with LoRA, in one process."""

from flytekit import Deck, task
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile

from tasks.agent_records import AgentBase, PreparedAgent
from tasks.machines import GPU
from tasks.records import Run, Trained
from training.agent_config import AgentTraining

RESULT_FILE = "result.json"


@task(enable_deck=True, **GPU.options())
def train_agent(run: Run, data: PreparedAgent, base: AgentBase, config: AgentTraining) -> Trained:
    """Tunes on one GPU, or on the CPU where there is none."""
    import json
    from pathlib import Path

    from tasks.agent_data import DATA_FOLDER
    from tasks.execution import working_folder
    from tasks.language_training import loss_chart
    from tasks.session import training_session
    from training.agent_recipe import recipe
    from training.agent_tuning import as_status, save_agent, summary_of, tune_agent
    from training.export import check_exports

    examples = Path(data.folder.download()) / DATA_FOLDER
    base_folder = Path(base.folder.download())
    check_exports(config.exports, base_folder, mlx_bits=config.mlx_bits)
    identity = {
        "kind": "agent",
        "recipe": recipe(config, data_version=data.version, base=base.name, revision=base.revision),
    }
    with training_session(run, machine=GPU) as session:
        model, tokenizer, result = tune_agent(
            config,
            examples,
            base_folder,
            identity=identity,
            checkpoint_folder=session.checkpoint_folder,
            checkpoint_config=session.checkpoint_config,
            resume_from=session.resume_from,
            on_checkpoint=session.on_checkpoint,
            reporter=session.reporter,
            guard=session.guard,
            ranks=session.ranks,
        )
        session.ended(result.status)
    out = working_folder("model")
    save_agent(
        model.cpu(), tokenizer, out, base=base_folder, name=base.name, revision=base.revision
    )
    (out / RESULT_FILE).write_text(json.dumps(summary_of(result), indent=2), encoding="utf-8")
    Deck("Training", loss_chart(result))
    is_stopped = result.status == "stopped" and session.last_checkpoint is not None
    return Trained(
        folder=FlyteDirectory(str(out)),
        status=as_status(result),
        stop_reason=result.stop_reason if result.status == "stopped" else None,
        checkpoint=FlyteFile(str(session.last_checkpoint)) if is_stopped else None,
    )

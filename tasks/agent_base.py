"""The base model of an agent: found, fetched or made, and its examples counted in its tokens."""

from pathlib import Path

from flytekit import Cache, task

from tasks.addresses import local_copy
from tasks.agent_data import DATA_FOLDER
from tasks.agent_records import AgentBase, BaseSource, FittedExamples, PreparedAgent
from tasks.hub import HUB_SECRET, hub_token
from tasks.machines import DATA
from tasks.shelf import as_output, kept_folder, shelf_identity
from tasks.sources import SourceVersion
from training.agent_base import SMALL_GEMMA, SmallBase
from training.agent_config import AgentTraining

SCHOOL = SourceVersion(("training.agent_base",))


@task(secret_requests=[HUB_SECRET], **DATA.options())
def locate_base(config: AgentTraining, data: PreparedAgent, small_base: SmallBase) -> BaseSource:
    """Finds out which weights the name, folder or address holds now.

    Raises:
        ValueError: The hub does not give the model, or the folder does not exist.
    """
    import tempfile

    from training.agent_base import base_revision, school_of

    name = config.model_name
    school = ""
    if name == SMALL_GEMMA:
        school = school_of(Path(data.folder.download()) / DATA_FOLDER, small_base)
    with tempfile.TemporaryDirectory() as folder:
        where = local_copy(name, Path(folder))
        revision = base_revision(where, school=school, token=hub_token())
    return BaseSource(name=name, revision=revision, shelf=shelf_identity())


@task(
    cache=Cache(policies=SCHOOL, serialize=True),
    secret_requests=[HUB_SECRET],
    **DATA.options(),
)
def prepare_base(source: BaseSource, data: PreparedAgent, small_base: SmallBase) -> AgentBase:
    """Fetches the base model, or builds and pre-trains the small one; once per content.

    Raises:
        ValueError: The hub does not give the model.
    """
    import shutil

    from training.agent_base import fetch_hub_model, make_small_gemma, num_parameters

    if source.name == SMALL_GEMMA:
        folder = kept_folder("bases", f"{SMALL_GEMMA}-{source.revision}")
        if not (folder / "config.json").is_file():
            building = folder.with_name(f".{folder.name}.partial")
            shutil.rmtree(building, ignore_errors=True)
            make_small_gemma(Path(data.folder.download()) / DATA_FOLDER, building, small_base)
            shutil.rmtree(folder, ignore_errors=True)
            building.rename(folder)
    elif source.name.startswith("s3://"):
        folder = Path(local_copy(source.name, kept_folder("bases", source.revision)))
    elif Path(source.name).is_dir():
        folder = Path(source.name).resolve()
    else:
        folder = fetch_hub_model(source.name, revision=source.revision, token=hub_token())
    return AgentBase(
        name=source.name,
        revision=source.revision,
        folder=as_output(folder),
        num_parameters=num_parameters(folder),
    )


@task(**DATA.options())
def fit_agent_examples(
    data: PreparedAgent, base: AgentBase, config: AgentTraining
) -> FittedExamples:
    """Counts the examples in the base model's tokens, before anything expensive.

    Raises:
        ValueError: An example is too long, or model, tokenizer and examples do not fit.
    """
    from transformers import AutoConfig

    from training.agent_tuning import check_room, fit_examples
    from training.examples import Split
    from training.tokenizer import check_fits, load_tokenizer

    folder = Path(base.folder.download())
    tokenizer = load_tokenizer(folder)
    model_config = AutoConfig.from_pretrained(folder, local_files_only=True)
    check_fits(tokenizer, model_config, name=base.name)
    examples = Path(data.folder.download()) / DATA_FOLDER
    _, report = fit_examples(examples, Split.TRAIN, tokenizer, config)
    check_room(report.longest, model_config, config)
    return FittedExamples(
        num_tokens=report.num_tokens,
        num_targets=report.num_targets,
        longest=report.longest,
        truncated=report.truncated,
    )

"""Text data: find out what a source holds, and pack it into blocks once."""

from flytekit import Cache, task

from tasks.hub import HUB_SECRET, hub_token
from tasks.machines import DATA
from tasks.records import PreparedText, Source
from tasks.shelf import as_output, kept_folder, shelf_identity
from tasks.sources import SourceVersion

PREPARATION = SourceVersion(("training.text_data",))


@task(**DATA.options())
def locate_text(text: str) -> Source:
    """Finds out which documents a name, file, folder or address holds now."""
    from training.corpus import SourceConfig, read_corpus

    digest = read_corpus(SourceConfig(source=text)).digest()
    return Source(address=text, digest=digest, shelf=shelf_identity())


@task(
    cache=Cache(policies=PREPARATION, serialize=True),
    secret_requests=[HUB_SECRET],
    **DATA.options(),
)
def prepare_text(source: Source, base_model: str, block_size: int, vocab_size: int) -> PreparedText:
    """Tokenises and packs a corpus; the same documents, tokenizer and block size are packed once.

    Args:
        source: What `locate_text` found.
        base_model: Hub name or folder of the model whose tokenizer is used; `small-gpt2` trains
            one on the corpus.
        block_size: Tokens of a block.
        vocab_size: Entries of a tokenizer that is trained here.
    """
    from training.corpus import SourceConfig
    from training.language_config import SMALL_GPT2
    from training.text_data import TextConfig
    from training.text_data import prepare_text as prepare

    key = f"{source.digest[:16]}-{base_model.replace('/', '_')}-{block_size}-{vocab_size}"
    out = kept_folder("text", f"{key}-{PREPARATION.get_version('', None)}")
    manifest = prepare(
        TextConfig(
            source=SourceConfig(source=source.address),
            tokenizer="" if base_model == SMALL_GPT2 else base_model,
            vocab_size=vocab_size,
            block_size=block_size,
        ),
        out,
        token=hub_token(),
    )
    return PreparedText(
        folder=as_output(out),
        digest=manifest.digest,
        base_model=base_model,
        num_train_tokens=manifest.num_tokens["train"],
        block_size=manifest.block_size,
    )

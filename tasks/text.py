"""Text data: find out what a source holds, and pack it into blocks once."""

from flytekit import Cache, task

from tasks.machines import DATA
from tasks.records import PreparedText, Source
from tasks.shelf import as_output, kept_folder, shelf_identity
from tasks.sources import SourceVersion

PREPARATION = SourceVersion(("training.corpus", "training.text_data", "training.tokenizer"))


@task(**DATA.options())
def locate_text(text: str) -> Source:
    """Finds out which documents a name, file, folder or address holds now."""
    from training.corpus import SourceConfig, read_corpus

    digest = read_corpus(SourceConfig(source=text)).digest()
    return Source(address=text, digest=digest, shelf=shelf_identity())


@task(cache=Cache(policies=PREPARATION, serialize=True), **DATA.options())
def prepare_text(source: Source, tokenizer: str, vocab_size: int, block_size: int) -> PreparedText:
    """Tokenises and packs a corpus; the same documents, tokenizer and block size are packed once.

    Args:
        source: What `locate_text` found.
        tokenizer: Hub name or folder of the tokenizer; "" trains one on the corpus.
        vocab_size: Entries of a tokenizer that is trained here.
        block_size: Tokens of a block.
    """
    from training.corpus import SourceConfig
    from training.text_data import TextConfig
    from training.text_data import prepare_text as prepare

    name = f"{source.digest[:16]}-{tokenizer.replace('/', '_') or vocab_size}-{block_size}"
    out = kept_folder("text", f"{name}-{PREPARATION.get_version('', None)}")
    config = TextConfig(
        source=SourceConfig(source=source.address),
        tokenizer=tokenizer,
        vocab_size=vocab_size,
        block_size=block_size,
    )
    manifest = prepare(config, out)
    return PreparedText(
        folder=as_output(out),
        digest=manifest.digest,
        num_train_tokens=manifest.num_tokens["train"],
        block_size=manifest.block_size,
        vocab_size=manifest.vocab_size,
    )

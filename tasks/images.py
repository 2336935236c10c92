"""Image data: find out what an address holds, and pack it once."""

import tempfile
from pathlib import Path

from flytekit import Cache, task

from tasks.addresses import local_copy
from tasks.machines import DATA
from tasks.records import PreparedImages, Source
from tasks.shelf import as_output, kept_folder, shelf_identity
from tasks.sources import SourceVersion

PREPARATION = SourceVersion(("training.image_data",))


@task(**DATA.options())
def locate_images(dataset: str) -> Source:
    """Finds out which content a name, folder or address holds now.

    Not cached, since a folder or an address may change; cheap, since it only hashes.
    """
    from training.image_sources import content_digest

    with tempfile.TemporaryDirectory() as folder:
        digest = content_digest(local_copy(dataset, Path(folder)))
    return Source(address=dataset, digest=digest, shelf=shelf_identity())


@task(cache=Cache(policies=PREPARATION, serialize=True), **DATA.options())
def prepare_images(source: Source) -> PreparedImages:
    """Checks and packs a data set; the same content and code are packed once."""
    from training.image_data import prepare_images as prepare

    out = kept_folder("images", f"{source.digest[:16]}-{PREPARATION.get_version('', None)}")
    with tempfile.TemporaryDirectory() as folder:
        manifest = prepare(local_copy(source.address, Path(folder)), out)
    return PreparedImages(
        folder=as_output(out),
        digest=manifest.sha256,
        num_train=manifest.train_count,
        num_test=manifest.test_count,
        height=manifest.height,
        width=manifest.width,
    )

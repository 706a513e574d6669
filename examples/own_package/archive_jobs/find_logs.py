"""FindLogs: the first stage of a pipeline whose second one compresses what was found."""

from pathlib import Path

from jobservice import AbstractJob, JobInfo


class FindLogs(AbstractJob):
    """Adds a job to the stage `compress` for each directory that has files to compress."""

    def run(self, root: Path, pattern: str = "*.log") -> int:
        found = sorted({file.parent for file in root.rglob(pattern)})
        for directory in found:
            parameters = {"directory": directory, "pattern": pattern}
            self.add_jobs("compress", JobInfo("CompressFiles", parameters=parameters))
        self.increment_stage_metadata("directories", len(found))
        return len(found)

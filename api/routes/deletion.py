"""Before a job or a dataset is deleted: what would go, and what it takes."""

from __future__ import annotations

from flask import Response

from api.answers import answer
from api.keeping.views import DatasetDeletionView, JobDeletionView, JobDiskView
from api.routes.blueprint import Resource
from api.routes.parameters import API, ID, DatasetPath, JobPath
from api.services import services

deletion = Resource("deletion", API)


@deletion.reads(f"/jobs/<{ID}:job_id>/disk", JobDiskView)
def get_job_disk(path: JobPath) -> Response:
    """What a job takes on the disk."""
    parts = services()
    return answer(parts.disk_use.of_job(parts.core.jobs.get(path.job_id).id))


@deletion.reads(f"/jobs/<{ID}:job_id>/deletion", JobDeletionView)
def get_job_deletion(path: JobPath) -> Response:
    """Tell what would go with a job, or why it cannot go."""
    return answer(services().deletion.preview_job(path.job_id))


@deletion.reads("/datasets/<string:dataset>/deletion", DatasetDeletionView)
def get_dataset_deletion(path: DatasetPath) -> Response:
    """Tell what would go with a dataset, or which jobs keep it."""
    return answer(services().deletion.preview_dataset(path.dataset))

"""A worker: one process pinned to one device, which runs the attempts that the api gives it.

ticket -> service (Celery, always answers) -> supervisor (claims, renews, limits, classifies)
       -> trainer process (preprocess/, train/) -> events, checkpoints, previews
"""

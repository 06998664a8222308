"""What the api and the workers both know.

Two halves: the modules on this level are free of torch (errors, settings, config, jobs, events and what
carries them); `shared.audio` and `shared.vae` need torch and are imported by workers alone.
"""

"""`python -m api.openapi`: write the OpenAPI document of the HTTP API to standard output."""

from __future__ import annotations

import json
import sys

from api.app import openapi_document

if __name__ == "__main__":
    json.dump(openapi_document(), sys.stdout, indent=1)

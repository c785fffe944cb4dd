"""HTTP for programs: OpenAI's `/v1/images/edits` over the engine, health, metrics. See docs/api.md."""
